//! BFD (RFC 5880) at the router: what the frontends have, and what of it a system can say.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::facts::Facts;
use crate::text::Text;

/// BFD of the frontends (`[peer.bfd]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// The interval in which a frontend wants to send and can receive.
    pub interval: Duration,
    /// How many packets in a row may be missing.
    pub multiplier: u8,
    /// Whether a frontend connects only while BFD is up.
    pub is_strict: bool,
}

/// The values that a system takes.
pub(crate) struct Limits {
    /// The intervals, in milliseconds.
    pub(crate) intervals: RangeInclusive<u128>,
    /// The multipliers.
    pub(crate) multipliers: RangeInclusive<u8>,
}

/// The values to write for a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Values {
    /// The interval of both directions, in milliseconds.
    pub(crate) interval: u128,
    /// The multiplier.
    pub(crate) multiplier: u8,
}

impl Bfd {
    /// The values of the frontends, or the nearest ones that a system takes. A note says so if they differ.
    pub(crate) fn values(self, limits: &Limits, text: &mut Text) -> Values {
        let interval = self.interval.as_micros().div_ceil(1000);
        let (shortest, longest) = (*limits.intervals.start(), *limits.intervals.end());
        let (smallest, largest) = (*limits.multipliers.start(), *limits.multipliers.end());
        let values = Values {
            interval: interval.clamp(shortest, longest),
            multiplier: self.multiplier.clamp(smallest, largest),
        };
        if values != (Values { interval, multiplier: self.multiplier }) {
            text.note(&format!(
                "The frontends have BFD with {interval} ms and multiplier {}. This system takes {shortest} to {longest} ms and multipliers \
                 of {smallest} to {largest}: the nearest values are written. The longer interval of both sides is used.",
                self.multiplier
            ));
        }
        values
    }
}

/// Whether BFD goes over several hops and announcer drops packets from further away (RFC 5082). FRR and BIRD have no BFD for this.
pub(crate) fn is_far_with_gtsm(facts: &Facts) -> bool {
    facts.bfd.is_some() && facts.hops > 1 && facts.ttl_security
}

/// The note for a system without BFD, if the frontends have it.
pub(crate) fn missing(facts: &Facts, system: &str, text: &mut Text) {
    let Some(bfd) = facts.bfd else { return };
    let follows = if bfd.is_strict {
        "With `strict = true`, the frontend never connects: remove `strict` or `bfd` from its configuration."
    } else {
        "The session comes up without it, and the hold time alone notices a dead frontend. announcer's `status` warns until `bfd` is \
         removed from the configuration of the frontend."
    };
    text.note(&format!("No BFD: {system} has none. {follows}"));
}

/// What to expect of real routers: BFD in software starves with its process.
pub(crate) const STARVES: &str = "Below 300 ms, give the daemon that sends BFD real-time priority (`chrt -r -p 10 PID`): if it waits for a processor, frontends are \
     lost that are alive.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_system_does_not_take_are_replaced_by_the_nearest_and_it_is_said() {
        let limits = Limits { intervals: 50..=999, multipliers: 3..=50 };
        for (micros, multiplier, want, said) in [
            (300_000, 3, (300, 3), false),
            (299_001, 3, (300, 3), false),
            (50_000, 50, (50, 50), false),
            (10_000, 3, (50, 3), true),
            (10_000_000, 3, (999, 3), true),
            (300_000, 1, (300, 3), true),
            (300_000, 255, (300, 50), true),
        ] {
            let mut text = Text::new("!");
            let interval = Duration::from_micros(micros);
            let got = Bfd { interval, multiplier, is_strict: false }.values(&limits, &mut text);
            assert_eq!((got.interval, got.multiplier), want, "{micros} us x {multiplier}");
            assert_eq!(text.finish().contains("nearest"), said, "{micros} us x {multiplier}");
        }
    }
}
