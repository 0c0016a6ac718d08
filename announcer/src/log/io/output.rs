//! The place where the lines of the log are written: standard error, or the socket of the journal.
//!
//! Touches standard error, its environment variables, and the socket of the journal. Only the thread of the log writes here, so a
//! write may block.

use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::log::format::{LineStyle, LogDestination, StandardError, journal};
use crate::log::record::LogRecord;

/// Lines are written when there are about this many octets of them.
const AT_ONCE: usize = 64 * 1024;

/// Where the lines are written.
#[derive(Debug)]
pub(super) struct Output<W> {
    stream: W,
    style: LineStyle,
    journal: Option<JournalSocket>,
    /// The path of the journal's socket.
    journal_path: PathBuf,
    lines: Vec<u8>,
    /// How many records `lines` has.
    records: u64,
}

#[derive(Debug)]
struct JournalSocket {
    socket: UnixDatagram,
    /// The journal's address. It is given with each record, so a journal that was started again gets the next one.
    path: PathBuf,
}

impl<W: Write> Output<W> {
    /// Writes lines to `stream`.
    pub(super) fn lines(stream: W, style: LineStyle) -> Self {
        Output { stream, style, journal: None, journal_path: PathBuf::new(), lines: Vec::new(), records: 0 }
    }

    /// Writes to a destination. `stream` is standard error, `journal` the path of the journal's socket.
    ///
    /// # Errors
    /// There is no socket for the journal.
    pub(super) fn new(stream: W, destination: LogDestination, journal: &Path) -> io::Result<Self> {
        let mut output = Output::lines(stream, LineStyle::Text);
        journal.clone_into(&mut output.journal_path);
        output.change(destination)?;
        Ok(output)
    }

    /// Writes to another destination from now on.
    ///
    /// # Errors
    /// There is no socket for the journal; then nothing is changed.
    pub(super) fn change(&mut self, destination: LogDestination) -> io::Result<()> {
        (self.style, self.journal) = match destination {
            LogDestination::Lines(style) => (style, None),
            LogDestination::Journal => {
                let (socket, path) = (UnixDatagram::unbound()?, self.journal_path.clone());
                (LineStyle::Priority, Some(JournalSocket { socket, path }))
            }
        };
        Ok(())
    }

    /// Writes records; returns how many were lost.
    pub(super) fn write(&mut self, records: &[LogRecord]) -> u64 {
        let mut lost = 0;
        for record in records {
            let sent = self.journal.as_ref().is_some_and(|journal| journal.send(record).is_ok());
            if !sent {
                // The journal is gone, or the record is too long for one datagram: standard error takes any line.
                self.lines.extend_from_slice(self.style.line(record).as_bytes());
                self.records += 1;
            }
            if self.lines.len() >= AT_ONCE {
                lost += self.flush();
            }
        }
        lost + self.flush()
    }

    fn flush(&mut self) -> u64 {
        let (lines, records) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.records));
        if records == 0 {
            return 0;
        }
        match self.stream.write_all(&lines).and_then(|()| self.stream.flush()) {
            Ok(()) => 0,
            Err(_) => records,
        }
    }
}

impl JournalSocket {
    fn send(&self, record: &LogRecord) -> io::Result<()> {
        self.socket.send_to(journal(record).as_bytes(), &self.path).map(drop)
    }
}

/// What standard error is.
pub(super) fn standard_error() -> StandardError {
    let stderr = io::stderr();
    StandardError {
        is_terminal: stderr.is_terminal(),
        is_journal: std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(stderr, &stream)),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    }
}

/// Whether a descriptor is the stream that `JOURNAL_STREAM` names, as `device:inode`. It is another one if the daemon was started
/// with its standard error redirected.
fn is_stream(descriptor: impl AsFd, stream: &str) -> bool {
    let Ok(status) = nix::sys::stat::fstat(descriptor) else { return false };
    stream == format!("{}:{}", status.st_dev, status.st_ino)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tracing::Level;

    use super::*;

    fn record(message: String) -> LogRecord {
        LogRecord::new(SystemTime::UNIX_EPOCH, Level::WARN, "announcer", message)
    }

    #[test]
    fn what_the_journal_does_not_take_goes_to_standard_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut output = Output::new(Vec::new(), LogDestination::Journal, &path).unwrap();
        assert_eq!(output.write(&[record("no journal yet".into())]), 0);
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(output.write(&[record("there".into()), record("x".repeat(1 << 20))]), 0);
        let mut datagram = [0; 1024];
        let size = listener.recv(&mut datagram).unwrap();
        let got = String::from_utf8_lossy(&datagram[..size]).into_owned();
        assert!(got.starts_with("MESSAGE=there\nPRIORITY=4\n"), "{got}");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let again = UnixDatagram::bind(&path).unwrap();
        assert_eq!(output.write(&[record("the journal was started again".into())]), 0);
        assert!(again.recv(&mut datagram).is_ok());
        let lines = String::from_utf8(output.stream).unwrap();
        assert_eq!(lines, format!("<4>no journal yet\n<4>{}\n", "x".repeat(1 << 20)));
    }

    #[test]
    fn the_format_of_the_next_lines_can_change() {
        let mut output =
            Output::new(Vec::new(), LogDestination::Lines(LineStyle::Text), Path::new("/x")).unwrap();
        output.write(&[record("one".into())]);
        output.change(LogDestination::Lines(LineStyle::Json)).unwrap();
        output.write(&[record("two".into())]);
        let lines = String::from_utf8(output.stream).unwrap();
        let (first, second) = lines.split_once('\n').unwrap();
        assert!(first.ends_with("one") && second.starts_with('{') && second.contains("two"), "{lines}");
    }

    #[test]
    fn standard_error_is_the_journal_only_if_it_is_the_stream_that_is_named() {
        let (reader, writer) = io::pipe().unwrap();
        let status = nix::sys::stat::fstat(&writer).unwrap();
        let (device, inode) = (status.st_dev, status.st_ino);
        assert!(is_stream(&reader, &format!("{device}:{inode}")));
        for other in [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1), String::new()] {
            assert!(!is_stream(&reader, &other), "{other}");
        }
    }
}
