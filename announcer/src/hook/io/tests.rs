use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;
use crate::director::{Change, Reason, Standing};

fn script(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("hook");
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn hooks(program: &Path, limit: Duration) -> Hooks {
    Hooks { on_change: vec![program.to_str().unwrap().to_owned(), "an argument".into()], timeout: limit }
}

fn call() -> Call {
    let mut queue = Queue::default();
    queue.changed(&change(80, Standing::Announced));
    queue.take().unwrap()
}

fn change(vip: u8, standing: Standing) -> Change {
    Change {
        service: "www".parse().unwrap(),
        vip: [192, 0, 2, vip].into(),
        standing,
        before: Standing::Withheld(Reason::NotLookedFor),
    }
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_run_has_its_arguments_and_a_clean_environment() {
    let dir = tempfile::tempdir().unwrap();
    let hook = script(dir.path(), "echo \"$1|$#|$(pwd)\"; cat; env | sort");
    let (ended, output) = once(&hooks(&hook, LONG), &call()).await;
    assert!(matches!(ended, Ended::Ok), "{ended:?}");
    let output = String::from_utf8(output).unwrap();
    let (first, environment) = output.split_once('\n').unwrap();
    assert_eq!(first, "an argument|1|/");
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    let own = ["OLDPWD", "PWD", "SHLVL", "_"]; // a shell's
    let names: Vec<&str> = names.into_iter().filter(|name| !own.contains(name)).collect();
    let want = ["MESSAGE", "PREVIOUS", "REASON", "SERVICE", "STANDING", "VIP"];
    assert_eq!(names[..6], want.map(|name| format!("ANNOUNCER_{name}")));
    assert_eq!(names[6..], ["PATH"]);
    assert!(environment.contains("ANNOUNCER_VIP=192.0.2.80\n"));
}

#[tokio::test]
async fn a_run_that_hangs_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let hook = script(dir.path(), "sleep 600 & echo $!; sleep 600");
    let start = Instant::now();
    let (ended, output) = once(&hooks(&hook, Duration::from_millis(300)), &call()).await;
    assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
    assert!(start.elapsed() < LONG);
    let child: i32 = String::from_utf8(output).unwrap().trim().parse().unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
    let gone = |stat: Option<String>| stat.is_none_or(|stat| stat.contains(") Z "));
    while !gone(state()) {
        assert!(start.elapsed() < LONG, "what it started lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_run_that_fails_or_cannot_begin_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let hook = script(dir.path(), "echo oops >&2; exit 3");
    let (ended, output) = once(&hooks(&hook, LONG), &call()).await;
    assert!(matches!(&ended, Ended::Failed(how) if how == "exit status: 3"), "{ended:?}");
    assert_eq!(output, b"oops\n");
    let (ended, _) = once(&hooks(&dir.path().join("none"), LONG), &call()).await;
    assert!(matches!(ended, Ended::NotStarted(_)), "{ended:?}");
}

#[tokio::test]
async fn much_output_is_read_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let hook = script(dir.path(), "head -c 1000000 /dev/zero");
    let (ended, output) = once(&hooks(&hook, LONG), &call()).await;
    assert!(matches!(ended, Ended::Ok), "{ended:?}");
    assert_eq!(output.len(), KEPT);
}

#[tokio::test]
async fn a_thousand_changes_are_told_one_at_a_time_and_the_newest_of_each_vip() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // Two that run at once would meet in the directory that the first has made.
    let text = format!(
        "cd {0}\nmkdir running || echo twice >> log\necho $ANNOUNCER_VIP $ANNOUNCER_STANDING >> log\nsleep 0.05\n\
         rmdir running",
        dir.path().display()
    );
    let hook = script(dir.path(), &text);
    let config = |hooks| {
        let mut config = crate::config::parse(
            "test",
            "[bgp]\nasn = 65001\n[[peer]]\nname = \"r1\"\naddress = \"10.0.1.1\"\nasn = 65000\n[[service]]\n\
             name = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\nhttp = \"http://x/\"\n",
        )
        .unwrap();
        config.hooks = Some(hooks);
        Arc::new(config)
    };
    let (_configs, given) = watch::channel(config(hooks(&hook, LONG)));
    let queue = watch::Sender::new(Queue::default());
    let running = tokio::spawn(run(given, queue.clone()));
    let tell = |change: Change| queue.send_modify(|queue| queue.changed(&change));
    tell(change(1, Standing::Announced));
    while !log.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..500 {
        tell(change(2, Standing::Announced));
        tell(change(2, Standing::Withheld(Reason::Stopping)));
    }
    tell(change(3, Standing::Announced));
    tell(change(2, Standing::Announced));
    tell(change(1, Standing::Withheld(Reason::Stopping)));
    let start = Instant::now();
    while queue.borrow().runs.ok < 4 {
        assert!(start.elapsed() < LONG, "{:?}", queue.borrow().runs);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.abort();
    let told = std::fs::read_to_string(log).unwrap();
    let want = "192.0.2.1 announced\n192.0.2.3 announced\n192.0.2.2 announced\n192.0.2.1 withheld\n";
    assert_eq!(told, want);
}
