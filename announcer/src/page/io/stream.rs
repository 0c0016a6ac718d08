//! The server-sent events of the page: the whole state at most once a second, and each change at once.
//!
//! Touches the clock. The state is made once for all streams. A stream sends the newest one when its client has read the one before,
//! so a slow client delays nobody, and it keeps nothing but the newest state.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::state::state;
use super::{PageContext, PageServer, STREAMS};
use crate::control::api::Numbered;
use crate::history::{Cursor, History};

/// How long a client may read nothing while there is something to read.
const PATIENCE: Duration = Duration::from_secs(10);
/// The least time between two states.
const PAUSE: Duration = Duration::from_secs(1);
/// After this time a state is sent although nothing has changed.
const SILENCE: Duration = Duration::from_secs(10);
/// A state may take this part of the time: one fiftieth.
const PART: u32 = 50;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum PageBody {
    /// A whole one; none after it was sent.
    Whole(Option<Bytes>),
    /// A stream; its place is free again when the body is dropped.
    Events(mpsc::Receiver<Bytes>, #[expect(dead_code, reason = "held until the end")] OwnedSemaphorePermit),
}

impl PageBody {
    /// A whole body.
    pub(super) fn whole(text: Bytes) -> Self {
        PageBody::Whole(Some(text).filter(|text| !text.is_empty()))
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            PageBody::Whole(whole) => Poll::Ready(whole.take()),
            PageBody::Events(pieces, _) => pieces.poll_recv(poller),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            PageBody::Whole(whole) => whole.is_none(),
            PageBody::Events(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            PageBody::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |text| text.len() as u64))
            }
            PageBody::Events(..) => SizeHint::default(),
        }
    }
}

/// Publishes states while there are streams; returns when the daemon ends.
pub(super) async fn publish(server: &PageServer) {
    let PageContext { control, samples, .. } = &server.context;
    let (mut samples, mut history) = (samples.clone(), control.history.clone());
    let (mut drains, mut peers) = (control.drains.clone(), control.peers.clone());
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
        let began = Instant::now();
        let Some(text) = state(&server.context).await else { return };
        let event = [b"event: status\ndata: ", &*text, b"\n\n"].concat();
        server.published.send_replace(Some((began, event.into())));
        // On a host with very many VIPs, states are rarer.
        sleep(PAUSE.max(began.elapsed() * PART)).await;
        tokio::select! {
            changed = samples.changed() => if changed.is_err() { return },
            changed = history.changed() => if changed.is_err() { return },
            changed = drains.changed() => if changed.is_err() { return },
            changed = peers.changed() => if changed.is_err() { return },
            () = sessions.routers_changed(&routers) => {}
            () = server.began.notified() => {}
            () = sleep(SILENCE) => {}
        }
    }
}

/// Starts a stream that holds `place`. The second value resolves when the client has read nothing for too long.
pub(super) fn stream(server: &PageServer, place: OwnedSemaphorePermit) -> (PageBody, oneshot::Receiver<()>) {
    let (pieces_tx, pieces) = mpsc::channel(1);
    let (stuck_tx, stuck) = oneshot::channel();
    let (history, published) = (server.context.control.history.clone(), server.published.subscribe());
    let cursor = history.borrow().end();
    tokio::spawn(async move {
        if send(history, cursor, published, &pieces_tx).await == PageStreamEnd::Stuck {
            let _ = stuck_tx.send(()); // the connection may have ended at the same time
        }
    });
    server.began.notify_one();
    (PageBody::Events(pieces, place), stuck)
}

#[derive(Debug, PartialEq, Eq)]
enum PageStreamEnd {
    /// The client has gone, or the daemon ends.
    Gone,
    /// The client reads nothing.
    Stuck,
}

async fn send(
    mut history: watch::Receiver<History>,
    mut cursor: Cursor,
    mut published: watch::Receiver<Option<(Instant, Bytes)>>,
    pieces: &mpsc::Sender<Bytes>,
) -> PageStreamEnd {
    let mut piece = Bytes::from_static(b": announcer\n\n"); // the client sees at once that it is connected
    published.mark_changed();
    loop {
        if !piece.is_empty() {
            match timeout(PATIENCE, pieces.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return PageStreamEnd::Gone,
                Err(_) => return PageStreamEnd::Stuck,
            }
        }
        piece = tokio::select! {
            changed = history.changed() => match changed {
                Ok(()) => changes(&history.borrow_and_update(), &mut cursor),
                Err(_) => return PageStreamEnd::Gone,
            },
            changed = published.changed() => match changed {
                // What was made long ago is not sent; a new one is under way.
                Ok(()) => match &*published.borrow_and_update() {
                    Some((made, event)) if made.elapsed() < SILENCE * 2 => event.clone(),
                    Some(_) | None => Bytes::new(),
                },
                Err(_) => return PageStreamEnd::Gone,
            },
            () = pieces.closed() => return PageStreamEnd::Gone,
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
