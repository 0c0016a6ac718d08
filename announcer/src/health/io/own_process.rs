//! For tests that need a process of their own: its limits, its environment.
//!
//! Touches processes.

use std::process::Command;

/// Runs an ignored test of this crate, by its whole name, in a process of its own by way of a shell.
pub(super) fn in_own_process(test: &str, shell: &str) {
    let run = Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" --exact --ignored {test}")])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}
