//! What `plan` and `check` say about a host: the steps that are left, and the addresses of other programs that harm.
//!
//! Pure. The JSON has the same facts as the text:
//!
//! ```json
//! {"schema": 1, "device": "lo", "steps": [{"step": "add 192.0.2.80/32 to lo", "drift": "192.0.2.80/32 is not on lo", "reason": "with …",
//!   "address": "192.0.2.80/32"}], "refused": [], "warnings": []}
//! ```
//!
//! The steps of tunnels are among `steps`, in the order in which `apply` does all of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::plan::{HostState, Step};
use crate::tunnel::{TunnelReport, TunnelStep};
use crate::warning::{self, Warning};

/// The number of the form of the JSON.
const SCHEMA: u32 = 1;

/// The state of a host, compared with what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The device of the VIPs.
    pub device: String,
    /// What `apply` would do.
    pub steps: Vec<Step>,
    /// VIPs that another program has put there in a way that harms. They are not touched.
    pub refused: Vec<Warning>,
    /// What else harms this host. No command here corrects it.
    pub warnings: Vec<Warning>,
    /// The tunnels that are wanted.
    pub tunnels: TunnelReport,
}

impl Report {
    /// The report about a host with these steps left, which is to have these VIPs.
    #[must_use]
    pub fn new(
        observed: &HostState,
        vips: &BTreeSet<IpAddr>,
        steps: Vec<Step>,
        tunnels: TunnelReport,
    ) -> Report {
        let record = observed.record_error.clone().map(Warning::Record);
        Report {
            device: observed.lo.device.clone(),
            steps,
            refused: warning::of_foreign(&observed.lo, vips),
            warnings: warning::of_host(&observed.lo, vips).into_iter().chain(record).collect(),
            tunnels,
        }
    }

    /// Whether everything is as it should be, as far as commands here can correct it or another program has to.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.steps.is_empty() && self.refused.is_empty() && self.tunnels.is_good()
    }

    /// The sentences about what is refused.
    pub fn all_refused(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(Warning::to_string).chain(self.tunnels.refused.iter().cloned())
    }

    /// The sentences about what else harms.
    pub fn all_warnings(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().map(Warning::to_string).chain(self.tunnels.warnings.iter().cloned())
    }

    /// The lines of `plan`: the steps with their reasons. A reason is not repeated from line to line.
    #[must_use]
    pub fn plan(&self) -> Vec<String> {
        let mut last = None;
        let lines = self.steps.iter().map(|step| {
            let (line, reason) = (step.on(&self.device), step.reason());
            let text = match &reason {
                Some(reason) if last.as_ref() != Some(reason) => format!("{line}  # {reason}"),
                Some(_) | None => line.to_string(),
            };
            last = reason;
            text
        });
        let before = self.tunnels.before.iter().map(TunnelStep::to_string);
        before.chain(lines).chain(self.tunnels.after.iter().map(TunnelStep::to_string)).collect()
    }

    /// The sentences of `check`: what has drifted.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let drifts = self.steps.iter().map(|step| step.drift(&self.device, "is"));
        drifts.chain(self.refused.iter().map(Warning::to_string)).chain(self.tunnels.check()).collect()
    }

    /// The JSON of both, about all devices of the VIPs: `device` is the first, and the text of each step names its device. `missing` are the
    /// sentences about VRFs that do not exist, whose VIPs are refused.
    ///
    /// # Errors
    /// Never: it has no keys but texts.
    pub fn json(reports: &[Report], missing: Vec<String>) -> Result<String, serde_json::Error> {
        let of_tunnels = |steps: &[TunnelStep]| steps.iter().map(json_tunnel).collect::<Vec<_>>();
        let of_one = |report: &Report| {
            let mut steps = of_tunnels(&report.tunnels.before);
            steps.extend(report.steps.iter().map(|step| json_step(step, &report.device)));
            steps.extend(of_tunnels(&report.tunnels.after));
            steps
        };
        serde_json::to_string_pretty(&JsonReport {
            schema: SCHEMA,
            device: reports.first().map_or(crate::LOOPBACK, |report| report.device.as_str()),
            steps: reports.iter().flat_map(of_one).collect(),
            refused: missing.into_iter().chain(reports.iter().flat_map(Report::all_refused)).collect(),
            warnings: reports.iter().flat_map(Report::all_warnings).collect(),
        })
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    schema: u32,
    device: &'a str,
    steps: Vec<JsonStep>,
    refused: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct JsonStep {
    step: String,
    drift: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpNet>,
    #[serde(flatten)]
    setting: Option<JsonSetting>,
}

#[derive(Serialize)]
struct JsonSetting {
    sysctl: String,
    was: i32,
    value: i32,
}

fn json_tunnel(step: &TunnelStep) -> JsonStep {
    let (reason, address, setting) = (None, None, None);
    JsonStep { step: step.to_string(), drift: step.drift("is"), reason, address, setting }
}

fn json_step(step: &Step, device: &str) -> JsonStep {
    let (mut address, mut setting) = (None, None);
    match step {
        Step::Add(vip) | Step::Mend { vip, .. } => address = Some(IpNet::from(*vip)),
        Step::Replace { net, .. } => address = Some(IpNet::from(net.addr())),
        Step::Remove(net) | Step::RemoveElsewhere { net, .. } => address = Some(*net),
        Step::Set { sysctl, change } => {
            setting = Some(JsonSetting { sysctl: sysctl.to_string(), was: change.was, value: change.set });
        }
        Step::Restore { sysctl, change } => {
            setting = Some(JsonSetting { sysctl: sysctl.to_string(), was: change.set, value: change.was });
        }
        Step::RaiseLo | Step::RemoveTable(_) | Step::RemoveDevice(_) | Step::Leave { .. } => {}
    }
    JsonStep {
        step: step.on(device).to_string(),
        drift: step.drift(device, "is"),
        reason: step.reason(),
        address,
        setting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ArpSetting, Change, Sysctl};

    fn report() -> Report {
        let sysctl = Sysctl::of_all(ArpSetting::ArpIgnore);
        Report {
            device: "lo".into(),
            steps: vec![
                Step::Set { sysctl, change: Change { was: 0, set: 1 } },
                Step::Add("192.0.2.80".parse().unwrap()),
                Step::Add("192.0.2.81".parse().unwrap()),
                Step::Add("2001:db8::80".parse().unwrap()),
            ],
            refused: vec![Warning::Elsewhere("192.0.2.82/24".parse().unwrap(), "eth0".into())],
            warnings: vec![Warning::NoGlobalAddress],
            tunnels: TunnelReport::default(),
        }
    }

    #[test]
    fn a_reason_is_not_repeated() {
        assert_eq!(
            report().plan(),
            [
                "set net.ipv4.conf.all.arp_ignore = 1 (was 0)  # so that this host does not answer ARP requests for the VIPs",
                "add 192.0.2.80/32 to lo  # with scope link, so that this host does not send from it",
                "add 192.0.2.81/32 to lo",
                "add 2001:db8::80/128 to lo  # with preferred lifetime 0, so that this host does not send from it; without duplicate \
                 address detection, because other hosts have it too",
            ]
        );
    }

    #[test]
    fn check_says_what_has_drifted_and_what_another_program_did() {
        let lines = report().check();
        assert_eq!(
            &lines[..2],
            [
                "net.ipv4.conf.all.arp_ignore is 0, so that this host answers ARP requests for the VIPs",
                "192.0.2.80/32 is not on lo"
            ]
        );
        assert!(lines[4].starts_with("192.0.2.82/24 is also on eth0, where"), "{lines:?}");
        let good = Report { steps: vec![], refused: vec![], ..report() };
        assert!(good.is_good() && good.check().is_empty() && !report().is_good());
        assert!(!Report { refused: report().refused, ..good }.is_good());
    }

    #[test]
    fn the_json_has_the_facts_of_each_step() {
        let value: serde_json::Value = serde_json::from_str(
            &Report::json(&[report()], vec!["the VRF `edge` does not exist".into()]).unwrap(),
        )
        .unwrap();
        assert_eq!(value["schema"], 1);
        let set = &value["steps"][0];
        assert_eq!(
            (&set["sysctl"], &set["was"], &set["value"]),
            (&"net.ipv4.conf.all.arp_ignore".into(), &0.into(), &1.into())
        );
        assert_eq!(set.get("address"), None);
        let add = &value["steps"][1];
        assert_eq!((&add["address"], add.get("sysctl")), (&"192.0.2.80/32".into(), None));
        assert_eq!(add["drift"], "192.0.2.80/32 is not on lo");
        assert_eq!(value["refused"][0], "the VRF `edge` does not exist");
        assert_eq!(
            (value["refused"].as_array().unwrap().len(), value["warnings"].as_array().unwrap().len()),
            (2, 1)
        );
    }
}
