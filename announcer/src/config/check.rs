//! `[[service.check]]`: what is asked, of whom, and how often.
//!
//! Pure. A check is of the kind whose key it has; the keys of another kind are refused. A new kind is a key of need `OneOf`
//! in [`keys`](super::keys), its line in `rules::KINDS`, and an arm wherever a [`Probe`] is matched.

pub(super) mod canonical;
pub(super) mod file;
pub(super) mod rules;
mod value;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::OnFailure;
use http::{HeaderName, HeaderValue, Method};
use url::{Host, Url};

/// `[[service.check]]`: asked of each VIP of its service, or of a fixed target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `name`, default its kind: unique in its service.
    pub name: String,
    /// What is asked.
    pub probe: Probe,
    /// `target`: who is asked in place of each VIP.
    pub target: Option<Place>,
    /// `interval`, default 1s, at least 50ms: from the start of one probe to the start of the next.
    pub interval: Duration,
    /// `fast_interval`, default `interval`, at least 50ms, never above `interval`: the same while a verdict is settling.
    pub fast_interval: Duration,
    /// `timeout`, default 1s: for a whole probe.
    pub timeout: Duration,
    /// `rise`, default 2, at least 1: passes in a row that make a VIP healthy.
    pub rise: u32,
    /// `fall`, default 3, at least 1: failures in a row that make it unhealthy.
    pub fall: u32,
    /// `on_failure`: what its failure does; `None`: what the service says.
    pub on_failure: Option<OnFailure>,
}

impl Check {
    /// What it is, as the key that makes it that: `http`, `tls`.
    pub fn kind(&self) -> &'static str {
        self.probe.kind()
    }

    /// The port that is asked of the VIP itself; `None`: no port of the VIP is asked.
    pub fn port(&self) -> Option<u16> {
        if self.target.is_some() { None } else { self.probe.port() }
    }
}

/// What a check asks: one variant a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `http`: a request, and what its answer has to be.
    Http(Box<Http>),
    /// `tls`: a handshake.
    Tls(Tls),
    /// `tcp`: a connection, and what is said over it.
    Tcp(Tcp),
    /// `exec`: a program and its exit code.
    Exec(Exec),
    /// `file`: an absolute path at which something has to be.
    File(PathBuf),
}

impl Probe {
    /// The key that makes a check of it.
    pub fn kind(&self) -> &'static str {
        match self {
            Probe::Http(_) => "http",
            Probe::Tls(_) => "tls",
            Probe::Tcp(_) => "tcp",
            Probe::Exec(_) => "exec",
            Probe::File(_) => "file",
        }
    }

    /// The port that it asks, unless the target has another; `None`: it asks none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Probe::Http(http) => http.url.port_or_known_default(),
            Probe::Tls(tls) => Some(tls.port),
            Probe::Tcp(tcp) => Some(tcp.port),
            Probe::Exec(_) | Probe::File(_) => None,
        }
    }
}

/// `target`: an address of its own, and a port where it is not that of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub ip: IpAddr,
    /// The port, above 0.
    pub port: Option<u16>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// A request, and what its answer has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// `http`: `http://` or `https://`, with a host; no user, no fragment.
    pub url: Url,
    /// `http_version`, default auto.
    pub version: Version,
    /// `method`, default GET; never CONNECT.
    pub method: Method,
    /// `headers`: more fields of the request; none that is set by HTTP itself.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `body`: of the request; may be empty.
    pub body: String,
    /// `expect_status`, default 200 to 299: what passes; never empty.
    pub expect_status: Vec<Statuses>,
    /// `expect_body`: what has to be found in the body.
    pub expect_body: Option<Pattern>,
    /// `expect_digest`: of the whole body.
    pub expect_digest: Option<Digest>,
    /// `max_body`, default 65536, above zero: octets of a body that are read.
    pub max_body: u32,
    /// How its certificate is judged; `None`: there is none, the URL is `http://`.
    pub certificate: Option<Certificate>,
}

/// `http_version`: which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// What the server chooses by ALPN; without TLS, 1.1.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// Statuses that pass, one or a range; 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    /// The first.
    pub first: u16,
    /// The last, never below the first.
    pub last: u16,
}

impl Statuses {
    /// Whether a status is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// A regular expression, compiled; two are equal if their texts are.
#[derive(Debug, Clone)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    /// Whether it is found in a text. In time linear in it.
    pub fn found_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// `expect_digest`; which of them it is, its length says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// In hexadecimal, lower case.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = match self {
            Digest::Sha1(octets) => octets.as_slice(),
            Digest::Sha256(octets) => octets.as_slice(),
        };
        octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Of `tls`: the name that is sent (SNI), unless it is an address, and that the certificate has to have.
    pub host: Host,
    /// Of `tls`, default 443, above 0.
    pub port: u16,
    /// `alpn`: what is offered (RFC 7301), 1 to 255 octets each; the server has to choose one, unless there is none.
    pub alpn: Vec<String>,
    /// How its certificate is judged.
    pub certificate: Certificate,
}

/// A connection, and what is said over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// `tcp`, above 0.
    pub port: u16,
    /// `send`: what we say first; may be empty.
    pub send: String,
    /// `expect`: what has to be found in what the server says; `None`: it need say nothing.
    pub expect: Option<Pattern>,
}

/// A program and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// `exec`: the absolute path of the program, then its arguments; never empty, no NUL in it.
    pub command: Vec<String>,
    /// `user`: whose rights it has; `None`: the daemon's own user, or `nobody` if that is root.
    pub user: Option<String>,
    /// `exit_codes`, default zero.
    pub exit_codes: ExitCodes,
}

/// `exit_codes`: what a program's exit code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCodes {
    /// 0 passes, all others fail.
    Zero,
    /// Those of Nagios' plugins: 0 (OK) passes, 1 (WARNING) passes with a warning, 2 (CRITICAL), 3 (UNKNOWN) and all others
    /// fail.
    Nagios,
}

/// How the certificate of a server is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// `verify`, default warn.
    pub verify: Verify,
    /// `ca_file`: whose certificates are trusted; `None`: those whom the host trusts.
    pub ca_file: Option<PathBuf>,
    /// `cert_expires_within`, default 14 days: warned of, whatever `verify` is; zero: never.
    pub expires_within: Duration,
}

/// `verify`: what a certificate does whose chain, name or dates are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// The probe passes with a warning: the fleet shares one certificate, and would go all at once.
    Warn,
    /// The probe fails.
    Require,
    /// Nothing.
    Off,
}
