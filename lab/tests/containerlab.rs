//! Tests the engine that uses containerlab. They need root, containerlab, Docker and the image, and run only on request
//! (`make e2e ENGINE=containerlab`); otherwise they print that they are skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::state::{self, Process};
use lab::{Cancel, Cut, Engine, Error, Lab, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use until::until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");
/// How often it is killed.
const KILLS: usize = 10;

fn skipped(test: &str) -> bool {
    let asked = std::env::var("LAB_ENGINE").is_ok_and(|engine| engine == "containerlab");
    if !asked {
        until::skipped(format_args!("{test}: make e2e ENGINE=containerlab"));
    }
    !asked
}

/// The lab's image.
const IMAGE: &str = concat!("announcer-lab:", env!("CARGO_PKG_VERSION"));

fn pair() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pair/pair.clab.yml")
}

fn named(name: &str) -> String {
    format!("{name}-{}", Pid::this())
}

fn start(name: &str, topology: PathBuf, engine: Engine) -> Result<Lab, Error> {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = Options {
        topology,
        name: Some(named(name)),
        engine: Some(engine),
        program: PathBuf::from(PROGRAM),
        images: lab.join("images"),
        cache: std::env::var_os("LAB_CACHE").map_or(lab.join("../target/lab"), PathBuf::from),
        owner: Process::myself(),
    };
    Lab::start(&options, &Cancel::new())
}

fn up(name: &str) -> Lab {
    start(name, pair(), Engine::Containerlab).unwrap_or_else(|error| panic!("{error}"))
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn containers(name: &str) -> String {
    docker(&["ps", "--all", "--filter", &format!("label=containerlab={name}"), "--format", "{{.Names}}"])
}

/// Checks that nothing of the lab exists, on the host or in Docker, now and some time later.
fn gone(name: &str) {
    let dir = state::dir(name);
    let end = Instant::now() + Duration::from_millis(300);
    loop {
        assert_eq!(containers(name), "");
        assert!(!dir.exists(), "{} is left", dir.display());
        assert!(!dir.with_extension("lock").exists());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let ours = String::from_utf8_lossy(&environ).contains(dir.to_str().unwrap());
            assert!(!ours, "process {} is left", entry.path().display());
        }
        let links = fs::read_to_string("/proc/net/dev").unwrap();
        assert!(!links.contains("clab-"), "a link is left on the host:\n{links}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(name), "a mount is left:\n{mounts}");
        for place in ["/run/netns", "/etc/ssh/ssh_config.d"] {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            let ours = entries.map(|e| e.file_name()).find(|e| e.to_string_lossy().contains(name));
            assert_eq!(ours, None, "in {place}");
        }
        assert!(!fs::read_to_string("/etc/hosts").unwrap().contains(name));
        if Instant::now() > end {
            return;
        }
        sleep(Duration::from_millis(50));
    }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    until(Duration::from_secs(30), || look().ok_or(())).unwrap_or_else(|()| panic!("it did not come"))
}

#[test]
fn a_node_is_what_it_is_without_docker() {
    if skipped("a_node_is_what_it_is_without_docker") {
        return;
    }
    let lab = up("node");
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    a.must(&["ping", "-c", "1", "-W", "2", "2001:db8::2"]).unwrap();
    assert_eq!(a.must(&["hostname"]).unwrap(), "a\n");
    assert_eq!(a.must(&["cat", "/etc/hello/there.txt"]).unwrap(), "hello, $HOME\n");
    assert_eq!(a.must(&["printenv", "COLOUR", "HOME"]).unwrap(), "green\n/root\n");
    assert_eq!(a.must(&["pwd"]).unwrap(), "/\n");
    a.must(&["sysctl", "-qw", "net.ipv4.ip_forward=0"]).unwrap();
    fs::write(a.root().join("run/x"), "from outside").unwrap();
    assert_eq!(a.must(&["cat", "/run/x"]).unwrap(), "from outside");

    let output = a.exec(&["sh", "-c", "echo out; echo err >&2; exit 7"]).unwrap();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(a.exec(&["sh", "-c", "kill -9 $$"]).unwrap().code, 137);
    assert!(matches!(a.exec(&["no-such-command"]).unwrap().code, 126 | 127));
    a.must(&["sh", "-c", "sh -c 'sleep 0.05 & exit' & sleep 0.2"]).unwrap();
    assert!(!a.must(&["ps", "-eo", "stat"]).unwrap().contains('Z'), "an orphan was not reaped");

    let mut child = a.spawn(&["sleep", "1234"]).unwrap();
    wait_for(|| (a.pids_of("sleep").len() == 2).then_some(()));
    assert_eq!(b.pids_of("sleep").len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| (a.pids_of("sleep").len() == 1).then_some(()));

    let carrier = || fs::read_to_string(b.root().join("sys/class/net/eth1/carrier")).unwrap_or_default();
    let reached = || b.exec(&["ping", "-c", "1", "-W", "1", "10.0.0.0"]).unwrap().code == 0;
    a.cut("eth1", Cut::Silent).unwrap();
    assert!(!reached() && carrier() == "1\n");
    a.mend("eth1").unwrap();
    wait_for(|| reached().then_some(()));
    a.power_off().unwrap();
    assert_ne!(carrier(), "1\n");
    let name = lab.name().to_string();
    wait_for(|| Lab::attach(&name, Path::new(PROGRAM)).unwrap().node("a").is_err().then_some(()));
    lab.down().unwrap();
    gone(&name);
}

#[test]
fn labs_are_up_side_by_side_and_a_name_is_taken_once() {
    if skipped("labs_are_up_side_by_side_and_a_name_is_taken_once") {
        return;
    }
    let first = up("beside");
    for engine in [Engine::Containerlab, Engine::Netns] {
        let again = start("beside", pair(), engine);
        assert!(matches!(again, Err(Error::AlreadyUp { .. })), "{again:?}");
    }
    let second = up("beside-too");
    let third = start("beside-as-well", pair(), Engine::Netns).unwrap();
    for lab in [&first, &second, &third] {
        lab.node("a").unwrap().must(&["ping", "-c", "1", "-W", "2", "10.0.0.1"]).unwrap();
    }
    let name = first.name().to_string();
    first.down().unwrap();
    gone(&name);
    second.node("a").unwrap().must(&["ping", "-c", "1", "-W", "2", "10.0.0.1"]).unwrap();

    let foreign = named("foreign");
    let label = format!("containerlab={foreign}");
    let id = docker(&["create", "--network", "none", "--label", &label, IMAGE]);
    let refused = start("foreign", pair(), Engine::Containerlab).map(|lab| lab.name().to_string());
    docker(&["rm", id.trim()]);
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("started by containerlab itself") && refused.contains("containerlab destroy"),
        "{refused}"
    );
    gone(&foreign);
}

#[test]
fn what_is_missing_and_what_fails_is_said() {
    if skipped("what_is_missing_and_what_fails_is_said") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.clab.yml");
    let text = fs::read_to_string(pair()).unwrap();
    let said = |text: &str| {
        fs::write(&file, text).unwrap();
        let error = start("bad", file.clone(), Engine::Containerlab).unwrap_err().to_string();
        gone(&named("bad"));
        error
    };
    let text = text.replace("hello.txt", pair().with_file_name("hello.txt").to_str().unwrap());
    let text = text.replace("../pair", "/srv");
    let text = text.replace(&format!("${{LAB_IMAGE:={IMAGE}}}"), IMAGE);
    let error = said(&text.replace(IMAGE, "no/such"));
    assert!(error.starts_with("the image `no/such` is missing: `make image IMAGE=no/such` makes"), "{error}");
    // As after a change of the list of packages.
    let old = named("old-image");
    let dockerfile = folder.path().join("Dockerfile");
    fs::write(&dockerfile, format!("FROM {IMAGE}\nLABEL announcer-lab.inputs=0123456789abcdef\n")).unwrap();
    docker(&["build", "--quiet", "--tag", &old, folder.path().to_str().unwrap()]);
    let error = said(&text.replace(IMAGE, &old));
    docker(&["rmi", &old]);
    assert!(
        error
            .starts_with(&format!("the image `{old}` was made from other programs, or from other files in ")),
        "{error}"
    );
    let error = said(&text.replace("  links:", "  pigeons:"));
    assert!(error.contains("containerlab deploy failed") && error.contains("pigeons"), "{error}");
    let error = said(&text.replace("dev eth1\n  links", "dev eth7\n  links"));
    assert!(error.contains("` failed: ") && error.contains("eth7"), "{error}");
    // Without this capability the kernel refuses to mount, with the same words as AppArmor.
    let error = said(&text.replace("NET_RAW, SYS_ADMIN", "NET_RAW"));
    assert!(
        error.contains("`mount -o remount,rw /proc/sys` failed: mount: /proc/sys: permission denied"),
        "{error}"
    );
    assert!(
        error.contains("write `cap-add: [SYS_ADMIN]`") || error.contains("write `security-opts: [apparmor"),
        "{error}"
    );

    let mut command = Command::new(PROGRAM);
    command.args(["up", "--engine", "containerlab", "--name", &named("bad")]).arg(pair());
    let output = command.env("DOCKER_HOST", "unix:///nonexistent").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("lab: Docker's engine does not answer: start `dockerd`"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn a_management_network_has_an_address_and_the_host_keeps_nothing_of_it() {
    if skipped("a_management_network_has_an_address_and_the_host_keeps_nothing_of_it") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("managed.clab.yml");
    let text = fs::read_to_string(pair()).unwrap();
    let text = text.replace("hello.txt", pair().with_file_name("hello.txt").to_str().unwrap());
    let network = named("managed");
    let text = text
        .replace("../pair", "/srv")
        .replace("name: pair", &format!("name: {network}"))
        .replace("skip-when-unused: true", &format!("network: {network}\n  ipv4-subnet: 172.31.249.0/24"))
        .replace("    b:\n", "    b:\n      network-mode: bridge\n      mgmt-ipv4: 172.31.249.9\n");
    fs::write(&file, text).unwrap();
    let refused = start("other", file.clone(), Engine::Containerlab).map(|lab| lab.name().to_string());
    assert!(refused.unwrap_err().to_string().contains("has the name of its file"));
    let lab = start("managed", file, Engine::Containerlab).unwrap_or_else(|error| panic!("{error}"));
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    assert!(b.must(&["ip", "-o", "address", "show", "dev", "eth0"]).unwrap().contains("172.31.249.9/24"));
    assert_ne!(a.exec(&["ip", "link", "show", "eth0"]).unwrap().code, 0);
    b.must(&["ping", "-c", "1", "-W", "2", "2001:db8::1"]).unwrap();
    b.must(&["ping", "-c", "1", "-W", "2", "172.31.249.1"]).unwrap();
    let name = lab.name().to_string();
    lab.down().unwrap();
    gone(&name);
    assert_eq!(docker(&["network", "ls", "--quiet", "--filter", &format!("name={network}")]), "");
}

#[test]
fn killed_or_interrupted_at_any_moment_nothing_is_left() {
    if skipped("killed_or_interrupted_at_any_moment_nothing_is_left") {
        return;
    }
    let name = named("killed");
    let begun = Instant::now();
    drop(start("killed", pair(), Engine::Containerlab).unwrap());
    let whole = begun.elapsed();
    for turn in 0..KILLS {
        let mut command = Command::new(PROGRAM);
        command.args(["up", "--engine", "containerlab", "--name", &name]).arg(pair());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(whole.mul_f64(fastrand::f64()));
        let signal = [Signal::SIGKILL, Signal::SIGINT][turn % 2];
        let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal);
        child.wait().unwrap();
        // A process that was killed at its start has left only its lock, which does not count as a lab.
        let there = state::dir(&name).exists();
        let down = Command::new(PROGRAM).args(["down", "--name", &name]).output().unwrap();
        assert_eq!(down.status.success(), there, "{down:?}");
        gone(&name);
    }
}
