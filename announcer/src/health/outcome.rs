//! What a probe saw, and the text for it.
//!
//! Pure. Every text reads as the middle of a sentence: "not announced, 3 of 3 probes failed (last: HTTP 503 after 12 ms)".
//! Here is what a probe of any kind can see. What one kind alone can say is declared with that kind, in `config/kind/NAME.rs`.

mod text;

use std::time::Duration;

use nix::errno::Errno;

use crate::config::kind::certificate::{Date, Flaw};
use crate::config::kind::{self, Answer, Warning};

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
        waiting: TimeoutPhase,
        /// The check's `timeout`.
        after: Duration,
    },
    /// The server reset the connection before it had answered.
    Reset,
    /// The server closed the connection before it had answered.
    Closed,
    /// What the kind of the probe alone can say.
    Kind(kind::Failure),
    /// The kernel refused for another reason.
    Os(Errno),
    /// Something else, as a sentence of ours: what libraries say is for programmers.
    Other(&'static str),
}

/// What a probe that ran out of time was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutPhase {
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
            Outcome::Pass { warning, .. } => warning.as_ref()?.certificate(),
            Outcome::Fail { reason: Reason::Kind(failure), .. } => failure.certificate(),
            Outcome::Fail { .. } | Outcome::Skipped(_) => None,
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

/// Whatever a kind says of a failure.
impl<T: Into<kind::Failure>> From<T> for Reason {
    fn from(failure: T) -> Self {
        Reason::Kind(failure.into())
    }
}

impl Reason {
    /// One word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::VipMissing => "vip_missing",
            Reason::TimedOut { waiting: TimeoutPhase::Connection, .. } => "timeout_connect",
            Reason::TimedOut { waiting: TimeoutPhase::Handshake, .. } => "timeout_handshake",
            Reason::TimedOut { waiting: TimeoutPhase::Answer, .. } => "timeout_answer",
            Reason::TimedOut { waiting: TimeoutPhase::Body, .. } => "timeout_body",
            Reason::TimedOut { waiting: TimeoutPhase::Files, .. } => "timeout_file",
            Reason::TimedOut { waiting: TimeoutPhase::Start, .. } => "timeout_start",
            Reason::TimedOut { waiting: TimeoutPhase::Exit, .. } => "timeout_exit",
            Reason::Reset => "reset",
            Reason::Closed => "closed",
            Reason::Kind(failure) => failure.label(),
            Reason::Os(_) => "os",
            Reason::Other(_) => "other",
        }
    }
}
