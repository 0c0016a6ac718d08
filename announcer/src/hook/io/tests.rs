use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::*;
use crate::bgp::io::session::SessionReport;
use crate::config::HooksConfig;
use crate::config::tests::with_services;
use crate::director::{NotAnnouncedReason, Standing, StandingChange};
use crate::drain::Drains;
use crate::files::io::Files;
use crate::program::{ProgramEnd, RunPhase};

fn script(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("hook");
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn command(program: &Path, limit: Duration) -> HookCommand {
    HookCommand { words: vec![program.to_str().unwrap().into(), "an argument".into()], timeout: limit }
}

fn hooks(program: &Path, limit: Duration) -> HooksConfig {
    HooksConfig { on_change: command(program, limit).words, on_drain: Vec::new(), timeout: limit }
}

fn call() -> HookCall {
    HookCall { event: HookEvent::of_standing(&change(80, Standing::Announced)), previous: "starting" }
}

fn change(vip: u8, standing: Standing) -> StandingChange {
    StandingChange {
        service: "www".parse().unwrap(),
        vip: [192, 0, 2, vip].into(),
        standing,
        before: Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into())),
    }
}

const LONG: Duration = Duration::from_secs(20);

fn programs() -> Programs {
    Programs::unconfined(Files::new())
}

/// The end of one run of the hook, and its output.
async fn run_once(program: &Path, limit: Duration) -> (ProgramEnd, String) {
    let (runner, command) = (Runner::new(&programs()), command(program, limit));
    let order = Arc::new(order(&HookOwner::Host, &command, &call()));
    let ProgramRun { end, output } = runner.run(&order, Bounds { time: limit, kept: KEPT }).await;
    (end, String::from_utf8(output).unwrap())
}

#[tokio::test]
async fn a_run_has_its_arguments_and_a_clean_environment() {
    let dir = tempfile::tempdir().unwrap();
    let hook = script(dir.path(), "echo \"$1|$#|$(pwd)\"; cat; env | sort");
    let (end, output) = run_once(&hook, LONG).await;
    assert_eq!(end, ProgramEnd::Code(0));
    let (first, environment) = output.split_once('\n').unwrap();
    assert_eq!(first, "an argument|1|/");
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    let own = ["OLDPWD", "PWD", "SHLVL", "_"]; // a shell's
    let names: Vec<&str> = names.into_iter().filter(|name| !own.contains(name)).collect();
    let want = ["EVENT", "MESSAGE", "PREVIOUS", "REASON", "SERVICE", "STANDING", "VIP"];
    assert_eq!(names[..7], want.map(|name| format!("ANNOUNCER_{name}")));
    assert_eq!(names[7..], ["PATH"]);
    assert!(environment.contains("ANNOUNCER_VIP=192.0.2.80\n"));
}

#[tokio::test]
async fn a_run_that_hangs_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let (end, _) = run_once(&script(dir.path(), "sleep 600 & sleep 600"), Duration::from_millis(300)).await;
    assert_eq!(end, ProgramEnd::TimedOut(RunPhase::Exit));
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn a_run_that_fails_or_cannot_begin_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let failed = run_once(&script(dir.path(), "echo oops >&2; exit 3"), LONG).await;
    assert_eq!(failed, (ProgramEnd::Code(3), "oops\n".to_owned()));
    let (end, _) = run_once(&dir.path().join("none"), LONG).await;
    assert_eq!(end.to_string(), "the program cannot be run: No such file or directory");
}

#[tokio::test]
async fn much_output_is_read_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (end, output) = run_once(&script(dir.path(), "head -c 1000000 /dev/zero"), LONG).await;
    assert_eq!((end, output.len()), (ProgramEnd::Code(0), KEPT));
}

fn config(change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = crate::config::parse(
        "test",
        with_services!(
            "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\nhttp = \"http://x/\"\n\
             [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n[[service.check]]\ntcp = 25\n"
        ),
    )
    .unwrap();
    change(&mut config);
    Arc::new(config)
}

/// The hooks' task, with the channels of the director, the sessions and the metrics.
struct HooksTask {
    changes: mpsc::Sender<Vec<StandingChange>>,
    drains: watch::Sender<Arc<DrainsInForce>>,
    session: watch::Sender<SessionReport>,
    runs: watch::Receiver<HookRuns>,
    _kept: (watch::Sender<Arc<Config>>, watch::Sender<Peers>),
}

impl HooksTask {
    fn start(hooks: HooksConfig) -> HooksTask {
        HooksTask::of(config(|config| config.hooks = Some(hooks)), Arc::default(), false)
    }

    /// With these drains in force at the start; `continues`: a former process has reported them.
    fn of(config: Arc<Config>, drains: Arc<DrainsInForce>, continues: bool) -> HooksTask {
        let (session, status) = watch::channel(SessionReport::new());
        let (peers, peers_rx) = watch::channel(Peers::new(vec![(config.peers[0].clone(), status)]));
        let (configs, configs_rx) = watch::channel(config);
        let (changes, changed) = mpsc::channel(16);
        let (drains, drains_rx) = watch::channel(drains);
        let (counts, runs) = watch::channel(HookRuns::default());
        let inputs = HookInputs {
            configs: configs_rx,
            changes: changed,
            drains: drains_rx,
            peers: peers_rx,
            continues,
        };
        tokio::spawn(run(inputs, programs(), counts));
        HooksTask { changes, drains, session, runs, _kept: (configs, peers) }
    }

    async fn until(&mut self, holds: impl Fn(&HookRuns) -> bool) -> HookRuns {
        let runs = tokio::time::timeout(LONG, self.runs.wait_for(holds)).await;
        *runs.unwrap().unwrap()
    }
}

#[tokio::test]
async fn the_hook_gets_a_thousand_changes_one_at_a_time_and_the_newest_of_each_vip() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    // If two runs overlapped, the second would find the directory that the first has made.
    let text = format!(
        "cd {0}\nmkdir running || echo twice >> log\necho $ANNOUNCER_VIP $ANNOUNCER_STANDING >> log\n\
         while [ ! -e go ]; do sleep 0.02; done\nrmdir running",
        dir.path().display()
    );
    let mut task = HooksTask::start(hooks(&script(dir.path(), &text), LONG));
    let gone = || Standing::NotAnnounced(NotAnnouncedReason::Stopping);
    let starting = || Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into()));
    task.changes.send(vec![change(1, Standing::Announced)]).await.unwrap();
    while !log.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..500 {
        task.changes.send(vec![change(2, Standing::Announced), change(2, starting())]).await.unwrap();
    }
    let last = vec![change(3, Standing::Announced), change(2, Standing::Announced), change(1, gone())];
    task.changes.send(last).await.unwrap();
    // The task receives all changes while the hook runs: the director never waits for the hook.
    task.until(|runs| runs.replaced == 500).await;
    std::fs::write(dir.path().join("go"), "").unwrap();
    task.until(|runs| runs.ok == 4).await;
    let reported = std::fs::read_to_string(log).unwrap();
    let want = "192.0.2.1 announced\n192.0.2.3 announced\n192.0.2.2 announced\n192.0.2.1 not_announced\n";
    assert_eq!(reported, want);
}

// W12.
#[tokio::test]
async fn a_hook_that_leaves_a_program_behind_has_ended_and_the_next_vip_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let hook = script(dir.path(), "sleep 60 & setsid sleep 7 & exit 0");
    let mut task = HooksTask::start(hooks(&hook, LONG));
    let start = Instant::now();
    task.changes.send(vec![change(1, Standing::Announced), change(2, Standing::Announced)]).await.unwrap();
    let runs = task.until(|runs| runs.ok + runs.failed + runs.timeout + runs.not_started == 2).await;
    assert_eq!(runs, HookRuns { ok: 2, ..HookRuns::default() });
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_hook_that_could_not_be_started_is_run_once_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut task = HooksTask::start(hooks(&dir.path().join("hook"), LONG));
    task.changes.send(vec![change(1, Standing::Announced)]).await.unwrap();
    task.until(|runs| runs.not_started > 0).await;
    script(dir.path(), &format!("echo $ANNOUNCER_PREVIOUS $ANNOUNCER_STANDING >> {}", log.display()));
    let runs = task.until(|runs| runs.ok > 0).await;
    assert_eq!(runs.ok, 1);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "starting announced\n");
}

// Issue 21: each hook has its own program, and one that hangs is killed and delays only itself.
#[tokio::test]
async fn the_hooks_of_services_routers_and_drains_run_for_their_own_events_alone() {
    const SETTLE: Duration = Duration::from_millis(300);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let report = script(
        dir.path(),
        &format!(
            "echo $1 $ANNOUNCER_EVENT $ANNOUNCER_SERVICE$ANNOUNCER_PEER$ANNOUNCER_TARGET \
             $ANNOUNCER_STANDING$ANNOUNCER_SESSION$ANNOUNCER_DRAIN $ANNOUNCER_PREVIOUS >> {}",
            log.display()
        ),
    );
    let of = |name: &str| vec![report.to_str().unwrap().into(), name.into()];
    let one = |name: &str| HooksConfig { on_change: of(name), on_drain: Vec::new(), timeout: LONG };
    let hangs = HooksConfig {
        on_change: vec!["/bin/sleep".into(), "600".into()],
        on_drain: of("mail"),
        timeout: LONG / 10,
    };
    let config = config(|config| {
        config.hooks = Some(HooksConfig { on_drain: of("all-drains"), ..one("all") });
        config.services[0].hooks = Some(one("www"));
        config.services[1].hooks = Some(hangs);
        config.peers[0].hooks = Some(one("r1"));
        config.bgp.settle = SETTLE;
    });
    let mut task = HooksTask::of(config, Arc::default(), false);
    let mail = StandingChange { service: "mail".parse().unwrap(), ..change(25, Standing::Announced) };
    task.changes.send(vec![mail, change(80, Standing::Announced)]).await.unwrap();
    task.until(|runs| runs.ok == 3).await; // [hooks] twice, and that of www; that of mail hangs
    // A session of the former process is no news, and its end is.
    let mut report = SessionReport::new();
    report.state = StateName::Established;
    task.session.send_replace(report.clone());
    report.state = StateName::Idle;
    tokio::time::sleep(Duration::from_millis(100)).await;
    task.session.send_replace(report.clone());
    task.until(|runs| runs.ok == 4).await;
    (report.state, report.sent.open) = (StateName::Established, 1);
    task.session.send_replace(report.clone());
    task.until(|runs| runs.ok == 5).await;
    // The drain waits for the router.
    let drains = Drains::from_files([("mail".to_owned(), Ok(String::new()))]);
    task.drains.send_replace(Arc::new(DrainsInForce { drains, generation: 7 }));
    let runs = task.until(|runs| runs.timeout == 1 && runs.ok == 7).await;
    assert_eq!(runs.pending, 0);
    report.acknowledged = 7;
    let acknowledged = Instant::now();
    task.session.send_replace(report);
    task.until(|runs| runs.ok == 9).await;
    assert!(acknowledged.elapsed() >= SETTLE, "{:?}", acknowledged.elapsed());
    task.drains.send_replace(Arc::new(DrainsInForce { drains: Drains::default(), generation: 8 }));
    task.until(|runs| runs.ok == 11).await;
    let written = std::fs::read_to_string(log).unwrap();
    let of = |name: &str| {
        let lines = written.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(of("all"), "standing mail announced starting, standing www announced starting");
    assert_eq!(of("www"), "standing www announced starting");
    assert_eq!(of("r1"), "session r1 down up, session r1 up down");
    assert_eq!(
        of("all-drains"),
        "drain mail begun ended, drain mail drained begun, drain mail ended drained"
    );
    assert_eq!(
        of("mail"),
        "drain mailmail begun ended, drain mailmail drained begun, drain mailmail ended drained"
    );
}

#[tokio::test]
async fn after_a_takeover_the_drains_in_force_are_not_reported_again() {
    for (continues, want) in
        [(true, "ended after drained\n"), (false, "begun after ended\nended after begun\n")]
    {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let report = script(
            dir.path(),
            &format!("echo $ANNOUNCER_DRAIN after $ANNOUNCER_PREVIOUS >> {}", log.display()),
        );
        let on_drain = vec![report.to_str().unwrap().into()];
        let hooks = HooksConfig { on_change: Vec::new(), on_drain, timeout: LONG };
        let drains = Drains::from_files([("mail".to_owned(), Ok(String::new()))]);
        let in_force = Arc::new(DrainsInForce { drains, generation: 7 });
        // Without a former process, the drain is not drained before this time has passed.
        let config = config(|config| (config.hooks, config.bgp.settle) = (Some(hooks), LONG * 3));
        let mut task = HooksTask::of(config, in_force, continues);
        tokio::task::yield_now().await; // the task has read the drains
        task.until(|runs| runs.ok == u64::from(!continues)).await;
        task.drains.send_replace(Arc::new(DrainsInForce { drains: Drains::default(), generation: 8 }));
        task.until(|runs| runs.ok == want.lines().count() as u64).await;
        assert_eq!(std::fs::read_to_string(log).unwrap(), want);
    }
}
