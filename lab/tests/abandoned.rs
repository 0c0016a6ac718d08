//! A lab of containerlab whose test was killed, while Docker's engine does not answer. In a file of its own, because every `up` on the
//! machine ends abandoned labs, and with an engine that answers it ends this one too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lab::state::{self, EngineRecord, Process, State};
use lab::topology::Management;
use nix::unistd::{Pid, Uid};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");
/// There was never such a process.
const ENDED: Process = Process { pid: 1, started: u64::MAX };

/// Writes what `up` leaves when it is killed.
fn leave(name: &str, first_processes: Vec<Process>) {
    let dir = state::dir(name);
    fs::create_dir_all(&dir).unwrap();
    let made = EngineRecord::Containerlab {
        management: Management::Unused,
        prefix: None,
        named_by_file: false,
        program: PROGRAM.into(),
    };
    let state = State {
        topology: "/former.clab.yml".into(),
        made,
        owner: Some(ENDED),
        first_processes,
        nodes: BTreeMap::new(),
    };
    state.write(&dir).unwrap();
}

/// A name of a lab, whose folder is removed when this is dropped. Without Docker's engine, nothing else removes it.
struct LabName(String);

impl LabName {
    const PREFIX: &str = "abandoned-";

    /// A name for this process. The folders of tests of this file that were killed are removed.
    fn new() -> LabName {
        for name in state::labs() {
            let pid = name.strip_prefix(LabName::PREFIX).and_then(|pid| pid.parse().ok());
            if pid.is_some_and(|pid: u32| !Path::new(&format!("/proc/{pid}")).exists()) {
                drop(LabName(name));
            }
        }
        LabName(format!("{}{}", LabName::PREFIX, Pid::this()))
    }
}

impl Drop for LabName {
    fn drop(&mut self) {
        // After `down` there is none, and a test that failed has its own error.
        let _ = lab(&["down", "--name", &self.0]);
        let _ = fs::remove_dir_all(state::dir(&self.0));
    }
}

fn lab(words: &[&str]) -> Output {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(PROGRAM);
    command
        .args(words)
        .current_dir(lab)
        .env("DOCKER_HOST", "unix:///no/engine")
        .env("LAB_IMAGES", lab.join("images"));
    if std::env::var_os("LAB_CACHE").is_none() {
        command.env("LAB_CACHE", lab.join("../target/lab"));
    }
    command.output().unwrap()
}

#[test]
fn without_docker_it_blocks_its_name_only_while_one_of_its_nodes_may_run() {
    if !Uid::effective().is_root() {
        return until::skipped("the abandoned lab needs root: make test");
    }
    // A test that fails leaves nothing, and the next one removes what a test that was killed has left.
    let [failed, killed] =
        ["failed".to_owned(), u32::MAX.to_string()].map(|end| LabName::PREFIX.to_owned() + &end);
    let panic = std::panic::catch_unwind(|| {
        let own = LabName(failed.clone());
        leave(&own.0, vec![]);
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panic.is_err() && !state::dir(&failed).exists());
    leave(&killed, vec![]);
    let own = LabName::new();
    assert!(!state::dir(&killed).exists());

    let name = &own.0;
    let up = || lab(&["up", "--engine", "netns", "--name", name, "tests/pair/pair.clab.yml"]);
    for (first_processes, is_free) in [
        (vec![ENDED, Process::myself().unwrap()], false),
        (vec![], false), // it was killed before all nodes ran
        (vec![ENDED, ENDED], true),
    ] {
        leave(name, first_processes.clone());
        let output = up();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_free, "{first_processes:?}: {said}");
        if !is_free {
            let start = format!("lab `{name}` is left from a test that was killed, and cannot be ended: ");
            assert!(said.contains(&start) && said.to_lowercase().contains("docker"), "{said}");
            assert!(!said.contains("is up already"), "{said}");
        }
    }
    assert!(lab(&["down", "--name", name]).status.success());
    assert!(!state::dir(name).exists());
}
