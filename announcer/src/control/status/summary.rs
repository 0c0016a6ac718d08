//! The whole state in one line: the head of `status`, and the line, the performance data and the exit code of `status --check`.
//!
//! Pure. The line has the form of the Monitoring Plugins' development guidelines: `SERVICE STATUS: text | label=value`.

use super::layout::age;
use super::severity::{self, Severity, is_advertised, is_unsent};
use crate::control::api::{Status, VipStatus};

/// The result of `status --check`. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MonitoringResult {
    /// All is as wanted, also when an operator has drained it.
    Ok = 0,
    /// Users are served, but something is wrong: a router is down while another has everything, a VIP is the last choice or has no
    /// verdict yet, the last good configuration runs in place of a wrong one, or the file differs from what runs.
    Warning = 1,
    /// A VIP that should be announced is not, or was sent to no router; or announcer does not run.
    Critical = 2,
    /// The state is not known: no rights, or wrong usage.
    Unknown = 3,
}

impl MonitoringResult {
    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word of the line.
    pub fn word(self) -> &'static str {
        match self {
            MonitoringResult::Ok => "OK",
            MonitoringResult::Warning => "WARNING",
            MonitoringResult::Critical => "CRITICAL",
            MonitoringResult::Unknown => "UNKNOWN",
        }
    }
}

/// The line of `--check` with its performance data, and the result.
pub fn check(status: &Status) -> (MonitoringResult, String) {
    let counts = Counts::of(status);
    let result = result(status);
    let Counts { vips, advertised, drained, unsent, routers, up, .. } = counts;
    let line = format!(
        "announcer {}: {} | vips={vips};;;0 advertised={advertised};;;0;{vips} drained={drained};;;0;{vips} \
         unsent={unsent};;;0;{vips} routers={routers};;;0 routers_up={up};;;0;{routers} warnings={};;;0 uptime={}s",
        result.word(),
        counts.sentence(status),
        status.warnings.len(),
        status.uptime.max(0.0) as u64,
    );
    (result, line)
}

/// The line of `--check` when there is no status.
pub fn without_status(result: MonitoringResult, why: &str) -> String {
    format!("announcer {}: {}", result.word(), why.trim_start_matches("error: "))
}

fn result(status: &Status) -> MonitoringResult {
    match worst(status) {
        Severity::Failed if !vips(status).any(|vip| severity::vip(vip) == Severity::Failed) => {
            MonitoringResult::Warning
        }
        Severity::Failed => MonitoringResult::Critical,
        Severity::Warning | Severity::Starting => MonitoringResult::Warning,
        Severity::Fine | Severity::Ordered if status.differs.is_empty() => MonitoringResult::Ok,
        Severity::Fine | Severity::Ordered => MonitoringResult::Warning,
    }
}

/// The worst severity of all routers and VIPs.
pub fn worst(status: &Status) -> Severity {
    let vips = vips(status).map(severity::vip);
    let routers = status.peers.iter().map(severity::router);
    vips.chain(routers).max().unwrap_or(Severity::Fine)
}

/// What is wrong, the worst first; and if nothing is, what is announced.
pub fn sentence(status: &Status) -> String {
    Counts::of(status).sentence(status)
}

/// The head of `status` in two lines: the host and what is wrong; and what runs there.
pub fn head(status: &Status) -> [String; 2] {
    let Status { host, version, asn, uptime, .. } = status;
    let what = sentence(status);
    let router_id = status.router_id.as_ref().map(|id| format!(", router id {id}")).unwrap_or_default();
    [format!("{host}: {what}"), format!("version {version}, up {}, AS {asn}{router_id}", age(*uptime))]
}

fn vips(status: &Status) -> impl Iterator<Item = &VipStatus> {
    status.services.iter().flat_map(|service| service.vips.iter())
}

struct Counts {
    vips: usize,
    advertised: usize,
    last_choice: usize,
    drained: usize,
    starting: usize,
    failed: usize,
    unsent: usize,
    routers: usize,
    up: usize,
}

impl Counts {
    fn of(status: &Status) -> Counts {
        let count = |what: &dyn Fn(&VipStatus) -> bool| vips(status).filter(|vip| what(vip)).count();
        let of = |wanted: Severity| count(&|vip| severity::vip(vip) == wanted);
        Counts {
            vips: count(&|_| true),
            advertised: count(&is_advertised),
            last_choice: of(Severity::Warning),
            drained: of(Severity::Ordered),
            starting: of(Severity::Starting),
            failed: count(&|vip| severity::vip(vip) == Severity::Failed && !is_advertised(vip)),
            unsent: count(&is_unsent),
            routers: status.peers.len(),
            up: status.peers.iter().filter(|peer| peer.session.is_some()).count(),
        }
    }

    /// What is wrong, the worst first; and if nothing is, what is announced.
    fn sentence(&self, status: &Status) -> String {
        let Counts { vips, advertised, last_choice, drained, starting, failed, unsent, routers, up } = *self;
        let some = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let of = |count: usize, all: usize, what: &str, state: &str| {
            (count > 0).then(|| format!("{count} of {} {state}", some(all, what)))
        };
        let only = |count: usize, state: &str| (count > 0).then(|| format!("{} {state}", some(count, "VIP")));
        let parts = [
            of(failed, vips, "VIP", "not announced"),
            of(unsent, vips, "VIP", "ready, but sent to no router"),
            of(routers - up, routers, "router", "down"),
            only(last_choice, "last choice"),
            only(starting, "starting"),
            only(drained, "drained"),
        ];
        let mut parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.extend(status.differs.iter().cloned());
        if parts.is_empty() {
            parts.push(format!("{} announced to {}", some(advertised, "VIP"), some(routers, "router")));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{scene, status, with_vip};
    use super::*;

    #[test]
    fn the_exit_code_says_what_has_to_be_done() {
        let down = |peer: usize| {
            let mut status = status();
            status.peers[peer].session = None;
            status
        };
        for (status, want, begins) in [
            (status(), 0, "announcer OK: 2 VIPs announced to 2 routers | vips=2;;;0 "),
            (with_vip("drained", "drained", 0), 0, "announcer OK: 1 VIP drained | "),
            (down(0), 1, "announcer WARNING: 1 of 2 routers down | "),
            (with_vip("last_choice", "flapping", 2), 1, "announcer WARNING: 1 VIP last choice | "),
            (with_vip("last_choice", "backup", 2), 0, "announcer OK: 2 VIPs announced to 2 routers | "),
            (with_vip("starting", "checks_undecided", 0), 1, "announcer WARNING: 1 VIP starting | "),
            (
                with_vip("not_announced", "unhealthy", 0),
                2,
                "announcer CRITICAL: 1 of 2 VIPs not announced | ",
            ),
            (
                with_vip("announced", "healthy", 0),
                2,
                "announcer CRITICAL: 1 of 2 VIPs ready, but sent to no router | ",
            ),
            (
                Status { differs: vec!["the file differs".into()], ..status() },
                1,
                "announcer WARNING: the file differs | ",
            ),
        ] {
            let (result, line) = check(&status);
            assert_eq!(result.code(), want, "{line}");
            assert!(line.starts_with(begins), "{line}");
            assert_eq!(line.lines().count(), 1);
        }
    }

    #[test]
    fn without_a_status_the_line_says_why() {
        assert_eq!(
            without_status(MonitoringResult::Critical, "error: announcer is not running"),
            "announcer CRITICAL: announcer is not running"
        );
    }

    #[test]
    fn the_head_names_the_worst_first() {
        let [wrong, runs] = head(&scene());
        assert_eq!(
            wrong,
            "fe1: 6 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP last choice, 2 VIPs drained"
        );
        assert_eq!(runs, "version 0.1.0, up 3d, AS 65001, router id 10.0.0.11");
    }
}
