//! A check as text: the keys of its kind alone, every default written out.
//!
//! Pure.

use toml::Value;

use super::super::canonical::{Out, array, text};
use super::super::value::span;
use super::{Certificate, Check, Exec, ExitCodes, Http, Probe, Statuses, Tcp, Tls, Verify, Version};

pub(in crate::config) fn check(check: &Check, out: &mut Out) {
    let Check { name, probe, target, interval, fast_interval, timeout, rise, fall, on_failure } = check;
    out.header("[[service.check]]");
    match probe {
        Probe::Http(http) => out.line("http", text(&http.url)),
        Probe::Tls(Tls { host, port, .. }) => out.line("tls", text(format_args!("{host}:{port}"))),
        Probe::Tcp(Tcp { port, .. }) => out.line("tcp", port),
        Probe::Exec(Exec { command, .. }) => out.line("exec", array(command)),
        Probe::File(path) => out.line("file", text(path.display())),
    }
    out.line("name", text(name));
    out.maybe("target", target.as_ref().map(text));
    out.line("interval", text(span(*interval)));
    out.line("fast_interval", text(span(*fast_interval)));
    out.line("timeout", text(span(*timeout)));
    out.line("rise", rise);
    out.line("fall", fall);
    out.maybe("on_failure", on_failure.as_ref().map(text));
    match probe {
        Probe::Http(http) => of_http(http, out),
        Probe::Tls(Tls { alpn, certificate, .. }) => {
            out.maybe("alpn", (!alpn.is_empty()).then(|| array(alpn)));
            of_certificate(certificate, out);
        }
        Probe::Tcp(Tcp { port: _, send, expect }) => {
            out.maybe("send", (!send.is_empty()).then(|| text(send)));
            out.maybe("expect", expect.as_ref().map(text));
        }
        Probe::Exec(Exec { command: _, user, exit_codes }) => {
            out.maybe("user", user.as_ref().map(text));
            let codes = match exit_codes {
                ExitCodes::Zero => "zero",
                ExitCodes::Nagios => "nagios",
            };
            out.line("exit_codes", text(codes));
        }
        Probe::File(_) => {}
    }
}

fn of_http(http: &Http, out: &mut Out) {
    let Http { url: _, version, method, headers, body, expect_status, .. } = http;
    let Http { expect_body, expect_digest, max_body, certificate, .. } = http;
    out.line("method", text(method));
    let fields =
        headers.iter().map(|(name, value)| text(format!("{name}: {}", value.to_str().unwrap_or_default())));
    out.maybe("headers", (!headers.is_empty()).then(|| Value::Array(fields.collect())));
    out.maybe("body", (!body.is_empty()).then(|| text(body)));
    out.line(
        "http_version",
        text(match version {
            Version::Auto => "auto",
            Version::Http1 => "1.1",
            Version::Http2 => "2",
        }),
    );
    let mut statuses: Vec<Value> = expect_status.iter().copied().map(of_statuses).collect();
    out.line("expect_status", if statuses.len() == 1 { statuses.remove(0) } else { Value::Array(statuses) });
    out.maybe("expect_body", expect_body.as_ref().map(text));
    out.maybe("expect_digest", expect_digest.as_ref().map(text));
    out.line("max_body", max_body);
    if let Some(certificate) = certificate {
        of_certificate(certificate, out);
    }
}

fn of_statuses(Statuses { first, last }: Statuses) -> Value {
    if first == last { Value::Integer(first.into()) } else { text(format_args!("{first}-{last}")) }
}

fn of_certificate(Certificate { verify, ca_file, expires_within }: &Certificate, out: &mut Out) {
    out.line(
        "verify",
        text(match verify {
            Verify::Warn => "warn",
            Verify::Require => "require",
            Verify::Off => "off",
        }),
    );
    out.maybe("ca_file", ca_file.as_ref().map(|path| text(path.display())));
    out.line("cert_expires_within", text(span(*expires_within)));
}
