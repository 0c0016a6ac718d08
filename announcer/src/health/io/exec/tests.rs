//! Tests with programs that every host has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tempfile::TempDir;

use super::*;
use crate::files::io::Files;
use crate::own_process::in_own_process;
use crate::program::{MOST_LINGERING, in_passwd, io};

const TIMEOUT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

fn program(command: &[&str], codes: ExitCodes, timeout: Duration) -> ExecProbe {
    let order = ExecSpec {
        command: command.iter().copied().map(str::to_owned).collect(),
        user: None,
        service: "www".parse().unwrap(),
        vip: "192.0.2.80".parse().unwrap(),
        check: "load".into(),
    };
    ExecProbe::new(order, codes, timeout, &Programs::unconfined(Files::new()))
}

/// A probe that runs a shell script; `$1` is the folder.
fn shell(script: &str, folder: &Path, timeout: Duration) -> ExecProbe {
    let folder = folder.to_str().unwrap();
    program(&["/bin/sh", "-c", script, "sh", folder], ExitCodes::Zero, timeout)
}

fn text_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Pass { answer, warning: None, .. } => format!("pass: {answer}"),
        Outcome::Pass { answer, warning: Some(warning), .. } => format!("pass: {answer}, but {warning}"),
        Outcome::Fail { reason, .. } => format!("fail: {reason}"),
        Outcome::Skipped(shortage) => format!("skipped: {shortage}"),
    }
}

/// A folder to which every user may write.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// Waits for a line in a file.
async fn line(file: &Path) -> String {
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Waits until a process has ended, and was reaped if it is our child.
async fn gone(pid: &str) {
    let stat = PathBuf::from("/proc").join(pid).join("stat");
    let ours = std::process::id().to_string();
    for _ in 0..400 {
        let Ok(stat) = fs::read_to_string(&stat) else { return };
        let (_, state) = stat.rsplit_once(") ").unwrap();
        let mut state = state.split(' ');
        if state.next() == Some("Z") && state.next() != Some(&ours) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{pid} is still there: {}", fs::read_to_string(stat).unwrap_or_default());
}

/// The descriptors that our programs inherit from the process that started us.
fn inherited() -> Vec<String> {
    let passed_on = |fd: &String| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        flags.is_some_and(|flags| u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000 == 0)
    };
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.map(|fd| fd.unwrap().file_name().into_string().unwrap()).filter(passed_on).collect()
}

#[tokio::test]
async fn each_end_has_its_reason() {
    use ExitCodes::{Nagios, Zero};
    for (codes, script, want) in [
        (Zero, "exit 0", "pass: exit code 0"),
        (Zero, "echo all is well", "pass: exit code 0"),
        (Zero, "exit 1", "fail: exit code 1"),
        (Zero, "echo WARNING; exit 1", "fail: exit code 1: WARNING"),
        (Zero, "echo no; echo more; exit 7", "fail: exit code 7: no"),
        (Zero, "echo; echo no >&2; exit 7", "fail: exit code 7: no"),
        (Zero, "printf '\\033[2Jno|x'; exit 255", "fail: exit code 255: [2Jno|x"),
        (Zero, "kill -SEGV $$", "fail: the program was ended by SIGSEGV"),
        (Nagios, "echo 'LOAD OK | load=1'", "pass: exit code 0"),
        (
            Nagios,
            "echo 'LOAD WARNING - 7 | load=7'; exit 1",
            "pass: exit code 1, but the program warns: LOAD WARNING - 7",
        ),
        (Nagios, "exit 1", "pass: exit code 1, but the program warns"),
        (Nagios, "echo 'LOAD CRITICAL - 9 | load=9'; exit 2", "fail: exit code 2: LOAD CRITICAL - 9"),
        (Nagios, "echo 'LOAD UNKNOWN'; exit 3", "fail: exit code 3: LOAD UNKNOWN"),
        (Nagios, "exit 4", "fail: exit code 4"),
        (Nagios, "kill -KILL $$", "fail: the program was ended by SIGKILL"),
        (Zero, "head -c 300000 /dev/zero; exit 0", "pass: exit code 0"),
        (Zero, "yes", "fail: the program printed more than 1 MiB and was killed"),
        (
            Zero,
            "head -c 1048577 /dev/zero; exit 0",
            "fail: the program printed more than 1 MiB and was killed",
        ),
    ] {
        let exec = program(&["/bin/sh", "-c", script], codes, TIMEOUT);
        assert_eq!(text_of(exec.probe().await), want, "{script}");
    }
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let folder = folder();
    let text = folder.path().join("text");
    fs::write(&text, "").unwrap();
    for (path, want) in [
        ("/nowhere/check", "fail: the program cannot be run: No such file or directory"),
        ("/", "fail: the program cannot be run: Permission denied"),
        (text.to_str().unwrap(), "fail: the program cannot be run: it is not executable: `chmod +x`"),
    ] {
        assert_eq!(text_of(program(&[path], ExitCodes::Zero, TIMEOUT).probe().await), want);
    }
    let mut exec = program(&["/bin/true"], ExitCodes::Zero, TIMEOUT);
    Arc::get_mut(&mut exec.order).unwrap().user = RunAs::User("nobody-of-that-name".into());
    assert_eq!(text_of(exec.probe().await), "fail: there is no user `nobody-of-that-name` in /etc/passwd");
}

#[tokio::test]
async fn a_program_finds_what_is_documented_and_nothing_else() {
    let folder = folder();
    let _open = fs::File::open("/dev/null").unwrap();
    let script =
        "cd /proc/$$/fd; for fd in *; do [ -e $fd ] && open=\"$open $fd\"; done; cd /; echo $open > $1/files
                  tr '\\0' '\\n' < /proc/$$/environ > $1/environment
                  for of in cwd fd/0; do readlink /proc/$$/$of; done > $1/links
                  cut -d' ' -f 1,5 /proc/$$/stat > $1/group";
    assert_eq!(text_of(shell(script, folder.path(), TIMEOUT).probe().await), "pass: exit code 0");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let environment = read("environment");
    let mut environment: Vec<_> = environment.lines().collect();
    environment.sort_unstable();
    let path = format!("PATH={}", io::PATH);
    assert_eq!(
        environment,
        ["ANNOUNCER_CHECK=load", "ANNOUNCER_SERVICE=www", "ANNOUNCER_VIP=192.0.2.80", &path]
    );
    assert_eq!(read("links"), "/\n/dev/null\n");
    let files = read("files");
    let (files, mut known): (Vec<_>, _) = (files.split_whitespace().collect(), inherited());
    known.extend(["0", "1", "2"].map(str::to_owned));
    assert!(files.iter().all(|file| known.iter().any(|known| known == file)), "{files:?}, {known:?}");
    let group = read("group");
    let (pid, group) = group.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[tokio::test]
async fn a_root_s_program_runs_as_nobody_unless_a_user_is_configured() {
    let folder = folder();
    let root = Uid::effective().is_root();
    let mut wants = vec![(None, if root { "nobody" } else { "" })];
    wants.extend(root.then_some((Some("daemon"), "daemon")));
    wants.extend(root.then_some((Some("root"), "root")));
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    for (user, want) in wants {
        let mut exec = shell("rm -f $1/ids; id -u > $1/ids; id -G >> $1/ids", folder.path(), TIMEOUT);
        Arc::get_mut(&mut exec.order).unwrap().user =
            user.map_or(RunAs::Unprivileged, |user| RunAs::User(user.into()));
        assert_eq!(text_of(exec.probe().await), "pass: exit code 0", "{user:?}");
        let ids = fs::read_to_string(folder.path().join("ids")).unwrap();
        match in_passwd(&passwd, want) {
            Some((uid, gid)) => assert_eq!(ids, format!("{uid}\n{gid}\n")),
            None => assert!(ids.starts_with(&format!("{}\n", Uid::effective()))),
        }
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let folder = folder();
    let script = "sleep 1000 & echo $$ $! >> $1/ids; trap '' TERM INT; wait";
    let exec = shell(script, folder.path(), SHORT);
    for _ in 0..2 * MOST_LINGERING {
        assert_eq!(text_of(exec.probe().await), "fail: no end of the program within 200 ms");
    }
    // On a busy host one or the other is killed before it has written.
    let ids = line(&folder.path().join("ids")).await;
    for id in ids.split_whitespace() {
        gone(id).await;
    }
}

#[tokio::test]
async fn a_probe_that_is_dropped_kills_its_program() {
    let folder = folder();
    let exec = shell("echo $$ > $1/self; sleep 1000 & echo $! > $1/child; wait", folder.path(), TIMEOUT);
    let (own, child) = (folder.path().join("self"), folder.path().join("child"));
    let (own, child) = tokio::select! {
        outcome = exec.probe() => panic!("{outcome}"),
        pids = async { (line(&own).await, line(&child).await) } => pids,
    };
    gone(&own).await;
    gone(&child).await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_killed_and_not_waited_for() {
    let folder = folder();
    let stays = shell("sleep 1000 & echo $! > $1/child; exit 0", folder.path(), TIMEOUT);
    assert_eq!(text_of(stays.probe().await), "pass: exit code 0");
    gone(&line(&folder.path().join("child")).await).await;
    // A process outside of our group that holds our pipe open does not delay the probe.
    let start = Instant::now();
    let escapes = shell("setsid sleep 3 & exit 0", folder.path(), TIMEOUT);
    assert_eq!(text_of(escapes.probe().await), "pass: exit code 0");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_shortage_is_no_verdict() {
    in_own_process("health::io::exec::tests::alone_without_files", "ulimit -n 64;");
    if Uid::effective().is_root() {
        in_own_process("health::io::exec::tests::alone_without_processes", "prlimit --pid $$ --nproc=0;");
    }
}

#[tokio::test]
#[ignore = "runs alone"]
async fn alone_without_files() {
    let exec = program(&["/bin/sh", "-c", "echo well"], ExitCodes::Zero, TIMEOUT);
    assert_eq!(text_of(exec.probe().await), "pass: exit code 0");
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..50 {
        assert_eq!(text_of(exec.probe().await), "pass: exit code 0");
    }
    assert_eq!(open(), before, "descriptors are left");
    // Whichever number of descriptors is left, the probe is skipped and does not fail.
    let mut files = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        files.push(file);
    }
    let mut passed = 0;
    for left in 0..8 {
        let outcome = exec.probe().await;
        passed += u32::from(matches!(outcome, Outcome::Pass { .. }));
        assert!(
            matches!(outcome, Outcome::Pass { .. } | Outcome::Skipped(Shortage::Files)),
            "{left} left: {outcome}"
        );
        files.pop();
    }
    assert!((1..8).contains(&passed), "{passed}");
}

#[tokio::test]
#[ignore = "runs alone"]
async fn alone_without_processes() {
    let exec = program(&["/bin/true"], ExitCodes::Zero, TIMEOUT);
    assert_eq!(text_of(exec.probe().await), "skipped: the program's user may have no more processes");
}
