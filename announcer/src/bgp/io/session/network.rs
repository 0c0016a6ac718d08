//! The reaction of a session to changes of the host's network: a link that is down, a lost address, another way to the peer.
//!
//! Touches rtnetlink, through [`dial`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::{Session, now};
use crate::bgp::fsm::Event;
use crate::bgp::io::dial;
use crate::bgp::path::{Network, PathState, known_peer};
use crate::bgp::plan::PathComparison;
use crate::bgp::reason::TcpFailure;
use crate::config::PeerAddress;

/// How long another way to the peer has to exist before the session restarts because of it.
const SETTLED: Duration = Duration::from_secs(3);

/// The state of the way to the peer.
#[derive(Default)]
pub(super) struct PathWatch {
    /// A running query to the kernel.
    pub(super) question: Option<super::BoxedFuture<super::PathLookup>>,
    /// Whether the network has changed during the query.
    again: bool,
    /// The host's network at the start of the query.
    network_at_question: Arc<Network>,
    /// The last answer: the host's network at that time, the peer's address, and the interface.
    located: Option<(Arc<Network>, IpAddr, u32)>,
    /// When the other way has existed for long enough.
    pub(super) settles: Option<std::time::Instant>,
}

impl Session {
    /// Compares the connection with the current network, also if the network has not changed.
    pub(super) fn stand(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let network = Arc::clone(&self.network.borrow());
        let failure = match connection.used.judge(&network) {
            PathState::Intact => return,
            PathState::LinkDown(name) => TcpFailure::LinkDown(name),
            PathState::InterfaceGone => TcpFailure::InterfaceGone,
            PathState::AddressGone(ip) => TcpFailure::AddressGone(ip),
        };
        self.handle(Event::TcpFails(failure));
    }

    /// The routers that advertise themselves have changed: the session ends when the advertisement of its router has run out. One that
    /// has not been heard yet by this process, after a takeover, is not missed.
    pub(super) fn routers_changed(&mut self) {
        let routers = Arc::clone(&self.routers.borrow_and_update());
        self.stand(); // a link that went down is the better reason
        let (Some(connection), Some(interface)) = (&mut self.connection, &self.peer.interface) else {
            return;
        };
        if self.peer.address != PeerAddress::RouterAdvertisement {
            return;
        }
        let is_heard = routers.has(interface, connection.used.peer);
        let was_heard = std::mem::replace(&mut connection.router_heard, is_heard);
        if was_heard && !is_heard {
            self.handle(Event::TcpFails(TcpFailure::RouterGone));
        }
    }

    /// The network has changed.
    pub(super) fn network_changed(&mut self) {
        let network = Arc::clone(&self.network.borrow_and_update());
        self.stand();
        let Some(connection) = &mut self.connection else { return };
        if !network.addresses.is_empty() {
            connection.addresses = network.of(connection.used.interface).to_vec();
            self.exports();
        }
        self.look_for_the_way();
    }

    /// Asks the kernel which way a new session would take.
    fn look_for_the_way(&mut self) {
        if self.path_watch.question.is_some() {
            self.path_watch.again = true;
            return;
        }
        let peer = Arc::clone(&self.peer);
        let network = Arc::clone(&self.network.borrow());
        let used = self.connection.as_ref().map(|connection| &connection.used);
        let located = self.path_watch.located.as_ref();
        let located = located.map(|(before, address, interface)| (&**before, *address, *interface));
        let known = known_peer(peer.address, used, located, &network);
        let routers = Arc::clone(&self.routers.borrow());
        self.path_watch.network_at_question = network;
        self.path_watch.question = Some(Box::pin(async move { dial::locate(&peer, known, &routers).await }));
    }

    /// The kernel has answered.
    pub(super) fn found_the_way(&mut self, answer: super::PathLookup) {
        self.path_watch.question = None;
        let Some(connection) = &mut self.connection else { return };
        // An error here does not end the session; the hold timer and the link decide about that.
        let now_taken = answer.ok();
        let network_at_question = std::mem::take(&mut self.path_watch.network_at_question);
        self.path_watch.located =
            now_taken.map(|(address, path)| (network_at_question, address, path.interface));
        if connection.used.moved(now_taken) {
            self.path_watch.settles = self.path_watch.settles.or(Some(now() + SETTLED));
        } else {
            self.path_watch.settles = None;
            self.status.path = PathComparison::Same;
            if let Some((_, path)) = now_taken.filter(|(_, path)| path.interface != connection.used.interface)
            {
                // A session that does not use an address of its interface continues over the other interface.
                let network = Arc::clone(&self.network.borrow());
                connection.used.interface = path.interface;
                connection.addresses = network.of(path.interface).to_vec();
                let local = connection.used.local;
                connection.used.own = connection.addresses.iter().any(|ours| ours.ip == local);
                self.exports();
            }
        }
        if std::mem::take(&mut self.path_watch.again) {
            self.look_for_the_way();
        }
    }

    /// Another way has existed for long enough. The owner of the sessions restarts them, one after the other.
    pub(super) fn way_settled(&mut self) {
        self.path_watch.settles = None;
        if self.connection.is_some() && self.status.path == PathComparison::Same {
            info!("another way to the peer was found, the session restarts over it");
            self.status.path = PathComparison::Other;
        }
    }
}
