//! The endpoint of the probes of a check. Only this file combines VIP, `target`, port and name.
//!
//! Pure. A probe of a VIP connects to the VIP and from the VIP, unless `target` names another address, or a unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use toml::Value as Toml;
use url::Host;

use super::proxy::ProxyVersion;
use super::table::table;
use super::value::{Value, ValueError, text, wrong};
use super::writer::{self, ToToml};

table! {
    struct Written {
        target: one ProbeTarget, optional "\"127.0.0.1:8080\"", place,
            "what is probed instead of each VIP: an address, with a port if it differs; for `http`, `tls`, `tcp` and `grpc` also a unix socket, as in `unix:/run/app.sock`";
    }
}

/// What a probe connects to, from which address, and the name that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What to connect to.
    pub to: ServerAddress,
    /// The address to which the socket is bound: the VIP. So a probe fails when the VIP is not on this host, and never reaches
    /// another host with the same VIP. `None`: for a fixed target, the kernel chooses the source.
    pub from: Option<IpAddr>,
    /// The server's name or address as clients write it (the Host field, SNI, the name in the certificate); `None`: the protocol
    /// has no name.
    pub host: Option<Host>,
    /// The header of the PROXY protocol with which the connection begins.
    pub proxy: Option<ProxyVersion>,
    /// The VRF to whose device the socket is bound, so that it uses the routes and addresses of the VRF alone; `None`: it is bound to
    /// none. A unix socket is in no VRF.
    pub vrf: Option<String>,
}

/// What a probe connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// The address and port.
    Ip(SocketAddr),
    /// A unix socket of this host.
    Unix(SocketPath),
}

impl ServerAddress {
    /// The address and port; `None`: a unix socket has none.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            ServerAddress::Ip(address) => Some(*address),
            ServerAddress::Unix(_) => None,
        }
    }
}

impl Endpoint {
    /// The endpoint at `vip`, or at `target` if there is one; with `port`, unless the target has its own port, or none.
    pub fn new(vip: IpAddr, target: Option<&ProbeTarget>, port: u16, host: Option<Host>) -> Self {
        match target {
            Some(ProbeTarget::Address(TargetAddress { ip, port: own })) => {
                let to = ServerAddress::Ip(SocketAddr::new(*ip, own.unwrap_or(port)));
                Endpoint { to, from: None, host, proxy: None, vrf: None }
            }
            Some(ProbeTarget::Socket(path)) => {
                Endpoint { to: ServerAddress::Unix(path.clone()), from: None, host, proxy: None, vrf: None }
            }
            None => Endpoint {
                to: ServerAddress::Ip(SocketAddr::new(vip, port)),
                from: Some(vip),
                host,
                proxy: None,
                vrf: None,
            },
        }
    }
}

/// `target`: what is probed instead of each VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// An address.
    Address(TargetAddress),
    /// A unix socket.
    Socket(SocketPath),
}

impl ProbeTarget {
    /// The address; `None`: it is a unix socket.
    pub fn address(&self) -> Option<TargetAddress> {
        match self {
            ProbeTarget::Address(address) => Some(*address),
            ProbeTarget::Socket(_) => None,
        }
    }

    /// The path; `None`: it is an address.
    pub fn socket(&self) -> Option<&SocketPath> {
        match self {
            ProbeTarget::Socket(path) => Some(path),
            ProbeTarget::Address(_) => None,
        }
    }
}

/// An address, and a port if it differs from that of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetAddress {
    /// The address.
    pub ip: IpAddr,
    /// The port, above 0.
    pub port: Option<u16>,
}

/// The absolute path of a unix socket, at most [`MOST_SOCKET_PATH`] octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath(String);

/// The longest path of a unix socket in octets (unix(7)).
pub const MOST_SOCKET_PATH: usize = 107;

/// How a target that is a unix socket begins.
pub const UNIX: &str = "unix:";

impl SocketPath {
    /// The path.
    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeTarget::Address(TargetAddress { ip, port: Some(port) }) => {
                SocketAddr::new(*ip, *port).fmt(f)
            }
            ProbeTarget::Address(TargetAddress { ip, port: None }) => ip.fmt(f),
            ProbeTarget::Socket(SocketPath(path)) => write!(f, "{UNIX}{path}"),
        }
    }
}

impl ToToml for ProbeTarget {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// `ADDRESS`, `ADDRESS:PORT` or `unix:PATH`.
fn place(value: &Value<'_>) -> Result<ProbeTarget, ValueError> {
    let text = text(value)?;
    if let Some(path) = text.strip_prefix(UNIX) {
        return socket(path);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let place = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(both), _) => TargetAddress { ip: both.ip(), port: Some(both.port()) },
        (Err(_), Ok(ip)) => TargetAddress { ip, port: None },
        (Err(_), Err(_)) if text.starts_with('/') => {
            let help = format!("write `target = \"{UNIX}{}\"`", text.escape_debug());
            return wrong("a unix socket is written with `unix:` before its path", help);
        }
        (Err(_), Err(_)) => {
            return wrong(
                format!("`{}` is not an address", text.escape_debug()),
                "write an address, with a port or without, as in `\"127.0.0.1:8080\"` or `\"[::1]:8080\"`, or a unix socket, as in `\"unix:/run/app.sock\"`",
            );
        }
    };
    if place.ip.is_unspecified() || place.ip.is_multicast() || place.port == Some(0) {
        return wrong(
            format!("announcer cannot connect to `{}`", ProbeTarget::Address(place)),
            "write an address on which a server listens",
        );
    }
    Ok(ProbeTarget::Address(place))
}

/// The path of a unix socket.
fn socket(path: &str) -> Result<ProbeTarget, ValueError> {
    const EXAMPLE: &str = "write the absolute path of the server's socket, as in `\"unix:/run/app.sock\"`";
    if path.starts_with('@') {
        return wrong("abstract unix sockets, which begin with `@`, are not supported", EXAMPLE);
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains(char::is_control) {
        return wrong(format!("`{}` is not an absolute path of a socket", path.escape_debug()), EXAMPLE);
    }
    if path.len() > MOST_SOCKET_PATH {
        let message = format!(
            "the path of a unix socket has at most {MOST_SOCKET_PATH} octets, and this one {}",
            path.len()
        );
        return wrong(message, "let the server listen on a socket with a shorter path");
    }
    Ok(ProbeTarget::Socket(SocketPath(path.to_owned())))
}

#[cfg(test)]
impl ProbeTarget {
    /// The target of this text.
    pub(crate) fn of_test(text: &str) -> Self {
        crate::config::tests::a_check(&format!("tcp = 80\ntarget = \"{text}\"")).target.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_replaces_the_vip_and_its_port_that_of_the_probe() {
        let vip: IpAddr = "192.0.2.80".parse().unwrap();
        for (target, to, from) in [
            (None, "192.0.2.80:443", Some(vip)),
            (Some("127.0.0.1"), "127.0.0.1:443", None),
            (Some("[::1]:8080"), "[::1]:8080", None),
        ] {
            let target = target.map(ProbeTarget::of_test);
            let want = Endpoint {
                to: ServerAddress::Ip(to.parse().unwrap()),
                from,
                host: None,
                proxy: None,
                vrf: None,
            };
            assert_eq!(Endpoint::new(vip, target.as_ref(), 443, None), want);
        }
        let socket = ProbeTarget::of_test("unix:/run/app.sock");
        let to = ServerAddress::Unix(SocketPath("/run/app.sock".into()));
        assert_eq!(
            Endpoint::new(vip, Some(&socket), 443, None),
            Endpoint { to, from: None, host: None, proxy: None, vrf: None }
        );
        assert_eq!(socket.to_string(), "unix:/run/app.sock");
    }

    #[test]
    fn the_longest_path_of_a_socket_is_107_octets() {
        for (length, is_right) in [(107, true), (108, false)] {
            let path = format!("/{}", "x".repeat(length - 1));
            assert_eq!(socket(&path).is_ok(), is_right, "{length}");
        }
    }
}
