//! Looks for what harms the VIPs on this host, as `dsr-setup doctor` does, without packets.
//!
//! Touches rtnetlink and the clocks, and by the door to the disk `/proc` and sock_diag. [`vip::findings`](crate::vip::findings) decides what
//! is asked, what is said and when to look.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dsr_setup::doctor::observations::{Counters, Observations, Question};
use dsr_setup::io::doctor::watched;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::config::Config;
use crate::files::io::Files;
use crate::vip::findings::{CONFIRM, HostFindings, HostWatch, LOOK, LookStep, question};

/// The wait before the first look: until then the VIPs are put on lo.
const FIRST: Duration = Duration::from_secs(2);
/// How long the kernel may take for its answers.
const ANSWER: Duration = Duration::from_secs(10);
/// What is read by the door to the disk.
const FIGURES: &str = "/proc/thread-self/net";

/// Where the findings go.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct FindingChannels {
    /// The configuration, which names the VIPs.
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    /// For the metrics.
    pub(in crate::daemon) findings: watch::Sender<HostFindings>,
    /// For `status`, one sentence each.
    pub(in crate::daemon) warnings: watch::Sender<Vec<String>>,
    /// The door to the disk.
    pub(in crate::daemon) files: Files,
}

/// Keeps the findings up to date; never returns.
pub(in crate::daemon) async fn watch(channels: FindingChannels) {
    let mut watched = HostWatch::default();
    sleep(FIRST).await;
    loop {
        let question = question(&channels.configs.borrow().clone());
        let step = match look(&channels.files, &question, watched.counters_before()).await {
            Ok(seen) => watched.looked(&seen, &question),
            Err(why) => watched.failed(&why),
        };
        let pause = match step {
            LookStep::Confirm => CONFIRM,
            LookStep::Keep => LOOK,
            LookStep::Publish(findings) => {
                publish(&channels, findings);
                LOOK
            }
        };
        sleep(pause).await;
    }
}

/// The snapshot, or the reason why there is none.
async fn look(files: &Files, question: &Question, before: Option<Counters>) -> Result<Observations, String> {
    let asked = question.clone();
    let figures = files.run(Path::new(FIGURES), move |_| Ok(watched::figures(&asked))).await;
    let figures =
        figures.map_err(|error| format!("`{FIGURES}`: {error}"))?.map_err(|error| error.to_string())?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let clock = i64::try_from(clock).unwrap_or(i64::MAX);
    // A new connection for each look: what a look that was given up has left cannot hold up the next one.
    let (connection, vips) = dsr_setup::connect().map_err(|error| error.to_string())?;
    let seen = async {
        tokio::select! {
            seen = vips.watched(question, figures, before, clock) => seen.map_err(|error| error.to_string()),
            () = connection => Err("the connection to the kernel ended".to_owned()),
        }
    };
    let late = || format!("the kernel did not answer within {}", humantime::format_duration(ANSWER));
    timeout(ANSWER, seen).await.unwrap_or_else(|_| Err(late()))
}

fn publish(channels: &FindingChannels, findings: HostFindings) {
    let warnings = findings.warnings.clone();
    channels.findings.send_replace(findings);
    channels.warnings.send_if_modified(|known| {
        warnings.iter().filter(|warning| !known.contains(warning)).for_each(|warning| warn!("{warning}"));
        let is_news = *known != warnings;
        *known = warnings;
        is_news
    });
}
