//! Tests every way to drain.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use scene::log::Mark;
use scene::wire::UPDATE;
use scene::{PATIENCE, ROUTERS, Scene, VIPS, address};

use crate::support::{fault, reason, status};

pub(crate) fn drain_by_command(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    fault(scene, "fe1", "drain", || {
        let at = SystemTime::now();
        node.must(&["announcer", "drain", "www", "--reason", "kernel upgrade"])?;
        Ok(at)
    })?;
    let why = reason(&status(scene, "fe1")?, VIPS[0]);
    ensure!(why.contains("drained by root") && why.contains("kernel upgrade"), "{why}");
    node.must(&["announcer", "undrain", "www"])?;
    scene.all_announced()?;

    // With --wait it returns when the routers have acknowledged the withdraw and their FIBs have had time to follow.
    node.must(&["announcer", "drain", "--all", "--wait"])?;
    for (index, router) in ROUTERS.iter().enumerate() {
        let left = scene.next_hops(router, VIPS[0])?;
        ensure!(!left.contains(&address(index, "fe1", VIPS[0])), "{router} still has fe1 after drain --wait");
    }
    let note = node.must(&["announcer", "undrain", "www"])?;
    ensure!(note.contains("undrain --all"), "nobody said that --all still drains: {note}");
    node.must(&["announcer", "undrain", "--all"])?;
    scene.all_announced()?;

    // A drain around a command, and the return: the command and `undrain --wait` say when it is done.
    node.must(&["announcer", "drain", VIPS[0], "--wait", "--", "true"])?;
    ensure!(reason(&status(scene, "fe1")?, VIPS[0]) == "announced", "`drain -- true` did not undrain");
    scene.all_announced()
}

pub(crate) fn drain_by_file(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    fault(scene, "fe2", "drain by file", || {
        let at = SystemTime::now();
        node.must(&["touch", "/var/lib/announcer/drain/www"])?;
        Ok(at)
    })?;
    node.must(&["rm", "/var/lib/announcer/drain/www"])?;
    scene.all_announced()
}

pub(crate) fn drain_over_restart(scene: &Scene) -> Result<()> {
    let node = scene.node("fe3")?;
    node.must(&["announcer", "drain", "www", "--reason", "disk", "--wait"])?;
    node.must(&["/lab/announcer", "stop"])?;
    let mark = Mark::now();
    node.must(&["/lab/announcer", "start"])?;
    // The session is Established and End-of-RIB was sent, so every route was announced by then.
    let from = address(0, "fe3", VIPS[0]);
    let end_of_rib = |message: &scene::wire::Message| {
        message.from == from && message.octets.len() == 23 && message.kind() == UPDATE
    };
    let router = &scene.routers[0];
    router.wire.wait(mark, PATIENCE, end_of_rib).context("no End-of-RIB from a drained frontend")?;
    for vip in VIPS {
        let vip = vip.parse()?;
        ensure!(
            !router.wire.since(mark).iter().any(|m| m.from == from && m.announces(vip)),
            "announced though drained"
        );
    }
    let why = reason(&status(scene, "fe3")?, VIPS[0]);
    ensure!(why.contains("disk"), "{why}");
    node.must(&["announcer", "undrain", "www"])?;
    scene.all_announced()
}

pub(crate) fn drain_usage(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    for words in [&["announcer", "drain"][..], &["announcer", "undrain"], &["announcer", "drain", "nosuch"]] {
        let output = node.exec(words)?;
        ensure!(output.code == 2, "{words:?}: exit {} {}", output.code, output.stderr);
    }
    scene.all_announced()
}
