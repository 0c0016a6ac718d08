//! `announcer status`: what is announced, what is not, and why.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, no, print_answer};
use crate::control::api::{ListenerWatchStatus, Request, Response, Status};
use crate::control::io::client;

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn call(arguments: &StatusArguments, socket: &Path) -> Result<(), CommandError> {
    let answer = client::ask(socket, &Request::Status, Duration::ZERO).map_err(no)?;
    let Response::Status { status } = answer else { return print_answer(answer) };
    let text =
        if arguments.json { serde_json::to_string_pretty(&status).map_err(no)? } else { table(&status) };
    output::line(text.trim_end());
    Ok(())
}

/// The text of `status`: the peers, then each VIP's standing as a sentence, then the warnings.
fn table(status: &Status) -> String {
    let mut lines = vec![format!(
        "announcer {} pid {}, AS {}, router id {}, up {}",
        status.version,
        status.pid,
        status.asn,
        status.router_id.as_deref().unwrap_or("not known yet"),
        age(status.uptime)
    )];
    let width = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0);
    let wide = width(&mut status.peers.iter().map(|peer| peer.name.len()));
    for peer in &status.peers {
        let reason = peer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(format!(
            "peer {:wide$}  {} AS {}  {} for {}, {}{reason}",
            peer.name,
            peer.address,
            peer.asn.map_or_else(|| "external".to_owned(), |asn| asn.to_string()),
            peer.state,
            age(peer.since),
            peer.prefixes(),
        ));
        lines.extend(peer.hint.iter().map(|hint| format!("     {:wide$}  hint: {hint}", "")));
        lines.extend(peer.not_sent.iter().map(|why| format!("     {:wide$}  {why}", "")));
    }
    let vips = || status.services.iter().flat_map(|s| s.vips.iter().map(move |vip| (s, vip)));
    let wide = width(&mut vips().map(|(service, _)| service.name.len()));
    let address_wide = width(&mut vips().map(|(_, vip)| vip.address.to_string().len()));
    for (service, vip) in vips() {
        let address = vip.address.to_string();
        lines.push(format!(
            "{:wide$}  {address:address_wide$}  {} (for {})",
            service.name,
            vip.reason,
            age(vip.since)
        ));
    }
    lines.extend(status.listener_watch.iter().map(listeners));
    lines.extend(status.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

/// The listener watch in one line, and below it some of the VIPs that only probes check.
fn listeners(watch: &ListenerWatchStatus) -> String {
    const SHOWN: usize = 3;
    if let Some(why) = &watch.blind {
        return format!("warning: listeners cannot be read, only probes notice a crash: {why}");
    }
    let what = if watch.targets == 1 { "listener" } else { "listeners" };
    let mut lines =
        vec![format!("{} {what} watched every {} ms, by {}", watch.targets, watch.period_ms, watch.by)];
    lines.extend(watch.disarmed.iter().take(SHOWN).map(|why| format!("  watched only by probes: {why}")));
    let more = watch.disarmed.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

/// A duration as text for people.
fn age(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.max(0.0) as u64)).to_string()
}
