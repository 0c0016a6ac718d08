//! Looks whether the program's file on disk is still the one that runs.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::files::io::{self as files, Files};
use crate::metrics::DiskProgram;

/// How often the file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The link to the file that runs, also after that file was replaced or removed.
const RUNNING: &str = "/proc/self/exe";

/// Keeps `seen` and its warning up to date; `path` is where the program was started from.
pub(in crate::daemon) async fn watch(
    files: Files,
    path: PathBuf,
    seen: watch::Sender<DiskProgram>,
    warnings: watch::Sender<Vec<String>>,
) {
    loop {
        let program = look(&files, PathBuf::from(RUNNING), path.clone()).await;
        seen.send_replace(program);
        warnings.send_replace(program.warning(&path).into_iter().collect());
        sleep(LOOK_AGAIN).await;
    }
}

/// Compares two files. If one of them cannot be read, for example in the middle of an installation, nothing is claimed.
async fn look(files: &Files, running: PathBuf, path: PathBuf) -> DiskProgram {
    let both = (files.run(&running, files::version).await, files.run(&path, files::version).await);
    match both {
        (Ok(running), Ok(on_disk)) if running != on_disk => DiskProgram::Other,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => DiskProgram::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replaced_program_is_noticed_and_a_missing_one_is_not_claimed_to_be() {
        let (files, folder) = (Files::new(), tempfile::tempdir().unwrap());
        let (running, path) = (folder.path().join("running"), folder.path().join("program"));
        std::fs::write(&running, "one").unwrap();
        std::fs::hard_link(&running, &path).unwrap();
        assert_eq!(look(&files, running.clone(), path.clone()).await, DiskProgram::Same);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(&files, running.clone(), path.clone()).await, DiskProgram::Same, "it is missing");
        std::fs::write(&path, "one").unwrap();
        assert_eq!(look(&files, running, path).await, DiskProgram::Other, "another file, however equal");
    }

    #[tokio::test]
    async fn a_replaced_program_is_a_warning() {
        let (seen, _) = watch::channel(DiskProgram::Same);
        let (warnings, mut warning) = watch::channel(Vec::new());
        let _task = tokio::spawn(super::watch(Files::new(), "/bin/sh".into(), seen, warnings));
        warning.wait_for(|warnings| !warnings.is_empty()).await.unwrap();
        let text = warning.borrow().join("\n");
        assert!(
            text.starts_with("the program `/bin/sh` was replaced since it was started: version "),
            "{text}"
        );
        assert_eq!(DiskProgram::Same.warning("/bin/sh".as_ref()), None);
    }

    #[tokio::test]
    async fn the_program_that_runs_is_its_own_file() {
        let path = std::env::current_exe().unwrap();
        assert_eq!(look(&Files::new(), RUNNING.into(), path).await, DiskProgram::Same);
        assert_eq!(look(&Files::new(), RUNNING.into(), "/bin/sh".into()).await, DiskProgram::Other);
    }
}
