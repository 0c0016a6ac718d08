//! `announcer router-config` at real routers: the printed text is loaded into FRR, BIRD, OpenBGPD and GoBGP, and announcer with the
//! same configuration has a session with them. VIPs that are added on a frontend first end no session.
//!
//! It needs root, iproute2 and nftables, and skips a router that is not installed. Each router has its own network namespaces: they
//! run at the same time, in half a minute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod router_side {
    pub(crate) mod bench;
    pub(crate) mod routers;
}

use router_side::bench::{Bench, Setup};
use router_side::routers::{BIRD, FRR, GOBGP, OPENBGPD, Router};

fn each_setup(router: &Router) {
    if !router.is_installed() || !nix::unistd::geteuid().is_root() {
        until::skipped(format_args!("needs root and {}", router.program));
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let bench = Bench::up(router, Setup::Far);
            bench.accepts_the_vips_and_nothing_else();
            bench.keeps_its_sessions_when_vips_are_added();
        });
        scope.spawn(|| {
            let bench = Bench::up(router, Setup::FarWithBfd);
            bench.accepts_the_vips_and_nothing_else();
            bench.has_bfd();
        });
        for setup in [Setup::Neighbours, Setup::Range, Setup::OverIpv6] {
            let mut bench = Bench::up(router, setup);
            bench.accepts_the_vips_and_nothing_else();
            bench.has_bfd();
            bench.runs_the_commands_for_the_shell();
            bench.shows_what_verify_promises();
            bench.acts_on_graceful_shutdown();
            bench.discards_packets_for_a_vip_that_nobody_announces();
        }
    });
}

#[test]
fn frr_takes_its_configuration() {
    each_setup(&FRR);
}

#[test]
fn bird_takes_its_configuration() {
    each_setup(&BIRD);
}

#[test]
fn openbgpd_takes_its_configuration() {
    each_setup(&OPENBGPD);
}

#[test]
fn gobgp_takes_its_configuration() {
    each_setup(&GOBGP);
}
