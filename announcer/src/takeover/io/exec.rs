//! Executes another program in the place of this one: execve(2), which keeps the process and the descriptors without FD_CLOEXEC.
//!
//! Touches the signal mask and the capabilities of this thread, the environment and descriptors. If the program cannot be executed,
//! everything is put back, and this process goes on.
//!
//! - **Signals.** From the start of the daemon, only the main thread gets the signals that it handles ([`without_signals`]). Here they
//!   are blocked in the main thread as well, so the kernel keeps them until the next program has its handlers
//!   ([`signals_handled`]): no stop is lost, and no signal ends the next program before it can withdraw.
//! - **Capabilities.** All that this thread may use are ambient for the call ([`AmbientCapabilities`]).

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use rustix::thread::CapabilitySet;

use super::descriptors::Descriptors;
use crate::capabilities::io::AmbientCapabilities;
use crate::monotonic::io::uptime;
use crate::takeover::inherit::{HANDOVER, Handover, OWN_VARIABLES};
use crate::takeover::successor::{INSTALLED, ROLLED_BACK};

/// The signals that the daemon handles.
const HANDLED: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

fn handled() -> SigSet {
    HANDLED.into_iter().collect()
}

/// Runs `work`, and blocks meanwhile the signals that the daemon handles. Threads that it starts keep them blocked.
///
/// # Errors
/// Those of `work`.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let before = handled().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    let done = work();
    if let Ok(before) = before {
        let _ = before.thread_set_mask(); // it was this thread's mask before
    }
    done
}

/// The signals that the daemon handles wait in the kernel until this is dropped. Those that came before may still have to be handled.
#[derive(Debug)]
pub struct SignalsWait(());

impl SignalsWait {
    /// From now on.
    pub fn begin() -> Self {
        block_signals();
        SignalsWait(())
    }
}

impl Drop for SignalsWait {
    fn drop(&mut self) {
        signals_handled();
    }
}

/// Blocks the signals that the daemon handles in this thread, for all its time.
pub fn block_signals() {
    let _ = handled().thread_block(); // it fails only for a wrong argument
}

/// The handlers are there: the signals that came during an upgrade come now.
pub fn signals_handled() {
    let _ = handled().thread_unblock(); // it fails only for a wrong argument
}

/// Executes `program` with the arguments of this process. Its environment is that of this process, with the descriptors that are kept
/// and with `installed`, the path of the installed program. The caller is the main thread.
///
/// # Errors
/// When it returns at all. Then this process is as before.
pub(crate) fn execute(program: &Path, installed: &Path, descriptors: &Descriptors) -> io::Result<Infallible> {
    let path = CString::new(program.as_os_str().as_bytes())?;
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let arguments = texts(arguments.iter().map(|argument| argument.as_bytes().to_vec()))?;
    without_signals(|| {
        let capabilities = AmbientCapabilities::raise(CapabilitySet::from_bits_retain(u64::MAX))?;
        let open = descriptors.open_for_exec()?;
        let handover = Handover { pid: std::process::id(), at: uptime(), descriptors: open.numbers() };
        let environment = texts(environment(installed, &handover))?;
        let failed = nix::unistd::execve(&path, &arguments, &environment);
        drop((open, capabilities));
        Ok(failed?)
    })
}

fn texts(texts: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    texts.into_iter().map(|text| CString::new(text).map_err(io::Error::from)).collect()
}

/// The environment of the next program, as `NAME=value`.
fn environment(installed: &Path, handover: &Handover) -> Vec<Vec<u8>> {
    let is_ours = |name: &OsString| {
        name == INSTALLED || name == ROLLED_BACK || OWN_VARIABLES.iter().any(|own| name == own)
    };
    let pair = |name: &[u8], value: &[u8]| [name, b"=", value].concat();
    let kept = std::env::vars_os().filter(|(name, _)| !is_ours(name));
    let kept = kept.map(|(name, value)| pair(name.as_bytes(), value.as_bytes()));
    let ours = [
        pair(INSTALLED.as_bytes(), installed.as_os_str().as_bytes()),
        pair(HANDOVER.as_bytes(), handover.to_text().as_bytes()),
    ];
    kept.chain(ours).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::thread::capabilities;

    use super::*;
    use crate::systemd::io::Notifier;

    #[test]
    fn what_cannot_be_executed_changes_nothing() {
        // The capabilities and the signals of the thread that runs this test.
        std::thread::spawn(|| {
            let (capabilities_before, mask) =
                (capabilities(None).unwrap(), SigSet::thread_get_mask().unwrap());
            let folder = tempfile::tempdir().unwrap();
            let text = folder.path().join("text");
            std::fs::write(&text, "no program").unwrap();
            let descriptors = Descriptors::new(Notifier::none());
            for path in [folder.path(), &text, Path::new("/does/not/exist")] {
                assert!(execute(path, path, &descriptors).is_err());
            }
            assert_eq!(capabilities(None).unwrap(), capabilities_before);
            assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
            let ambient = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(ambient.contains("CapAmb:\t0000000000000000\n"), "{ambient}");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_next_program_gets_the_environment_and_what_is_left_to_it() {
        let handover =
            Handover { pid: 7, at: Duration::from_nanos(1), descriptors: [("state".to_owned(), 9)].into() };
        let all = environment(Path::new("/usr/bin/announcer"), &handover);
        let all: Vec<String> =
            all.into_iter().map(|text| String::from_utf8_lossy(&text).into_owned()).collect();
        assert!(all.contains(&"ANNOUNCER_HANDOVER=pid=7 at=1 fds=state:9".to_owned()), "{all:?}");
        assert!(all.contains(&"ANNOUNCER_INSTALLED=/usr/bin/announcer".to_owned()), "{all:?}");
        assert!(all.iter().any(|text| text.starts_with("PATH=")), "{all:?}");
    }
}
