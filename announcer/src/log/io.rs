//! Writes the log to standard error or to the journal, on a thread of its own.
//!
//! Touches standard error, the journal's socket and the clock. The reader of standard error may stand still: journald that is stopped or waits for its
//! disk, a pager, a terminal after Ctrl-S. Then write(2) and sendto(2) block. So only this thread writes, and all others put their records into a
//! buffer of limited size. Lines that do not fit are lost, and are counted.

mod layer;
mod level;
mod output;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{Level, error, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::layer::RecordLayer;
pub use self::level::{LevelRequest, LevelRequests, LogFilter, LogOptions, requests};
use self::output::Output;
use super::LostLines;
use super::filter;
use super::format::{LogDestination, LogFormat, error_lines};
use super::record::LogRecord;
use crate::config::LogConfig;

/// The socket of the journal (systemd-journald.service(8)).
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

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
    waiting: Vec<LogRecord>,
    /// The octets of `waiting`, about.
    size: usize,
    /// Whether other records are being written now.
    writing: bool,
    lost: LostLines,
    /// Where the next lines go, if this has changed.
    destination: Option<LogDestination>,
}

/// The log of the daemon.
#[derive(Debug, Clone)]
pub struct Log {
    /// Its buffer. `status` reports the lines that were lost.
    pub buffer: LogBuffer,
    /// Its filter, which an operator may replace for some time.
    pub filter: LogFilter,
}

/// While it exists, the log is written. When it is dropped, it waits until the lines that are left have been written, for at most
/// [`LAST_LINES`].
#[must_use]
#[derive(Debug)]
pub struct LogWriter(LogBuffer);

impl LogBuffer {
    /// Adds a record. It is lost if it does not fit.
    pub fn push(&self, record: LogRecord) {
        let size = record.size();
        let mut state = self.state();
        if state.size + size > MOST_WAITING {
            state.lost.add(1, Instant::now());
            return;
        }
        state.size += size;
        state.waiting.push(record);
        self.0.changed.notify_all();
    }

    /// Adds the error that ends the program.
    pub fn push_end(&self, error: &anyhow::Error) {
        // With its causes: the outermost sentence does not say why.
        let (time, message) = (SystemTime::now(), format!("{error:#}"));
        let record = LogRecord::new(time, Level::ERROR, "announcer", message);
        self.push(LogRecord { ends_program: true, ..record });
    }

    /// Changes the format of the lines that are not written yet.
    fn set_format(&self, format: LogFormat) {
        self.state().destination = Some(LogDestination::choose(format, output::standard_error()));
    }

    /// Waits until the lines that are left have been written, for at most `limit`. Blocks.
    pub fn wait_until_written(&self, limit: Duration) {
        let left = |state: &mut LogState| state.writing || !state.waiting.is_empty();
        drop(self.0.changed.wait_timeout_while(self.state(), limit, left));
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

    /// Writes the records for ever.
    fn write_to(&self, mut output: Output<impl Write>) {
        let mut reported = 0;
        loop {
            let mut state = self.wait_while(|state| state.waiting.is_empty());
            state.writing = true;
            state.size = 0;
            let records = std::mem::take(&mut state.waiting);
            let destination = state.destination.take();
            drop(state);
            if let Some(Err(error)) = destination.map(|destination| output.change(destination)) {
                error!(%error, "log format was not changed");
            }
            let unwritten = output.write(&records);
            drop(records);
            let mut state = self.state();
            state.writing = false;
            state.lost.add(unwritten, Instant::now());
            let lost = state.lost.count;
            drop(state);
            self.0.changed.notify_all();
            if unwritten == 0 && lost > reported {
                warn!(
                    lines = lost - reported,
                    "lines of the log were lost, standard error was not read in time"
                );
                reported = lost;
            }
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.0.wait_until_written(LAST_LINES);
    }
}

/// Starts the log with what the command line says, otherwise the configuration: from now on, the events of `tracing` are written to standard error or to the journal.
///
/// # Errors
/// The filter is wrong, the thread cannot be started, or there is no socket for the journal.
pub fn start(given: LogOptions, config: &LogConfig, journal: &Path) -> io::Result<(Log, LogWriter)> {
    let filter = filter::parse(given.level(config)).map_err(io::Error::other)?;
    let (layer, handle) = reload::Layer::new(filter);
    let destination = LogDestination::choose(given.format(config), output::standard_error());
    let (buffer, writer) = start_to(Output::new(io::stderr(), destination, journal)?)?;
    tracing_subscriber::registry().with(layer).with(RecordLayer(buffer.clone())).init();
    let formats = buffer.clone();
    let filter = LogFilter::new(given, handle, move |format| formats.set_format(format));
    Ok((Log { buffer, filter }, writer))
}

/// The error of a command. If standard error is the journal, each line gets the priority of an error.
pub fn for_standard_error(message: &str) -> String {
    if output::standard_error().is_journal { error_lines(message) } else { message.to_owned() }
}

fn start_to(output: Output<impl Write + Send + 'static>) -> io::Result<(LogBuffer, LogWriter)> {
    let buffer = LogBuffer::default();
    let writes = buffer.clone();
    std::thread::Builder::new().name("log".into()).spawn(move || writes.write_to(output))?;
    Ok((buffer.clone(), LogWriter(buffer)))
}

/// Logs panics. Without this, the thread that panics writes to standard error itself.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("no message");
        error!(place, panic = message, "announcer had an internal error");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::log::format::LineStyle;

    fn record(message: &str) -> LogRecord {
        LogRecord::new(SystemTime::UNIX_EPOCH, Level::INFO, "", message.to_owned())
    }

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
        let (buffer, writer) =
            start_to(Output::lines(BlockedOutput { released, read }, LineStyle::Priority)).unwrap();
        (buffer, writer, release, reader)
    }

    #[test]
    fn a_reader_that_stands_still_delays_no_line_and_loses_only_what_does_not_fit() {
        let (buffer, writer, release, reader) = standing();
        buffer.push(record("first"));
        while !buffer.state().writing {
            std::thread::yield_now();
        }
        let line = record(&"x".repeat(1023));
        (0..2000).for_each(|_| buffer.push(line.clone()));
        let fit = MOST_WAITING / line.size();
        assert_eq!(buffer.lost().count, 2000 - fit as u64);
        drop(release);
        drop(writer);
        let all = String::from_utf8(reader.try_iter().flatten().collect()).unwrap();
        let line = format!("<6>{}\n", "x".repeat(1023));
        assert_eq!(all, format!("<6>first\n{}", line.repeat(fit)), "the rest is whole and in order");
    }

    #[test]
    fn the_end_waits_for_the_last_lines_and_not_for_ever() {
        let (buffer, writer, release, reader) = standing();
        buffer.push(record("last"));
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
        let (buffer, writer) = start_to(Output::lines(Full, LineStyle::Text)).unwrap();
        buffer.push(record("one"));
        buffer.push(record("two"));
        drop(buffer.wait_while(|state| state.lost.count < 2));
        buffer.push(record("three"));
        drop(buffer.wait_while(|state| state.lost.count < 3));
        drop(writer);
    }
}
