//! `[chain]`: the frontends that pass packets of each other's flows on.
//!
//! Pure. The keys of a service that belong to it are `ports` and `min_announcers`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::address::{address, usable};
use super::error::{Fault, unique};
use super::keys::Section;
use super::service;
use super::table::table;
use super::value::{SECOND, Value, ValueError, absolute, boolean, interface, number, port, within};
use crate::model::Family;

pub(super) const SECTION: Section = Section {
    header: "[chain]",
    doc: "Daisy chaining: the frontends pass packets of flows that they do not know on to each other, so that a flow survives when routers spread the flows anew; without the table, they do not. docs/chain.md explains it.",
    keys: &[&[Written::KEYS]],
};

/// How many members a chain may have: the marks of packets have 32 values.
pub const MOST_MEMBERS: usize = service::MOST_ANNOUNCERS as usize;
/// A member that was not heard for this many heartbeats is dead.
pub const MISSING_HEARTBEATS: u32 = 3;

/// How long a stop waits at most until the other members have let this host go.
pub const LONGEST_LEAVE: Duration = Duration::from_secs(3);

table! {
    /// `[chain]`.
    pub struct ChainConfig as Written {
        /// The device over which the frontends reach each other.
        interface: one String, required "\"eth0\"", interface,
            "the interface over which the frontends reach each other; with `vxlan`, the one that carries its packets";
        /// All frontends; 2 to 32 addresses of one family. One of them is this host's.
        members: list IpAddr, required "[\"10.0.1.11\", \"10.0.1.12\", \"10.0.1.13\"]", member,
            "the addresses of all frontends, this one too, 2 to 32 of one family; the same list on each of them";
        /// The file with the key, or with two of them.
        key_file: one PathBuf, required "\"/etc/announcer/chain.key\"", absolute,
            "the file with the key that authenticates heartbeats, the same on each frontend: a line of at least 16 characters; a second line is another key that is accepted as well, so that a key is changed host by host";
        /// The interval in which members send heartbeats to each other.
        heartbeat: one Duration, default "\"100ms\"", within(Duration::from_millis(20)..=SECOND),
            "the interval of the heartbeats; a host that was not heard for three of them is dead; 20ms to 1s";
        /// The UDP port of the heartbeats.
        port: one u16, default "9181", port,
            "the UDP port of the heartbeats, the same on each frontend";
        /// The packets a second for which this host may begin a way along the ring.
        budget: one u32, default "1000", budget,
            "how many packets a second, of flows that this host does not know, it passes on at most; TCP sends again what is over it; 1 to 1000000";
        /// The number of the VXLAN that joins the members; `None`: they are on one LAN.
        vxlan: one u32, optional "4242", vxlan,
            "the number of a VXLAN that announcer makes between the frontends, if they are not on one LAN; 1 to 16777215";
        /// Whether packets are passed on. Otherwise there are heartbeats alone.
        forward: one bool, default "true", boolean,
            "`false`: heartbeats alone, for `min_announcers` and `announcer status --members`, without rules for packets";
    }
}

/// The address of a member.
fn member(value: &Value<'_>) -> Result<IpAddr, ValueError> {
    usable(address(value)?, "write the address of a frontend on its own network, as in `\"10.0.1.11\"`")
}

fn budget(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 1..=1_000_000)
}

fn vxlan(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 1..=16_777_215)
}

/// Checks `[chain]` by itself, and together with the VIPs.
pub(super) fn judge(chain: &Written, vips: &BTreeSet<IpAddr>, faults: &mut Vec<Fault>) {
    let Some(members) = &chain.members else { return };
    let all = members.get_ref();
    unique(all, "name each frontend once", faults);
    if all.len() < 2 || all.len() > MOST_MEMBERS {
        let message = format!("a chain has 2 to {MOST_MEMBERS} members, and this one has {}", all.len());
        let help = "write the addresses of all frontends that announce the VIPs, this one too";
        faults.push(Fault::new(members.span(), message, help));
    }
    if let Some(first) = all.first() {
        let other = |one: &&Spanned<IpAddr>| Family::of(*one.get_ref()) != Family::of(*first.get_ref());
        if let Some(other) = all.iter().find(other) {
            let message = "the members of a chain have addresses of one family";
            let help = "write the IPv4 addresses of all of them, or the IPv6 addresses; packets of both families are passed on";
            faults.push(Fault::new(other.span(), message, help).beside(first.span(), "the first one"));
        }
    }
    for member in all.iter().filter(|member| vips.contains(member.get_ref())) {
        let message = format!("the member `{}` is also a VIP", member.get_ref());
        let help = "write an address that only this frontend has: each frontend has the VIP";
        faults.push(Fault::new(member.span(), message, help));
    }
}
