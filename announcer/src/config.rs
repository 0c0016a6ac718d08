//! The configuration as the program uses it: a `Config` cannot be wrong.
//!
//! Pure. Text -> `File` (as written, spans kept) -> [`Config`], or every error at once ([`Errors`]).
//!
//! ```text
//! keys       every table and key of the file, with its default, in one list
//! syntax     TOML's own errors, and how much of a broken file can still be judged
//! reader     one table, key by key: unknown and missing keys     value, address  one value: its type and rule
//! file       the file as written                                 rules  what one key cannot know alone
//! check      `[[service.check]]`: the same steps once more, for each kind
//! warnings   what is no error and seldom meant
//! canonical  a `Config` as text that parses to the same          error   how errors are told
//! ```
//!
//! A new key is a line or two in each of `keys`, `file`, `rules`, `canonical` and the struct below.

mod address;
mod canonical;
pub mod check;
pub mod diff;
mod error;
mod file;
pub mod io;
pub mod keys;
mod reader;
mod rules;
mod syntax;
mod value;
pub mod warnings;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;

use crate::model::{
    Asn, Attributes, Deprefer, Family, Invalid, Overrides, PeerAsn, PeerName, RouterId, ServiceName,
};

pub use canonical::canonical;
pub use check::{Check, Probe};
pub use error::{Error, Errors};

/// Where the configuration is looked for unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/announcer/announcer.toml";

/// All that an operator said, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Ourselves, as a BGP speaker.
    pub bgp: Bgp,
    /// The routers that we dial, in the order of the file; at least one, names and addresses unique.
    pub peers: Vec<Peer>,
    /// What we announce, in the order of the file; at least one, names and VIPs unique.
    pub services: Vec<Service>,
    /// How health is watched.
    pub health: Health,
    /// Who is told of changes; `None`: nobody.
    pub hooks: Option<Hooks>,
    /// What Prometheus can read; `None`: nothing.
    pub metrics: Option<Metrics>,
}

/// `[hooks]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// `on_change`: a program by its whole path, and its arguments.
    pub on_change: Vec<String>,
    /// `timeout`, default 10s: for a run.
    pub timeout: Duration,
}

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// `listen`: where it is listened; the port is not 0.
    pub listen: SocketAddr,
}

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// `listener_watch`, default 5ms: how often it is looked whether anything listens; zero: never.
    pub listener_watch: Duration,
}

/// `[bgp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bgp {
    /// `asn`: our AS.
    pub asn: Asn,
    /// `router_id`; `None`: the IPv4 source address towards the first peer.
    pub router_id: Option<RouterId>,
    /// `settle`, default 1s: how long a router's FIB may follow its BGP. Waited for after each withdraw that someone
    /// relies on (stop, `drain --wait`, a VIP's removal).
    pub settle: Duration,
    /// `graceful_restart`, 1 to 4095 whole seconds: how long routers keep our routes without us (RFC 4724); `None`: they
    /// do not.
    pub graceful_restart: Option<Duration>,
}

/// Where a peer is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// There.
    Ip(IpAddr),
    /// At the default route's next hop, looked up before each try.
    DefaultGateway,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => address.fmt(f),
            PeerAddress::DefaultGateway => f.pad("default-gateway"),
        }
    }
}

/// `[[peer]]`: a router that we dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `name`.
    pub name: PeerName,
    /// `address`: where it listens; an IPv6 link-local one goes with an interface.
    pub address: PeerAddress,
    /// `port`, default 179: where it listens.
    pub port: u16,
    /// `asn`: the AS that its OPEN must carry.
    pub asn: PeerAsn,
    /// `hold_time`, default 9s: 0 or at least 3 whole seconds, at most 65535 (RFC 4271 §4.2).
    pub hold_time: Duration,
    /// `send_hold_time`, default the larger of 8 minutes and twice the hold time: at least the hold time (RFC 9687).
    pub send_hold_time: Duration,
    /// `families`, default both: what our OPEN offers; never empty.
    pub families: BTreeSet<Family>,
    /// `interface`: the session is bound to it.
    pub interface: Option<String>,
    /// `source_address`: our end of the session; no VIP.
    pub source_address: Option<IpAddr>,
    /// `multihop`, default 1: how many hops away the router is at most, for `ttl_security`.
    pub multihop: u8,
    /// `ttl_security`, default false: whether what has come further is dropped (RFC 5082).
    pub ttl_security: bool,
    /// `password_file`: the key of TCP MD5 (RFC 2385).
    pub password_file: Option<PathBuf>,
    /// `med`, `communities`, `next_hop_v4` and so on: what is said to this peer in place of what the services have.
    pub overrides: Overrides,
}

impl Peer {
    /// Whether a session with `self` can go on under `other`: only what is said on it differs, or the file of its key.
    pub fn same_session(&self, other: &Peer) -> bool {
        let with_our_words = Peer {
            overrides: self.overrides.clone(),
            password_file: match (&self.password_file, &other.password_file) {
                (Some(ours), Some(_)) => Some(ours.clone()),
                (Some(_) | None, theirs) => theirs.clone(),
            },
            ..other.clone()
        };
        *self == with_our_words
    }
}

/// `[[service]]`: VIPs that stand and fall with the same checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `name`.
    pub name: ServiceName,
    /// `vips`: at least one; each global unicast, and in no other service.
    pub vips: Vec<IpAddr>,
    /// `prefix`: what is announced for all VIPs of a family, in place of themselves; one a family at most, each with all
    /// VIPs of its family in it.
    pub prefixes: BTreeSet<IpNet>,
    /// `med`, `communities`, `next_hop` and so on.
    pub attributes: Attributes,
    /// `announce_delay`, default 0s: how long a VIP has to be healthy before it is announced.
    pub announce_delay: Duration,
    /// `flap_damping`, default true: whether a VIP that comes and goes waits ever longer.
    pub flap_damping: bool,
    /// `listener_grace`, default 0s: how long nothing may listen before that counts.
    pub listener_grace: Duration,
    /// `require`, default all: how many checks have to pass; no more than there are.
    pub require: Require,
    /// `on_failure`, default withdraw: what is done while fewer pass.
    pub on_failure: OnFailure,
    /// `backup`, default false: whether it is depreferred while all is well.
    pub backup: bool,
    /// `[service.deprefer]`: what a depreferred route is said with.
    pub deprefer: Deprefer,
    /// `[[service.check]]`: at least one.
    pub checks: Vec<Check>,
}

/// How many checks of a service have to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Require {
    /// Each of them.
    All,
    /// This many, at least 1.
    AtLeast(u32),
}

impl Require {
    /// How many of `count` checks that is.
    pub fn of(self, count: usize) -> usize {
        match self {
            Require::All => count,
            Require::AtLeast(least) => usize::try_from(least).unwrap_or(count).min(count),
        }
    }
}

/// What is done when a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnFailure {
    /// Nothing but a warning.
    Warn,
    /// The VIP is announced as the last choice.
    Deprefer,
    /// The VIP is withdrawn.
    Withdraw,
}

impl FromStr for OnFailure {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "withdraw" => Ok(OnFailure::Withdraw),
            "deprefer" => Ok(OnFailure::Deprefer),
            "warn" => Ok(OnFailure::Warn),
            other => Err(Invalid(format!(
                "`{}` is nothing that is done; write `withdraw`, `deprefer` or `warn`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnFailure::Withdraw => "withdraw",
            OnFailure::Deprefer => "deprefer",
            OnFailure::Warn => "warn",
        })
    }
}

impl Service {
    /// What is announced for a VIP: itself, or the prefix that covers it and its siblings.
    pub fn prefix_of(&self, vip: IpAddr) -> IpNet {
        self.prefixes.iter().find(|prefix| prefix.contains(&vip)).copied().unwrap_or_else(|| vip.into())
    }
}

/// Reads a whole configuration. `name` is what messages call the file: its path, or `<stdin>`.
///
/// # Errors
///
/// Everything that is wrong with it, at once, in the order of the file.
pub fn parse(name: &str, text: &str) -> Result<Config, Errors> {
    parse_looking(name, text, |_| Ok(()))
}

/// The same, and `look` says what speaks against each file without which a check can only fail: the `ca_file` of one that
/// requires a good certificate.
///
/// # Errors
///
/// Everything that is wrong with it or with such a file, at once, in the order of the file.
pub fn parse_looking(
    name: &str,
    text: &str,
    look: impl Fn(&Path) -> Result<(), String>,
) -> Result<Config, Errors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut faults = Vec::new();
    let trusted = syntax::trusted(text, &mut faults);
    let whole = faults.is_empty();
    let (document, _) = DeTable::parse_recoverable(&trusted);
    // What the file lacks is marked at its last line.
    let end = text.trim_end().len();
    let file = file::read(document.get_ref(), end..end, &mut faults);
    let config = rules::config(&file, &mut faults);
    let checks = file.services.iter().flat_map(|service| &service.checks);
    checks.for_each(|check| check::rules::look(check, &look, &mut faults));
    if !whole {
        // What is absent may stand in a line that could not be read.
        faults.retain(|fault| !fault.absence);
    }
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(Errors::new(name, text, faults)),
    }
}

impl Config {
    /// Whether a service has this name.
    pub fn names(&self, service: &str) -> bool {
        self.services.iter().any(|one| one.name.as_str() == service)
    }

    /// Every VIP with its service, in the order of the file.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, &Service)> {
        self.services.iter().flat_map(|service| service.vips.iter().map(move |vip| (*vip, service)))
    }
}
