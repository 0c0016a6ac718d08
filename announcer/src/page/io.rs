//! The status page's server: the page, the state and explanations as JSON, and a stream of server-sent events.
//!
//! Touches TCP and the clock. It only reads. A client that sends half a request loses its place to the next one, as on the control
//! socket; a client that reads slowly has a short time, and its answer waits in its own connection. So no client delays another one
//! or the director.

mod answers;
mod state;
mod stream;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::answers::respond;
use self::stream::publish;
use super::samples::Samples;
use crate::config::Config;
use crate::control::admission::REQUEST_LIMIT;
use crate::control::io as control;

/// How many pages may follow the events at the same time; others are refused.
const STREAMS: usize = 16;
/// How many requests are answered at the same time; others wait.
const ANSWERS: usize = 8;
/// How many clients may read their answer slowly at the same time; others are disconnected.
const SLOW_READERS: usize = 16;
/// A client that reads its answer within this time does not count as slow.
const QUICK_READER: Duration = Duration::from_millis(50);
/// How long a client may take to read its answer, and a request to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer head of a request is refused (HTTP 431), in octets. The buffer of an answer has the same size.
const LONGEST_HEAD: usize = 16 * 1024;
/// The wait before the next try to listen.
const AGAIN: Duration = Duration::from_secs(1);

/// The data for the page.
#[derive(Debug, Clone)]
pub struct PageContext {
    /// The data for the answers of `status` and `explain`.
    pub control: control::ControlContext,
    /// The last probes of each check.
    pub samples: watch::Receiver<Samples>,
    /// Why the listener could not be opened, if the configuration wants one.
    pub bind_error: watch::Sender<Vec<String>>,
}

/// The limits, and what all streams share.
#[derive(Debug)]
struct PageServer {
    context: PageContext,
    answers: Semaphore,
    slow_readers: Semaphore,
    streams: Arc<Semaphore>,
    /// The newest state as an event, and when it was made; none while there is no stream.
    published: watch::Sender<Option<(Instant, Bytes)>>,
    /// A stream has begun.
    began: Notify,
    /// The Content-Security-Policy.
    policy: hyper::header::HeaderValue,
}

/// Listens on the configured address; never returns.
pub async fn serve(context: PageContext) {
    let mut configs = context.control.configs.clone();
    loop {
        let address = configs.borrow_and_update().status.as_ref().map(|status| status.listen);
        let moved = async {
            let other = |config: &Arc<Config>| config.status.as_ref().map(|status| status.listen) != address;
            configs.wait_for(other).await.map(drop)
        };
        tokio::select! {
            ended = moved => if ended.is_err() { return },
            () = listen(address, &context) => {}
        }
        context.bind_error.send_replace(Vec::new());
    }
}

/// Serves clients; never returns. Without an address it waits for ever. When it is dropped, all its clients are disconnected.
async fn listen(address: Option<SocketAddr>, context: &PageContext) {
    let Some(address) = address else { return std::future::pending().await };
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let text = format!("the status page cannot be read: `listen = \"{address}\"`: {error}");
                if context.bind_error.send_replace(vec![text]).is_empty() {
                    warn!(%address, %error, "status page was not opened, trying again every second");
                }
                sleep(AGAIN).await;
            }
        }
    };
    context.bind_error.send_replace(Vec::new());
    info!(%address, "status page was opened");
    let server = Arc::new(PageServer {
        context: context.clone(),
        answers: Semaphore::new(ANSWERS),
        slow_readers: Semaphore::new(SLOW_READERS),
        streams: Arc::new(Semaphore::new(STREAMS)),
        published: watch::channel(None).0,
        began: Notify::new(),
        policy: answers::policy(),
    });
    let (_open, ended) = watch::channel(()); // dropped with this future
    tokio::select! {
        () = accept(&listener, &server, &ended) => {}
        () = publish(&server) => {}
    }
}

async fn accept(listener: &TcpListener, server: &Arc<PageServer>, ended: &watch::Receiver<()>) {
    let mut sending = VecDeque::new();
    loop {
        control::make_room(&mut sending).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (keep, let_go) = oneshot::channel();
                sending.push_back((Instant::now(), keep));
                let (server, mut ended) = (server.clone(), ended.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        served = serve_one(stream, let_go, &server) => {
                            if let Err(error) = served {
                                debug!(%error, "client of the status page was disconnected");
                            }
                        }
                        _ = ended.changed() => {} // the address has changed
                    }
                });
            }
            Err(error) => {
                debug!(%error, "status page did not accept");
                sleep(Duration::from_millis(100)).await; // probably out of descriptors
            }
        }
    }
}

/// How far a request is.
enum PageStep {
    /// Its head was read.
    Received,
    /// Its answer is known, and is being written.
    Answered,
    /// The events are being written, until this resolves.
    Streaming(oneshot::Receiver<()>),
}

/// Serves one client, which gets one answer. It may be disconnected for another one as long as it has not sent its request.
async fn serve_one(
    stream: TcpStream,
    let_go: oneshot::Receiver<()>,
    server: &Arc<PageServer>,
) -> io::Result<()> {
    let (steps_tx, mut steps) = mpsc::channel(3);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (server, steps) = (server.clone(), steps_tx.clone());
        async move { Ok::<_, Infallible>(respond(&request, &server, &steps).await) }
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
    if let Some(PageStep::Streaming(stuck)) = step {
        return tokio::select! {
            served = connection => served.map_err(io::Error::other),
            Ok(()) = stuck => Err(io::Error::other("it did not read the events")),
        };
    }
    if let Ok(served) = timeout(QUICK_READER, &mut connection).await {
        return served.map_err(io::Error::other);
    }
    let Ok(_place) = server.slow_readers.try_acquire() else {
        return Err(io::Error::other("too many clients read slowly"));
    };
    timeout(PATIENCE, connection).await?.map_err(io::Error::other)
}
