//! The interface of a router, and a route in a form that is common to all routers.
//!
//! Pure, except for the commands that the implementations run in a node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use lab::Node;

use crate::{bird::Bird, exabgp::Exabgp, frr::Frr, gobgp::Gobgp, openbgpd::Openbgpd};

/// The router's end of the link, and its BGP identifier.
pub(crate) const ROUTER: &str = "10.1.0.0";
/// The frontend's end of the link.
pub(crate) const FRONTEND: &str = "10.1.0.1";
/// The frontend's IPv6 address on it.
pub(crate) const FRONTEND_V6: &str = "2001:db8:1::2";

/// How both ends are configured for a group of cases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// The router's AS.
    pub(crate) router_asn: u32,
    /// The AS of announcer, on the frontend.
    pub(crate) frontend_asn: u32,
    /// The router's TCP MD5 key (RFC 2385).
    pub(crate) password: Option<&'static str>,
    /// Whether the router sends and requires TTL 255 (RFC 5082).
    pub(crate) ttl_security: bool,
    /// Who has BFD.
    pub(crate) bfd: BfdEnds,
    /// Whether the router is learnt from its router advertisements, and the session is between link-local addresses.
    pub(crate) unnumbered: bool,
    /// More lines for our `[[peer]]`, in TOML.
    pub(crate) peer: &'static str,
    /// More lines for our `[[service]]`, in TOML.
    pub(crate) service: &'static str,
}

/// The ends that have BFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BfdEnds {
    /// Neither.
    None,
    /// Both.
    Both,
    /// announcer alone.
    OnlyOurs,
}

/// A route, as a router prints it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Route {
    /// AS_PATH, one sequence.
    pub(crate) as_path: Vec<u32>,
    /// Its next hop.
    pub(crate) next_hop: Option<IpAddr>,
    /// ORIGIN: `igp`, `egp` or `incomplete`.
    pub(crate) origin: String,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
    /// LOCAL_PREF. Routers print their own default for eBGP, so it is compared only on iBGP.
    pub(crate) local_pref: Option<u32>,
    /// COMMUNITIES, `65001:80`.
    pub(crate) communities: BTreeSet<String>,
    /// EXTENDED_COMMUNITIES, `rt:65001:80`.
    pub(crate) extended: BTreeSet<String>,
    /// LARGE_COMMUNITY, `65001:1:2`.
    pub(crate) large: BTreeSet<String>,
}

/// A BGP implementation from Debian.
pub(crate) trait Router {
    /// Its name in the table and for `--router`.
    fn name(&self) -> &'static str;
    /// Its Debian package.
    fn package(&self) -> &'static str;
    /// Why it cannot run the case with that name; the sentence is a footnote of the table.
    fn cannot(&self, case: &str) -> Option<&'static str>;
    /// Its configuration files: their paths below the root folder of the node, and contents.
    fn files(&self, setup: &Setup) -> Vec<(&'static str, String)>;
    /// A shell command that starts it in the background.
    fn start(&self) -> &'static str;
    /// The names of its processes, in the order in which they are ended.
    fn processes(&self) -> &'static [&'static str];
    /// Whether the session with the frontend is Established.
    ///
    /// # Errors
    /// When it does not answer, which it may not while it starts.
    fn established(&self, node: &Node) -> Result<bool>;
    /// The route that it has for a VIP, from its own show command.
    ///
    /// # Errors
    /// When it does not answer, or its answer cannot be read.
    fn route(&self, node: &Node, vip: &str) -> Result<Option<Route>>;
    /// The commands, each a list of words, that make it send a ROUTE-REFRESH to the frontend (RFC 2918).
    fn refresh(&self) -> &'static [&'static [&'static str]];
    /// Whether its BFD with the frontend is up.
    ///
    /// # Errors
    /// When it does not answer, or has no BFD.
    fn bfd_up(&self, _: &Node) -> Result<bool> {
        bail!("{} has no BFD", self.name())
    }
    /// Gives BFD another interval, in milliseconds.
    ///
    /// # Errors
    /// When it refuses, or has no BFD.
    fn bfd_interval(&self, _: &Node, _: u32) -> Result<()> {
        bail!("{} has no BFD", self.name())
    }
    /// Switches BFD off, or on again, as its operator.
    ///
    /// # Errors
    /// When it refuses, or has no BFD.
    fn bfd_switch(&self, _: &Node, _: bool) -> Result<()> {
        bail!("{} has no BFD", self.name())
    }
    /// The file that it logs to: its path below the root folder of the node.
    fn log(&self) -> &'static str;
}

/// All of them, in the order of the table's columns.
pub(crate) fn all() -> Vec<Box<dyn Router>> {
    vec![Box::new(Frr), Box::new(Bird), Box::new(Gobgp), Box::new(Openbgpd), Box::new(Exabgp)]
}

/// The output of a command, read as JSON.
///
/// # Errors
/// When it fails, or prints something else.
pub(crate) fn json(node: &Node, words: &[&str]) -> Result<serde_json::Value> {
    let text = node.must(words)?;
    serde_json::from_str(&text).with_context(|| format!("`{}` printed no JSON: {text}", words.join(" ")))
}

/// The number in a JSON value, if it fits into 32 bits.
pub(crate) fn number(value: &serde_json::Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// The strings of a JSON list, lower case; none if it is no list.
pub(crate) fn strings(value: &serde_json::Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str()).map(str::to_lowercase).collect()
}

/// The VIP as a prefix: `192.0.2.80/32`, `2001:db8::80/128`.
pub(crate) fn prefix(vip: &str) -> String {
    format!("{vip}/{}", if vip.contains(':') { 128 } else { 32 })
}

/// The address family of a VIP: `ipv4` or `ipv6`.
pub(crate) fn family(vip: &str) -> &'static str {
    if vip.contains(':') { "ipv6" } else { "ipv4" }
}
