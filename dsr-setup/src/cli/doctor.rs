//! `dsr-setup doctor`: its arguments, and what it prints.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::source::{VipSource, environment, texts};
use super::{Failure, devices};
use crate::config::{self, VipsByVrf};
use crate::doctor::finding::DoctorReport;
use crate::doctor::observations::Question;
use crate::doctor::{examine, written};
use crate::io::Host;

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
        let device = &host.vips().device().name;
        let mut by_vrf = VipsByVrf::new();
        let mut question = Question {
            device: (device != "lo").then(|| device.clone()),
            directors: self.directors.into_iter().collect(),
            clients: self.clients.into_iter().collect(),
            expires_within: self.expires_within.saturating_mul(DAY),
            ..Question::default()
        };
        let named = self.source.named();
        if named.is_empty() {
            for (name, text) in texts(self.source.config())? {
                let variables = environment(&text);
                for (vrf, vips) in config::vips_by_vrf(&name, &text, &variables)? {
                    by_vrf.entry(vrf).or_default().extend(vips);
                }
                question.directors.extend(config::directors(&name, &text, &variables)?);
                written::add(&mut question, &text, &variables);
            }
            question.vips = by_vrf.remove(&None).unwrap_or_default();
            // VIPs of ours in a VRF are no leftovers.
            question.is_complete = by_vrf.is_empty();
        } else {
            question.vips = named;
        }
        if !self.ports.is_empty() {
            let ports: BTreeSet<u16> = self.ports.into_iter().collect();
            question.ports = question.vips.iter().map(|vip| (*vip, ports.clone())).collect();
        }
        let listen = self.listen.map(Duration::from_secs);
        let of_vrfs = devices(host, by_vrf).await?.all;
        let mut report = DoctorReport::default();
        if of_vrfs.is_empty() || !question.vips.is_empty() {
            let seen = host.examine(&question, listen).await.map_err(Failure::Observe)?;
            report = examine(&seen, &question);
        }
        for (host, vips) in of_vrfs {
            let device = Some(host.vips().device().name.clone());
            let question = Question { vips, device, is_complete: false, ..question.clone() };
            let seen = host.examine(&question, listen).await.map_err(Failure::Observe)?;
            report.add(examine(&seen, &question));
        }
        if self.json {
            output::text(&report.json().map_err(Failure::Json)?);
        } else {
            output::text(&report.text());
        }
        Ok(ExitCode::from(report.exit_code()))
    }
}
