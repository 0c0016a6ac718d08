//! The cases of BFD (RFC 5880, 5881).

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use scene::VIPS;
use scene::log::Mark;
use scene::wire::NOTIFICATION;
use serde_json::Value;
use until::until;

use crate::bench::{Bench, PATIENCE};
use crate::cases::{Case, both, gone, wanted};
use crate::router::{FRONTEND, ROUTER, Router, Setup};

/// What the frontend and the router want at first, in milliseconds.
pub(crate) const INTERVAL: u32 = 300;
/// The detection time of both ends at first.
const DETECTION: Duration = Duration::from_millis(900);
/// Cease, BFD Down (RFC 9384).
const BFD_DOWN: (u8, u8) = (6, 10);

/// The cases with BFD at both ends.
pub(crate) const CASES: &[Case] = &[
    Case { name: "BFD: up at both ends", run: up },
    Case { name: "BFD: new intervals of either end, no session ends", run: intervals },
    Case { name: "BFD: packets with another TTL or discriminator", run: foreign },
    Case { name: "BFD: switched off at the router, no session ends", run: switched_off },
    Case { name: "BFD: no packets of it, Cease 6/10, and again", run: lost },
    Case { name: "BFD: no packets at all, and again", run: silence },
    Case { name: "BFD: a stop withdraws before AdminDown", run: stop },
];

/// A router without BFD.
pub(crate) const ONLY_OURS: &[Case] =
    &[Case { name: "BFD at announcer alone: announced, with a warning", run: only_ours }];

/// Waits until BFD is up at both ends, with the session and its routes.
fn up(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    both(bench, router, setup)?;
    until(PATIENCE, || {
        let bfd = peer(bench)?["bfd"].clone();
        ensure!(bfd["state"] == "Up", "announcer's BFD: {bfd}");
        ensure!(router.bfd_up(bench.router()?)?, "the router's BFD is not up");
        Ok(())
    })
}

fn intervals(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    up(bench, router, setup)?;
    let (mark, before) = (Mark::now(), counts(bench)?);
    let file = bench.frontend()?.root().join("etc/announcer/announcer.toml");
    let text = fs::read_to_string(&file)?;
    let agreed = |ours: u32, theirs: u32| {
        until(PATIENCE, || {
            let bfd = peer(bench)?["bfd"].clone();
            let found = (bfd["interval_ms"].as_f64(), bfd["remote_interval_ms"].as_f64());
            ensure!(found == (Some(ours.into()), Some(theirs.into())), "{bfd}, not {ours} and {theirs} ms");
            Ok(())
        })
    };
    agreed(INTERVAL, INTERVAL)?;
    for (ours, theirs) in
        [(500, INTERVAL), (500, 200), (100, 200), (100, 100), (INTERVAL, 100), (INTERVAL, INTERVAL)]
    {
        let new = text.replace(&format!("\"{INTERVAL}ms\""), &format!("\"{ours}ms\""));
        fs::write(&file, new)?;
        bench.frontend()?.must(&["announcer", "reload"])?;
        router.bfd_interval(bench.router()?, theirs)?;
        // Each end sends as often as it wants, or as the other end can receive.
        agreed(ours.max(theirs), ours.max(theirs))?;
        thread::sleep(DETECTION * 2);
        unchanged(bench, router, mark, before)?;
    }
    Ok(())
}

/// Packets that are not the router's, from its address, to announcer's port.
fn foreign(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    up(bench, router, setup)?;
    let (mark, before) = (Mark::now(), counts(bench)?);
    let sent = bench.router()?.in_netns(|| -> std::io::Result<()> {
        let socket = UdpSocket::bind((ROUTER, 0))?;
        for _ in 0..5 {
            for state in [ADMIN_DOWN, DOWN] {
                socket.set_ttl(254)?;
                socket.send_to(&packet(state, 7, 0), (FRONTEND, 3784))?;
                socket.set_ttl(255)?;
                socket.send_to(&packet(state, 7, 0x0bad_0bad), (FRONTEND, 3784))?;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })?;
    sent.context("sending")?;
    thread::sleep(DETECTION);
    unchanged(bench, router, mark, before)
}

const ADMIN_DOWN: u8 = 0;
const DOWN: u8 = 1;

/// A BFD packet (RFC 5880 §4.1).
fn packet(state: u8, ours: u32, theirs: u32) -> Vec<u8> {
    let mut octets = vec![1 << 5, state << 6, 3, 24];
    for field in [ours, theirs, 1_000_000, 300_000, 0] {
        octets.extend(u32::to_be_bytes(field));
    }
    octets
}

/// The operator of the router switches BFD off there. That says nothing of the way (RFC 5882 §3.2).
fn switched_off(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    up(bench, router, setup)?;
    let (mark, sessions) = (Mark::now(), counts(bench)?.0);
    router.bfd_switch(bench.router()?, false)?;
    until(PATIENCE, || {
        let bfd = peer(bench)?["bfd"].clone();
        ensure!(bfd["state"] != "Up", "{bfd}");
        Ok(())
    })?;
    thread::sleep(DETECTION * 2);
    no_end(bench, router, mark)?;
    ensure!(counts(bench)?.0 == sessions, "announcer has ended its session");
    warned(bench)?;
    router.bfd_switch(bench.router()?, true)?;
    up(bench, router, setup)?;
    no_end(bench, router, mark)
}

/// BFD alone is lost, at announcer first: it ends the session with this reason. A router that noticed it first would end the session with
/// a reason of its own.
fn lost(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    up(bench, router, setup)?;
    let (mark, flaps) = (Mark::now(), counts(bench)?.1);
    let cut = Cut::new(bench)?;
    cut.drop_packets("in", "udp dport { 3784, 4784 }")?;
    thread::sleep(Duration::from_millis(INTERVAL.into()) * 2);
    cut.drop_packets("out", "udp dport { 3784, 4784 }")?;
    let cease = bench.seen.wire.wait(mark, PATIENCE, |message| message.kind() == NOTIFICATION);
    let cease = cease.context("no session has ended")?;
    let said = cease.notification().map(|(code, subcode, _)| (code, subcode));
    ensure!(cease.from.to_string() == FRONTEND && said == Some(BFD_DOWN), "{} sent {said:?}", cease.from);
    until(PATIENCE, || {
        let bfd = peer(bench)?["bfd"].clone();
        ensure!(bfd["flaps"].as_u64() > Some(flaps), "{bfd}");
        Ok(())
    })?;
    cut.end()?;
    up(bench, router, setup)
}

/// The link is there, and nothing passes it: the routes are gone long before the hold time, at both ends.
fn silence(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    up(bench, router, setup)?;
    let cut = Cut::new(bench)?;
    cut.drop_packets("in", "")?;
    cut.drop_packets("out", "")?;
    until(Duration::from_secs(5), || gone(bench, router))?;
    until(PATIENCE, || {
        let peer = peer(bench)?;
        ensure!(peer["state"] != "Established", "announcer's session is still up");
        Ok(())
    })?;
    cut.end()?;
    up(bench, router, setup)
}

/// Packets that the frontend drops until this ends, also if a case fails before.
struct Cut<'a> {
    bench: &'a Bench,
    is_ended: bool,
}

impl Cut<'_> {
    /// Nothing is dropped yet.
    fn new(bench: &Bench) -> Result<Cut<'_>> {
        let chains = ["in", "out"]
            .map(|one| format!("add chain inet cut {one} {{ type filter hook {one}put priority 0; }}; "));
        bench.frontend()?.must(&["nft", &format!("add table inet cut; {}", chains.concat())])?;
        Ok(Cut { bench, is_ended: false })
    }

    /// Drops what matches, in this direction (`in` or `out`).
    fn drop_packets(&self, direction: &str, which: &str) -> Result<()> {
        let device = if direction == "in" { "iif" } else { "oif" };
        let rule = format!("add rule inet cut {direction} {device} != lo {which} drop");
        self.bench.frontend()?.must(&["nft", &rule])?;
        Ok(())
    }

    /// Drops nothing any more.
    fn end(mut self) -> Result<()> {
        self.bench.frontend()?.must(&["nft", "delete table inet cut"])?;
        self.is_ended = true;
        Ok(())
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if !self.is_ended {
            // A case that failed has its own error.
            let _ = self.bench.frontend().map(|node| node.exec(&["nft", "delete table inet cut"]));
        }
    }
}

fn stop(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    const SEEN: &str = "run/bfd.txt";
    up(bench, router, setup)?;
    let capture =
        format!("exec timeout 30 tcpdump -i any -n -l -v -tt src host {FRONTEND} and udp port 3784 >/{SEEN}");
    let mut tcpdump = bench.router()?.spawn(&["/bin/sh", "-c", &capture])?;
    let read = || -> Result<String> { Ok(fs::read_to_string(bench.router()?.root().join(SEEN))?) };
    until(PATIENCE, || {
        ensure!(read()?.contains("State Up"), "nothing was captured");
        anyhow::Ok(())
    })?;
    let mark = Mark::now();
    bench.stop_announcer()?;
    let switched = until(PATIENCE, || admin_down(&read()?).context("announcer did not say AdminDown"));
    let _ = tcpdump.kill(); // it may have ended
    let _ = tcpdump.wait();
    let switched = switched?;
    for vip in VIPS {
        let vip: IpAddr = vip.parse()?;
        let withdraw = bench.seen.wire.wait(mark, PATIENCE, |message| message.withdraws(vip));
        let withdraw = withdraw.with_context(|| format!("{vip} was not withdrawn"))?;
        ensure!(withdraw.at < switched, "{vip} was withdrawn after AdminDown");
    }
    bench.start_announcer()?;
    up(bench, router, setup)
}

/// When tcpdump has seen the first packet with AdminDown.
fn admin_down(text: &str) -> Option<SystemTime> {
    let at = text.find("State AdminDown")?;
    let head = text[..at].lines().rfind(|line| line.contains(" IP"))?;
    let seconds: f64 = head.split_whitespace().next()?.parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))
}

fn only_ours(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    both(bench, router, setup)?;
    let before = Mark::now();
    thread::sleep(DETECTION * 4);
    no_end(bench, router, before)?;
    bench.routes(router, Some(&wanted(setup)))?;
    warned(bench)
}

/// `status` warns that BFD is not up.
fn warned(bench: &Bench) -> Result<()> {
    let status = bench.status()?;
    let warns = status.lines().any(|line| line.contains("warning") && line.contains("BFD"));
    ensure!(warns, "status does not warn\n{status}");
    Ok(())
}

/// Neither end has ended the session or left BFD since.
fn unchanged(bench: &Bench, router: &dyn Router, mark: Mark, before: (u64, u64)) -> Result<()> {
    no_end(bench, router, mark)?;
    let after = counts(bench)?;
    ensure!(after == before, "sessions and flaps were {before:?}, and are {after:?}");
    ensure!(router.bfd_up(bench.router()?)?, "the router's BFD is not up");
    Ok(())
}

/// The session is there, and no NOTIFICATION was seen since.
fn no_end(bench: &Bench, router: &dyn Router, mark: Mark) -> Result<()> {
    let ends = bench.seen.wire.since(mark).into_iter().find(|message| message.kind() == NOTIFICATION);
    if let Some(end) = ends {
        bail!("{} ended the session: {:?}", end.from, end.notification());
    }
    ensure!(router.established(bench.router()?)?, "the session is not established");
    Ok(())
}

/// How often a session was established, and how often BFD left Up.
fn counts(bench: &Bench) -> Result<(u64, u64)> {
    let peer = peer(bench)?;
    let number = |value: &Value| value.as_u64().with_context(|| format!("no number in {peer}"));
    Ok((number(&peer["established"])?, number(&peer["bfd"]["flaps"])?))
}

/// What announcer says of the router.
fn peer(bench: &Bench) -> Result<Value> {
    Ok(crate::router::json(bench.frontend()?, &["announcer", "status", "--json"])?["peers"][0].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_admin_down_is_found() {
        let packet = |at: &str, state: &str| {
            format!(
                "{at} eth1  In  IP (tos 0xc0, ttl 255)\n    10.1.0.1.1 > 10.1.0.0.3784: BFDv1\n\tControl, State {state}, Flags\n"
            )
        };
        let text = packet("5.25", "Up") + &packet("7.5", "AdminDown") + &packet("9.5", "AdminDown");
        assert_eq!(admin_down(&text), Some(UNIX_EPOCH + Duration::from_millis(7500)));
        assert_eq!(admin_down(&packet("5.25", "Up")), None);
    }
}
