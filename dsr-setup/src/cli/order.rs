//! `dsr-setup order`: the drop-in for the unit of a web server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use crate::io::units;
use crate::units::{UNITS, Unit};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// The web server's unit, as in `caddy.service`; more units can follow
    #[arg(value_name = "UNIT", required = true, value_parser = Unit::parse)]
    units: Vec<Unit>,

    /// Remove the drop-in again
    #[arg(long)]
    remove: bool,

    /// The directory of the operator's units and drop-ins
    #[arg(long, value_name = "DIR", default_value = UNITS)]
    units_dir: PathBuf,
}

impl Order {
    /// Writes or removes the drop-in of each unit, and prints the path of each that has changed.
    pub(super) fn carry_out(self) -> Result<ExitCode, Failure> {
        let mut is_changed = false;
        for unit in &self.units {
            if !self.remove && !units::exists(&self.units_dir, unit) {
                output::note(format_args!(
                    "warning: systemd has no unit `{}` yet; the drop-in has no effect until there is one",
                    unit.name()
                ));
            }
            let (verb, done) = if self.remove {
                ("removed", units::remove(&self.units_dir, unit))
            } else {
                ("wrote", units::write(&self.units_dir, unit))
            };
            if let Some(path) = done.map_err(|(path, error)| Failure::DropIn { path, error })? {
                is_changed = true;
                output::line(format_args!("{verb} {}", path.display()));
            }
        }
        if is_changed {
            output::line("`systemctl daemon-reload` lets systemd read it");
        }
        Ok(ExitCode::SUCCESS)
    }
}
