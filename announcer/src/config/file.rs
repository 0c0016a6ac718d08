//! The file as written: every good value with its place, `None` for what is absent or already told.
//!
//! Pure. What one value or one table cannot know is checked in [`rules`](super::rules).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeTable;

use super::error::Fault;
use super::reader::Table;
use super::{OnFailure, PeerAddress, Require, address, check, keys, value};
use crate::model::{
    Asn, Community, ExtendedCommunity, Family, LargeCommunity, Origin, PeerAsn, PeerName, RouterId,
    ServiceName,
};

pub(super) type Maybe<T> = Option<Spanned<T>>;
pub(super) type List<T> = Maybe<Vec<Spanned<T>>>;

/// The tables of the file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) bgp: Option<Bgp>,
    pub(super) peers: Vec<Peer>,
    pub(super) services: Vec<Service>,
    pub(super) health: Option<Health>,
    pub(super) hooks: Option<Hooks>,
    pub(super) metrics: Option<Metrics>,
}

#[derive(Debug)]
pub(super) struct Hooks {
    pub(super) on_change: List<String>,
    pub(super) timeout: Maybe<Duration>,
}

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) listen: Maybe<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct Health {
    pub(super) listener_watch: Maybe<Duration>,
}

#[derive(Debug)]
pub(super) struct Bgp {
    pub(super) asn: Maybe<Asn>,
    pub(super) router_id: Maybe<RouterId>,
    pub(super) settle: Maybe<Duration>,
    pub(super) graceful_restart: Maybe<Duration>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: Maybe<PeerName>,
    pub(super) address: Maybe<PeerAddress>,
    pub(super) port: Maybe<u16>,
    pub(super) asn: Maybe<PeerAsn>,
    pub(super) hold_time: Maybe<Duration>,
    pub(super) send_hold_time: Maybe<Duration>,
    pub(super) families: List<Family>,
    pub(super) interface: Maybe<String>,
    pub(super) source_address: Maybe<IpAddr>,
    pub(super) multihop: Maybe<u8>,
    pub(super) ttl_security: Maybe<bool>,
    pub(super) password_file: Maybe<PathBuf>,
    pub(super) next_hop_v4: Maybe<Ipv4Addr>,
    pub(super) next_hop_v6: Maybe<Ipv6Addr>,
    pub(super) attributes: Attributes,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Maybe<ServiceName>,
    pub(super) vips: List<IpAddr>,
    pub(super) prefix: List<IpNet>,
    pub(super) next_hop: List<address::NextHop>,
    pub(super) attributes: Attributes,
    pub(super) announce_delay: Maybe<Duration>,
    pub(super) flap_damping: Maybe<bool>,
    pub(super) listener_grace: Maybe<Duration>,
    pub(super) require: Maybe<Require>,
    pub(super) on_failure: Maybe<OnFailure>,
    pub(super) backup: Maybe<bool>,
    pub(super) deprefer: Option<Deprefer>,
    pub(super) checks: Vec<check::file::Check>,
}

#[derive(Debug)]
pub(super) struct Deprefer {
    pub(super) prepend: Maybe<u8>,
    pub(super) local_pref: Maybe<u32>,
    pub(super) med: Maybe<u32>,
    pub(super) communities: List<Community>,
}

/// What services have and peers replace.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) origin: Maybe<Origin>,
    pub(super) med: Maybe<u32>,
    pub(super) local_pref: Maybe<u32>,
    pub(super) prepend: Maybe<u8>,
    pub(super) communities: List<Community>,
    pub(super) extended_communities: List<ExtendedCommunity>,
    pub(super) large_communities: List<LargeCommunity>,
}

/// Reads the whole file; `end` is marked when a table is missing from it.
pub(super) fn read(document: &DeTable<'_>, end: Range<usize>, faults: &mut Vec<Fault>) -> File {
    let mut table = Table::new(&keys::FILE, document, end, faults);
    let file = File {
        bgp: table.tables("bgp", bgp).pop(),
        peers: table.tables("peer", peer),
        services: table.tables("service", service),
        health: table.tables("health", health).pop(),
        hooks: table.tables("hooks", hooks).pop(),
        metrics: table.tables("metrics", metrics).pop(),
    };
    table.finish();
    file
}

fn bgp(mut table: Table<'_>) -> Bgp {
    let bgp = Bgp {
        asn: table.get("asn", value::asn),
        router_id: table.get("router_id", address::router_id),
        settle: table.get("settle", value::within(Duration::ZERO..=SECOND * 60)),
        graceful_restart: table.get("graceful_restart", value::restart_time),
    };
    table.finish();
    bgp
}

fn health(mut table: Table<'_>) -> Health {
    let health = Health { listener_watch: table.get("listener_watch", value::watch) };
    table.finish();
    health
}

fn peer(mut table: Table<'_>) -> Peer {
    let peer = Peer {
        name: table.get("name", value::word),
        address: table.get("address", address::peer_address),
        port: table.get("port", value::port),
        asn: table.get("asn", value::peer_asn),
        hold_time: table.get("hold_time", value::hold_time),
        send_hold_time: table.get("send_hold_time", value::within(SECOND * 3..=SECOND * 86_400)),
        families: table.list("families", value::word),
        interface: table.get("interface", value::interface),
        source_address: table.get("source_address", address::source),
        multihop: table.get("multihop", value::hops),
        ttl_security: table.get("ttl_security", value::boolean),
        password_file: table.get("password_file", value::path),
        next_hop_v4: table.get("next_hop_v4", address::next_hop_v4),
        next_hop_v6: table.get("next_hop_v6", address::next_hop_v6),
        attributes: attributes(&mut table),
    };
    table.finish();
    peer
}

fn service(mut table: Table<'_>) -> Service {
    let service = Service {
        name: table.get("name", value::word),
        vips: table.list("vips", address::vip),
        prefix: table.either("prefix", address::prefix),
        next_hop: table.either("next_hop", address::next_hop),
        attributes: attributes(&mut table),
        announce_delay: table.get("announce_delay", value::within(Duration::ZERO..=SECOND * 3600)),
        flap_damping: table.get("flap_damping", value::boolean),
        listener_grace: table.get("listener_grace", value::within(Duration::ZERO..=SECOND * 10)),
        require: table.get("require", value::require),
        on_failure: table.get("on_failure", value::word),
        backup: table.get("backup", value::boolean),
        deprefer: table.tables("deprefer", deprefer).pop(),
        checks: table.tables("check", check::file::read),
    };
    table.finish();
    service
}

fn deprefer(mut table: Table<'_>) -> Deprefer {
    let deprefer = Deprefer {
        prepend: table.get("prepend", value::prepend),
        local_pref: table.get("local_pref", value::med),
        med: table.get("med", value::med),
        communities: table.list("communities", value::word),
    };
    table.finish();
    deprefer
}

fn attributes(table: &mut Table<'_>) -> Attributes {
    Attributes {
        origin: table.get("origin", value::word),
        med: table.get("med", value::med),
        local_pref: table.get("local_pref", value::med),
        prepend: table.get("prepend", value::prepend),
        communities: table.list("communities", value::word),
        extended_communities: table.list("extended_communities", value::word),
        large_communities: table.list("large_communities", value::word),
    }
}

fn hooks(mut table: Table<'_>) -> Hooks {
    let hooks = Hooks {
        on_change: table.list("on_change", value::argument),
        timeout: table.get("timeout", value::within(SECOND / 10..=SECOND * 300)),
    };
    table.finish();
    hooks
}

fn metrics(mut table: Table<'_>) -> Metrics {
    let metrics = Metrics { listen: table.get("listen", value::listen) };
    table.finish();
    metrics
}

const SECOND: Duration = Duration::from_secs(1);
