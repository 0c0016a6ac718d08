//! The endpoint of the probes of a check. Only this file combines VIP, `target`, port and name.
//!
//! Pure. A probe of a VIP connects to the VIP and from the VIP, unless `target` names another address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use toml::Value as Toml;
use url::Host;

use super::proxy::ProxyVersion;
use super::table::table;
use super::value::{Value, ValueError, text, wrong};
use super::writer::{self, ToToml};

table! {
    struct Written {
        target: one TargetAddress, optional "\"127.0.0.1:8080\"", place,
            "the address that is probed instead of each VIP, with a port if it differs";
    }
}

/// What a probe connects to, from which address, and the name that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address and port to connect to.
    pub to: SocketAddr,
    /// The address to which the socket is bound: the VIP. So a probe fails when the VIP is not on this host, and never reaches
    /// another host with the same VIP. `None`: for a fixed target, the kernel chooses the source.
    pub from: Option<IpAddr>,
    /// The server's name or address as clients write it (the Host field, SNI, the name in the certificate); `None`: the protocol
    /// has no name.
    pub host: Option<Host>,
    /// The header of the PROXY protocol with which the connection begins.
    pub proxy: Option<ProxyVersion>,
}

impl Endpoint {
    /// The endpoint at `vip`, or at `target` if there is one; with `port`, unless the target has its own port.
    pub fn new(vip: IpAddr, target: Option<TargetAddress>, port: u16, host: Option<Host>) -> Self {
        match target {
            Some(TargetAddress { ip, port: own }) => {
                Endpoint { to: SocketAddr::new(ip, own.unwrap_or(port)), from: None, host, proxy: None }
            }
            None => Endpoint { to: SocketAddr::new(vip, port), from: Some(vip), host, proxy: None },
        }
    }
}

/// `target`: an address, and a port if it differs from that of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port, above 0.
    pub port: Option<u16>,
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl ToToml for TargetAddress {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// `ADDRESS` or `ADDRESS:PORT`.
fn place(value: &Value<'_>) -> Result<TargetAddress, ValueError> {
    let text = text(value)?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let place = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(both), _) => TargetAddress { ip: both.ip(), port: Some(both.port()) },
        (Err(_), Ok(ip)) => TargetAddress { ip, port: None },
        (Err(_), Err(_)) => {
            return wrong(
                format!("`{}` is not an address", text.escape_debug()),
                "write an address, with a port or without, as in `\"127.0.0.1:8080\"` or `\"[::1]:8080\"`",
            );
        }
    };
    if place.ip.is_unspecified() || place.ip.is_multicast() || place.port == Some(0) {
        return wrong(
            format!("announcer cannot connect to `{place}`"),
            "write an address on which a server listens",
        );
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_replaces_the_vip_and_its_port_that_of_the_probe() {
        let vip: IpAddr = "192.0.2.80".parse().unwrap();
        for (target, to, from) in [
            (None, "192.0.2.80:443", Some(vip)),
            (Some(("127.0.0.1", None)), "127.0.0.1:443", None),
            (Some(("::1", Some(8080))), "[::1]:8080", None),
        ] {
            let target = target.map(|(ip, port)| TargetAddress { ip: ip.parse().unwrap(), port });
            let want = Endpoint { to: to.parse().unwrap(), from, host: None, proxy: None };
            assert_eq!(Endpoint::new(vip, target, 443, None), want);
        }
    }
}
