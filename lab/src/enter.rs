//! Runs a command inside a node.
//!
//! Touches the kernel: namespaces, processes. `__enter` (or `lab exec`) joins the node's pid namespace for its children, and starts
//! `__exec`, which joins all other namespaces and becomes the command. The command dies together with the waiting process, so that
//! a killed `lab exec` leaves no process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, chdir};

use crate::topology::NodeConfig;

/// The hidden subcommand that runs a command in the node whose init has this pid, and waits for it.
pub const ENTER: &str = "__enter";
/// The hidden subcommand that becomes the command.
pub const EXEC: &str = "__exec";

/// The exit code of a command that could not be started, as in a shell.
const NOT_STARTED: u8 = 127;

/// The environment of every command in a node.
pub(crate) fn environment(node: &NodeConfig) -> BTreeMap<String, String> {
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
    ];
    let mut all: BTreeMap<String, String> =
        fixed.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    if let Ok(term) = std::env::var("TERM") {
        all.insert("TERM".to_string(), term);
    }
    all.extend(node.env.clone());
    all
}

/// `lab __enter PID CMD…`: runs the command, and returns its exit code (128 and the signal's number, if one ended it).
pub fn enter(init: Pid, command: &[OsString]) -> ExitCode {
    let started = join(init, "pid", CloneFlags::CLONE_NEWPID).and_then(|()| {
        let program = std::env::current_exe().map_err(|e| format!("cannot find my own program: {e}"))?;
        Command::new(program)
            .arg(EXEC)
            .arg(init.to_string())
            .args(command)
            .status()
            .map_err(|e| format!("cannot enter the node: {e}"))
    });
    match started {
        Ok(status) => ExitCode::from(code(status)),
        Err(message) => not_started(&message),
    }
}

/// `lab __exec PID CMD…`: becomes the command, in every namespace of the node.
pub fn exec(init: Pid, command: &[OsString]) -> ExitCode {
    let [program, arguments @ ..] = command else { return not_started("no command") };
    let ready =
        set_pdeathsig(Signal::SIGKILL).map_err(|e| e.desc().to_string()).and_then(|()| join_all(init));
    if let Err(message) = ready {
        return not_started(&message);
    }
    let error = Command::new(program).args(arguments).exec();
    not_started(&format!("cannot run `{}`: {error}", program.display()))
}

fn join_all(init: Pid) -> Result<(), String> {
    join(init, "net", CloneFlags::CLONE_NEWNET)?;
    join(init, "uts", CloneFlags::CLONE_NEWUTS)?;
    join(init, "ipc", CloneFlags::CLONE_NEWIPC)?;
    // This is the last one: from here on, `/proc` belongs to the node.
    join(init, "mnt", CloneFlags::CLONE_NEWNS)?;
    chdir("/").map_err(|e| e.desc().to_string())
}

fn join(init: Pid, namespace: &str, kind: CloneFlags) -> Result<(), String> {
    let path = format!("/proc/{init}/ns/{namespace}");
    let file = File::open(&path).map_err(|e| format!("the node is gone ({path}: {e})"))?;
    setns(file, kind).map_err(|e: Errno| format!("cannot enter {path}: {}", e.desc()))
}

fn not_started(message: &str) -> ExitCode {
    output::note(format_args!("lab: {message}"));
    ExitCode::from(NOT_STARTED)
}

/// The exit code, as in a shell.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
