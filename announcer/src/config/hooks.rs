//! `[hooks]`.
//!
//! Pure.

use std::time::Duration;

use super::error::Fault;
use super::keys::Section;
use super::secret::{SecretText, argument};
use super::table::table;
use super::value::{MINUTE, SECOND, within};

pub(super) const SECTION: Section = Section {
    header: "[hooks]",
    doc: "A command that is run when the standing of a VIP has changed; without the table, no command is run.",
    keys: &[&[Written::KEYS]],
};

table! {
    /// `[hooks]`.
    pub struct HooksConfig as Written {
        /// The absolute path of a program, and its arguments.
        on_change: list SecretText, required "[\"/usr/local/bin/hook\", \"web\"]", argument,
            "the program's absolute path, and its arguments; it runs without a shell, one run at a time";
        /// For a run.
        timeout: one Duration, default "\"10s\"", within(SECOND / 10..=MINUTE * 5),
            "how long a run may take before it is killed; 100ms to 5m";
    }
}

/// The path has to be absolute. With a search path, another user could put a program with the same name into an earlier directory.
pub(super) fn judge(hooks: &Written, faults: &mut Vec<Fault>) {
    let program = hooks.on_change.as_ref().and_then(|written| written.get_ref().first());
    if let Some(program) = program.filter(|program| !program.get_ref().starts_with('/')) {
        let message = format!("`{}` is not an absolute path", program.get_ref().escape_debug());
        faults.push(Fault::new(program.span(), message, "write the path of the program from `/` on"));
    }
}
