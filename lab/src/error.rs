//! Why a lab could not be made, entered or ended. Pure.

use std::io;
use std::path::Path;

use crate::topology;

/// Why something could not be done. Printed as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topology file is wrong.
    #[error(transparent)]
    Topology(#[from] topology::TopologyError),
    /// Namespaces need root.
    #[error("network namespaces need root: run it with sudo")]
    NotRoot,
    /// A requirement is missing; the message says what it is, and how to get it.
    #[error("{0}")]
    Missing(String),
    /// A file, a folder or a system call.
    #[error("{what}: {error}")]
    Io {
        /// The object of the operation.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another process is changing the lab.
    #[error("lab `{name}` is being started or stopped by process {pid}: wait for that, or end it")]
    Busy {
        /// The lab.
        name: String,
        /// The process.
        pid: String,
    },
    /// There is already a lab of this name.
    #[error(
        "lab `{name}` is up already (from {topology}): `lab down --name {name}` ends it, `--name OTHER` (or LAB_NAME) makes a second one"
    )]
    AlreadyUp {
        /// The lab.
        name: String,
        /// Its file.
        topology: String,
    },
    /// The lab of a test that was killed, which could not be ended.
    #[error("lab `{name}` is left from a test that was killed, and cannot be ended: {why}")]
    Abandoned {
        /// The lab.
        name: String,
        /// Why not.
        why: String,
    },
    /// There is no lab of this name.
    #[error("lab `{0}` is not up: `lab up` starts it")]
    NotUp(String),
    /// No such node, or it has ended.
    #[error("{0}")]
    Node(String),
    /// A command of `exec` failed.
    #[error("{node}: `{command}` failed with exit code {code}{}", indented(.output))]
    Exec {
        /// Where.
        node: String,
        /// What.
        command: String,
        /// How.
        code: u8,
        /// Its whole output.
        output: String,
    },
    /// Interrupted, and rolled back.
    #[error("interrupted")]
    Interrupted,
}

fn indented(output: &str) -> String {
    output.lines().map(|line| format!("\n  {line}")).collect()
}

impl Error {
    pub(crate) fn file(path: &Path, source: io::Error) -> Error {
        Error::of(path.display(), source)
    }

    pub(crate) fn of(what: impl std::fmt::Display, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return Error::Interrupted;
        }
        Error::Io { what: what.to_string(), error }
    }
}
