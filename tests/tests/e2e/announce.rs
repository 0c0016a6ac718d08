//! Tests the UPDATEs that routers get, the routes in their tables, and the answers that clients get.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bgpkit_parser::models::{AsnLength, BgpMessage, NetworkPrefix, Nlri};
use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
use scene::log::Mark;
use scene::{FRONTENDS, PATIENCE, ROUTERS, Scene, VIPS, address, doctor_finds_nothing};
use serde_json::Value;

use crate::support::{json, reason, status};

pub(crate) fn announce(scene: &Scene) -> Result<()> {
    for (index, router) in ROUTERS.iter().enumerate() {
        for (vip, family) in VIPS.iter().zip(["ipv4", "ipv6"]) {
            let shown = scene.node(router)?.must(&[
                "vtysh",
                "-c",
                &format!("show bgp {family} unicast {vip} json"),
            ])?;
            let paths = json(&shown)?["paths"].as_array().cloned().unwrap_or_default();
            ensure!(paths.len() == 3, "{router} has {} paths to {vip}", paths.len());
            for path in &paths {
                ensure!(
                    path["aspath"]["segments"]
                        == serde_json::json!([{"type": "as-sequence", "list": [65001]}]),
                    "{path}"
                );
                ensure!(path["community"]["string"] == "65001:80", "{path}");
                ensure!(path["origin"] == "IGP" && path["valid"] == true, "{path}");
                ensure!(!path["multipath"].is_null(), "a path is left out of ECMP: {path}");
            }
            for frontend in FRONTENDS {
                let hop = address(index, frontend, vip).to_string();
                let with_hop = |path: &Value| {
                    path["nexthops"].as_array().is_some_and(|n| n.iter().any(|n| n["ip"] == hop.as_str()))
                };
                ensure!(paths.iter().any(with_hop), "{router} has no path to {vip} by {frontend}");
            }
        }
        let config = scene.node(router)?.must(&["vtysh", "-c", "show running-config"])?;
        ensure!(config.contains("bgp reject-as-sets"), "the router would take an AS_SET");
    }
    let status = status(scene, "fe1")?;
    ensure!(reason(&status, VIPS[0]) == "announced", "{status}");
    ensure!(
        status["peers"]
            .as_array()
            .is_some_and(|peers| peers.iter().all(|peer| peer["state"] == "Established")),
        "{status}"
    );
    let frontends = FRONTENDS.iter().map(|name| scene.node(name)).collect::<Result<Vec<_>>>()?;
    doctor_finds_nothing(&frontends)
}

pub(crate) fn octets(scene: &Scene) -> Result<()> {
    let mark = Mark::now();
    scene.node("fe1")?.must(&["/lab/announcer", "stop"])?;
    scene.node("fe1")?.must(&["/lab/announcer", "start"])?;
    scene.announced(mark, SystemTime::UNIX_EPOCH, "fe1", VIPS[0])?;
    let from = address(0, "fe1", VIPS[0]);
    let vip = VIPS[0].parse()?;
    let said = scene.routers[0]
        .wire
        .wait(Mark::BEGINNING, PATIENCE, |message| message.from == from && message.announces(vip));
    let said = said.context("the announcement was not captured")?;
    ensure!(said.ttl == 255, "TTL {}", said.ttl);
    // AS_PATH: well-known, type 2, one AS_SEQUENCE (2) of one 4-octet AS (RFC 4271 section 4.3, RFC 6793).
    let path = [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    let extended = [0x50, 2, 0, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    let has = |needle: &[u8]| said.octets.windows(needle.len()).any(|window| window == needle);
    ensure!(has(&path) || has(&extended), "no AS_SEQUENCE in {:02x?}", said.octets);
    ensure!(
        has(&[192, 0, 2, 80]) && has(&[0, 1, 0xfd, 0xe9]) || has(&[0xfd, 0xe9, 0, 80]),
        "{:02x?}",
        said.octets
    );
    for message in scene.routers[0].wire.since(Mark::BEGINNING).iter().filter(|message| message.from == from)
    {
        let parsed = parse_bgp_message(&mut message.octets.clone(), false, &AsnLength::Bits32)
            .with_context(|| format!("an independent parser refuses {:02x?}", message.octets))?;
        let BgpMessage::Update(update) = parsed else { continue };
        let (gone, there) =
            (update.attributes.get_unreachable_nlri(), update.attributes.get_reachable_nlri());
        let addresses = |plain: &[NetworkPrefix], more: Option<&Nlri>| {
            let more = more.into_iter().flat_map(|nlri| nlri.prefixes.iter());
            plain.iter().chain(more).map(|prefix| prefix.prefix.addr()).collect::<BTreeSet<_>>()
        };
        let ours = message.prefixes().context("an UPDATE that our own parser refuses")?;
        let ours = (BTreeSet::from_iter(ours.withdrawn), BTreeSet::from_iter(ours.announced));
        let theirs =
            (addresses(&update.withdrawn_prefixes, gone), addresses(&update.announced_prefixes, there));
        ensure!(ours == theirs, "an independent parser reads {theirs:?} and not {ours:?}");
    }
    Ok(())
}

pub(crate) fn ecmp(scene: &Scene) -> Result<()> {
    // At the same time: the requests to one VIP do not change the shares of the other.
    let loads = VIPS.map(|vip| scene.load(vip, 1000, Duration::from_secs(3)));
    for (vip, load) in VIPS.into_iter().zip(loads) {
        let report = load?.report()?;
        ensure!(report.total.lost() == 0, "{} of {} lost at {vip}", report.total.lost(), report.sent);
        ensure!(report.sent >= 2900, "{} sent", report.sent);
        for frontend in FRONTENDS {
            let share = report.total.ok.get(frontend).copied().unwrap_or(0) * 100 / report.total.answered();
            println!("  {vip}: {frontend} {share} %");
            ensure!((23..=43).contains(&share), "{frontend} got {share} % of {vip}");
        }
    }
    Ok(())
}
