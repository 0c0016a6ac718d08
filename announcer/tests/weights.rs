//! The weights of three frontends, as the kernel of a router with FRR or BIRD spreads real connections by them.
//!
//! It needs root, iproute2, nftables, FRR and BIRD, and runs in `make interop`. It prints what it has measured; docs/routers/frr.md has it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod segment;
#[path = "weights/site.rs"]
mod site;

use std::fs;
use std::process::Command;

use daemon::in_new_netns;
use site::{Chain, FLOWS, OPEN, Site, Software, VIP_V4, VIPS};

const EVEN: [f64; 3] = [33.3, 33.3, 33.3];
/// The keys of the frontends in most tests.
const KEYS: [&str; 3] = ["weight = 10\n", "weight = 20\n", "weight = 70\n"];

/// Counts the connections to each VIP, and compares the shares with those that are expected.
fn near(what: &str, site: &Site, want: [f64; 3]) {
    for vip in VIPS {
        let seen = site.shares(vip);
        let shown = seen.map(|share| format!("{share:.1}")).join(" / ");
        println!("{what}: {shown} % of {FLOWS} connections to {vip}");
        for (seen, want) in seen.into_iter().zip(want) {
            assert!((seen - want).abs() < 5.0, "{what}, {vip}: {shown}, not {want}");
        }
    }
}

/// The weight 70 of the third frontend becomes 30: how many percent of the open connections to each VIP break.
fn broken_by_a_change(what: &str, site: &Site) -> [f64; 2] {
    let broken = site.broken(|| {
        site.reload(3, "weight = 30\n");
        site.until_weights([16, 33, 50]);
    });
    for (broken, vip) in broken.iter().zip(VIPS) {
        println!("{what}, weight 70 becomes 30: {broken:.1} % of {OPEN} open connections to {vip} break");
    }
    broken
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_spreads_by_the_weights_and_evenly_if_one_is_missing() {
    in_new_netns(|folder| {
        let site = Site::start(Software::Frr, Chain::Without, folder, KEYS);
        site.until_weights([10, 20, 70]);
        near("FRR, weights 10, 20 and 70", &site, [10.0, 20.0, 70.0]);
        let broken = broken_by_a_change("FRR", &site);
        assert!(broken.iter().all(|broken| *broken > 5.0), "the documents say that a change breaks flows");
        near("FRR, weights 10, 20 and 30", &site, [16.7, 33.3, 50.0]);
        site.reload(1, "");
        site.until_weights([1, 1, 1]);
        near("FRR, one of three without a weight", &site, EVEN);
        let file = folder.join("weight");
        fs::write(&file, "9\n").unwrap();
        site.reload(1, &format!("weight_file = \"{}\"\n", file.display()));
        site.until_weights([16, 33, 50]);
        site.reload(2, "weight = 1\n");
        site.reload(3, "weight = 100\n");
        site.until_weights([9, 1, 90]);
    });
}

/// The same change: the flows that come to another frontend are passed on to the one that has them.
#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn with_the_chain_a_change_of_a_weight_breaks_no_flow() {
    in_new_netns(|folder| {
        let site = Site::start(Software::Frr, Chain::With, folder, KEYS);
        site.until_weights([10, 20, 70]);
        let before = site.accepted();
        let broken = broken_by_a_change("FRR and [chain]", &site);
        let after = site.accepted();
        assert_eq!(broken, [0.0, 0.0]);
        for ((before, after), vip) in before.into_iter().zip(after).zip(VIPS) {
            let passed_on = after - before;
            println!("FRR and [chain]: {passed_on} packets to {vip} came from another frontend");
            assert!(passed_on > 0, "the flows have moved");
        }
    });
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_accepts_the_weights_and_ignores_them() {
    in_new_netns(|folder| {
        let site = Site::start(Software::Bird, Chain::Without, folder, KEYS);
        site.until_weights([1, 1, 1]);
        let control = folder.join("router/bird.ctl");
        let mut birdc = Command::new("birdc");
        let output =
            birdc.arg("-s").arg(control).args(["show", "route", "for", VIP_V4, "all"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("BGP.ext_community"), "it has the communities\n{said}");
        near("BIRD, weights 10, 20 and 70", &site, EVEN);
    });
}
