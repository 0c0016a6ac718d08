//! A router that a test controls octet by octet, and a session that connects to it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of a module that no crate exports"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::session::{self, Local, SessionOrder, SessionReport};
use announcer::config::{PeerAddress, PeerConfig};
use announcer::files::io::Files;
use announcer::model::{Asn, Family, Generation, Liveness, Overrides, PeerAsn, RouterId};
use announcer::rib::{Attributes, LocRib};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub const OPEN: u8 = 1;
pub const UPDATE: u8 = 2;
pub const NOTIFICATION: u8 = 3;
pub const KEEPALIVE: u8 = 4;
pub const REFRESH: u8 = 5;

/// How long a test waits for an event that should happen at once.
const SOON: Duration = Duration::from_secs(5);

/// MP(1,1), MP(2,1), ROUTE-REFRESH, AS4 65000: what FRR sends, shortened.
pub const CAPABILITIES: &[u8] =
    &[2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 2, 0, 1, 2, 2, 2, 0, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8];
/// The same with enhanced ROUTE-REFRESH.
pub const ENHANCED: &[u8] = &[2, 6, 1, 4, 0, 1, 0, 1, 2, 2, 2, 0, 2, 2, 70, 0, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8];

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], length.to_be_bytes().as_slice(), &[kind], body].concat()
}

pub fn open_body(asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let length = u8::try_from(parameters.len()).unwrap();
    [&[4], asn.to_be_bytes().as_slice(), &hold.to_be_bytes(), &id, &[length], parameters].concat()
}

/// The OPEN that our configuration expects.
pub fn good_open() -> Vec<u8> {
    message(OPEN, &open_body(65000, 180, [10, 9, 9, 9], CAPABILITIES))
}

pub fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

/// A session under test, with all channels that control it.
pub struct Session {
    pub rib: watch::Sender<Arc<LocRib>>,
    pub liveness: watch::Sender<Liveness>,
    pub order: watch::Sender<SessionOrder>,
    pub peer: watch::Sender<Arc<PeerConfig>>,
    pub status: watch::Receiver<SessionReport>,
    pub vips: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    pub task: JoinHandle<()>,
    pub listener: TcpListener,
}

pub fn peer(port: u16) -> PeerConfig {
    PeerConfig {
        vrf: None,
        name: "r1".parse().unwrap(),
        address: PeerAddress::Ip("127.0.0.1".parse().unwrap()),
        port,
        asn: PeerAsn::Is(Asn::try_from(65000).unwrap()),
        hold_time: Duration::from_secs(9),
        send_hold_time: Duration::from_secs(480),
        families: [Family::V4, Family::V6].into(),
        capabilities: true,
        interface: None,
        default_route: false,
        source_address: None,
        min_hold_time: None,
        tcp_mss: None,
        multihop: 1,
        ttl_security: false,
        password_file: None,
        os: None,
        hooks: None,
        bfd: None,
        overrides: Overrides { next_hop_v6: Some("2001:db8:1::1".parse().unwrap()), ..Overrides::default() },
    }
}

impl Session {
    pub async fn start() -> Self {
        Session::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut PeerConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Session::dialing(listener, change, |_| {})
    }

    /// Starts a session with a changed `Local`.
    pub async fn start_as(local: impl FnOnce(&mut Local), change: impl FnOnce(&mut PeerConfig)) -> Self {
        Session::dialing(TcpListener::bind("127.0.0.1:0").await.unwrap(), change, local)
    }

    /// Over IPv6, from and to ::1.
    pub async fn start_v6(change: impl FnOnce(&mut PeerConfig)) -> Self {
        let address = PeerAddress::Ip("::1".parse().unwrap());
        let change = |peer: &mut PeerConfig| {
            *peer = PeerConfig { address, ..peer.clone() };
            change(peer);
        };
        Session::dialing(TcpListener::bind("[::1]:0").await.unwrap(), change, |_| {})
    }

    /// Starts a session with a router that has a small TCP window, so that unread octets soon block us.
    pub async fn start_narrow(change: impl FnOnce(&mut PeerConfig)) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        SockRef::from(&socket).set_tcp_mss(536).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Session::dialing(socket.listen(1).unwrap(), change, |_| {})
    }

    pub fn dialing(
        listener: TcpListener,
        change: impl FnOnce(&mut PeerConfig),
        adjust: impl FnOnce(&mut Local),
    ) -> Self {
        let mut config = peer(listener.local_addr().unwrap().port());
        change(&mut config);
        let (rib, rib_seen) = watch::channel(Arc::new(LocRib::default()));
        let (liveness, liveness_seen) = watch::channel(Liveness::default());
        let (order, order_seen) = watch::channel(SessionOrder::Run);
        let (status_tx, status) = watch::channel(SessionReport::new());
        let (vips, vips_seen) = watch::channel(Arc::new(BTreeSet::new()));
        let (peer, peer_seen) = watch::channel(Arc::new(config));
        let mut local = Local {
            asn: Asn::try_from(65001).unwrap(),
            router_id: RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 1, 11)).unwrap(),
            graceful_restart: None,
            restarted: false,
            vips: vips_seen,
            network: watch::channel(Arc::default()).1,
            routers: watch::channel(Arc::default()).1,
            files: Files::new(),
            turns: announcer::watchdog::Turns::new(std::time::Instant::now()),
            continuation: announcer::bgp::io::resume::Continuation::none(),
        };
        adjust(&mut local);
        let task =
            tokio::spawn(session::run(local, peer_seen, rib_seen, liveness_seen, order_seen, status_tx));
        Session { rib, liveness, order, peer, status, vips, task, listener }
    }

    pub async fn accept(&self) -> Router {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("it dials").unwrap();
        stream.set_nodelay(true).unwrap();
        Router { stream }
    }

    /// A router that has received our OPEN and has sent nothing.
    pub async fn open_sent(&self) -> Router {
        self.opened().await.0
    }

    /// The same, and the capabilities of our OPEN.
    pub async fn opened(&self) -> (Router, Vec<(u8, Vec<u8>)>) {
        let mut router = self.accept().await;
        let body = router.expect(OPEN).await;
        let mut rest = &body[10..];
        let mut capabilities = vec![];
        while let [2, length, more @ ..] = rest {
            let (mut parameter, later) = more.split_at(usize::from(*length));
            while let [code, length, more @ ..] = parameter {
                let (value, next) = more.split_at(usize::from(*length));
                capabilities.push((*code, value.to_vec()));
                parameter = next;
            }
            rest = later;
        }
        assert!(rest.is_empty(), "{body:02x?}");
        (router, capabilities)
    }

    pub async fn open_confirm(&self) -> Router {
        self.open_confirm_with(&good_open()).await
    }

    pub async fn open_confirm_with(&self, open: &[u8]) -> Router {
        let mut router = self.open_sent().await;
        router.send(open).await;
        router.expect(KEEPALIVE).await;
        router
    }

    pub async fn established(&mut self) -> Router {
        self.established_with(&good_open()).await
    }

    pub async fn established_with(&mut self, open: &[u8]) -> Router {
        let mut router = self.open_confirm_with(open).await;
        router.send(&keepalive()).await;
        self.until(|status| status.state == StateName::Established).await;
        router
    }

    pub async fn until(&mut self, holds: impl FnMut(&SessionReport) -> bool) -> SessionReport {
        timeout(SOON, self.status.wait_for(holds)).await.expect("it comes to it").unwrap().clone()
    }

    /// Waits longer, for example for a try without an answer.
    pub async fn until_late(&mut self, holds: impl FnMut(&SessionReport) -> bool) -> SessionReport {
        timeout(SOON * 4, self.status.wait_for(holds)).await.expect("it comes to it").unwrap().clone()
    }

    pub fn announce(&self, generation: Generation, vips: &[&str]) {
        self.announce_with(generation, vips, Attributes::default());
    }

    pub fn announce_with(&self, generation: Generation, vips: &[&str], attributes: Attributes) {
        let attributes = Arc::new(attributes);
        let routes = vips.iter().map(|vip| (vip.parse().unwrap(), Arc::clone(&attributes))).collect();
        let caused = Some(tokio::time::Instant::now().into_std());
        self.rib.send_replace(Arc::new(LocRib {
            generation,
            complete: true,
            caused,
            routes,
            ..LocRib::default()
        }));
    }
}

/// The router's end of a connection.
pub struct Router {
    pub stream: TcpStream,
}

impl Router {
    pub async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 19];
        timeout(SOON, self.stream.read_exact(&mut header)).await.expect("a message or the end").ok()?;
        assert_eq!(header[..16], [0xff; 16]);
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - 19];
        timeout(SOON, self.stream.read_exact(&mut body)).await.expect("a body").unwrap();
        Some((header[18], body))
    }

    pub async fn expect(&mut self, kind: u8) -> Vec<u8> {
        let (got, body) = self.next().await.expect("a message");
        assert_eq!(got, kind, "{body:02x?}");
        body
    }

    /// The next UPDATE; KEEPALIVEs before it are skipped.
    pub async fn update(&mut self) -> Vec<u8> {
        loop {
            match self.next().await.expect("a message") {
                (KEEPALIVE, _) => {}
                (UPDATE, body) => return body,
                other => panic!("{other:02x?} is no UPDATE"),
            }
        }
    }

    /// The NOTIFICATION that ends the session, after which no message follows.
    pub async fn farewell(mut self) -> (u8, u8, Vec<u8>) {
        loop {
            match self.next().await.expect("a NOTIFICATION") {
                (KEEPALIVE | UPDATE, _) => {}
                (NOTIFICATION, body) => {
                    assert_eq!(self.next().await, None, "nothing follows a NOTIFICATION");
                    return (body[0], body[1], body[2..].to_vec());
                }
                other => panic!("{other:02x?}"),
            }
        }
    }
}
