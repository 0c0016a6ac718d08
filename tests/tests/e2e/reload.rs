//! Tests reloads: what they change and what they refuse.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::wire::{NOTIFICATION, OPEN, UPDATE};
use scene::{PATIENCE, Scene, VIPS, address};

use crate::support::{configure, reason, status, wait_lo, wait_status, with_own_configuration};

pub(crate) fn reload(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    with_own_configuration(scene, "fe1", || {
        let (mark, vip) = (Mark::now(), VIPS[0].parse()?);
        let from = address(0, "fe1", VIPS[0]);
        let said = |what: fn(&scene::wire::Message, std::net::IpAddr) -> bool| {
            scene.routers[0].wire.since(mark).iter().any(|m| m.from == from && what(m, vip))
        };
        // A change of any key of the check, or of its name, sends nothing to the routers.
        for changes in [
            &[("100ms", "200ms")][..],
            &[("rise = 2", "rise = 5"), ("fall = 3", "fall = 2")],
            &[("/healthz", "/")],
            &[("name = \"www\"", "name = \"web\"")],
        ] {
            configure(scene, "fe1", changes)?;
            // The file is checked once per second.
            wait_status(scene, "fe1", "no warning of the changed file", |said| {
                said.contains("announcer reload")
            })?;
            let notes = node.must(&["announcer", "reload"])?;
            ensure!(notes.contains("www"), "the change is not named: {notes}");
            ensure!(reason(&status(scene, "fe1")?, VIPS[0]) == "announced", "{changes:?} withdrew");
        }
        ensure!(
            !said(scene::wire::Message::withdraws) && !said(scene::wire::Message::announces),
            "the reloads sent something: {:?}\n{}",
            scene.routers[0].wire.since(mark).iter().filter(|m| m.from == from).collect::<Vec<_>>(),
            node.must(&["announcer", "history"])?
        );
        // An attribute is announced again, without a withdraw; by SIGHUP.
        configure(scene, "fe1", &[("\"65001:80\"", "\"65001:81\"")])?;
        node.signal_daemon(Signal::SIGHUP)?;
        let again = scene.routers[0].wire.wait(mark, PATIENCE, |m| m.from == from && m.announces(vip));
        ensure!(again.is_some() && !said(scene::wire::Message::withdraws), "no announcement, or a withdraw");
        // A VIP is added, and later removed: it is withdrawn, and later removed from lo.
        configure(scene, "fe1", &[("\"192.0.2.80\"", "\"192.0.2.80\", \"192.0.2.81\"")])?;
        node.must(&["announcer", "reload"])?;
        scene.wait_next_hops("192.0.2.81", &["fe1"])?;
        configure(scene, "fe1", &[])?;
        let mark = Mark::now();
        node.must(&["announcer", "reload"])?;
        let gone = "192.0.2.81".parse()?;
        let withdraw = scene.routers[0].wire.wait(mark, PATIENCE, |m| m.from == from && m.withdraws(gone));
        ensure!(withdraw.is_some(), "192.0.2.81 was not withdrawn");
        let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
        ensure!(lo.contains("192.0.2.81/"), "the VIP left lo together with the route");
        wait_lo(scene, "fe1", "192.0.2.81 stays on lo", |lo| !lo.contains("192.0.2.81/"))?;
        let opened = scene.routers[0].wire.since(mark).iter().any(|m| m.from == from && m.kind() == OPEN);
        ensure!(!opened, "a session was begun anew");
        Ok(())
    })
}

pub(crate) fn reload_refused(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    with_own_configuration(scene, "fe2", || {
        let (mark, from) = (Mark::now(), address(0, "fe2", VIPS[0]));
        let refuse = |changes: &[(&str, &str)], why: &str| -> Result<()> {
            configure(scene, "fe2", changes)?;
            let output = node.exec(&["announcer", "reload"])?;
            ensure!(output.code == 2 && output.stderr.contains(why), "{output:?}");
            Ok(())
        };
        refuse(&[("rise = 2", "rise = \"two\""), ("asn = 65001", "asn = 0")], "error: AS 0 is reserved")?;
        wait_status(scene, "fe2", "no warning of the wrong file", |said| said.contains("2 errors"))?;
        refuse(&[("192.0.2.80", "192.0.2.83"), ("2001:db8::80", "2001:db8::83")], "--force")?;
        refuse(&[("asn = 65000", "asn = 65000\nhold_time = \"6s\"")], "--force")?;
        node.signal_daemon(Signal::SIGHUP)?;
        node.must(&["announcer", "status"])?;
        let quiet =
            |m: &scene::wire::Message| m.from == from && matches!(m.kind(), OPEN | UPDATE | NOTIFICATION);
        ensure!(!scene.routers[0].wire.since(mark).iter().any(quiet), "something was said to the router");
        // A forced reload restarts one session after the other, so that one router always has the routes.
        node.must(&["announcer", "reload", "--force"])?;
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe2", VIPS[0]);
            let again =
                scene.routers[index].wire.wait(mark, PATIENCE, |m| m.from == from && m.kind() == OPEN);
            ensure!(again.is_some(), "{} saw no new session", router.name);
        }
        scene.all_announced()?;
        let cease = |index: usize| {
            let from = address(index, "fe2", VIPS[0]);
            let seen = scene.routers[index].wire.since(mark);
            seen.into_iter()
                .find(move |m| m.from == from && m.notification().is_some_and(|(c, s, _)| (c, s) == (6, 6)))
        };
        let back = |index: usize| {
            let (from, vip) = (address(index, "fe2", VIPS[0]), VIPS[0].parse()?);
            let seen = scene.routers[index].wire.since(mark);
            Ok::<_, anyhow::Error>(seen.into_iter().find(|m| m.from == from && m.announces(vip)))
        };
        let (first, second) =
            (back(0)?.context("r1 did not get the routes again")?, cease(1).context("no Cease 6/6 at r2")?);
        ensure!(cease(0).is_some() && first.at < second.at, "both sessions were away at once");
        Ok(())
    })
}

pub(crate) fn reload_under_load(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    with_own_configuration(scene, "fe1", || {
        let mark = Mark::now();
        let load = scene.load(VIPS[0], 500, Duration::from_secs(6))?;
        let service = |line: &str| format!("communities = [\"65001:80\"]\n{line}");
        for (from, to) in [
            ("100ms\" #", "150ms\" #".to_owned()),
            ("timeout = \"100ms\"", "timeout = \"90ms\"".into()),
            ("rise = 2", "rise = 3".into()),
            ("fall = 3", "fall = 4".into()),
            ("example.com/healthz", "example.com/".into()),
            ("65001:80", "65001:81".into()),
            ("communities = [\"65001:80\"]", service("med = 5")),
            ("communities = [\"65001:80\"]", service("origin = \"egp\"")),
            ("communities = [\"65001:80\"]", service("prepend = 2")),
            ("communities = [\"65001:80\"]", service("local_pref = 50")),
            ("communities = [\"65001:80\"]", service("extended_communities = [\"rt:65001:80\"]")),
            ("communities = [\"65001:80\"]", service("large_communities = [\"65001:1:2\"]")),
            ("communities = [\"65001:80\"]", service("announce_delay = \"5s\"")),
            ("communities = [\"65001:80\"]", service("flap_damping = false")),
            ("name = \"r1\"", "name = \"r1\"\nmed = 6".into()),
            ("name = \"r2\"", "name = \"r2\"\nprepend = 1".into()),
        ] {
            configure(scene, "fe1", &[(from, &to)])?;
            node.must(&["announcer", "reload"]).with_context(|| to.clone())?;
            std::thread::sleep(Duration::from_millis(300)); // three probes with each configuration
        }
        configure(scene, "fe1", &[])?;
        node.must(&["announcer", "reload"])?;
        let report = load.report()?;
        ensure!(report.sent > 2900 && report.total.refused == 0, "{:?}", report.total);
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe1", VIPS[0]);
            let said: Vec<_> = router.wire.since(mark).into_iter().filter(|m| m.from == from).collect();
            for vip in VIPS {
                let vip = vip.parse()?;
                ensure!(!said.iter().any(|m| m.withdraws(vip)), "{vip} was withdrawn from {}", router.name);
                ensure!(
                    said.iter().any(|m| m.announces(vip)),
                    "no attribute of {vip} reached {}",
                    router.name
                );
            }
            ensure!(
                !said.iter().any(|m| matches!(m.kind(), OPEN | NOTIFICATION)),
                "the session with {} was reset",
                router.name
            );
        }
        Ok(())
    })
}
