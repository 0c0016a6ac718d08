//! The file as written: every good value with its place, `None` for what is absent or already told.
//!
//! Pure. What one value or one table cannot know is checked in [`rules`](super::rules).

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use url::Url;

use super::error::Fault;
use super::reader::Table;
use super::{address, keys, value};
use crate::model::{Asn, Community, PeerName, RouterId, ServiceName};

type Maybe<T> = Option<Spanned<T>>;

/// The tables of the file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) bgp: Option<Bgp>,
    pub(super) peers: Vec<Peer>,
    pub(super) services: Vec<Service>,
}

#[derive(Debug)]
pub(super) struct Bgp {
    pub(super) asn: Maybe<Asn>,
    pub(super) router_id: Maybe<RouterId>,
    pub(super) settle: Maybe<Duration>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: Maybe<PeerName>,
    pub(super) address: Maybe<IpAddr>,
    pub(super) port: Maybe<u16>,
    pub(super) asn: Maybe<Asn>,
    pub(super) hold_time: Maybe<Duration>,
    pub(super) next_hop_v6: Maybe<Ipv6Addr>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Maybe<ServiceName>,
    pub(super) vips: Maybe<Vec<Spanned<IpAddr>>>,
    pub(super) communities: Maybe<Vec<Spanned<Community>>>,
    pub(super) med: Maybe<u32>,
    pub(super) announce_delay: Maybe<Duration>,
    pub(super) flap_damping: Maybe<bool>,
    pub(super) checks: Vec<Check>,
}

#[derive(Debug)]
pub(super) struct Check {
    pub(super) http: Maybe<Url>,
    pub(super) interval: Maybe<Duration>,
    pub(super) timeout: Maybe<Duration>,
    pub(super) rise: Maybe<u32>,
    pub(super) fall: Maybe<u32>,
}

/// Reads the whole file; `end` is marked when a table is missing from it.
pub(super) fn read(document: &DeTable<'_>, end: Range<usize>, faults: &mut Vec<Fault>) -> File {
    let mut table = Table::new(&keys::FILE, document, end, faults);
    let file = File {
        bgp: table.tables("bgp", bgp).pop(),
        peers: table.tables("peer", peer),
        services: table.tables("service", service),
    };
    table.finish();
    file
}

fn bgp(mut table: Table<'_>) -> Bgp {
    let bgp = Bgp {
        asn: table.get("asn", value::asn),
        router_id: table.get("router_id", address::router_id),
        settle: table.get("settle", value::within(Duration::ZERO..=SECOND * 60)),
    };
    table.finish();
    bgp
}

fn peer(mut table: Table<'_>) -> Peer {
    let peer = Peer {
        name: table.get("name", value::word),
        address: table.get("address", address::peer_address),
        port: table.get("port", value::port),
        asn: table.get("asn", value::asn),
        hold_time: table.get("hold_time", value::hold_time),
        next_hop_v6: table.get("next_hop_v6", address::next_hop_v6),
    };
    table.finish();
    peer
}

fn service(mut table: Table<'_>) -> Service {
    let service = Service {
        name: table.get("name", value::word),
        vips: table.list("vips", address::vip),
        communities: table.list("communities", value::word),
        med: table.get("med", value::med),
        announce_delay: table.get("announce_delay", value::within(Duration::ZERO..=SECOND * 3600)),
        flap_damping: table.get("flap_damping", value::flag),
        checks: table.tables("check", check),
    };
    table.finish();
    service
}

fn check(mut table: Table<'_>) -> Check {
    let check = Check {
        http: table.get("http", value::http),
        interval: table.get("interval", value::within(MILLISECOND * 50..=SECOND * 3600)),
        timeout: table.get("timeout", value::within(MILLISECOND..=SECOND * 60)),
        rise: table.get("rise", value::count),
        fall: table.get("fall", value::count),
    };
    table.finish();
    check
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
