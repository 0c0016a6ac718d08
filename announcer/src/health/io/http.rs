//! The HTTP probe: one request as a client of the URL sends it, over a new connection to the VIP itself.
//!
//! Touches the network. HTTP/1.1 (RFC 9112) or HTTP/2 (RFC 9113), as ALPN or the check says. The connection comes from the
//! VIP too: its socket is bound to it, so that a probe fails when the VIP is not on this host, and never asks another host
//! that has it. No name is looked up, no proxy used, no redirect followed, nothing asked twice (RFC 9110).

use std::time::{Duration, Instant};

use reqwest::header::{HOST, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Request, Response, StatusCode, redirect, retry};
use ring::digest;
use rustls::ClientConfig;
use url::{Host, Position, Url};

use super::tls::{self, watched};
use super::trouble::{self, Passed, Trouble, innermost};
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::http::{Digest, Statuses, Version};
use crate::config::pattern::Pattern;
use crate::health::Target;
use crate::health::outcome::{Answer, Outcome, Reason, Shortage, Shown, Waiting};

mod errors;
#[cfg(test)]
mod tests;

/// What we call ourselves.
const NAME: &str = concat!("announcer/", env!("CARGO_PKG_VERSION"));

/// Octets of a header in HTTP/2. In HTTP/1.1 the library bounds it, at 100 fields and 400 KiB.
const MOST_HEADER: u32 = 32 * 1024;

/// Octets of a body in HTTP/2 that the server sends before we have read them (RFC 9113 §6.9.2, the least).
const WINDOW: u32 = 65_535;

/// By so much the time for the connection is less than the whole, so that it is known what was being waited for.
const SOONER: Duration = Duration::from_millis(2);

/// A probe of one URL at one VIP, ready to be sent again and again.
#[derive(Debug)]
pub struct Http {
    /// Why it cannot be sent, if so: then each probe fails with that.
    ready: Result<Ready, Reason>,
    timeout: Duration,
}

#[derive(Debug)]
struct Ready {
    client: Client,
    request: Request,
    /// Whether the socket is bound to the VIP.
    bound: bool,
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
    /// A probe of `http` at a target.
    pub fn of(target: &Target, http: &kind::http::Http) -> Self {
        let timeout = target.config.timeout;
        let ready = match http.url.port_or_known_default() {
            Some(port) => {
                let host = http.url.host().map(|host| host.to_owned());
                Ready::new(http, &target.endpoint(port, host), timeout)
            }
            None => Err(other("URL has no port")),
        };
        Http { ready, timeout }
    }

    /// Asks once. Dropped, it lets go of its connection.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        // The time for the connection is up before the whole is.
        let mut waiting = Waiting::Answer;
        let end = match &self.ready {
            Ok(ready) => tokio::time::timeout(self.timeout, ready.ask(&mut waiting)).await,
            Err(reason) => Ok(Err(Trouble::Fail(reason.clone()))),
        };
        trouble::outcome(end, waiting, self.timeout, start.elapsed())
    }
}

impl Ready {
    fn new(http: &kind::http::Http, endpoint: &Endpoint, timeout: Duration) -> Result<Self, Reason> {
        let (url, name) = asked(&http.url, endpoint)?;
        let host = authority(&http.url)?;
        // HTTP/2 says the authority of the URL that is asked, and nothing else.
        let as_asked = host == authority(&url)?;
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        let offered = match http.version {
            Version::Auto if as_asked => vec![two, one],
            Version::Auto | Version::Http1 => vec![one],
            Version::Http2 => vec![two],
        };
        let tls = match (http.certificate(), &endpoint.host) {
            (Some(certificate), Some(host)) => tls::config(host, offered, certificate)?.0,
            (Some(_) | None, _) => tls::without_trust()?,
        };
        let mut builder = bare(tls)
            .local_address(endpoint.from)
            .connect_timeout(timeout.saturating_sub(SOONER).max(timeout / 2));
        if let Some(name) = name {
            builder = builder.resolve(&name, endpoint.to);
        }
        let mut request = Request::new(http.method.clone(), url);
        for (name, value) in &http.headers {
            request.headers_mut().append(name, value.clone());
        }
        match http.version {
            Version::Auto | Version::Http1 if as_asked => {}
            Version::Auto | Version::Http1 => drop(request.headers_mut().insert(HOST, host)),
            // By ALPN, or else by prior knowledge.
            Version::Http2 if http.certificate().is_some() => *request.version_mut() = http::Version::HTTP_2,
            Version::Http2 => builder = builder.http2_prior_knowledge(),
        }
        if let Some(body) = &http.body {
            *request.body_mut() = Some(body.clone().into());
        }
        Ok(Ready {
            client: builder.build().map_err(|error| other(&innermost(&error)))?,
            request,
            bound: endpoint.from.is_some(),
            wanted: Wanted {
                status: http.expect_status.clone(),
                pattern: http.expect_body.clone(),
                digest: http.expect_digest,
                max_body: http.max_body,
            },
        })
    }

    async fn ask(&self, waiting: &mut Waiting) -> Result<Passed, Trouble> {
        let request = self.request.try_clone().ok_or_else(|| Trouble::Fail(other("request is in use")))?;
        let (answer, seen) = watched(self.client.execute(request)).await;
        match answer {
            Ok(answer) => {
                let answer = self.wanted.judge(answer, waiting).await?;
                Ok(Passed { answer, warning: seen.warning })
            }
            Err(error) => {
                let trouble = errors::before_answer(&error, seen);
                // A socket that is bound to no VIP misses none: no port was free.
                let no_port = !self.bound && trouble == Trouble::Fail(Reason::VipMissing);
                Err(if no_port { Trouble::Skip(Shortage::Ports) } else { trouble })
            }
        }
    }
}

/// The URL that is asked in place of the check's, so that the library goes to the endpoint; and the name in it, of which the
/// library has to be told where it is.
fn asked(url: &Url, endpoint: &Endpoint) -> Result<(Url, Option<String>), Reason> {
    let no_host = |()| other("URL has no host that could be replaced");
    let mut asked = url.clone();
    let name = match &endpoint.host {
        Some(Host::Domain(name)) => Some(name.clone()),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
            asked.set_ip_host(endpoint.to.ip()).map_err(no_host)?;
            None
        }
        None => return Err(other("URL has no host")),
    };
    // A port in the URL is asked, whatever is said of the name.
    if name.is_none() || asked.port().is_some() {
        asked.set_port(Some(endpoint.to.port())).map_err(no_host)?;
    }
    Ok((asked, name))
}

/// A client that does no more than it is told to. What it does not share with others is small.
fn bare(tls: ClientConfig) -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(NAME)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        // What lives no longer than a probe needs none of these, and each is a system call.
        .tcp_keepalive(None)
        .tcp_keepalive_interval(None)
        .tcp_keepalive_retries(None)
        .tcp_user_timeout(None)
        .http2_max_header_list_size(MOST_HEADER)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW)
        .tls_backend_preconfigured(tls)
}

/// `HOST[:PORT]`, the port where it is not that of the scheme.
fn authority(url: &Url) -> Result<HeaderValue, Reason> {
    HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
        .map_err(|error| other(&error.to_string()))
}

impl Wanted {
    async fn judge(&self, answer: Response, waiting: &mut Waiting) -> Result<Answer, Trouble> {
        let status = answer.status();
        if !self.status.iter().any(|range| range.contains(status.as_u16())) {
            return Err(Trouble::Fail(not_wanted(status, answer.headers())));
        }
        *waiting = Waiting::Body;
        self.read(answer).await?;
        Ok(Answer::Http(status.as_u16()))
    }

    /// Reads a body, or as much of it as we care for.
    async fn read(&self, mut body: Response) -> Result<(), Trouble> {
        let most = usize::try_from(self.max_body).unwrap_or(usize::MAX);
        let mut sum = self.digest.map(|digest| match digest {
            Digest::Sha1(_) => digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            Digest::Sha256(_) => digest::Context::new(&digest::SHA256),
        });
        let (mut length, mut text) = (0, Vec::new());
        // Whether it goes on matters to its digest alone.
        while length < most || sum.is_some() {
            let next = body.chunk().await.map_err(|error| errors::within_answer(&error))?;
            let Some(mut data) = next else { break };
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

fn other(text: &str) -> Reason {
    Reason::Other(Shown::new(text))
}
