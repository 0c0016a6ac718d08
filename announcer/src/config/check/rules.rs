//! What the keys of a check are together: one kind, its own keys, a name.
//!
//! Pure.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use http::Method;
use toml::Spanned;

use super::super::error::Fault;
use super::super::rules::{all, one, unique};
use super::super::value::span;
use super::{Certificate, Check, Exec, Http, Probe, Tcp, Tls, Verify, file};

/// Each kind: the key that makes a check of it, and the keys that go with it. Those of no kind go with all.
const KINDS: &[(&str, &[&str])] = &[
    (
        "http",
        &[
            "target",
            "method",
            "headers",
            "body",
            "http_version",
            "expect_status",
            "expect_body",
            "expect_digest",
            "max_body",
            "verify",
            "ca_file",
            "cert_expires_within",
        ],
    ),
    ("tls", &["target", "alpn", "verify", "ca_file", "cert_expires_within"]),
    ("tcp", &["target", "send", "expect"]),
    ("exec", &["user", "exit_codes"]),
    ("file", &[]),
];

/// Those that need a server with a certificate.
const OF_CERTIFICATES: &[&str] = &["verify", "ca_file", "cert_expires_within"];

/// Checks the checks of one service.
pub(in crate::config) fn judge(checks: &[file::Check], faults: &mut Vec<Fault>) {
    unique(
        checks.iter().filter_map(|check| check.name.as_ref()),
        "give each check a name of its own",
        faults,
    );
    for check in checks {
        if let Some((kind, at)) = kind(check, faults) {
            strangers(check, kind, at, faults);
        }
        together(check, faults);
    }
}

/// The kind of a check, and where its key is; tells if it has none or two.
fn kind(check: &file::Check, faults: &mut Vec<Fault>) -> Option<(&'static str, Range<usize>)> {
    let is_kind = |name: &str| KINDS.iter().any(|(kind, _)| *kind == name);
    let mut kinds = check.written.keys.iter().filter(|(name, _)| is_kind(name));
    let Some((first, at)) = kinds.next() else {
        if !check.written.meant.iter().any(|meant| is_kind(meant)) {
            let all: Vec<String> = KINDS.iter().map(|(kind, _)| format!("`{kind}`")).collect();
            let message = format!("this `[[service.check]]` has none of {}", all.join(", "));
            let help = "add a line such as `http = \"http://www.example.com/healthz\"`";
            faults.push(Fault::new(check.written.header.clone(), message, help).absence());
        }
        return None;
    };
    let mut alone = true;
    for (other, place) in kinds {
        alone = false;
        let message = format!("a check is of one kind, and `{first}` is another than `{other}`");
        let help = "write a `[[service.check]]` for each";
        faults.push(Fault::new(place.clone(), message, help).beside(at.clone(), "the first kind"));
    }
    alone.then(|| (*first, at.clone()))
}

/// Tells the keys of other kinds.
fn strangers(check: &file::Check, kind: &str, at: Range<usize>, faults: &mut Vec<Fault>) {
    let homes = |key: &str| -> Vec<&str> {
        KINDS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(kind, _)| *kind).collect()
    };
    let plain = check.http.as_ref().is_some_and(|url| url.get_ref().scheme() == "http");
    for (key, place) in &check.written.keys {
        let homes = homes(key);
        if !homes.is_empty() && !homes.contains(&kind) {
            let homes: Vec<String> = homes.iter().map(|home| format!("`{home}`")).collect();
            let message = format!("`{key}` does not go with `{kind}`");
            let help = format!("`{key}` goes with {}", homes.join(" and "));
            faults
                .push(Fault::new(place.clone(), message, help).beside(at.clone(), "the kind of this check"));
        } else if plain && OF_CERTIFICATES.contains(key) {
            let message = format!("`{key}` does not go with `http://`");
            let help = "write an `https://` URL; without TLS there is no certificate";
            faults.push(Fault::new(place.clone(), message, help).beside(at.clone(), "the URL"));
        }
    }
}

/// Tells keys of one kind that contradict one another.
fn together(check: &file::Check, faults: &mut Vec<Fault>) {
    if let (Some(fast), Some(interval)) = (&check.fast_interval, &check.interval)
        && fast.get_ref() > interval.get_ref()
    {
        let message = "`fast_interval` must be at most `interval`";
        let help = format!("write `{}` or less", span(*interval.get_ref()));
        faults.push(Fault::new(fast.span(), message, help));
    }
    program(check, faults);
    let head = check.method.as_ref().is_some_and(|method| *method.get_ref() == Method::HEAD);
    let of_body =
        [check.expect_body.as_ref().map(Spanned::span), check.expect_digest.as_ref().map(Spanned::span)];
    for place in of_body.into_iter().flatten().filter(|_| head) {
        let help = "write another `method`, such as `\"GET\"`";
        faults.push(Fault::new(place, "the answer to a HEAD has no body", help));
    }
    let off = check.verify.as_ref().filter(|verify| *verify.get_ref() == Verify::Off);
    if let (Some(off), Some(ca_file)) = (off, &check.ca_file) {
        let help = "write `verify = \"warn\"` or `\"require\"`, or leave it out";
        let fault = Fault::new(ca_file.span(), "`ca_file` says nothing where nothing is verified", help);
        faults.push(fault.beside(off.span(), "off here"));
    }
}

/// A file without which nobody is trusted, where that fails the check.
pub(in crate::config) fn look(
    check: &file::Check,
    look: impl Fn(&Path) -> Result<(), String>,
    faults: &mut Vec<Fault>,
) {
    let require = check.verify.as_ref().filter(|verify| *verify.get_ref() == Verify::Require);
    let (Some(require), Some(ca_file)) = (require, &check.ca_file) else { return };
    if let Err(why) = look(ca_file.get_ref()) {
        let message = format!("nobody is trusted to sign certificates: {why}");
        let help = "write the path of a file with certificates in PEM, or `verify = \"warn\"`";
        let fault = Fault::new(ca_file.span(), message, help);
        faults.push(fault.beside(require.span(), "so the check can only fail"));
    }
}

/// A program is named by its absolute path: nothing looks it up.
fn program(check: &file::Check, faults: &mut Vec<Fault>) {
    let Some(program) = check.exec.as_ref().and_then(|exec| exec.get_ref().first()) else { return };
    if program.get_ref().starts_with('/') {
        return;
    }
    let message = format!("`{}` is no absolute path", program.get_ref().escape_debug());
    let help = "write the program's path and its arguments, as in `[\"/usr/lib/nagios/plugins/check_load\", \"-w\", \"8\"]`";
    faults.push(Fault::new(program.span(), message, help));
}

/// The checks of one service, each with a name.
pub(in crate::config) fn checks(written: &[file::Check]) -> Option<Vec<Check>> {
    let mut taken: BTreeSet<String> = written.iter().filter_map(|check| one(&check.name)).collect();
    written
        .iter()
        .map(|file| {
            let probe = probe(file)?;
            let name = one(&file.name).unwrap_or_else(|| free(probe.kind(), &taken));
            taken.insert(name.clone());
            let interval = one(&file.interval)?;
            Some(Check {
                name,
                probe,
                target: one(&file.target),
                interval,
                fast_interval: one(&file.fast_interval).unwrap_or(interval),
                timeout: one(&file.timeout)?,
                rise: one(&file.rise)?,
                fall: one(&file.fall)?,
                on_failure: one(&file.on_failure),
            })
        })
        .collect()
}

/// The first of `http`, `http-2`, `http-3` … that nobody has.
fn free(kind: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..=taken.len() + 1).map(|number| format!("{kind}-{number}"));
    let mut names = std::iter::once(kind.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_else(|| kind.to_owned())
}

fn probe(file: &file::Check) -> Option<Probe> {
    if let Some(url) = one(&file.http) {
        let certificate = if url.scheme() == "https" { Some(certificate(file)?) } else { None };
        return Some(Probe::Http(Box::new(Http {
            url,
            version: one(&file.http_version)?,
            method: one(&file.method)?,
            headers: all(&file.headers).collect(),
            body: one(&file.body).unwrap_or_default(),
            expect_status: all(&file.expect_status).collect(),
            expect_body: one(&file.expect_body),
            expect_digest: one(&file.expect_digest),
            max_body: one(&file.max_body)?,
            certificate,
        })));
    }
    if let Some(port) = one(&file.tcp) {
        let send = one(&file.send).unwrap_or_default();
        return Some(Probe::Tcp(Tcp { port, send, expect: one(&file.expect) }));
    }
    if file.exec.is_some() {
        let (command, exit_codes) = (all(&file.exec).collect(), one(&file.exit_codes)?);
        return Some(Probe::Exec(Exec { command, user: one(&file.user), exit_codes }));
    }
    if let Some(path) = one(&file.file) {
        return Some(Probe::File(path));
    }
    let (host, port) = one(&file.tls)?;
    Some(Probe::Tls(Tls { host, port, alpn: all(&file.alpn).collect(), certificate: certificate(file)? }))
}

fn certificate(file: &file::Check) -> Option<Certificate> {
    Some(Certificate {
        verify: one(&file.verify)?,
        ca_file: one(&file.ca_file),
        expires_within: one(&file.cert_expires_within)?,
    })
}
