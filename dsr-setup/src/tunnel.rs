//! Computes the steps with which a frontend accepts the packets of a director that tunnels (LVS-TUN, and others), and those that undo
//! them.
//!
//! Pure. The director puts each packet to a VIP into a packet to the frontend's own address. The frontend takes it out again, finds the
//! VIP on `lo`, and answers the client directly, without a tunnel. Three things are needed beside the VIP:
//!
//! - the device that takes packets out. It is the kernel's own one of each kind (`tunl0`), which accepts packets from every director;
//! - no strict rp_filter on it: what comes out of a tunnel has the client as its source, and the way back to the client is another
//!   interface. The kernel takes the larger of `all` and the device's own value, so 0 is enough only where `all` is 0. Elsewhere it is 2,
//!   which asks only for any route to the source (`Documentation/networking/ip-sysctl.rst`);
//! - a smaller MSS in what the frontend tells the client (RFC 9293 section 3.7.1): the client's packets have to fit into the tunnel.
//!
//! What was changed stands in the alias of the device, in the kernel, so that [`undo`] restores just that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

pub use self::report::TunnelReport;
pub use self::step::TunnelStep;

mod report;
mod step;

/// A kind of tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum TunnelKind {
    /// IPv4 in IPv4 (RFC 2003), device tunl0
    Ipip,
    /// IPv6 in IPv4 (RFC 4213), device sit0
    Sit,
    /// IPv6 in IPv6 (RFC 2473), device ip6tnl0
    Ip6ip6,
    /// IPv4 and IPv6 in IPv4, by GRE (RFC 2784), device gre0
    Gre,
}

impl TunnelKind {
    /// All of them.
    pub const ALL: [TunnelKind; 4] = [TunnelKind::Ipip, TunnelKind::Sit, TunnelKind::Ip6ip6, TunnelKind::Gre];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "ipip",
            TunnelKind::Sit => "sit",
            TunnelKind::Ip6ip6 => "ip6ip6",
            TunnelKind::Gre => "gre",
        }
    }

    /// The device that the kernel makes for it, which accepts packets from every address.
    #[must_use]
    pub fn device(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "tunl0",
            TunnelKind::Sit => "sit0",
            TunnelKind::Ip6ip6 => "ip6tnl0",
            TunnelKind::Gre => "gre0",
        }
    }

    /// The module of the kernel.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "ipip",
            TunnelKind::Sit => "sit",
            TunnelKind::Ip6ip6 => "ip6_tunnel",
            TunnelKind::Gre => "ip_gre",
        }
    }

    /// The number of the IP protocol of what is in it, as `IFLA_IPTUN_PROTO` has it. A device with 0 takes out every protocol. GRE says
    /// in each packet what is in it.
    #[must_use]
    pub fn protocol(self) -> Option<u8> {
        match self {
            TunnelKind::Ipip => Some(4),
            TunnelKind::Sit | TunnelKind::Ip6ip6 => Some(41),
            TunnelKind::Gre => None,
        }
    }

    /// The octets that it puts before a packet: an IPv4 header has 20, an IPv6 header 40, and GRE 4.
    fn overhead(self) -> u32 {
        match self {
            TunnelKind::Ipip | TunnelKind::Sit => 20,
            TunnelKind::Ip6ip6 => 40,
            TunnelKind::Gre => 24,
        }
    }

    /// Whether packets to this VIP can be in it.
    fn carries(self, vip: IpAddr) -> bool {
        match self {
            TunnelKind::Ipip => vip.is_ipv4(),
            TunnelKind::Sit | TunnelKind::Ip6ip6 => vip.is_ipv6(),
            TunnelKind::Gre => true,
        }
    }

    /// Whether IPv4 packets come out of it, to which alone rp_filter applies.
    fn carries_v4(self) -> bool {
        matches!(self, TunnelKind::Ipip | TunnelKind::Gre)
    }
}

/// What the alias of a device says: what was changed here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunnelMark {
    /// It was set up.
    pub raised: bool,
    /// Its rp_filter was changed; with the old value.
    pub rp_filter: Option<i32>,
}

impl TunnelMark {
    /// The text of the alias.
    #[must_use]
    pub fn write(self) -> String {
        let raised = if self.raised { " raised" } else { "" };
        let rp_filter = self.rp_filter.map(|was| format!(" rp_filter={was}")).unwrap_or_default();
        format!("dsr-setup{raised}{rp_filter}")
    }

    /// Reads what [`write`](Self::write) wrote. `None`: the alias belongs to somebody else.
    #[must_use]
    pub fn read(alias: &str) -> Option<TunnelMark> {
        let mut words = alias.split(' ');
        if words.next() != Some("dsr-setup") {
            return None;
        }
        let mut mark = TunnelMark::default();
        for word in words {
            match word.split_once('=') {
                None if word == "raised" => mark.raised = true,
                Some(("rp_filter", was)) => mark.rp_filter = Some(was.parse().ok()?),
                None | Some(_) => return None,
            }
        }
        Some(mark)
    }
}

/// The device of a kind, as read from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelDevice {
    /// Whether it is up.
    pub is_up: bool,
    /// What was changed here; `None`: nothing.
    pub mark: Option<TunnelMark>,
    /// Its own rp_filter.
    pub rp_filter: i32,
    /// Why packets of the kind do not come out of it, although it is up.
    pub misfit: Option<Misfit>,
}

/// Why packets of a kind do not come out of its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It takes out packets of this IP protocol alone, as another program has set its mode.
    Mode(u8),
    /// It takes out packets from this address alone: it is not the kernel's own device.
    Remote(IpAddr),
}

/// The rules that limit the MSS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MssRules {
    /// They are not there.
    Absent,
    /// They are there; with the comment in them, which says which they are.
    Present(String),
    /// They cannot be read, for this reason; then they cannot be written either.
    Unreadable(String),
}

/// The tunnels of the host as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelState {
    /// The devices that exist.
    pub devices: BTreeMap<TunnelKind, TunnelDevice>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub all_rp_filter: i32,
    /// The smallest MTU of the interfaces that are up, except `lo` and tunnels: a packet in a tunnel arrives on one of them.
    pub mtu: u32,
    /// The rules.
    pub mss: MssRules,
}

/// The table of the rules that limit the MSS.
pub const TABLE: &str = "inet dsr-setup";

/// The largest MSS for each VIP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MssLimit(pub BTreeMap<IpAddr, u32>);

impl MssLimit {
    /// That of the VIPs that these tunnels carry. The largest tunnel of several counts.
    #[must_use]
    pub fn of(kinds: &BTreeSet<TunnelKind>, vips: &BTreeSet<IpAddr>, mtu: u32) -> MssLimit {
        let limit = |vip: &IpAddr| {
            let overhead =
                kinds.iter().filter(|kind| kind.carries(*vip)).map(|kind| kind.overhead()).max()?;
            // An IPv4 header and a TCP header have 20 octets each, an IPv6 header has 40.
            let headers = if vip.is_ipv4() { 40 } else { 60 };
            Some((*vip, mtu.checked_sub(overhead + headers)?))
        };
        MssLimit(vips.iter().filter_map(limit).collect())
    }

    /// The comment in the rules, by which they are known again.
    #[must_use]
    pub fn comment(&self) -> String {
        let text: String = self.0.iter().map(|(vip, mss)| format!("{vip} {mss};")).collect();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
        });
        format!("dsr-setup {hash:016x}")
    }

    /// The text for `nft -f -` that replaces the rules. The kernel only lowers an MSS by such a rule, and never raises it. They come
    /// after address translation, so that a server in a container is limited too.
    #[must_use]
    pub fn rules(&self) -> String {
        let comment = self.comment();
        let rule = |(vip, mss): (&IpAddr, &u32)| {
            let family = if vip.is_ipv4() { "ip" } else { "ip6" };
            format!(
                "{family} saddr {vip} tcp flags & syn == syn tcp option maxseg size set {mss} comment \"{comment}\"\n"
            )
        };
        let rules: String = self.0.iter().map(rule).collect();
        format!(
            "{}table {TABLE} {{\nchain mss {{\ntype filter hook postrouting priority srcnat + 10;\n{rules}}}\n}}\n",
            removal()
        )
    }
}

impl fmt::Display for MssLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(|(vip, mss)| format!("{vip} to {mss}")).collect();
        f.write_str(&each.join(", "))
    }
}

/// The text for `nft -f -` that removes the rules, if they are there.
#[must_use]
pub fn removal() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

/// The comment in what `nft list table` printed.
#[must_use]
pub fn comment_in(listed: &str) -> MssRules {
    let comment = listed.split_once("comment \"dsr-setup ").and_then(|(_, rest)| rest.split_once('"'));
    comment
        .map_or(MssRules::Present(String::new()), |(hash, _)| MssRules::Present(format!("dsr-setup {hash}")))
}

/// The steps that must be done before the VIPs are put on `lo`: if the kernel lacks a kind, nothing else is changed.
#[must_use]
pub fn make(observed: &TunnelState, kinds: &BTreeSet<TunnelKind>) -> Vec<TunnelStep> {
    let missing = kinds.iter().filter(|kind| !observed.devices.contains_key(kind));
    missing.map(|kind| TunnelStep::Make(*kind)).collect()
}

/// The steps after the VIPs are on `lo`: what comes out of a tunnel before that would be refused, or routed on.
#[must_use]
pub fn open(
    observed: &TunnelState,
    kinds: &BTreeSet<TunnelKind>,
    vips: &BTreeSet<IpAddr>,
) -> Vec<TunnelStep> {
    let mut steps = Vec::new();
    let limit = MssLimit::of(kinds, vips, observed.mtu);
    let is_limited = match &observed.mss {
        MssRules::Present(comment) => *comment == limit.comment(),
        MssRules::Absent => limit.0.is_empty(),
        MssRules::Unreadable(_) => true,
    };
    if !is_limited && !kinds.is_empty() {
        steps.push(TunnelStep::LimitMss(limit));
    }
    for kind in kinds {
        let device = observed.devices.get(kind);
        let set = if observed.all_rp_filter == 0 { 0 } else { 2 };
        // A device that is made now gets the default, which may be strict.
        let is_loose = device
            .map_or(observed.all_rp_filter == 2, |device| device.rp_filter.max(observed.all_rp_filter) != 1);
        if kind.carries_v4() && !is_loose {
            steps.push(TunnelStep::Filter { kind: *kind, was: device.map(|device| device.rp_filter), set });
        }
        if !device.is_some_and(|device| device.is_up) {
            steps.push(TunnelStep::Raise(*kind));
        }
    }
    steps
}

/// The steps that undo what was changed here. The devices of the kernel stay, as they cannot be removed.
#[must_use]
pub fn undo(observed: &TunnelState) -> Vec<TunnelStep> {
    let mut steps = Vec::new();
    for (kind, device) in &observed.devices {
        let Some(mark) = device.mark else { continue };
        if mark.raised && device.is_up {
            steps.push(TunnelStep::Lower(*kind));
        }
        if let Some(was) = mark.rp_filter {
            steps.push(TunnelStep::Unfilter { kind: *kind, was });
        }
        steps.push(TunnelStep::Release(*kind));
    }
    if let MssRules::Present(_) = observed.mss {
        steps.push(TunnelStep::RemoveMss);
    }
    steps
}

#[cfg(test)]
mod tests;
