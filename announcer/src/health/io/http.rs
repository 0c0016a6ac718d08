//! The HTTP probe: one request as a client of the URL sends it, over a new connection to the VIP itself.
//!
//! Touches the network. HTTP/1.1 (RFC 9112) or HTTP/2 (RFC 9113), as ALPN or the check says. No name is looked up, no proxy
//! used, no redirect followed (RFC 9110).

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri, response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::io::{AsyncRead, AsyncWrite};
use url::{Position, Url};

use super::connect::Route;
use super::tls::Handshake;
use super::trouble::{self, Passed, Trouble, of_kernel};
use crate::config::check::{self, Digest, Pattern, Place, Statuses, Version};
use crate::health::outcome::{Answer, Outcome, Reason, Shown, Waiting};

#[cfg(test)]
mod tests;

/// What we call ourselves.
const NAME: &str = concat!("announcer/", env!("CARGO_PKG_VERSION"));

/// Octets that are kept while a header, or a piece of a body, is not yet whole.
const MOST_AT_ONCE: usize = 32 * 1024;

/// The same of HTTP/2, as it counts them.
const MOST_HEADER: u32 = 32 * 1024;

/// A probe of one URL at one VIP, ready to be sent again and again.
#[derive(Debug)]
pub struct Http {
    /// Why it cannot be sent, if so: then each probe fails with that.
    ready: Result<Ready, Reason>,
    timeout: Duration,
}

#[derive(Debug)]
struct Ready {
    route: Route,
    handshake: Option<Handshake>,
    version: Version,
    method: Method,
    /// With its scheme and authority, as HTTP/2 wants it.
    uri: Uri,
    host: HeaderValue,
    headers: HeaderMap,
    body: Bytes,
    wanted: Wanted,
}

/// What an answer has to be.
#[derive(Debug)]
struct Wanted {
    status: Vec<Statuses>,
    pattern: Option<Pattern>,
    digest: Option<Digest>,
    max_body: u32,
}

impl Http {
    /// A probe of `http` at `vip`, or at `target`; `timeout` is for a whole probe.
    pub fn new(vip: IpAddr, http: &check::Http, target: Option<Place>, timeout: Duration) -> Self {
        Http { ready: Ready::new(vip, http, target), timeout }
    }

    /// Asks once. Dropped, it lets go of its connection.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let mut waiting = Waiting::Connection;
        let end = match &self.ready {
            Ok(ready) => tokio::time::timeout(self.timeout, ready.ask(&mut waiting)).await,
            Err(reason) => Ok(Err(Trouble::Fail(reason.clone()))),
        };
        trouble::outcome(end, waiting, self.timeout, start.elapsed())
    }
}

impl Ready {
    fn new(vip: IpAddr, http: &check::Http, target: Option<Place>) -> Result<Self, Reason> {
        let url = &http.url;
        let (Some(port), Some(host)) = (url.port_or_known_default(), url.host()) else {
            return Err(other("URL has no host"));
        };
        let offered = match http.version {
            Version::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Version::Http1 => vec![b"http/1.1".to_vec()],
            Version::Http2 => vec![b"h2".to_vec()],
        };
        let certificate = http.certificate.as_ref();
        let handshake = certificate.map(|it| Handshake::new(&host.to_owned(), offered, it)).transpose()?;
        let mut headers = HeaderMap::new();
        for (name, value) in &http.headers {
            headers.append(name, value.clone());
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(NAME));
        Ok(Ready {
            route: Route::new(vip, target, port),
            handshake,
            version: http.version,
            method: http.method.clone(),
            uri: url.as_str().parse().map_err(|error: http::uri::InvalidUri| other(&error.to_string()))?,
            host: authority(url)?,
            headers,
            body: Bytes::from(http.body.clone()),
            wanted: Wanted {
                status: http.expect_status.clone(),
                pattern: http.expect_body.clone(),
                digest: http.expect_digest,
                max_body: http.max_body,
            },
        })
    }

    async fn ask(&self, waiting: &mut Waiting) -> Result<Passed, Trouble> {
        let tcp = self.route.connect().await?;
        let Some(handshake) = &self.handshake else {
            *waiting = Waiting::Answer;
            let two = match self.version {
                Version::Auto | Version::Http1 => false,
                Version::Http2 => true,
            };
            return Ok(self.talk(tcp, two, waiting).await?.into());
        };
        *waiting = Waiting::Handshake;
        let shaken = handshake.shake(tcp).await?;
        *waiting = Waiting::Answer;
        let two = match (shaken.stream.get_ref().1.alpn_protocol(), self.version) {
            (Some(b"h2"), Version::Auto | Version::Http1 | Version::Http2) => true,
            (_, Version::Auto | Version::Http1) => false,
            (_, Version::Http2) => return Err(Trouble::Fail(Reason::NoProtocol)),
        };
        Ok(Passed { answer: self.talk(shaken.stream, two, waiting).await?, warning: shaken.warning })
    }

    /// One request and its answer, in HTTP/2 or in HTTP/1.1.
    async fn talk(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        two: bool,
        waiting: &mut Waiting,
    ) -> Result<Answer, Trouble> {
        if two { self.talk_two(io, waiting).await } else { self.talk_one(io, waiting).await }
    }

    async fn talk_one(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        waiting: &mut Waiting,
    ) -> Result<Answer, Trouble> {
        let told = |error: hyper::Error| before_answer(&error);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST_AT_ONCE);
        let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(told)?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        let work = async {
            let (head, body) = sender.send_request(request).await.map_err(told)?.into_parts();
            self.wanted.judge(&head, Body::One(body), waiting).await
        };
        beside(work, connection).await
    }

    async fn talk_two(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        waiting: &mut Waiting,
    ) -> Result<Answer, Trouble> {
        let told = |error: h2::Error| of_two(&error, Reason::Closed);
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(MOST_HEADER);
        let (sender, connection) = builder.handshake(io).await.map_err(told)?;
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if !self.body.is_empty() {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        let work = async {
            let mut sender = sender.ready().await.map_err(told)?;
            let (answer, mut stream) = sender.send_request(request, self.body.is_empty()).map_err(told)?;
            if !self.body.is_empty() {
                stream.send_data(self.body.clone(), true).map_err(told)?;
            }
            let (head, body) = answer.await.map_err(told)?.into_parts();
            self.wanted.judge(&head, Body::Two(body), waiting).await
        };
        beside(work, connection).await
    }
}

/// `HOST[:PORT]`, the port where it is not that of the scheme.
fn authority(url: &Url) -> Result<HeaderValue, Reason> {
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
        .map_err(|error| other(&error.to_string()))
}

/// Does the work while the connection does its own; the work ends both.
async fn beside<T>(work: impl Future<Output = T>, connection: impl Future) -> T {
    let (work, connection) = (pin!(work), pin!(connection));
    match select(work, connection).await {
        Either::Left((done, _)) => done,
        Either::Right((_, work)) => work.await,
    }
}

/// What is left of an answer behind its head.
enum Body {
    One(Incoming),
    Two(h2::RecvStream),
}

impl Body {
    /// The next octets; none: it has ended.
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        match self {
            Body::One(body) => {
                while let Some(frame) = body.frame().await {
                    // What is no data are trailers.
                    if let Ok(data) = frame.map_err(|error| within_answer(&error))?.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(None)
            }
            Body::Two(body) => {
                let data = body.data().await.transpose();
                let data = data.map_err(|error| of_two(&error, Reason::CutShort))?;
                if let Some(data) = &data {
                    // The window is the connection's, which ends with us.
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Ok(data)
            }
        }
    }
}

impl Wanted {
    async fn judge(
        &self,
        head: &response::Parts,
        body: Body,
        waiting: &mut Waiting,
    ) -> Result<Answer, Trouble> {
        let status = head.status.as_u16();
        if !self.status.iter().any(|range| range.contains(status)) {
            return Err(Trouble::Fail(not_wanted(head.status, &head.headers)));
        }
        *waiting = Waiting::Body;
        self.read(body).await?;
        Ok(Answer::Http(status))
    }

    /// Reads a body, or as much of it as we care for.
    async fn read(&self, mut body: Body) -> Result<(), Trouble> {
        let most = usize::try_from(self.max_body).unwrap_or(usize::MAX);
        let mut sum = self.digest.map(|digest| match digest {
            Digest::Sha1(_) => digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Digest::Sha256(_) => digest::Context::new(&digest::SHA256),
        });
        let (mut length, mut text) = (0, Vec::new());
        // Whether it goes on matters to its digest alone.
        while length < most || sum.is_some() {
            let Some(mut data) = body.next().await? else { break };
            if data.len() > most - length {
                if sum.is_some() {
                    return Err(Trouble::Fail(Reason::BodyTooLong(self.max_body)));
                }
                data.truncate(most - length);
            }
            length += data.len();
            if let Some(sum) = &mut sum {
                sum.update(&data);
            }
            if self.pattern.is_some() {
                text.extend_from_slice(&data);
            }
        }
        if let (Some(sum), Some(want)) = (sum, self.digest) {
            let got = same_kind(want, sum.finish().as_ref());
            if got != Some(want) {
                return Err(Trouble::Fail(got.map_or_else(|| other("no digest"), Reason::Digest)));
            }
        }
        match &self.pattern {
            Some(pattern) if !pattern.found_in(&String::from_utf8_lossy(&text)) => {
                Err(Trouble::Fail(Reason::NoMatch))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Octets as a digest of the kind of `like`, if they are as many.
fn same_kind(like: Digest, octets: &[u8]) -> Option<Digest> {
    match like {
        Digest::Sha1(_) => octets.try_into().ok().map(Digest::Sha1),
        Digest::Sha256(_) => octets.try_into().ok().map(Digest::Sha256),
    }
}

fn not_wanted(status: StatusCode, headers: &HeaderMap) -> Reason {
    match headers.get(LOCATION).filter(|_| status.is_redirection()) {
        Some(to) => Reason::Redirect {
            status: status.as_u16(),
            to: Shown::new(&String::from_utf8_lossy(to.as_bytes())),
        },
        None => Reason::Status(status.as_u16()),
    }
}

/// What an error means that came before a whole header did.
fn before_answer(error: &hyper::Error) -> Trouble {
    if let Some(trouble) = find::<io::Error>(error).and_then(of_kernel) {
        return trouble;
    }
    if error.is_parse() {
        return Trouble::Fail(Reason::NotHttp);
    }
    // A server that ends TLS without a word does so here.
    let cut = find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    if cut || error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Trouble::Fail(Reason::Closed);
    }
    Trouble::Fail(other(&innermost(error)))
}

/// What an error means that came after the header.
fn within_answer(error: &hyper::Error) -> Trouble {
    match find::<io::Error>(error).map(io::Error::kind) {
        // A chunk that is none.
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Trouble::Fail(Reason::NotHttp),
        Some(_) | None => Trouble::Fail(Reason::CutShort),
    }
}

/// What an error of HTTP/2 means; `ended`: what it means that the connection is gone.
fn of_two(error: &h2::Error, ended: Reason) -> Trouble {
    if let Some(io) = error.get_io() {
        // The library keeps the kind of what the kernel says, and not its number.
        let reset = io.kind() == io::ErrorKind::ConnectionReset && ended == Reason::Closed;
        return Trouble::Fail(if reset { Reason::Reset } else { ended });
    }
    // What the library itself objects to, and not the server.
    if error.is_library() {
        return Trouble::Fail(Reason::NotHttp2);
    }
    Trouble::Fail(other(&error.to_string()))
}

fn other(text: &str) -> Reason {
    Reason::Other(Shown::new(text))
}

/// The first cause of a type.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
