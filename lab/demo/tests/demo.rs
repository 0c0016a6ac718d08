//! The demo as a visitor runs it: it plays to its end as README shows it, and interrupted anywhere it leaves
//! nothing.
//!
//! Each test runs in mount, pid and network namespaces of its own: whatever is left there, a demo left it. Needs
//! root.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
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
use scene::{lab_folder, topology};
use until::until;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");
/// The name of the test to run, set in its namespaces.
const INSIDE: &str = "DEMO_TEST_INSIDE";
/// How many of the other tests run at the same time. A demo waits most of the time: it needs less than a third of a core.
const AT_ONCE: usize = 4;
/// How often each signal interrupts it, once in each of as many parts of its run.
const INTERRUPTS: usize = 5;
/// The parts of two tests, which last equally long.
const FIRST_AND_LAST: [usize; 3] = [0, 1, 4];
const MIDDLE: [usize; 2] = [2, 3];

type Test = fn() -> Result<()>;

/// The test of the whole demo. No other runs beside it: on a loaded machine a demo fails when it loses a request
/// that it should not.
const PLAYS: &str = "plays_to_its_end_as_the_picture_in_readme_shows";

const TESTS: [(&str, Test); 6] = [
    (PLAYS, plays),
    ("killed_it_is_cleaned_up_after_by_the_next", killed),
    ("interrupted_by_ctrl_c_at_first_or_last_it_leaves_nothing", || {
        interrupted(Signal::SIGINT, &FIRST_AND_LAST)
    }),
    ("interrupted_by_ctrl_c_in_the_middle_it_leaves_nothing", || interrupted(Signal::SIGINT, &MIDDLE)),
    ("terminated_at_first_or_last_it_leaves_nothing", || interrupted(Signal::SIGTERM, &FIRST_AND_LAST)),
    ("terminated_in_the_middle_it_leaves_nothing", || interrupted(Signal::SIGTERM, &MIDDLE)),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Ok(name) = std::env::var(INSIDE) {
        return inside(&name);
    }
    // The root of the nodes is made before, for there is no network in the namespaces.
    let topology = topology("ecmp");
    let cache = Options::new(&topology).cache;
    let images = lab_folder().join("images");
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
    // The shell is the first process there, and reaps orphans like the init of a host.
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

/// Everything that a demo could leave: interfaces, mounts, processes, namespaces, and folders of labs.
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

/// The state before any demo, with its own `/run`, so that labs of the host are not visible.
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

/// Plays the demo in a terminal, and returns what it wrote there.
fn output() -> Result<String> {
    let command = format!("stty rows 28 cols 92; exec {DEMO} --quick");
    let mut script = Command::new("script"); // makes the terminal
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let output = script.env("TERM", "xterm").stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?.replace('\r', "");
    let last_frame = text.rsplit_once("\x1b[H").map_or(text.as_str(), |(_, last)| last);
    println!("{}", runs(last_frame).collect::<String>());
    ensure!(output.status.success(), "{}", output.status);
    Ok(text)
}

/// What is between the escape sequences.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\x1b[").enumerate().map(|(index, run)| match index {
        0 => run,
        _ => run.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).get(1..).unwrap_or_default(),
    })
}

fn plays() -> Result<()> {
    let before = before()?;
    let begun = Instant::now();
    let output = output()?;
    ensure!(begun.elapsed() < Duration::from_secs(120), "it took {:?}", begun.elapsed());
    let left = left(&before)?;
    ensure!(left.is_empty(), "left behind:{left}");
    let rows = summary_of_output(&output)?.iter().filter(|line| Row::parse(line).is_some()).count();
    ensure!(rows == 6, "{rows} rows of figures");
    compare_with_readme(&output)
}

/// A row of the table that the demo prints at its end.
#[derive(Debug)]
struct Row<'a> {
    step: &'a str,
    wire_ms: &'a str,
    fib_ms: &'a str,
    lost: &'a str,
    of: &'a str,
}

impl Row<'_> {
    fn parse(line: &str) -> Option<Row<'_>> {
        let (line, of) = line.rsplit_once(" of ")?;
        let (line, lost) = line.rsplit_once(" ms ")?;
        let (line, fib_ms) = line.rsplit_once(" ms ")?;
        let (step, wire_ms) = line.rsplit_once(' ')?;
        Some(Row { step, wire_ms, fib_ms, lost, of })
    }
}

/// The lines from the table on, of those that the demo leaves in the terminal, with one space between words.
fn summary<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines: Vec<String> =
        lines.skip_while(|line| !line.starts_with("step ")).filter(|line| !line.is_empty()).collect();
    ensure!(!lines.is_empty(), "there is no table at the end");
    Ok(lines)
}

fn summary_of_output(output: &str) -> Result<Vec<String>> {
    let (_, end) = output.rsplit_once("\x1b[?1049l").context("it did not draw")?;
    summary(runs(end).collect::<String>().lines())
}

/// The texts of a picture, with the place of each from above, in the order in which docs/picture wrote them.
fn texts(svg: &str) -> impl Iterator<Item = (&str, &str)> {
    svg.lines().filter_map(|line| {
        let (start, text) = line.strip_prefix("<text")?.strip_suffix("</text>")?.split_once('>')?;
        let (_, y) = start.split_once(" y=\"")?;
        Some((y.split('"').next()?, text))
    })
}

fn summary_of_picture(svg: &str) -> Result<Vec<String>> {
    let (_, end) = svg.split_once(" id=\"end\"").context("the picture has no end")?;
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (y, text) in texts(end) {
        match lines.last_mut() {
            Some((last, line)) if *last == y => *line += &format!(" {text}"),
            _ => lines.push((y, text.to_owned())),
        }
    }
    summary(lines.iter().map(|(_, line)| line.as_str()))
}

/// The words of a line, with `#` for each number. How requests were lost is left out: it differs from run to run.
fn words(line: &str) -> impl Iterator<Item = String> {
    let line = line.split(": lost ").next().unwrap_or_default();
    line.split_whitespace().map(|word| {
        let mut form = String::new();
        for c in word.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
            if !(c == '#' && form.ends_with('#')) {
                form.push(c);
            }
        }
        form
    })
}

/// Whether a figure of the picture is still true, beside the same one of this run. Both are milliseconds, or both
/// are requests, of which the demo sends one a millisecond. They may differ tenfold. Beyond that the run may be
/// worse by `load`, which is what a loaded machine adds, and the picture by 20: load makes no run better.
fn is_near(picture: &str, run: &str, load: f64) -> Result<bool> {
    let (picture, run): (f64, f64) = (picture.parse()?, run.parse()?);
    Ok(run <= 10.0 * picture + load && picture <= 10.0 * run + 20.0)
}

/// Compares the picture in README, and what README says about it, with what the demo wrote.
fn compare_with_readme(output: &str) -> Result<()> {
    const CRASH: &str = "fe1 kill -9 of every nginx process";
    const AGAIN: &str = "`make picture` draws it anew";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let svg = fs::read_to_string(root.join("docs/demo.svg"))?;

    let known: BTreeSet<String> = runs(output).flat_map(str::lines).flat_map(words).collect();
    let drawn: BTreeSet<String> = texts(&svg).flat_map(|(_, text)| words(text)).collect();
    let unknown: Vec<&String> = drawn.difference(&known).collect();
    ensure!(unknown.is_empty(), "the demo does not show these words of docs/demo.svg: {unknown:?}; {AGAIN}");

    let (today, picture) = (summary_of_output(output)?, summary_of_picture(&svg)?);
    ensure!(today.len() == picture.len(), "docs/demo.svg ends with {picture:#?}; {AGAIN}");
    for (today, picture) in today.iter().zip(&picture) {
        let same = match (Row::parse(today), Row::parse(picture)) {
            (Some(a), Some(b)) => {
                let figures = [(b.wire_ms, a.wire_ms), (b.fib_ms, a.fib_ms), (b.lost, a.lost)];
                // The other steps start programs, which a loaded machine delays more than announcer.
                let load = if a.step == CRASH { 200.0 } else { 1000.0 };
                let near = figures.into_iter().map(|(picture, run)| is_near(picture, run, load));
                a.step == b.step && near.collect::<Result<Vec<bool>>>()?.iter().all(|near| *near)
            }
            _ => today == picture,
        };
        ensure!(same, "docs/demo.svg says\n  {picture}\nand the demo\n  {today}\n{AGAIN}");
    }

    let mut rows = picture.iter().filter_map(|line| Row::parse(line));
    let Row { wire_ms, fib_ms, lost, of, .. } = rows.find(|row| row.step == CRASH).context("no crash")?;
    let sentence = format!(
        "{wire_ms} ms after that both routers have received the withdraw, after {fib_ms} ms neither of them uses fe1, \
         and {lost} of {of} requests are lost"
    );
    let readme = fs::read_to_string(root.join("README.md"))?;
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(readme.contains(&sentence), "README does not say what docs/demo.svg shows: {sentence}");
    const NONE_BROKE: &str = " long-lived connections: 0 broke";
    let flows = |text: &str| {
        let line = text.lines().find_map(|line| line.split_once(NONE_BROKE))?;
        Some(line.0.rsplit(|c: char| !c.is_ascii_digit()).next()?.to_owned())
    };
    let number = flows(output).context("the demo does not say how many long-lived connections broke")?;
    ensure!(
        flows(&svg).as_deref() == Some(number.as_str()),
        "docs/demo.svg has another line{NONE_BROKE}; {AGAIN}"
    );
    let sentence = format!("while {number} long-lived connections go on");
    ensure!(readme.contains(&sentence), "README does not say: {sentence}");
    Ok(())
}

fn interrupted(signal: Signal, parts: &[usize]) -> Result<()> {
    let before = before()?;
    let whole = Duration::from_secs(15);
    for part in parts {
        // A random time within this part of the whole run; the first parts are during the start of the lab.
        let after = whole.mul_f64((*part as f64 + fastrand::f64()) / INTERRUPTS as f64);
        let mut demo = Command::new(DEMO);
        demo.arg("--quick").stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut demo = demo.spawn()?;
        thread::sleep(after);
        if let Some(status) = demo.try_wait()? {
            // A demo fails when a loaded machine loses requests. That is for the test of the whole demo to judge.
            println!("  ended by itself before {after:.1?}: {status}");
            let left = left(&before)?;
            ensure!(left.is_empty(), "ended by itself, {status}, and left behind:{left}");
            continue;
        }
        let begun = Instant::now();
        // Ctrl-C goes to all processes in the terminal's foreground, and `kill` to one process.
        let pid = Pid::from_raw(i32::try_from(demo.id())?);
        if signal == Signal::SIGINT {
            killpg(pid, signal)?
        } else {
            kill(pid, signal)?
        }
        let status = demo.wait()?;
        let took = begun.elapsed();
        let (mut lines, mut errors) = (String::new(), String::new());
        demo.stdout.take().context("no pipe")?.read_to_string(&mut lines)?;
        demo.stderr.take().context("no pipe")?.read_to_string(&mut errors)?;
        let left = left(&before)?;
        println!("  {signal} after {after:.1?}: {status}, cleaned up in {took:.1?}");
        ensure!(left.is_empty(), "{signal} after {after:.1?} left behind:{left}\n{errors}");
        // The signal may arrive before the program handles signals.
        let by_signal = status.code() == Some(128 + signal as i32) || status.signal() == Some(signal as i32);
        ensure!(by_signal, "{signal} after {after:.1?}: {status}: {errors}");
        ensure!(took < Duration::from_secs(2), "cleaning up took {took:.1?}");
        ensure!(!lines.contains('\x1b'), "colours where there is no terminal");
    }
    Ok(())
}

/// Waits until a demo captures at its routers, which it does when its lab is up.
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
