//! The file probe: whether a file is there, whatever it is.
//!
//! Touches the file system. A link counts as what it leads to.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::aside::Aside;
use super::trouble::{self, Trouble};
use crate::config::kind;
use crate::health::Target;
use crate::health::outcome::{Answer, Outcome, Reason, Shortage, Shown, Waiting};

/// A probe of one path, ready to be sent again and again.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    timeout: Duration,
    aside: Aside,
}

impl File {
    /// A probe of the path of `file`.
    pub fn of(target: &Target, file: &kind::file::File) -> Self {
        File::new(file.path.clone(), target.config.timeout)
    }

    /// A probe of `path`; `timeout` is for a mount that hangs.
    pub fn new(path: PathBuf, timeout: Duration) -> Self {
        File { path, timeout, aside: Aside::new() }
    }

    /// Looks once.
    pub async fn probe(&self) -> Outcome {
        let path = self.path.clone();
        self.ask(move || std::fs::metadata(path).map(drop)).await
    }

    async fn ask(&self, look: impl FnOnce() -> io::Result<()> + Send + 'static) -> Outcome {
        let start = Instant::now();
        let look = || look().map(|()| Answer::Exists).map_err(|error| meaning(&error));
        let answer = tokio::time::timeout(self.timeout, self.aside.run(look)).await;
        trouble::outcome(answer, Waiting::Files, self.timeout, start.elapsed())
    }
}

fn meaning(error: &io::Error) -> Trouble {
    let errno = error.raw_os_error().map(Errno::from_raw);
    if let Some(shortage) = errno.and_then(Shortage::of) {
        return Trouble::Skip(shortage);
    }
    Trouble::Fail(match errno {
        Some(Errno::ENOENT | Errno::ENOTDIR) => Reason::Missing,
        Some(errno) => Reason::Os(errno),
        None => Reason::Other(Shown::new(&error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    async fn told(file: &File) -> String {
        match file.probe().await {
            Outcome::Pass { answer, .. } => format!("pass: {answer}"),
            Outcome::Fail { reason, .. } => format!("fail: {reason}"),
            Outcome::Skipped(shortage) => format!("skipped: {shortage}"),
        }
    }

    #[tokio::test]
    async fn passes_while_the_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("up");
        let file = File::new(path.clone(), TIMEOUT);
        assert_eq!(told(&file).await, "fail: the file is not there");
        std::fs::write(&path, "").unwrap();
        assert_eq!(told(&file).await, "pass: the file is there");
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let link = File::new(link, TIMEOUT);
        assert_eq!(told(&link).await, "pass: the file is there");
        assert_eq!(told(&File::new(path.join("below"), TIMEOUT)).await, "fail: the file is not there");
        assert_eq!(told(&File::new(folder.path().into(), TIMEOUT)).await, "pass: the file is there");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told(&file).await, "fail: the file is not there");
        assert_eq!(told(&link).await, "fail: the file is not there");
    }

    #[tokio::test]
    async fn what_the_file_system_says_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("round");
        symlink(&path, &path).unwrap();
        let round = File::new(path, TIMEOUT);
        assert_eq!(told(&round).await, "fail: Too many symbolic links encountered");
        assert_eq!(
            meaning(&io::Error::from_raw_os_error(Errno::ENOMEM as i32)),
            Trouble::Skip(Shortage::Memory)
        );
    }

    #[tokio::test]
    async fn a_mount_that_hangs_costs_one_thread_and_no_more_than_the_timeout() {
        let file = File::new("/".into(), TIMEOUT);
        let (release, hang) = mpsc::channel::<()>();
        let hung = file.ask(move || {
            let _ = hang.recv();
            Ok(())
        });
        assert_eq!(hung.await.to_string(), "no answer of the file system within 200 ms");
        // The next one waits for the first, and starts no other.
        let next = file.ask(|| panic!("looked while the first still hangs"));
        assert_eq!(next.await.to_string(), "no answer of the file system within 200 ms");
        drop(release);
        assert_eq!(told(&file).await, "pass: the file is there");
    }
}
