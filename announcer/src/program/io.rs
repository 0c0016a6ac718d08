//! Starts a program of the operator's.
//!
//! Touches processes. No shell, a clean environment, `/` as working directory, nothing on standard input, and a process
//! group of its own, which is killed as a whole.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;

/// Where programs are looked for, by name and by themselves.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its arguments, ready to be given more of an environment, and somewhere to print to; none of an empty line.
pub fn command(line: &[String]) -> Option<Command> {
    let (program, arguments) = line.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH);
    command.current_dir("/").process_group(0).stdin(Stdio::null());
    Some(command)
}

/// Starts it, and blocks until it is loaded; within a runtime.
///
/// # Errors
/// Those of fork and execve.
pub fn spawn(command: Command) -> io::Result<(Child, Group)> {
    let child = tokio::process::Command::from(command).spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.into_iter().for_each(expose);
    Ok((child, Group(id.map(Pid::from_raw))))
}

/// A program, and all that it started and that stayed with it.
#[derive(Debug, Clone, Copy)]
pub struct Group(Option<Pid>);

impl Group {
    /// Ends them all. One that took other rights stays.
    pub fn kill(self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL); // it may have ended by itself at this very moment
        }
    }
}

/// Takes from a program what the daemon has against the kernel's lack of memory: it may be what eats it.
fn expose(id: i32) {
    let adjustment = |of: &str| std::fs::read_to_string(format!("/proc/{of}/oom_score_adj"));
    if adjustment("self").is_ok_and(|own| own.starts_with('-')) {
        let _ = std::fs::write(format!("/proc/{id}/oom_score_adj"), "0"); // it may have ended
    }
}
