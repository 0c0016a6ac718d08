//! For tests that need their own process, with its own limits and environment.
//!
//! Touches processes.

use std::process::Command;

/// Runs an ignored test of this crate, given by its full name, in a separate process that a shell starts.
pub(crate) fn in_own_process(test: &str, shell: &str) {
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
