//! No input ends the session's task, and the segments of TCP make no difference: the same stream is sent to the same session, as a
//! whole, octet by octet and in pieces of any size, over real TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod scripted;

use std::collections::BTreeMap;
use std::time::Duration;

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::session::MessageCounters;
use scripted::{KEEPALIVE, NOTIFICATION, OPEN, REFRESH, Session, UPDATE, keepalive, message, open_body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The state of the session before the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartState {
    OpenSent,
    OpenConfirm,
    Established,
}

/// The result of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The sent messages with type and body, except UPDATEs and refresh bounds, which depend on the timing.
    said: Vec<(u8, Vec<u8>)>,
    received: MessageCounters,
    why: String,
}

/// A stream of messages that are mostly correct, and then random octets.
fn stream(luck: &mut fastrand::Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..luck.usize(1..12) {
        let garbage: Vec<u8> = (0..luck.usize(..30)).map(|_| luck.u8(..)).collect();
        stream.extend(match luck.u8(..24) {
            0 => message(luck.u8(..8), &garbage),
            1 => message(NOTIFICATION, &[&[6, 2, 3], b"why".as_slice()].concat()),
            2 => message(OPEN, &garbage),
            3 => garbage,
            4 => message(UPDATE, &[&[0, 9], garbage.as_slice()].concat()),
            5 => open(),
            6..=9 => message(REFRESH, &[0, luck.u8(1..4), luck.u8(..3), 1]),
            10..=15 => message(UPDATE, &[&[0, 0], [0, garbage.len() as u8].as_slice(), &garbage].concat()),
            _ => keepalive(),
        });
    }
    if luck.u8(..4) == 0 {
        let at = luck.usize(..stream.len());
        stream[at] = luck.u8(..);
    }
    stream
}

/// An OPEN with a hold time of zero, so that a slow machine sends no additional KEEPALIVE.
fn open() -> Vec<u8> {
    message(OPEN, &open_body(65000, 0, [10, 9, 9, 9], scripted::ENHANCED))
}

/// Sends the stream in these pieces, closes, and returns the session's messages and status.
async fn answer(begin: StartState, pieces: Vec<&[u8]>) -> Answer {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let mut router = match begin {
        StartState::OpenSent => session.open_sent().await,
        StartState::OpenConfirm => session.open_confirm_with(&open()).await,
        StartState::Established => {
            let router = session.established_with(&open()).await;
            session.until(|status| status.acknowledged == 1).await;
            router
        }
    };
    for piece in &pieces {
        if router.stream.write_all(piece).await.is_err() {
            break; // it closed the connection because of an earlier message
        }
        if pieces.len() > 1 {
            // This is long enough so that most pieces are read separately.
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    let _ = router.stream.shutdown().await; // it may already be closed
    let mut octets = Vec::new();
    timeout(Duration::from_secs(5), router.stream.read_to_end(&mut octets))
        .await
        .expect("it closes too")
        .expect("with a FIN, and no reset");
    let status = session.until(|status| status.last_down.is_some()).await;
    assert!(!session.task.is_finished(), "the task lives on");
    // A new session can be established afterwards.
    session.established_with(&open()).await;
    let why = status.last_down.unwrap().why.to_string();
    Answer { said: messages(&octets), received: status.received, why }
}

fn messages(mut octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    while let [_, rest @ ..] = octets {
        assert!(rest.len() >= 18, "whole messages alone");
        let length = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
        let (message, later) = octets.split_at(length);
        if ![UPDATE, REFRESH].contains(&message[18]) {
            messages.push((message[18], message[19..].to_vec()));
        }
        octets = later;
    }
    messages
}

/// The stream cut at random places.
fn pieces<'a>(stream: &'a [u8], luck: &mut fastrand::Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(luck.usize(1..=rest.len().min(40)));
        pieces.push(piece);
        rest = later;
    }
    pieces
}

#[tokio::test]
async fn no_octets_end_the_task_and_no_cut_changes_the_answer() {
    let only = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("a number"));
    let seeds = only.map_or(0..200, |seed| seed..seed + 1);
    let mut reasons = BTreeMap::<String, u32>::new();
    let mut running = tokio::task::JoinSet::new();
    for seed in seeds {
        running.spawn(async move {
            let mut luck = fastrand::Rng::with_seed(seed);
            let begin =
                [StartState::OpenSent, StartState::OpenConfirm, StartState::Established][luck.usize(..3)];
            let stream = stream(&mut luck);
            let whole = answer(begin, vec![&stream]).await;
            let cut = if seed % 8 == 0 { stream.chunks(1).collect() } else { pieces(&stream, &mut luck) };
            let cut = answer(begin, cut).await;
            assert_eq!(cut, whole, "seed {seed}: {begin:?}, {stream:02x?}; SEED={seed} runs it alone");
            whole.why
        });
        if running.len() >= 16 {
            *reasons.entry(running.join_next().await.unwrap().unwrap()).or_default() += 1;
        }
    }
    while let Some(why) = running.join_next().await {
        *reasons.entry(why.unwrap()).or_default() += 1;
    }
    println!("{reasons:#?}");
    assert!(only.is_some() || reasons.len() > 5, "the streams are all alike: {reasons:?}");
}

#[tokio::test]
async fn valid_messages_however_they_are_cut_leave_the_session_up_and_the_table_whole() {
    let mut running = tokio::task::JoinSet::new();
    for seed in 0..24 {
        running.spawn(async move {
            let mut luck = fastrand::Rng::with_seed(seed);
            let mut session = Session::start().await;
            session.announce(1, &["192.0.2.80/32"]);
            let mut router = session.established_with(&open()).await;
            let mut stream = Vec::new();
            for _ in 0..20 {
                stream.extend(match luck.u8(..3) {
                    0 => message(REFRESH, &[0, 1, 0, 1]),
                    1 => message(UPDATE, &[0, 0, 0, 2, luck.u8(..), luck.u8(..)]),
                    _ => keepalive(),
                });
            }
            for (count, piece) in pieces(&stream, &mut luck).into_iter().enumerate() {
                router.send(piece).await;
                let vips = ["192.0.2.80/32", "192.0.2.81/32", "192.0.2.82/32"];
                session.announce(2 + count as u64, &vips[..count % 4]);
                tokio::task::yield_now().await;
            }
            session.announce(1000, &["192.0.2.80/32", "192.0.2.82/32"]);
            let status = session
                .until(|status| {
                    let received = status.received;
                    status.acknowledged == 1000
                        && received.refresh + received.update + received.keepalive == 21
                })
                .await;
            assert_eq!((status.state, status.announced), (StateName::Established, 2));
            session.order.send_replace(announcer::bgp::io::session::SessionOrder::Deconfigured);
            let mut table = BTreeMap::new();
            loop {
                match router.next().await.expect("a NOTIFICATION at last") {
                    (UPDATE, body) => apply(&mut table, &body),
                    (REFRESH | KEEPALIVE, _) => {}
                    (NOTIFICATION, body) => break assert_eq!(body, [6, 3]),
                    other => panic!("{other:02x?}"),
                }
            }
            let known: Vec<u8> = table.into_keys().collect();
            assert_eq!(known, [80, 82], "seed {seed}");
        });
    }
    running.join_all().await;
}

/// An IPv4 UPDATE about 192.0.2.x/32.
fn apply(table: &mut BTreeMap<u8, ()>, body: &[u8]) {
    let withdrawn = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let attributes = usize::from(u16::from_be_bytes([body[2 + withdrawn], body[3 + withdrawn]]));
    for prefix in body[2..2 + withdrawn].chunks(5) {
        assert!(table.remove(&prefix[4]).is_some(), "{prefix:?} is withdrawn and was not announced");
    }
    for prefix in body[4 + withdrawn + attributes..].chunks(5) {
        table.insert(prefix[4], ());
    }
}
