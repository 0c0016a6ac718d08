//! An address in a message of rtnetlink: how ours are written, and how any is read.
//!
//! Pure, apart from the types of the netlink library.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};

use super::PROTOCOL;
use crate::plan::{self, Difference, LoAddress, MarkSupport, Owner};

/// The lifetime, in seconds, of an address that never ends.
const FOR_EVER: u32 = u32::MAX;

/// Sets everything by which our addresses differ from a plain one: our mark, the scope and label or the flags, and the lifetimes.
pub(super) fn mark(message: &mut AddressMessage, vip: IpAddr, device: &str) {
    match vip {
        IpAddr::V4(_) => {
            message.header.scope = AddressScope::Link;
            message.attributes.push(AddressAttribute::Label(plan::label(device)));
        }
        IpAddr::V6(_) => {
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            message.attributes.push(AddressAttribute::Flags(flags));
        }
    }
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_preferred = if vip.is_ipv4() { FOR_EVER } else { 0 };
    lifetime.ifa_valid = FOR_EVER;
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
}

/// Reads an address on the device from a message.
pub(super) fn read(
    message: &AddressMessage,
    device: &str,
    marks: MarkSupport,
    recorded: &BTreeSet<IpAddr>,
) -> Option<LoAddress> {
    let net = net(message)?;
    let owner = owner(protocol(message), marks, recorded.contains(&net.addr()));
    Some(LoAddress { net, owner, differences: differences(message, device, net.addr(), marks) })
}

/// The owner of an address: the mark decides if the kernel stores marks, otherwise the state file decides.
pub(super) fn owner(protocol: Option<u8>, marks: MarkSupport, is_recorded: bool) -> Owner {
    let is_ours = match marks {
        MarkSupport::Kept => protocol == Some(PROTOCOL),
        MarkSupport::NotKept => is_recorded,
    };
    if is_ours { Owner::Ours } else { Owner::Foreign }
}

/// How an address on `lo`, whoever owns it, differs from a VIP that [`crate::Vips::add`] adds.
fn differences(
    message: &AddressMessage,
    device: &str,
    vip: IpAddr,
    marks: MarkSupport,
) -> BTreeSet<Difference> {
    let lifetime = lifetime(message);
    let (may_be_source, flags_differ) = match vip {
        IpAddr::V4(_) => (matches!(message.header.scope, AddressScope::Universe | AddressScope::Site), false),
        IpAddr::V6(_) => {
            let wanted = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            (lifetime.is_none_or(|lifetime| lifetime.ifa_preferred != 0), !flags(message).contains(wanted))
        }
    };
    let ends = lifetime.is_some_and(|lifetime| lifetime.ifa_valid != FOR_EVER);
    let mark_is_lost = marks == MarkSupport::Kept && protocol(message) != Some(PROTOCOL);
    let has_other_label = vip.is_ipv4() && label(message) != Some(plan::label(device).as_str());
    [
        (may_be_source, Difference::Source),
        (flags_differ, Difference::Flags),
        (ends, Difference::Ends),
        (mark_is_lost, Difference::Mark),
        (has_other_label, Difference::Label),
    ]
    .into_iter()
    .filter_map(|(differs, difference)| differs.then_some(difference))
    .collect()
}

/// The flags: IFA_FLAGS, or those of the header if there is no IFA_FLAGS.
#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
pub(in crate::io) fn flags(message: &AddressMessage) -> AddressFlags {
    let all = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let in_header = || AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    all.unwrap_or_else(in_header)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn lifetime(message: &AddressMessage) -> Option<&CacheInfo> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::CacheInfo(lifetime) => Some(lifetime),
        _ => None,
    })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
pub(super) fn label(message: &AddressMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Label(label) => Some(label.as_str()),
        _ => None,
    })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
pub(in crate::io) fn protocol(message: &AddressMessage) -> Option<u8> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    })
}

/// IFA_LOCAL is the address itself and IFA_ADDRESS the other end, if there is one; for IPv6 there is only IFA_ADDRESS.
#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
pub(in crate::io) fn net(message: &AddressMessage) -> Option<IpNet> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => address = Some(*found),
            _ => {}
        }
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}
