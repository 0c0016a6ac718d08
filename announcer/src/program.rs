//! The operator's programs that checks and hooks run: the order to run one, its possible ends, and its rights.
//!
//! Pure, except for [`io`].

pub mod confine;
pub mod io;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use nix::errno::Errno;

/// The user for the programs of checks if the daemon runs as root, unless `user` names another.
pub const NOBODY: &str = "nobody";

/// The most programs of one runner that are killed and have not ended: they hang in the kernel.
pub const MOST_LINGERING: usize = 8;

/// The most octets that a program may print; one line is enough.
pub const MOST_OUTPUT: usize = 1024 * 1024;

/// The program, and its user.
#[derive(Debug, Clone)]
pub struct ProgramSpec {
    /// The program's absolute path, then its arguments.
    pub command: Vec<String>,
    /// The user that runs it.
    pub user: RunAs,
    /// Its environment, in addition to `PATH`.
    pub environment: Vec<(Cow<'static, str>, String)>,
}

/// The user of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAs {
    /// The daemon's own user.
    Daemon,
    /// The daemon's own user, or [`NOBODY`] if that is root.
    Unprivileged,
    /// This user of /etc/passwd.
    User(String),
}

/// The limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The time from the request to start it until its end.
    pub time: Duration,
    /// How many octets of its output are kept; the rest is read and dropped.
    pub kept: usize,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramEnd {
    /// With this exit code.
    Code(i32),
    /// By a signal of this name.
    Signal(&'static str),
    /// It timed out; it was killed, with all processes that it had started.
    TimedOut(RunPhase),
    /// It printed more than [`MOST_OUTPUT`], and was killed.
    Endless,
    /// It was not started: [`MOST_LINGERING`] programs before it were killed and have not ended.
    Lingering,
    /// It could not be started.
    NotStarted(StartError),
}

/// What a run was waiting for when it timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunPhase {
    /// The start of the program: the disk hangs, or the host is very busy.
    Start,
    /// The end of the program.
    Exit,
}

/// Why a program could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// The kernel's reason.
    Kernel(Errno),
    /// The user may have no more processes.
    NoProcess,
    /// It exists, but it is not executable.
    NotExecutable,
    /// It exists, but the interpreter in its first line does not.
    NoInterpreter(String),
    /// It exists, but its first line ends with CR LF, so that the CR is a part of the interpreter's name.
    CarriageReturn(String),
    /// It exists, but the interpreter in its first line may not be executed.
    InterpreterDenied(String),
    /// It exists, but the loader that it names does not: it was built for another system.
    NoLoader(String),
    /// It is neither a script whose first line names an interpreter, nor a program for this machine.
    NoProgram,
    /// There is no user of that name in /etc/passwd.
    NoUser(String),
    /// It has to run as another user, but the daemon does not have the capabilities for this.
    MayNotSwitch,
    /// Another reason, with the message of the system.
    Other(String),
}

impl fmt::Display for ProgramEnd {
    /// The text is used alone, or after "hook failed: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramEnd::Code(code) => write!(f, "exit code {code}"),
            ProgramEnd::Signal(name) => write!(f, "the program was ended by {name}"),
            ProgramEnd::TimedOut(RunPhase::Start) => f.write_str("the program was not loaded in time"),
            ProgramEnd::TimedOut(RunPhase::Exit) => f.write_str("the program did not end in time"),
            ProgramEnd::Endless => f.write_str("the program printed more than 1 MiB and was killed"),
            ProgramEnd::Lingering => {
                write!(f, "{MOST_LINGERING} programs before it were killed and do not end")
            }
            ProgramEnd::NotStarted(error) => write!(f, "the program cannot be run: {error}"),
        }
    }
}

impl fmt::Display for StartError {
    /// The text is used after "the program cannot be run: ". Text from a file may contain any characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Kernel(errno) => f.write_str(errno.desc()),
            StartError::NoProcess => f.write_str("its user may have no more processes"),
            StartError::NotExecutable => f.write_str("it is not executable: `chmod +x`"),
            StartError::NoInterpreter(path) => {
                write!(f, "its first line names the interpreter `{path}`, which is not there")
            }
            StartError::CarriageReturn(path) => write!(
                f,
                "its lines end with CR LF, and there is no interpreter `{path}` with a CR at the end of its name; \
                 `sed -i 's/\\r$//'` ends them with LF"
            ),
            StartError::InterpreterDenied(path) => {
                write!(f, "its first line names the interpreter `{path}`, which may not be executed")
            }
            StartError::NoLoader(path) => {
                write!(f, "it needs the loader `{path}`, which is not there; it was built for another system")
            }
            StartError::NoProgram => f.write_str(
                "it is not a program for this machine, and its first line names no interpreter (`#!/bin/sh`)",
            ),
            StartError::NoUser(name) => write!(f, "there is no user `{name}` in /etc/passwd"),
            StartError::MayNotSwitch => f.write_str(
                "announcer may not run programs as another user: it needs CAP_SETUID and CAP_SETGID",
            ),
            StartError::Other(text) => f.write_str(text),
        }
    }
}

/// The file at a program's path, after the kernel has refused to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramFile<'a> {
    /// Whether it is executable.
    pub executable: bool,
    /// Its first octets, as many as the kernel reads; none if it cannot be read.
    pub head: &'a [u8],
}

/// How many octets are read of a program: at least as many as the kernel reads for the interpreter (`BINPRM_BUF_SIZE`), and more
/// for the name of a loader.
pub const HEAD: usize = 4096;

/// Why the kernel did not run a program. For a missing or forbidden interpreter, the kernel returns the same errors as for the
/// program itself, which would mislead a person.
///
/// `found` is the regular file at its path, if it exists; `is_there` says whether another path exists.
pub fn why_not_run(
    errno: Errno,
    found: Option<ProgramFile<'_>>,
    is_there: impl Fn(&str) -> bool,
) -> StartError {
    let Some(ProgramFile { executable, head }) = found else { return StartError::Kernel(errno) };
    let is = |other: Errno| errno == other;
    if is(Errno::ENOEXEC) {
        return StartError::NoProgram;
    }
    if is(Errno::EACCES) && !executable {
        return StartError::NotExecutable;
    }
    if !is(Errno::ENOENT) && !is(Errno::EACCES) {
        return StartError::Kernel(errno);
    }
    match interpreter(head) {
        Some(path) if path.ends_with('\r') => {
            StartError::CarriageReturn(path.trim_end_matches('\r').to_owned())
        }
        Some(path) if is(Errno::EACCES) => StartError::InterpreterDenied(path),
        Some(path) if !is_there(&path) => StartError::NoInterpreter(path),
        Some(_) => StartError::Kernel(errno),
        None => match loader(head) {
            Some(path) if is(Errno::ENOENT) && !is_there(&path) => StartError::NoLoader(path),
            Some(_) | None => StartError::Kernel(errno),
        },
    }
}

/// The interpreter in the first line of a script, with the rules of the kernel (execve(2)).
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|octet| *octet == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let path = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    (!path.is_empty()).then(|| path.to_owned())
}

/// The loader that a 64-bit little-endian ELF program names (elf(5), PT_INTERP).
fn loader(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    head.strip_prefix(b"\x7fELF\x02\x01")?;
    let number = |at: usize, size: usize| {
        let octets = head.get(at..at.checked_add(size)?)?;
        Some(octets.iter().rev().fold(0_u64, |number, octet| number << 8 | u64::from(*octet)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let headers = (0..count).filter_map(|index| usize::try_from(table.checked_add(index * size)?).ok());
    let header = headers.into_iter().find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let start = usize::try_from(number(header.checked_add(8)?, 8)?).ok()?;
    let text = head.get(start..)?.split(|octet| *octet == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

/// The user and group ids of a name, from the text of /etc/passwd: `name:password:uid:gid:…`
pub fn in_passwd(text: &str, name: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let mut number = |at| fields.nth(at)?.parse().ok();
        found.then_some((number(1)?, number(0)?))
    })
}

#[cfg(test)]
mod tests;
