//! `[[service.check]]` as written.
//!
//! Pure.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use url::{Host, Url};

use super::super::OnFailure;
use super::super::file::{List, Maybe};
use super::super::reader::{Table, Written};
use super::super::value::{argument, count, path, port, text, within, word};
use super::{Digest, ExitCodes, Pattern, Place, Statuses, Verify, Version, value};

/// The keys of every kind.
#[derive(Debug)]
pub(in crate::config) struct Check {
    pub(super) written: Written,
    pub(super) http: Maybe<Url>,
    pub(super) tls: Maybe<(Host, u16)>,
    pub(super) tcp: Maybe<u16>,
    pub(super) exec: List<String>,
    pub(super) file: Maybe<PathBuf>,
    pub(super) name: Maybe<String>,
    pub(super) target: Maybe<Place>,
    pub(super) interval: Maybe<Duration>,
    pub(super) fast_interval: Maybe<Duration>,
    pub(super) timeout: Maybe<Duration>,
    pub(super) rise: Maybe<u32>,
    pub(super) fall: Maybe<u32>,
    pub(super) on_failure: Maybe<OnFailure>,
    pub(super) method: Maybe<Method>,
    pub(super) headers: List<(HeaderName, HeaderValue)>,
    pub(super) body: Maybe<String>,
    pub(super) http_version: Maybe<Version>,
    pub(super) expect_status: List<Statuses>,
    pub(super) expect_body: Maybe<Pattern>,
    pub(super) expect_digest: Maybe<Digest>,
    pub(super) max_body: Maybe<u32>,
    pub(super) alpn: List<String>,
    pub(super) verify: Maybe<Verify>,
    pub(super) ca_file: Maybe<PathBuf>,
    pub(super) cert_expires_within: Maybe<Duration>,
    pub(super) send: Maybe<String>,
    pub(super) expect: Maybe<Pattern>,
    pub(super) user: Maybe<String>,
    pub(super) exit_codes: Maybe<ExitCodes>,
}

pub(in crate::config) fn read(mut table: Table<'_>) -> Check {
    let interval = || within(MILLISECOND * 50..=SECOND * 3600);
    let check = Check {
        written: table.written(),
        http: table.get("http", value::url),
        tls: table.get("tls", value::server),
        tcp: table.get("tcp", port),
        exec: table.list("exec", argument),
        file: table.get("file", value::absolute),
        name: table.get("name", value::name),
        target: table.get("target", value::place),
        interval: table.get("interval", interval()),
        fast_interval: table.get("fast_interval", interval()),
        timeout: table.get("timeout", within(MILLISECOND..=SECOND * 60)),
        rise: table.get("rise", count),
        fall: table.get("fall", count),
        on_failure: table.get("on_failure", word),
        method: table.get("method", value::method),
        headers: table.list("headers", value::header),
        body: table.get("body", |value| text(value).map(str::to_owned)),
        http_version: table.get("http_version", value::version),
        expect_status: table.either("expect_status", value::statuses),
        expect_body: table.get("expect_body", value::pattern),
        expect_digest: table.get("expect_digest", value::digest),
        max_body: table.get("max_body", value::max_body),
        alpn: table.list("alpn", value::protocol),
        verify: table.get("verify", value::verify),
        ca_file: table.get("ca_file", path),
        cert_expires_within: table.get("cert_expires_within", within(Duration::ZERO..=YEAR * 10)),
        send: table.get("send", |value| text(value).map(str::to_owned)),
        expect: table.get("expect", value::pattern),
        user: table.get("user", value::user),
        exit_codes: table.get("exit_codes", value::exit_codes),
    };
    table.finish();
    check
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// As humantime counts it: 365.25 days.
const YEAR: Duration = Duration::from_secs(31_557_600);
