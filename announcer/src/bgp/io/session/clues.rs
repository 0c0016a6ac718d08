//! What a session knows of the cause when it fails: what the kernel has dropped, what the try has shown, and our settings.
//!
//! Touches the session's connection.

use tracing::warn;

use super::Session;
use crate::bgp::hint::{Clues, KernelCounter, LocalSettings, Setting};
use crate::bgp::io::connection::Connection;

impl Session {
    /// Stores the number of segments that the kernel has dropped, before the connection ends.
    pub(super) fn look_for_drops(&mut self) {
        if self.peer.ttl_security && self.connection.as_ref().is_some_and(Connection::drops) {
            self.clues.counters.insert(KernelCounter::LowTtl);
        }
        self.clues.large_lost = self.connection.as_ref().is_some_and(|connection| connection.large_lost);
    }

    /// Stores the clues of a try. A warning about its key is logged once.
    pub(super) fn record_clues(&mut self, clues: Clues) {
        if let Some(contains) = clues.key.filter(|_| clues.key != self.odd_key) {
            warn!(contains, "key may contain a mistake");
        }
        self.odd_key = clues.key;
        self.clues = clues;
    }

    pub(super) fn clues(&self) -> Clues {
        let settings = [
            (Setting::Password, self.peer.password_file.is_some()),
            (Setting::TtlSecurity, self.peer.ttl_security),
            (Setting::NoCapabilities, !self.offer.capabilities),
            (Setting::GracefulRestart, self.offer.restart.is_some()),
        ];
        Clues {
            ours: LocalSettings {
                asn: self.offer.asn.get(),
                families: self.offer.families.clone(),
                hold_time: self.peer.hold_time,
                multihop: self.peer.multihop,
                settings: settings.into_iter().filter(|(_, set)| *set).map(|(setting, _)| setting).collect(),
            },
            ..self.clues.clone()
        }
    }
}
