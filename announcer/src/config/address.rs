//! The values that are addresses, with their rules.
//!
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::value::{Value, ValueError, text, wrong};
use crate::model::RouterId;

pub(super) fn address(value: &Value<'_>) -> Result<IpAddr, ValueError> {
    let text = text(value)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(Ok(alone)) = bare.map(str::parse::<Ipv6Addr>) {
        let help = format!("write only the address: `\"{alone}\"`");
        return wrong(format!("`{}` has brackets", text.escape_debug()), help);
    }
    if let Ok(both) = text.parse::<SocketAddr>() {
        let help = format!("write only the address: `\"{}\"`", both.ip());
        return wrong(format!("`{both}` has a port"), help);
    }
    if let Some((Ok(alone), _)) =
        text.split_once('/').map(|(alone, length)| (alone.parse::<IpAddr>(), length))
    {
        return wrong(
            format!("`{}` has a prefix length", text.escape_debug()),
            format!("write only the address: `\"{alone}\"`"),
        );
    }
    if let Some((Ok(_), _)) = text.split_once('%').map(|(alone, zone)| (alone.parse::<Ipv6Addr>(), zone)) {
        let help = "write only the address; for a peer, add `interface = \"eth0\"`";
        return wrong(format!("`{}` names an interface", text.escape_debug()), help);
    }
    let help = "write an IPv4 or IPv6 address, as in `\"192.0.2.80\"` or `\"2001:db8::80\"`";
    wrong(format!("`{}` is not an address", text.escape_debug()), help)
}

/// The kind of an address that hosts in other networks cannot reach; `None` for an ordinary address.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, 0, 0, 0] => Some("is the unspecified address"),
            [0, ..] => Some("is in 0.0.0.0/8, which no host can have"),
            [127, ..] => Some("is a loopback address"),
            [169, 254, ..] => Some("is link-local"),
            [224..=239, ..] => Some("is a multicast group"),
            [255, 255, 255, 255] => Some("is the broadcast address"),
            [240..=255, ..] => Some("is in 240.0.0.0/4, which is reserved"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("is the unspecified address"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("is the loopback address"),
            [0, 0, 0, 0, 0, 0xffff, ..] => Some("is an IPv4 address written as IPv6"),
            [0, 0, 0, 0, 0, 0, ..] => Some("is in ::/96, which no host can have"),
            [0xfe80..=0xfebf, ..] => Some("is link-local"),
            [0xff00..=0xffff, ..] => Some("is a multicast group"),
            _ => None,
        },
    }
}

pub(super) fn usable(address: IpAddr, help: &str) -> Result<IpAddr, ValueError> {
    let Some(what) = special(address) else { return Ok(address) };
    let plain = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let help = plain.map_or(help.to_owned(), |v4| format!("write `\"{v4}\"`"));
    wrong(format!("`{address}` {what}"), help)
}

/// An address of this host that may be the source of a session.
pub(super) fn source(value: &Value<'_>) -> Result<IpAddr, ValueError> {
    let address = address(value)?;
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Ok(address),
        IpAddr::V4(_) | IpAddr::V6(_) => {
            usable(address, "write an address of this host, as in `\"10.0.1.11\"`")
        }
    }
}

/// The next hop of a service's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextHopValue {
    Own,
    Is(IpAddr),
}

/// `self`, or an address to which other hosts can send.
pub(super) fn next_hop(value: &Value<'_>) -> Result<NextHopValue, ValueError> {
    if value.found.as_str() == Some("self") {
        return Ok(NextHopValue::Own);
    }
    let help = "write `\"self\"`, or addresses of this host, as in `[\"10.0.1.11\", \"2001:db8:1::11\"]`";
    Ok(NextHopValue::Is(usable(address(value)?, help)?))
}

/// A prefix for which other networks can have a route.
pub(super) fn prefix(value: &Value<'_>) -> Result<IpNet, ValueError> {
    const EXAMPLE: &str = "write a network and its length, as in `\"192.0.2.0/24\"`";
    let text = text(value)?;
    let Ok(prefix) = text.parse::<IpNet>() else {
        return wrong(format!("`{}` is not a prefix", text.escape_debug()), EXAMPLE);
    };
    if prefix.prefix_len() == 0 {
        return wrong(format!("`{prefix}` contains every address"), EXAMPLE);
    }
    if prefix != prefix.trunc() {
        return wrong(
            format!("`{prefix}` has host bits that are not zero"),
            format!("write only the network: `\"{}\"`", prefix.trunc()),
        );
    }
    usable(prefix.addr(), EXAMPLE)?;
    Ok(prefix)
}

/// An IPv4 address to which other hosts can send.
pub(super) fn next_hop_v4(value: &Value<'_>) -> Result<Ipv4Addr, ValueError> {
    let help = "write an IPv4 address of this host, as in `\"10.0.1.11\"`";
    match usable(address(value)?, help)? {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(v6) => wrong(format!("`{v6}` is not an IPv4 address"), help),
    }
}

/// An IPv6 address to which other hosts can send.
pub(super) fn next_hop_v6(value: &Value<'_>) -> Result<Ipv6Addr, ValueError> {
    let help = "write a global IPv6 address of this host, as in `\"2001:db8:1::11\"`";
    match usable(address(value)?, help)? {
        IpAddr::V6(v6) => Ok(v6),
        IpAddr::V4(v4) => wrong(format!("`{v4}` is not an IPv6 address"), help),
    }
}

/// Four octets, not all zero.
pub(super) fn router_id(value: &Value<'_>) -> Result<RouterId, ValueError> {
    let text = text(value)?;
    let Ok(id) = text.parse::<Ipv4Addr>() else {
        let help = "write one of the host's own IPv4 addresses, as in `\"10.0.1.11\"`";
        return wrong(format!("`{}` is not a router id", text.escape_debug()), help);
    };
    Ok(RouterId::try_from(id)?)
}
