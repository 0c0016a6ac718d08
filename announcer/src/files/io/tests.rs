use std::sync::mpsc;

use nix::sys::stat::Mode;

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// Work that blocks until the sender is dropped.
fn blocked() -> (mpsc::Sender<()>, impl FnOnce(&Path) -> io::Result<()> + Send + 'static) {
    let (release, wait) = mpsc::channel::<()>();
    (release, move |_: &Path| {
        let _ = wait.recv(); // the error is the release
        Ok(())
    })
}

#[tokio::test]
async fn a_file_that_hangs_delays_nothing_but_itself() {
    let files = Files::new();
    let short = Duration::from_millis(50);
    let mut releases = Vec::new();
    // More files hang than there are places.
    for number in 0..MAX_RUNNING * 2 {
        let (release, work) = blocked();
        releases.push(release);
        let path = PathBuf::from(format!("/hangs/{number}"));
        let files = files.clone();
        let error = files.run_within(&path, short, work).await.unwrap_err();
        assert!(matches!(error, FileError::Hangs(_)), "{error}");
        assert_eq!(error.to_string(), "there is no answer from the file system within 50ms");
    }
    assert_eq!(files.hanging().borrow().len(), MAX_RUNNING * 2);
    // The same path is not tried again while it hangs, and another one is served.
    let again = files.run_within(Path::new("/hangs/0"), short, |_| Ok(())).await;
    assert!(matches!(again, Err(FileError::Hangs(_))));
    assert_eq!(files.run(Path::new("/other"), |_| Ok(7)).await.unwrap(), 7);
    let mut hanging = files.hanging();
    drop(releases.remove(0));
    let rest = hanging.wait_for(|hanging| hanging.len() < MAX_RUNNING * 2).await.unwrap().clone();
    let others = (1..MAX_RUNNING * 2).map(|number| PathBuf::from(format!("/hangs/{number}")));
    assert_eq!(rest.into_keys().collect::<std::collections::BTreeSet<_>>(), others.collect());
    drop(releases);
    hanging.wait_for(HangingPaths::is_empty).await.unwrap();
    files.run_within(Path::new("/hangs/0"), LONG, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn the_time_for_which_a_request_keeps_its_place_is_part_of_its_limit() {
    let (files, limit) = (Files::with_places_for(LONG), Duration::from_millis(500));
    let (_release, work) = blocked();
    let start = Instant::now();
    assert!(matches!(files.run_within(Path::new("/hangs"), limit, work).await, Err(FileError::Hangs(_))));
    assert!(start.elapsed() < limit * 5 / 2, "{:?}", start.elapsed());
}

#[test]
fn each_path_that_hangs_is_warned_of() {
    let now = Instant::now();
    let hanging = HangingPaths::from([
        ("/a".into(), now - Duration::from_millis(7_900)),
        ("/b".into(), now + Duration::from_secs(1)),
    ]);
    let warnings = warnings(&hanging, now);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("`/a`") && warnings[0].contains("7s"), "{warnings:?}");
    assert!(warnings[1].contains("`/b`") && warnings[1].contains("0s"), "{warnings:?}");
}

#[test]
fn a_file_that_cannot_be_replaced_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    replace(folder.path(), "name", "one").unwrap();
    replace(folder.path(), "name", "two").unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("name")).unwrap(), "two");
    std::fs::create_dir(folder.path().join("taken")).unwrap();
    replace(folder.path(), "taken", "text").unwrap_err();
    let mut left = names(folder.path()).unwrap();
    left.sort();
    assert_eq!(left, ["name", "taken"]);
}

#[test]
fn a_file_that_every_user_may_write_is_not_trusted() {
    for (mode, want) in [(0o600, false), (0o664, false), (0o646, true), (0o602, true), (0o1777, true)] {
        assert_eq!(regular::is_writable_by_others(mode), want, "{mode:o}");
    }
}

/// More files hang at once than there are places: another file is served long before their time limit.
#[tokio::test]
async fn files_that_hang_together_hold_up_no_other() {
    let files = Files::new();
    let mut releases = Vec::new();
    for number in 0..MAX_RUNNING * 3 {
        let (release, work) = blocked();
        releases.push(release);
        let (door, path) = (files.clone(), PathBuf::from(format!("/hangs/{number}")));
        tokio::spawn(async move { door.run_within(&path, LONG, work).await });
    }
    files.run(Path::new("/other"), |_| Ok(())).await.unwrap();
    assert!(files.hanging().borrow().is_empty(), "none of them is at its limit yet");
    drop(releases);
}

#[tokio::test]
async fn one_request_for_a_path_is_under_way() {
    let files = Files::with_places_for(LONG);
    let (release, work) = blocked();
    let (first, started) = (files.clone(), Arc::new(Mutex::new(Vec::new())));
    let order = started.clone();
    let first = tokio::spawn(async move {
        first
            .run_within(Path::new("/one"), LONG, move |path| {
                work(path)?;
                order.lock().unwrap().push("first");
                Ok(())
            })
            .await
    });
    while files.0.places.available_permits() == MAX_RUNNING {
        tokio::task::yield_now().await;
    }
    let (second, order) = (files.clone(), started.clone());
    let second = tokio::spawn(async move {
        second
            .run_within(Path::new("/one"), LONG, move |_| {
                order.lock().unwrap().push("second");
                Ok(())
            })
            .await
    });
    files.run(Path::new("/other"), |_| Ok(())).await.unwrap();
    assert!(started.lock().unwrap().is_empty());
    drop(release);
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(*started.lock().unwrap(), ["first", "second"]);
}

#[tokio::test]
async fn at_most_so_many_requests_run_at_a_time_and_a_caller_that_goes_changes_nothing() {
    let files = Files::with_places_for(LONG);
    let mut releases = Vec::new();
    for number in 0..MAX_RUNNING {
        let (release, work) = blocked();
        releases.push(release);
        let (door, path) = (files.clone(), PathBuf::from(format!("/busy/{number}")));
        let caller = tokio::spawn(async move { door.run_within(&path, LONG, work).await });
        while files.0.places.available_permits() > MAX_RUNNING - 1 - number {
            tokio::task::yield_now().await;
        }
        caller.abort();
    }
    while files.0.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let full = files.run_within(Path::new("/late"), Duration::from_millis(20), |_| Ok(())).await;
    assert!(matches!(full, Err(FileError::Busy(_))), "all places are taken, and this file does not hang");
    drop(releases);
    files.run_within(Path::new("/late"), LONG, |_| Ok(())).await.unwrap();
    while files.0.places.available_permits() < MAX_RUNNING {
        tokio::task::yield_now().await;
    }
    assert!(files.0.lanes.lock().unwrap().is_empty(), "nothing is kept of paths that are done");
}

#[tokio::test]
async fn what_is_read_is_a_regular_file_of_a_bounded_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text"), "12345").unwrap();
    std::fs::write(at("latin-1"), [0xe4]).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    let files = Files::new();
    let why = |result: Result<String, FileError>| result.unwrap_err().to_string();
    assert_eq!(files.read_text(&at("text"), 5).await.unwrap(), "12345");
    assert_eq!(why(files.read_text(&at("text"), 4).await), "the file is larger than 4 octets");
    assert_eq!(why(files.read_text(&at("fifo"), 5).await), "it is not a regular file");
    assert_eq!(why(files.read_text(folder.path(), 5).await), "it is not a regular file");
    assert!(!files.read_text(folder.path(), 5).await.unwrap_err().is_not_found());
    assert!(exists(&at("text")) && !exists(&at("missing")));
    assert_eq!(why(files.read_text(&at("latin-1"), 5).await), "the file is not UTF-8 text");
    let missing = files.read_text(&at("missing"), 5).await.unwrap_err();
    assert_eq!((missing.is_not_found(), missing.to_string().as_str()), (true, "No such file or directory"));
}

#[test]
fn a_link_that_leads_nowhere_is_an_error_and_no_folder_or_file_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("conf.d");
    assert!(
        names_of_trusted(&link).unwrap_err().is_not_found()
            && read_trusted(&link, 1).unwrap_err().is_not_found()
    );
    std::os::unix::fs::symlink("gone", &link).unwrap();
    for error in [names_of_trusted(&link).unwrap_err(), read_trusted(&link, 1).unwrap_err()] {
        assert!(!error.is_not_found() && error.to_string().contains("leads nowhere"), "{error}");
    }
    std::fs::create_dir(folder.path().join("gone")).unwrap();
    assert_eq!(names_of_trusted(&link).unwrap().len(), 0);
}

// W2, W7: whatever has the name of the temporary file.
#[test]
fn a_file_is_replaced_whatever_has_the_name_of_its_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let (new, other) = (dir.path().join(".www.new"), dir.path().join("other"));
    fs::write(&other, "as it was").unwrap();
    for kind in ["nothing", "a file", "a FIFO", "a link", "a link that leads nowhere", "a socket"] {
        match kind {
            "a file" => fs::write(&new, "a longer text of a crash").unwrap(),
            "a FIFO" => nix::unistd::mkfifo(&new, Mode::from_bits_truncate(0o644)).unwrap(),
            "a link" => std::os::unix::fs::symlink(&other, &new).unwrap(),
            "a link that leads nowhere" => std::os::unix::fs::symlink(dir.path().join("gone"), &new).unwrap(),
            "a socket" => drop(std::os::unix::net::UnixListener::bind(&new).unwrap()),
            _ => {}
        }
        let (done, ended) = mpsc::channel();
        let folder = dir.path().to_owned();
        std::thread::spawn(move || done.send(replace(&folder, "www", "why")));
        let replaced = ended.recv_timeout(Duration::from_secs(10));
        replaced.unwrap_or_else(|_| panic!("{kind}: it blocks")).unwrap();
        let file = dir.path().join("www");
        assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{kind}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "why", "{kind}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "as it was", "{kind}");
        assert_eq!(names(dir.path()).unwrap().len(), 2, "{kind}");
    }
}

#[test]
fn a_lock_is_a_regular_file_and_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("lock"), dir.path().join("other"));
    fs::write(&other, "as it was").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert!(matches!(lock::Lock::take(&path), Err(lock::LockError::Io(_))));
    assert_eq!(fs::read_to_string(&other).unwrap(), "as it was");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o644)).unwrap();
    assert!(matches!(lock::Lock::take(&path), Err(lock::LockError::Io(_))));
    fs::remove_file(&path).unwrap();
    let held = lock::Lock::take(&path).unwrap();
    assert!(matches!(lock::Lock::take(&path), Err(lock::LockError::Held(Some(_)))));
    drop(held);
}

#[test]
fn a_program_is_a_file_that_someone_may_execute() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, mode) in [("good", 0o755), ("text", 0o644)] {
        fs::write(at(name), "").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("gone"), at("dangling")).unwrap();
    for (name, want) in [
        ("good", None),
        ("link", None),
        ("text", Some("is not executable")),
        ("gone", Some("does not exist")),
        ("good/below", Some("does not exist")),
        ("dangling", Some("does not exist")),
        ("", Some("is not a regular file")),
    ] {
        assert_eq!(check_program(&at(name)).err().as_deref(), want, "{name}");
    }
}
