//! Tests the engine with a real kernel. They need root; otherwise they print that they are skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use lab::state::{self, Process, State};
use lab::{Cancel, Cut, Engine, Error, Lab, Node, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use until::until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

/// Prints that a test is skipped, if it cannot run.
fn skipped(test: &str) -> bool {
    let root = Uid::effective().is_root();
    if !root {
        until::skipped(format_args!("{test} needs root: make test"));
    }
    !root
}

/// The options for this topology, with its own lab name.
fn options(name: &str, topology: PathBuf) -> Options {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    Options {
        topology,
        name: Some(format!("{name}-{}", Pid::this())),
        engine: Some(Engine::Netns),
        program: PathBuf::from(PROGRAM),
        images: lab.join("images"),
        cache: std::env::var_os("LAB_CACHE").map_or(lab.join("../target/lab"), PathBuf::from),
        owner: Process::myself(),
    }
}

fn pair() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pair/pair.clab.yml")
}

fn up(name: &str) -> Lab {
    Lab::start(&options(name, pair()), &Cancel::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn netns_of(pid: impl std::fmt::Display) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).filter(|name| name.parse::<i32>().is_ok())
}

/// Waits until no process is in one of these network namespaces and no process keeps the lab; the kernel may need some time. Then
/// nothing else of the lab may exist.
fn gone(name: &str, namespaces: &BTreeSet<PathBuf>) {
    let dir = state::dir(name);
    let left = || -> Vec<String> {
        processes()
            .filter(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let keeps = command.split(|b| *b == 0).any(|word| word == dir.to_str().unwrap().as_bytes());
                keeps || netns_of(pid).is_some_and(|found| namespaces.contains(&found))
            })
            .collect()
    };
    // Another `up` on the machine may be the one that ends an abandoned lab, so this is longer than ending one takes.
    let ended = until(Duration::from_secs(30), || {
        let left = left();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert_eq!(ended, Ok(()), "processes of lab {name} are left");
    assert!(!dir.exists(), "{} is left", dir.display());
    assert!(!dir.with_extension("lock").exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(name), "a mount is left:\n{mounts}");
}

fn namespaces(lab: &Lab) -> BTreeSet<PathBuf> {
    lab.nodes().map(|node| netns_of(node.pid()).unwrap()).collect()
}

fn text(node: &Node, words: &[&str]) -> String {
    node.must(words).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn nodes_are_hosts_of_their_own_and_leave_nothing() {
    if skipped("nodes_are_hosts_of_their_own_and_leave_nothing") {
        return;
    }
    let lab = up("hosts");
    let (name, spaces) = (lab.name().to_string(), namespaces(&lab));
    assert_eq!(spaces.len(), 2);
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());

    // Checks the links, and that no interface is on the host.
    for address in ["10.0.0.1", "2001:db8::2"] {
        text(a, &["ping", "-c", "1", "-W", "2", address]);
    }
    assert!(text(b, &["ip", "-o", "link", "show", "eth1"]).contains("mtu 1400"));
    assert!(
        text(b, &["ip", "-6", "-o", "address", "show", "dev", "eth1", "scope", "link"]).contains("fe80::")
    );
    assert!(text(b, &["ip", "-o", "link", "show", "lo"]).contains("LOWER_UP"));

    // Checks the node's own names, processes, files and parameters.
    assert_eq!(text(a, &["hostname"]), "a\n");
    assert_eq!(text(a, &["cat", "/proc/2/comm"]), "sleep\n");
    assert_eq!(text(a, &["cat", "/etc/hello/there.txt"]), "hello, $HOME\n");
    assert_ne!(a.exec(&["touch", "/srv/pair/new"]).unwrap().code, 0, "a read-only bind was written to");
    assert_eq!(text(a, &["sysctl", "-n", "net.ipv4.ip_forward"]), "1\n");
    text(a, &["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
    assert_eq!(text(a, &["printenv", "COLOUR"]), "green\n");
    assert_eq!(b.exec(&["printenv", "COLOUR"]).unwrap().code, 1);
    for place in ["/etc/x", "/run/x", "/var/log/x", "/tmp/x"] {
        text(a, &["touch", place]);
        assert_ne!(b.exec(&["test", "-e", place]).unwrap().code, 0, "{place} is shared");
        assert!(a.root().join(place.trim_start_matches('/')).exists());
    }
    assert_eq!(text(a, &["sh", "-c", "ls / | grep host || true"]), "", "the host's tree can be seen");

    // Commands: exit codes, output, signals, zombies.
    let output = a.exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]).unwrap();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(a.exec(&["sh", "-c", "kill -9 $$"]).unwrap().code, 137);
    assert_eq!(a.exec(&["no-such-command"]).unwrap().code, 127);
    text(a, &["sh", "-c", "sh -c 'sleep 0.05 & exit' & sleep 0.2"]);
    assert!(!text(a, &["ps", "-eo", "stat"]).contains('Z'), "an orphan was not reaped");

    // A socket that is opened from here in the node.
    let port = a.in_netns(|| UdpSocket::bind("10.0.0.0:0").unwrap().local_addr().unwrap().port()).unwrap();
    assert_ne!(port, 0);

    // A process that is started from here dies with its handle, and is distinguished from others with the same name.
    let mut child = a.spawn(&["sleep", "1234"]).unwrap();
    let sleeping = wait_for(|| Some(a.pids_of("sleep")).filter(|pids| pids.len() == 2));
    assert_eq!(b.pids_of("sleep").len(), 1);
    assert!(sleeping.iter().all(|pid| netns_of(pid) == netns_of(a.pid())));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| (a.pids_of("sleep").len() == 1).then_some(()));

    lab.down().unwrap();
    gone(&name, &spaces);
}

/// The limit is long, because the kernel removes network namespaces one after the other, and other tests make many.
/// A client such as `announcer status`, which a health check runs every two seconds, is no daemon.
#[test]
fn a_signal_for_the_daemon_reaches_no_client_of_it() {
    if skipped("a_signal_for_the_daemon_reaches_no_client_of_it") {
        return;
    }
    let lab = up("daemons");
    let node = lab.node("a").unwrap();
    text(
        node,
        &["sh", "-c", "cp /bin/sh /tmp/announcer; echo 'sleep 60 & wait' | tee /tmp/run >/tmp/status"],
    );
    let start = |word: &str| {
        let line = format!("cd /tmp; ./announcer {word}");
        node.spawn(&["sh", "-c", &line]).unwrap()
    };
    let mut client = start("status");
    wait_for(|| (node.pids_of("announcer").len() == 1).then_some(()));
    assert_eq!(node.daemons(), []);
    assert!(node.signal_daemon(Signal::SIGTERM).unwrap_err().to_string().contains("0 daemons"));
    let mut daemon = start("run");
    wait_for(|| (node.pids_of("announcer").len() == 2).then_some(()));
    // Until its `sleep` runs, a copy of the shell has the name and the arguments of the daemon.
    wait_for(|| (node.daemons().len() == 1).then_some(()));
    node.signal_daemon(Signal::SIGTERM).unwrap(); // not SIGHUP, which `nohup` lets every process ignore
    assert!(!daemon.wait().unwrap().success());
    assert_eq!(node.pids_of("announcer").len(), 1, "the client goes on");
    client.kill().unwrap();
    client.wait().unwrap();
    lab.down().unwrap();
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    until(Duration::from_secs(30), || look().ok_or(())).unwrap_or_else(|()| panic!("it did not come"))
}

#[test]
fn a_node_ends_with_its_main_process_and_the_lab_when_it_is_dropped() {
    if skipped("a_node_ends_with_its_main_process_and_the_lab_when_it_is_dropped") {
        return;
    }
    let lab = up("ends");
    let (name, spaces) = (lab.name().to_string(), namespaces(&lab));
    let b = lab.node("b").unwrap().clone();
    assert_eq!(b.kill("sleep", Signal::SIGTERM), 1);
    wait_for(|| state::init_of(&state::dir(&name), "b").is_none().then_some(()));
    assert_ne!(b.exec(&["true"]).unwrap().code, 0);
    assert!(Lab::attach(&name, Path::new(PROGRAM)).unwrap().node("b").is_err());
    // Its end of the link has disappeared, and so has the other end.
    wait_for(|| {
        (lab.node("a").unwrap().exec(&["ip", "link", "show", "eth1"]).unwrap().code == 1).then_some(())
    });
    drop(lab);
    gone(&name, &spaces);
}

#[test]
fn a_power_cut_takes_carrier_at_once() {
    if skipped("a_power_cut_takes_carrier_at_once") {
        return;
    }
    let lab = up("power");
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    let carrier = || fs::read_to_string(b.root().join("sys/class/net/eth1/carrier")).unwrap_or_default();
    assert_eq!(carrier(), "1\n");
    a.power_off().unwrap();
    assert_ne!(carrier(), "1\n");
    wait_for(|| state::init_of(&state::dir(lab.name()), "a").is_none().then_some(()));
}

#[test]
fn a_link_is_cut_with_and_without_carrier_and_mended() {
    if skipped("a_link_is_cut_with_and_without_carrier_and_mended") {
        return;
    }
    let lab = up("cut");
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    let carrier = || fs::read_to_string(b.root().join("sys/class/net/eth1/carrier")).unwrap();
    let reached = || b.exec(&["ping", "-c", "1", "-W", "1", "10.0.0.0"]).unwrap().code == 0;
    for how in [Cut::Silent, Cut::Carrier] {
        assert!(reached() && carrier() == "1\n");
        a.cut("eth1", how).unwrap();
        assert!(!reached(), "{how:?}");
        assert_eq!(carrier() == "1\n", how == Cut::Silent, "{how:?}");
        a.mend("eth1").unwrap();
        a.mend("eth1").unwrap(); // to restore an intact link is not an error
    }
    wait_for(|| reached().then_some(()));
    assert!(a.cut("eth7", Cut::Carrier).unwrap_err().to_string().starts_with("a: eth7: "));
}

#[test]
fn what_containerlab_needs_is_named_where_it_is_missing() {
    if skipped("what_containerlab_needs_is_named_where_it_is_missing") {
        return;
    }
    let name = format!("missing-{}", Pid::this());
    let mut command = Command::new(PROGRAM);
    command.args(["up", "--engine", "containerlab", "--name", &name]).arg(pair());
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("lab: `containerlab` is missing (https://containerlab.dev/install)"), "{said}");
    assert_eq!((said.lines().count(), output.status.code()), (1, Some(1)), "{said}");
    gone(&name, &BTreeSet::new());

    let mut command = Command::new(PROGRAM);
    command.args(["up", "--name", &name]).arg(pair()).env("LAB_ENGINE", "podman");
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert_eq!(said, "lab: LAB_ENGINE is `podman`: write `netns` or `containerlab`\n");
}

#[test]
fn a_containerlab_that_is_too_old_is_named() {
    if skipped("a_containerlab_that_is_too_old_is_named") {
        return;
    }
    let name = format!("old-{}", Pid::this());
    let folder = tempfile::tempdir().unwrap();
    for tool in ["containerlab", "docker"] {
        let path = folder.path().join(tool);
        fs::write(&path, "#!/bin/sh\necho 0.77.0\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(PROGRAM);
    command.args(["up", "--engine", "containerlab", "--name", &name]).arg(pair());
    let output = command.env("PATH", folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("lab: containerlab 0.77.0 is too old") && said.contains("0.78"), "{said}");
    assert_eq!((said.lines().count(), output.status.code()), (1, Some(1)), "{said}");
    gone(&name, &BTreeSet::new());
}

#[test]
fn stages_wait_for_health_and_a_network_is_shared() {
    if skipped("stages_wait_for_health_and_a_network_is_shared") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stages.clab.yml");
    let text = "
name: stages
topology:
  defaults: { kind: linux, cmd: sleep infinity }
  nodes:
    a:
      cmd: sh -c 'sleep 0.5; touch /run/later; exec sleep infinity'
      exec: [ip address add 10.0.0.0/31 dev eth1]
      healthcheck: { test: [CMD-SHELL, test -e /run/later], interval: 1 }
    web: { network-mode: 'container:a', exec: [ip address add 10.0.0.8/32 dev lo] }
    b:
      stages: { create: { wait-for: [{ node: a, stage: healthy }] } }
      exec: [ip address add 10.0.0.1/31 dev eth1, ping -c 1 -W 5 10.0.0.0, ping -c 1 -W 5 -I eth1 10.0.0.0]
  links: [{ endpoints: ['a:eth1', 'b:eth1'], mtu: 1300 }]
";
    fs::write(&file, text).unwrap();
    let lab = Lab::start(&options("stages", file), &Cancel::new()).unwrap_or_else(|error| panic!("{error}"));
    let [a, b, web] = ["a", "b", "web"].map(|name| lab.node(name).unwrap());
    // `b` was made when `a` was healthy, which was half a second after its own start.
    let started = |node: &Node| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse::<u64>().unwrap()
    };
    assert!(started(b) >= started(a) + 50, "{} {}", started(a), started(b)); // hundredths of a second
    for node in [a, b] {
        assert_eq!(node.must(&["cat", "/sys/class/net/eth1/mtu"]).unwrap(), "1300\n");
        let links = node.must(&["ip", "-o", "link"]).unwrap();
        assert_eq!(links.lines().count(), 2, "lo and eth1: {links}");
    }

    assert_eq!(netns_of(a.pid()), netns_of(web.pid()));
    assert!(a.must(&["ip", "-o", "address", "show", "dev", "lo"]).unwrap().contains("10.0.0.8/32"));
    assert!(!web.root().join("run/later").exists() && a.root().join("run/later").exists());
    let carrier = || fs::read_to_string(b.root().join("sys/class/net/eth1/carrier")).unwrap();
    let spaces = namespaces(&lab);
    web.power_off().unwrap();
    wait_for(|| state::init_of(&state::dir(lab.name()), "web").is_none().then_some(()));
    assert_eq!(carrier(), "1\n", "the network stays with its owner");
    let name = lab.name().to_string();
    lab.down().unwrap();
    gone(&name, &spaces);
}

#[test]
fn the_labs_of_a_folder_are_ended_and_no_others() {
    if skipped("the_labs_of_a_folder_are_ended_and_no_others") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alone.clab.yml");
    fs::write(&file, "name: alone\ntopology: { nodes: { a: { kind: linux, cmd: sleep 999 } } }\n").unwrap();
    let [own, other] = ["own", "other"].map(|name| format!("{name}-{}", Pid::this()));
    let of_a_test = Lab::start(&options("owned", file.clone()), &Cancel::new()).unwrap();
    for (name, topology) in [(&own, file), (&other, pair())] {
        assert!(up_by_hand_of(name, &topology).wait().unwrap().success());
    }
    let down = || {
        let output = Command::new(PROGRAM).args(["down", "--below"]).arg(folder.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(down(), (true, format!("lab `{own}` is down\n")));
    gone(&own, &BTreeSet::new());
    assert!(state::dir(&other).exists() && of_a_test.node("a").unwrap().must(&["true"]).is_ok());
    let (fine, said) = down();
    assert!(fine && said.starts_with("no lab of ") && said.ends_with(" is up\n"), "{said}");
    assert!(down_by_hand(&other));
}

#[test]
fn a_second_one_of_the_same_name_is_refused_and_of_another_name_works() {
    if skipped("a_second_one_of_the_same_name_is_refused_and_of_another_name_works") {
        return;
    }
    let first = up("twice");
    let again = Lab::start(&options("twice", pair()), &Cancel::new());
    assert!(matches!(again, Err(Error::AlreadyUp { .. })), "{again:?}");
    let second = up("thrice");
    assert!(namespaces(&first).is_disjoint(&namespaces(&second)));

    // A lab whose owner no longer exists is ended by the next `up`.
    let (name, spaces) = (first.name().to_string(), namespaces(&first));
    let dir = state::dir(&name);
    let state = State { owner: Some(Process { pid: 1, started: u64::MAX }), ..State::read(&dir).unwrap() };
    state.write(&dir).unwrap();
    first.leave();
    let third = up("fourth");
    // It may have got the numbers of the namespaces of the lab that was ended, and would be taken for it.
    drop(third);
    gone(&name, &spaces);
    drop(second);
}

#[test]
fn a_command_that_fails_fails_up_with_all_that_it_printed() {
    if skipped("a_command_that_fails_fails_up_with_all_that_it_printed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.clab.yml");
    let text =
        "name: bad\ntopology: { nodes: { a: { kind: linux, cmd: sleep 9, exec: [\"ls /no such\"] } } }\n";
    fs::write(&file, text).unwrap();
    let options = options("bad", file.clone());
    let name = options.name.clone().unwrap();
    let error = Lab::start(&options, &Cancel::new()).unwrap_err().to_string();
    assert!(error.starts_with("a: `ls /no such` failed with exit code 2\n"), "{error}");
    assert!(error.contains("cannot access '/no'"), "{error}");
    gone(&name, &BTreeSet::new());

    fs::write(&file, text.replace("sleep 9", "no-such-program")).unwrap();
    let error = Lab::start(&options, &Cancel::new()).unwrap_err().to_string();
    assert!(error.starts_with("a: cannot start `no-such-program`"), "{error}");
    gone(&name, &BTreeSet::new());

    fs::write(&file, text.replace("exec:", "binds: [\"nowhere:/x\"], exec:")).unwrap();
    let error = Lab::start(&options, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("nowhere is missing"), "{error}");
    gone(&name, &BTreeSet::new());
}

/// `lab up` as a person starts it.
fn up_by_hand(name: &str) -> Child {
    up_by_hand_of(name, &pair())
}

fn up_by_hand_of(name: &str, topology: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command
        .args(["up", "--engine", "netns", "--name", name])
        .arg(topology)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    command.env("LAB_IMAGES", lab.join("images"));
    if std::env::var_os("LAB_CACHE").is_none() {
        command.env("LAB_CACHE", lab.join("../target/lab"));
    }
    command.spawn().unwrap()
}

/// Starts it, and sends it a signal at a random time in its first 150 ms, which is about how long it takes.
fn interrupted_at_random(name: &str, signal: Signal) -> std::process::ExitStatus {
    let mut child = up_by_hand(name);
    sleep(Duration::from_micros(fastrand::u64(0..150_000)));
    let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal);
    child.wait().unwrap()
}

fn down_by_hand(name: &str) -> bool {
    Command::new(PROGRAM).args(["down", "--name", name]).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn interrupted_at_any_moment_up_leaves_nothing() {
    if skipped("interrupted_at_any_moment_up_leaves_nothing") {
        return;
    }
    drop(up("warm")); // the root filesystem is there
    let name = format!("interrupted-{}", Pid::this());
    let (mut rolled_back, mut finished) = (0, 0);
    for _ in 0..30 {
        let status = interrupted_at_random(&name, Signal::SIGINT);
        match status.code() {
            Some(1) => rolled_back += 1,
            Some(0) => {
                finished += 1;
                assert!(down_by_hand(&name));
            }
            // The signal arrived before it was handled: then nothing was started.
            None if status.signal() == Some(Signal::SIGINT as i32) => {}
            other => panic!("{other:?}"),
        }
        gone(&name, &BTreeSet::new());
    }
    assert!(rolled_back > 0, "none of 30 was caught half way; {finished} had finished");
}

#[test]
fn killed_at_any_moment_up_is_cleaned_by_down() {
    if skipped("killed_at_any_moment_up_is_cleaned_by_down") {
        return;
    }
    drop(up("warm-too"));
    let name = format!("killed-{}", Pid::this());
    for _ in 0..30 {
        interrupted_at_random(&name, Signal::SIGKILL);
        // `down` may be killed too: the next one removes the rest.
        let mut down =
            Command::new(PROGRAM).args(["down", "--name", &name]).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_micros(fastrand::u64(0..20_000)));
        let _ = down.kill();
        down.wait().unwrap();
        assert_eq!(state::dir(&name).exists(), down_by_hand(&name));
        gone(&name, &BTreeSet::new());
    }
}
