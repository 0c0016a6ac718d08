//! The HTTP probe: one request as a client of the URL sends it, over a new connection to the VIP itself; with `reuse`, over a kept
//! one ([`direct`]).
//!
//! Touches the network. HTTP/1.1 (RFC 9112) or HTTP/2 (RFC 9113), as ALPN or the check says. The connection comes from the VIP too:
//! its socket is bound to it, so that a probe fails when the VIP is not on this host, and never reaches another host that has it.
//! No name is looked up, no proxy is used, no redirect is followed, and no request is sent twice (RFC 9110), except over a kept
//! connection that the server has closed. If a server answers before it gets the request, [`early`] repeats the probe, because the library does not accept such an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, LOCATION, TRANSFER_ENCODING,
    USER_AGENT,
};
use reqwest::{Client, Method, Request, Response, StatusCode, redirect, retry};
use ring::digest;
use rustls::ClientConfig;
use url::{Host, Position, Url};

use super::prober::Prober;
use super::result::{self, ProbeError, ProbeSuccess};
use super::tls::{self, HandshakeProgress, watched};
use super::trust::{Judge, TrustStore};
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::certificate::Flaw;
use crate::config::kind::handshake::{self, Warning};
use crate::config::kind::http::{
    Answer, Digest, ExpectedField, ExpectedJson, Failure, Field, HttpVersion, Statuses,
};
use crate::config::pattern::Pattern;
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason, Shortage, TimeoutPhase};
use crate::model::text::PrintableText;
use crate::time_limit::io::within;

mod direct;
mod early;
mod errors;
#[cfg(test)]
mod tests;

use direct::DirectProbe;
use early::EarlyProbe;

/// Our User-Agent.
const NAME: &str = concat!("announcer/", env!("CARGO_PKG_VERSION"));

/// The most octets of a header in HTTP/2. In HTTP/1.1 the limits of the library are 100 fields and 400 KiB.
const MOST_HEADER: u32 = 32 * 1024;

/// The window of HTTP/2: how many octets of a body the server may send before we have read them (the minimum of RFC 9113 §6.9.2).
const WINDOW: u32 = 65_535;

/// The most octets that are read of a server's error page.
const MOST_COMPLAINT: usize = 4096;
/// How long to wait for the error page.
const FOR_COMPLAINT: Duration = Duration::from_millis(50);

/// The time limit of the connection is shorter than the whole time limit by this fraction. So the probe can say what it was waiting
/// for, also on a busy machine where the connection starts late.
const SOONER: u32 = 16;

/// A prepared probe of one URL at one VIP, which can be repeated.
#[derive(Debug)]
pub struct HttpProbe {
    /// The prepared request, or the reason why it cannot be sent; then each probe fails with that reason.
    ready: Result<Way, Reason>,
    timeout: Duration,
}

/// How the request is sent.
#[derive(Debug)]
enum Way {
    /// By the library, over a new connection each time.
    Library(Box<PreparedRequest>),
    /// Over connections that we open ourselves.
    Direct(Box<DirectProbe>),
}

#[derive(Debug)]
struct PreparedRequest {
    client: Client,
    request: Request,
    /// The second try for a server that answers before it gets the request; none in HTTP/2, where each side may send first.
    early: Option<EarlyProbe>,
    /// The judge of its certificates; none without TLS, and none if the name is not valid.
    judge: Option<Arc<Judge>>,
    /// Whether the socket is bound to the VIP.
    bound: bool,
    expectation: Expectation,
}

/// The expected answer.
#[derive(Debug)]
struct Expectation {
    status: Vec<Statuses>,
    header: Vec<ExpectedField>,
    json: Vec<ExpectedJson>,
    pattern: Option<Pattern>,
    digest: Option<Digest>,
    max_body: u32,
}

impl HttpProbe {
    /// A probe of `http` at a target.
    pub fn of(prober: &Prober, target: &Target, http: &kind::http::HttpConfig) -> Self {
        let timeout = target.config.timeout;
        let ready = match http.url.port_or_known_default() {
            Some(port) => {
                let host = http.url.host().map(|host| host.to_owned());
                let (endpoint, store) = (target.endpoint(port, host), prober.trust());
                // The library has neither unix sockets nor the header of the PROXY protocol.
                let direct = http.reuse || endpoint.proxy.is_some() || endpoint.to.ip().is_none();
                if direct {
                    DirectProbe::new(http, &endpoint, timeout, store)
                        .map(|probe| Way::Direct(Box::new(probe)))
                } else {
                    PreparedRequest::new(http, &endpoint, timeout, store)
                        .map(|probe| Way::Library(Box::new(probe)))
                }
            }
            None => Err(Reason::Other("the URL has no port")),
        };
        HttpProbe { ready, timeout }
    }

    /// Makes one probe. If the future is dropped, the connection is closed.
    pub async fn probe(&self) -> Outcome {
        match &self.ready {
            Ok(Way::Library(request)) => request.prepare().await,
            Ok(Way::Direct(probe)) => probe.prepare().await,
            Err(_) => {}
        }
        let start = Instant::now();
        // The time limit of the connection ends before the whole time limit.
        let mut waiting = TimeoutPhase::Answer;
        let end = match &self.ready {
            Ok(Way::Library(request)) => within(self.timeout, request.ask(&mut waiting)).await,
            Ok(Way::Direct(probe)) => within(self.timeout, probe.ask(&mut waiting)).await,
            Err(reason) => Ok(Err(ProbeError::Fail(reason.clone()))),
        };
        let outcome = result::outcome(end, waiting, self.timeout, start.elapsed());
        if let (Ok(Way::Direct(probe)), Outcome::Fail { .. } | Outcome::Skipped(_)) = (&self.ready, &outcome)
        {
            probe.forget();
        }
        outcome
    }
}

impl PreparedRequest {
    fn new(
        http: &kind::http::HttpConfig,
        endpoint: &Endpoint,
        timeout: Duration,
        store: &TrustStore,
    ) -> Result<Self, Reason> {
        let (url, name) = target(&http.url, endpoint)?;
        let host = authority(&http.url)?;
        // HTTP/2 always sends the authority of the URL of the request.
        let as_asked = host == authority(&url)?;
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        let offered = match http.version {
            HttpVersion::Auto if as_asked => vec![two, one],
            HttpVersion::Auto | HttpVersion::Http1 => vec![one],
            HttpVersion::Http2 => vec![two],
        };
        let (tls, judge) = match (http.certificate(), &endpoint.host) {
            (Some(certificate), Some(host)) => {
                let tls = tls::config(host, offered, certificate, store, timeout)?;
                (tls.config, Some(tls.judge))
            }
            (Some(_) | None, _) => (tls::without_trust()?, None),
        };
        let early = match http.version {
            HttpVersion::Auto | HttpVersion::Http1 => Some(EarlyProbe::new(http, endpoint, timeout, store)?),
            HttpVersion::Http2 => None,
        };
        let mut builder = bare(tls).local_address(endpoint.from).connect_timeout(timeout - timeout / SOONER);
        if let Some(vrf) = &endpoint.vrf {
            builder = builder.interface(vrf);
        }
        if let (Some(name), Some(to)) = (name, endpoint.to.ip()) {
            builder = builder.resolve(&name, to);
        }
        let mut request = Request::new(http.method.clone(), url);
        *request.headers_mut() = fields(http);
        match http.version {
            HttpVersion::Auto | HttpVersion::Http1 if as_asked => {}
            HttpVersion::Auto | HttpVersion::Http1 => drop(request.headers_mut().insert(HOST, host)),
            // By ALPN, or else by prior knowledge.
            HttpVersion::Http2 if http.certificate().is_some() => {
                *request.version_mut() = http::Version::HTTP_2
            }
            HttpVersion::Http2 => builder = builder.http2_prior_knowledge(),
        }
        if let Some(body) = http.body.as_ref().filter(|body| !body.is_empty()) {
            *request.body_mut() = Some(body.as_str().to_owned().into());
        }
        Ok(PreparedRequest {
            client: builder
                .build()
                .map_err(|_| Reason::Other("the HTTP library does not accept these settings"))?,
            request,
            early,
            judge,
            bound: endpoint.from.is_some(),
            expectation: Expectation::of(http),
        })
    }

    /// Reads the trusted certificates, unless that was done. This is not part of the time of a probe.
    async fn prepare(&self) {
        if let Some(judge) = &self.judge {
            judge.prepare().await;
        }
    }

    async fn ask(&self, waiting: &mut TimeoutPhase) -> Result<ProbeSuccess, ProbeError> {
        let mut result = self.ask_by_library().await;
        if let Err(NoAnswer::TrustChanged) = result {
            result = self.ask_by_library().await;
        }
        let answered = match result {
            Ok(answered) => Ok(answered),
            Err(NoAnswer::TooEarly(early)) => early.ask(self.request()?, waiting).await,
            Err(NoAnswer::TrustChanged) => {
                Err(ProbeError::of(handshake::Failure::Certificate(Flaw::Untrusted)))
            }
            Err(NoAnswer::Failed(trouble)) => Err(trouble),
        };
        match answered {
            Ok((answer, warning)) => {
                *waiting = TimeoutPhase::Answer;
                let answer = self.expectation.judge(answer, waiting).await?;
                Ok(ProbeSuccess { answer: answer.into(), warning: warning.map(Into::into) })
            }
            // A socket that is bound to no VIP misses none: no port was free.
            Err(ProbeError::Fail(Reason::VipMissing)) if !self.bound => {
                Err(ProbeError::Skip(Shortage::Ports))
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn ask_by_library(&self) -> Result<(Response, Option<Warning>), NoAnswer<'_>> {
        let request = self.request().map_err(NoAnswer::Failed)?;
        let (answer, mut seen) = watched(self.client.execute(request)).await;
        let trust_changed = match &self.judge {
            Some(judge) => seen.reconsider(judge).await,
            None => false,
        };
        match (answer, &self.early) {
            (Ok(answer), _) => Ok((answer, self.warning(seen)?)),
            (Err(_), _) if trust_changed => Err(NoAnswer::TrustChanged),
            (Err(error), Some(early)) if errors::came_too_early(&error) => Err(NoAnswer::TooEarly(early)),
            (Err(error), _) => Err(NoAnswer::Failed(errors::before_answer(&error, &seen))),
        }
    }

    /// The warning of the handshake of a request that was answered.
    fn warning(&self, seen: HandshakeProgress) -> Result<Option<Warning>, NoAnswer<'_>> {
        let Some(judge) = &self.judge else { return Ok(None) };
        seen.finish(judge).map_err(|failure| NoAnswer::Failed(ProbeError::of(failure)))
    }

    fn request(&self) -> Result<Request, ProbeError> {
        self.request
            .try_clone()
            .ok_or(ProbeError::Fail(Reason::Other("the request cannot be sent a second time")))
    }
}

/// Why there is no answer. Except for the first variant, no request was sent.
enum NoAnswer<'a> {
    /// For good.
    Failed(ProbeError),
    /// The server answered before the request was sent, so the second try is needed.
    TooEarly(&'a EarlyProbe),
    /// The handshake failed because of a certificate that is trusted now.
    TrustChanged,
}

/// The URL for the library, with which it connects to the endpoint; and the name in it, for which the library needs the address.
fn target(url: &Url, endpoint: &Endpoint) -> Result<(Url, Option<String>), Reason> {
    let no_host = |()| Reason::Other("the URL has no host that can be replaced");
    let Some(to) = endpoint.to.ip() else { return Err(Reason::Other("a unix socket has no URL")) };
    let mut target = url.clone();
    let name = match &endpoint.host {
        Some(Host::Domain(name)) => Some(name.clone()),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
            target.set_ip_host(to.ip()).map_err(no_host)?;
            None
        }
        None => return Err(Reason::Other("the URL has no host")),
    };
    // If the URL has a port, the library uses it, and not the port of the resolved address.
    if name.is_none() || target.port().is_some() {
        target.set_port(Some(to.port())).map_err(no_host)?;
    }
    Ok((target, name))
}

/// A client without redirects, proxies and retries. It shares most of its memory with other clients.
fn bare(tls: ClientConfig) -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(NAME)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        // A connection for one probe needs none of these options, and each is a system call.
        .tcp_keepalive(None)
        .tcp_keepalive_interval(None)
        .tcp_keepalive_retries(None)
        .tcp_user_timeout(None)
        // As in other clients, a folded field becomes one line (RFC 9112 §5.2), and a line that is not a field is ignored.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http2_max_header_list_size(MOST_HEADER)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW)
        .tls_backend_preconfigured(tls)
}

/// The fields of the request, without Host.
fn fields(http: &kind::http::HttpConfig) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for Field { name, value, .. } in &http.headers {
        fields.append(name, value.clone());
    }
    for (name, value) in [(ACCEPT, "*/*"), (USER_AGENT, NAME)] {
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
    let is_empty = http.body.as_ref().is_none_or(|body| body.is_empty());
    if is_empty && [Method::POST, Method::PUT, Method::PATCH].contains(&http.method) {
        // Servers require it if the method can have a body (RFC 9110 §8.6).
        fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    fields
}

/// `HOST[:PORT]`, with the port if it differs from that of the scheme.
fn authority(url: &Url) -> Result<HeaderValue, Reason> {
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
        .map_err(|_| Reason::Other("the URL's host cannot be used in a Host field"))
}

impl Expectation {
    fn of(http: &kind::http::HttpConfig) -> Self {
        Expectation {
            status: http.expect_status.clone(),
            header: http.expect_header.clone(),
            json: http.expect_json.clone(),
            pattern: http.expect_body.clone(),
            digest: http.expect_digest,
            max_body: http.max_body,
        }
    }

    async fn judge(&self, answer: Response, waiting: &mut TimeoutPhase) -> Result<Answer, ProbeError> {
        let status = answer.status();
        if !self.status.iter().any(|range| range.contains(status.as_u16())) {
            return Err(ProbeError::of(not_wanted(answer).await));
        }
        if let Some(difference) = self.header.iter().find_map(|field| field.difference(answer.headers())) {
            return Err(ProbeError::of(Failure::Header(Box::new(difference))));
        }
        *waiting = TimeoutPhase::Body;
        self.read(answer).await?;
        Ok(Answer::Status(status.as_u16()))
    }

    /// Reads a body, or the part of it that is needed.
    async fn read(&self, mut body: Response) -> Result<(), ProbeError> {
        let (encoding, until_closed) = (encoding(body.headers()), is_until_closed(&body));
        let most = usize::try_from(self.max_body).unwrap_or(usize::MAX);
        let mut sum = self.digest.map(|digest| match digest {
            Digest::Sha1(_) => digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Digest::Sha256(_) => digest::Context::new(&digest::SHA256),
        });
        let (mut length, mut text) = (0, Vec::new());
        // Octets after the limit matter only for the digest and for JSON.
        let whole = sum.is_some() || !self.json.is_empty();
        while length < most || whole {
            let mut data = match body.chunk().await {
                Ok(Some(data)) => data,
                Ok(None) => break,
                Err(error) if until_closed && errors::is_reset(&error) => break,
                Err(error) => return Err(errors::within_answer(&error)),
            };
            if data.len() > most - length {
                if whole {
                    return Err(ProbeError::of(Failure::BodyTooLong(self.max_body)));
                }
                data.truncate(most - length);
            }
            length += data.len();
            if let Some(sum) = &mut sum {
                sum.update(&data);
            }
            if self.pattern.is_some() || !self.json.is_empty() {
                text.extend_from_slice(&data);
            }
        }
        if let (Some(sum), Some(want)) = (sum, self.digest) {
            let got = same_kind(want, sum.finish().as_ref());
            if got != Some(want) {
                let digest = |got| Failure::Digest { got, encoding }.into();
                return Err(ProbeError::Fail(
                    got.map_or(Reason::Other("there is no digest of the body"), digest),
                ));
            }
        }
        if !self.json.is_empty() {
            let Ok(json) = serde_json::from_slice(&text) else {
                return Err(ProbeError::of(Failure::NotJson));
            };
            if let Some(difference) = self.json.iter().find_map(|expected| expected.difference(&json)) {
                return Err(ProbeError::of(Failure::Json(Box::new(difference))));
            }
        }
        match &self.pattern {
            Some(pattern) if !pattern.found_in(&String::from_utf8_lossy(&text)) => {
                let within = (length >= most).then_some(self.max_body);
                Err(ProbeError::of(Failure::NoMatch { encoding, within }))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether only the end of the connection ends the body (RFC 9112 §6.3). Then a reset ends the body too: a server that closes the
/// connection without reading our request sends a reset, and more of the body cannot be known.
fn is_until_closed(answer: &Response) -> bool {
    let has = |name| answer.headers().contains_key(name);
    answer.version() <= http::Version::HTTP_11 && !has(CONTENT_LENGTH) && !has(TRANSFER_ENCODING)
}

/// The encoding of a body, if there is one. The body is compared in its encoded form.
fn encoding(headers: &HeaderMap) -> Option<PrintableText> {
    let encoding = headers.get(CONTENT_ENCODING)?.as_bytes();
    (!encoding.eq_ignore_ascii_case(b"identity"))
        .then(|| PrintableText::new(&String::from_utf8_lossy(encoding)))
}

/// The octets as a digest of the same kind as `like`, if the length fits.
fn same_kind(like: Digest, octets: &[u8]) -> Option<Digest> {
    match like {
        Digest::Sha1(_) => octets.try_into().ok().map(Digest::Sha1),
        Digest::Sha256(_) => octets.try_into().ok().map(Digest::Sha256),
    }
}

async fn not_wanted(answer: Response) -> kind::Failure {
    let status = answer.status();
    let location = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
    if let Some(to) = location {
        let to = PrintableText::new(&String::from_utf8_lossy(to.as_bytes()));
        return Failure::Redirect { status: status.as_u16(), to }.into();
    }
    let complains = status == StatusCode::BAD_REQUEST;
    let complaint = if complains { complaint(answer).await } else { String::new() };
    if OF_TLS.iter().any(|words| complaint.contains(words)) {
        return Failure::WantsTls.into();
    }
    if complaint.contains(NO_CERTIFICATE) {
        return handshake::Failure::WantsCertificate.into();
    }
    if complaint.contains(WRONG_CERTIFICATE) {
        return handshake::Failure::RefusesCertificate.into();
    }
    Failure::Status(status.as_u16()).into()
}

/// The answers of servers, in lower case, to a request without TLS at a TLS port: nginx, Apache, Go, Tomcat.
const OF_TLS: [&str; 4] =
    ["request was sent to https port", "to an ssl-enabled server port", "to an https server", "requires tls"];

/// The answer of nginx to a client without a certificate.
const NO_CERTIFICATE: &str = "no required ssl certificate was sent";
/// The answer of nginx to a client whose certificate it does not accept.
const WRONG_CERTIFICATE: &str = "the ssl certificate error";

/// The start of a server's error page, in lower case. The wait for it is short.
async fn complaint(mut answer: Response) -> String {
    let mut text = Vec::new();
    let read = async {
        while text.len() < MOST_COMPLAINT
            && let Ok(Some(data)) = answer.chunk().await
        {
            text.extend_from_slice(&data);
        }
    };
    let _ = tokio::time::timeout(FOR_COMPLAINT, read).await; // the octets that have arrived by then are used
    String::from_utf8_lossy(&text).to_ascii_lowercase()
}
