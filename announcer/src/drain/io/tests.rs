use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// An owner of `folder`, with a director that counts facts as generations and stores the drains of each.
struct FolderOwner {
    requests: mpsc::Sender<DrainRequest>,
    state: watch::Receiver<DrainFolderReport>,
    seen: watch::Receiver<Vec<Drains>>,
    _tasks: tokio::task::JoinSet<()>,
}

fn start(folder: &Path) -> FolderOwner {
    let (facts, mut heard) = mpsc::channel::<DrainFact>(4);
    let (state, published) = watch::channel(DrainFolderReport::default());
    let (sender, requests) = requests();
    let (remember, seen) = watch::channel(Vec::new());
    let owner = Owner { folder: folder.to_owned(), files: Files::new(), facts, state };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(owner.run(requests));
    tasks.spawn(async move {
        while let Some(DrainFact { drains, applied, .. }) = heard.recv().await {
            remember.send_modify(|seen: &mut Vec<Drains>| seen.push(drains));
            if let Some(applied) = applied {
                let _ = applied.send(remember.borrow().len() as Generation);
            }
        }
    });
    FolderOwner { requests: sender, state: published, seen, _tasks: tasks }
}

impl FolderOwner {
    async fn ask(&self, change: DrainChange) -> Result<AppliedChange, DrainError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(DrainRequest { change, reply }).await.unwrap();
        timeout(LONG, answer).await.unwrap().unwrap()
    }

    async fn until(&self, fits: impl Fn(&DrainFolderReport) -> bool) {
        timeout(LONG, self.state.clone().wait_for(|state| fits(state))).await.unwrap().unwrap();
    }
}

fn drain(name: &str) -> DrainChange {
    DrainChange::Drain { names: vec![name.into()], drain: Drain::default() }
}

fn undrain(name: &str) -> DrainChange {
    DrainChange::Undrain { names: vec![name.into()] }
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
            assert!(
                seen[from..].iter().all(|drains| drains.named.contains_key(*name)),
                "{name} from {from} on"
            );
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
    running.until(|state| state.drains.named.contains_key("www")).await;
    assert_eq!(running.ask(undrain("www")).await.unwrap().absent, Vec::<String>::new());
    assert_eq!(running.ask(undrain("www")).await.unwrap().absent, ["www"]);
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
    running.until(|state| state.drains.named.contains_key("www")).await;
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
    assert!(state.drains.named.contains_key("www"), "drained services stay drained");
    let error = running.ask(drain("mail")).await.unwrap_err().to_string();
    assert!(error.contains("cannot be changed: File exists"), "{error}");
    std::fs::remove_file(&inner).unwrap();
    std::fs::rename(&aside, &inner).unwrap();
    running.until(|state| state.unreadable.is_none() && state.drains.named.contains_key("www")).await;
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
    assert!(running.state.borrow().drains.named.contains_key("www"));
    assert!(!inner.exists(), "it is not made anew");
    std::fs::rename(&aside, &inner).unwrap();
    running.until(|state| state.unreadable.is_none() && state.drains.named.contains_key("www")).await;
    std::fs::rename(&inner, &aside).unwrap();
    running.until(|state| state.unreadable.is_some()).await;
    running.ask(drain("mail")).await.unwrap();
    running.until(|state| state.unreadable.is_none() && state.drains.named.len() == 1).await;
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
    let reason = |name: &str| drains.named[name].reason.clone().unwrap();
    assert_eq!(drains.named.len(), 5);
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
