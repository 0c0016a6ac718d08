//! The rows of the table, in groups that share a configuration and, one after the other, a session.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::{VIPS, doctor_finds_nothing};
use until::until;

use crate::bench::{Bench, PATIENCE};
use crate::bfd;
use crate::router::{BfdEnds, FRONTEND, FRONTEND_V6, ROUTER, Route, Router, Setup};

/// Cases that share a configuration.
pub(crate) struct Group {
    /// How both ends are configured.
    pub(crate) setup: Setup,
    /// Its cases, in this order.
    pub(crate) cases: &'static [Case],
}

/// A row of the table.
pub(crate) struct Case {
    /// Its name in the table and for `--only`.
    pub(crate) name: &'static str,
    /// Runs the case; the error says what was seen instead.
    pub(crate) run: fn(&Bench, &dyn Router, &Setup) -> Result<()>,
}

const EXTERNAL: Setup = Setup {
    router_asn: 65000,
    frontend_asn: 65001,
    password: None,
    ttl_security: false,
    bfd: BfdEnds::None,
    unnumbered: false,
    peer: "",
    service: "med = 50\ncommunities = [\"65001:80\", \"65001:443\"]\n",
};
const ALL_ATTRIBUTES: &str = "med = 70\nprepend = 2\norigin = \"incomplete\"\ncommunities = [\"65001:80\"]\n\
                              extended_communities = [\"rt:65001:80\"]\nlarge_communities = [\"65001:1:2\"]\n";

/// Every group, in the order of the table's rows.
pub(crate) const GROUPS: &[Group] = &[
    Group {
        setup: EXTERNAL,
        cases: &[
            Case { name: "session", run: session },
            Case { name: "both VIPs, AS path, next hop, MED, communities", run: both },
            Case { name: "withdraw, and again", run: withdraw },
            Case { name: "route refresh", run: refresh },
            Case {
                name: "the router is stopped, and started",
                run: |b, r, s| restart(b, r, s, Signal::SIGTERM),
            },
            Case {
                name: "the router is killed, and started",
                run: |b, r, s| restart(b, r, s, Signal::SIGKILL),
            },
            Case { name: "the text of the shutdown in its log", run: shutdown },
        ],
    },
    Group {
        setup: Setup { service: ALL_ATTRIBUTES, ..EXTERNAL },
        cases: &[Case { name: "origin, prepend, extended and large communities", run: both }],
    },
    Group {
        setup: Setup { frontend_asn: 65000, service: "med = 50\nlocal_pref = 120\n", ..EXTERNAL },
        cases: &[Case { name: "iBGP, local preference", run: both }],
    },
    Group {
        setup: Setup { router_asn: 4_200_000_000, frontend_asn: 4_200_000_001, ..EXTERNAL },
        cases: &[Case { name: "AS numbers of four octets", run: both }],
    },
    Group {
        setup: Setup { password: Some("correct-horse"), ..EXTERNAL },
        cases: &[
            Case { name: "MD5, right key", run: both },
            Case { name: "MD5, wrong key: the hint", run: wrong },
        ],
    },
    Group {
        setup: Setup { ttl_security: true, ..EXTERNAL },
        cases: &[
            Case { name: "GTSM", run: both },
            Case { name: "GTSM, from one hop further: no session", run: far },
        ],
    },
    Group {
        setup: Setup { unnumbered: true, ..EXTERNAL },
        cases: &[Case { name: "unnumbered, an IPv4 VIP with an IPv6 next hop", run: both }],
    },
    Group { setup: Setup { bfd: BfdEnds::Both, ..EXTERNAL }, cases: bfd::CASES },
    Group { setup: Setup { bfd: BfdEnds::OnlyOurs, ..EXTERNAL }, cases: bfd::ONLY_OURS },
];

/// The route that the router must have for a group's VIPs; without a next hop, it is the one of the VIP's family.
pub(crate) fn wanted(setup: &Setup) -> Route {
    let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
    let internal = setup.router_asn == setup.frontend_asn;
    let mut route = Route {
        as_path: if internal { Vec::new() } else { vec![setup.frontend_asn] },
        origin: "igp".to_owned(),
        med: Some(50),
        local_pref: internal.then_some(120),
        next_hop: setup.unnumbered.then_some(FRONTEND_V6).and_then(|ip| ip.parse().ok()),
        ..Route::default()
    };
    if setup.service == EXTERNAL.service {
        route.communities = set(&["65001:80", "65001:443"]);
    } else if setup.service == ALL_ATTRIBUTES {
        route.as_path = vec![setup.frontend_asn; 3];
        route.origin = "incomplete".to_owned();
        route.med = Some(70);
        route.communities = set(&["65001:80"]);
        route.extended = set(&["rt:65001:80"]);
        route.large = set(&["65001:1:2"]);
    }
    route
}

/// The session comes up, on a host on which `dsr-setup doctor` finds nothing.
fn session(bench: &Bench, router: &dyn Router, _: &Setup) -> Result<()> {
    bench.established(router)?;
    doctor_finds_nothing(&[bench.frontend()?])
}

pub(crate) fn both(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    bench.established(router)?;
    bench.routes(router, Some(&wanted(setup)))
}

/// The router has no route for any VIP.
pub(crate) fn gone(bench: &Bench, router: &dyn Router) -> Result<()> {
    for vip in VIPS {
        let route = router.route(bench.router()?, vip)?;
        ensure!(route.is_none(), "{vip}: {route:?}");
    }
    Ok(())
}

fn withdraw(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    both(bench, router, setup)?;
    bench.frontend()?.must(&["/lab/web", "unhealthy"])?;
    bench.routes(router, None)?;
    ensure!(router.established(bench.router()?)?, "the session fell with the withdraw");
    bench.frontend()?.must(&["/lab/web", "healthy"])?;
    bench.routes(router, Some(&wanted(setup)))
}

/// The router sends a ROUTE-REFRESH for both families, and gets both VIPs again.
fn refresh(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    both(bench, router, setup)?;
    let mark = Mark::now();
    for words in router.refresh() {
        bench.router()?.must(words)?;
    }
    let (asks, answers): (IpAddr, IpAddr) = (ROUTER.parse()?, FRONTEND.parse()?);
    for (afi, vip) in [1, 2].into_iter().zip(VIPS) {
        let asked = bench.seen.wire.wait(mark, PATIENCE, |message| {
            message.from == asks && message.octets.get(18..22) == Some(&[5, 0, afi, 0])
        });
        let asked = asked.with_context(|| format!("no ROUTE-REFRESH for AFI {afi} was seen"))?;
        let vip: IpAddr = vip.parse()?;
        let answer = bench.seen.wire.wait(mark, PATIENCE, |message| {
            message.from == answers && message.at >= asked.at && message.announces(vip)
        });
        answer.with_context(|| format!("{vip} was not announced again"))?;
    }
    bench.routes(router, Some(&wanted(setup)))
}

fn restart(bench: &Bench, router: &dyn Router, setup: &Setup, signal: Signal) -> Result<()> {
    both(bench, router, setup)?;
    bench.end_router(router, signal)?;
    bench.start_router(router)?;
    both(bench, router, setup)
}

fn shutdown(bench: &Bench, router: &dyn Router, setup: &Setup) -> Result<()> {
    both(bench, router, setup)?;
    bench.stop_announcer()?;
    let log = bench.router()?.root().join(router.log());
    until(PATIENCE, || {
        let text = fs::read_to_string(&log)?;
        ensure!(text.contains("announcer was stopped by SIGTERM"), "its log does not have the text");
        Ok(())
    })
}

/// The router's kernel drops packets that are signed with another key, and announcer has the right hint.
fn wrong(bench: &Bench, router: &dyn Router, _: &Setup) -> Result<()> {
    bench.stop_announcer()?;
    bench.key("wrong-horse")?;
    let before = bench.counter("TCPMD5Failure")?;
    bench.start_announcer()?;
    bench.dropped("TCPMD5Failure", before)?;
    until(PATIENCE, || {
        let status = bench.status()?;
        ensure!(status.contains("password"), "no hint about the password\n{status}");
        Ok(())
    })?;
    ensure!(!router.established(bench.router()?)?, "the session is up with another key");
    Ok(())
}

/// Packets with TTL 254 come from one hop further than allowed.
fn far(bench: &Bench, router: &dyn Router, _: &Setup) -> Result<()> {
    bench.stop_announcer()?;
    let before = bench.counter("TCPMinTTLDrop")?;
    let rules = "add table ip far; add chain ip far out { type filter hook output priority 0; }; \
                 add rule ip far out ip ttl set 254";
    bench.frontend()?.must(&["nft", rules])?;
    bench.start_announcer()?;
    bench.dropped("TCPMinTTLDrop", before)?;
    ensure!(!router.established(bench.router()?)?, "the session is up");
    Ok(())
}
