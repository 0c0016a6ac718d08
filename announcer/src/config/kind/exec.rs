//! The kind `exec`: a program and its exit code.
//!
//! Pure. Its probe is `health/io/exec.rs`.

use toml::Value as Toml;

use super::super::error::Fault;
use super::super::reader::Present;
use super::super::table::table;
use super::super::value::{Value, Wrong, argument, text, wrong};
use super::super::writer::{self, Out, ToToml};
use super::interface::Kind;

table! {
    /// A program and its exit code.
    pub struct Exec as Written {
        /// The absolute path of the program, then its arguments; never empty, no NUL in it.
        command("exec"): list String, one_of "[\"/usr/local/bin/check-www\"]", argument,
            "a program by its absolute path, with its arguments, and no shell; its exit code counts";
        /// Whose rights it has; `None`: the daemon's own user, or `nobody` if that is root.
        user: one String, optional "\"nobody\"", user,
            "exec: whose rights the program has; without it, the daemon's user, or `nobody` if that is root";
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

impl Kind for Exec {
    type Written = Written;
    /// Its pipe's two ends, its process, /dev/null.
    const DESCRIPTORS: u64 = 4;

    fn request(&self, _at: &str) -> String {
        format!("`{}`", self.command.join(" "))
    }

    /// A program is named by its absolute path: nothing looks it up.
    fn judge(written: &Written, _present: &Present, faults: &mut Vec<Fault>) {
        let Some(program) = written.command.as_ref().and_then(|exec| exec.get_ref().first()) else { return };
        if program.get_ref().starts_with('/') {
            return;
        }
        let message = format!("`{}` is no absolute path", program.get_ref().escape_debug());
        let help = "write the program's path and its arguments, as in `[\"/usr/lib/nagios/plugins/check_load\", \"-w\", \"8\"]`";
        faults.push(Fault::new(program.span(), message, help));
    }

    fn write(written: &Written, out: &mut Out) {
        written.write(out);
    }
}

/// A name that /etc/passwd can have.
fn user(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace() || ":/".contains(c)) {
        let help = "write its name as /etc/passwd has it, as in `\"nobody\"`";
        return wrong(format!("`{}` is no user", text.escape_debug()), help);
    }
    Ok(text.to_owned())
}

fn exit_codes(value: &Value<'_>) -> Result<ExitCodes, Wrong> {
    match text(value)? {
        "zero" => Ok(ExitCodes::Zero),
        "nagios" => Ok(ExitCodes::Nagios),
        other => wrong(
            format!("`{}` is no meaning of exit codes", other.escape_debug()),
            "write `\"zero\"` or `\"nagios\"`",
        ),
    }
}
