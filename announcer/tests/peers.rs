//! Tests that the routes of a service with `peers` reach these routers and no other, and that a reload moves them without another
//! session. The test runs in its own network namespace, with two routers that are part of the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use announcer::control::orders::{DrainOrder, Targets, UndrainOrder};
use daemon::{Daemon, in_new_netns, ip, link_to_router, write_config};
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);
const WWW: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
const MAIL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 25);

/// What a router has received since it was started.
#[derive(Debug, Default, Clone)]
struct Received {
    /// The routes that it has now.
    routes: BTreeSet<Ipv4Addr>,
    /// Every route that it was ever sent.
    ever: BTreeSet<Ipv4Addr>,
    /// How many connections were made.
    connections: usize,
}

/// A router for IPv4 routes of whole addresses.
#[derive(Debug, Clone)]
struct Router(Arc<Mutex<Received>>);

impl Router {
    fn start(address: &str) -> Router {
        let listener = TcpListener::bind(address).unwrap();
        let router = Router(Arc::default());
        let ours = router.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let ours = ours.clone();
                ours.0.lock().unwrap().connections += 1;
                ours.0.lock().unwrap().routes.clear();
                std::thread::spawn(move || ours.speak(stream.unwrap()));
            }
        });
        router
    }

    /// Waits until it has these routes: its kernel acknowledges octets before it reads them.
    fn until_it_has(&self, routes: &[Ipv4Addr]) {
        let want: BTreeSet<Ipv4Addr> = routes.iter().copied().collect();
        let has = || if self.received().routes == want { Ok(()) } else { Err(self.received()) };
        until(PATIENCE, has).unwrap_or_else(|last| panic!("not {want:?}: {last:?}"));
    }

    fn received(&self) -> Received {
        self.0.lock().unwrap().clone()
    }

    fn speak(&self, mut stream: TcpStream) -> std::io::Result<()> {
        // Version 4, AS 65000, no hold timer, 10.9.9.9, capabilities: IPv4 unicast, four-octet AS (RFC 4271 §4.2).
        let capabilities = [1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8];
        let open = [&[4, 0xfd, 0xe8, 0, 0, 10, 9, 9, 9, 14, 2, 12][..], &capabilities].concat();
        stream.write_all(&[message(1, &open), message(4, &[])].concat())?;
        loop {
            let mut head = [0; 19];
            stream.read_exact(&mut head)?;
            let mut body = vec![0; usize::from(u16::from_be_bytes([head[16], head[17]])) - 19];
            stream.read_exact(&mut body)?;
            if head[18] == 2 {
                self.update(&body);
            }
        }
    }

    /// Applies an UPDATE (RFC 4271 §4.3).
    fn update(&self, body: &[u8]) {
        let (withdrawn, rest) = field(body);
        let (_, announced) = field(rest);
        let mut received = self.0.lock().unwrap();
        for vip in prefixes(withdrawn) {
            received.routes.remove(&vip);
        }
        for vip in prefixes(announced) {
            received.routes.insert(vip);
            received.ever.insert(vip);
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// A field with its length in two octets before it, and the rest.
fn field(octets: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(u16::from_be_bytes([octets[0], octets[1]]));
    octets[2..].split_at(length)
}

fn prefixes(octets: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    octets.chunks(5).map(|prefix| match prefix {
        [32, a, b, c, d] => Ipv4Addr::new(*a, *b, *c, *d),
        other => panic!("no whole address: {other:?}"),
    })
}

#[test]
fn a_route_reaches_the_routers_that_its_service_names_and_a_reload_moves_it() {
    in_new_netns(two_routers);
}

fn two_routers(folder: &Path) {
    link_to_router();
    ip("address add 10.9.9.2/24 dev router");
    let (r1, r2) = (Router::start("10.9.9.1:1179"), Router::start("10.9.9.2:1179"));
    std::fs::write(folder.join("up"), "").unwrap();
    let config = |peers: &str| {
        let peer = |number: u8| {
            format!(
                "[[peer]]\nname = \"r{number}\"\naddress = \"10.9.9.{number}\"\nport = 1179\nasn = 65000\nhold_time = \"0s\"\n"
            )
        };
        let service = |name: &str, vip: Ipv4Addr, keys: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\nvips = [\"{vip}\"]\n{keys}\n[[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n",
                folder.join("up").display()
            )
        };
        let head = "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n";
        let services = [service("www", WWW, peers), service("mail", MAIL, "")].concat();
        [head.to_owned(), peer(1), peer(2), services].concat()
    };
    let daemon = Daemon::start(folder, &config("peers = [\"r1\"]"));
    let delivered = |status: &Status, www: &str| {
        let text = |service: usize| status.services[service].vips[0].routers.text.clone();
        text(0) == www && text(1) == "announced, sent to 2 of 2 routers"
    };
    let status = daemon.until_status(PATIENCE, "each router has its routes", |status| {
        delivered(status, "announced, sent to 1 of 1 router")
    });
    let is_about = |warning: &&String| warning.contains("www") || warning.contains("r2");
    assert_eq!(status.warnings.iter().find(is_about), None, "it is no fault that r2 does not get www");
    let announced: Vec<usize> = status.peers.iter().map(|peer| peer.announced).collect();
    assert_eq!(announced, [2, 1]);
    r1.until_it_has(&[MAIL, WWW]);
    assert_eq!(r2.received().ever, BTreeSet::from([MAIL]));

    let explain = |vip| {
        let Response::Vip(found) = daemon.ask(&Request::Explain { vip, peer: None }).unwrap() else {
            panic!("no VIP")
        };
        found.lines
    };
    let explain_peer = |peer: &str| {
        let request = Request::ExplainPeer { peer: peer.to_owned() };
        let Response::Peer(found) = daemon.ask(&request).unwrap() else { panic!("no peer") };
        found.lines
    };
    let vip = explain(WWW.into());
    for line in [
        "Its service is announced to r1 alone, because of `peers`.",
        "Router r2 gets no route to it: `peers` of service `www` does not name it.",
    ] {
        assert!(vip.iter().any(|found| found == line), "{vip:#?}");
    }
    let router = explain_peer("r2");
    let want = "It gets the routes of mail, and not of www, whose `peers` does not name it.";
    assert!(router.iter().any(|found| found == want), "{router:#?}");

    // A drain waits for its withdraw, and r1 has followed.
    let www = Targets { services: vec!["www".into()], ..Targets::default() };
    let drain = DrainOrder { targets: www.clone(), wait_ms: Some(20_000), ..DrainOrder::default() };
    let Response::Done { .. } = daemon.ask(&Request::Drain(drain)).unwrap() else { panic!("not drained") };
    r1.until_it_has(&[MAIL]);
    let undrain = UndrainOrder { targets: www, ..UndrainOrder::default() };
    let Response::Done { .. } = daemon.ask(&Request::Undrain(undrain)).unwrap() else { panic!("drained") };
    daemon.until_status(PATIENCE, "www is back", |status| {
        delivered(status, "announced, sent to 1 of 1 router")
    });
    assert_eq!(r2.received().ever, BTreeSet::from([MAIL]));

    // A reload moves the route. Neither session restarts.
    write_config(folder, &config("peers = [\"r2\"]"));
    let reload = Request::Reload { force: false, dry_run: false };
    let Response::Done { notes } = daemon.ask(&reload).unwrap() else { panic!("refused") };
    assert_eq!(notes, ["www: - peer r1", "www: + peer r2"]);
    daemon.until_status(PATIENCE, "r2 has www, and r1 has lost it", |status| {
        let announced: Vec<usize> = status.peers.iter().map(|peer| peer.announced).collect();
        delivered(status, "announced, sent to 1 of 1 router") && announced == [1, 2]
    });
    r1.until_it_has(&[MAIL]);
    r2.until_it_has(&[MAIL, WWW]);

    write_config(folder, &config(""));
    let Response::Done { .. } = daemon.ask(&reload).unwrap() else { panic!("refused") };
    daemon.until_status(PATIENCE, "both have both", |status| {
        delivered(status, "announced, sent to 2 of 2 routers")
    });
    r1.until_it_has(&[MAIL, WWW]);
    assert_eq!([r1.received().connections, r2.received().connections], [1, 1], "a session has restarted");
}
