//! The values that are addresses: what each may be.
//!
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::value::{Value, Wrong, text, wrong};
use crate::model::RouterId;

fn address(value: &Value<'_>) -> Result<IpAddr, Wrong> {
    let text = text(value)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some((Ok(alone), _)) =
        text.split_once('/').map(|(alone, length)| (alone.parse::<IpAddr>(), length))
    {
        return wrong(
            format!("`{}` has a prefix length", text.escape_debug()),
            format!("write the address alone: `\"{alone}\"`"),
        );
    }
    if let Some((Ok(_), _)) = text.split_once('%').map(|(alone, zone)| (alone.parse::<Ipv6Addr>(), zone)) {
        let help = "link-local addresses are not supported yet; write a global address, without `%`";
        return wrong(format!("`{}` names an interface", text.escape_debug()), help);
    }
    let help = "write an IPv4 or IPv6 address, as in `\"192.0.2.80\"` or `\"2001:db8::80\"`";
    wrong(format!("`{}` is no address", text.escape_debug()), help)
}

/// What an address is, if no host can be reached by it from another network.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, 0, 0, 0] => Some("is the unspecified address"),
            [0, ..] => Some("is of 0.0.0.0/8, which is nobody's"),
            [127, ..] => Some("is a loopback address"),
            [169, 254, ..] => Some("is link-local"),
            [224..=239, ..] => Some("is a multicast group"),
            [255, 255, 255, 255] => Some("is the broadcast address"),
            [240..=255, ..] => Some("is of 240.0.0.0/4, which is reserved"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("is the unspecified address"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("is the loopback address"),
            [0, 0, 0, 0, 0, 0xffff, ..] => Some("is an IPv4 address written as IPv6"),
            [0, 0, 0, 0, 0, 0, ..] => Some("is of ::/96, which is nobody's"),
            [0xfe80..=0xfebf, ..] => Some("is link-local"),
            [0xff00..=0xffff, ..] => Some("is a multicast group"),
            _ => None,
        },
    }
}

fn usable(address: IpAddr, help: &str) -> Result<IpAddr, Wrong> {
    let Some(what) = special(address) else { return Ok(address) };
    let plain = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let help = plain.map_or(help.to_owned(), |v4| format!("write `\"{v4}\"`"));
    wrong(format!("`{address}` {what}"), help)
}

/// An address that clients of other networks can use.
pub(super) fn vip(value: &Value<'_>) -> Result<IpAddr, Wrong> {
    usable(
        address(value)?,
        "write the address that clients connect to, as in `\"192.0.2.80\"` or `\"2001:db8::80\"`",
    )
}

/// An address that can be dialled. IPv4 link-local ones can, without an interface.
pub(super) fn peer_address(value: &Value<'_>) -> Result<IpAddr, Wrong> {
    let address = address(value)?;
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => Ok(address),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => usable(
            address,
            "sessions over link-local addresses are not supported yet; write a global address of the router",
        ),
        address if address.is_loopback() => {
            usable(address, "a BGP daemon on the same host is not supported yet; write the router's address")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => usable(address, "write the router's address, as in `\"10.0.1.1\"`"),
    }
}

/// An IPv6 address that other hosts can send to.
pub(super) fn next_hop_v6(value: &Value<'_>) -> Result<Ipv6Addr, Wrong> {
    let help = "write a global IPv6 address of this host, as in `\"2001:db8:1::11\"`";
    match usable(address(value)?, help)? {
        IpAddr::V6(v6) => Ok(v6),
        IpAddr::V4(v4) => wrong(format!("`{v4}` is no IPv6 address"), help),
    }
}

/// Four octets, not all zero.
pub(super) fn router_id(value: &Value<'_>) -> Result<RouterId, Wrong> {
    let text = text(value)?;
    let Ok(id) = text.parse::<Ipv4Addr>() else {
        let help = "write one of the host's own IPv4 addresses, as in `\"10.0.1.11\"`";
        return wrong(format!("`{}` is no router id", text.escape_debug()), help);
    };
    Ok(RouterId::try_from(id)?)
}
