//! The results of the last probes of each check, for the status page.
//!
//! Pure. Eight octets a probe, in rings of a fixed size. Nothing is kept while the configuration has no status page.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::config::Config;
use crate::health::ProbeFact;
use crate::health::outcome::Outcome;
use crate::model::ServiceName;

/// How many probes are kept for each check of each VIP.
pub const PROBES: usize = 60;

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleResult {
    /// It passed.
    Pass = 0,
    /// It failed.
    Fail = 1,
    /// It was skipped, because announcer lacked a resource.
    Skipped = 2,
}

/// The result of one probe. As JSON it is `[result, microseconds]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSample {
    /// How it ended.
    pub result: SampleResult,
    /// How long it took, in microseconds; 0 if it was skipped.
    pub micros: u32,
}

impl ProbeSample {
    fn of(outcome: &Outcome) -> Self {
        let result = match outcome {
            Outcome::Pass { .. } => SampleResult::Pass,
            Outcome::Fail { .. } => SampleResult::Fail,
            Outcome::Skipped(_) => SampleResult::Skipped,
        };
        let took = outcome.took().unwrap_or_default();
        ProbeSample { result, micros: u32::try_from(took.as_micros()).unwrap_or(u32::MAX) }
    }
}

impl Serialize for ProbeSample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_seq(Some(2))?;
        pair.serialize_element(&(self.result as u8))?;
        pair.serialize_element(&self.micros)?;
        pair.end()
    }
}

/// The last probes of one check of one VIP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CheckSamples {
    /// The name of the check.
    pub name: String,
    /// Its last probes, the newest last; [`PROBES`] at most.
    pub probes: VecDeque<ProbeSample>,
    #[serde(skip)]
    service: ServiceName,
}

/// The last probes of all checks, by VIP; the checks in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Samples {
    vips: BTreeMap<IpAddr, Vec<CheckSamples>>,
}

impl Samples {
    /// Without any probe.
    pub fn new(config: &Config) -> Self {
        let mut samples = Samples::default();
        samples.reload(config);
        samples
    }

    /// Continues with another configuration. The probes of a check that stays at its VIP are kept.
    pub fn reload(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.vips);
        if config.status.is_none() {
            return;
        }
        for (vip, service) in config.vips() {
            let mut old = before.remove(&vip).unwrap_or_default();
            let checks = service.checks.iter().map(|check| {
                let same = |known: &CheckSamples| known.service == service.name && known.name == check.name;
                match old.iter().position(same) {
                    Some(place) => old.swap_remove(place),
                    None => CheckSamples {
                        name: check.name.clone(),
                        probes: VecDeque::with_capacity(PROBES),
                        service: service.name.clone(),
                    },
                }
            });
            self.vips.insert(vip, checks.collect());
        }
    }

    /// Keeps the result of a probe; whether anything has changed. A probe of a removed check is not kept.
    pub fn probed(&mut self, probed: &ProbeFact) -> bool {
        let check = self.vips.get_mut(&probed.vip).and_then(|checks| checks.get_mut(probed.check));
        let Some(check) = check.filter(|check| check.service == probed.service) else { return false };
        if check.probes.len() == PROBES {
            check.probes.pop_front();
        }
        check.probes.push_back(ProbeSample::of(&probed.outcome));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::tests::with_services;
    use crate::health::outcome::{Reason, Shortage};

    fn config(tail: &str) -> Config {
        let text = with_services!(
            "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n\
             [[service.check]]\ntcp = 443\nname = \"tls\"\n"
        );
        crate::config::parse("x", &format!("{text}{tail}")).unwrap_or_else(|errors| panic!("{errors}"))
    }

    const PAGE: &str = "[status]\nlisten = \"127.0.0.1:9180\"\n";

    fn probed(check: usize, outcome: Outcome) -> ProbeFact {
        ProbeFact {
            service: "www".parse().unwrap(),
            vip: "192.0.2.80".parse().unwrap(),
            check,
            sequence: 1,
            outcome,
            at: Instant::now(),
        }
    }

    fn failed(micros: u64) -> Outcome {
        Outcome::Fail { reason: Reason::Refused, took: Duration::from_micros(micros) }
    }

    #[test]
    fn the_last_sixty_are_kept_with_result_and_time() {
        let mut samples = Samples::new(&config(PAGE));
        assert!(samples.probed(&probed(1, Outcome::Skipped(Shortage::Files))));
        assert!(samples.probed(&probed(1, failed(1234))));
        assert!(samples.probed(&probed(1, failed(u64::MAX / 1000))));
        assert_eq!(
            serde_json::to_string(&samples).unwrap(),
            r#"{"192.0.2.80":[{"name":"tcp","probes":[]},{"name":"tls","probes":[[2,0],[1,1234],[1,4294967295]]}]}"#
        );
        for micros in 0..100 {
            samples.probed(&probed(0, failed(micros)));
        }
        let kept = &samples.vips.values().next().unwrap()[0].probes;
        assert_eq!((kept.len(), kept[0].micros, kept[PROBES - 1].micros), (PROBES, 40, 99));
        assert!(kept.capacity() < 2 * PROBES, "{}", kept.capacity());
        assert_eq!(size_of::<ProbeSample>(), 8);
    }

    #[test]
    fn nothing_is_kept_without_a_page_or_a_check() {
        let mut samples = Samples::new(&config(""));
        assert!(!samples.probed(&probed(0, failed(1))));
        assert_eq!(serde_json::to_string(&samples).unwrap(), "{}");
        let mut samples = Samples::new(&config(PAGE));
        assert!(!samples.probed(&probed(2, failed(1))));
        assert!(!samples.probed(&ProbeFact { service: "x".parse().unwrap(), ..probed(0, failed(1)) }));
    }

    #[test]
    fn a_reload_keeps_the_probes_of_a_check_that_stays() {
        let mut samples = Samples::new(&config(PAGE));
        samples.probed(&probed(1, failed(7)));
        let mut turned = config(PAGE);
        turned.services[0].checks.reverse();
        samples.reload(&turned);
        let checks = samples.vips.values().next().unwrap();
        assert_eq!((checks[0].name.as_str(), checks[0].probes.len(), checks[1].probes.len()), ("tls", 1, 0));
        samples.reload(&config(""));
        assert_eq!(samples, Samples::default());
    }
}
