//! `dsr-setup doctor` on the frontends of a lab.
//!
//! Touches the lab.

use std::thread;

use anyhow::{Result, bail, ensure};
use lab::Node;

/// Runs `dsr-setup doctor` on these nodes at the same time, which takes two seconds.
///
/// # Errors
/// When it prints a finding on one of them, or something that it could not check, or cannot run.
pub fn doctor_finds_nothing(frontends: &[&Node]) -> Result<()> {
    thread::scope(|scope| {
        let runs: Vec<_> = frontends
            .iter()
            .map(|node| (node, scope.spawn(|| node.exec(&["dsr-setup", "doctor"]))))
            .collect();
        runs.into_iter().try_for_each(|(node, run)| {
            let Ok(output) = run.join() else { bail!("a thread panicked") };
            let output = output?;
            let printed = output.stdout + &output.stderr;
            ensure!(
                output.code == 0 && printed.is_empty(),
                "`dsr-setup doctor` on {}, which is healthy: exit code {}\n{printed}",
                node.name(),
                output.code
            );
            Ok(())
        })
    })
}
