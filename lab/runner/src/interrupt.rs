//! Ends the lab at SIGINT, SIGTERM and SIGHUP.
//!
//! Touches signals, the lab and its folder. While the lab starts, its start is cancelled, and the main thread cleans up. When it is
//! up, the thread of this file ends it and the program.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use lab::cancel::at_signal;
use lab::{Cancel, engine};

/// The exit code of a program that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// What the thread of the signals and the main thread share.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// Cancels the start of the lab.
    pub(crate) cancel: Cancel,
    is_up: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to wait for signals. `name` is the lab's name, `folder` the folder of its files.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub(crate) fn of(name: String, folder: PathBuf) -> Result<Interrupt> {
        let interrupt = Interrupt { cancel: Cancel::new(), is_up: Arc::default() };
        let shared = interrupt.clone();
        at_signal(move || {
            output::note("announcer-lab: interrupted, the lab is ended");
            shared.cancel.cancel();
            if shared.is_up.load(Ordering::SeqCst) {
                if let Err(error) = engine::down(&name) {
                    output::note(format_args!("announcer-lab: {error}"));
                }
                let _ = fs::remove_dir_all(&folder); // it is a temporary one
                std::process::exit(i32::from(INTERRUPTED));
            }
        })?;
        Ok(interrupt)
    }

    /// From now on the lab is up.
    ///
    /// # Errors
    /// When a signal came before: then the caller ends the lab.
    pub(crate) fn up(&self) -> Result<(), lab::Error> {
        self.is_up.store(true, Ordering::SeqCst);
        if self.cancel.is_cancelled() { Err(lab::Error::Interrupted) } else { Ok(()) }
    }

    /// Does not return if a signal came while the lab is up: what fails then fails because the lab ends, and the thread of the signals
    /// ends the program.
    pub(crate) fn wait_for_the_end(&self) {
        while self.cancel.is_cancelled() {
            std::thread::park();
        }
    }
}
