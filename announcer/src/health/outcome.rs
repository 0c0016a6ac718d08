//! What a probe saw, and how it is told.
//!
//! Pure. Every text reads as the middle of a sentence: "not announced, 3 of 3 probes failed (last: HTTP 503 after 12 ms)".

mod told;

use std::time::Duration;

use nix::errno::Errno;

use crate::config::kind::http::Digest;
use crate::model::text;

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The VIP answered as it should.
    Pass {
        /// What it said.
        answer: Answer,
        /// What is wrong all the same, and does not count.
        warning: Option<Warning>,
        /// From the start of the probe to its end.
        took: Duration,
    },
    /// It did not.
    Fail {
        /// What went wrong.
        reason: Reason,
        /// From the start of the probe to its end.
        took: Duration,
    },
    /// The probe could not ask, by our own fault: neither a pass nor a failure.
    Skipped(Shortage),
}

/// What a healthy VIP said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP status that passes.
    Http(u16),
    /// A TLS handshake.
    Tls(TlsVersion),
    /// It took a TCP connection, which is all that was asked for.
    Connected,
    /// What was expected came.
    Expected,
    /// The file is there.
    Exists,
    /// A program's exit code that passes.
    Exit(i32),
}

/// The version of TLS that was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// What is wrong though the probe passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The certificate, by `verify = "warn"`.
    Certificate(Flaw),
    /// It ends within `cert_expires_within`, or has ended.
    Expires(Date),
    /// A program's exit code warns; the first line that it printed, if any.
    Program(Option<Shown>),
}

/// What is wrong with the certificate of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It was signed by nobody whom we trust.
    Untrusted,
    /// It is for other names than the one that was asked for.
    WrongName(Shown),
    /// It is for no name at all, and so not for the one that was asked for.
    NoName(Shown),
    /// Its time, or that of a certificate above it, ended then.
    Expired(Date),
    /// Its time, or that of a certificate above it, begins then.
    NotYetValid(Date),
    /// Nobody knows: the certificates that we trust cannot be read, for this reason.
    NoRoots(Shown),
    /// Something else, as a sentence of ours about the certificate, and what to do.
    Other(&'static str),
}

/// A date of a certificate, in seconds since 1970 UTC; displays to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(u64);

impl Date {
    /// The end of the year 9999, which certificates without an end have (RFC 5280 §4.1.2.5).
    const LAST: u64 = 253_402_300_799;

    /// That many seconds since 1970; what is beyond the year 9999 is its end.
    pub fn of_unix(seconds: u64) -> Self {
        Date(seconds.min(Self::LAST))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> u64 {
        self.0
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing listens on the VIP and port.
    Refused,
    /// The VIP is on no interface of this host, so that nothing of ours can answer there.
    VipMissing,
    /// The time was up.
    TimedOut {
        /// What was being waited for.
        waiting: Waiting,
        /// The check's `timeout`.
        after: Duration,
    },
    /// The server reset the connection before it had answered.
    Reset,
    /// The server closed the connection before it had answered.
    Closed,
    /// The connection ended within the answer.
    CutShort,
    /// What came is no HTTP.
    NotHttp,
    /// What came is HTTP, but for a header field.
    Malformed(Field),
    /// The header has more fields or octets than are read.
    HeaderTooLong,
    /// The server said that its port is one of TLS, which was not spoken.
    WantsTls,
    /// The server wants a certificate of the client, and we have none.
    WantsCertificate,
    /// An HTTP status that does not pass.
    Status(u16),
    /// An HTTP status that sends the client elsewhere; not followed.
    Redirect {
        /// 300 to 399.
        status: u16,
        /// The Location field, fit to print.
        to: Shown,
    },
    /// What came is no HTTP/2, where nothing else was offered.
    NotHttp2,
    /// The body has more octets than this, and its digest was asked for.
    BodyTooLong(u32),
    /// `expect_body` is not in the body.
    NoMatch {
        /// How the body is encoded, by Content-Encoding, if it is.
        encoding: Option<Shown>,
        /// The octets in which it was looked for, if there are more.
        within: Option<u32>,
    },
    /// The body has another digest than `expect_digest`.
    Digest {
        /// This one.
        got: Digest,
        /// How the body is encoded, by Content-Encoding, if it is.
        encoding: Option<Shown>,
    },
    /// What came is no TLS.
    NotTls,
    /// The handshake failed, for a reason that is a sentence of ours.
    Tls(&'static str),
    /// No certificate can be for a name such as this one.
    NoServerName(Shown),
    /// The server chose none of the protocols that were offered by ALPN.
    NoProtocol,
    /// The certificate, by `verify = "require"`.
    Certificate(Flaw),
    /// Something else came than what was expected; its beginning.
    Unexpected(Shown),
    /// The file is not there.
    Missing,
    /// A program's exit code that does not pass.
    Exit {
        /// 1 to 255.
        code: i32,
        /// The first line that it printed, if any.
        said: Option<Shown>,
    },
    /// A program ended by a signal of this name.
    Killed(&'static str),
    /// A program printed so much that it was stopped.
    Endless,
    /// The programs of earlier probes were killed and have not ended: they hang in the kernel, on a disk perhaps.
    Lingering,
    /// A program could not be started, for this reason.
    NotRun(Shown),
    /// A program's `user` is not in /etc/passwd.
    NoUser(Shown),
    /// A program's `user` is another than ours, which takes rights that we do not have.
    NotAllowed,
    /// The kernel refused for another reason.
    Os(Errno),
    /// Something else, as a sentence of ours: what libraries say is for programmers.
    Other(&'static str),
}

/// Which header field of an answer is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Content-Length: it is no number, or there are two that differ.
    ContentLength,
    /// Transfer-Encoding: in an answer that cannot have it, or not one that is known.
    TransferEncoding,
    /// Another one: it has a NUL in it, or a carriage return that ends no line.
    Any,
}

/// What a probe that ran out of time was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The connection: the server's queue is full, or packets are dropped.
    Connection,
    /// The end of the TLS handshake.
    Handshake,
    /// The first byte to the last of the header: the server hangs.
    Answer,
    /// The rest of the body.
    Body,
    /// A look at a file: its mount hangs.
    Files,
    /// The start of a program: its mount hangs, or the host is very busy.
    Start,
    /// The end of a program.
    Exit,
}

/// What we ourselves ran out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// File descriptors of this process or host (EMFILE, ENFILE).
    Files,
    /// The kernel's memory (ENOMEM, ENOBUFS).
    Memory,
    /// Local ports of the VIP (EADDRINUSE).
    Ports,
    /// Processes of the user that a program is to run as (EAGAIN of fork).
    Processes,
}

impl Shortage {
    /// Every one.
    pub const ALL: [Shortage; 4] = [Shortage::Files, Shortage::Memory, Shortage::Ports, Shortage::Processes];

    /// One word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Shortage::Files => "files",
            Shortage::Memory => "memory",
            Shortage::Ports => "ports",
            Shortage::Processes => "processes",
        }
    }

    /// The shortage that an error of the kernel tells of, if it does.
    pub fn of(errno: Errno) -> Option<Self> {
        let is_one_of = |these: [Errno; 2]| these.contains(&errno);
        if is_one_of([Errno::EMFILE, Errno::ENFILE]) {
            Some(Shortage::Files)
        } else if is_one_of([Errno::ENOMEM, Errno::ENOBUFS]) {
            Some(Shortage::Memory)
        } else {
            (errno == Errno::EADDRINUSE).then_some(Shortage::Ports)
        }
    }
}

/// A text from outside that is fit to print: one line, no control characters, at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// The most characters that are kept.
    const MOST: usize = 200;

    /// Made safe, and cut.
    pub fn new(text: &str) -> Self {
        let mut shown = text::one_line(text, Self::MOST);
        if text.chars().nth(Self::MOST).is_some() {
            shown.push('…');
        }
        Shown(shown)
    }
}

impl Outcome {
    /// For metrics: what it counts as, and the one word why; none of a pass.
    pub fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Outcome::Pass { .. } => ("pass", ""),
            Outcome::Fail { reason, .. } => ("fail", reason.label()),
            Outcome::Skipped(shortage) => ("skipped", shortage.label()),
        }
    }

    /// What it says of the server's certificate, if anything: what is wrong with it, and when it ends if that is soon or
    /// was.
    pub fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        match self {
            Outcome::Pass { warning: Some(Warning::Expires(date)), .. } => Some((None, Some(*date))),
            Outcome::Pass { warning: Some(Warning::Certificate(flaw)), .. }
            | Outcome::Fail { reason: Reason::Certificate(flaw), .. } => match flaw {
                Flaw::Expired(date) => Some((Some(flaw), Some(*date))),
                Flaw::Untrusted | Flaw::WrongName(_) | Flaw::NoName(_) => Some((Some(flaw), None)),
                Flaw::NotYetValid(_) | Flaw::NoRoots(_) | Flaw::Other(_) => Some((Some(flaw), None)),
            },
            Outcome::Pass { .. } | Outcome::Fail { .. } | Outcome::Skipped(_) => None,
        }
    }

    /// How long it took; none of a probe that could not ask.
    pub fn took(&self) -> Option<Duration> {
        match self {
            Outcome::Pass { took, .. } | Outcome::Fail { took, .. } => Some(*took),
            Outcome::Skipped(_) => None,
        }
    }
}

impl Flaw {
    /// One word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Flaw::Untrusted => "untrusted",
            Flaw::WrongName(_) | Flaw::NoName(_) => "wrong_name",
            Flaw::Expired(_) => "expired",
            Flaw::NotYetValid(_) => "not_yet_valid",
            Flaw::NoRoots(_) => "no_roots",
            Flaw::Other(_) => "other",
        }
    }
}

impl Reason {
    /// One word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::VipMissing => "vip_missing",
            Reason::TimedOut { waiting: Waiting::Connection, .. } => "timeout_connect",
            Reason::TimedOut { waiting: Waiting::Handshake, .. } => "timeout_handshake",
            Reason::TimedOut { waiting: Waiting::Answer, .. } => "timeout_answer",
            Reason::TimedOut { waiting: Waiting::Body, .. } => "timeout_body",
            Reason::TimedOut { waiting: Waiting::Files, .. } => "timeout_file",
            Reason::TimedOut { waiting: Waiting::Start, .. } => "timeout_start",
            Reason::TimedOut { waiting: Waiting::Exit, .. } => "timeout_exit",
            Reason::Reset => "reset",
            Reason::Closed => "closed",
            Reason::CutShort => "cut_short",
            Reason::NotHttp => "not_http",
            Reason::Malformed(_) => "malformed",
            Reason::HeaderTooLong => "header_too_long",
            Reason::WantsTls => "wants_tls",
            Reason::WantsCertificate => "wants_certificate",
            Reason::Status(_) => "status",
            Reason::Redirect { .. } => "redirect",
            Reason::NotHttp2 => "not_http2",
            Reason::BodyTooLong(_) => "body_too_long",
            Reason::NoMatch { .. } => "no_match",
            Reason::Digest { .. } => "digest",
            Reason::NotTls => "not_tls",
            Reason::Tls(_) | Reason::NoServerName(_) => "tls",
            Reason::NoProtocol => "no_protocol",
            Reason::Certificate(_) => "certificate",
            Reason::Unexpected(_) => "unexpected",
            Reason::Missing => "missing",
            Reason::Exit { .. } => "exit_code",
            Reason::Killed(_) => "killed",
            Reason::Endless => "endless",
            Reason::Lingering => "lingering",
            Reason::NotRun(_) => "not_run",
            Reason::NoUser(_) => "no_user",
            Reason::NotAllowed => "not_allowed",
            Reason::Os(_) => "os",
            Reason::Other(_) => "other",
        }
    }
}
