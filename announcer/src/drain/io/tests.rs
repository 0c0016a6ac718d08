use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::super::ends::{ClockState, EndState};
use super::super::{Drain, DrainPhase, Operator};
use super::*;

const LONG: Duration = Duration::from_secs(20);

/// An owner of `folder`, with a director that counts facts as generations and stores the drains of each.
struct FolderOwner {
    requests: mpsc::Sender<DrainRequest>,
    state: watch::Receiver<DrainFolderReport>,
    seen: watch::Receiver<Vec<Drains>>,
    renewed: watch::Receiver<Vec<DrainTarget>>,
    events: Mutex<mpsc::Receiver<EndEvent>>,
    _tasks: tokio::task::JoinSet<()>,
}

fn start(folder: &Path) -> FolderOwner {
    start_with(folder, clock)
}

fn start_with(folder: &Path, clock: fn() -> WallClock) -> FolderOwner {
    let (facts, mut heard) = mpsc::channel::<DrainFact>(4);
    let (state, published) = watch::channel(DrainFolderReport::default());
    let (sender, requests) = requests();
    let (remember, seen) = watch::channel(Vec::new());
    let (renewals, renewed) = watch::channel(Vec::new());
    let (events_sender, events) = mpsc::channel(16);
    let owner =
        Owner { folder: folder.to_owned(), files: Files::new(), facts, state, events: events_sender, clock };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(owner.run(requests));
    tasks.spawn(async move {
        while let Some(DrainFact { drains, applied, renewed, .. }) = heard.recv().await {
            renewals.send_modify(|all: &mut Vec<DrainTarget>| all.extend(renewed));
            remember.send_modify(|seen: &mut Vec<Drains>| seen.push(drains));
            if let Some(applied) = applied {
                let _ = applied.send(remember.borrow().len() as Generation);
            }
        }
    });
    FolderOwner { requests: sender, state: published, seen, renewed, events: events.into(), _tasks: tasks }
}

impl FolderOwner {
    async fn ask(&self, change: DrainChange) -> Result<AppliedChange, DrainError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(DrainRequest { change, reply }).await.unwrap();
        timeout(LONG, answer).await.unwrap().unwrap()
    }

    /// The next event of a drain's end: its target, and what has become of it.
    async fn event(&self) -> (String, EndState) {
        let EndEvent { order, state } =
            timeout(LONG, self.events.lock().await.recv()).await.unwrap().unwrap();
        (order.target.to_string(), state)
    }

    async fn until(&self, fits: impl Fn(&DrainFolderReport) -> bool) {
        timeout(LONG, self.state.clone().wait_for(|state| fits(state))).await.unwrap().unwrap();
    }
}

fn ann() -> Operator {
    Operator::new(1000, Some("ann".into()), None)
}

fn drain(name: &str) -> DrainChange {
    let owner = ann();
    let drain = Drain { by: Some(owner.to_string()), uid: Some(owner.uid), ..Drain::default() };
    DrainChange::Drain { targets: vec![DrainTarget::of_file(name)], owner, drain, prepare: Duration::ZERO }
}

fn undrain(name: &str) -> DrainChange {
    DrainChange::Undrain { targets: vec![DrainTarget::of_file(name)], owner: ann(), force: false }
}

fn has(drains: &Drains, name: &str) -> bool {
    !drains.of(&DrainTarget::of_file(name)).is_empty()
}

// W9: when six commands at the same time each had their own copy of the folder, WITHDRAW, ANNOUNCE, WITHDRAW was sent.
#[tokio::test]
async fn of_parallel_commands_each_gets_a_generation_in_which_its_own_change_holds_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder.path().join("drain"));
    for _ in 0..10 {
        let names = ["a", "b", "c", "d", "e", "f"];
        let changed = futures_util::future::join_all(names.map(|name| running.ask(drain(name)))).await;
        let seen = running.seen.borrow().clone();
        for (name, changed) in names.iter().zip(changed) {
            let from = changed.unwrap().generation as usize - 1;
            assert!(seen[from..].iter().all(|drains| has(drains, name)), "{name} from {from} on");
        }
        for name in names {
            running.ask(undrain(name)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn files_made_by_hand_count_and_a_name_without_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    running.until(|state| state.drains == Drains::default()).await;
    std::fs::write(folder.path().join("www"), "kernel").unwrap();
    running.until(|state| has(&state.drains, "www")).await;
    assert_eq!(running.ask(undrain("www")).await.unwrap().plan.absent, []);
    assert_eq!(running.ask(undrain("www")).await.unwrap().plan.absent, [DrainTarget::of_file("www")]);
    running.until(|state| state.drains == Drains::default()).await;
}

#[tokio::test]
async fn a_folder_that_is_removed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("drain");
    let running = start(&inner);
    running.ask(drain("www")).await.unwrap();
    std::fs::remove_dir_all(&inner).unwrap();
    running.until(|state| state.drains == Drains::default()).await;
    running.ask(drain("www")).await.unwrap();
    running.until(|state| has(&state.drains, "www")).await;
}

// H7: status and metrics did not show that a folder could not be read. A file in its place is an error for root too.
#[tokio::test]
async fn a_folder_that_cannot_be_read_is_said_and_what_was_drained_stays() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("drain");
    let running = start(&inner);
    running.ask(drain("www")).await.unwrap();
    let aside = folder.path().join("aside");
    std::fs::rename(&inner, &aside).unwrap();
    std::fs::write(&inner, "").unwrap();
    running.until(|state| state.unreadable.is_some()).await;
    let state = running.state.borrow().clone();
    assert!(has(&state.drains, "www"), "drained services stay drained");
    let error = running.ask(drain("mail")).await.unwrap_err().to_string();
    assert!(error.contains("cannot be changed: File exists"), "{error}");
    std::fs::remove_file(&inner).unwrap();
    std::fs::rename(&aside, &inner).unwrap();
    running.until(|state| state.unreadable.is_none() && has(&state.drains, "www")).await;
}

// A moved or unmounted folder is not an emptied one: a folder that is in its place does not have the drains.
#[tokio::test]
async fn a_folder_that_was_moved_away_ends_no_drain_until_a_command_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, aside) = (folder.path().join("drain"), folder.path().join("aside"));
    let running = start(&inner);
    running.ask(drain("www")).await.unwrap();
    std::fs::rename(&inner, &aside).unwrap();
    running.until(|state| state.unreadable.is_some()).await;
    assert!(has(&running.state.borrow().drains, "www"));
    assert!(!inner.exists(), "it is not made anew");
    std::fs::rename(&aside, &inner).unwrap();
    running.until(|state| state.unreadable.is_none() && has(&state.drains, "www")).await;
    std::fs::rename(&inner, &aside).unwrap();
    running.until(|state| state.unreadable.is_some()).await;
    running.ask(drain("mail")).await.unwrap();
    running.until(|state| state.unreadable.is_none() && state.drains.iter().count() == 1).await;
}

// H23: a symbolic link that leads nowhere did not drain. W2's kind: a FIFO is not opened.
#[tokio::test]
async fn whatever_stands_in_the_folder_drains() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("/nonexistent", at("link")).unwrap();
    symlink("loop", at("loop")).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::fs::write(at("large"), "x".repeat(100_000)).unwrap();
    std::fs::write(at(".hidden"), "").unwrap();
    let drains = read(folder.path()).unwrap();
    let reason = |name: &str| drains.of(&DrainTarget::of_file(name))[0].drain.reason.clone().unwrap();
    assert_eq!(drains.iter().count(), 5);
    assert_eq!(reason("link"), "its drain file cannot be read: it is a symbolic link that leads nowhere");
    assert!(
        reason("loop").starts_with("its drain file cannot be read: Too many levels"),
        "{}",
        reason("loop")
    );
    assert_eq!(reason("folder"), "its drain file cannot be read: it is not a regular file");
    assert_eq!(reason("fifo"), "its drain file cannot be read: it is not a regular file");
    assert_eq!(reason("large").len(), 4096);
}

#[tokio::test]
async fn a_drain_of_another_person_stays_until_it_is_forced() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    running.ask(drain("www")).await.unwrap();
    let bob = Operator::new(1001, Some("bob".into()), None);
    let undrain = |force| DrainChange::Undrain {
        targets: vec![DrainTarget::of_file("www")],
        owner: bob.clone(),
        force,
    };
    let refused = running.ask(undrain(false)).await.unwrap_err().to_string();
    assert!(refused.starts_with("www was drained by another person, and stays drained by ann"), "{refused}");
    assert!(folder.path().join("www@ann").exists());
    running.ask(undrain(true)).await.unwrap();
    assert!(!folder.path().join("www@ann").exists());
}

fn timed(name: &str, end: SystemTime) -> DrainChange {
    let until = Some(crate::drain::Until::At(end));
    DrainChange::Drain {
        targets: vec![DrainTarget::of_file(name)],
        owner: ann(),
        drain: Drain { until, ..Drain::default() },
        prepare: Duration::ZERO,
    }
}

fn synchronised() -> WallClock {
    WallClock { now: SystemTime::now(), state: ClockState::Synchronised }
}

fn unsynchronised() -> WallClock {
    WallClock { now: SystemTime::now(), state: ClockState::Unsynchronised }
}

#[tokio::test]
async fn at_its_end_a_drain_ends_alone_and_its_checks_have_to_pass_anew() {
    let folder = tempfile::tempdir().unwrap();
    let running = start_with(folder.path(), synchronised);
    std::fs::write(folder.path().join("www"), "by hand").unwrap();
    running.ask(drain("mail")).await.unwrap();
    running.ask(timed("www", SystemTime::now() + Duration::from_secs(2))).await.unwrap();
    assert!(folder.path().join("www@ann").exists());
    running.until(|state| state.drains.of(&DrainTarget::of_file("www")).len() == 1).await;
    assert!(!folder.path().join("www@ann").exists() && folder.path().join("www").exists());
    let mut renewed = running.renewed.clone();
    timeout(LONG, renewed.wait_for(|all| *all == [DrainTarget::of_file("www")])).await.unwrap().unwrap();
    assert!(has(&running.state.borrow().drains, "mail"));
    assert_eq!(running.event().await, ("www".into(), EndState::EndsSoon));
    assert_eq!(running.event().await, ("www".into(), EndState::Ended));
}

#[tokio::test]
async fn ten_minutes_before_its_end_a_drain_is_an_event_once_and_again_after_its_end_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let running = start_with(folder.path(), synchronised);
    let (soon, later) = (Duration::from_secs(590), Duration::from_secs(700));
    running.ask(timed("mail", SystemTime::now() + later)).await.unwrap();
    running.ask(timed("www", SystemTime::now() + soon)).await.unwrap();
    assert_eq!(running.event().await, ("www".into(), EndState::EndsSoon));
    running.ask(drain("api")).await.unwrap(); // the ends are looked at again
    running.ask(timed("www", SystemTime::now() + soon + Duration::from_secs(1))).await.unwrap();
    assert_eq!(running.event().await, ("www".into(), EndState::EndsSoon));
    running.ask(drain("db")).await.unwrap();
    assert!(running.events.lock().await.try_recv().is_err(), "nothing else has come near its end");
}

#[tokio::test]
async fn with_a_clock_that_is_not_synchronised_a_drain_stays_and_this_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let running = start_with(folder.path(), unsynchronised);
    running.ask(timed("www", SystemTime::now() - Duration::from_secs(60))).await.unwrap();
    running.ask(drain("mail")).await.unwrap();
    assert!(has(&running.state.borrow().drains, "www") && folder.path().join("www@ann").exists());
    let warnings = running.state.borrow().warnings(unsynchronised());
    assert!(warnings.iter().any(|warning| warning.contains("not synchronised")), "{warnings:?}");
    assert_eq!(*running.renewed.borrow(), []);
    assert_eq!(running.event().await, ("www".into(), EndState::Stays));
}

// A crash, an upgrade or a restart of the daemon is a start with the same boot id.
#[test]
fn a_start_with_another_boot_id_ends_what_holds_until_then_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let other = "0a1b2c3d-0000-4000-8000-00000000000f";
    std::fs::write(at("www@ann"), format!("boot: {other}\n")).unwrap();
    std::fs::write(at("mail@ann"), format!("boot: {}\n", boot_id().unwrap())).unwrap();
    std::fs::write(at("api"), format!("until: 2001-01-01T00:00:00Z\nreason: {other}\n")).unwrap();
    let drains = read_at_start(folder.path()).unwrap();
    assert!(!has(&drains, "www") && !at("www@ann").exists());
    assert!(has(&drains, "mail") && has(&drains, "api"));
}

#[tokio::test]
async fn a_drain_is_prepared_for_its_time_or_until_its_withdraw_is_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path());
    let phases =
        |drains: &Drains| drains.iter().map(|order| (order.file.clone(), order.phase)).collect::<Vec<_>>();
    let prepared = |name: &str, prepare| {
        let DrainChange::Drain { targets, owner, drain, .. } = drain(name) else { unreachable!() };
        DrainChange::Drain { targets, owner, drain, prepare }
    };
    let hour = Duration::from_secs(3600);
    running.ask(prepared("mail", hour)).await.unwrap();
    running.ask(prepared("www", hour)).await.unwrap();
    let (mail, www) = (String::from("mail@ann"), String::from("www@ann"));
    let seen = phases(&running.state.borrow().drains);
    assert_eq!(seen, [(mail.clone(), DrainPhase::Prepare), (www.clone(), DrainPhase::Prepare)]);
    running
        .ask(DrainChange::Withdraw { targets: vec![DrainTarget::of_file("www")], owner: ann() })
        .await
        .unwrap();
    let seen = phases(&running.state.borrow().drains);
    assert_eq!(seen, [(mail, DrainPhase::Prepare), (www.clone(), DrainPhase::Withdraw)]);
    running.ask(undrain("mail")).await.unwrap();
    running.ask(prepared("mail", Duration::from_millis(300))).await.unwrap();
    running.until(|state| state.drains.iter().all(|order| order.phase == DrainPhase::Withdraw)).await;
    // A restarted daemon knows of no preparation.
    assert!(read_at_start(folder.path()).unwrap().iter().all(|order| order.phase == DrainPhase::Withdraw));
}
