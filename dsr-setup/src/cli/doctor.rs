//! `dsr-setup doctor`: its arguments, and what it prints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;

use super::Failure;
use super::devices::{Devices, MissingVrf, devices};
use super::source::{VipSource, environment, texts};
use crate::LOOPBACK;
use crate::config::{self, VipsByVrf};
use crate::doctor::finding::DoctorReport;
use crate::doctor::observations::Question;
use crate::doctor::{examine, written};
use crate::io::Host;
use crate::io::device::{Device, DeviceKind};
use crate::substitution::Variables;

/// Seconds in a day.
const DAY: i64 = 86_400;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    source: VipSource,

    /// A director on the LAN, which answers ARP and ND for the VIPs rightly, beside those of the configuration (`[dsr] directors`);
    /// repeat it for more
    #[arg(long = "director", value_name = "ADDRESS")]
    directors: Vec<IpAddr>,

    /// A client to which answers must find a way; without one, an address that only a default route leads to; repeat it for more
    #[arg(long = "client", value_name = "ADDRESS")]
    clients: Vec<IpAddr>,

    /// A TCP port of the services, instead of those of the checks in the configuration; without any, 80 or 443; repeat it for more
    #[arg(long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,

    /// Also count for so many seconds the packets of the VIPs that arrive
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    listen: Option<u64>,

    /// Report a certificate so many days before its end
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(i64).range(0..=3650))]
    expires_within: i64,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Examines the host, prints the findings, and returns the exit code of the worst one.
    pub(super) async fn carry_out(self, host: &Host) -> Result<ExitCode, Failure> {
        let base = Question {
            directors: self.directors.iter().copied().collect(),
            clients: self.clients.iter().copied().collect(),
            expires_within: self.expires_within.saturating_mul(DAY),
            ..Question::default()
        };
        let named = self.source.named();
        let files = if named.is_empty() { files(self.source.config())? } else { Vec::new() };
        let mut by_vrf = VipsByVrf::from([(None, named.clone())]);
        for (name, text, variables) in &files {
            for (vrf, vips) in config::vips_by_vrf(name, text, variables)? {
                by_vrf.entry(vrf).or_default().extend(vips);
            }
        }
        // Without a VIP outside of VRFs, the VRFs alone are examined.
        let is_one_in_vrf = by_vrf.iter().any(|(vrf, vips)| vrf.is_some() && !vips.is_empty());
        by_vrf.retain(|vrf, vips| !vips.is_empty() || (vrf.is_none() && !is_one_in_vrf));
        let every: BTreeSet<IpAddr> = by_vrf.values().flatten().copied().collect();
        let mut questions: Vec<(Host, Question)> = Vec::new();
        let Devices { mut all, missing } = devices(host, &by_vrf).await?;
        if all.is_empty() {
            all.push((host.clone(), BTreeSet::new())); // for what is left over
        }
        for (host, vips) in all {
            let others = every.difference(&vips).copied().collect();
            // What is left over is looked for once, on every device.
            let is_complete = named.is_empty() && questions.is_empty();
            let mut question =
                Question { vips, others, is_complete, ..base.clone() }.on(host.vips().device());
            for (name, text, variables) in &files {
                question.directors.extend(config::directors(name, text, variables)?);
                written::add(&mut question, text, variables);
            }
            if !self.ports.is_empty() {
                let ports: BTreeSet<u16> = self.ports.iter().copied().collect();
                question.ports = question.vips.iter().map(|vip| (*vip, ports.clone())).collect();
            }
            questions.push((host, question));
        }
        let listen = self.listen.map(Duration::from_secs);
        // All at the same time, because each listens for so long.
        let examined = try_join_all(questions.iter().map(async |(host, question)| {
            let seen = host.examine(question, listen).await.map_err(Failure::Observe)?;
            Ok::<_, Failure>(examine(&seen, question))
        }));
        let mut report = DoctorReport::default();
        examined.await?.into_iter().for_each(|other| report.add(other));
        let findings = missing.iter().flat_map(MissingVrf::findings).collect();
        report.add(DoctorReport { findings, ..DoctorReport::default() });
        if self.json {
            output::text(&report.json().map_err(Failure::Json)?);
        } else {
            output::text(&report.text());
        }
        Ok(ExitCode::from(report.exit_code()))
    }
}

/// The names, the texts and the variables of the files of the configuration.
fn files(config: &Path) -> Result<Vec<(String, String, Variables)>, Failure> {
    let with_variables = |(name, text): (String, String)| {
        let variables = environment(&text);
        (name, text, variables)
    };
    Ok(texts(config)?.into_iter().map(with_variables).collect())
}

impl Question {
    /// The same question about VIPs on this device.
    fn on(self, device: &Device) -> Question {
        let name = Some(device.name.clone());
        match device.kind {
            DeviceKind::Loopback => Question { device: name.filter(|name| name != LOOPBACK), ..self },
            DeviceKind::Dummy => Question { device: name, ..self },
            DeviceKind::Vrf => Question { device: name.clone(), vrf: name, ..self },
        }
    }
}
