//! The routes that a session sends. They are updated when the Loc-RIB, our addresses or the peer's configuration change.
//!
//! Touches the session's connection, and the key's file when the configuration is read again.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::{Session, now};
use crate::bgp::fsm::{State, StateName};
use crate::bgp::io::connection::Connection;
use crate::bgp::io::dial;
use crate::bgp::io::password::{self, Md5Key, PasswordError};
use crate::bgp::io::resume::ResumedSession;
use crate::bgp::open::{NegotiatedSession, RefreshKind, Restart};
use crate::bgp::outbox::{AckPosition, OutboxChange};
use crate::bgp::path;
use crate::bgp::resume::{SessionSettings, SessionSnapshot};
use crate::bgp::wire::{self, Encoding, RefreshMarker};
use crate::config::PeerConfig;
use crate::model::{Family, Generation};
use crate::monotonic::io::host_start;
use crate::rib::{AdjRibOut, Export, NextHop, Update};

/// The routes of an established session: what was sent, and what is still to be sent.
pub(super) struct SessionRoutes {
    pub(super) negotiated: NegotiatedSession,
    pub(super) encoding: Encoding,
    export: Export,
    adj_rib_out: AdjRibOut,
    /// The generation that was sent last; `None`: the first table was not sent yet.
    generation: Option<Generation>,
    /// Families for which the peer has sent a ROUTE-REFRESH.
    pub(super) refresh: BTreeSet<Family>,
    /// Whether there may be something to send.
    pub(super) stale: bool,
    /// The prefixes that were stored for the next process: those that the peer may have.
    stored: BTreeSet<IpNet>,
}

impl Session {
    pub(super) fn up(&mut self, negotiated: NegotiatedSession) {
        let Some(connection) = &mut self.connection else { return };
        let silence = negotiated.hold_time.unwrap_or_else(|| dial::silence(self.peer.hold_time));
        if let Err(error) = connection.set_silence(silence) {
            debug!(%error, "TCP keepalive was not set");
        }
        if negotiated.hold_time.is_none() && !self.peer.hold_time.is_zero() {
            warn!("router has switched the hold timer off, only TCP keepalive notices that it is gone");
        }
        let tries = self.status.outage.established();
        self.outage_logged = false;
        info!(
            peer_id = %negotiated.peer_id,
            hold_time = negotiated.hold_time.map_or(0, |time| time.as_secs()),
            local = %connection.local,
            tries,
            "session established"
        );
        self.offer.restart = self.offer.restart.take().map(|restart| Restart { restarted: false, ..restart });
        let snapshot = SessionSnapshot {
            peer: self.peer.name.clone(),
            settings: SessionSettings::new(
                self.offer.asn,
                self.offer.router_id,
                self.graceful_restart,
                &self.peer,
            ),
            remote: connection.peer(),
            interface: connection.used.interface,
            own: connection.used.own,
            established: host_start().since(now()),
            negotiated: negotiated.clone(),
        };
        let (written, unsent) = (connection.outbox.written(), connection.outbox.unsent());
        self.store.established(&snapshot, written, unsent, connection.socket());
        connection.store(Arc::clone(&self.store));
        self.carry(negotiated, AdjRibOut::default(), BTreeSet::new());
    }

    /// Continues the session of the former process. It sends nothing until `may_send` is true.
    pub(super) fn resume(&mut self, resumed: ResumedSession, may_send: watch::Receiver<bool>) {
        let (snapshot, heard) = (resumed.snapshot.clone(), resumed.heard);
        let SessionSnapshot { remote, established, negotiated, .. } = snapshot;
        let prefixes = resumed.prefixes.clone();
        let silence = negotiated.hold_time.unwrap_or_else(|| dial::silence(self.peer.hold_time));
        let pinned = self.peer.source_address.is_some();
        let mut connection = match Connection::resumed(resumed, silence, pinned) {
            Ok(connection) => connection,
            Err(error) => {
                warn!(%error, "session of the former process does not continue");
                return self.store.ended();
            }
        };
        connection.store(Arc::clone(&self.store));
        let since = host_start().at(established);
        info!(peer_id = %negotiated.peer_id, local = %connection.local, "session continues");
        self.status.state = StateName::Established;
        self.status.since = since;
        self.status.local_address = Some(connection.local);
        self.status.peer_address = Some(remote.ip());
        self.status.outage.established();
        self.offer.extended_next_hop = remote.is_ipv6() && self.offer.families.contains(&Family::V4);
        self.offer.restart = self.offer.restart.take().map(|restart| Restart { restarted: false, ..restart });
        self.state = State::resumed(since, negotiated.hold_time, heard, now());
        self.connection = Some(connection);
        self.silent = Some(may_send);
        self.status.advertised = prefixes.len(); // so that a stop withdraws them and waits
        self.carry(negotiated, AdjRibOut::resumed(prefixes.clone()), prefixes);
        self.read_key();
    }

    /// Whether the session must not send yet.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// The session carries routes from now on.
    fn carry(&mut self, negotiated: NegotiatedSession, adj_rib_out: AdjRibOut, stored: BTreeSet<IpNet>) {
        let Some(connection) = &self.connection else { return };
        let encoding = Encoding { asn: self.offer.asn, kind: negotiated.kind, as_width: negotiated.as_width };
        let export = export(&self.peer, connection, &negotiated, &self.vips.borrow(), None);
        self.status.next_hops = export.next_hops();
        self.routes = Some(SessionRoutes {
            encoding,
            export,
            negotiated: negotiated.clone(),
            adj_rib_out,
            generation: None,
            refresh: BTreeSet::new(),
            stale: true,
            stored,
        });
        self.status.negotiated = Some(negotiated);
        self.status.kept_until = None;
        self.status.established += 1;
    }

    /// The configuration was read again: the attributes and the key may differ.
    pub(super) fn reconfigured(&mut self, peer: Arc<PeerConfig>) {
        self.peer = peer;
        self.exports();
        self.read_key();
    }

    /// Reads the file of the key again.
    fn read_key(&mut self) {
        if let (Some(file), Some(_)) = (self.peer.password_file.clone(), &self.connection) {
            let files = self.files.clone();
            self.key = Some(Box::pin(async move { password::read(&files, &file).await }));
        }
    }

    /// The file of the key was read again.
    pub(super) fn keyed(&mut self, key: Result<Md5Key, PasswordError>) {
        let Some(connection) = &mut self.connection else { return };
        match key {
            Ok(key) if connection.key.as_ref() == Some(&key) => {}
            Ok(key) => match (connection.key.is_some(), connection.set_key(key)) {
                (true, Ok(())) => info!("key was changed"),
                (false, Ok(())) => {} // of a session that continues: the kernel has the key, and it may be the same
                (_, Err(error)) => warn!(%error, "key was not changed"),
            },
            Err(error) => warn!(%error, "key was not changed"),
        }
    }

    /// Our addresses or the peer's configuration may have changed, and our next hops with them.
    pub(super) fn exports(&mut self) {
        let (Some(connection), Some(routes)) = (&self.connection, &mut self.routes) else { return };
        let before = Some(&routes.export);
        let export = export(&self.peer, connection, &routes.negotiated, &self.vips.borrow(), before);
        routes.stale |= export != routes.export;
        routes.export = export;
        self.status.next_hops = routes.export.next_hops();
    }

    pub(super) fn stale(&mut self) {
        if let Some(routes) = &mut self.routes {
            routes.stale = true;
        }
    }

    /// Sends the changes, unless too many earlier octets are still unread.
    pub(super) fn fill(&mut self) {
        self.status.drained = self.rib.borrow().drained_peers.contains(&self.peer.name);
        let silent = self.is_silent();
        let (Some(connection), Some(routes)) = (&mut self.connection, &mut self.routes) else { return };
        if silent || !routes.stale || !connection.outbox.has_room() {
            return;
        }
        routes.stale = false;
        let want = Arc::clone(&self.rib.borrow_and_update());
        let tail = connection.outbox.tail();
        let sent = &mut self.status.sent;
        let mut news = OutboxChange::Nothing;

        let asked = std::mem::take(&mut routes.refresh);
        let bounded = |family: &&Family| {
            routes.negotiated.refresh == RefreshKind::Enhanced && routes.adj_rib_out.ended(**family)
        };
        let bounded: Vec<Family> = asked.iter().filter(bounded).copied().collect();
        let bound = |tail: &mut Vec<u8>, bound| {
            for family in &bounded {
                if let Err(error) = wire::refresh_bound(tail, *family, bound) {
                    warn!(%error, "ROUTE-REFRESH was not sent");
                }
            }
            bounded.len() as u64
        };
        for family in &asked {
            routes.adj_rib_out.refresh(*family);
        }
        sent.refresh += bound(tail, RefreshMarker::Begin);
        let export = match want.drained_peers.contains(&self.peer.name) {
            true => Cow::Owned(routes.export.withholding()),
            false => Cow::Borrowed(&routes.export),
        };
        for update in routes.adj_rib_out.advance(&want, &export) {
            news = OutboxChange::Updates;
            if let Update::Announce { prefixes, .. } = &update {
                let new: Vec<IpNet> =
                    prefixes.iter().filter(|prefix| !routes.stored.contains(prefix)).copied().collect();
                if !new.is_empty() {
                    self.store.prefixes(&new);
                    routes.stored.extend(new);
                }
            }
            match wire::update(tail, &routes.encoding, &update) {
                Ok(messages) => sent.update += messages,
                Err(error) => warn!(%error, "routes were not announced"),
            }
        }
        sent.refresh += bound(tail, RefreshMarker::End);
        connection
            .outbox
            .mark(AckPosition { generation: want.generation, prefixes: routes.adj_rib_out.len() }, news);
        // The facts in the first table are older than the session, so they are not measured.
        let newer = routes.generation.replace(want.generation).is_some_and(|last| last < want.generation);
        if let (true, OutboxChange::Updates, Some(known)) = (newer, news, want.caused) {
            connection.outbox.mark_cause(known);
        }

        self.status.advertised = routes.adj_rib_out.len();
        let not_sent = routes.adj_rib_out.not_sent();
        for (family, why) in &not_sent {
            if self.status.not_sent.get(family) != Some(why) {
                warn!(%family, reason = %why, label = why.label(), "routes of a family were not sent");
            }
        }
        self.status.not_sent = not_sent;
        debug!(
            generation = want.generation,
            announced = routes.adj_rib_out.len(),
            "current routes were queued for the peer"
        );
    }
}

/// Our next hops on a connection, and the peer's own attributes. A next hop that was advertised before is kept if possible.
fn export(
    peer: &PeerConfig,
    connection: &Connection,
    negotiated: &NegotiatedSession,
    vips: &BTreeSet<IpAddr>,
    before: Option<&Export>,
) -> Export {
    let session = connection.local.ip();
    let before_v6 = before.and_then(|export| match export.next_hop_v6? {
        NextHop::V6(global) | NextHop::V6AndLinkLocal(global, _) => Some(global),
        NextHop::V4(_) => None,
    });
    let before_v4 = before.and_then(|export| match export.next_hop_v4? {
        NextHop::V4(ip) => Some(ip),
        NextHop::V6(_) | NextHop::V6AndLinkLocal(..) => None,
    });
    let global = path::next_hop_v6(session, before_v6, &connection.addresses, vips);
    let next_hop_v6 = match (session, global) {
        // RFC 2545 §3: both addresses, if the session itself shows that the peer is on the link.
        (IpAddr::V6(own), Some(global)) if own.is_unicast_link_local() => {
            Some(NextHop::V6AndLinkLocal(global, own))
        }
        (IpAddr::V6(own), None) if own.is_unicast_link_local() => Some(NextHop::V6(own)),
        (IpAddr::V4(_) | IpAddr::V6(_), global) => global.map(NextHop::V6),
    };
    let next_hop_v4 = match session {
        IpAddr::V4(own) => Some(NextHop::V4(own)),
        IpAddr::V6(_) if negotiated.extended_next_hop => next_hop_v6,
        IpAddr::V6(_) => path::next_hop_v4(before_v4, &connection.addresses, vips).map(NextHop::V4),
    };
    Export {
        peer: Some(peer.name.clone()),
        families: negotiated.families.clone(),
        left_out: [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| !peer.families.contains(family))
            .collect(),
        next_hop_v4,
        next_hop_v6,
        overrides: peer.overrides.clone(),
    }
}
