//! The kind `grpc`: the health of a gRPC server, by its own service `grpc.health.v1.Health`.
//!
//! Pure. The messages are in `health/grpc.rs`, and its probe is `health/io/grpc.rs`.

use std::fmt;

use toml::Value as Toml;
use url::{Host, Url};

use super::super::endpoint;
use super::super::error::Fault;
use super::super::keys::Key;
use super::super::proxy::{self, ProxyConfig, ProxyVersion};
use super::super::reader::{PresentKeys, Table};
use super::super::table::table;
use super::super::value::{Value, ValueError, host_name, string, text, wrong};
use super::super::writer::{self, ToToml, TomlWriter};
use super::certificate::{self, CertificateConfig, ClientFiles, LookAtFiles};
use super::interface::{FailureWord, FirstOctets, ProbeKind, Word};
use crate::model::text::PrintableText;

table! {
    /// A question about the health of a gRPC server, or of one of its services.
    pub struct GrpcConfig as Written {
        /// The server, as clients name it.
        server("grpc"): one GrpcServer, one_of "\"http://www.example.com:50051\"", server,
            "the gRPC server, which is asked by grpc.health.v1.Health/Check whether it serves; also `https://`",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// The service that is asked about; `None`: the server as a whole.
        service("grpc_service"): one String, optional "\"example.v1.Shop\"", string,
            "grpc: the service that is asked about; without it, the server as a whole";
    }
    with {
        /// How the certificate is verified, if there is one: see [`GrpcConfig::certificate`].
        certificate: CertificateConfig as certificate::Written;
        /// How its connections begin.
        proxy: ProxyConfig as proxy::Written;
    }
}

/// A gRPC server as its clients name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcServer {
    /// Whether it uses TLS.
    pub tls: bool,
    /// The name or address, for `:authority` and the certificate.
    pub host: Host,
    /// Above 0.
    pub port: u16,
}

impl GrpcServer {
    /// `HOST:PORT`, the port always.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for GrpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl ToToml for GrpcServer {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// `http[s]://HOST[:PORT]`.
fn server(value: &Value<'_>) -> Result<GrpcServer, ValueError> {
    let text = text(value)?;
    let known = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    let plain =
        known(text) && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "?#@\\".contains(c));
    let url = Url::parse(text).ok().filter(|url| plain && url.path() == "/");
    let port = url.as_ref().and_then(Url::port_or_known_default).filter(|port| *port > 0);
    match (url.as_ref().and_then(|url| Some((url.scheme() == "https", url.host()?))), port) {
        (Some((tls, host)), Some(port)) => {
            if let Host::Domain(name) = host {
                host_name(name)?;
            }
            Ok(GrpcServer { tls, host: host.to_owned(), port })
        }
        (_, _) => wrong(
            format!("`{}` is not a gRPC server", text.escape_debug()),
            "write `http://` or `https://`, the name and the port, without a path, as in `\"http://www.example.com:50051\"`",
        ),
    }
}

impl GrpcConfig {
    /// How the certificate is verified; `None`: there is none, because the server uses no TLS.
    pub fn certificate(&self) -> Option<&CertificateConfig> {
        self.server.tls.then_some(&self.certificate)
    }
}

impl ProbeKind for GrpcConfig {
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
        self.certificate()?.client_files()
    }

    fn first_octets(&self) -> FirstOctets {
        if self.server.tls { FirstOctets::HttpOverTls } else { FirstOctets::PlainHttp }
    }

    fn request(&self, at: &str) -> String {
        match &self.service {
            Some(service) => {
                format!("whether the gRPC service `{service}` of {} serves at {at}", self.server)
            }
            None => format!("whether the gRPC server {} serves at {at}", self.server),
        }
    }

    fn fit(written: &mut Written, table: &mut Table<'_>) {
        written.certificate.fit(table);
        if plain(written) {
            written.certificate = table.without_defaults(certificate::Written::read);
        }
    }

    fn judge(written: &Written, present: &PresentKeys, faults: &mut Vec<Fault>) {
        written.certificate.judge(present, faults);
        let Some(at) = present.place("grpc").filter(|_| plain(written)) else { return };
        let help = "write `https://`; without TLS there is no certificate";
        certificate::without_tls(present, &at, "the server", help, faults);
    }

    fn look(written: &Written, look: LookAtFiles<'_>, faults: &mut Vec<Fault>) {
        if !plain(written) {
            written.certificate.look(look, faults);
        }
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        match plain(written) {
            true => {
                written.write_own(out);
                written.proxy.write(out);
            }
            false => written.write(out),
        }
    }
}

/// Whether the server uses no TLS.
fn plain(written: &Written) -> bool {
    written.server.as_ref().is_some_and(|server| !server.get_ref().tls)
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The state SERVING.
    Serving,
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Serving]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Serving => f.write_str("SERVING"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Another state than SERVING, by its name or its number.
    NotServing(PrintableText),
    /// The call failed, with its code (grpc-status) and text (grpc-message).
    CallFailed {
        /// 1 to 16, or a number that gRPC does not know.
        code: u32,
        /// As the server wrote it.
        text: PrintableText,
    },
    /// Another status of HTTP than 200.
    Http(u16),
    /// It is HTTP/2, but no answer to such a call.
    NotGrpc,
    /// The server ended the request with an error of HTTP/2.
    Ended,
    /// The server does not use HTTP/2.
    NotHttp2,
}

/// The names of the codes of gRPC, from 0.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![
            Failure::NotServing(PrintableText::new("NOT_SERVING")),
            Failure::CallFailed { code: 12, text: PrintableText::new("unknown service") },
            Failure::Http(404),
            Failure::NotGrpc,
            Failure::Ended,
            Failure::NotHttp2,
        ]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::NotServing(_) => "not_serving",
            Failure::CallFailed { .. } => "call_failed",
            Failure::Http(_) => "status",
            Failure::NotGrpc => "not_grpc",
            Failure::Ended => "ended",
            Failure::NotHttp2 => "not_http2",
        }
    }

    fn hint(&self, _asked: &super::ProbeContext) -> Option<String> {
        match self {
            Failure::CallFailed { code: 12, .. } => Some(
                "the server has to register the service grpc.health.v1.Health, as its library offers".into(),
            ),
            Failure::CallFailed { code: 5, .. } => {
                Some("compare `grpc_service` with the services of the server".into())
            }
            Failure::NotServing(_) | Failure::CallFailed { .. } | Failure::Http(_) => None,
            Failure::NotGrpc | Failure::Ended | Failure::NotHttp2 => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotServing(state) => write!(f, "the state is {state}"),
            Failure::CallFailed { code, text } => {
                match usize::try_from(*code).ok().and_then(|code| CODES.get(code)) {
                    Some(name) => write!(f, "gRPC status {name}")?,
                    None => write!(f, "gRPC status {code}")?,
                }
                match text.to_string() {
                    text if text.is_empty() => Ok(()),
                    text => write!(f, ": {text}"),
                }
            }
            Failure::Http(status) => write!(f, "HTTP {status}"),
            Failure::NotGrpc => f.write_str("answer is not gRPC"),
            Failure::Ended => f.write_str("the server ended the request with an error of HTTP/2"),
            Failure::NotHttp2 => f.write_str("answer is not HTTP/2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["SERVING"]);
        let failures: Vec<_> =
            Failure::examples().iter().map(|failure| (failure.label(), failure.to_string())).collect();
        let failures: Vec<_> = failures.iter().map(|(label, text)| (*label, text.as_str())).collect();
        assert_eq!(
            failures,
            [
                ("not_serving", "the state is NOT_SERVING"),
                ("call_failed", "gRPC status UNIMPLEMENTED: unknown service"),
                ("status", "HTTP 404"),
                ("not_grpc", "answer is not gRPC"),
                ("ended", "the server ended the request with an error of HTTP/2"),
                ("not_http2", "answer is not HTTP/2"),
            ]
        );
        let unknown = Failure::CallFailed { code: 17, text: PrintableText::new("") };
        assert_eq!(unknown.to_string(), "gRPC status 17");
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::Serving, Failure::NotGrpc) {
            (
                Answer::Serving,
                Failure::NotServing(_)
                | Failure::CallFailed { .. }
                | Failure::Http(_)
                | Failure::NotGrpc
                | Failure::Ended
                | Failure::NotHttp2,
            ) => {}
        }
    }
}
