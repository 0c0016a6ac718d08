//! The configuration as the program uses it: a `Config` cannot be wrong.
//!
//! Pure. Text -> `File` (as written, spans kept) -> [`Config`], or every error at once ([`Errors`]).
//!
//! ```text
//! keys       every table and key of the file, with its default, in one list
//! syntax     TOML's own errors, and how much of a broken file can still be judged
//! reader     one table, key by key: unknown and missing keys     value, address  one value: its type and rule
//! file       the file as written                                 rules  what one key cannot know alone
//! canonical  a `Config` as text that parses to the same          error   how errors are told
//! ```
//!
//! A new key is a line or two in each of `keys`, `file`, `rules`, `canonical` and the struct below.

mod address;
mod canonical;
mod error;
mod file;
pub mod keys;
mod reader;
mod rules;
mod syntax;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use crate::model::{Asn, Community, PeerName, RouterId, ServiceName};

pub use canonical::canonical;
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
}

/// `[[peer]]`: a router that we dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `name`.
    pub name: PeerName,
    /// `address`: where it listens.
    pub address: IpAddr,
    /// `port`, default 179: where it listens.
    pub port: u16,
    /// `asn`: the AS that its OPEN must carry.
    pub asn: Asn,
    /// `hold_time`, default 9s: 0 or at least 3 whole seconds, at most 65535 (RFC 4271 §4.2).
    pub hold_time: Duration,
    /// `next_hop_v6`: the next hop of IPv6 VIPs when the session's interface has no global IPv6 address.
    pub next_hop_v6: Option<Ipv6Addr>,
}

/// `[[service]]`: VIPs that stand and fall with the same checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `name`.
    pub name: ServiceName,
    /// `vips`: at least one; each global unicast, and in no other service.
    pub vips: Vec<IpAddr>,
    /// `communities` (RFC 1997).
    pub communities: BTreeSet<Community>,
    /// `med` (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// `announce_delay`, default 0s: how long a VIP has to be healthy before it is announced.
    pub announce_delay: Duration,
    /// `flap_damping`, default true: whether a VIP that comes and goes waits ever longer.
    pub flap_damping: bool,
    /// `[[service.check]]`: at least one; all have to pass.
    pub checks: Vec<Check>,
}

/// `[[service.check]]`: asked of each VIP of its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// `interval`, default 1s, at least 50ms: from the start of one probe to the start of the next.
    pub interval: Duration,
    /// `timeout`, default 1s: for a whole probe.
    pub timeout: Duration,
    /// `rise`, default 2, at least 1: passes in a row that make a VIP healthy.
    pub rise: u32,
    /// `fall`, default 3, at least 1: failures in a row that make it unhealthy.
    pub fall: u32,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `http`: a GET of what a client would ask, sent to the VIP itself; a 2xx passes.
    Http(Url),
}

/// Reads a whole configuration. `name` is what messages call the file: its path, or `<stdin>`.
///
/// # Errors
///
/// Everything that is wrong with it, at once, in the order of the file.
pub fn parse(name: &str, text: &str) -> Result<Config, Errors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut faults = Vec::new();
    let trusted = syntax::trusted(text, &mut faults);
    let whole = faults.is_empty();
    let (document, _) = DeTable::parse_recoverable(&trusted);
    // What the file lacks is marked at its last line.
    let end = text.trim_end().len();
    let file = file::read(document.get_ref(), end..end, &mut faults);
    let config = rules::config(&file, &mut faults);
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
    /// Every VIP with its service, in the order of the file.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, &Service)> {
        self.services.iter().flat_map(|service| service.vips.iter().map(move |vip| (*vip, service)))
    }
}
