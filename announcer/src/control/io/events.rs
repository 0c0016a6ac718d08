//! The body of an answer: a whole one, or a stream of server-sent events.
//!
//! A stream reads the published history when its client has read the events before. So a slow client delays nobody. If it reads
//! nothing for some seconds, it is disconnected; what it has missed before that, it learns as a number.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::control::api::{Lagged, Numbered};
use crate::history::{Cursor, History};

/// How long a client may read nothing while there is something to read.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this time without a change, a comment is sent, so that a client that has gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);

/// The body of an answer.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// A whole one; none after it was sent.
    Whole(Option<Bytes>),
    /// A stream; its place is free again when the body is dropped.
    Events(mpsc::Receiver<Bytes>, #[expect(dead_code, reason = "held until the end")] OwnedSemaphorePermit),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            AnswerBody::Whole(whole) => Poll::Ready(whole.take()),
            AnswerBody::Events(pieces, _) => pieces.poll_recv(poller),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(whole) => whole.is_none(),
            AnswerBody::Events(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(whole) => SizeHint::with_exact(whole.as_ref().map_or(0, |w| w.len() as u64)),
            AnswerBody::Events(..) => SizeHint::default(),
        }
    }
}

/// Starts a stream that holds `place`. The second value resolves when the client has read nothing for too long.
pub(super) fn stream(
    history: watch::Receiver<History>,
    place: OwnedSemaphorePermit,
) -> (AnswerBody, oneshot::Receiver<()>) {
    let (pieces_tx, pieces) = mpsc::channel(1);
    let (stuck_tx, stuck) = oneshot::channel();
    let cursor = history.borrow().end();
    tokio::spawn(async move {
        if send(history, cursor, &pieces_tx).await == StreamEnd::Stuck {
            let _ = stuck_tx.send(()); // the connection may have ended at the same time
        }
    });
    (AnswerBody::Events(pieces, place), stuck)
}

#[derive(Debug, PartialEq, Eq)]
enum StreamEnd {
    /// The client has gone, or the daemon ends.
    Gone,
    /// The client reads nothing.
    Stuck,
}

async fn send(
    mut history: watch::Receiver<History>,
    mut cursor: Cursor,
    pieces: &mpsc::Sender<Bytes>,
) -> StreamEnd {
    let mut text = String::from(": announcer\n\n"); // the client sees at once that it is connected
    loop {
        if !text.is_empty() {
            match timeout(PATIENCE, pieces.send(Bytes::from(std::mem::take(&mut text)))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return StreamEnd::Gone,
                Err(_) => return StreamEnd::Stuck,
            }
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
