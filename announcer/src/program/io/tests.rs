//! Tests with programs that every host has.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn order(command: &[&str]) -> Arc<ProgramSpec> {
    let command = command.iter().copied().map(str::to_owned).collect();
    Arc::new(ProgramSpec { command, user: RunAs::Daemon, environment: Vec::new() })
}

fn shell(script: &str) -> Arc<ProgramSpec> {
    order(&["/bin/sh", "-c", script])
}

fn runner() -> Runner {
    Runner::new(&Programs::unconfined(Files::new()))
}

async fn run(order: &Arc<ProgramSpec>, time: Duration) -> (ProgramEnd, String) {
    let ProgramRun { end, output } = runner().run(order, Bounds { time, kept: 4096 }).await;
    (end, String::from_utf8(output).unwrap())
}

/// Waits until a process has ended, reaped or not.
async fn gone(pid: &str) {
    let start = Instant::now();
    let ended = |stat: io::Result<String>| stat.map_or(true, |stat| stat.contains(") Z "));
    while !ended(fs::read_to_string(format!("/proc/{}/stat", pid.trim()))) {
        assert!(start.elapsed() < LONG, "{pid} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_end_has_its_name() {
    for (script, want) in [
        ("echo yes; exit 0", (ProgramEnd::Code(0), "yes\n")),
        ("echo no >&2; exit 7", (ProgramEnd::Code(7), "no\n")),
        ("kill -SEGV $$", (ProgramEnd::Signal("SIGSEGV"), "")),
    ] {
        let (end, said) = run(&shell(script), LONG).await;
        assert_eq!((end, said.as_str()), want, "{script}");
    }
    assert_eq!(run(&shell("yes"), LONG).await.0, ProgramEnd::Endless);
    assert_eq!(run(&order(&[]), LONG).await.0, ProgramEnd::NotStarted(StartError::Kernel(Errno::ENOENT)));
}

// W12.
#[tokio::test]
async fn a_program_in_the_background_that_holds_the_output_does_not_prolong_the_run() {
    let start = Instant::now();
    let (end, child) = run(&shell("sleep 60 & echo $!; exit 0"), LONG).await;
    assert_eq!(end, ProgramEnd::Code(0));
    gone(&child).await;
    // A process that has left the group is not killed, and may print for ever.
    let (end, _) = run(&shell("setsid timeout 5 yes & sleep 0.2; exit 3"), LONG).await;
    assert!([ProgramEnd::Code(3), ProgramEnd::Endless].contains(&end), "{end}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_run_whose_time_is_up_is_killed_with_all_that_it_started() {
    let (end, child) = run(&shell("sleep 600 & echo $!; sleep 600"), SHORT).await;
    assert_eq!(end, ProgramEnd::TimedOut(RunPhase::Exit));
    gone(&child).await;
}

#[tokio::test]
async fn programs_that_do_not_end_become_no_more_and_are_waited_for_no_longer_than_allowed() {
    let (runner, bounds) = (runner(), Bounds { time: LONG, kept: 1 });
    runner.settled(LONG).await;
    let left = runner.places.clone().acquire_many_owned(8).await.unwrap();
    let start = Instant::now();
    runner.settled(SHORT).await;
    assert!((SHORT..LONG).contains(&start.elapsed()), "the wait for what was killed has a limit");
    assert_eq!(runner.run(&shell("exit 0"), bounds).await.end, ProgramEnd::Lingering);
    drop(left);
    assert_eq!(runner.run(&shell("exit 0"), bounds).await.end, ProgramEnd::Code(0));
}

// H22.
#[tokio::test]
async fn a_script_that_cannot_be_run_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    for (text, mode, want) in [
        ("#!/bin/sh\r\nexit 0\r\n", 0o755, StartError::CarriageReturn("/bin/sh".into())),
        ("#!/opt/none/python9\n", 0o755, StartError::NoInterpreter("/opt/none/python9".into())),
        ("#!/etc/passwd\n", 0o755, StartError::InterpreterDenied("/etc/passwd".into())),
        ("#!/bin/sh\n", 0o644, StartError::NotExecutable),
    ] {
        let path = folder.path().join("program");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (end, _) = run(&order(&[path.to_str().unwrap()]), LONG).await;
        assert_eq!(end, ProgramEnd::NotStarted(want), "{text}");
    }
}

#[tokio::test]
async fn who_was_started_by_the_daemon_is_known_however_far_down() {
    assert!(!started_by_daemon(1).await);
    assert!(!started_by_daemon(i32::MAX).await, "there is none");
    // The shell between gives itself a name that looks like the fields behind it, and is no UTF-8.
    let deep = shell("sh -c 'printf \") S 1 \\\\377\" > /proc/$$/comm; sleep 5 & echo $!; wait'");
    let mut output = Vec::new();
    let runner = runner();
    let mut phase = RunPhase::Start;
    let mut running = std::pin::pin!(runner.attempt(&deep, 64, &mut phase, &mut output));
    let seen = tokio::select! {
        _ = &mut running => panic!("it ended"),
        seen = async {
            loop {
                let all = fs::read_dir("/proc").unwrap().flatten();
                let names = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
                for pid in names.filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == b"sleep\x005\0")) {
                    if started_by_daemon(pid).await {
                        return true;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => seen,
    };
    assert!(seen);
}

#[tokio::test]
async fn an_upgrade_lets_no_program_start_and_does_not_wait_for_a_start_that_hangs() {
    let programs = Programs::unconfined(Files::new());
    let hangs = programs.0.starting.clone().acquire_owned().await.unwrap();
    assert!(programs.no_starts(Duration::from_millis(1)).await.is_none());
    // Programs start again after the refusal.
    let (runner, order) = (Runner::new(&programs), order(&["/bin/true"]));
    let bounds = Bounds { time: LONG, kept: 0 };
    assert_eq!(runner.run(&order, bounds).await.end, ProgramEnd::Code(0));
    drop(hangs);
    let none = programs.no_starts(LONG).await;
    assert!(none.is_some());
    let run = runner.run(&order, bounds);
    assert!(timeout(Duration::from_millis(50), run).await.is_err(), "it started");
    drop(none);
    assert_eq!(runner.run(&order, bounds).await.end, ProgramEnd::Code(0));
}
