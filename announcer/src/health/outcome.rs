//! The outcome of a probe, and its text.
//!
//! Pure. Every text reads as the middle of a sentence: "not announced, 3 of 3 probes failed (last: HTTP 503 after 12 ms)". This
//! file has the outcomes of every kind. The words of one kind are declared with that kind, in `config/kind/NAME.rs`.

mod text;

use std::time::Duration;

use nix::errno::Errno;

use crate::config::kind::certificate::{Date, Flaw};
use crate::config::kind::{self, Answer, Warning};

/// The outcome of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server gave the expected answer.
    Pass {
        /// The answer.
        answer: Answer,
        /// A flaw that does not make the probe fail.
        warning: Option<Warning>,
        /// From the start of the probe to its end.
        took: Duration,
    },
    /// It did not.
    Fail {
        /// The reason.
        reason: Reason,
        /// From the start of the probe to its end.
        took: Duration,
    },
    /// The probe could not be made, because announcer lacked a resource: neither a pass nor a failure.
    Skipped(Shortage),
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing listens on the VIP and port.
    Refused,
    /// The VIP is on no interface of this host, so no server here can answer.
    VipMissing,
    /// The VRF of the service does not exist; with its name.
    VrfMissing(String),
    /// The probe timed out.
    TimedOut {
        /// What the probe was waiting for.
        waiting: TimeoutPhase,
        /// The check's `timeout`.
        after: Duration,
    },
    /// The server reset the connection before it had answered.
    Reset,
    /// The server closed the connection before it had answered.
    Closed,
    /// A reason with a word of the kind.
    Kind(kind::Failure),
    /// Another error of the kernel.
    Os(Errno),
    /// Another reason, as our own sentence, because the texts of libraries are for programmers.
    Other(&'static str),
}

/// What a probe was waiting for when it timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutPhase {
    /// The connection: the server's queue is full, or packets are dropped.
    Connection,
    /// The end of the TLS handshake.
    Handshake,
    /// The header of the answer: the server hangs.
    Answer,
    /// The rest of the body.
    Body,
    /// A check of a file: its file system hangs.
    Files,
    /// The start of a program: its file system hangs, or the host is very busy.
    Start,
    /// The end of a program.
    Exit,
}

/// A resource that announcer itself lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// File descriptors of this process or host (EMFILE, ENFILE).
    Files,
    /// The kernel's memory (ENOMEM, ENOBUFS).
    Memory,
    /// Local ports of the VIP (EADDRINUSE).
    Ports,
    /// Processes of the program's user (EAGAIN of fork).
    Processes,
    /// Processor time: announcer stood still when the probe's time limit ended, and so did not see whether the server answered.
    Processor,
}

impl Shortage {
    /// All shortages.
    pub const ALL: [Shortage; 5] =
        [Shortage::Files, Shortage::Memory, Shortage::Ports, Shortage::Processes, Shortage::Processor];

    /// One word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Shortage::Files => "files",
            Shortage::Memory => "memory",
            Shortage::Ports => "ports",
            Shortage::Processes => "processes",
            Shortage::Processor => "stood_still",
        }
    }

    /// The shortage that a kernel error means, if it means one.
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
    /// For metrics: the result, and the reason as one word, which is empty for a pass.
    pub fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Outcome::Pass { .. } => ("pass", ""),
            Outcome::Fail { reason, .. } => ("fail", reason.label()),
            Outcome::Skipped(shortage) => ("skipped", shortage.label()),
        }
    }

    /// The flaw of the server's certificate, and the time when it ends; `None`: it says nothing about a certificate.
    pub fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        match self {
            Outcome::Pass { warning, .. } => warning.as_ref()?.certificate(),
            Outcome::Fail { reason: Reason::Kind(failure), .. } => failure.certificate(),
            Outcome::Fail { .. } | Outcome::Skipped(_) => None,
        }
    }

    /// How long it took; `None`: the probe was skipped.
    pub fn took(&self) -> Option<Duration> {
        match self {
            Outcome::Pass { took, .. } | Outcome::Fail { took, .. } => Some(*took),
            Outcome::Skipped(_) => None,
        }
    }
}

/// Every failure word of a kind is a reason.
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
            Reason::VrfMissing(_) => "vrf_missing",
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
