//! Test packets: whether packets that a member forwards arrive at the next member, and pass its packet filter.
//!
//! Pure. `now` comes in. The rules count test packets (`chain::rules`), and heartbeats carry what a member has counted.
//!
//! ```text
//! this host                                      next member
//! SYN on lo ─> test_sent ─> its packet filter ─> network ─> test_arrived, test_changed ─> its packet filter ─> test_delivered, dropped
//! ```
//!
//! Whether packets arrive is judged once in [`WINDOW`], from what both have counted meanwhile. If the counters were not read, or fewer
//! than [`ENOUGH`] packets were sent, nothing is said.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::rules::counters::TestPacketCounters;
use crate::model::Family;

/// How often this host sends a test packet to the next member of each family.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Over which time it is judged whether they arrive. Counters are read every 5 s, so most of its packets are counted in it.
pub const WINDOW: Duration = Duration::from_secs(20);
/// How many packets a judgement needs: if one of five packets is lost by chance, 3 in a row are lost once in hundred times.
const ENOUGH: u64 = 3;
/// How often a member must have read its counters in the window.
const READINGS: u32 = 2;

/// The test packets of one family that a member has counted, as its heartbeats say. The numbers wrap.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TestPacketCounts {
    /// Those that have arrived from other members.
    pub arrived: u32,
    /// Those of them with another DSCP than they were sent with.
    pub changed: u32,
    /// Those that have passed its packet filter.
    pub delivered: u32,
}

impl From<TestPacketCounters> for TestPacketCounts {
    fn from(counted: TestPacketCounters) -> Self {
        // The numbers wrap.
        TestPacketCounts {
            arrived: counted.arrived as u32,
            changed: counted.changed as u32,
            delivered: counted.delivered as u32,
        }
    }
}

/// What a heartbeat says about test packets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TestPacketReport {
    /// How often the sender has read its counters since it has started; it wraps. Zero: never, and the counts mean nothing.
    pub readings: u32,
    /// Those of IPv4.
    pub v4: TestPacketCounts,
    /// Those of IPv6.
    pub v6: TestPacketCounts,
}

impl TestPacketReport {
    /// The counts of a family.
    pub fn of(&self, family: Family) -> TestPacketCounts {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// What is known of the way from one member to the next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestPacketState {
    /// Nothing: too few test packets were sent or counted.
    #[default]
    Unknown,
    /// They arrive, and pass the packet filter of the receiver.
    Good,
    /// They arrive, and their DSCP was changed on the way.
    Changed,
    /// They arrive, and none passes the packet filter of the receiver.
    Stopped,
    /// None arrives.
    Lost,
}

impl TestPacketState {
    /// All of them.
    pub const ALL: [TestPacketState; 5] = [
        TestPacketState::Unknown,
        TestPacketState::Good,
        TestPacketState::Changed,
        TestPacketState::Stopped,
        TestPacketState::Lost,
    ];

    /// The value in JSON and metrics.
    pub fn label(self) -> &'static str {
        match self {
            TestPacketState::Unknown => "unknown",
            TestPacketState::Good => "good",
            TestPacketState::Changed => "changed",
            TestPacketState::Stopped => "stopped",
            TestPacketState::Lost => "lost",
        }
    }

    /// Whether packets that are passed on are dropped or changed.
    pub fn is_fault(self) -> bool {
        match self {
            TestPacketState::Unknown | TestPacketState::Good => false,
            TestPacketState::Changed | TestPacketState::Stopped | TestPacketState::Lost => true,
        }
    }
}

impl fmt::Display for TestPacketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TestPacketState::Unknown => "not known yet whether test packets arrive",
            TestPacketState::Good => "test packets arrive",
            TestPacketState::Changed => "test packets arrive with another DSCP",
            TestPacketState::Stopped => "test packets arrive and do not pass its packet filter",
            TestPacketState::Lost => "test packets do not arrive",
        })
    }
}

/// The counts at the begin of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    sent: u64,
    readings: u32,
    counts: TestPacketCounts,
}

/// Judges the way to one member, or the way into this host.
#[derive(Debug, Default, Clone)]
pub struct TestPacketWatch {
    /// The member to whom the packets go, when the window began, and what was counted then.
    window: Option<(IpAddr, Instant, Counted)>,
    state: TestPacketState,
}

impl TestPacketWatch {
    /// What is known now.
    pub fn state(&self) -> TestPacketState {
        self.state
    }

    /// Nothing can be judged now: nobody is next, or the next member does not live or has other VIPs.
    pub fn forget(&mut self) {
        *self = TestPacketWatch::default();
    }

    /// Judges the way to the next member. `sent`: how many test packets our own rules have counted; `report`: what the heartbeats of the
    /// member say.
    pub fn to_member(
        &mut self,
        next: IpAddr,
        sent: u64,
        report: &TestPacketReport,
        family: Family,
        now: Instant,
    ) {
        if report.readings == 0 {
            return self.forget();
        }
        self.judge(
            next,
            Counted { sent, readings: report.readings, counts: report.of(family) },
            now,
            Sender::Us,
        );
    }

    /// Judges what becomes of test packets of other members on this host, `own`. `report`: what our own heartbeats say.
    pub fn into_this_host(&mut self, own: IpAddr, report: &TestPacketReport, family: Family, now: Instant) {
        let counts = report.of(family);
        self.judge(own, Counted { sent: 0, readings: report.readings, counts }, now, Sender::Others);
    }

    fn judge(&mut self, receiver: IpAddr, counted: Counted, now: Instant, sender: Sender) {
        match self.window {
            Some((known, began, before)) if known == receiver => {
                if now < began + WINDOW {
                    return;
                }
                self.state = verdict(before, counted, sender);
            }
            Some(_) | None => self.state = TestPacketState::Unknown,
        }
        self.window = Some((receiver, now, counted));
    }
}

/// Who has sent the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// This host, which has counted them.
    Us,
    /// Other members; how many they have sent is not known.
    Others,
}

fn verdict(before: Counted, after: Counted, sender: Sender) -> TestPacketState {
    if after.readings.wrapping_sub(before.readings) < READINGS {
        return TestPacketState::Unknown;
    }
    let growth =
        |of: fn(&TestPacketCounts) -> u32| u64::from(of(&after.counts).wrapping_sub(of(&before.counts)));
    let [arrived, changed, delivered] =
        [growth(|counts| counts.arrived), growth(|counts| counts.changed), growth(|counts| counts.delivered)];
    let sent = match sender {
        Sender::Us => after.sent.saturating_sub(before.sent),
        Sender::Others => arrived,
    };
    if sent < ENOUGH {
        TestPacketState::Unknown
    } else if arrived == 0 {
        TestPacketState::Lost
    } else if delivered == 0 {
        TestPacketState::Stopped
    } else if changed > 0 {
        TestPacketState::Changed
    } else {
        TestPacketState::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 12));

    /// As IPv4; the counts of IPv6 are not looked at.
    fn report(readings: u32, [arrived, changed, delivered]: [u32; 3]) -> TestPacketReport {
        let v6 = TestPacketCounts { arrived: 1000 + readings, changed: readings, delivered: 0 };
        TestPacketReport { readings, v4: TestPacketCounts { arrived, changed, delivered }, v6 }
    }

    #[test]
    fn what_both_have_counted_says_whether_packets_arrive() {
        let begin = Instant::now();
        for (sent, readings, counts, to_member, into_this_host) in [
            (10, 4, [10, 0, 10], TestPacketState::Good, TestPacketState::Good),
            (10, 4, [1, 0, 1], TestPacketState::Good, TestPacketState::Unknown),
            (10, 4, [0, 0, 0], TestPacketState::Lost, TestPacketState::Unknown),
            (3, 2, [0, 0, 0], TestPacketState::Lost, TestPacketState::Unknown),
            // Too few were sent, or the member has not read its counters.
            (2, 4, [0, 0, 0], TestPacketState::Unknown, TestPacketState::Unknown),
            (10, 1, [0, 0, 0], TestPacketState::Unknown, TestPacketState::Unknown),
            (10, 4, [10, 0, 0], TestPacketState::Stopped, TestPacketState::Stopped),
            (10, 4, [10, 10, 0], TestPacketState::Stopped, TestPacketState::Stopped),
            (10, 4, [10, 1, 10], TestPacketState::Changed, TestPacketState::Changed),
        ] {
            // The numbers wrap.
            for first in [7, u32::MAX - 1] {
                let mut to = TestPacketWatch::default();
                let mut into = TestPacketWatch::default();
                let after = counts.map(|count| first.wrapping_add(count));
                for (at, readings, counts) in [(Duration::ZERO, 0, [first; 3]), (WINDOW, readings, after)] {
                    let report = report(1 + readings, counts);
                    let sent = if at == WINDOW { 100 + sent } else { 100 };
                    to.to_member(NEXT, sent, &report, Family::V4, begin + at);
                    into.into_this_host(NEXT, &report, Family::V4, begin + at);
                }
                assert_eq!(
                    (to.state(), into.state()),
                    (to_member, into_this_host),
                    "{sent} {readings} {counts:?}"
                );
            }
        }
    }

    #[test]
    fn a_judgement_holds_until_the_next_one() {
        let begin = Instant::now();
        let mut watch = TestPacketWatch::default();
        let mut at = |seconds: u64, next: u8, sent, arrived| {
            let next = IpAddr::from([10, 0, 1, next]);
            let report = report(1 + u32::try_from(seconds).unwrap(), [arrived, 0, arrived]);
            watch.to_member(next, sent, &report, Family::V4, begin + Duration::from_secs(seconds));
            watch.state()
        };
        assert_eq!(at(0, 12, 0, 0), TestPacketState::Unknown);
        assert_eq!(at(19, 12, 9, 0), TestPacketState::Unknown);
        assert_eq!(at(20, 12, 10, 0), TestPacketState::Lost);
        assert_eq!(at(39, 12, 19, 9), TestPacketState::Lost);
        assert_eq!(at(40, 12, 20, 10), TestPacketState::Good);
        assert_eq!(at(59, 12, 29, 10), TestPacketState::Good);
        assert_eq!(at(59, 13, 29, 10), TestPacketState::Unknown, "another member");
        assert_eq!(at(78, 13, 39, 10), TestPacketState::Unknown);
        assert_eq!(at(79, 13, 39, 10), TestPacketState::Lost);
        // Its table was made again.
        assert_eq!(at(99, 13, 49, 2), TestPacketState::Good);
        watch.to_member(NEXT, 60, &TestPacketReport::default(), Family::V4, begin + WINDOW * 9);
        assert_eq!(watch.state(), TestPacketState::Unknown, "the member has read no counters");
        watch.forget();
        assert_eq!(watch.state(), TestPacketState::Unknown);
    }

    #[test]
    fn every_state_has_its_label_and_its_words() {
        let labels: std::collections::BTreeSet<_> =
            TestPacketState::ALL.iter().map(|state| state.label()).collect();
        let words: std::collections::BTreeSet<_> =
            TestPacketState::ALL.iter().map(ToString::to_string).collect();
        assert_eq!((labels.len(), words.len()), (5, 5));
    }
}
