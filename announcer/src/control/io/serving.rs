//! What the servers of the control socket, of the status page and of the metrics share: which clients they serve, how long each may
//! take, and the bodies of their answers.
//!
//! Touches the clock and the connections of clients.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context as Poller, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::control::admission::{Admission, REQUEST_LIMIT, admit};

/// A longer head of a request is refused (HTTP 431), in octets. The buffer of an answer has the same size.
const LONGEST_HEAD: usize = 16 * 1024;
/// A client that reads its answer within this time does not count as slow.
const QUICK_READER: Duration = Duration::from_millis(50);
/// How long a client may take to read its answer.
const READER_LIMIT: Duration = Duration::from_secs(5);
/// How long a client may read nothing of a stream while there is something to read.
const STREAM_LIMIT: Duration = Duration::from_secs(10);

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// A whole one; none after it was sent.
    Whole(Option<Bytes>),
    /// Pieces, as they are made. The place of a stream is free again when the body is dropped.
    Pieces(
        mpsc::Receiver<Bytes>,
        #[expect(dead_code, reason = "held until the end")] Option<OwnedSemaphorePermit>,
    ),
}

impl AnswerBody {
    /// A whole body.
    pub(crate) fn whole(text: Bytes) -> Self {
        AnswerBody::Whole(Some(text).filter(|text| !text.is_empty()))
    }
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
            AnswerBody::Pieces(pieces, _) => pieces.poll_recv(poller),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(whole) => whole.is_none(),
            AnswerBody::Pieces(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |text| text.len() as u64))
            }
            AnswerBody::Pieces(..) => SizeHint::default(),
        }
    }
}

/// How far a request is.
pub(crate) enum RequestStep {
    /// It was read.
    Received,
    /// Its answer is known, and is being written.
    Answered,
    /// A stream is being written, until this resolves: then the client has read nothing for too long.
    Streaming(oneshot::Receiver<()>),
}

/// Waits until another client can be admitted. Dropping its sender disconnects a client. If its receiver was dropped, the client
/// has sent its request.
pub(crate) async fn make_room(sending: &mut VecDeque<(Instant, oneshot::Sender<()>)>) {
    loop {
        sending.retain(|(_, keep)| !keep.is_closed());
        let ages: Vec<Duration> = sending.iter().map(|(since, _)| since.elapsed()).collect();
        match admit(&ages) {
            Admission::Now => return,
            Admission::InPlaceOfTheOldest => drop(sending.pop_front()),
            Admission::After(wait) => sleep(wait).await,
        }
    }
}

/// Serves one client, which gets one answer. `respond` makes it, and reports how far the request is. Until the request is received,
/// the client may be disconnected for another one by `let_go`.
///
/// # Errors
/// Why the client was disconnected before the end of its answer.
pub(crate) async fn serve_client<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    let_go: oneshot::Receiver<()>,
    slow_readers: &Semaphore,
    respond: impl Fn(hyper::Request<Incoming>, mpsc::Sender<RequestStep>) -> F,
) -> io::Result<()>
where
    F: Future<Output = hyper::Response<AnswerBody>>,
{
    let (steps_tx, mut steps) = mpsc::channel(3);
    let service = service_fn(|request| {
        let answer = respond(request, steps_tx.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_LIMIT)
            .keep_alive(false)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        biased;
        served = &mut connection => return served.map_err(io::Error::other),
        _ = steps.recv() => {} // it was received
        _ = let_go => return Err(io::Error::other("others waited, and its request did not come")),
        () = sleep(REQUEST_LIMIT) => return Err(io::Error::other("its request did not come")),
    }
    let step = tokio::select! {
        biased;
        served = &mut connection => return served.map_err(io::Error::other),
        step = steps.recv() => step,
    };
    if let Some(RequestStep::Streaming(stuck)) = step {
        return tokio::select! {
            served = connection => served.map_err(io::Error::other),
            Ok(()) = stuck => Err(io::Error::other("it did not read the events")),
        };
    }
    if let Ok(served) = timeout(QUICK_READER, &mut connection).await {
        return served.map_err(io::Error::other);
    }
    let Ok(_place) = slow_readers.try_acquire() else {
        return Err(io::Error::other("too many clients read slowly"));
    };
    timeout(READER_LIMIT, connection).await?.map_err(io::Error::other)
}

/// Why a stream has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The client has gone, or the daemon ends.
    Gone,
    /// The client reads nothing.
    Stuck,
}

/// The pieces of a stream, for the task that makes them.
pub(crate) struct StreamPieces(mpsc::Sender<Bytes>);

impl StreamPieces {
    /// Sends a piece when the client has read the one before; an empty one is not sent.
    ///
    /// # Errors
    /// Why the stream has ended.
    pub(crate) async fn send(&self, piece: Bytes) -> Result<(), StreamEnd> {
        if piece.is_empty() {
            return Ok(());
        }
        match timeout(STREAM_LIMIT, self.0.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(StreamEnd::Gone),
            Err(_) => Err(StreamEnd::Stuck),
        }
    }

    /// Returns when the client has gone.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Starts a stream that holds `place`; `make` sends its pieces until it ends. The second value resolves when the client has read
/// nothing for too long.
pub(crate) fn stream<F>(
    place: OwnedSemaphorePermit,
    make: impl FnOnce(StreamPieces) -> F,
) -> (AnswerBody, oneshot::Receiver<()>)
where
    F: Future<Output = StreamEnd> + Send + 'static,
{
    let (pieces_tx, pieces) = mpsc::channel(1);
    let (stuck_tx, stuck) = oneshot::channel();
    let pieces_end = make(StreamPieces(pieces_tx));
    tokio::spawn(async move {
        if pieces_end.await == StreamEnd::Stuck {
            let _ = stuck_tx.send(()); // the connection may have ended at the same time
        }
    });
    (AnswerBody::Pieces(pieces, Some(place)), stuck)
}
