//! `dsr-setup doctor`: finds what harms direct server return on this host.
//!
//! Pure. `io::doctor` takes the snapshot ([`Observations`]), and [`examine`] computes the findings from it: each with a stable code, a
//! severity, what was seen, and the command that repairs it. What could not be looked at is named too.
//!
//! ```text
//! io/doctor ── Observations ──► examine ── DoctorReport ──► text, JSON, exit code
//!     addresses   the VIPs as addresses          routing      sources, routes, rules, rp_filter, forwarding, MTU
//!     neighbours  who answers ARP and ND, other managers      traffic    packet filter, conntrack, captured packets
//!     server      sockets, queues, certificates               nft        the rules of the packet filter and one packet
//!     packet      the octets that are sent and read           certificate   the validity in a certificate
//!     written     what the configuration says about ports and routers
//!     vrf         what is left out for VIPs in a VRF
//! ```

pub mod addresses;
pub mod certificate;
pub mod code;
pub mod finding;
pub mod neighbours;
pub mod nft;
pub mod observations;
pub mod packet;
pub mod routing;
pub mod server;
pub mod traffic;
pub mod vrf;
pub mod written;

use self::code::{Code, Severity, Watcher};
use self::finding::{DoctorReport, NotChecked};
use self::observations::{Observations, Question, Unseen};

/// Computes the findings, the worst first.
#[must_use]
pub fn examine(seen: &Observations, question: &Question) -> DoctorReport {
    let mut findings = addresses::find(seen, question);
    findings.extend(neighbours::find(seen, question));
    findings.extend(routing::find(seen, question));
    findings.extend(traffic::find(seen, question));
    findings.extend(server::find(seen, question));
    findings.extend(server::certificates(seen, question));
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.code, finding.vip));
    findings.dedup();
    let vips = question.vips.iter().copied().collect();
    let report = DoctorReport { vips, findings, not_checked: not_checked(seen) };
    match &question.vrf {
        Some(name) => vrf::restrict(report, seen, name),
        None => report,
    }
}

/// What the daemon watches all the time, from a snapshot that need not have the rest. Notes are left out.
#[must_use]
pub fn examine_watched(seen: &Observations, question: &Question) -> DoctorReport {
    let mut report = examine(seen, question);
    let is_watched = |code: &Code| code.watcher() == Watcher::Daemon;
    report.findings.retain(|finding| is_watched(&finding.code) && finding.severity > Severity::Note);
    report.not_checked.iter_mut().for_each(|gap| gap.codes.retain(is_watched));
    report.not_checked.retain(|gap| !gap.codes.is_empty());
    report
}

/// What could not be looked at, and what is needed for it.
fn not_checked(seen: &Observations) -> Vec<NotChecked> {
    let capture = seen.capture.as_ref().and_then(|capture| capture.as_ref().err());
    let parts: [(&[Code], Option<&Unseen>); 8] = [
        (&[Code::RuleCatchesVip], seen.rules.as_ref().err()),
        (
            &[
                Code::ServerNotListening,
                Code::ServerOtherFamily,
                Code::ServerOnLoopback,
                Code::BacklogOverflow,
            ],
            seen.listeners.as_ref().err(),
        ),
        (&[Code::BacklogOverflow, Code::SynCookies], seen.counters.as_ref().err()),
        (
            &[Code::FirewallDropsVip, Code::FirewallDropsIcmp, Code::InvalidDropped],
            seen.ruleset.as_ref().err(),
        ),
        (&[Code::VipHeldByOther, Code::OneMacForSeveral], seen.answers.as_ref().err()),
        (&[Code::MtuAbovePath], seen.mtu.as_ref().err()),
        (&[Code::NoPacket, Code::SynUnanswered], capture),
        (&[Code::SecondManager], seen.managers.as_ref().err()),
    ];
    let mut gaps: Vec<NotChecked> = Vec::new();
    for (codes, unseen) in parts {
        let Some(Unseen(reason)) = unseen else { continue };
        match gaps.iter_mut().find(|gap| gap.reason == *reason) {
            Some(gap) => gap.codes.extend(codes),
            None => gaps.push(NotChecked { codes: codes.to_vec(), reason: reason.clone() }),
        }
    }
    gaps
}

#[cfg(test)]
mod tests;
