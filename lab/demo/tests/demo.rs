//! The demo as a visitor runs it: it plays to its end, and interrupted anywhere it leaves nothing.
//!
//! Each test runs in mount, pid and network namespaces of its own: whatever is left there, a demo left it. Needs
//! root.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::RwLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::state::{self, State};
use lab::{Cancel, Options};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use scene::topology;
use until::until;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");
/// The name of the test to run, set in its namespaces.
const INSIDE: &str = "DEMO_TEST_INSIDE";
/// How many of the other tests run at the same time. A demo waits most of the time: it needs less than a third of a core.
const AT_ONCE: usize = 3;
/// How often each signal interrupts it.
const INTERRUPTS: usize = 5;

type Test = fn() -> Result<()>;

/// The test of the whole demo. No other runs beside it: on a loaded machine a demo fails when it loses a request
/// that it should not.
const PLAYS: &str = "plays_to_its_end_and_prints_its_figures";

const TESTS: [(&str, Test); 4] = [
    (PLAYS, plays),
    ("interrupted_by_ctrl_c_anywhere_it_leaves_nothing", || interrupted(Signal::SIGINT)),
    ("terminated_anywhere_it_leaves_nothing", || interrupted(Signal::SIGTERM)),
    ("killed_it_is_cleaned_up_after_by_the_next", killed),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Ok(name) = std::env::var(INSIDE) {
        return inside(&name);
    }
    // The root of the nodes is made before, for there is no network in the namespaces.
    let topology = topology("ecmp");
    let cache = Options::new(&topology).cache;
    let images = topology.with_file_name("images");
    if !arguments.list
        && let Err(error) = lab::rootfs::ready(&images, &cache, &Cancel::new())
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let trials = TESTS.map(|(name, _)| Trial::test(name, move || enter(name).map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// Runs a test in namespaces of its own.
fn enter(name: &str) -> Result<(), String> {
    static MACHINE: RwLock<()> = RwLock::new(());
    let _alone = (name == PLAYS).then(|| MACHINE.write());
    let _shared = (name != PLAYS).then(|| MACHINE.read());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"]);
    // The shell is the first process there, and sees orphans off as every host's does.
    command.args(["--mount-proc", "sh", "-c", r#""$@"; exit $?"#, "sh"]);
    command.arg(std::env::current_exe().map_err(|error| error.to_string())?).env(INSIDE, name);
    let output = command.output().map_err(|error| format!("unshare: {error}"))?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Runs the test of this name here.
fn inside(name: &str) -> ExitCode {
    let test = TESTS.iter().find(|(other, _)| *other == name);
    match test.context("no such test").and_then(|(_, test)| test()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All that a demo could leave: interfaces, mounts, processes, namespaces, and labs that are still written down.
fn world() -> Result<BTreeSet<String>> {
    let mut world = BTreeSet::new();
    let names = |dir: &str| -> Result<Vec<String>> {
        let entries = fs::read_dir(dir).with_context(|| dir.to_owned())?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    };
    let links = fs::read_to_string("/proc/net/dev")?;
    world.extend(links.lines().filter_map(|line| Some(format!("link {}", line.split_once(':')?.0.trim()))));
    world.extend(fs::read_to_string("/proc/self/mountinfo")?.lines().map(|line| format!("mount {line}")));
    for pid in names("/proc")?.iter().filter(|name| name.parse::<u32>().is_ok()) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.is_empty() {
            continue; // it has ended, and the shell has not reaped it yet
        }
        world.insert(format!("process {pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        for namespace in ["net", "mnt", "pid", "uts", "ipc"] {
            let link = fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
            world.extend(link.map(|link| format!("namespace {}", link.display())));
        }
    }
    world.extend(
        names("/run/announcer-lab").unwrap_or_default().into_iter().map(|name| format!("lab {name}")),
    );
    Ok(world)
}

/// The world before any demo: with a `/run` of its own, so that labs of the host's are not seen.
fn before() -> Result<BTreeSet<String>> {
    if !fs::read_to_string("/proc/self/mountinfo")?.contains("demo-test") {
        let none: Option<&str> = None;
        mount(Some("demo-test"), "/run", Some("tmpfs"), MsFlags::empty(), none).context("/run")?;
    }
    world()
}

fn left(before: &BTreeSet<String>) -> Result<String> {
    let after = world()?;
    Ok(after.symmetric_difference(before).map(|what| format!("\n  {what}")).collect())
}

fn plays() -> Result<()> {
    let before = before()?;
    let begun = Instant::now();
    let output = Command::new(DEMO).arg("--quick").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}{errors}");
    ensure!(output.status.success(), "{}: {errors}", output.status);
    ensure!(begun.elapsed() < Duration::from_secs(120), "it took {:?}", begun.elapsed());
    ensure!(!text.contains('\x1b'), "colours where there is no terminal");
    let rows: Vec<&str> = text.lines().filter(|line| line.matches(" ms ").count() == 2).collect();
    ensure!(rows.len() == 6, "{} rows of figures", rows.len());
    let left = left(&before)?;
    ensure!(left.is_empty(), "left behind:{left}");
    Ok(())
}

fn interrupted(signal: Signal) -> Result<()> {
    let before = before()?;
    let whole = Duration::from_secs(15);
    for turn in 0..INTERRUPTS {
        // Somewhere in the turn's part of the whole, the first ones while the lab comes up.
        let after = whole.mul_f64((turn as f64 + fastrand::f64()) / INTERRUPTS as f64);
        let mut demo = Command::new(DEMO);
        demo.arg("--quick").stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut demo = demo.spawn()?;
        thread::sleep(after);
        let begun = Instant::now();
        // Ctrl-C goes to all that is in the terminal's foreground, and `kill` to one.
        let pid = Pid::from_raw(i32::try_from(demo.id())?);
        if signal == Signal::SIGINT {
            killpg(pid, signal)?
        } else {
            kill(pid, signal)?
        }
        let status = demo.wait()?;
        let took = begun.elapsed();
        let mut errors = String::new();
        demo.stderr.take().context("no pipe")?.read_to_string(&mut errors)?;
        let left = left(&before)?;
        println!("  {signal} after {after:.1?}: {status}, cleaned up in {took:.1?}");
        ensure!(left.is_empty(), "{signal} after {after:.1?} left behind:{left}\n{errors}");
        // It may be hit before it listens for signals.
        let by_signal = status.code() == Some(128 + signal as i32) || status.signal() == Some(signal as i32);
        ensure!(by_signal, "{signal} after {after:.1?}: {status}: {errors}");
        ensure!(took < Duration::from_secs(2), "cleaning up took {took:.1?}");
    }
    Ok(())
}

/// Waits until a demo listens at its routers, which it does when its lab is up.
fn wait_until_it_listens(demo: &Child, before: &BTreeSet<String>) -> Result<()> {
    let pid = i32::try_from(demo.id())?;
    until(Duration::from_secs(30), || {
        let owner = State::read(&state::dir("demo"))?.owner.context("the lab is made to stay")?;
        let left = left(before)?;
        ensure!(owner.pid == pid && left.contains(" tcpdump "), "its lab did not come up:{left}");
        Ok(())
    })
}

fn killed() -> Result<()> {
    let before = before()?;
    let mut demo = Command::new(DEMO).arg("--quick").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    wait_until_it_listens(&demo, &before)?;
    demo.kill()?;
    demo.wait()?;
    ensure!(!left(&before)?.is_empty(), "it was killed before it made anything");
    let mut next = Command::new(DEMO).arg("--quick").stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    wait_until_it_listens(&next, &before)?;
    ensure!(next.try_wait()?.is_none(), "the next one did not start");
    kill(Pid::from_raw(i32::try_from(next.id())?), Signal::SIGINT)?;
    next.wait()?;
    let left = left(&before)?;
    ensure!(left.is_empty(), "left behind:{left}");
    Ok(())
}
