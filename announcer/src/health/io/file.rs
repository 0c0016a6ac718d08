//! The file probe: checks whether a file of any kind exists.
//!
//! Touches the file system, through [`Files`]. A symbolic link counts as its target.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::prober::Prober;
use super::result::{self, ProbeError};
use crate::config::kind;
use crate::config::kind::file::{Answer, Failure};
use crate::files::io::{FileError, Files};
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason, Shortage, TimeoutPhase};
use crate::time_limit::io::within;

/// A prepared probe of one path, which can be repeated.
#[derive(Debug)]
pub struct FileProbe {
    path: PathBuf,
    timeout: Duration,
    files: Files,
}

impl FileProbe {
    /// A probe of the path of `file`.
    pub fn of(prober: &Prober, target: &Target, file: &kind::file::FileConfig) -> Self {
        FileProbe::new(file.path.clone(), target.config.timeout, prober.files())
    }

    /// A probe of `path`. `timeout` is for a file system that hangs.
    pub fn new(path: PathBuf, timeout: Duration, files: Files) -> Self {
        FileProbe { path, timeout, files }
    }

    /// Makes one probe.
    pub async fn probe(&self) -> Outcome {
        self.ask(|path| path.metadata().map(drop)).await
    }

    async fn ask(&self, look: impl Fn(&Path) -> io::Result<()> + Clone + Send + 'static) -> Outcome {
        let start = Instant::now();
        let answer = within(self.timeout, self.look(look)).await;
        result::outcome(answer, TimeoutPhase::Files, self.timeout, start.elapsed())
    }

    /// Checks the path, and waits until the file system answers.
    async fn look(
        &self,
        look: impl Fn(&Path) -> io::Result<()> + Clone + Send + 'static,
    ) -> Result<Answer, ProbeError> {
        loop {
            match self.files.run(&self.path, look.clone()).await {
                Ok(()) => return Ok(Answer::Exists),
                Err(FileError::Io(error)) => return Err(meaning(&error)),
                // The next check of the path starts when this one has ended.
                Err(FileError::Hangs(_) | FileError::Busy(_)) => {}
                Err(
                    FileError::TooLarge(_)
                    | FileError::NotRegular
                    | FileError::WritableByOthers(_)
                    | FileError::NotText,
                ) => {
                    return Err(ProbeError::Fail(Reason::Other("the file was read, and not looked at")));
                }
            }
        }
    }
}

fn meaning(error: &io::Error) -> ProbeError {
    let errno = error.raw_os_error().map(Errno::from_raw);
    if let Some(shortage) = errno.and_then(Shortage::of) {
        return ProbeError::Skip(shortage);
    }
    ProbeError::Fail(match errno {
        Some(Errno::ENOENT | Errno::ENOTDIR) => Failure::Missing.into(),
        Some(_) | None => result::kernel_reason(error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(200);

    async fn text_of(file: &FileProbe) -> String {
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
        let file = FileProbe::new(path.clone(), TIMEOUT, Files::new());
        assert_eq!(text_of(&file).await, "fail: the file is not there");
        std::fs::write(&path, "").unwrap();
        assert_eq!(text_of(&file).await, "pass: the file is there");
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let link = FileProbe::new(link, TIMEOUT, Files::new());
        assert_eq!(text_of(&link).await, "pass: the file is there");
        assert_eq!(
            text_of(&FileProbe::new(path.join("below"), TIMEOUT, Files::new())).await,
            "fail: the file is not there"
        );
        assert_eq!(
            text_of(&FileProbe::new(folder.path().into(), TIMEOUT, Files::new())).await,
            "pass: the file is there"
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text_of(&file).await, "fail: the file is not there");
        assert_eq!(text_of(&link).await, "fail: the file is not there");
    }

    #[tokio::test]
    async fn what_the_file_system_says_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("round");
        symlink(&path, &path).unwrap();
        let round = FileProbe::new(path, TIMEOUT, Files::new());
        assert_eq!(text_of(&round).await, "fail: Too many symbolic links encountered");
        assert_eq!(
            meaning(&io::Error::from_raw_os_error(Errno::ENOMEM as i32)),
            ProbeError::Skip(Shortage::Memory)
        );
    }

    #[tokio::test]
    async fn a_mount_that_hangs_costs_one_thread_and_no_more_than_the_timeout() {
        let file = FileProbe::new("/".into(), TIMEOUT, Files::new());
        let (release, hang) = mpsc::channel::<()>();
        let hang = std::sync::Arc::new(std::sync::Mutex::new(hang));
        let hung = file.ask(move |_| {
            let _ = hang.lock().unwrap().recv();
            Ok(())
        });
        assert_eq!(hung.await.to_string(), "no answer of the file system within 200 ms");
        // The next probe waits for the first one, and starts no second check.
        let looks = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = looks.clone();
        let next = file.ask(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(next.await.to_string(), "no answer of the file system within 200 ms");
        assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 0);
        drop(release);
        assert_eq!(text_of(&file).await, "pass: the file is there");
    }
}
