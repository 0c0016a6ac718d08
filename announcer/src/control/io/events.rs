//! The stream of changes, as server-sent events.
//!
//! A stream reads the published history after its client has read the events before, so a slow client delays no other client. A
//! client that reads nothing for some seconds is disconnected. The stream says how many changes the client has missed.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::timeout;

use super::serving::{self, AnswerBody, StreamEnd, StreamPieces};
use crate::control::api::{Lagged, Numbered};
use crate::history::{Cursor, History};

/// After this time without a change, a comment is sent, so that a client that has gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);

/// Starts a stream that holds `place`. The second value resolves when the client has read nothing for too long.
pub(super) fn stream(
    history: watch::Receiver<History>,
    place: OwnedSemaphorePermit,
) -> (AnswerBody, oneshot::Receiver<()>) {
    let cursor = history.borrow().end();
    serving::stream(place, |pieces| send(history, cursor, pieces))
}

async fn send(mut history: watch::Receiver<History>, mut cursor: Cursor, pieces: StreamPieces) -> StreamEnd {
    let mut text = String::from(": announcer\n\n"); // the client sees at once that it is connected
    loop {
        if let Err(end) = pieces.send(Bytes::from(std::mem::take(&mut text))).await {
            return end;
        }
        tokio::select! {
            changed = timeout(SILENCE, history.changed()) => match changed {
                Ok(Ok(())) => text = news(&history.borrow_and_update(), &mut cursor),
                Ok(Err(_)) => return StreamEnd::Gone,
                Err(_) => text = ": nothing has changed\n\n".into(),
            },
            () = pieces.closed() => return StreamEnd::Gone,
        }
    }
}

/// The events that the client has not read, as text.
fn news(history: &History, cursor: &mut Cursor) -> String {
    let unread = history.read(cursor);
    let mut text = String::new();
    if unread.lost > 0 {
        event(&mut text, "lagged", None, &Numbered::new(Lagged { lost: unread.lost }));
    }
    for change in &unread.changes {
        event(&mut text, "change", Some(change.id), &Numbered::new(change));
    }
    text
}

fn event(text: &mut String, name: &str, id: Option<u64>, data: &impl serde::Serialize) {
    let Ok(data) = serde_json::to_string(data) else { return };
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    text.push_str(&format!("event: {name}\ndata: {data}\n\n"));
}
