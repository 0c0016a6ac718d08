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
