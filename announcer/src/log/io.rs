//! Writes the log to standard error, on a thread of its own.
//!
//! Touches standard error and the clock. The reader of standard error may stand still: journald that is stopped or waits for its
//! disk, a pager, a terminal after Ctrl-S. Then write(2) blocks. So only this thread writes, and all others put their lines into a
//! buffer of limited size. Lines that do not fit are lost, and are counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::LostLines;

/// How many octets wait while others are being written. At the level `info`, these are thousands of lines.
const MOST_WAITING: usize = 1024 * 1024;

/// How long the end of the process waits until the lines that are left have been written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The buffer of the log. Clones share the same buffer. Writing to it never blocks and never fails.
#[derive(Debug, Clone, Default)]
pub struct LogBuffer(Arc<LogBufferInner>);

#[derive(Debug, Default)]
struct LogBufferInner {
    state: Mutex<LogState>,
    /// Wakes the thread that writes, and the end of the process.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    /// Whole lines.
    waiting: Vec<u8>,
    /// Whether other lines are being written now.
    writing: bool,
    lost: LostLines,
}

/// While it exists, the log is written. When it is dropped, it waits until the lines that are left have been written, for at most
/// [`LAST_LINES`].
#[must_use]
#[derive(Debug)]
pub struct LogWriter(LogBuffer);

impl LogBuffer {
    /// Adds a line, with its line feed. It is lost if it does not fit.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > MOST_WAITING {
            state.lost.add(1, Instant::now());
            return;
        }
        state.waiting.extend_from_slice(line);
        self.0.changed.notify_all();
    }

    /// The lines that were lost.
    pub fn lost(&self) -> LostLines {
        self.state().lost
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a state comes.
    fn wait_while(&self, not_yet: impl FnMut(&mut LogState) -> bool) -> MutexGuard<'_, LogState> {
        self.0.changed.wait_while(self.state(), not_yet).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the lines for ever.
    fn write_to(&self, mut out: impl Write) {
        let mut reported = 0;
        loop {
            let mut state = self.wait_while(|state| state.waiting.is_empty());
            state.writing = true;
            let lines = std::mem::take(&mut state.waiting);
            drop(state);
            let written = out.write_all(&lines).and_then(|()| out.flush());
            let mut state = self.state();
            state.writing = false;
            if written.is_err() {
                let lines = lines.iter().filter(|octet| **octet == b'\n').count();
                state.lost.add(lines.try_into().unwrap_or(u64::MAX), Instant::now());
            }
            let lost = state.lost.count;
            drop(state);
            self.0.changed.notify_all();
            if written.is_ok() && lost > reported {
                warn!(
                    lines = lost - reported,
                    "lines of the log were lost, standard error was not read in time"
                );
                reported = lost;
            }
        }
    }
}

impl Write for LogBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let left = |state: &mut LogState| state.writing || !state.waiting.is_empty();
        drop(self.0.0.changed.wait_timeout_while(self.0.state(), LAST_LINES, left));
    }
}

/// Starts the thread that writes to standard error.
///
/// # Errors
/// The thread cannot be started.
pub fn start() -> io::Result<(LogBuffer, LogWriter)> {
    start_to(io::stderr())
}

fn start_to(out: impl Write + Send + 'static) -> io::Result<(LogBuffer, LogWriter)> {
    let buffer = LogBuffer::default();
    let writes = buffer.clone();
    std::thread::Builder::new().name("log".into()).spawn(move || writes.write_to(out))?;
    Ok((buffer.clone(), LogWriter(buffer)))
}

/// Logs panics. Without this, the thread that panics writes to standard error itself.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        error!(place, message, "announcer had an internal error");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that stands still until it is released.
    struct BlockedOutput {
        released: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for BlockedOutput {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let _ = self.released.recv(); // later writes return at once
            self.read.send(octets.to_vec()).unwrap();
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn standing() -> (LogBuffer, LogWriter, Sender<()>, Receiver<Vec<u8>>) {
        let ((release, released), (read, reader)) = (channel(), channel());
        let (buffer, writer) = start_to(BlockedOutput { released, read }).unwrap();
        (buffer, writer, release, reader)
    }

    #[test]
    fn a_reader_that_stands_still_delays_no_line_and_loses_only_what_does_not_fit() {
        let (buffer, writer, release, reader) = standing();
        buffer.push(b"first\n");
        while !buffer.state().writing {
            std::thread::yield_now();
        }
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        (0..2000).for_each(|_| buffer.push(&line));
        let fit = MOST_WAITING / line.len();
        assert_eq!(buffer.lost().count, 2000 - fit as u64);
        drop(release);
        drop(writer);
        let all: Vec<u8> = reader.try_iter().flatten().collect();
        assert_eq!(all, [b"first\n".to_vec(), line.repeat(fit)].concat(), "the rest is whole and in order");
    }

    #[test]
    fn the_end_waits_for_the_last_lines_and_not_for_ever() {
        let (buffer, writer, release, reader) = standing();
        buffer.push(b"last\n");
        let began = Instant::now();
        drop(writer);
        assert!(began.elapsed() >= LAST_LINES && began.elapsed() < LAST_LINES * 5, "{:?}", began.elapsed());
        assert!(reader.try_recv().is_err());
        drop(release);
    }

    #[test]
    fn lines_that_cannot_be_written_are_lost_and_the_next_ones_are_tried() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (buffer, writer) = start_to(Full).unwrap();
        buffer.push(b"one\ntwo\n");
        drop(buffer.wait_while(|state| state.lost.count < 2));
        buffer.push(b"three\n");
        drop(buffer.wait_while(|state| state.lost.count < 3));
        drop(writer);
    }
}
