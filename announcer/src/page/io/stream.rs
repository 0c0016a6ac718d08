//! The server-sent events of the page: the whole state at most once a second, and each change at once.
//!
//! Touches the clock. The state is made once for all streams. A stream sends the newest one when its client has read the one before,
//! so a slow client delays nobody, and it keeps nothing but the newest state.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::sleep;

use super::state::state;
use super::{PageContext, PageServer, STREAMS};
use crate::chain::member::MemberState;
use crate::chain::status::ChainStatus;
use crate::control::api::Numbered;
use crate::control::io::serving::{self, AnswerBody, StreamEnd, StreamPieces};
use crate::history::{Cursor, History};

/// The least time between two states.
const PAUSE: Duration = Duration::from_secs(1);
/// After this time a state is sent although nothing has changed.
const SILENCE: Duration = Duration::from_secs(10);
/// A state may take this part of the time: one fiftieth.
const PART: u32 = 50;

/// Publishes states while there are streams; returns when the daemon ends.
pub(super) async fn publish(server: &PageServer) {
    let PageContext { control, samples, .. } = &server.context;
    let (mut samples, mut history) = (samples.clone(), control.history.clone());
    let (mut drains, mut peers) = (control.drains.clone(), control.peers.clone());
    let mut chain = control.chain.clone();
    loop {
        if server.streams.available_permits() == STREAMS {
            server.published.send_replace(None);
            server.began.notified().await;
        }
        samples.borrow_and_update();
        history.borrow_and_update();
        drains.borrow_and_update();
        let mut sessions = peers.borrow_and_update().clone();
        let routers = sessions.routers();
        let members = states(&chain.borrow_and_update());
        let began = Instant::now();
        let Some(text) = state(&server.context).await else { return };
        let event = [b"event: status\ndata: ", &*text, b"\n\n"].concat();
        server.published.send_replace(Some((began, event.into())));
        // On a host with very many VIPs, states are rarer.
        sleep(PAUSE.max(began.elapsed() * PART)).await;
        let other_chain = async { chain.wait_for(|now| states(now) != members).await.map(drop) };
        tokio::select! {
            changed = samples.changed() => if changed.is_err() { return },
            changed = history.changed() => if changed.is_err() { return },
            changed = drains.changed() => if changed.is_err() { return },
            changed = peers.changed() => if changed.is_err() { return },
            () = sessions.routers_changed(&routers) => {}
            changed = other_chain => if changed.is_err() { return },
            () = server.began.notified() => {}
            () = sleep(SILENCE) => {}
        }
    }
}

/// The states of the members of the chain. The rest of its state changes all the time, and no state of the page is sent for it.
fn states(chain: &ChainStatus) -> Vec<(IpAddr, MemberState)> {
    chain.members.iter().map(|(address, member)| (*address, member.state)).collect()
}

/// Starts a stream that holds `place`. The second value resolves when the client has read nothing for too long.
pub(super) fn stream(
    server: &PageServer,
    place: OwnedSemaphorePermit,
) -> (AnswerBody, oneshot::Receiver<()>) {
    let (history, published) = (server.context.control.history.clone(), server.published.subscribe());
    let cursor = history.borrow().end();
    let started = serving::stream(place, |pieces| send(history, cursor, published, pieces));
    server.began.notify_one();
    started
}

async fn send(
    mut history: watch::Receiver<History>,
    mut cursor: Cursor,
    mut published: watch::Receiver<Option<(Instant, Bytes)>>,
    pieces: StreamPieces,
) -> StreamEnd {
    let mut piece = Bytes::from_static(b": announcer\n\n"); // the client sees at once that it is connected
    published.mark_changed();
    loop {
        if let Err(end) = pieces.send(piece).await {
            return end;
        }
        piece = tokio::select! {
            changed = history.changed() => match changed {
                Ok(()) => changes(&history.borrow_and_update(), &mut cursor),
                Err(_) => return StreamEnd::Gone,
            },
            changed = published.changed() => match changed {
                // What was made long ago is not sent; a new one is under way.
                Ok(()) => match &*published.borrow_and_update() {
                    Some((made, event)) if made.elapsed() < SILENCE * 2 => event.clone(),
                    Some(_) | None => Bytes::new(),
                },
                Err(_) => return StreamEnd::Gone,
            },
            () = pieces.closed() => return StreamEnd::Gone,
        };
    }
}

/// The changes that the client has not read, as events. What it has missed is in the next state.
fn changes(history: &History, cursor: &mut Cursor) -> Bytes {
    let mut text = String::new();
    for change in &history.read(cursor).changes {
        let Ok(data) = serde_json::to_string(&Numbered::new(change)) else { continue };
        text.push_str(&format!("event: change\ndata: {data}\n\n"));
    }
    text.into()
}
