//! What `doctor` leaves out for VIPs in a VRF.
//!
//! Pure. The snapshot has the routes of the main table, and the probes with IP are sent outside of each VRF. What follows from them says nothing
//! about VIPs in a VRF: it is named as not checked, so that a finding is never about another network.

use super::code::Code;
use super::finding::{DoctorReport, NotChecked};
use super::observations::Observations;

/// What is looked for outside of VRFs alone: it needs a route, or a connection.
pub const OUTSIDE_ONLY: [Code; 9] = [
    Code::VipIsSource,
    Code::RpFilterStrict,
    Code::NoReturnRoute,
    Code::MtuAbovePath,
    Code::FirewallDropsVip,
    Code::FirewallDropsIcmp,
    Code::InvalidDropped,
    Code::HashPolicy,
    Code::CertificateEnds,
];

/// The report about VIPs in this VRF, without what is outside of it: the codes of [`OUTSIDE_ONLY`], and the neighbours and the networks of
/// interfaces that are not in the VRF.
#[must_use]
pub fn restrict(mut report: DoctorReport, seen: &Observations, vrf: &str) -> DoctorReport {
    let is_looked_for = |code: &Code| !OUTSIDE_ONLY.contains(code);
    let is_of_network = |code: Code| matches!(code, Code::VipHeldByOther | Code::VipInConnectedSubnet);
    report.findings.retain(|finding| {
        let interface = finding.interface.as_deref().filter(|_| is_of_network(finding.code));
        is_looked_for(&finding.code) && interface.is_none_or(|interface| seen.is_in_vrf(interface, vrf))
    });
    for gap in &mut report.not_checked {
        gap.codes.retain(is_looked_for);
    }
    report.not_checked.retain(|gap| !gap.codes.is_empty());
    report.not_checked.push(NotChecked {
        codes: OUTSIDE_ONLY.to_vec(),
        reason: format!("doctor looks for this outside of VRFs only, and the VIPs of {vrf} are in a VRF"),
    });
    report
}
