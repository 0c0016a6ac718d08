//! Runs `nft`, with CAP_NET_ADMIN and nothing else that is the daemon's.
//!
//! Touches a thread, its capabilities, and processes. The program is found by an absolute path and has an empty environment. The
//! capability is ambient only on a thread that lives for the start of the program, so no program of a check or hook gets it.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::thread::CapabilitySet;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::capabilities::io::AmbientCapabilities;
use crate::model::text;

/// Where distributions install it.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];
/// The most that a run may take. Rules for 5,000 VIPs take a fraction of a second.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a run has failed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It is not installed.
    #[error("`nft` is not installed: the package `nftables` has it")]
    Missing,
    /// It cannot be started, or its input and output fail.
    #[error("`nft` cannot be run: {0}")]
    Io(#[from] io::Error),
    /// It takes too long. It was killed.
    #[error("`nft` was killed because it took longer than {}", humantime::format_duration(LIMIT))]
    TimedOut,
    /// It refused its input; with its first line.
    #[error("`nft` refused the rules: {0}")]
    Refused(String),
}

/// Runs the commands of `input` (`nft -f -`) in one transaction.
///
/// # Errors
/// After `Missing` and `Refused` nothing has changed. After `Io` and `TimedOut` the commands may have been carried out.
pub async fn apply(input: String) -> Result<(), NftError> {
    run(&["-f", "-"], input).await.map(drop)
}

/// Returns the counters of all tables as JSON.
///
/// # Errors
/// When they cannot be read.
pub async fn counters() -> Result<String, NftError> {
    let printed = run(&["-j", "list", "counters"], String::new()).await?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

/// Returns all tables as JSON.
///
/// # Errors
/// When they cannot be read.
pub async fn ruleset() -> Result<String, NftError> {
    let printed = run(&["-j", "list", "ruleset"], String::new()).await?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

async fn run(arguments: &'static [&'static str], input: String) -> Result<Vec<u8>, NftError> {
    let program = PROGRAMS.into_iter().find(|path| Path::new(path).exists()).ok_or(NftError::Missing)?;
    let (started, start_result) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new().name("nft".to_owned()).spawn(move || {
        let _ = started.send(start(&runtime, program, arguments)); // the caller may have given up
    })?;
    let whole = async {
        let ended_early = || io::Error::other("the thread that starts it has ended");
        let mut child = start_result.await.map_err(|_| ended_early())??;
        if let Some(mut stdin) = child.stdin.take() {
            // If it ends before it has read all, its output says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        Ok::<_, NftError>(child.wait_with_output().await?)
    };
    let output = timeout(LIMIT, whole).await.map_err(|_| NftError::TimedOut)??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = said.lines().next().unwrap_or("it printed nothing");
    Err(NftError::Refused(text::one_line(first, text::LINE)))
}

/// Starts the program. It is killed when the result is dropped.
fn start(runtime: &Handle, program: &str, arguments: &[&str]) -> io::Result<Child> {
    let _runtime = runtime.enter();
    let _ambient = AmbientCapabilities::raise(CapabilitySet::NET_ADMIN)?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}
