//! The kind `file`: a file that has to exist.
//!
//! Pure. Its probe is `health/io/file.rs`.

use std::fmt;
use std::path::PathBuf;

use super::super::table::table;
use super::super::value::absolute;
use super::super::writer::TomlWriter;
use super::interface::{FailureWord, ProbeKind, Word};

table! {
    /// A file that has to be there.
    pub struct FileConfig as Written {
        /// Absolute.
        path("file"): one PathBuf, one_of "\"/run/www.up\"", absolute,
            "a file that has to exist, by its absolute path",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
    }
}

impl ProbeKind for FileConfig {
    type Written = Written;
    const DESCRIPTORS: u64 = 0;

    fn request(&self, _at: &str) -> String {
        format!("for the file `{}`", self.path.display())
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The file exists.
    Exists,
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Exists]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Exists => f.write_str("the file is there"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The file does not exist.
    Missing,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![Failure::Missing]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Missing => "missing",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Missing => f.write_str("the file is not there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["the file is there"]);
        let failures = Failure::examples();
        let text: Vec<_> = failures.iter().map(|failure| (failure.label(), failure.to_string())).collect();
        assert_eq!(text, [("missing", "the file is not there".to_owned())]);
        assert!(failures.iter().all(Failure::is_timed));
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::Exists, Failure::Missing) {
            (Answer::Exists, Failure::Missing) => {}
        }
    }
}
