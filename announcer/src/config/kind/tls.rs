//! The kind `tls`: a handshake.
//!
//! Pure. Its probe is `health/io/tls.rs`. The words of its failures are in [`super::handshake`].

use std::fmt;

use toml::Value as Toml;
use url::{Host, Url};

use super::super::endpoint;
use super::super::error::Fault;
use super::super::keys::Key;
use super::super::proxy::{self, ProxyConfig, ProxyVersion};
use super::super::reader::{PresentKeys, Table};
use super::super::table::table;
use super::super::value::{Value, ValueError, host_name, text, wrong};
use super::super::writer::{self, ToToml, TomlWriter};
use super::certificate::{self, CertificateConfig, ClientFiles, LookAtFiles};
use super::interface::{FirstOctets, ProbeKind, Word};

table! {
    /// A TLS handshake.
    pub struct TlsConfig as Written {
        /// The server, as clients name it.
        server("tls"): one TlsServer, one_of "\"www.example.com:443\"", server,
            "a TLS handshake, as with that server; without a port, 443",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// The offered protocols (RFC 7301), 1 to 255 octets each. The server has to choose one, unless the list is empty.
        alpn: list String, optional "[\"h2\", \"http/1.1\"]", protocol,
            "tls: the protocols that are offered (RFC 7301); the server has to choose one";
    }
    with {
        /// How the certificate is verified.
        certificate: CertificateConfig as certificate::Written;
        /// How its connections begin.
        proxy: ProxyConfig as proxy::Written;
    }
}

/// A server as its clients name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsServer {
    /// The name that is sent (SNI), unless it is an address, and that the certificate has to have.
    pub host: Host,
    /// Above 0.
    pub port: u16,
}

impl fmt::Display for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl ToToml for TlsServer {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

impl ProbeKind for TlsConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] =
        &[endpoint::Written::KEYS, certificate::Written::KEYS, proxy::Written::KEYS];
    const DESCRIPTORS: u64 = 1;
    const TAKES_SOCKET: bool = true;

    fn port(&self) -> Option<u16> {
        Some(self.server.port)
    }

    fn host(&self) -> Option<Host> {
        Some(self.server.host.clone())
    }

    fn send_proxy(&self) -> Option<ProxyVersion> {
        self.proxy.send_proxy
    }

    fn client_files(&self) -> Option<ClientFiles> {
        self.certificate.client_files()
    }

    fn first_octets(&self) -> FirstOctets {
        FirstOctets::Tls
    }

    fn request(&self, at: &str) -> String {
        format!("for a TLS handshake as with {} at {at}", self.server)
    }

    fn fit(written: &mut Written, table: &mut Table<'_>) {
        written.certificate.fit(table);
    }

    fn judge(written: &Written, present: &PresentKeys, faults: &mut Vec<Fault>) {
        written.certificate.judge(present, faults);
    }

    fn look(written: &Written, look: LookAtFiles<'_>, faults: &mut Vec<Fault>) {
        written.certificate.look(look, faults);
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// The result of a handshake: a version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::V1_2, Answer::V1_3]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::V1_2 => "TLS 1.2",
            Answer::V1_3 => "TLS 1.3",
        })
    }
}

/// `HOST[:PORT]`.
fn server(value: &Value<'_>) -> Result<TlsServer, ValueError> {
    let text = text(value)?;
    let plain = !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c));
    let url = Url::parse(&format!("https://{text}")).ok().filter(|_| plain);
    let port = url.as_ref().and_then(Url::port_or_known_default).filter(|port| *port > 0);
    match (url.as_ref().and_then(Url::host), port) {
        (Some(host), Some(port)) => {
            if let Host::Domain(name) = host {
                host_name(name)?;
            }
            Ok(TlsServer { host: host.to_owned(), port })
        }
        (None, _) | (_, None) => wrong(
            format!("`{}` is not a host and a port", text.escape_debug()),
            "write the server as its clients name it, as in `\"www.example.com\"` or `\"www.example.com:8443\"`",
        ),
    }
}

/// The name of a protocol: 1 to 255 octets (RFC 7301 §3.1).
fn protocol(value: &Value<'_>) -> Result<String, ValueError> {
    let text = text(value)?;
    if text.is_empty() || text.len() > 255 || !text.chars().all(|c| c.is_ascii_graphic()) {
        let help = "write the names that are registered, as in `[\"h2\", \"http/1.1\"]`";
        return wrong(format!("`{}` is not a protocol of ALPN", text.escape_debug()), help);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_version_that_was_agreed() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["TLS 1.2", "TLS 1.3"]);
        match Answer::V1_3 {
            Answer::V1_2 | Answer::V1_3 => {} // each is in the examples
        }
    }
}
