//! The kind `exec`: a program and its exit code.
//!
//! Pure. Its probe is `health/io/exec.rs`.

use std::fmt;

use toml::Value as Toml;

use super::super::error::Fault;
use super::super::reader::PresentKeys;
use super::super::secret::{SecretText, argument};
use super::super::table::table;
use super::super::value::{Value, ValueError, text, wrong};
use super::super::writer::{self, ToToml, TomlWriter};
use super::interface::{FailureWord, ProbeKind, Word};
use crate::model::text::PrintableText;

table! {
    /// A program and its exit code.
    pub struct ExecConfig as Written {
        /// The absolute path of the program, then its arguments; never empty, no NUL in it.
        command("exec"): list SecretText, one_of "[\"/usr/local/bin/check-www\"]", argument,
            "a program, by its absolute path, and its arguments; it runs without a shell; its exit code is the result",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// The user that runs the program; `None`: the daemon's own user, or `nobody` if the daemon runs as root.
        user: one String, optional "\"nobody\"", user,
            "exec: the user that runs the program; without it, the daemon's user, or `nobody` if the daemon runs as root";
        /// What its exit code means.
        exit_codes: one ExitCodes, default "\"zero\"", exit_codes,
            "exec: `zero`: 0 passes; or `nagios`: 0 passes, 1 (WARNING) passes with a warning; all others fail";
    }
}

/// `exit_codes`: what a program's exit code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCodes {
    /// 0 passes, all others fail.
    Zero,
    /// Those of Nagios' plugins: 0 (OK) passes, 1 (WARNING) passes with a warning, 2 (CRITICAL), 3 (UNKNOWN) and all others
    /// fail.
    Nagios,
}

impl ToToml for ExitCodes {
    fn to_toml(&self) -> Toml {
        writer::text(match self {
            ExitCodes::Zero => "zero",
            ExitCodes::Nagios => "nagios",
        })
    }
}

impl ProbeKind for ExecConfig {
    type Written = Written;
    /// The two ends of its pipe, its process, /dev/null.
    const DESCRIPTORS: u64 = 4;

    fn request(&self, _at: &str) -> String {
        let words: Vec<String> = self.command.iter().map(ToString::to_string).collect();
        format!("`{}`", words.join(" "))
    }

    /// A program needs an absolute path, because there is no search path.
    fn judge(written: &Written, _present: &PresentKeys, faults: &mut Vec<Fault>) {
        let Some(program) = written.command.as_ref().and_then(|exec| exec.get_ref().first()) else { return };
        if program.get_ref().starts_with('/') {
            return;
        }
        let message = format!("`{}` is not an absolute path", program.get_ref().escape_debug());
        let help = "write the program's path and its arguments, as in `[\"/usr/lib/nagios/plugins/check_load\", \"-w\", \"8\"]`";
        faults.push(Fault::new(program.span(), message, help));
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// A name that /etc/passwd can have.
fn user(value: &Value<'_>) -> Result<String, ValueError> {
    let text = text(value)?;
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace() || ":/".contains(c)) {
        let help = "write its name as /etc/passwd has it, as in `\"nobody\"`";
        return wrong(format!("`{}` is not a user name", text.escape_debug()), help);
    }
    Ok(text.to_owned())
}

fn exit_codes(value: &Value<'_>) -> Result<ExitCodes, ValueError> {
    match text(value)? {
        "zero" => Ok(ExitCodes::Zero),
        "nagios" => Ok(ExitCodes::Nagios),
        other => wrong(
            format!("`{}` is not a value of `exit_codes`", other.escape_debug()),
            "write `\"zero\"` or `\"nagios\"`",
        ),
    }
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An exit code that passes.
    Exit(i32),
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Exit(0)]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Exit(code) => write!(f, "exit code {code}"),
        }
    }
}

/// What is wrong although the probe passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The exit code is a warning; with the first line that the program printed, if any.
    Program(Option<PrintableText>),
}

impl Word for Warning {
    fn examples() -> Vec<Self> {
        vec![Warning::Program(Some(PrintableText::new("LOAD WARNING - 7")))]
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Program(Some(line)) => write!(f, "the program warns: {line}"),
            Warning::Program(None) => f.write_str("the program warns"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An exit code that does not pass.
    Exit {
        /// 1 to 255.
        code: i32,
        /// The first line that the program printed, if any.
        line: Option<PrintableText>,
    },
    /// The program ended by a signal of this name.
    Killed(&'static str),
    /// The program printed too much and was killed.
    Endless,
    /// The programs of earlier probes were killed and have not ended: they hang in the kernel, perhaps because of a disk.
    Lingering,
    /// The program could not be started, for this reason.
    NotRun(PrintableText),
    /// `user` is not in /etc/passwd.
    NoUser(PrintableText),
    /// `user` differs from our user, and we do not have the rights to switch.
    NotAllowed,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![
            Failure::Exit { code: 2, line: Some(PrintableText::new("DISK CRITICAL - 99% of /")) },
            Failure::Killed("SIGSEGV"),
            Failure::Endless,
            Failure::Lingering,
            Failure::NotRun(PrintableText::new("No such file or directory")),
            Failure::NoUser(PrintableText::new("www-check")),
            Failure::NotAllowed,
        ]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Exit { .. } => "exit_code",
            Failure::Killed(_) => "killed",
            Failure::Endless => "endless",
            Failure::Lingering => "lingering",
            Failure::NotRun(_) => "not_run",
            Failure::NoUser(_) => "no_user",
            Failure::NotAllowed => "not_allowed",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Exit { code, line: Some(line) } => write!(f, "exit code {code}: {line}"),
            Failure::Exit { code, line: None } => write!(f, "exit code {code}"),
            Failure::Killed(signal) => write!(f, "the program was ended by {signal}"),
            Failure::Endless => f.write_str("the program printed more than 1 MiB and was killed"),
            Failure::Lingering => {
                f.write_str("not run, 8 programs of earlier probes were killed and do not end")
            }
            Failure::NotRun(why) => write!(f, "the program cannot be run: {why}"),
            Failure::NoUser(name) => write!(f, "there is no user `{name}` in /etc/passwd"),
            Failure::NotAllowed => f.write_str(
                "announcer may not run programs as another user: it needs CAP_SETUID and CAP_SETGID",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_label_and_its_text() {
        let want = [
            ("exit_code", "exit code 2: DISK CRITICAL - 99% of /"),
            ("killed", "the program was ended by SIGSEGV"),
            ("endless", "the program printed more than 1 MiB and was killed"),
            ("lingering", "not run, 8 programs of earlier probes were killed and do not end"),
            ("not_run", "the program cannot be run: No such file or directory"),
            ("no_user", "there is no user `www-check` in /etc/passwd"),
            (
                "not_allowed",
                "announcer may not run programs as another user: it needs CAP_SETUID and CAP_SETGID",
            ),
        ];
        let failures = Failure::examples();
        assert_eq!(failures.len(), want.len());
        for (failure, want) in failures.iter().zip(want) {
            match failure {
                // A new variant does not compile before it is here, and then in the examples and above.
                Failure::Exit { .. } | Failure::Killed(_) | Failure::Endless | Failure::Lingering => {}
                Failure::NotRun(_) | Failure::NoUser(_) | Failure::NotAllowed => {}
            }
            assert_eq!((failure.label(), failure.to_string().as_str()), want);
            assert!(failure.is_timed());
        }
    }

    #[test]
    fn what_a_program_printed_is_reported_where_it_printed_something() {
        let answers: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(answers, ["exit code 0"]);
        assert_eq!(Failure::Exit { code: 2, line: None }.to_string(), "exit code 2");
        assert_eq!(Warning::Program(None).to_string(), "the program warns");
        let warnings = Warning::examples();
        assert_eq!(
            warnings.iter().map(Warning::to_string).collect::<Vec<_>>(),
            ["the program warns: LOAD WARNING - 7"]
        );
    }
}
