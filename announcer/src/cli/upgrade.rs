//! `announcer upgrade`: replaces the running daemon by the installed program, in place.
//!
//! Touches the control socket, /proc, and the folder of the previous program, which only root can write. So this command keeps the
//! program that runs, and not the daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{CommandError, json, no, unexpected};
use crate::control::admission;
use crate::control::api::{ApiError, ErrorCode, Request, Response, Status};
use crate::control::io::client::{self, ClientError};
use crate::files::io::keep::{KeptProgram, keep_program};
use crate::files::io::{self as files};
use crate::takeover::successor::{ANSWER_TIME, Successor, previous_folder};
use crate::takeover::{MARKER, Start, marker};

/// The longest time until the new program answers.
const TAKEOVER_TIME: Duration = Duration::from_secs(30);
/// The time between two questions to the new program.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct UpgradeArguments {
    /// Go back to the program that ran before the last upgrade.
    #[arg(long)]
    previous: bool,
    /// Even if a router may take the pause for a failure (BFD), if too few other frontends announce a VIP (`min_announcers`), or if the
    /// running program cannot be kept for `--previous`.
    #[arg(long)]
    force: bool,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// What an upgrade has done, as JSON.
#[derive(Debug, Serialize)]
struct Upgrade {
    /// The version that ran before.
    before: String,
    /// The version that runs now.
    version: String,
    /// The process, which is the same.
    pid: u32,
    /// Milliseconds without a turn of the daemon.
    gap_ms: Option<f64>,
}

pub(super) fn call(arguments: &UpgradeArguments, socket: &Path) -> Result<(), CommandError> {
    let UpgradeArguments { previous, force, json: is_json } = *arguments;
    let successor = if previous { Successor::Previous } else { Successor::Installed };
    let request = Request::Upgrade { successor, force };
    admission::permitted(&request, nix::unistd::geteuid().as_raw()).map_err(CommandError::Api)?;
    let before = status(socket).map_err(CommandError::Client)?;
    let installed = before.start.installed.as_ref().map(PathBuf::from);
    let installed = installed.ok_or_else(|| match before.start.how.is_empty() {
        true => no("the running program is older than this command, and cannot be replaced in place: `systemctl restart announcer`"),
        false => no("the daemon does not know which file it was started from: `systemctl restart announcer`"),
    })?;
    let folder = own_folder(&installed)?;
    if !previous {
        keep(&before, &installed, &folder).or_else(|why| match force {
            true => {
                output::note(format_args!("warning: {why}"));
                Ok(())
            }
            false => Err(no(format_args!("{why}; `announcer upgrade --force` goes on without it"))),
        })?;
    }
    let asked = Instant::now();
    match client::ask(socket, &request, ANSWER_TIME) {
        // It ends with the former program.
        Err(ClientError::Broken { .. }) => {}
        Err(error) => return Err(CommandError::Client(error)),
        Ok(Response::Error(error)) => {
            let _ = files::remove(&folder.join(MARKER)); // there was no upgrade; a marker that stays has no effect after a minute
            return Err(CommandError::Api(error));
        }
        Ok(_) => return Err(unexpected()),
    }
    report(&before, &answered(socket, asked)?, is_json)
}

/// The folder of the previous program, of the installation that this program belongs to. The daemon may name any path, so it is
/// compared with the path of this program.
fn own_folder(installed: &Path) -> Result<PathBuf, CommandError> {
    let own = std::env::current_exe().map_err(no)?;
    if own != installed && own != Successor::Previous.file(installed).unwrap_or_default() {
        let (installed, own) = (installed.display(), own.display());
        return Err(no(format_args!(
            "the daemon was installed as `{installed}`, and this is `{own}`: write `{installed} upgrade`"
        )));
    }
    previous_folder(installed)
        .ok_or_else(|| no(format_args!("`{}` is in no folder `bin`", installed.display())))
}

/// Keeps the program that runs, and notes the time of the upgrade for the starter.
fn keep(before: &Status, installed: &Path, folder: &Path) -> Result<(), String> {
    let running = PathBuf::from(format!("/proc/{}/exe", before.pid));
    let failed = |error: io::Error| {
        let why = match error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            true => "the file system is read only".to_owned(),
            false => files::sentence(&error),
        };
        format!("the running program cannot be kept in `{}` for the way back: {why}", folder.display())
    };
    let kept = keep_program(&running, folder, "announcer", installed).map_err(failed)?;
    if kept == KeptProgram::Copied {
        output::note(format_args!("version {} is kept in `{}`", before.version, folder.display()));
    }
    let text =
        |path: &str| files::read_text(Path::new(path), 4096).map_err(|error| failed(io::Error::other(error)));
    let marked = marker(&text("/proc/sys/kernel/random/boot_id")?, &text("/proc/uptime")?);
    let marked = marked.ok_or_else(|| failed(io::Error::other("the time since the boot is not known")))?;
    files::replace_public(folder, MARKER, &marked).map_err(failed)
}

fn status(socket: &Path) -> Result<Status, ClientError> {
    let answer = client::ask(socket, &Request::Status, Duration::ZERO)?;
    let Response::Status { status } = answer else {
        let error = io::Error::other("it did not send its status");
        return Err(ClientError::Broken { path: socket.display().to_string(), error });
    };
    Ok(*status)
}

/// Waits until a program answers again.
fn answered(socket: &Path, asked: Instant) -> Result<Status, CommandError> {
    let end = Instant::now() + TAKEOVER_TIME;
    loop {
        match status(socket) {
            Ok(status) if status.uptime < asked.elapsed().as_secs_f64() => return Ok(status), // it began after the request
            Ok(_) | Err(_) if Instant::now() < end => sleep(AGAIN),
            Ok(_) => return Err(no("the running program did not answer the request, and goes on")),
            Err(error) => {
                let limit = humantime::format_duration(TAKEOVER_TIME);
                return Err(no(format_args!(
                    "the program was replaced, and the new one does not answer within {limit} ({error}): `journalctl -u announcer` has \
                     its log, `announcer upgrade --previous` needs an answer, `systemctl restart announcer` does not"
                )));
            }
        }
    }
}

fn report(before: &Status, after: &Status, is_json: bool) -> Result<(), CommandError> {
    if after.pid != before.pid || after.start.how != Start::Upgrade.as_str() {
        let text = format!(
            "the new program has ended; now version {} runs, started as pid {}: `journalctl -u announcer` says why",
            after.version, after.pid
        );
        return Err(CommandError::Api(ApiError::new(ErrorCode::Failed, text)));
    }
    let upgrade = Upgrade {
        before: before.version.clone(),
        version: after.version.clone(),
        pid: after.pid,
        gap_ms: after.start.gap_ms,
    };
    if is_json {
        output::line(json(&upgrade));
    } else {
        let gap = upgrade.gap_ms.map(|gap| format!(", after a pause of {gap:.0} ms")).unwrap_or_default();
        output::line(format_args!(
            "version {} runs{gap}; before: version {}",
            upgrade.version, upgrade.before
        ));
    }
    Ok(())
}
