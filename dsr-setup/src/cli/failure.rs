//! Why a command failed, as the message that it prints, and its exit code.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::io::Error;
use crate::io::announcer::AskError;
use crate::io::device::DeviceError;
use crate::io::regular::FileError;
use crate::io::tunnel::TunnelError;
use crate::tunnel::TunnelStep;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration file does not exist, or cannot be read.
    #[error("cannot read `{}`: {error}{}", path.display(), hint(error))]
    ConfigFile {
        /// The path of the file.
        path: PathBuf,
        /// Why.
        error: FileError,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The state of the host cannot be read.
    #[error("cannot read the host: {0}")]
    Observe(Error),
    /// There are steps to do, but this process has no right to do them.
    #[error("{0}")]
    NotPermitted(Error),
    /// A step failed.
    #[error("`{step}` failed: {error}{}", not_done(*after))]
    Step {
        /// The line about it.
        step: String,
        /// Why.
        error: Error,
        /// How many steps after it were not done.
        after: usize,
    },
    /// A step about a tunnel failed.
    #[error("`{step}` failed: {error}")]
    Tunnel {
        /// Which.
        step: TunnelStep,
        /// Why.
        error: TunnelError,
    },
    /// A running daemon holds VIPs that the steps affect: VIPs that are removed, or all if the ARP settings are restored.
    #[error(
        "announcer runs and holds {}: it would put {} back; stop it first with `systemctl stop announcer`, or use `--force`",
        join(.0), if .0.len() == 1 { "it" } else { "them" }
    )]
    InUse(BTreeSet<IpAddr>),
    /// The JSON cannot be written.
    #[error("{0}")]
    Json(serde_json::Error),
    /// An interface cannot have the VIPs.
    #[error("{0}")]
    Device(#[from] DeviceError),
    /// `dsr-setup watch` keeps the VIPs.
    #[error(
        "{holder} keeps the VIPs on {device}, and would put them back; stop it first, with `systemctl stop dsr-setup-watch` if it is the \
         unit, or use `--force`"
    )]
    Watched {
        /// Its name and its process.
        holder: String,
        /// The device of the VIPs.
        device: String,
    },
    /// `watch` cannot begin.
    #[error("the VIPs cannot be watched: {0}")]
    Watch(Error),
    /// A drop-in could not be written or removed.
    #[error("`{}`: {error}", path.display())]
    DropIn {
        /// The drop-in.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A file of `persist` could not be written or removed.
    #[error(transparent)]
    Persist(#[from] crate::io::persist::PersistError),
    /// The files of `persist` cannot be written.
    #[error(transparent)]
    Kept(#[from] crate::persist::KeptError),
    /// The state file cannot be read, so the changes cannot be undone.
    #[error("{0}")]
    Record(String),
    /// A daemon listens, but does not return which VIPs it holds.
    #[error("cannot ask announcer at `{}` which VIPs it holds: {error}; `--force` continues without this answer", socket.display())]
    Ask {
        /// Its control socket.
        socket: PathBuf,
        /// The error.
        error: AskError,
    },
}

impl Failure {
    /// 1 for a step that failed or was refused; 2 for wrong usage, a wrong configuration, or a host or state file that cannot be
    /// read.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::ConfigFile { .. }
            | Failure::Config(_)
            | Failure::Device(_)
            | Failure::Json(_)
            | Failure::Observe(_)
            | Failure::Record(_)
            | Failure::Kept(_) => ExitCode::from(2),
            Failure::NotPermitted(_)
            | Failure::Step { .. }
            | Failure::Tunnel { .. }
            | Failure::InUse(_)
            | Failure::Watched { .. }
            | Failure::Watch(_)
            | Failure::DropIn { .. }
            | Failure::Persist(_)
            | Failure::Ask { .. } => ExitCode::from(1),
        }
    }
}

/// What to do about a configuration file that does not exist.
fn hint(error: &FileError) -> &'static str {
    match error {
        FileError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "; name another file with `--config`, or write VIPs, as in `dsr-setup apply 192.0.2.80`"
        }
        FileError::Io(_)
        | FileError::NotRegular
        | FileError::TooLarge(_)
        | FileError::WritableByOthers(_) => "",
    }
}

/// The end of a message: how many steps after the failed one were not done.
fn not_done(steps: usize) -> String {
    match steps {
        0 => String::new(),
        1 => "; 1 step after it was not done".into(),
        n => format!("; {n} steps after it were not done"),
    }
}

fn join(vips: &BTreeSet<IpAddr>) -> String {
    vips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
