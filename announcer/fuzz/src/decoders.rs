//! Every decoder of octets from outside, and the processing of its results.
//!
//! Pure. For no input may a function here panic, hang or hold more than a mebibyte.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use announcer::bfd::fsm::{BfdSettings, Machine};
use announcer::bfd::io::SavedSession;
use announcer::bfd::packet::{self, BfdState};
use announcer::bgp::discovery::message as discovery_message;
use announcer::bgp::discovery::{LearntRouters, RouterDiscovery};
use announcer::bgp::fsm::{self, Action, Event, OutgoingMessage, State, StateName, StepContext, Timers};
use announcer::bgp::hint::Clues;
use announcer::bgp::notification::Notification;
use announcer::bgp::open::{NegotiatedSession, Offer, negotiate};
use announcer::bgp::path::{Address, Fitness, Link, LinkState, Network};
use announcer::bgp::resume::{SessionSnapshot, StoredOctets, prefixes_from_text};
use announcer::bgp::wire::{self, Framer, Message};
use announcer::chain::heartbeat::{
    AboutReceiver, Facts, Families, Header, Heartbeat, HeartbeatStart, Keys, ListDigest, MemberPresence,
    NextHops, Returned, Returns,
};
use announcer::chain::member::{Member, MemberSettings};
use announcer::chain::test_packets::TestPacketReport;
use announcer::config::{self, Config, ProbeConfig};
use announcer::control::http;
use announcer::director::Director;
use announcer::director::resume::{FoundFacts, KernelFacts, VipSnapshot};
use announcer::drain::{Drain, Drains};
use announcer::health::grpc::GrpcParts;
use announcer::health::ntp::NtpTime;
use announcer::health::{dns, grpc, icmp, ntp};
use announcer::model::{Asn, Family, PeerAsn, RouterId};
use announcer::monotonic::HostStart;
use announcer::takeover::repeats::Takeovers;
use announcer::takeover::state;

/// Everything that a peer can send: the octets are framed and decoded, and the state machine gets the messages in a state that has
/// a connection. The messages must not depend on where the stream is cut.
pub fn wire(octets: &[u8]) {
    let whole = framed([octets]);
    let dice = dice(octets);
    let (front, back) = octets.split_at(dice % (octets.len() + 1));
    assert!(
        whole == framed([front, back]),
        "cut after {} octets, the stream gives other messages",
        front.len()
    );
    let states = [StateName::OpenSent, StateName::OpenConfirm, StateName::Established];
    session(states[dice % states.len()], &whole);
}

/// What neighbours on a link can send to the raw socket of router discovery: messages, each with the last octet of its source, its hop
/// limit, the seconds before it, and its length. Whatever they say, memory has a limit, and there is something to wait for.
pub fn discovery(octets: &[u8]) {
    const OTHERS: usize = 16;
    let mut now = Instant::now();
    let mut network = Network::default();
    network.links.insert(2, Link { name: "eth0".into(), state: LinkState::Up });
    let ours = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let address =
        Address { ip: ours.into(), prefix: 64, fitness: Fitness::Unfit, temporary: false, expires: false };
    network.addresses.insert(2, vec![address]);
    let mut discovery = RouterDiscovery::default();
    discovery.follow(&BTreeSet::from(["eth0".to_owned()]), &network, now);
    let mut rest = octets;
    while let [last, hop_limit, seconds, length, after @ ..] = rest {
        let (message, following) = after.split_at(usize::from(*length).min(after.len()));
        rest = following;
        now += Duration::from_secs(u64::from(*seconds) * 8);
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, (*last).into());
        if let Ok(message) = discovery_message::read(message, source, Some(*hop_limit)) {
            discovery.heard(2, source, message, f64::from(*last) / 255.0, now);
        }
        assert!(discovery.due(now).len() <= 2, "more than an advertisement and a solicitation");
        assert!(discovery.deadline().is_some_and(|next| next > now), "the loop would not wait");
        let routers = LearntRouters { links: discovery.routers(), failure: None };
        assert!(routers.links.values().all(|link| link.others.len() <= OTHERS));
        let _ = routers.warnings();
    }
}

/// The state that a process has left: its file, and the values in it. A fuzzer does not find checksums, so the values also come without
/// them. Whatever they say, the next process begins, and its timers can be computed.
pub fn state(octets: &[u8]) {
    let _ = (state::check_head(octets), state::sequence(octets), Takeovers::from_octets(octets));
    if let Ok(state::Region { entries, .. }) = state::region(octets) {
        let again = [state::region_head(1).to_vec(), state::records(&entries)].concat();
        assert!(
            state::region(&again).is_ok_and(|region| region.entries == entries),
            "the entries are written otherwise"
        );
    }
    let Some((kind, value)) = octets.split_first() else { return };
    let (now, start) = (*BEGIN, HostStart::new(*BEGIN, Duration::from_secs(1000)));
    match kind % 5 {
        0 => {
            let Ok(session) = serde_json::from_slice::<SessionSnapshot>(value) else { return };
            assert!(session.settings.allow(&session.settings));
            let since = start.at(session.established);
            let state = State::resumed(since, session.negotiated.hold_time, now, now);
            let context = StepContext { now, jitter: 0.5 };
            let timers = Timers::new(Duration::from_secs(480));
            let _ = fsm::step(&timers, state, Event::TimerExpires, context);
        }
        1 => {
            let Ok(vip) = serde_json::from_slice::<VipSnapshot>(value) else { return };
            let address = "192.0.2.80".parse().unwrap_or(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
            let kernel = KernelFacts { present: [address].into(), gone: BTreeSet::new() };
            let found = FoundFacts { vips: [(address, vip)].into(), kernel };
            let mut director = Director::resumed(Arc::clone(&CONFIG), Drains::default(), &found, start, now);
            for seconds in [0, 1, 10, 1000] {
                let _ = director.expire(now + Duration::from_secs(seconds));
                let _ = director.rib();
            }
        }
        2 => {
            let Ok(sessions) = serde_json::from_slice::<Vec<SavedSession>>(value) else { return };
            for session in sessions {
                let mut machine = Machine::restore(&session.snapshot, now);
                let _ = (machine.transmit(now, 0.5), machine.deadline(), machine.remote_detection_time());
            }
        }
        3 => {
            let Some(stored) = StoredOctets::from_octets(value) else { return };
            for given in [0, stored.offset, stored.offset.saturating_add(3), u64::MAX] {
                let _ = stored.unsent(given);
            }
        }
        _ => drop(prefixes_from_text(value)),
    }
}

/// What reaches a BFD session: each step is a kind and two octets, which say how much later it happens, and for kind 0 a packet of 32
/// octets. A packet is either dropped, or it is written as it was read. Whatever arrives, no packet is sent that RFC 5880 forbids, and
/// the session never asks to be called again at once.
pub fn bfd(octets: &[u8]) {
    let mut now = *BEGIN;
    let settings = |octet: u8| BfdSettings {
        interval: Duration::from_millis(10 + u64::from(octet) * 39),
        multiplier: octet.max(1),
    };
    let mut machine = Machine::new(settings(10), 7, now);
    let mut rest = octets;
    while let [kind, first, second, behind @ ..] = rest {
        rest = behind;
        now += Duration::from_micros(u64::from(*first) << (second % 24));
        match kind % 8 {
            0..=3 => {
                let (datagram, behind) = rest.split_at(rest.len().min(32));
                rest = behind;
                if let Ok(packet) = packet::decode(datagram) {
                    assert!(
                        packet::decode(&packet::encode(&packet)) == Ok(packet),
                        "{packet:?} is written otherwise"
                    );
                    machine.receive(&packet, now);
                }
            }
            4 => machine.configure(settings(*second), now),
            5 if *second == 0 => drop(machine.admin_down(now)),
            6 => {
                let copy = Machine::restore(&machine.snapshot(now), now);
                assert!(!copy.snapshot(now).differs(&machine.snapshot(now)), "another session");
                machine = copy;
            }
            _ => {}
        }
        machine.expire(now);
        let mut count = 0;
        while let Some(sent) = machine.transmit(now, f64::from(*second) / 255.0) {
            count += 1;
            assert!(count <= 2, "an answer and a packet at most");
            assert!(!(sent.poll && sent.is_final), "P and F");
            assert!(sent.state == BfdState::Up || sent.desired_min_tx >= Duration::from_secs(1), "{sent:?}");
            let named =
                sent.your_discriminator != 0 || matches!(sent.state, BfdState::Down | BfdState::AdminDown);
            assert!(named && sent.my_discriminator == 7 && sent.multiplier > 0, "{sent:?}");
        }
        assert!(machine.deadline().is_none_or(|deadline| deadline > now), "{machine:?} is called for ever");
    }
}

/// What reaches a member of a chain. The octets are a datagram, and the part of one before its HMAC. A heartbeat that is accepted is
/// written as it was read. Then each step is a kind and three octets: a heartbeat of one of four starts, time, or an answer of the
/// other member's kernel. The machine never asks to be called again at once, and no heartbeat of another host's start can count without
/// an answer to one of ours.
pub fn chain(octets: &[u8]) {
    let own = IpAddr::from([10, 0, 1, 11]);
    let other = IpAddr::from([10, 0, 1, 12]);
    let _ = Heartbeat::decode(octets, other, own, &KEYS);
    let signed = KEYS.sign([b"anch\x01", octets].concat());
    if let Ok(heartbeat) = Heartbeat::decode(&signed, other, own, &KEYS) {
        let again = Heartbeat::decode(&heartbeat.encode(&KEYS), other, own, &KEYS);
        assert!(again.as_ref() == Ok(&heartbeat), "{heartbeat:?} is written otherwise");
    }
    let start = |number: u8| HeartbeatStart::new(1 + u128::from(number));
    let Some(ours) = start(255) else { return };
    let mut now = *BEGIN;
    let settings = MemberSettings { own, member: other, interval: Duration::from_millis(100) };
    let mut member = Member::new(settings, ours, now);
    let mut sent = 0;
    let mut rest = octets;
    while let [kind, first, second, third, behind @ ..] = rest {
        rest = behind;
        match kind % 4 {
            0 => {
                let Some(theirs) = start(first % 4) else { return };
                let returned = Returned { start: ours, counter: u64::from(*third) };
                let header = Header {
                    sender: other,
                    receiver: own,
                    start: theirs,
                    counter: u64::from(*second),
                    returns: Returns { accepted: None, heard: Some(returned) },
                };
                let counts = member.receive(&said(header, first >> 2), now).is_ok();
                assert!(!counts || (1..=sent).contains(&returned.counter), "it returns what we never sent");
            }
            1 => drop(member.kernel_answered(now)),
            2 => member.hurry(),
            _ => now += Duration::from_micros(u64::from(*first) << (second % 20)),
        }
        member.expire(now);
        let asked = (0..2).filter(|_| member.ask(now)).count();
        assert!(asked <= 1, "it is asked twice");
        while let Some(header) = member.transmit(now) {
            sent += 1;
            assert!(header.counter == sent, "the counter grows by one");
        }
        assert!(member.deadline() > now, "{member:?} is called for ever");
    }
}

/// A heartbeat with this header; the other number says what its sender does.
fn said(header: Header, number: u8) -> Heartbeat {
    let presence =
        [MemberPresence::Here, MemberPresence::Leaving, MemberPresence::Left][usize::from(number % 3)];
    let facts = Facts {
        interval: Duration::from_millis(10 + 33 * u64::from(number)),
        rules: Families::BOTH,
        presence,
        switched_off: false,
        next_hops: NextHops::default(),
        members: ListDigest::default(),
        services: ListDigest::default(),
    };
    let about_receiver = AboutReceiver::default();
    let test_packets = TestPacketReport::default();
    Heartbeat { header, facts, test_packets, about_receiver, answer: None, intent: None, vips: Vec::new() }
}

/// A key of the chain.
static KEYS: LazyLock<Keys> = LazyLock::new(|| match Keys::parse("0123456789abcdef") {
    Ok(keys) => keys,
    Err(error) => unreachable!("{error}"),
});

/// The time at which all sessions begin.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A configuration with the VIP 192.0.2.80.
static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| match config::parse("fuzz", CONFIG_TEXT) {
    Ok(config) => Arc::new(config),
    Err(errors) => unreachable!("{errors}"),
});

/// The text of [`CONFIG`].
const CONFIG_TEXT: &str = "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n[[peer]]\nname = \"r1\"\naddress = \"10.0.1.1\"\nasn = 65000\n\
                        [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n";

/// What probed servers answer, except over HTTP. The first octet chooses the check, the others are the answer. Its result is a text that
/// can be shown.
pub fn answers(octets: &[u8]) {
    let Some((choice, answer)) = octets.split_first() else { return };
    let Some(probe) = PROBES.get(usize::from(*choice) % PROBES.len()) else { return };
    let said = match probe {
        ProbeConfig::Dns(dns) => {
            let id = answer.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            dns::judge(dns, id, answer)
                .map_or_else(|failure| failure.to_string(), |answer| answer.to_string())
        }
        ProbeConfig::Icmp(_) => {
            let [first, second, .., data] = answer else { return };
            let (family, sequence) =
                (if first % 2 == 0 { Family::V4 } else { Family::V6 }, u16::from_be_bytes([*first, *second]));
            let request = icmp::request(family, sequence, &[*data]);
            assert!(icmp::judge(family, sequence, &[*data], &request).is_err(), "a request is no reply");
            match icmp::judge(family, sequence, &[*data], answer) {
                Ok(()) => "echo".to_owned(),
                Err(failure) => failure.to_string(),
            }
        }
        ProbeConfig::Udp(udp) => {
            udp.compare(answer).map_or_else(|failure| failure.to_string(), |answer| answer.to_string())
        }
        ProbeConfig::Ntp(config) => {
            let nonce = answer
                .get(24..32)
                .and_then(|octets| octets.first_chunk())
                .map_or(0, |octets| u64::from_be_bytes(*octets));
            let (sent, received) =
                (NtpTime::of_unix(Duration::from_secs(1)), NtpTime::of_unix(Duration::from_secs(2)));
            ntp::judge(config, nonce, answer, sent, received)
                .map_or_else(|failure| failure.to_string(), |answer| answer.to_string())
        }
        ProbeConfig::Grpc(_) => {
            let (status, rest) = answer.split_at(answer.len().min(2));
            let (text, body) = rest.split_at(rest.len() / 2);
            let http_status = if status == b"no" { 404 } else { 200 };
            let of_body = GrpcParts { http_status, status: Some(b"0"), text: None, body: rest };
            let of_status = GrpcParts { http_status, status: Some(status), text: Some(text), body };
            [of_body, of_status]
                .map(|parts| {
                    grpc::judge(parts).map_or_else(|failure| failure.to_string(), |answer| answer.to_string())
                })
                .join("; ")
        }
        ProbeConfig::Http(_) | ProbeConfig::Tls(_) | ProbeConfig::Tcp(_) => return,
        ProbeConfig::Exec(_) | ProbeConfig::File(_) => return,
    };
    assert!(!said.is_empty() && !said.chars().any(char::is_control), "{said:?} moves the cursor");
}

/// The checks of [`answers`].
static PROBES: LazyLock<Vec<ProbeConfig>> = LazyLock::new(|| {
    let checks = [
        "dns = \"www.example.com\"\nexpect_answer = [\"192.0.2.80\"]",
        "dns = \"www.example.com\"\nexpect_rcode = \"REFUSED\"",
        "dns = \"example.com\"\nrecord_type = \"TXT\"",
        "dns = \"example.com\"\nrecord_type = \"HTTPS\"",
        "dns = \"example.com\"\nrecord_type = \"CAA\"",
        "icmp = 1",
        "udp = 1\nexpect = \"^OK\"\nexpect_hex = \"01\"",
        "ntp = 1\nmax_offset = \"1h\"",
        "grpc = \"http://www.example.com\"",
    ];
    let probe = |check: &str| match config::parse("fuzz", &CONFIG_TEXT.replace("tcp = 80", check)) {
        Ok(config) => {
            config.services.into_iter().flat_map(|service| service.checks).map(|check| check.probe).next()
        }
        Err(errors) => unreachable!("{errors}"),
    };
    checks.into_iter().filter_map(probe).collect()
});

/// A configuration is either refused with a text, or accepted; then its printed form parses to the same configuration.
pub fn config(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    match announcer::config::parse("fuzz.toml", &text) {
        Ok(config) => {
            let printed = announcer::config::canonical(&config);
            let again = announcer::config::parse("canonical", &printed).ok();
            assert!(again.as_ref() == Some(&config), "what is printed reads otherwise:\n{printed}");
        }
        Err(errors) => assert!(!errors.to_string().is_empty(), "an error without a word"),
    }
}

/// A drain file. A drain that was read and written must be the same when it is read and written again.
pub fn drain(octets: &[u8]) {
    let drain = Drain::parse(&String::from_utf8_lossy(octets));
    let shown = drain.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?} moves the cursor");
    let written = drain.to_file();
    let again = Drain::parse(&written).to_file();
    assert!(again == written, "{written:?} is written again as {again:?}");
}

/// A request on the control socket: method and target in the first line, the body after it. It is either a valid request or
/// refused.
pub fn control(octets: &[u8]) {
    let end = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let (head, body) = octets.split_at(end);
    let head = String::from_utf8_lossy(head);
    let (method, target) = head.split_once(' ').unwrap_or((&head, ""));
    let Ok(request) = http::route(method, target, body.get(1..).unwrap_or_default()) else { return };
    let call = http::call(&request);
    let again = http::route(call.method, &call.target, &call.body);
    assert!(again.is_ok_and(|again| again == request), "a request that is sent is not what is read");
}

type DecodedStream = (Vec<Message>, Option<Notification>);

fn framed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> DecodedStream {
    let mut framer = Framer::default();
    let mut messages = Vec::new();
    for piece in pieces {
        framer.feed(piece);
        loop {
            match framer.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(notification) => return (messages, Some(notification)),
            }
        }
    }
    (messages, None)
}

/// A number that depends only on the octets, so that a failure can be reproduced.
fn dice(octets: &[u8]) -> usize {
    let last = octets.iter().rev().take(8);
    last.fold(octets.len(), |sum, octet| sum.wrapping_mul(31).wrapping_add(usize::from(*octet)))
}

/// Processes the messages as a session does.
fn session(begin: StateName, (messages, broken): &DecodedStream) {
    let timers = Timers::new(Duration::from_secs(480));
    let moment = StepContext { now: Instant::now(), jitter: 0.5 };
    let (offer, usual) = &*USUAL;
    let mut state = State::new();
    let mut agreed = None;
    let mut out = Vec::new();
    let mut run = |event: Event, state: &mut State| {
        let (next, actions) = fsm::step(&timers, std::mem::take(state), event, moment);
        *state = next;
        for action in actions {
            if let Action::Send(OutgoingMessage::Notification(notification)) = &action {
                wire::notification(&mut out, notification);
                assert!(out.len() <= wire::MAX_LENGTH, "a NOTIFICATION of {} octets", out.len());
                out.clear();
            }
            if let Action::Down(why) = &action {
                let said =
                    format!("{why}, {}", why.hint(&Clues::default()).unwrap_or_else(|| why.label().into()));
                assert!(!said.bytes().any(|octet| octet < b' '), "{said:?} moves the cursor");
            }
        }
    };
    run(Event::Start, &mut state);
    run(Event::TcpConnected, &mut state);
    if begin != StateName::OpenSent {
        run(Event::Open(usual.clone()), &mut state);
        agreed = Some(usual.clone());
    }
    if begin == StateName::Established {
        run(Event::Keepalive, &mut state);
    }
    for message in messages {
        let event = match message {
            Message::Open(open) => match open {
                Ok(open) => negotiate(offer, open).map_or_else(Event::OpenError, Event::Open),
                Err(error) => Event::OpenError(error.clone()),
            },
            Message::Update(Ok(())) => Event::Update,
            Message::Update(Err(notification)) => Event::UpdateError(notification.clone()),
            Message::Notification(notification) => Event::Notification(notification.clone()),
            Message::Keepalive => Event::Keepalive,
            Message::Refresh(refresh) => {
                let asked = agreed.as_ref().map_or(Ok(None), |agreed| agreed.refresh(refresh));
                asked.map_or_else(Event::RefreshError, Event::Refresh)
            }
        };
        if let Event::Open(negotiated) = &event {
            agreed = Some(negotiated.clone());
        }
        run(event, &mut state);
        if state.name() == StateName::Idle {
            return; // a session reads nothing after a broken message
        }
    }
    if let Some(notification) = broken {
        run(Event::HeaderError(notification.clone()), &mut state);
        assert!(state.name() == StateName::Idle, "a broken stream is read on");
    }
}

/// Our offer, and the negotiated values after the usual answer.
static USUAL: LazyLock<(Offer, NegotiatedSession)> = LazyLock::new(|| {
    let offer = offer();
    let negotiated = usual(&offer);
    (offer, negotiated)
});

/// An offer of AS 65001 to a peer of AS 65000.
fn offer() -> Offer {
    let asn = |number| Asn::try_from(number).unwrap_or_else(|e| panic!("{e}"));
    let router_id = RouterId::try_from(Ipv4Addr::new(10, 0, 1, 11)).unwrap_or_else(|e| panic!("{e}"));
    let families = BTreeSet::from([Family::V4, Family::V6]);
    Offer {
        asn: asn(65001),
        router_id,
        hold_time: 9,
        min_hold_time: 0,
        families,
        peer_asn: PeerAsn::Is(asn(65000)),
        capabilities: true,
        extended_next_hop: true,
        restart: None,
    }
}

/// The negotiated values for an OPEN as FRR sends it.
fn usual(offer: &Offer) -> NegotiatedSession {
    let theirs = [
        &[4, 0xfd, 0xe8, 0, 180, 10, 9, 9, 9, 28][..],
        &[2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 2, 0, 1, 2, 2, 70, 0, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8],
    ]
    .concat();
    let length = 19 + theirs.len() as u8;
    let message = [&[0xff; 16], &[0, length, 1][..], &theirs].concat();
    match framed([message.as_slice()]) {
        (messages, None) => match messages.as_slice() {
            [Message::Open(Ok(open))] => negotiate(offer, open).unwrap_or_else(|e| panic!("{e}")),
            _ => panic!("the usual OPEN is refused"),
        },
        (_, Some(notification)) => panic!("{notification}"),
    }
}
