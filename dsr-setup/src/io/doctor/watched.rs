//! Looks at what the daemon watches all the time: without packets, and without a privilege.
//!
//! Touches rtnetlink, `/proc` and sock_diag. The two halves are separate because the daemon reads files on another thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{proc, routes, sockets, sources};
use crate::Vips;
use crate::doctor::observations::{
    ChosenSource, ConntrackState, Counters, ListeningSocket, Observations, Question, Seen,
};
use crate::io::{Error, sysctl};
use crate::plan::Sysctl;

/// What files and sockets say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFigures {
    /// The counters now.
    pub counters: Seen<Counters>,
    conntrack: Option<ConntrackState>,
    listeners: Seen<Vec<ListeningSocket>>,
    sources: Vec<ChosenSource>,
    arp: BTreeMap<Sysctl, i32>,
}

/// Reads them. Blocks for as long as the kernel needs for its answers.
///
/// # Errors
/// When the ARP settings cannot be read.
pub fn figures(question: &Question) -> Result<HostFigures, Error> {
    Ok(HostFigures {
        counters: proc::counters(),
        conntrack: proc::conntrack(),
        listeners: sockets::listeners(),
        sources: sources(question),
        arp: sysctl::read_all()?,
    })
}

impl Vips {
    /// The snapshot of what is watched. Ways to clients are asked for only if the question names routers. `before` has the counters of an
    /// earlier look; `wall_clock` is in seconds since 1970.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn watched(
        &self,
        question: &Question,
        figures: HostFigures,
        before: Option<Counters>,
        wall_clock: i64,
    ) -> Result<Observations, Error> {
        let handle = self.handle();
        let links = routes::links(handle).await?;
        let addresses = routes::addresses(handle, &links).await?;
        let held: BTreeSet<IpAddr> = addresses.iter().map(|address| address.net.addr()).collect();
        let paths = match question.routers.is_empty() {
            true => Vec::new(),
            false => routes::paths(handle, question, &held).await,
        };
        let HostFigures { counters, conntrack, listeners, sources, arp } = figures;
        let counters = counters.map(|now| (before.unwrap_or(now), now));
        let nothing = Observations::nothing(wall_clock);
        Ok(Observations { links, addresses, paths, sources, arp, listeners, counters, conntrack, ..nothing })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::path::Path;

    use super::*;

    /// Each figure that is missing, or that is that of an idle host, would hide a fault.
    #[test]
    fn every_figure_is_read() {
        let server = TcpListener::bind("127.80.3.2:0").unwrap();
        let SocketAddr::V4(address) = server.local_addr().unwrap() else { panic!("not IPv4") };
        // A destination on this host: there is always a way to it.
        let question = Question { clients: ["127.80.3.2".parse().unwrap()].into(), ..Question::default() };
        let HostFigures { counters, conntrack, listeners, sources, arp } = figures(&question).unwrap();
        assert!(counters.is_ok(), "{counters:?}");
        let listeners = listeners.unwrap();
        let own = listeners
            .iter()
            .find(|socket| (socket.address, socket.port) == ((*address.ip()).into(), address.port()));
        assert!(own.is_some_and(|socket| socket.queue == 0 && socket.backlog > 0), "{listeners:?}");
        assert!(sources.iter().any(|chosen| question.clients.contains(&chosen.to)), "{sources:?}");
        for knob in ["arp_ignore", "arp_announce"] {
            let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/all/{knob}")).unwrap();
            let read =
                arp.iter().find(|(sysctl, _)| sysctl.to_string() == format!("net.ipv4.conf.all.{knob}"));
            assert_eq!(read.map(|(_, value)| value.to_string()).as_deref(), Some(text.trim()), "{arp:?}");
        }
        // A kernel without the module has no table.
        let has_table = Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
        assert_eq!(conntrack.is_some_and(|table| table.max > 0), has_table, "{conntrack:?}");
    }
}
