//! Where the probes of a check go: the one place where VIP, `target`, port and name come together.
//!
//! Pure. Each VIP is asked at itself and from itself, unless `target` names another address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use toml::Value as Toml;
use url::Host;

use super::table::table;
use super::value::{Value, ValueError, text, wrong};
use super::writer::{self, ToToml};

table! {
    struct Written {
        target: one TargetAddress, optional "\"127.0.0.1:8080\"", place,
            "the address that is asked, with a port if it has another one; without it, each VIP";
    }
}

/// Where a probe connects to, from where, and whom it asks for there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What is connected to.
    pub to: SocketAddr,
    /// What the socket is bound to: the VIP, so that a probe fails when the VIP is not on this host, and never asks another
    /// host that has it. `None`: a fixed target is asked from wherever the kernel says.
    pub from: Option<IpAddr>,
    /// The server's name or address as clients write it (the Host field, SNI, the name in the certificate); `None`: the
    /// protocol has none.
    pub host: Option<Host>,
}

impl Endpoint {
    /// Of `vip`, unless there is a `target`; at `port`, unless the target has another.
    pub fn new(vip: IpAddr, target: Option<TargetAddress>, port: u16, host: Option<Host>) -> Self {
        match target {
            Some(TargetAddress { ip, port: own }) => {
                Endpoint { to: SocketAddr::new(ip, own.unwrap_or(port)), from: None, host }
            }
            None => Endpoint { to: SocketAddr::new(vip, port), from: Some(vip), host },
        }
    }
}

/// `target`: an address of its own, and a port where it is not that of the probe.
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
                format!("`{}` is no address", text.escape_debug()),
                "write an address, with a port or without, as in `\"127.0.0.1:8080\"` or `\"[::1]:8080\"`",
            );
        }
    };
    if place.ip.is_unspecified() || place.ip.is_multicast() || place.port == Some(0) {
        return wrong(
            format!("`{place}` cannot be connected to"),
            "write an address that a server listens at",
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
            let want = Endpoint { to: to.parse().unwrap(), from, host: None };
            assert_eq!(Endpoint::new(vip, target, 443, None), want);
        }
    }
}
