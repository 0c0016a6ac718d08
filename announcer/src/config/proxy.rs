//! `send_proxy`: the header of the PROXY protocol, with which a probe begins its connection.
//!
//! Pure. Both versions are of <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. The header has the addresses of the probe's own
//! connection, as if it were that of a client: a VIP connects to itself.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use toml::Value as Toml;

use super::table::table;
use super::value::word;
use super::writer::{self, ToToml};
use crate::model::InvalidValue;

table! {
    /// How a connection begins, before its own protocol.
    pub struct ProxyConfig as Written {
        /// The version of the PROXY protocol; `None`: the connection begins without its header.
        send_proxy: one ProxyVersion, optional "\"v2\"", word,
            "http, tls, tcp, grpc: the version of the PROXY protocol, `v1` or `v2`, whose header the server needs first (`accept-proxy` of HAProxy, `proxy_protocol` of nginx)";
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// The header for a connection between these addresses, its own one first, at most 107 octets. `None`, or two families: it names
    /// no addresses, as for a unix socket.
    pub fn header(self, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        match self {
            ProxyVersion::V1 => v1(addresses).into_bytes(),
            ProxyVersion::V2 => v2(addresses),
        }
    }
}

fn v1(addresses: Option<(SocketAddr, SocketAddr)>) -> String {
    let (family, from, to) = match addresses {
        Some((from @ SocketAddr::V4(_), to @ SocketAddr::V4(_))) => ("TCP4", from, to),
        Some((from @ SocketAddr::V6(_), to @ SocketAddr::V6(_))) => ("TCP6", from, to),
        Some(_) | None => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
}

fn v2(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    /// Version 2, and the commands LOCAL and PROXY.
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    /// The family of the addresses, and TCP.
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    let ports = |from: u16, to: u16| -> [u8; 4] { (u32::from(from) << 16 | u32::from(to)).to_be_bytes() };
    let (command, family, addresses) = match addresses {
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            let ports = ports(from.port(), to.port());
            (PROXY, TCP4, [&from.ip().octets()[..], &to.ip().octets(), &ports].concat())
        }
        Some((SocketAddr::V6(from), SocketAddr::V6(to))) => {
            let ports = ports(from.port(), to.port());
            (PROXY, TCP6, [&from.ip().octets()[..], &to.ip().octets(), &ports].concat())
        }
        Some(_) | None => (LOCAL, 0, vec![]),
    };
    let length = u16::try_from(addresses.len()).unwrap_or_default().to_be_bytes();
    [SIGNATURE, &[command, family], &length, &addresses].concat()
}

impl FromStr for ProxyVersion {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "v1" => Ok(ProxyVersion::V1),
            "v2" => Ok(ProxyVersion::V2),
            other => Err(InvalidValue(format!(
                "`{}` is not a version of the PROXY protocol; write `v1` or `v2`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for ProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        })
    }
}

impl ToToml for ProxyVersion {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_both_ends_of_the_connection() {
        const START: &str = "0d0a0d0a000d0a515549540a";
        for (addresses, line, octets) in [
            (
                Some(("192.0.2.80:51234", "192.0.2.80:443")),
                "PROXY TCP4 192.0.2.80 192.0.2.80 51234 443\r\n",
                "2111000cc0000250c0000250c82201bb",
            ),
            (
                Some(("[2001:db8::80]:1", "[2001:db8::80]:65535")),
                "PROXY TCP6 2001:db8::80 2001:db8::80 1 65535\r\n",
                "2121002420010db800000000000000000000008020010db80000000000000000000000800001ffff",
            ),
            (Some(("192.0.2.80:1", "[::1]:2")), "PROXY UNKNOWN\r\n", "20000000"),
            (None, "PROXY UNKNOWN\r\n", "20000000"),
        ] {
            let addresses = addresses.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
            assert_eq!(String::from_utf8(ProxyVersion::V1.header(addresses)).unwrap(), line);
            let header = ProxyVersion::V2.header(addresses);
            let seen: String = header.iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(seen, format!("{START}{octets}"));
        }
    }
}
