//! Tests with real sockets on loopback, and the real kernel.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};

use proptest::prelude::*;

use super::*;
use crate::health::WatchSpec;
use crate::health::watch::{ListenerScope, ListenerScopes};

/// A listener, made as servers do.
fn listen(address: &str, port: u16, prepare: impl Fn(&Socket)) -> TcpListener {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    prepare(&socket);
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

fn plain(_: &Socket) {}

fn shared(socket: &Socket) {
    socket.set_reuse_port(true).unwrap();
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn pair(address: &str, port: u16) -> VipPort {
    (address.parse().unwrap(), port)
}

/// Outside of a VRF.
fn main() -> ListenerScopes {
    ListenerScopes::default()
}

/// The result of both kinds of query, which have to agree.
fn sees(pair: VipPort) -> bool {
    let mut diag = Diag::open().unwrap();
    let (one, all) = (diag.look_up(&[pair], &main()).unwrap(), diag.dump(&[pair], &main()).unwrap());
    assert_eq!(one, all, "{pair:?}");
    one == [LookResult::Listens]
}

#[test]
fn a_listener_is_seen_until_its_last_holder_is_gone() {
    let held = listen("127.0.0.1", 0, plain);
    let here = pair("127.0.0.1", port(&held));
    assert!(sees(here));
    let inherited = held.try_clone().unwrap(); // as in a worker or a new master process
    drop(held);
    assert!(sees(here));
    drop(inherited);
    assert!(!sees(here));
}

#[test]
fn siblings_on_one_port_stand_in_for_one_another() {
    let first = listen("127.0.0.1", 0, shared);
    let here = pair("127.0.0.1", port(&first));
    let second = listen("127.0.0.1", here.1, shared);
    drop(first);
    assert!(sees(here));
    drop(second);
    assert!(!sees(here));
}

#[test]
fn wildcards_and_both_families_are_resolved_as_the_kernel_does() {
    type Prepare = fn(&Socket);
    let v6only: Prepare = |socket| socket.set_only_v6(true).unwrap();
    let dual: Prepare = |socket| socket.set_only_v6(false).unwrap();
    let on_lo: Prepare = |socket| socket.bind_device(Some(b"lo")).unwrap();
    for (address, prepare, v4, v6) in [
        ("127.0.0.7", plain as Prepare, true, false),
        ("127.0.0.8", plain, false, false),
        ("0.0.0.0", plain, true, false),
        ("0.0.0.0", on_lo, true, false),
        ("::", dual, true, true),
        ("::", v6only, false, true),
        ("::1", v6only, false, true),
        ("::ffff:127.0.0.7", dual, true, false),
    ] {
        let listener = listen(address, 0, prepare);
        let port = port(&listener);
        assert_eq!(sees(pair("127.0.0.7", port)), v4, "{address}");
        assert_eq!(sees(pair("::1", port)), v6, "{address}");
        drop(listener);
        assert!(!sees(pair("127.0.0.7", port)) && !sees(pair("::1", port)), "{address}");
    }
}

#[test]
fn connections_are_no_listeners() {
    let listener = listen("127.0.0.1", 0, plain);
    let here = pair("127.0.0.1", port(&listener));
    let _client = std::net::TcpStream::connect(here).unwrap();
    let _server = listener.accept().unwrap();
    drop(listener);
    assert!(!sees(here), "an established connection has the port too");
}

#[test]
fn many_listeners_come_in_many_parts_and_none_is_missed() {
    let first = listen("127.1.0.0", 0, plain);
    let port = port(&first);
    let address = |index: u16| format!("127.1.{}.{}", index / 256, index % 256);
    let mut listeners: Vec<TcpListener> =
        std::iter::once(first).chain((1..700).map(|index| listen(&address(index), port, plain))).collect();
    let pairs: Vec<VipPort> = (0..700).map(|index| pair(&address(index), port)).collect();
    let mut diag = Diag::open().unwrap();
    assert_eq!(diag.dump(&pairs, &main()).unwrap(), [LookResult::Listens; 700]);
    assert_eq!(diag.look_up(&pairs, &main()).unwrap(), [LookResult::Listens; 700]);
    drop(listeners.remove(123));
    for sights in [diag.dump(&pairs, &main()).unwrap(), diag.look_up(&pairs, &main()).unwrap()] {
        let gone: Vec<usize> = (0..700).filter(|place| sights[*place] == LookResult::Nothing).collect();
        assert_eq!(gone, [123]);
    }
}

/// A watch that runs.
struct RunningWatch {
    wanted: watch::Sender<Arc<WatchPlan>>,
    facts: mpsc::Receiver<ListenerFact>,
    report: watch::Receiver<ListenerReport>,
}

impl RunningWatch {
    fn start() -> Self {
        let (wanted, wants) = watch::channel(Arc::default());
        let (facts_tx, facts) = mpsc::channel(64);
        let (say, report) = watch::channel(ListenerReport::default());
        tokio::spawn(run(wants, facts_tx, say));
        RunningWatch { wanted, facts, report }
    }

    fn want(&self, pairs: &[VipPort], grace: u64) {
        let watched = WatchSpec { grace: Duration::from_millis(grace), up: true };
        let pairs: BTreeMap<VipPort, WatchSpec> = pairs.iter().map(|pair| (*pair, watched)).collect();
        self.wanted.send_replace(Arc::new(WatchPlan {
            every: Duration::from_millis(5),
            pairs,
            vrfs: BTreeMap::new(),
        }));
    }

    async fn armed(&mut self) {
        let armed = self.report.wait_for(|report| report.pairs > 0 && report.disarmed.is_empty());
        timeout(Duration::from_secs(5), armed).await.unwrap().unwrap();
    }

    async fn fact(&mut self) -> (VipPort, bool) {
        let fact = timeout(Duration::from_secs(5), self.facts.recv()).await.unwrap().unwrap();
        ((fact.vip, fact.port), fact.listening)
    }

    /// Nothing is reported for twenty looks.
    async fn silent(&mut self) {
        let text = timeout(Duration::from_millis(100), self.facts.recv()).await;
        assert!(text.is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn a_crash_is_reported_at_once_and_so_is_the_return() {
    let listener = listen("127.0.0.1", 0, plain);
    let here = pair("127.0.0.1", port(&listener));
    let mut running = RunningWatch::start();
    running.want(&[here], 0);
    running.armed().await;
    assert_eq!(running.report.borrow().how, Some(LookMethod::Lookups));
    running.silent().await;
    drop(listener);
    assert_eq!(running.fact().await, (here, false));
    running.silent().await;
    let _again = listen("127.0.0.1", here.1, plain);
    assert_eq!(running.fact().await, (here, true));
}

#[tokio::test]
async fn of_many_the_one_that_crashed_is_reported() {
    let mut listeners = vec![listen("127.2.0.0", 0, plain)];
    let port = port(&listeners[0]);
    listeners.extend((1..40).map(|index| listen(&format!("127.2.0.{index}"), port, plain)));
    let pairs: Vec<VipPort> = (0..40).map(|index| pair(&format!("127.2.0.{index}"), port)).collect();
    let mut running = RunningWatch::start();
    running.want(&pairs, 0);
    running.armed().await;
    assert_eq!(running.report.borrow().how, Some(LookMethod::Dump));
    drop(listeners.remove(17));
    assert_eq!(running.fact().await, (pairs[17], false));
    running.silent().await;
}

#[tokio::test]
async fn handing_over_within_the_grace_is_no_crash() {
    let listener = listen("127.0.0.1", 0, plain);
    let here = pair("127.0.0.1", port(&listener));
    let mut running = RunningWatch::start();
    running.want(&[here], 200);
    running.armed().await;
    drop(listener);
    tokio::time::sleep(Duration::from_millis(30)).await;
    let listener = listen("127.0.0.1", here.1, plain);
    running.silent().await;
    drop(listener);
    let gone = Instant::now();
    assert_eq!(running.fact().await, (here, false));
    assert!(gone.elapsed() >= Duration::from_millis(195), "{:?}", gone.elapsed());
}

#[tokio::test]
async fn what_is_not_wanted_is_not_watched() {
    let listener = listen("127.0.0.1", 0, plain);
    let here = pair("127.0.0.1", port(&listener));
    let mut running = RunningWatch::start();
    running.want(&[here], 0);
    running.armed().await;
    running.wanted.send_replace(Arc::default());
    running.report.wait_for(|report| *report == ListenerReport::default()).await.unwrap();
    drop(listener);
    running.silent().await;
}

#[tokio::test]
async fn the_confirming_connect_distinguishes_refused_from_accepted_and_resets() {
    let listener = listen("127.0.0.1", 0, plain);
    let here = pair("127.0.0.1", port(&listener));
    let answer = async |pair| match ConfirmingConnect::start(pair, None) {
        ConfirmingConnect::Answered(answer) => answer,
        ConfirmingConnect::UnderWay(socket) => later(pair, socket).await.1,
    };
    assert_eq!(answer(here).await, ConnectAnswer::Accepted);
    let (mut taken, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), here.0, "from the VIP itself");
    assert_eq!(taken.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    drop(listener);
    assert_eq!(answer(here).await, ConnectAnswer::Refused);
    // An address that is not on this host cannot be the source. This proves nothing about the server.
    assert_eq!(answer(pair("192.0.2.80", here.1)).await, ConnectAnswer::Unanswered);
}

proptest! {
    #[test]
    fn no_octets_of_an_answer_are_too_strange(
        kind in prop_oneof![Just(20_u16), Just(2), Just(3), any::<u16>()],
        family in prop_oneof![Just(2_u8), Just(10), any::<u8>()],
        body in proptest::collection::vec(any::<u8>(), 0..200),
        behind in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        // A header of the right length: what stands behind it is read as well.
        let mut octets = (16 + 1 + body.len() as u32).to_ne_bytes().to_vec();
        octets.extend(kind.to_ne_bytes());
        octets.extend([0; 10]);
        octets.push(family);
        octets.extend(&body);
        octets.extend(&behind);
        super::diag::messages(&octets).take(300).for_each(drop);
        super::diag::messages(&behind).take(300).for_each(drop);
    }
}

/// The kernel finds a socket by the interface of the question. The question is bound to lo in place of a VRF, which not every kernel has.
#[test]
fn in_a_vrf_only_listeners_of_the_vrf_count() {
    let index = nix::net::if_::if_nametoindex("lo").unwrap();
    let seen = |pair: VipPort, scope: Option<ListenerScope>| {
        let (mut diag, scopes) = (Diag::open().unwrap(), ListenerScopes([(pair.0, scope)].into()));
        let (one, all) = (diag.look_up(&[pair], &scopes).unwrap(), diag.dump(&[pair], &scopes).unwrap());
        assert_eq!(one, all, "{pair:?} {scope:?}");
        one[0]
    };
    let scope = |device, unbound| Some(ListenerScope { device, unbound });
    let bound = |socket: &Socket| socket.bind_device(Some(b"lo")).unwrap();
    let (free, inside) = (listen("127.0.0.1", 0, plain), listen("0.0.0.0", 0, bound));
    let (of_free, of_inside) = (pair("127.0.0.1", port(&free)), pair("127.0.0.1", port(&inside)));
    for (pair, scope, want) in [
        (of_free, scope(index, true), LookResult::Listens),
        (of_free, scope(index, false), LookResult::Nothing),
        (of_inside, scope(index, true), LookResult::Listens),
        (of_inside, scope(index, false), LookResult::Listens),
        (of_inside, scope(index + 1000, true), LookResult::Nothing),
        (of_inside, None, LookResult::Unknown),
    ] {
        assert_eq!(seen(pair, scope), want, "{pair:?} {scope:?}");
    }
}
