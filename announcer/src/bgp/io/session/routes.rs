//! The routes that a session sends. They are updated when the Loc-RIB, our addresses or the peer's configuration change.
//!
//! Touches the session's connection, and the key's file when the configuration is read again.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::Session;
use crate::bgp::io::connection::Connection;
use crate::bgp::io::dial;
use crate::bgp::io::password::{self, Md5Key, PasswordError};
use crate::bgp::open::{NegotiatedSession, RefreshKind, Restart};
use crate::bgp::outbox::{AckPosition, OutboxChange};
use crate::bgp::path;
use crate::bgp::wire::{self, Encoding, RefreshMarker};
use crate::config::PeerConfig;
use crate::model::{Family, Generation};
use crate::rib::{AdjRibOut, Export, NextHop};

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
}

impl Session {
    pub(super) fn up(&mut self, negotiated: NegotiatedSession) {
        let Some(connection) = &mut self.connection else { return };
        let encoding = Encoding { asn: self.offer.asn, kind: negotiated.kind, as_width: negotiated.as_width };
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
        self.routes = Some(SessionRoutes {
            encoding,
            export: export(&self.peer, connection, &negotiated, &self.vips.borrow(), None),
            negotiated: negotiated.clone(),
            adj_rib_out: AdjRibOut::default(),
            generation: None,
            refresh: BTreeSet::new(),
            stale: true,
        });
        self.status.next_hops =
            self.routes.as_ref().map(|routes| routes.export.next_hops()).unwrap_or_default();
        self.status.negotiated = Some(negotiated);
        self.status.kept_until = None;
        self.status.established += 1;
    }

    /// The configuration was read again: the attributes and the key may differ.
    pub(super) fn reconfigured(&mut self, peer: Arc<PeerConfig>) {
        self.peer = peer;
        self.exports();
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
            Ok(key) => match connection.set_key(key) {
                Ok(()) => info!("key was changed"),
                Err(error) => warn!(%error, "key was not changed"),
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
        let (Some(connection), Some(routes)) = (&mut self.connection, &mut self.routes) else { return };
        if !routes.stale || !connection.outbox.has_room() {
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
