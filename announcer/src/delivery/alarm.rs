//! When it is an alarm that a VIP was sent to no router: the lines of the log and the warnings.
//!
//! Pure. A new route needs a moment to be acknowledged, and at a start the sessions need some seconds. So a route that no router has
//! acknowledged is an alarm after [`PATIENCE`]; at once if it was acknowledged and no session sends it any more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{RouterSession, deliveries};
use crate::director::Figures;
use crate::model::ServiceName;

/// For how long a route may be without an acknowledgement before this is an alarm.
const PATIENCE: Duration = Duration::from_secs(10);

/// The announced VIPs, and since when no router has acknowledged their routes.
#[derive(Debug, Clone, Default)]
pub struct DeliveryAlarm {
    vips: BTreeMap<IpAddr, (ServiceName, Phase)>,
    /// Whether a session was established at the last look.
    connected: bool,
    /// Whether it was reported that no session is established, and no VIP was sent again since then.
    reported: bool,
}

/// How a VIP's route is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No router has acknowledged it since it is announced. This is an alarm from then on.
    New(Instant),
    /// A router has acknowledged it.
    Acknowledged,
    /// It was acknowledged, has changed, and is being sent. This is an alarm from then on.
    Changed(Instant),
    /// This was reported.
    Lost,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryNews {
    /// No session is established, and these VIPs are announced.
    NoRouterLeft {
        /// How many.
        vips: usize,
    },
    /// Sessions are established, but none of them carries the routes of these VIPs of a service.
    Lost {
        /// The service.
        service: ServiceName,
        /// The first of the VIPs.
        first: IpAddr,
        /// How many.
        vips: usize,
    },
    /// A router has acknowledged the routes of these VIPs again.
    SentAgain {
        /// How many.
        vips: usize,
    },
}

impl DeliveryAlarm {
    /// Looks at all VIPs; returns the lines for the log.
    #[must_use]
    pub fn observe(
        &mut self,
        figures: &Figures,
        routers: &[RouterSession],
        now: Instant,
    ) -> Vec<DeliveryNews> {
        let mut before = std::mem::take(&mut self.vips);
        let mut lost: Vec<(ServiceName, IpAddr)> = Vec::new();
        let mut again = 0;
        for (service, vip, delivery) in deliveries(figures, routers) {
            // A VIP that is not announced, or whose family no peer has: `status` has the reason, or a warning about `families`.
            if delivery.wanted() == 0 {
                continue;
            }
            let phase = before.remove(&vip).map(|(_, phase)| phase);
            let next = match phase {
                _ if delivery.acknowledged() > 0 => Phase::Acknowledged,
                None => Phase::New(now + PATIENCE),
                Some(Phase::Acknowledged) if delivery.sending() > 0 => Phase::Changed(now + PATIENCE),
                Some(Phase::New(until)) if now < until => Phase::New(until),
                Some(Phase::Changed(until)) if now < until && delivery.sending() > 0 => Phase::Changed(until),
                Some(Phase::New(_) | Phase::Acknowledged | Phase::Changed(_) | Phase::Lost) => Phase::Lost,
            };
            match (phase, next) {
                (Some(Phase::Lost), Phase::Acknowledged) => again += 1,
                (Some(Phase::Lost), Phase::Lost) => {}
                (_, Phase::Lost) => lost.push((service.clone(), vip)),
                (_, Phase::New(_) | Phase::Acknowledged | Phase::Changed(_)) => {}
            }
            self.vips.insert(vip, (service.clone(), next));
        }
        self.connected = routers.iter().any(RouterSession::is_established);
        let mut news = Vec::new();
        if again > 0 {
            news.push(DeliveryNews::SentAgain { vips: again });
        }
        if again > 0 || self.lost().next().is_none() {
            self.reported = false;
        }
        if lost.is_empty() {
            return news;
        }
        if !self.connected {
            if !std::mem::replace(&mut self.reported, true) {
                news.push(DeliveryNews::NoRouterLeft { vips: self.lost().count() });
            }
            return news;
        }
        let each = by_service(lost.iter().map(|(service, vip)| (service, *vip)));
        news.extend(each.into_iter().map(|(service, first, vips)| DeliveryNews::Lost {
            service: service.clone(),
            first,
            vips,
        }));
        news
    }

    /// When [`observe`](Self::observe) has something to do although nothing has changed.
    pub fn deadline(&self) -> Option<Instant> {
        let until = self.vips.values().filter_map(|(_, phase)| match phase {
            Phase::New(until) | Phase::Changed(until) => Some(*until),
            Phase::Acknowledged | Phase::Lost => None,
        });
        until.min()
    }

    /// The warnings, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let each = by_service(self.lost());
        if each.len() > 1 && !self.connected {
            let vips: usize = each.iter().map(|(_, _, vips)| vips).sum();
            let services = each.len();
            return vec![format!(
                "no session is established: {vips} VIPs of {services} services are ready, but were sent to no router"
            )];
        }
        let sentence = |(service, first, vips): (&ServiceName, IpAddr, usize)| match vips {
            1 => format!("{service} {first} is ready, but was sent to no router"),
            _ => format!("{service} {first} and {} more are ready, but were sent to no router", vips - 1),
        };
        each.into_iter().map(sentence).collect()
    }

    fn lost(&self) -> impl Iterator<Item = (&ServiceName, IpAddr)> {
        let lost = self.vips.iter().filter(|(_, (_, phase))| *phase == Phase::Lost);
        lost.map(|(vip, (service, _))| (service, *vip))
    }
}

/// The services of these VIPs, in the order of their names, each with its first VIP and the number of its VIPs.
fn by_service<'a>(
    vips: impl Iterator<Item = (&'a ServiceName, IpAddr)>,
) -> Vec<(&'a ServiceName, IpAddr, usize)> {
    let mut services: BTreeMap<&str, (&ServiceName, IpAddr, usize)> = BTreeMap::new();
    for (service, vip) in vips {
        services.entry(service.as_str()).or_insert((service, vip, 0)).2 += 1;
    }
    services.into_values().collect()
}

#[cfg(test)]
mod tests;
