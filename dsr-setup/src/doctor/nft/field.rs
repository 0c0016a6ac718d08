//! The values of a packet that rules compare.
//!
//! Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Arriving, PacketKind, Truth};

/// A value of the packet.
pub(super) enum Field {
    /// The packet has no such field.
    None,
    Text(Vec<&'static str>),
    Name(String),
    Number(u64),
    Address(IpAddr),
}

impl Field {
    pub(super) fn is_text(&self, text: &str) -> Truth {
        let is = match self {
            Field::Text(words) => words.contains(&text),
            Field::Name(name) => match text.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == text,
            },
            Field::Address(address) => match text.parse::<IpAddr>() {
                Ok(other) => other == *address,
                Err(_) => return Truth::Unknown,
            },
            Field::Number(_) => return Truth::Unknown,
            Field::None => false,
        };
        if is { Truth::Yes } else { Truth::No }
    }

    pub(super) fn is_number(&self, number: Option<u64>) -> Truth {
        match (self, number) {
            (Field::Number(own), Some(number)) if *own == number => Truth::Yes,
            (Field::Number(_), Some(_)) | (Field::None, _) => Truth::No,
            (Field::Number(_), None) | (Field::Text(_) | Field::Name(_) | Field::Address(_), _) => {
                Truth::Unknown
            }
        }
    }

    pub(super) fn is_in_prefix(&self, prefix: &Value) -> Truth {
        let address = prefix.get("addr").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let length = prefix.get("len").and_then(Value::as_u64).and_then(|length| u8::try_from(length).ok());
        match (self, address.zip(length).and_then(|(address, length)| IpNet::new(address, length).ok())) {
            (Field::Address(own), Some(net)) if net.contains(own) => Truth::Yes,
            (Field::Address(_), Some(_)) => Truth::No,
            (Field::None | Field::Text(_) | Field::Name(_) | Field::Number(_) | Field::Address(_), _) => {
                Truth::Unknown
            }
        }
    }

    pub(super) fn is_in_range(&self, first: &Value, last: &Value) -> Truth {
        let is = match self {
            Field::Number(own) => match (first.as_u64(), last.as_u64()) {
                (Some(first), Some(last)) => (first..=last).contains(own),
                (_, _) => return Truth::Unknown,
            },
            Field::Address(own) => {
                let address = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
                match (address(first), address(last)) {
                    (Some(first), Some(last)) => first <= *own && *own <= last,
                    (_, _) => return Truth::Unknown,
                }
            }
            Field::None | Field::Text(_) | Field::Name(_) => return Truth::Unknown,
        };
        if is { Truth::Yes } else { Truth::No }
    }
}

/// The value of the packet that `left` names; `None`: it is not known.
pub(super) fn field(left: &Value, packet: Arriving<'_>) -> Option<Field> {
    let (name, of) = left.as_object()?.iter().next()?;
    let key = of.get("key").and_then(Value::as_str);
    let is_v4 = packet.to.is_ipv4();
    let port = match packet.kind {
        PacketKind::Syn(port) | PacketKind::Invalid(port) => Some(port),
        PacketKind::TooBig => None,
    };
    let protocol = || match (port, is_v4) {
        (Some(_), _) => Field::Text(vec!["tcp"]),
        (None, true) => Field::Text(vec!["icmp"]),
        (None, false) => Field::Text(vec!["ipv6-icmp", "icmpv6"]),
    };
    Some(match (name.as_str(), key) {
        ("ct", Some("state")) => Field::Text(vec![match packet.kind {
            PacketKind::Syn(_) => "new",
            PacketKind::TooBig => "related",
            PacketKind::Invalid(_) => "invalid",
        }]),
        ("meta", Some("iif" | "iifname")) => Field::Name(packet.interface.to_owned()),
        ("meta", Some("nfproto")) => Field::Text(vec![if is_v4 { "ipv4" } else { "ipv6" }]),
        ("meta", Some("protocol")) => Field::Text(vec![if is_v4 { "ip" } else { "ip6" }]),
        ("meta", Some("l4proto")) => protocol(),
        ("fib", _) if is_daddr_type(of) => Field::Text(vec!["local"]),
        ("payload", _) => {
            let of = |name: &str| of.get(name).and_then(Value::as_str);
            match (of("protocol")?, of("field")?) {
                ("ip", "daddr") if is_v4 => Field::Address(packet.to),
                ("ip6", "daddr") if !is_v4 => Field::Address(packet.to),
                ("ip", _) if !is_v4 => Field::None,
                ("ip6", _) if is_v4 => Field::None,
                ("ip", "protocol") | ("ip6", "nexthdr") => protocol(),
                ("tcp" | "th", "dport") => port.map_or(Field::None, |port| Field::Number(port.into())),
                ("udp" | "sctp" | "dccp", _) => Field::None,
                ("tcp", _) if port.is_none() => Field::None,
                ("icmp", _) if !is_v4 || port.is_some() => Field::None,
                ("icmpv6", _) if is_v4 || port.is_some() => Field::None,
                ("icmp", "type") => Field::Text(vec!["destination-unreachable"]),
                ("icmp", "code") => Field::Text(vec!["frag-needed"]),
                ("icmpv6", "type") => Field::Text(vec!["packet-too-big"]),
                (_, _) => return None,
            }
        }
        (_, _) => return None,
    })
}

fn is_daddr_type(fib: &Value) -> bool {
    let flags = fib.get("flags").and_then(Value::as_array).map(Vec::as_slice);
    fib.get("result").and_then(Value::as_str) == Some("type")
        && matches!(flags, Some([flag]) if flag.as_str() == Some("daddr"))
}
