//! The status page's server: the page, the state and explanations as JSON, and a stream of server-sent events.
//!
//! Touches TCP and the clock. It only reads. A client that sends half a request loses its place to the next one, as on the control
//! socket; a client that reads slowly has a short time, and its answer waits in its own connection. So no client delays another one
//! or the director.

mod answers;
mod state;
mod stream;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use self::answers::respond;
use self::stream::publish;
use super::samples::Samples;
use crate::config::Config;
use crate::control::io as control;
use crate::control::io::serving::{make_room, serve_client};

/// How many pages may follow the events at the same time; others are refused.
const STREAMS: usize = 16;
/// How many requests are answered at the same time; others wait.
const ANSWERS: usize = 8;
/// How many clients may read their answer slowly at the same time; others are disconnected.
const SLOW_READERS: usize = 16;
/// How long a request may take to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
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
        make_room(&mut sending).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let (keep, let_go) = oneshot::channel();
                sending.push_back((Instant::now(), keep));
                let (server, mut ended) = (server.clone(), ended.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        served = serve_client(stream, let_go, &server.slow_readers, |request, steps| {
                            let server = server.clone();
                            async move { respond(&request, &server, &steps).await }
                        }) => {
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
