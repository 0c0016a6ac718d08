//! The API of the control socket: the requests, and the answers, which are JSON.
//!
//! Pure. [`http`](super::http) has the paths and status codes. The answers are also what `--json` prints: fields are added to them,
//! and never renamed. `openapi.json` beside this file describes them, and a test compares it with real answers.

mod chain;
mod status;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::chain::{
    ChainMember, ChainOrder, ChainReport, ChainSummary, DroppedHeartbeats, RingReport, SiteMember,
    SiteReport, SiteVip,
};
pub use self::status::{
    DeliveryStatus, DrainStatus, ListenerWatchStatus, PeerBfdStatus, PeerStatus, ServiceStatus,
    SessionStatus, StartStatus, Status, VipStatus,
};
use super::orders::{DrainOrder, UndrainOrder, WaitList};
use crate::takeover::successor::Successor;

/// The number of the present form of all answers. A field that is added does not change it.
pub const SCHEMA: u32 = 1;

/// The description of this API, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The state of the daemon.
    Status,
    /// Drain VIPs or routers.
    Drain(DrainOrder),
    /// End such a drain, and forget the flaps of its VIPs.
    Undrain(UndrainOrder),
    /// The waits for drains that run now.
    Waits,
    /// Probe now, whatever the interval.
    Recheck {
        /// The services.
        what: Scope,
    },
    /// Explain the state of a VIP, in sentences.
    Explain {
        /// The VIP.
        vip: IpAddr,
        /// What was sent to this router; without it, to each.
        peer: Option<String>,
    },
    /// Explain the state of a router and its session, in sentences.
    ExplainPeer {
        /// Its configured name.
        peer: String,
    },
    /// Read the configuration again.
    Reload {
        /// Do it also if it withdraws every VIP or ends every session.
        force: bool,
        /// Do not do it, and answer what it would change.
        dry_run: bool,
    },
    /// Replace the running program.
    Upgrade {
        /// By which file.
        successor: Successor,
        /// Do it also if a router may take the pause for a failure.
        force: bool,
    },
    /// Change the level of the log for some time.
    Log {
        /// A level, or a filter.
        filter: String,
        /// For how long.
        seconds: u64,
    },
    /// The last changes.
    History {
        /// How many at most, the newest; without it, all that are kept.
        limit: Option<usize>,
    },
    /// The chain.
    Chain,
    /// The VIPs of the whole site, by member of the chain.
    Site,
    /// Switch the forwarding of this host off or on.
    SwitchChain(ChainOrder),
    /// The changes from now on, as server-sent events.
    Events,
    /// The description of this API.
    OpenApi,
}

/// Services by name, or all of them; an empty list is refused and never means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every service, also services that are configured later.
    All,
    /// These.
    Services(Vec<String>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// The state of the daemon.
    Status {
        /// The state.
        status: Box<Status>,
    },
    /// The explanation of a VIP.
    Vip(Box<VipDetails>),
    /// The explanation of a router.
    Peer(Box<PeerDetails>),
    /// The last changes.
    History(ChangeList),
    /// The waits for drains that run now.
    Waits(WaitList),
    /// The chain.
    Chain(Box<ChainReport>),
    /// The VIPs of the whole site.
    Site(Box<SiteReport>),
    /// The request is done; with notes.
    Done {
        /// Sentences for the operator.
        notes: Vec<String>,
    },
    /// The description of this API.
    OpenApi,
    /// The request was refused or has failed.
    Error(ApiError),
}

impl Response {
    /// A refusal or a failure.
    pub fn error(code: ErrorCode, text: impl Into<String>) -> Self {
        Response::Error(ApiError::new(code, text))
    }
}

/// Every answer and every object of an event stream: with the number of its form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The answer.
    #[serde(flatten)]
    pub answer: T,
}

impl<T> Numbered<T> {
    /// With the present number.
    pub fn new(answer: T) -> Self {
        Numbered { schema: SCHEMA, answer }
    }
}

/// The body of an answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ApiError,
}

/// The body of an answer with nothing but notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

/// Why a request was refused or has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong, and what to write.
    pub text: String,
}

impl ApiError {
    /// An error. A text for the terminal may begin with `error: `, which is left out here.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        let text = text.into();
        ApiError { code, text: text.strip_prefix("error: ").map_or(text.clone(), str::to_owned) }
    }
}

/// The kinds of errors; each has one status code of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request is wrong.
    BadRequest,
    /// 403: the client may not do this.
    Forbidden,
    /// 404: there is no such path.
    UnknownPath,
    /// 404: there is no such service, VIP or peer.
    UnknownName,
    /// 405: the path exists, but not with this method.
    WrongMethod,
    /// 409: the request was refused; the text says how to force it.
    Refused,
    /// 409: the configuration has mistakes.
    WrongConfiguration,
    /// 409: the configuration does not have the table that this needs.
    NotConfigured,
    /// 413: the request is too long.
    TooLarge,
    /// 500: the daemon could not do it.
    Failed,
    /// 503: too many requests wait.
    Busy,
    /// 503: the daemon ends.
    Ending,
    /// 504: it was done, but the routers did not follow within the time.
    Timeout,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [ErrorCode; 13] = [
        ErrorCode::BadRequest,
        ErrorCode::Forbidden,
        ErrorCode::UnknownPath,
        ErrorCode::UnknownName,
        ErrorCode::WrongMethod,
        ErrorCode::Refused,
        ErrorCode::WrongConfiguration,
        ErrorCode::NotConfigured,
        ErrorCode::TooLarge,
        ErrorCode::Failed,
        ErrorCode::Busy,
        ErrorCode::Ending,
        ErrorCode::Timeout,
    ];

    /// The status code of HTTP.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::Forbidden => 403,
            ErrorCode::UnknownPath | ErrorCode::UnknownName => 404,
            ErrorCode::WrongMethod => 405,
            ErrorCode::Refused | ErrorCode::WrongConfiguration | ErrorCode::NotConfigured => 409,
            ErrorCode::TooLarge => 413,
            ErrorCode::Failed => 500,
            ErrorCode::Busy | ErrorCode::Ending => 503,
            ErrorCode::Timeout => 504,
        }
    }
}

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonStatus {
    /// One word, as in metrics.
    pub code: String,
    /// A sentence.
    pub text: String,
}

/// The explanation of a VIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipDetails {
    /// Its service.
    pub service: String,
    /// Its standing.
    pub vip: VipStatus,
    /// Sentences, one line each. A line that belongs to the line before is indented.
    pub lines: Vec<String>,
}

/// The explanation of a service, which the command line makes of those of its VIPs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceDetails {
    /// The service.
    pub service: String,
    /// Its VIPs, in the order of the configuration.
    pub vips: Vec<VipDetails>,
}

/// The explanation of a router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerDetails {
    /// Its session.
    pub peer: PeerStatus,
    /// The commands that show more on the router; empty without `os` of the peer.
    pub router_commands: Vec<RouterCommandStatus>,
    /// Sentences, one line each.
    pub lines: Vec<String>,
}

/// A command for the router's own command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterCommandStatus {
    /// What it shows: `session`, `received`, `accepted`, `fib` or `members`.
    pub shows: String,
    /// The command.
    pub command: String,
}

/// The last changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeList {
    /// The oldest first.
    pub changes: Vec<Change>,
}

/// A change of a VIP's standing or of a session, or an event of a drain's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Counts from 1. A stream sends a change again, with the same number, when `wire_ms` is known.
    pub id: u64,
    /// When, RFC 3339.
    pub time: String,
    /// What has changed.
    pub kind: ChangeKind,
    /// The service of the VIP; only for a standing.
    pub service: Option<String>,
    /// The VIP; only for a standing.
    pub vip: Option<IpAddr>,
    /// The router; only for a session.
    pub peer: Option<String>,
    /// What the drain withdraws, as in "www" or "every service"; only for a drain.
    pub drain: Option<String>,
    /// The standing before, or the state of the session (RFC 4271) or of the drain.
    pub before: String,
    /// The standing or the state from then on.
    pub after: String,
    /// Why; none if a session was established.
    pub reason: Option<ReasonStatus>,
    /// Milliseconds from the knowledge of the fact until the UPDATEs were written to the routers' connections; none while nothing
    /// was written.
    pub wire_ms: Option<WireTime>,
}

impl Change {
    /// What it is about, as in `www 192.0.2.80`.
    pub fn name(&self) -> String {
        let drain = self.drain.as_ref().map(|what| format!("drain of {what}"));
        let names = [self.service.clone(), self.vip.map(|vip| vip.to_string()), self.peer.clone(), drain];
        names.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// The change and its reason, as in `www 192.0.2.80: announced -> not_announced, 3 of 3 probes failed`.
    pub fn sentence(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(", {}", reason.text)).unwrap_or_default();
        format!("{}: {} -> {}{reason}", self.name(), self.before, self.after)
    }
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The standing of a VIP.
    Standing,
    /// A session was established, or has ended.
    Session,
    /// A drain ends soon, has ended at its time, or stays although its time has come.
    Drain,
}

/// Milliseconds until an UPDATE was written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WireTime {
    /// To the first router.
    pub first: f64,
    /// To the last router so far.
    pub last: f64,
}

/// Tells a client of a stream that it read too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagged {
    /// How many changes it has missed.
    pub lost: u64,
}
