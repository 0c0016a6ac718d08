//! What the daemon watches of the host beside lo: the question, and what follows from the findings of `dsr-setup doctor`.
//!
//! Pure. The codes, the findings and their sentences are those of `dsr_setup::doctor`. A finding that is new is looked for again after
//! [`CONFIRM`], because the [keeper](super::keeper) repairs most faults within milliseconds: what is gone by then is not reported.
//!
//! ```text
//! look ──► nothing new ──────────────────────────► published, next look after LOOK
//!     └──► a new finding ──► look after CONFIRM ──► published as it is then, next look after LOOK
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use dsr_setup::doctor::code::{Code, Watcher};
use dsr_setup::doctor::examine_watched;
use dsr_setup::doctor::finding::{DoctorReport, Finding, NotChecked};
use dsr_setup::doctor::observations::{Counters, Observations, Question};
use dsr_setup::doctor::server::{AcceptQueue, accept_queues};

use crate::config::{Config, PeerAddress};

/// How often the host is looked at.
pub const LOOK: Duration = Duration::from_secs(10);
/// The time between the look that has a new finding and the look that confirms it.
pub const CONFIRM: Duration = Duration::from_secs(1);
/// How many looks a rise of a counter stays a finding: a minute, so that Prometheus sees it.
const LASTING: usize = 6;
/// After how many looks in a row that have failed this is a warning. One can fail because the host is busy.
const FAILURES: u32 = 2;
/// Findings of which the keeper warns already.
const SAID_BY_KEEPER: [Code; 3] = [Code::VipOnOtherInterface, Code::VipPrefixLength, Code::ArpAnswered];

/// The findings for the metrics and for `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFindings {
    /// For each code that is watched, whether there is a finding. A code that cannot be looked for is missing; all are missing before the
    /// first look.
    pub codes: BTreeMap<&'static str, bool>,
    /// The accept queue of each VIP.
    pub queues: BTreeMap<IpAddr, AcceptQueue>,
    /// One sentence for each fault, and for what cannot be looked for.
    pub warnings: Vec<String>,
}

/// What to do after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookStep {
    /// Look again after [`CONFIRM`]; nothing is published.
    Confirm,
    /// Publish, and look again after [`LOOK`].
    Publish(HostFindings),
    /// Nothing is published; look again after [`LOOK`].
    Keep,
}

/// The state between two looks.
#[derive(Debug, Default)]
pub struct HostWatch {
    /// The counters at the last looks, the oldest first.
    counters: VecDeque<Counters>,
    /// What was published.
    known: BTreeSet<(Code, Option<IpAddr>)>,
    confirms: bool,
    failures: u32,
}

impl HostWatch {
    /// The counters with which those of the next look are compared.
    pub fn counters_before(&self) -> Option<Counters> {
        self.counters.front().copied()
    }

    /// The host was looked at.
    pub fn looked(&mut self, seen: &Observations, question: &Question) -> LookStep {
        let report = examine_watched(seen, question);
        self.failures = 0;
        let found: BTreeSet<_> = report.findings.iter().map(|finding| (finding.code, finding.vip)).collect();
        let is_news = !found.is_subset(&self.known);
        if is_news && !self.confirms {
            self.confirms = true;
            return LookStep::Confirm;
        }
        (self.known, self.confirms) = (found, false);
        if let Ok((_, now)) = seen.counters {
            self.counters.push_back(now);
            self.counters.drain(..self.counters.len().saturating_sub(LASTING));
        }
        LookStep::Publish(HostFindings {
            codes: codes(&report, question),
            queues: accept_queues(seen, question),
            warnings: warnings(&report),
        })
    }

    /// The host could not be looked at; with the reason, without a full stop.
    pub fn failed(&mut self, why: &str) -> LookStep {
        self.failures = self.failures.saturating_add(1);
        self.confirms = false;
        if self.failures < FAILURES {
            return LookStep::Keep;
        }
        self.known.clear();
        let warning =
            format!("findings about this host are not watched: {why}; `dsr-setup doctor` looks for them");
        LookStep::Publish(HostFindings { warnings: vec![warning], ..HostFindings::default() })
    }
}

/// The VIPs with the ports of their checks, and the routers. Without a router whose address is written, no way to clients is looked for.
/// What is in a VRF is left out: the question is about one device and the main routing table.
pub fn question(config: &Config) -> Question {
    let outside = || config.services.iter().filter(|service| service.vrf.is_none());
    let vips = outside().flat_map(|service| service.vips.iter().copied()).collect();
    let mut question = Question { vips, ..Question::default() };
    for service in outside() {
        let ports = || service.checks.iter().filter_map(|check| check.port());
        for vip in &service.vips {
            question.ports.entry(*vip).or_default().extend(ports());
        }
    }
    question.routers = config
        .peers
        .iter()
        .filter(|peer| peer.vrf.is_none())
        .filter_map(|peer| match peer.address {
            PeerAddress::Ip(address) => Some(address),
            PeerAddress::DefaultGateway | PeerAddress::RouterAdvertisement => None,
        })
        .collect();
    question
}

/// Whether there is a finding, for each code that is watched and could be looked for. Without a VIP outside of VRFs nothing was looked
/// for, so only what was found nevertheless is in it.
fn codes(report: &DoctorReport, question: &Question) -> BTreeMap<&'static str, bool> {
    let is_found = |code: Code| report.findings.iter().any(|finding| finding.code == code);
    let is_unseen = |code: &Code| report.not_checked.iter().any(|gap| gap.codes.contains(code));
    let watched = Code::ALL.iter().filter(|code| code.watcher() == Watcher::Daemon);
    // One of two ways to find a fault may be enough.
    let is_asked = !question.vips.is_empty();
    let known = watched.filter(|code| (is_asked && !is_unseen(code)) || is_found(**code));
    known.map(|code| (code.name(), is_found(*code))).collect()
}

/// One sentence for each code, however many findings it has, and one for each reason why codes cannot be looked for.
fn warnings(report: &DoctorReport) -> Vec<String> {
    let sentence = |code: &Code| {
        let mut of_code = report.findings.iter().filter(|finding| finding.code == *code);
        let Finding { evidence, repair, .. } = of_code.next()?;
        let others = match of_code.count() {
            0 => String::new(),
            1 => "; `dsr-setup doctor` prints 1 more like this".into(),
            more => format!("; `dsr-setup doctor` prints {more} more like this"),
        };
        Some(format!("{code}: {evidence}{others}; {repair}"))
    };
    let gap = |NotChecked { codes, reason }: &NotChecked| {
        let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
        format!("{} cannot be watched: {reason}", names.join(", "))
    };
    let said = Code::ALL.iter().filter(|code| !SAID_BY_KEEPER.contains(code)).filter_map(sentence);
    said.chain(report.not_checked.iter().map(gap)).collect()
}

#[cfg(test)]
mod tests;
