//! Requests over connections that announcer opens itself, and keeps for the next probes if the check has `reuse`.
//!
//! Touches the network. A connection of HTTP/1.1 belongs to hyper only during a request: between two probes only the socket is kept,
//! without buffers and without a task. A connection of HTTP/2 keeps its task, which answers the pings of the server.
//!
//! ```text
//! probe ─ kept connection ─ answer ─ pass ──────────────────────────► keep it, unless it has served all its probes
//!    │          │             └ fail ─► close
//!    │          └ closed by the server, before the first octet of an answer ─┐
//!    └ none ─────────────────────────────────────────────────────────────────┴► new connection ─ answer ─ …
//! ```
//!
//! A server may close a kept connection while the next request is on its way. That says nothing about its health, so the request is
//! sent once more over a new connection, in the same timeout. Only idempotent methods are allowed with `reuse` (RFC 9110 §9.2.2).
//!
//! A new connection of HTTP/2 may come to a process that is stopping, such as a worker of nginx at a reload: it ends the connection before
//! it has processed the request, which may then be sent again with any method (RFC 9113 §8.7). It is, once.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Body;
use reqwest::header::{HOST, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Position;

use super::early::SendFirstStream;
use super::{Expectation, MOST_HEADER, WINDOW, authority, errors, fields};
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::handshake::{self, Warning};
use crate::config::kind::http::{Answer, Failure, HttpConfig, HttpVersion, ProbeConnection};
use crate::health::io::connect::connect;
use crate::health::io::result::{ProbeError, ProbeSuccess};
use crate::health::io::tls::{Handshake, HandshakeProgress};
use crate::health::io::trust::TrustStore;
use crate::health::outcome::{Reason, TimeoutPhase};
use crate::health::reuse::{ConnectionEnd, life};

/// A prepared probe over our own connections, which can be repeated.
#[derive(Debug)]
pub(super) struct DirectProbe {
    endpoint: Endpoint,
    /// None without TLS.
    handshake: Option<Handshake>,
    version: HttpVersion,
    request: RequestTemplate,
    expectation: Expectation,
    /// `None`: each probe has its own connection.
    kept: Option<ConnectionSlot>,
}

/// A connection with or without TLS.
trait ProbeIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ProbeIo for T {}

/// A connection over which the next request can be sent.
enum HttpLink {
    One(SendFirstStream<Box<dyn ProbeIo>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection between two probes.
struct KeptConnection {
    link: HttpLink,
    /// How many more probes it serves, above 0.
    left: u32,
    /// The finding of its handshake, which holds as long as the connection.
    warning: Option<Warning>,
}

/// The place of the kept connection of one check and VIP. Probes that overlap do not share a connection: the place is empty while
/// one of them uses it, and the others open their own.
struct ConnectionSlot(Mutex<SlotContents>);

struct SlotContents {
    kept: Option<KeptConnection>,
    previous: ConnectionEnd,
}

/// An answer, and the connection if it can serve another request.
struct Exchange {
    answer: Answer,
    link: Option<HttpLink>,
}

/// Why a request has no right answer.
struct ExchangeError {
    error: ProbeError,
    /// Whether it says nothing about the server if it was seen on a kept connection.
    stale: bool,
    /// Whether the server has ended HTTP/2 before it processed the request.
    unprocessed: bool,
}

impl ExchangeError {
    /// The server has answered wrongly, or the connection failed.
    fn of(error: ProbeError) -> Self {
        ExchangeError { error, stale: false, unprocessed: false }
    }
}

impl DirectProbe {
    pub(super) fn new(
        http: &HttpConfig,
        endpoint: &Endpoint,
        timeout: Duration,
        store: &TrustStore,
    ) -> Result<Self, Reason> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        let offered = match http.version {
            HttpVersion::Auto => vec![two, one],
            HttpVersion::Http1 => vec![one],
            HttpVersion::Http2 => vec![two],
        };
        let handshake = match (http.certificate(), &endpoint.host) {
            (Some(certificate), Some(host)) => {
                Some(Handshake::new(host, offered, certificate, store, timeout)?)
            }
            (Some(_) | None, _) => None,
        };
        Ok(DirectProbe {
            endpoint: endpoint.clone(),
            handshake,
            version: http.version,
            request: RequestTemplate::new(http)?,
            expectation: Expectation::of(http),
            kept: http.reuse.then(ConnectionSlot::new),
        })
    }

    /// Reads the trusted certificates, unless that was done. This is not part of the time of a probe.
    pub(super) async fn prepare(&self) {
        if let Some(handshake) = &self.handshake {
            handshake.prepare().await;
        }
    }

    /// Closes the kept connection, so that the next probe opens a new one: a probe did not pass.
    pub(super) fn forget(&self) {
        if let Some(slot) = &self.kept {
            slot.put(None, ConnectionEnd::Other);
        }
    }

    /// Makes one request and judges the answer. It has no time limit of its own.
    pub(super) async fn ask(&self, waiting: &mut TimeoutPhase) -> Result<ProbeSuccess, ProbeError> {
        if let Some(kept) = self.kept.as_ref().and_then(ConnectionSlot::take) {
            match self.ask_again(kept, waiting).await {
                Err(ExchangeError { stale: true, .. }) => {}
                Err(ExchangeError { stale: false, error, .. }) => return Err(error),
                Ok(passed) => return Ok(passed),
            }
        }
        let (Exchange { answer, link }, warning) = match self.ask_newly(waiting).await {
            // A server that is stopping accepts connections until it says so. The next connection usually comes to another process.
            // There is no third try.
            Err(ExchangeError { unprocessed: true, .. }) => self.ask_newly(waiting).await,
            other => other,
        }
        .map_err(|failed| failed.error)?;
        let Some(slot) = &self.kept else {
            close(link);
            return Ok(success(answer, warning));
        };
        let connection = if link.is_some() { ProbeConnection::New } else { ProbeConnection::NotKept };
        slot.keep(link, life(slot.previous(), fastrand::f64()) - 1, &warning);
        Ok(success(answer.over(connection), warning))
    }

    /// One request over a new connection.
    async fn ask_newly(
        &self,
        waiting: &mut TimeoutPhase,
    ) -> Result<(Exchange, Option<Warning>), ExchangeError> {
        let (link, warning) = self.open(waiting).await.map_err(ExchangeError::of)?;
        Ok((self.exchange(link, waiting).await?, warning))
    }

    /// One request over a kept connection.
    async fn ask_again(
        &self,
        kept: KeptConnection,
        waiting: &mut TimeoutPhase,
    ) -> Result<ProbeSuccess, ExchangeError> {
        let KeptConnection { link, left, warning } = kept;
        let mut exchange = self.exchange(link, waiting).await;
        // A server may say so before it closes an idle connection (RFC 9110 §15.5.9).
        if let Err(ExchangeError { error: ProbeError::Fail(Reason::Kind(failure)), stale, .. }) =
            &mut exchange
            && *failure == kind::Failure::from(Failure::Status(408))
        {
            *stale = true;
        }
        let Exchange { answer, link } = exchange?;
        if let Some(slot) = &self.kept {
            slot.keep(link, left - 1, &warning);
        }
        Ok(success(answer.over(ProbeConnection::Kept), warning))
    }

    /// Opens a connection.
    async fn open(&self, waiting: &mut TimeoutPhase) -> Result<(HttpLink, Option<Warning>), ProbeError> {
        *waiting = TimeoutPhase::Connection;
        let (io, two, warning): (Box<dyn ProbeIo>, bool, _) = match &self.handshake {
            None => {
                let stream = connect(&self.endpoint).await?;
                (Box::new(stream), self.version == HttpVersion::Http2, None)
            }
            Some(handshake) => {
                let connection = handshake.open(&self.endpoint, waiting).await?;
                let two = connection.stream.get_ref().1.alpn_protocol() == Some(b"h2");
                if self.version == HttpVersion::Http2 && !two {
                    return Err(ProbeError::of(handshake::Failure::NoProtocol));
                }
                (Box::new(connection.stream), two, connection.warning)
            }
        };
        *waiting = TimeoutPhase::Answer;
        if !two {
            return Ok((HttpLink::One(SendFirstStream::new(io)), warning));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(MOST_HEADER)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| meaning(&error))?;
        tokio::spawn(connection); // it ends when the sender is dropped
        Ok((HttpLink::Two(sender), warning))
    }

    async fn exchange(&self, link: HttpLink, waiting: &mut TimeoutPhase) -> Result<Exchange, ExchangeError> {
        *waiting = TimeoutPhase::Answer;
        match link {
            HttpLink::One(stream) => self.exchange_one(stream, waiting).await,
            HttpLink::Two(sender) => self.exchange_two(sender, waiting).await,
        }
    }

    async fn exchange_one(
        &self,
        mut stream: SendFirstStream<Box<dyn ProbeIo>>,
        waiting: &mut TimeoutPhase,
    ) -> Result<Exchange, ExchangeError> {
        if stream.is_sent() {
            // The server must not send anything now. Octets and an end of the connection have the same meaning.
            if stream.read(&mut [0]).now_or_never().is_some() {
                return Err(ExchangeError {
                    stale: true,
                    ..ExchangeError::of(ProbeError::Fail(Reason::Closed))
                });
            }
            stream.begin_request();
        }
        let (mut sender, mut connection) = http1::Builder::new()
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ExchangeError::of(meaning(&error)))?;
        let mut ended = false;
        let mut unanswered = None;
        let judged = {
            let work = pin!(async {
                match sender.send_request(self.request.one()).await {
                    Ok(response) => {
                        Some(self.expectation.judge(response.map(Body::wrap).into(), waiting).await)
                    }
                    Err(error) => {
                        unanswered = Some(error);
                        None
                    }
                }
            });
            beside(work, poll_fn(|context| poll(&mut connection, &mut ended, context))).await
        };
        if judged.is_some() {
            // The library sees here whether the whole answer was read, and whether the server ends the connection.
            let _ = poll_fn(|context| poll(&mut connection, &mut ended, context)).now_or_never();
        }
        let is_ready = !ended && sender.is_ready();
        let parts = connection.into_parts();
        let (mut stream, rest) = (parts.io.into_inner(), parts.read_buf);
        match (judged, unanswered) {
            (Some(Ok(answer)), _) => {
                if is_ready && rest.is_empty() && !stream.is_in_vain() {
                    return Ok(Exchange { answer, link: Some(HttpLink::One(stream)) });
                }
                let _ = stream.shutdown().now_or_never(); // the server may have closed the connection already
                Ok(Exchange { answer, link: None })
            }
            (Some(Err(error)), _) => Err(ExchangeError::of(error)),
            (None, Some(error)) => {
                let stale = !stream.has_received() && errors::is_stale(&error);
                Err(ExchangeError { stale, ..ExchangeError::of(meaning(&error)) })
            }
            (None, None) => Err(ExchangeError::of(ProbeError::Fail(Reason::Closed))),
        }
    }

    async fn exchange_two(
        &self,
        mut sender: http2::SendRequest<Full<Bytes>>,
        waiting: &mut TimeoutPhase,
    ) -> Result<Exchange, ExchangeError> {
        let failed = |error: hyper::Error| ExchangeError {
            error: meaning(&error),
            stale: errors::is_stale(&error),
            unprocessed: errors::is_unprocessed(&error),
        };
        sender.ready().await.map_err(failed)?;
        let response = sender.send_request(self.request.two()).await.map_err(failed)?;
        let judged = self.expectation.judge(response.map(Body::wrap).into(), waiting).await;
        let answer = judged.map_err(ExchangeError::of)?;
        let link = (!sender.is_closed()).then_some(HttpLink::Two(sender));
        Ok(Exchange { answer, link })
    }
}

fn success(answer: Answer, warning: Option<Warning>) -> ProbeSuccess {
    ProbeSuccess { answer: answer.into(), warning: warning.map(Into::into) }
}

/// The meaning of an error before the answer.
fn meaning(error: &hyper::Error) -> ProbeError {
    errors::before_answer(error, &HandshakeProgress::default())
}

/// Closes a connection in order. The end of a TLS connection is sent if it can be sent at once.
fn close(link: Option<HttpLink>) {
    match link {
        Some(HttpLink::One(mut stream)) => drop(stream.shutdown().now_or_never()),
        Some(HttpLink::Two(_)) | None => {} // its task closes it
    }
}

/// A connection of HTTP/1.1.
type Http1Connection = http1::Connection<TokioIo<SendFirstStream<Box<dyn ProbeIo>>>, Full<Bytes>>;

/// Runs the connection, until it has ended.
fn poll(connection: &mut Http1Connection, ended: &mut bool, context: &mut Context<'_>) -> Poll<()> {
    if *ended {
        return Poll::Pending;
    }
    let _ = ready!(connection.poll_without_shutdown(context)); // the request gets the error
    *ended = true;
    Poll::Ready(())
}

/// Runs the exchange, and the connection beside it until the exchange has ended.
async fn beside<T>(exchange: impl Future<Output = T> + Unpin, connection: impl Future<Output = ()>) -> T {
    match select(exchange, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(((), exchange)) => exchange.await,
    }
}

impl ConnectionSlot {
    fn new() -> Self {
        ConnectionSlot(Mutex::new(SlotContents { kept: None, previous: ConnectionEnd::Other }))
    }

    fn contents(&self) -> MutexGuard<'_, SlotContents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection out. If it does not come back, it has ended otherwise than planned.
    fn take(&self) -> Option<KeptConnection> {
        let mut contents = self.contents();
        let kept = contents.kept.take()?;
        contents.previous = ConnectionEnd::Other;
        Some(kept)
    }

    fn previous(&self) -> ConnectionEnd {
        self.contents().previous
    }

    fn put(&self, kept: Option<KeptConnection>, previous: ConnectionEnd) {
        let before = std::mem::replace(&mut *self.contents(), SlotContents { kept, previous }).kept;
        close(before.map(|before| before.link));
    }

    /// Keeps a connection after a probe that has passed, if it can serve another one and should.
    fn keep(&self, link: Option<HttpLink>, left: u32, warning: &Option<Warning>) {
        match link {
            Some(link) if left > 0 => {
                let kept = KeptConnection { link, left, warning: warning.clone() };
                self.put(Some(kept), ConnectionEnd::Other);
            }
            Some(link) => {
                close(Some(link));
                self.put(None, ConnectionEnd::Planned);
            }
            None => self.put(None, ConnectionEnd::Other),
        }
    }
}

impl fmt::Debug for ConnectionSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSlot").finish_non_exhaustive()
    }
}

/// The request, as HTTP/1.1 and HTTP/2 need it.
#[derive(Debug)]
struct RequestTemplate {
    method: Method,
    /// The path and the query (RFC 9112 §3.2.1).
    path: Uri,
    /// With scheme and authority (RFC 9113 §8.3.1).
    whole: Uri,
    /// All fields except Host.
    fields: HeaderMap,
    host: HeaderValue,
    body: Bytes,
}

impl RequestTemplate {
    fn new(http: &HttpConfig) -> Result<Self, Reason> {
        let no_uri = |_| Reason::Other("the URL cannot be requested over HTTP");
        let path = http.url[Position::BeforePath..Position::AfterQuery].parse().map_err(no_uri)?;
        let whole = http.url[..Position::AfterQuery].parse().map_err(no_uri)?;
        let (fields, body) = (fields(http), http.body.as_ref().map_or("", |body| body.as_str()));
        let (host, body) = (authority(&http.url)?, Bytes::copy_from_slice(body.as_bytes()));
        Ok(RequestTemplate { method: http.method.clone(), path, whole, fields, host, body })
    }

    fn one(&self) -> Request<Full<Bytes>> {
        let mut request = self.request(self.path.clone(), Version::HTTP_11);
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }

    fn two(&self) -> Request<Full<Bytes>> {
        self.request(self.whole.clone(), Version::HTTP_2)
    }

    fn request(&self, uri: Uri, version: Version) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = self.fields.clone();
        request
    }
}
