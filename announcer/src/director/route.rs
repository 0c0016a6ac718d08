//! What has to be known of a VIP's route to tell whether a router has acknowledged it.
//!
//! Pure.

use std::net::IpAddr;

use super::Director;
use crate::config::ServiceConfig;
use crate::model::{Family, Generation, Recipients};

/// The route of an announced VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipRoute {
    /// The generation of the Loc-RIB in which the route got its present attributes. A router that has acknowledged this generation
    /// has acknowledged the route, whatever has changed for other VIPs since then.
    pub generation: Generation,
    /// Where its next hop comes from.
    pub next_hop: NextHopSource,
    /// The routers that get it.
    pub recipients: Recipients,
}

/// Where the next hop of a route comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHopSource {
    /// The service configures it, so that a session needs none of its own.
    Service,
    /// Each session has its own.
    Session,
}

impl Director {
    /// The route of a VIP; `None` while it is not announced.
    pub(super) fn route_of(&self, address: IpAddr, service: &ServiceConfig) -> Option<VipRoute> {
        let prefix = service.prefix_of(address);
        let attributes = self.routes.get(&prefix)?;
        let own = match Family::of(address) {
            Family::V4 => attributes.next_hop_v4.is_some(),
            Family::V6 => attributes.next_hop_v6.is_some(),
        };
        Some(VipRoute {
            generation: self.route_generations.get(&prefix).copied()?,
            next_hop: if own { NextHopSource::Service } else { NextHopSource::Session },
            recipients: attributes.recipients.clone(),
        })
    }
}
