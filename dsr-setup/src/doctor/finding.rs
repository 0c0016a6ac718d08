//! A finding: a fault, what was seen of it, and the command that repairs it; and the report with all of them.
//!
//! Pure. The same data is printed as text and as JSON.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::code::{Code, Severity, Watcher};

/// The version of the JSON: it increases when a field is removed or gets another meaning.
const SCHEMA: u32 = 1;

/// One fault of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which fault.
    pub code: Code,
    /// How bad it is here.
    pub severity: Severity,
    /// The VIP that it concerns; `None`: all of them.
    pub vip: Option<IpAddr>,
    /// The interface that it concerns, if it is one.
    pub interface: Option<String>,
    /// What was seen, with its values; a sentence without a full stop.
    pub evidence: String,
    /// The command that repairs it, or what to do; without a full stop.
    pub repair: String,
}

impl Finding {
    /// A finding with the severity of its code, about no VIP and no interface.
    pub fn new(code: Code, evidence: impl Into<String>, repair: impl Into<String>) -> Finding {
        Finding {
            code,
            severity: code.severity(),
            vip: None,
            interface: None,
            evidence: evidence.into(),
            repair: repair.into(),
        }
    }

    /// The same, about this VIP.
    #[must_use]
    pub fn of(self, vip: IpAddr) -> Finding {
        Finding { vip: Some(vip), ..self }
    }

    /// The same, about this interface.
    #[must_use]
    pub fn at(self, interface: &str) -> Finding {
        Finding { interface: Some(interface.to_owned()), ..self }
    }

    /// The same, with another severity.
    #[must_use]
    pub fn as_bad_as(self, severity: Severity) -> Finding {
        Finding { severity, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { code, severity, evidence, repair, .. } = self;
        write!(f, "{severity}: {evidence}\n  code: {code}, {}\n  repair: {repair}", code.watcher().sentence())
    }
}

/// Faults that could not be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotChecked {
    /// Which.
    pub codes: Vec<Code>,
    /// Why, and what is needed; a sentence without a full stop.
    pub reason: String,
}

impl fmt::Display for NotChecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.codes.iter().map(|code| code.name()).collect();
        write!(f, "not checked: {}: {}", names.join(", "), self.reason)
    }
}

/// Everything that `doctor` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DoctorReport {
    /// The VIPs that were examined.
    pub vips: Vec<IpAddr>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked for.
    pub not_checked: Vec<NotChecked>,
}

impl DoctorReport {
    /// Adds what was found about other VIPs of this host. The worst findings are first, and each is there once.
    pub fn add(&mut self, other: DoctorReport) {
        self.vips.extend(other.vips);
        for finding in other.findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        for gap in other.not_checked {
            if !self.not_checked.contains(&gap) {
                self.not_checked.push(gap);
            }
        }
    }

    /// The exit code: 0 nothing, or only notes; 1 at least one error; 3 at least one warning, and no error.
    pub fn exit_code(&self) -> u8 {
        match self.findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Error) => 1,
            Some(Severity::Warning) => 3,
            Some(Severity::Note) | None => 0,
        }
    }

    /// The report as text, for a person: empty if nothing was found and everything could be looked for.
    pub fn text(&self) -> String {
        let findings = self.findings.iter().map(|finding| format!("{finding}\n"));
        findings.chain(self.not_checked.iter().map(|gap| format!("{gap}\n"))).collect()
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let finding = |finding: &Finding| FindingJson {
            code: finding.code.name(),
            severity: finding.severity.name(),
            watched: finding.code.watcher() == Watcher::Daemon,
            vip: finding.vip,
            interface: finding.interface.clone(),
            evidence: finding.evidence.clone(),
            repair: finding.repair.clone(),
        };
        let gap = |gap: &NotChecked| NotCheckedJson {
            codes: gap.codes.iter().map(|code| code.name()).collect(),
            reason: gap.reason.clone(),
        };
        let report = ReportJson {
            schema: SCHEMA,
            vips: &self.vips,
            findings: self.findings.iter().map(finding).collect(),
            not_checked: self.not_checked.iter().map(gap).collect(),
        };
        serde_json::to_string_pretty(&report).map(|text| text + "\n")
    }
}

#[derive(Serialize)]
struct ReportJson<'a> {
    schema: u32,
    vips: &'a [IpAddr],
    findings: Vec<FindingJson>,
    not_checked: Vec<NotCheckedJson>,
}

#[derive(Serialize)]
struct FindingJson {
    code: &'static str,
    severity: &'static str,
    watched: bool,
    vip: Option<IpAddr>,
    interface: Option<String>,
    evidence: String,
    repair: String,
}

#[derive(Serialize)]
struct NotCheckedJson {
    codes: Vec<&'static str>,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(severities: &[Severity]) -> DoctorReport {
        let finding = |severity: &Severity| {
            Finding::new(Code::VipMissing, "192.0.2.80 is on no interface", "`dsr-setup apply`")
                .of("192.0.2.80".parse().unwrap())
                .as_bad_as(*severity)
        };
        DoctorReport { findings: severities.iter().map(finding).collect(), ..DoctorReport::default() }
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_finding() {
        use Severity::{Error, Note, Warning};
        for (severities, want) in [
            (&[][..], 0),
            (&[Note], 0),
            (&[Warning], 3),
            (&[Error], 1),
            (&[Note, Warning], 3),
            (&[Note, Warning, Error], 1),
            (&[Error, Warning], 1),
        ] {
            assert_eq!(report(severities).exit_code(), want, "{severities:?}");
        }
    }

    #[test]
    fn text_and_json_say_the_same() {
        let mut report = report(&[Severity::Error]);
        report.vips = vec!["192.0.2.80".parse().unwrap()];
        report.not_checked =
            vec![NotChecked { codes: vec![Code::NoPacket], reason: "needs CAP_NET_RAW".into() }];
        assert_eq!(
            report.text(),
            "error: 192.0.2.80 is on no interface\n  code: vip-missing, the daemon watches this all the time\n  \
             repair: `dsr-setup apply`\nnot checked: no-packet: needs CAP_NET_RAW\n"
        );
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "schema": 1,
                "vips": ["192.0.2.80"],
                "findings": [{
                    "code": "vip-missing", "severity": "error", "watched": true, "vip": "192.0.2.80", "interface": null,
                    "evidence": "192.0.2.80 is on no interface", "repair": "`dsr-setup apply`",
                }],
                "not_checked": [{"codes": ["no-packet"], "reason": "needs CAP_NET_RAW"}],
            })
        );
    }
}
