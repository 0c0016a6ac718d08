//! The demo as a visitor runs it: it plays to its end, and interrupted anywhere it leaves nothing.
//!
//! Runs in mount, pid and network namespaces of its own: whatever is left there, a demo left it. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
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
/// Set in the namespaces.
const INSIDE: &str = "DEMO_TEST_INSIDE";
/// How often it is interrupted.
const INTERRUPTS: usize = 10;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list && std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn() -> Result<()>| {
        Trial::test(name, move || test().map_err(|e| Failed::from(format!("{e:#}"))))
    };
    let trials = vec![
        trial("plays_to_its_end_and_prints_its_figures", plays),
        trial("interrupted_anywhere_it_leaves_nothing", interrupted),
        trial("killed_it_is_cleaned_up_after_by_the_next", killed),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Becomes this test in its namespaces; the nodes' root is made before, for there is no network there.
fn enter() -> ExitCode {
    let topology = topology("ecmp");
    let cache = Options::new(&topology).cache;
    if let Err(error) = lab::rootfs::ready(&topology.with_file_name("images"), &cache, &Cancel::new()) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"]);
    // The shell is the first process there, and sees orphans off as every host's does.
    command.args(["--mount-proc", "sh", "-c", r#""$@"; exit $?"#, "sh"]);
    command.args(std::env::args_os()).env(INSIDE, "1");
    let error = command.exec();
    eprintln!("unshare: {error}");
    ExitCode::FAILURE
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

fn interrupted() -> Result<()> {
    let before = before()?;
    let whole = Duration::from_secs(15);
    for turn in 0..INTERRUPTS {
        // Somewhere in the turn's part of the whole, the first ones while the lab comes up.
        let after = whole.mul_f64((turn as f64 + fastrand::f64()) / INTERRUPTS as f64);
        let signal = [Signal::SIGINT, Signal::SIGTERM][turn % 2];
        let mut demo = Command::new(DEMO);
        demo.arg("--quick").stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut demo = demo.spawn()?;
        thread::sleep(after);
        let begun = Instant::now();
        // Ctrl-C goes to all that is in the terminal's foreground, and `kill` to one.
        let pid = Pid::from_raw(i32::try_from(demo.id())?);
        if turn % 2 == 0 {
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
