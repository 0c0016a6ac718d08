//! The listener that Prometheus reads from: `GET /metrics` (RFC 9110), `/livez`, `/readyz`, and a pointer to them at `/`.
//!
//! Touches TCP, the clock and `/proc`. Each scrape gets copies of the data from the director once. Another thread writes the text
//! from them, and sends it in pieces as fast as the client reads. So neither a host with many VIPs nor a slow client delays the
//! director. A client gets one answer and has ten seconds.

mod health;
mod process;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::host::is_admitted;
use super::{ChainMetrics, DiskProgram, ListenerMetrics, PeerMetrics, Reloads, Scrape, Tally, write};
use crate::bgp::io::session::{MessageCounters, SessionReport};
use crate::config;
use crate::control::io as control;
use crate::control::io::serving::AnswerBody;
use crate::director::ask::{Ask, ask};
use crate::health::io::listener;
use crate::hook::HookRuns;
use crate::model::{Asn, PeerAsn};
use crate::takeover::StartReport;
use crate::vip::findings::HostFindings;

/// How many clients are served at once; others wait.
const CLIENTS: usize = 4;
/// The time limit for the request and the answer of a client.
const PATIENCE: Duration = Duration::from_secs(10);
/// The wait before the next try to listen.
const AGAIN: Duration = Duration::from_secs(1);
/// The size of one piece of an answer, in octets.
const PIECE: usize = 32 * 1024;

/// The answer to a request for a host that is not this listener's.
const OTHER_HOST: &str =
    "the Host of this request is neither an address nor `localhost` nor in `hosts` of `[metrics]`\n";

/// The text format that every reader supports.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The data for the listener's answers.
#[derive(Debug, Clone)]
pub struct MetricsContext {
    /// The data for the answers of `status`.
    pub control: control::ControlContext,
    /// The counters of the reloads.
    pub reloads: watch::Receiver<Reloads>,
    /// The counters of the hook's runs.
    pub hooks: watch::Receiver<HookRuns>,
    /// The counters of probes and changes.
    pub tally: watch::Receiver<Tally>,
    /// The program's file on disk.
    pub program: watch::Receiver<DiskProgram>,
    /// The findings about the host.
    pub findings: watch::Receiver<HostFindings>,
    /// Why the metrics listener could not be opened, if the configuration wants one.
    pub bind_error: watch::Sender<Vec<String>>,
}

/// Listens on the configured address; never returns.
pub async fn serve(context: MetricsContext) {
    let mut configs = context.control.configs.clone();
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let address = configs.borrow_and_update().metrics.as_ref().map(|metrics| metrics.listen);
        let moved = async {
            let other = |config: &Arc<config::Config>| {
                config.metrics.as_ref().map(|metrics| metrics.listen) != address
            };
            configs.wait_for(other).await.map(drop)
        };
        tokio::select! {
            ended = moved => if ended.is_err() { return },
            () = listen(address, &context, &places) => {}
        }
        context.bind_error.send_replace(Vec::new());
    }
}

/// Serves clients; never returns. Without an address it waits for ever.
async fn listen(address: Option<SocketAddr>, context: &MetricsContext, places: &Arc<Semaphore>) {
    let Some(address) = address else { return std::future::pending().await };
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let news = context.bind_error.send_replace(vec![bind_error(address, &error)]).is_empty();
                if news {
                    warn!(%address, %error, "metrics listener was not opened, trying again every second");
                }
                sleep(AGAIN).await;
            }
        }
    };
    context.bind_error.send_replace(Vec::new());
    info!(%address, "metrics listener was opened");
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let context = context.clone();
                tokio::spawn(async move {
                    if timeout(PATIENCE, serve_one(stream, context)).await.is_err() {
                        debug!("metrics client took too long and was disconnected");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "metrics listener did not accept");
                sleep(Duration::from_millis(100)).await; // probably out of descriptors
            }
        }
    }
}

fn bind_error(address: SocketAddr, error: &io::Error) -> String {
    format!("metrics cannot be read: `listen = \"{address}\"`: {error}")
}

async fn serve_one(stream: TcpStream, context: MetricsContext) {
    let answer = service_fn(|request| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(answer(&request, context).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        debug!(%error, "metrics client was disconnected");
    }
}

async fn answer(request: &Request<Incoming>, context: MetricsContext) -> Response<AnswerBody> {
    let hosts = context.control.configs.borrow().metrics.as_ref().map(|metrics| metrics.hosts.clone());
    if !is_for(request, &hosts.unwrap_or_default()) {
        return plain_text(StatusCode::MISDIRECTED_REQUEST, OTHER_HOST);
    }
    let page = match request.uri().path() {
        _ if ![Method::GET, Method::HEAD].contains(request.method()) => {
            let mut response =
                plain_text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are supported\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        "/metrics" => scrape(context).await,
        "/livez" => return sentence(health::live(&context).await),
        "/readyz" => return sentence(health::ready(&context).await),
        "/" => {
            return plain_text(
                StatusCode::OK,
                "announcer: the metrics are at /metrics, health at /livez and /readyz\n",
            );
        }
        _ => return plain_text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    };
    match page {
        Some(text) => with(StatusCode::OK, text),
        None => plain_text(StatusCode::SERVICE_UNAVAILABLE, "announcer is ending\n"),
    }
}

/// Whether a request names its listener, by an address or by one of `names`. A client of HTTP/1.0 need not name a host.
pub(crate) fn is_for(request: &Request<Incoming>, names: &[String]) -> bool {
    let fields: Vec<&HeaderValue> = request.headers().get_all(HOST).iter().collect();
    let field = match fields.as_slice() {
        [] => request.version() == Version::HTTP_10,
        [one] => one.to_str().is_ok_and(|host| is_admitted(host, names)),
        _ => false,
    };
    field && request.uri().authority().is_none_or(|authority| is_admitted(authority.as_str(), names))
}

fn sentence((status, text): (StatusCode, String)) -> Response<AnswerBody> {
    with(status, AnswerBody::whole(text.into()))
}

fn plain_text(status: StatusCode, text: &'static str) -> Response<AnswerBody> {
    with(status, AnswerBody::whole(Bytes::from_static(text.as_bytes())))
}

fn with(status: StatusCode, text: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// Collects the data, and starts to write them. `None`: the daemon ends.
async fn scrape(context: MetricsContext) -> Option<AnswerBody> {
    let figures = ask(&context.control.asks, Ask::Figures).await?;
    let tally = context.tally.borrow().clone();
    let warnings = figures.warnings + control::warnings_beside(&context.control).len();
    let listeners = listeners(&context.control.listener_watch.borrow());
    let ours = context.control.configs.borrow().bgp.asn;
    let peers =
        context.control.peers.borrow().iter().map(|(peer, status)| self::peer(peer, status, ours)).collect();
    let (drains, program) = (context.control.drains.borrow().drains.clone(), *context.program.borrow());
    let routers = context.control.peers.borrow().routers();
    let bfd = context.control.bfd.borrow().clone();
    let chain = ChainMetrics { status: context.control.chain.borrow().clone(), now: Instant::now() };
    let (reloads, hooks) = (*context.reloads.borrow(), *context.hooks.borrow());
    let fallback = context.control.fallback.borrow().is_some();
    let findings = context.findings.borrow().clone();
    let StartReport { how: start, rolled_back, not_continued, .. } = context.control.start.borrow().clone();
    let lost_lines = context.control.log.lost().count;
    let (pieces, text) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let process = process::read();
        let scrape = Scrape {
            figures,
            tally,
            listeners,
            peers,
            bfd,
            chain,
            routers,
            drains,
            program,
            rolled_back,
            start,
            takeover_failed: not_continued.is_some(),
            findings,
            warnings,
            reloads,
            fallback,
            hooks,
            lost_lines,
            process,
        };
        let mut writer = ChunkWriter { ready: String::with_capacity(PIECE), pieces };
        // An error means that the client has disconnected.
        let _ = write(scrape, &mut writer).and_then(|()| writer.send());
    });
    Some(AnswerBody::Pieces(text, None))
}

fn listeners(report: &listener::ListenerReport) -> ListenerMetrics {
    ListenerMetrics {
        period: report.period,
        targets: report.pairs,
        disarmed: report.disarmed.len(),
        blind: report.blind.is_some(),
    }
}

fn peer(peer: &config::PeerConfig, status: SessionReport, ours: Asn) -> PeerMetrics {
    let counts = |MessageCounters { open, update, notification, keepalive, refresh }| {
        [
            ("OPEN", open),
            ("UPDATE", update),
            ("NOTIFICATION", notification),
            ("KEEPALIVE", keepalive),
            ("ROUTE-REFRESH", refresh),
        ]
    };
    PeerMetrics {
        name: peer.name.clone(),
        address: peer.shown_address(status.peer_address),
        asn: match peer.asn {
            PeerAsn::Is(asn) => Some(asn),
            PeerAsn::Internal => Some(ours),
            PeerAsn::External => status.negotiated.as_ref().map(|agreed| agreed.peer_asn),
        },
        router_id: status.negotiated.as_ref().map(|agreed| agreed.peer_id),
        state: status.state,
        lasts: status.since.elapsed(),
        established: status.established,
        downs: status.downs,
        prefixes: status.announced,
        not_sent: status.not_sent.into_values().collect(),
        sent: counts(status.sent),
        received: counts(status.received),
        wire: status.wire,
    }
}

/// Collects the written text, and passes it on in pieces; waits while the client reads.
struct ChunkWriter {
    ready: String,
    pieces: mpsc::Sender<Bytes>,
}

impl ChunkWriter {
    fn send(&mut self) -> fmt::Result {
        let piece = std::mem::replace(&mut self.ready, String::with_capacity(PIECE));
        self.pieces.blocking_send(piece.into()).map_err(|_| fmt::Error)
    }
}

impl fmt::Write for ChunkWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.ready.len() + text.len() > PIECE {
            self.send()?;
        }
        self.ready.push_str(text);
        Ok(())
    }
}
