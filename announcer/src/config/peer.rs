//! `[[peer]]`.
//!
//! Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use router_config::{System, UnknownSystem};
use toml::{Spanned, Value as Toml};

use super::address::{address, source, usable};
use super::bfd::{self, BfdConfig};
use super::error::Fault;
use super::hooks::{self, HooksConfig};
use super::keys::{Section, optional_table};
use super::overrides;
use super::table::table;
use super::value::{
    DAY, SECOND, Value, ValueError, boolean, hold_time, hops, interface, min_hold_time, path, peer_asn, port,
    segment_size, span, vrf, within, word, wrong,
};
use super::writer::{ToToml, TomlWriter, text};
use crate::model::{Family, Overrides, PeerAsn, PeerName};

pub(super) const SECTION: Section = Section {
    header: "[[peer]]",
    doc: "A router to which announcer connects.",
    keys: &[&[
        Written::KEYS,
        overrides::Written::KEYS,
        &[optional_table("bfd", &bfd::SECTION), optional_table("hooks", &hooks::OF_PEER)],
    ]],
};

table! {
    /// `[[peer]]`: a router to which we connect.
    pub struct PeerConfig as Written {
        /// Unique.
        name: one PeerName, required "\"r1\"", word,
            "the name in logs, status and metrics: letters, digits, `.`, `_`, `-`",
            own "each peer has its own name; write it in its `[[peer]]`";
        /// The address on which it listens. An IPv6 link-local address needs an interface. Without the key and with an interface, the
        /// router is learnt.
        address: one PeerAddress, required "\"10.0.1.1\"", peer_address,
            "the router's address: IPv4, IPv6 (link-local with `interface`), `default-gateway`, or `router-advertisement`: the router \
             that advertises itself on `interface` (RFC 4861), which `interface` without `address` also says",
            own "each router has its own address; write it in its `[[peer]]`";
        /// The port on which it listens.
        port: one u16, default "179", port, "the router's port; 1 to 65535";
        /// The AS that its OPEN must have.
        asn: one PeerAsn, required "65000", peer_asn,
            "the AS of the router (on the router: `router bgp 65000`); or `external`, or `internal`";
        /// 0 or at least 3 whole seconds, at most 65535 (RFC 4271 §4.2).
        hold_time: one Duration, default "\"9s\"", hold_time,
            "the session ends after this time without a message; zero (never), or 3s to 65535s";
        /// Default the larger of 8 minutes and twice the hold time: at least the hold time (RFC 9687).
        send_hold_time: one Duration, derived "\"8m\"", within(SECOND * 3..=DAY),
            "how long the router may accept no octet before the session ends (RFC 9687); without it, 8m or twice `hold_time`; 3s to 1day";
        /// The lowest negotiated hold time that is accepted, 3 s to `hold_time`; without it every hold time is accepted, also zero.
        min_hold_time: one Duration, optional "\"3s\"", min_hold_time,
            "the least hold time that both sides may agree on, at most `hold_time`: a router that offers less, or zero, is refused; without it, any is accepted; 3s to 18h12m15s";
        /// The families of our OPEN; never empty.
        families: set Family, default "[\"ipv4\", \"ipv6\"]", word,
            "the address families of the routes; the session itself may use IPv4 or IPv6";
        /// Whether our OPEN has capabilities (RFC 5492); without them `families` is only IPv4.
        capabilities: one bool, default "true", boolean,
            "whether our OPEN has capabilities; `false` for a router that refuses them (RFC 5492): then only IPv4, AS 23456 in place of an AS of four octets, and no graceful restart";
        /// The session is bound to it.
        interface: one String, optional "\"eth0\"", interface,
            "the interface that the session is bound to; without `address`, the router is learnt from its router advertisements there";
        /// Its sockets are bound to the VRF, or to `interface`, which has to be in it.
        vrf: one String, optional "\"edge\"", vrf,
            "the VRF of the session, by the name of its device: the session and BFD use only the routes of the VRF; with `interface`, that interface has to be in the VRF";
        /// Whether a default route from the router's advertisements is wanted; no effect on the session.
        default_route: one bool, default "false", boolean,
            "whether a default route from the advertisements of a router that is learnt is wanted; if not, `status` warns of one";
        /// Our address of the session; not a VIP.
        source_address: one IpAddr, optional "\"10.0.1.11\"", source,
            "our address of the session; without it, the kernel chooses";
        /// The largest TCP segment, in octets; without it, the kernel decides.
        tcp_mss: one u16, optional "1340", segment_size,
            "the largest TCP segment of the session, in octets, for a path whose MTU is not discovered: the path MTU minus 40 for IPv4, minus 60 for IPv6; 536 to 32767";
        /// How many hops away the router is at most, for `ttl_security` and for BFD.
        multihop: one u8, default "1", hops,
            "how many hops away the router may be under `ttl_security` and for `bfd`: more than 1 is BFD of RFC 5883, which the router has to use too; 1 to 255";
        /// Whether packets from further away are dropped (RFC 5082).
        ttl_security: one bool, default "false", boolean,
            "drop packets from further away than `multihop` (RFC 5082), also those of BFD; the router has to send TTL 255";
        /// The key of TCP MD5 (RFC 2385).
        password_file: one PathBuf, optional "\"/etc/announcer/r1.key\"", path,
            "the file of the TCP MD5 key (RFC 2385), not readable by others; a relative path is below `$CREDENTIALS_DIRECTORY`";
        /// Its system, for the commands that `explain` prints and for `router-config`; it has no effect on the session.
        os: one System, optional "\"frr\"", system,
            "the router's system, for `router-config` and the commands at the end of `explain`: `frr`, `bird`, `openbgpd`, `gobgp`, `junos`, `eos`, `ios-xe`, `nx-os`, `ios-xr`, `srlinux` or `routeros`";
    }
    with {
        /// `med`, `communities`, `next_hop_v4` and so on: for this peer, they replace the keys of the services.
        overrides: Overrides as overrides::Written;
        /// `[peer.bfd]`; `None`: there is no BFD with this router.
        bfd: Option<BfdConfig> as bfd::Written;
        /// `[peer.hooks]`: the command for the changes of its session; `None`: there is none.
        hooks: Option<HooksConfig> as hooks::WrittenOfPeer;
    }
}

/// Reads a peer.
pub(super) fn read(table: &mut super::reader::Table<'_>) -> Written {
    let is_learnt = table.has("interface") && !table.has("address");
    if is_learnt {
        table.waive("address");
    }
    let mut peer = Written::read(table);
    // RFC 9687 §6.
    let follows = |hold: &Spanned<Duration>| {
        Spanned::new(hold.span(), (*hold.get_ref() * 2).max(Duration::from_secs(480)))
    };
    if let Some(interface) = peer.interface.as_ref().filter(|_| is_learnt) {
        peer.address = Some(Spanned::new(interface.span(), PeerAddress::RouterAdvertisement));
    }
    if !table.has("send_hold_time") {
        peer.send_hold_time = peer.hold_time.as_ref().map(follows);
    }
    // Families need a capability (RFC 4760 §8).
    if let Some(written) = peer.capabilities.as_ref().filter(|written| !*written.get_ref())
        && !table.has("families")
    {
        let span = written.span();
        peer.families = Some(Spanned::new(span.clone(), vec![Spanned::new(span, Family::V4)]));
    }
    peer
}

/// The address of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// There.
    Ip(IpAddr),
    /// At the default route's next hop, looked up before each try.
    DefaultGateway,
    /// At the link-local address from which it advertises itself on the peer's interface (RFC 4861): an unnumbered session.
    RouterAdvertisement,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => address.fmt(f),
            PeerAddress::DefaultGateway => f.pad("default-gateway"),
            PeerAddress::RouterAdvertisement => f.pad("router-advertisement"),
        }
    }
}

impl ToToml for PeerAddress {
    fn to_toml(&self) -> Toml {
        text(self)
    }
}

/// The peer's address: an IP address, the host's own default gateway, or the router of a link.
fn peer_address(value: &Value<'_>) -> Result<PeerAddress, ValueError> {
    if value.found.as_str() == Some("default-gateway") {
        return Ok(PeerAddress::DefaultGateway);
    }
    if value.found.as_str() == Some("router-advertisement") {
        return Ok(PeerAddress::RouterAdvertisement);
    }
    if let Some(both) = value.found.as_str().and_then(|text| text.parse::<SocketAddr>().ok()) {
        let help = format!("write `address = \"{}\"` and `port = {}`", both.ip(), both.port());
        return wrong(format!("`{both}` has a port"), help);
    }
    let address = address(value)?;
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if link_local {
        return Ok(PeerAddress::Ip(address));
    }
    let help = if address.is_loopback() {
        "a BGP daemon on the same host is not supported yet; write the router's address"
    } else {
        "write the router's address, as in `\"10.0.1.1\"`"
    };
    usable(address, help).map(PeerAddress::Ip)
}

impl ToToml for System {
    fn to_toml(&self) -> Toml {
        text(self)
    }
}

/// The router's system.
fn system(value: &Value<'_>) -> Result<System, ValueError> {
    let help = || format!("write one of {}", UnknownSystem::names());
    match value.found.as_str() {
        Some(name) => match name.parse() {
            Ok(system) => Ok(system),
            Err(UnknownSystem(name)) => {
                wrong(format!("`{}` is not a router system", name.escape_debug()), help())
            }
        },
        None => Err(ValueError { help: help(), ..value.not("the name of a router system") }),
    }
}

impl PeerConfig {
    /// Whether a session with `self` can continue with `other`: only the attributes of routes, the file of the key, BFD, hooks or the name
    /// of the router's system differ.
    pub fn same_session(&self, other: &PeerConfig) -> bool {
        self.name == other.name && self.session_settings() == other.session_settings()
    }
}

/// The keys that have no effect on a session.
const NOT_OF_THE_SESSION: [&str; 3] = ["name", "os", "default_route"];

impl PeerConfig {
    /// Whether `other` would be the same router as `self` if its address is the same: its port is, and the two are not in two VRFs or
    /// on two interfaces, on which one address may be two routers.
    pub fn same_place(&self, other: &PeerConfig) -> bool {
        let interfaces = self.interface.as_ref().zip(other.interface.as_ref());
        self.port == other.port && self.vrf == other.vrf && interfaces.is_none_or(|(one, two)| one == two)
    }

    /// The device to which the sockets of the session and of BFD are bound: its interface, or its VRF. A socket that is bound to an
    /// interface in a VRF uses the routes of the VRF. `None`: they are bound to none.
    pub fn device(&self) -> Option<&str> {
        self.interface.as_deref().or(self.vrf.as_deref())
    }

    /// Its address for people: the one that is in use, or what the configuration says. A router that is learnt and not known yet is
    /// shown by its interface.
    pub fn shown_address(&self, in_use: Option<IpAddr>) -> String {
        match (in_use, self.address, &self.interface) {
            (Some(ip), _, _) | (None, PeerAddress::Ip(ip), _) => ip.to_string(),
            (None, PeerAddress::RouterAdvertisement, Some(interface)) => interface.clone(),
            (None, PeerAddress::RouterAdvertisement | PeerAddress::DefaultGateway, _) => {
                self.address.to_string()
            }
        }
    }

    /// The keys that a session depends on, each with its value as TOML, or `None` where it has none. Only whether there is a
    /// `password_file` matters, not which.
    pub fn session_settings(&self) -> BTreeMap<String, Option<String>> {
        let mut out = TomlWriter { compares: true, ..TomlWriter::default() };
        Written::from(self).write_own(&mut out);
        let values: BTreeMap<&str, &str> =
            out.text.lines().filter_map(|line| line.split_once(" = ")).collect();
        let keys = Written::KEYS.iter().map(|key| key.name).filter(|key| !NOT_OF_THE_SESSION.contains(key));
        let value = |key: &str| {
            let value = values.get(key)?;
            Some(if key == "password_file" { "set".to_owned() } else { (*value).to_owned() })
        };
        keys.map(|key| (key.to_owned(), value(key))).collect()
    }
}

impl Written {
    /// Its address with its interface and VRF: the same address may exist on two interfaces, and in two VRFs.
    pub(super) fn place(&self) -> Option<Spanned<String>> {
        let address = self.address.as_ref()?;
        let behind = self.interface.as_ref().map_or(String::new(), |name| format!(" on {}", name.get_ref()));
        let inside = self.vrf.as_ref().map_or(String::new(), |name| format!(" in VRF {}", name.get_ref()));
        Some(Spanned::new(address.span(), format!("{}{behind}{inside}", address.get_ref())))
    }

    /// Its address, if it is one.
    pub(super) fn ip(&self) -> Option<(IpAddr, Range<usize>)> {
        let address = self.address.as_ref()?;
        match address.get_ref() {
            PeerAddress::Ip(ip) => Some((*ip, address.span())),
            PeerAddress::DefaultGateway | PeerAddress::RouterAdvertisement => None,
        }
    }

    /// Whether the router is learnt from its advertisements.
    fn is_learnt(&self) -> bool {
        self.address.as_ref().is_some_and(|address| *address.get_ref() == PeerAddress::RouterAdvertisement)
    }
}

/// Checks the rules of a router that is learnt, and that no other router has its keys.
fn judge_learnt(peer: &Written, faults: &mut Vec<Fault>) {
    if !peer.is_learnt() {
        if let Some(wanted) = peer.default_route.as_ref().filter(|wanted| *wanted.get_ref()) {
            let message = "`default_route` is for a router that is learnt from its router advertisements";
            faults.push(Fault::new(wanted.span(), message, "remove it"));
        }
        return;
    }
    let Some(at) = peer.address.as_ref().map(Spanned::span) else { return };
    if peer.interface.is_none() {
        let message = "`router-advertisement` needs the interface on which the router advertises itself";
        let help = "add a line such as `interface = \"eth0\"`";
        faults.push(Fault::new(at.clone(), message, help));
    }
    if let Some(source) = &peer.source_address
        && !matches!(source.get_ref(), IpAddr::V6(v6) if v6.is_unicast_link_local())
    {
        let message = format!("the source address `{}` is not link-local", source.get_ref());
        let help = "remove it, or write this host's link-local address of the interface: the router is learnt by its own, and one \
                    link-local address reaches only another";
        faults.push(Fault::new(source.span(), message, help).beside(at.clone(), "the router is learnt"));
    }
    if let Some(hops) = peer.multihop.as_ref().filter(|hops| *hops.get_ref() > 1) {
        let message = "a router that is learnt from its router advertisements is on the link";
        let help = "remove `multihop`, or write the router's address";
        faults.push(Fault::new(hops.span(), message, help).beside(at.clone(), "the router is learnt"));
    }
    if let Some(capabilities) = peer.capabilities.as_ref().filter(|written| !*written.get_ref()) {
        let message = "without capabilities no route can be sent on an unnumbered session";
        let help = "remove it, or write the router's IPv4 address: IPv4 routes with an IPv6 next hop need a capability (RFC 8950)";
        faults.push(Fault::new(capabilities.span(), message, help).beside(at, "the router is learnt"));
    }
}

/// Checks the rules for a possible session.
pub(super) fn judge(peer: &Written, faults: &mut Vec<Fault>) {
    overrides::judge(&peer.overrides, faults);
    judge_learnt(peer, faults);
    if let Some((peer_ip, at)) = peer.ip() {
        for (next_hop, span) in peer.overrides.next_hops().filter(|(ip, _)| *ip == peer_ip) {
            let message = format!("the next hop `{next_hop}` is the peer's own address");
            let help = format!("write a global {} address of this host", Family::of(next_hop));
            faults.push(Fault::new(span, message, help).beside(at.clone(), "the peer's address"));
        }
        if let IpAddr::V6(v6) = peer_ip
            && v6.is_unicast_link_local()
            && peer.interface.is_none()
        {
            let help = "add a line such as `interface = \"eth0\"`";
            faults.push(Fault::new(
                at.clone(),
                format!("`{v6}` is link-local, and no interface is named"),
                help,
            ));
        }
        if let Some(source) = &peer.source_address {
            let ip = *source.get_ref();
            let fault = |message: String, help: &str| {
                Fault::new(source.span(), message, help).beside(at.clone(), "the peer's address")
            };
            if Family::of(ip) != Family::of(peer_ip) {
                let message = format!(
                    "the source address is {}, the peer's is {}",
                    Family::of(ip),
                    Family::of(peer_ip)
                );
                faults.push(fault(message, "write an address of the session's own family"));
            } else if ip == peer_ip {
                faults.push(fault(
                    format!("the source address `{ip}` is the peer's own"),
                    "write an address of this host",
                ));
            }
        }
    }
    if let (Some(families), Some(capabilities)) = (&peer.families, &peer.capabilities)
        && !*capabilities.get_ref()
        && families.get_ref().iter().any(|family| *family.get_ref() != Family::V4)
    {
        let message = "without capabilities a session carries only IPv4";
        let help = "write `families = [\"ipv4\"]`, or remove `capabilities = false`";
        faults.push(Fault::new(families.span(), message, help));
    }
    if let (Some(hold), Some(least)) = (&peer.hold_time, &peer.min_hold_time)
        && least.get_ref() > hold.get_ref()
    {
        let message = "`min_hold_time` must be at most `hold_time`";
        let help = if hold.get_ref().is_zero() {
            "remove it, or write a `hold_time` that is not zero".to_owned()
        } else {
            format!(
                "write `{}` or less: both sides agree on the smaller of their hold times",
                span(*hold.get_ref())
            )
        };
        faults.push(Fault::new(least.span(), message, help));
    }
    if let (Some(hold), Some(send)) = (&peer.hold_time, &peer.send_hold_time)
        && send.get_ref() < hold.get_ref()
    {
        let message = "`send_hold_time` must be at least `hold_time`";
        let help =
            format!("write `{}` or more; RFC 9687 section 6 recommends twice that", span(*hold.get_ref()));
        faults.push(Fault::new(send.span(), message, help));
    }
}
