//! The rules and the device that a daemon with `[chain]` leaves: whether they are there, and their removal.
//!
//! Touches rtnetlink, and runs `nft` by an absolute path and with an empty environment.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use netlink_dump::one;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::Handle;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::vips::{is, request_error};
use super::{Error, permitted};
use crate::plan::{ChainRules, DEVICE, Table, tables};

/// Where distributions install `nft`.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];
/// The most that a run of `nft` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a run of `nft` has failed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// It cannot be started, or its input and output fail.
    #[error("`nft` cannot be run: {0}")]
    Io(#[from] io::Error),
    /// It takes too long. It was killed.
    #[error("`nft` was killed because it took longer than {} s", LIMIT.as_secs())]
    TimedOut,
    /// It has failed; with the first line of what it said.
    #[error("`nft` said: {0}")]
    Refused(String),
}

/// What is there. Without `nft` no table can be there: the daemon installs them with it.
///
/// # Errors
/// Those of rtnetlink; and that reading the tables needs CAP_NET_ADMIN. That `nft` fails is no error, but is in the result.
pub async fn observe(handle: &Handle) -> Result<ChainRules, Error> {
    let device = device(handle).await?;
    let Some(program) = program() else { return Ok(ChainRules { device, ..ChainRules::default() }) };
    permitted()?;
    Ok(match run(program, &["list", "tables"], "").await {
        Ok(printed) => ChainRules { tables: tables(&printed), device, error: None },
        Err(error) => ChainRules { device, error: Some(error.to_string()), ..ChainRules::default() },
    })
}

/// Removes a table, if it is there.
///
/// # Errors
/// Those of `nft`.
pub async fn remove_table(table: Table) -> Result<(), NftError> {
    match program() {
        Some(program) => run(program, &["-f", "-"], &table.removal()).await.map(drop),
        None => Err(io::Error::from(io::ErrorKind::NotFound).into()),
    }
}

/// Removes the device with this index, if it is there.
///
/// # Errors
/// Those of rtnetlink.
pub async fn remove_device(handle: &Handle, index: u32) -> Result<(), Error> {
    match handle.link().del(index).execute().await {
        Err(error) if !is(&error, libc::ENODEV) => Err(request_error(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What `nft -j list ruleset` prints; `None`: it is not installed.
pub(super) async fn list_ruleset() -> Option<Result<String, NftError>> {
    Some(run(program()?, &["-j", "list", "ruleset"], "").await)
}

/// Runs `nft`, which needs CAP_NET_ADMIN also to read; returns what it prints. `None`: it is not installed.
pub(super) async fn nft(arguments: &[&str], input: &str) -> Result<Option<String>, Error> {
    let Some(program) = program() else { return Ok(None) };
    permitted()?;
    Ok(Some(run(program, arguments, input).await?))
}

fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|path| Path::new(path).exists())
}

/// The index of the daemon's device. A device of another kind with its name is not the daemon's.
async fn device(handle: &Handle) -> Result<Option<u32>, Error> {
    let link = one(handle.link().get().match_name(DEVICE.to_owned())).await;
    match link {
        Ok(link) => Ok(link.filter(is_vxlan).map(|link| link.header.index)),
        Err(error) if is(&error, libc::ENODEV) => Ok(None),
        Err(error) => Err(request_error(error)),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn is_vxlan(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Vxlan)),
        _ => false,
    })
}

/// Runs `nft`; returns what it prints.
async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, NftError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let whole = async {
        if let Some(mut stdin) = stdin {
            // If it ends before it has read all, its output says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(LIMIT, whole).await.map_err(|_| NftError::TimedOut)??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(NftError::Refused(said.lines().next().unwrap_or("nothing").to_owned()))
}
