//! The networks of the scenarios: where frontends and routers are, and what the chain has to know of it.
//!
//! Pure. The addresses are those of the scripts in `lab/nodes/lan` and `lab/nodes/scale`.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use lab::generate;

pub(crate) const ROUTERS: u16 = 2;

/// How frontends and routers reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The topology `lan`: all are in one LAN, which is the segment of the chain.
    Lan,
    /// The topology `scale`: each frontend has a routed link to each router, as hosts of different racks. The segment of the chain is a
    /// VXLAN between the addresses that the frontends have on lo.
    Routed,
}

impl Network {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Network::Lan => "one LAN",
            Network::Routed => "routed links and a VXLAN",
        }
    }

    /// The topology's name, and its file.
    pub(crate) fn topology(self, frontends: u16) -> (&'static str, String) {
        match self {
            Network::Lan => ("lan", generate::lan(frontends, ROUTERS)),
            Network::Routed => ("scale", generate::scale(frontends, ROUTERS)),
        }
    }

    /// The script in the node of a frontend that makes it one.
    pub(crate) fn script(self) -> &'static str {
        match self {
            Network::Lan => "/lan/frontend",
            Network::Routed => "/scale/frontend",
        }
    }

    /// The interfaces of a frontend.
    pub(crate) fn links(self) -> Vec<String> {
        match self {
            Network::Lan => vec!["eth1".to_owned()],
            Network::Routed => (1..=ROUTERS).map(|router| format!("eth{router}")).collect(),
        }
    }

    /// Which next hop of router `router`, from 1 on, is this frontend, in the family of `vip`.
    pub(crate) fn next_hop(self, router: u16, frontend: &str, vip: &str) -> Result<IpAddr> {
        let host = number(frontend)?;
        let text = match (self, vip.contains(':')) {
            (Network::Lan, false) => format!("10.100.0.{}", 10 + host),
            (Network::Lan, true) => format!("2001:db8:100::{}", 10 + host),
            (Network::Routed, false) => format!("10.{router}.{host}.1"),
            (Network::Routed, true) => format!("2001:db8:{router}:{host}::2"),
        };
        Ok(text.parse()?)
    }

    /// `[chain]` of every frontend.
    pub(crate) fn chain(self, frontends: &[String]) -> Result<String> {
        let member = |frontend: &String| -> Result<String> {
            Ok(match self {
                Network::Lan => self.next_hop(1, frontend, "")?.to_string(),
                Network::Routed => format!("10.0.0.{}", number(frontend)?),
            })
        };
        let members = frontends.iter().map(member).collect::<Result<Vec<_>>>()?;
        let vxlan = match self {
            Network::Lan => "",
            Network::Routed => "vxlan = 4242\n",
        };
        Ok(format!(
            "\n[chain]\ninterface = \"eth1\"\nmembers = {members:?}\nkey_file = \"/etc/announcer/chain.key\"\n{vxlan}"
        ))
    }

    /// How long the routers send packets to a host that has lost its power, or the ring leads over it, whichever is longer: the
    /// detection time of BFD (300 ms x 3), or three heartbeats, because a router sees at once that a link of its own has no carrier.
    pub(crate) fn detection(self) -> Duration {
        match self {
            Network::Lan => Duration::from_millis(900),
            Network::Routed => Duration::from_millis(300),
        }
    }
}

/// `fe3`: 3.
pub(crate) fn number(frontend: &str) -> Result<u8> {
    Ok(frontend.trim_start_matches("fe").parse()?)
}
