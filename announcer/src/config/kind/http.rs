//! The kind `http`: a request, and the expected answer.
//!
//! Pure. Its keys are below, their values in `value.rs`, the words of its results in `result.rs`. Its probe is
//! `health/io/http.rs`.

use ::http::Method;
use toml::Spanned;
use url::Host;

use super::super::endpoint;
use super::super::error::Fault;
use super::super::keys::Key;
use super::super::pattern::{Pattern, pattern};
use super::super::proxy::{self, ProxyConfig, ProxyVersion};
use super::super::reader::{PresentKeys, Table};
use super::super::secret::{RequestUrl, SecretText, secret_text};
use super::super::table::table;
use super::super::value::boolean;
use super::super::writer::TomlWriter;
use super::super::written::nowhere;
use super::certificate::{self, CertificateConfig, ClientFiles, LookAtFiles};
use super::interface::{FirstOctets, ProbeKind};
use expect::{expect_header, expect_json};
use value::{digest, header, max_body, method, statuses, url, version};

mod expect;
mod result;
mod value;

pub use expect::{ExpectedField, ExpectedJson, Mismatch};
pub use result::{Answer, Failure, MalformedField, ProbeConnection};
pub use value::{Digest, Field, HttpVersion, Statuses};

table! {
    /// A request, and what its answer has to be.
    pub struct HttpConfig as Written {
        /// `http://` or `https://`, with a host; no user, no fragment.
        url("http"): one RequestUrl, one_of "\"http://www.example.com/healthz\"", url,
            "a request to this URL, as a client sends it; also `https://`",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// Never CONNECT.
        method: one Method, default "\"GET\"", method, "http: the method of the request";
        /// More fields of the request, except those that HTTP itself sets.
        headers: list Field, optional "[\"accept: text/plain\"]", header, "http: more header fields of the request";
        /// The body of the request; `None`: there is none.
        body: one SecretText, optional "\"ping\"", secret_text, "http: the body of the request";
        /// The version of HTTP.
        version("http_version"): one HttpVersion, default "\"auto\"", version,
            "http: `1.1`, `2` (also without TLS, by prior knowledge), or `auto`: what the server chooses by ALPN, and 1.1 without TLS";
        /// Whether a probe uses the connection of the one before.
        reuse: one bool, default "false", boolean,
            "http: keep the connection for the next probe, with a new one at each tenth probe and after each failure; only with the methods `GET`, `HEAD` and `OPTIONS`";
        /// The statuses that pass; never empty.
        expect_status: one_or_list Statuses, default "\"200-299\"", statuses,
            "http: the statuses that pass, as in `[\"200-299\", 401]`; 200 to 599";
        /// The header fields that an answer has to have.
        expect_header: one_or_list ExpectedField, optional "\"x-ready: ^yes$\"", expect_header,
            "http: header fields that the answer has to have, each with a regular expression that has to be found in its value, or alone";
        /// A regular expression that has to match the body.
        expect_body: one Pattern, optional "\"^ok\"", pattern,
            "http: a regular expression that has to be found in the body";
        /// The values that the JSON of a body has to have.
        expect_json: one_or_list ExpectedJson, optional "'/status = \"ok\"'", expect_json,
            "http: JSON pointers (RFC 6901), and the values that the JSON of the body has to have there; the body has to fit into `max_body`";
        /// The digest of the whole body.
        expect_digest: one Digest, optional "\"2ef7bde608ce5404e97d5f042f95f89f1c232871\"", digest,
            "http: the SHA-1 or SHA-256 of the body, in hexadecimal";
        /// How many octets of a body are read; above zero.
        max_body: one u32, default "65536", max_body,
            "http: how many octets of the body are read; with `expect_digest` or `expect_json`, a longer body fails; 1 to 16777216";
    }
    with {
        /// How the certificate is verified, if there is one: see [`HttpConfig::certificate`].
        certificate: CertificateConfig as certificate::Written;
        /// How its connections begin.
        proxy: ProxyConfig as proxy::Written;
    }
}

impl HttpConfig {
    /// How the certificate is verified; `None`: there is none, because the URL is `http://`.
    pub fn certificate(&self) -> Option<&CertificateConfig> {
        (self.url.scheme() == "https").then_some(&self.certificate)
    }
}

impl ProbeKind for HttpConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] =
        &[endpoint::Written::KEYS, certificate::Written::KEYS, proxy::Written::KEYS];
    const DESCRIPTORS: u64 = 1;
    const TAKES_SOCKET: bool = true;

    fn port(&self) -> Option<u16> {
        self.url.port_or_known_default()
    }

    fn host(&self) -> Option<Host> {
        self.url.host().map(|host| host.to_owned())
    }

    fn send_proxy(&self) -> Option<ProxyVersion> {
        self.proxy.send_proxy
    }

    fn client_files(&self) -> Option<ClientFiles> {
        self.certificate()?.client_files()
    }

    fn first_octets(&self) -> FirstOctets {
        match self.certificate() {
            Some(_) => FirstOctets::HttpOverTls,
            None => FirstOctets::PlainHttp,
        }
    }

    fn request(&self, at: &str) -> String {
        format!("{} {} at {at}", self.method, self.url)
    }

    fn fit(written: &mut Written, table: &mut Table<'_>) {
        written.certificate.fit(table);
        if plain(written) {
            written.certificate = table.without_defaults(certificate::Written::read);
        }
        if !is_repeatable(written) {
            table.own_only("reuse", &mut written.reuse);
            written.reuse.get_or_insert_with(|| nowhere(false));
        }
        if written.method.as_ref().is_some_and(|method| *method.get_ref() == Method::HEAD) {
            table.own_only("expect_body", &mut written.expect_body);
            table.own_only("expect_digest", &mut written.expect_digest);
            table.own_only("expect_json", &mut written.expect_json);
        }
    }

    fn judge(written: &Written, present: &PresentKeys, faults: &mut Vec<Fault>) {
        written.certificate.judge(present, faults);
        let head = written.method.as_ref().is_some_and(|method| *method.get_ref() == Method::HEAD);
        let (body, digest) = (&written.expect_body, &written.expect_digest);
        let json = written.expect_json.as_ref().filter(|all| !all.get_ref().is_empty()).map(Spanned::span);
        let of_body = [body.as_ref().map(Spanned::span), digest.as_ref().map(Spanned::span), json];
        for place in of_body.into_iter().flatten().filter(|_| head) {
            let help = "write another `method`, such as `\"GET\"`";
            faults.push(Fault::new(place, "the answer to a HEAD has no body", help));
        }
        if let (Some(reuse), Some(method)) = (&written.reuse, &written.method)
            && *reuse.get_ref()
            && !is_repeatable(written)
        {
            let message = format!("`reuse` is not allowed with the method {}", method.get_ref());
            let help = "remove `reuse`, or write the method `GET`, `HEAD` or `OPTIONS`: the server may close a kept connection while a request is on its way, and then the request is sent again";
            faults.push(Fault::new(reuse.span(), message, help).beside(method.span(), "the method"));
        }
        let Some(at) = present.place("http").filter(|_| plain(written)) else { return };
        let help = "write an `https://` URL; without TLS there is no certificate";
        certificate::without_tls(present, &at, "the URL", help, faults);
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

/// Whether the request may be sent a second time: by its method it only reads.
fn is_repeatable(written: &Written) -> bool {
    const READS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
    written.method.as_ref().is_none_or(|method| READS.contains(method.get_ref()))
}

/// Whether the probe uses no TLS.
fn plain(written: &Written) -> bool {
    written.url.as_ref().is_some_and(|url| url.get_ref().scheme() == "http")
}
