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
    let name = format!("abandoned-{}", Pid::this());
    let up = || lab(&["up", "--engine", "netns", "--name", &name, "tests/pair/pair.clab.yml"]);
    for (first_processes, is_free) in [
        (vec![ENDED, Process::myself().unwrap()], false),
        (vec![], false), // it was killed before all nodes ran
        (vec![ENDED, ENDED], true),
    ] {
        leave(&name, first_processes.clone());
        let output = up();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_free, "{first_processes:?}: {said}");
        if !is_free {
            let start = format!("lab `{name}` is left from a test that was killed, and cannot be ended: ");
            assert!(said.contains(&start) && said.to_lowercase().contains("docker"), "{said}");
            assert!(!said.contains("is up already"), "{said}");
        }
    }
    assert!(lab(&["down", "--name", &name]).status.success());
    assert!(!state::dir(&name).exists());
}
