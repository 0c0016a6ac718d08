//! Router discovery: learns the routers of unnumbered sessions from their advertisements, and advertises this host to them.
//!
//! Touches a raw socket of ICMPv6, rtnetlink and the clock. [`discovery`](crate::bgp::discovery) decides. The socket is opened when the
//! configuration has such a session, and needs CAP_NET_RAW then.

mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use self::socket::DiscoverySocket;
use crate::bgp::discovery::{DiscoverySendKind, LearntRouters, RouterDiscovery, message};
use crate::bgp::io::path;
use crate::bgp::path::Network;
use crate::config::{Config, PeerAddress};

/// The wait before a message that was not sent is sent again: an address may be tentative (RFC 4862).
const AGAIN: Duration = Duration::from_secs(1);
/// The wait before the socket is opened again after a failure.
const REOPEN: Duration = Duration::from_secs(10);
/// The most messages that are read at a time; the kernel drops others when its buffer is full.
const BATCH: usize = 256;

/// The channels of the task.
#[derive(Debug, Clone)]
pub struct DiscoveryChannels {
    /// The configuration, which names the interfaces.
    pub configs: watch::Receiver<Arc<Config>>,
    /// The host's links and addresses.
    pub network: watch::Receiver<Arc<Network>>,
    /// The routers, for the sessions and BFD.
    pub routers: watch::Sender<Arc<LearntRouters>>,
    /// For `status`, one sentence each.
    pub warnings: watch::Sender<Vec<String>>,
}

/// The state of the task.
struct DiscoveryTask {
    discovery: RouterDiscovery,
    socket: Option<DiscoverySocket>,
    /// When the socket is opened again, and why it is closed.
    failed: Option<(Instant, String)>,
    /// The default routes from advertisements, as last read, and the number of the network's default routes then.
    default_routes: (Option<u64>, BTreeMap<u32, Ipv6Addr>),
}

/// Publishes the routers, for ever.
pub async fn run(mut channels: DiscoveryChannels) {
    let mut task = DiscoveryTask {
        discovery: RouterDiscovery::resumed(&channels.routers.borrow().clone(), now()),
        socket: None,
        failed: None,
        default_routes: (None, BTreeMap::new()),
    };
    loop {
        let config = Arc::clone(&channels.configs.borrow_and_update());
        let network = Arc::clone(&channels.network.borrow_and_update());
        let wanted = interfaces(&config);
        task.open(&wanted);
        task.discovery.follow(&wanted, &network, now());
        task.turn();
        task.read_default_routes(&config, &network).await;
        task.publish(&channels, &config, &network);
        let deadline = task.deadline();
        tokio::select! {
            changed = channels.configs.changed() => if changed.is_err() { return },
            changed = channels.network.changed() => if changed.is_err() { return },
            () = readable(task.socket.as_ref()) => {}
            () = async { match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            } } => {}
        }
    }
}

/// The interfaces of unnumbered sessions.
fn interfaces(config: &Config) -> BTreeSet<String> {
    let learnt = config.peers.iter().filter(|peer| peer.address == PeerAddress::RouterAdvertisement);
    learnt.filter_map(|peer| peer.interface.clone()).collect()
}

async fn readable(socket: Option<&DiscoverySocket>) {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl DiscoveryTask {
    /// Opens the socket if there is an interface for it, and closes it if there is none.
    fn open(&mut self, wanted: &BTreeSet<String>) {
        if wanted.is_empty() {
            (self.socket, self.failed) = (None, None);
            return;
        }
        if self.socket.is_some() || self.failed.as_ref().is_some_and(|(again, _)| now() < *again) {
            return;
        }
        match DiscoverySocket::open() {
            Ok(socket) => (self.socket, self.failed) = (Some(socket), None),
            Err(error) => {
                let why = socket::sentence(&error);
                if self.failed.as_ref().is_none_or(|(_, known)| *known != why) {
                    warn!("{why}");
                }
                self.failed = Some((now() + REOPEN, why));
            }
        }
    }

    /// Reads what has arrived, then sends what is due.
    fn turn(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        socket.join(&self.discovery.interfaces());
        for _ in 0..BATCH {
            let Some(received) = socket.receive() else { break };
            match message::read(received.octets, received.source, received.hop_limit) {
                Ok(message) => {
                    self.discovery.heard(
                        received.interface,
                        received.source,
                        message,
                        fastrand::f64(),
                        now(),
                    );
                }
                Err(flaw) => {
                    debug!(source = %received.source, reason = %flaw, "message of router discovery was ignored")
                }
            }
        }
        for send in self.discovery.due(now()) {
            let sent = match send.kind {
                DiscoverySendKind::Advertisement => {
                    socket.send(send.interface, send.source, socket::ALL_NODES, &message::advertisement())
                }
                DiscoverySendKind::Solicitation => {
                    socket.send(send.interface, send.source, socket::ALL_ROUTERS, &message::solicitation())
                }
            };
            if let Err(error) = sent {
                debug!(%error, source = %send.source, "message of router discovery was not sent");
                self.discovery.not_sent(send, AGAIN, now());
            }
        }
    }

    /// When there is something to do besides what arrives.
    fn deadline(&self) -> Option<Instant> {
        let reopen = self.failed.as_ref().map(|(again, _)| *again);
        let sends = self.socket.as_ref().and_then(|_| self.discovery.deadline());
        reopen.into_iter().chain(sends).min()
    }

    /// Reads the default routes that the host has taken from advertisements, if that is of interest and one may have changed.
    async fn read_default_routes(&mut self, config: &Config, network: &Network) {
        let is_watched = config
            .peers
            .iter()
            .any(|peer| peer.address == PeerAddress::RouterAdvertisement && !peer.default_route);
        if !is_watched {
            self.default_routes = (None, BTreeMap::new());
        } else if self.default_routes.0 != Some(network.default_routes) {
            match path::advertised_default_routes().await {
                Ok(found) => self.default_routes = (Some(network.default_routes), found),
                Err(error) => debug!(%error, "default routes were not read"),
            }
        }
    }

    fn publish(&self, channels: &DiscoveryChannels, config: &Config, network: &Network) {
        let failure = self.failed.as_ref().map(|(_, why)| why.clone());
        let new = LearntRouters { links: self.discovery.routers(), failure };
        channels.routers.send_if_modified(|known| {
            if **known == new {
                return false;
            }
            for (interface, link) in &new.links {
                if known.of(interface) != Some(link.router) {
                    info!(interface, router = %link.router, "router was learnt from its advertisement");
                }
            }
            for interface in known.links.keys().filter(|interface| !new.links.contains_key(*interface)) {
                info!(interface, "no router advertises itself any more");
            }
            *known = Arc::new(new.clone());
            true
        });
        let mut warnings = new.warnings();
        warnings.extend(config.peers.iter().filter_map(|peer| {
            let interface = peer
                .interface
                .as_ref()
                .filter(|_| peer.address == PeerAddress::RouterAdvertisement && !peer.default_route)?;
            let (index, _) = network.links.iter().find(|(_, link)| link.name == *interface)?;
            let router = self.default_routes.1.get(index)?;
            Some(unwanted_default_route(interface, *router))
        }));
        channels.warnings.send_if_modified(|known| {
            let failure = new.failure.as_ref();
            let news =
                warnings.iter().filter(|warning| !known.contains(warning) && Some(*warning) != failure);
            news.for_each(|warning| warn!("{warning}"));
            let is_news = *known != warnings;
            *known = warnings.clone();
            is_news
        });
    }
}

/// The warning of a default route that this host has taken from the advertisements of a router.
fn unwanted_default_route(interface: &str, router: Ipv6Addr) -> String {
    format!(
        "this host has a default route over {router} on `{interface}` from its router advertisements: if it is not wanted, set \
         `net.ipv6.conf.{interface}.accept_ra_defrtr = 0` (with systemd-networkd `UseGateway=no` in `[IPv6AcceptRA]`) and remove the route; if \
         it is, write `default_route = true` in the `[[peer]]`"
    )
}
