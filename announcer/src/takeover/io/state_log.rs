//! The memory file of the state: one memfd, which the next process gets over `exec` or from systemd.
//!
//! Touches a memfd. A write copies memory and waits for nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, memfd_create};
use tracing::error;

use crate::takeover::repeats::{self, Takeovers};
use crate::takeover::state::{
    self, Entries, HEAD, REGION_HEAD, REGIONS, RecordKind, StateError, TAKEOVERS, VERSION,
};

/// A region that is longer than this, and [`GROWTH`] times as long as after its last rewriting, is rewritten.
const REWRITE_FROM: u64 = 256 << 10;
/// See [`REWRITE_FROM`].
const GROWTH: u64 = 4;

/// Writes the state. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct StateLog(Arc<Mutex<Writer>>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateLogError {
    /// Its contents.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kernel.
    #[error("the state of the former process cannot be read: {0}")]
    Io(#[from] io::Error),
}

#[derive(Debug)]
struct Writer {
    file: OwnedFd,
    /// The region in use, its sequence, and where its next record is written, from the region's begin.
    region: usize,
    sequence: u64,
    end: u64,
    /// How long it was when it was written anew.
    least: u64,
    /// A write failed, so the file cannot be used by the next process.
    failed: bool,
    buffer: Vec<u8>,
}

impl StateLog {
    /// A new, empty state.
    ///
    /// # Errors
    /// When the kernel gives no memory file.
    pub fn create() -> io::Result<Self> {
        let file = memfd_create("announcer-state", MemfdFlags::CLOEXEC)?;
        let writer = Writer {
            file,
            region: 0,
            sequence: 1,
            end: REGION_HEAD as u64,
            least: 0,
            failed: false,
            buffer: Vec::new(),
        };
        writer.write(REGIONS[0], &state::region_head(1))?;
        writer.write(0, &state::head(VERSION))?;
        Ok(StateLog(Arc::new(Mutex::new(writer))))
    }

    /// Counts a takeover after a crash in the former process's file, before anything else in it is read. `decide` gets the takeovers so
    /// far. If the times are damaged, they count as none, and reading the state will fail too.
    ///
    /// # Errors
    /// When the kernel refuses to read or to write.
    pub fn count_takeover<T>(
        file: BorrowedFd<'_>,
        decide: impl FnOnce(&mut Takeovers) -> T,
    ) -> io::Result<(Takeovers, T)> {
        let octets = read(file, TAKEOVERS, repeats::LENGTH)?;
        let mut takeovers = Takeovers::from_octets(&octets).unwrap_or_default();
        let decided = decide(&mut takeovers);
        write(file, TAKEOVERS, &takeovers.to_octets())?;
        Ok((takeovers, decided))
    }

    /// Writes the takeovers so far, so that they count for the next process too.
    ///
    /// # Errors
    /// When the kernel refuses to write.
    pub fn write_takeovers(&self, takeovers: &Takeovers) -> io::Result<()> {
        self.lock().write(TAKEOVERS, &takeovers.to_octets())
    }

    /// The state of the former process, and its entries.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(file: OwnedFd) -> Result<(Self, Entries), StateLogError> {
        state::check_head(&read(file.as_fd(), 0, HEAD)?)?;
        let heads = REGIONS.map(|place| read(file.as_fd(), place, REGION_HEAD));
        let mut newest = None;
        for (region, head) in heads.into_iter().enumerate() {
            let sequence = state::sequence(&head?);
            newest = newest.max(sequence.map(|sequence| (sequence, region)));
        }
        let (sequence, region) = newest.ok_or(StateError::Empty)?;
        let octets = region_octets(file.as_fd(), region)?;
        let state::Region { entries, length } = state::region(&octets)?;
        let mut writer = Writer {
            file,
            region,
            sequence,
            end: length as u64,
            least: 0,
            failed: false,
            buffer: Vec::new(),
        };
        // A torn record at the end is written over, and the next one could be shorter.
        writer.rewrite(&entries)?;
        Ok((StateLog(Arc::new(Mutex::new(writer))), entries))
    }

    /// The entry has this value from now on.
    pub fn put(&self, key: &str, value: &[u8]) {
        self.lock().record(RecordKind::Put, key, value);
    }

    /// The value of the entry continues with these octets.
    pub fn append(&self, key: &str, value: &[u8]) {
        self.lock().record(RecordKind::Append, key, value);
    }

    /// There is no such entry any more.
    pub fn remove(&self, key: &str) {
        self.lock().record(RecordKind::Remove, key, &[]);
    }

    /// A duplicate of the descriptor.
    ///
    /// # Errors
    /// When there is none left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.lock().file.try_clone()
    }

    /// Whether the next process can use it: no write failed.
    pub fn is_usable(&self) -> bool {
        !self.lock().failed
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn record(&mut self, kind: RecordKind, key: &str, value: &[u8]) {
        if self.failed {
            return;
        }
        let mut octets = std::mem::take(&mut self.buffer);
        octets.clear();
        state::record(&mut octets, kind, key, value);
        let written = self.write(REGIONS[self.region] + self.end, &octets);
        self.end += octets.len() as u64;
        octets.shrink_to(64 << 10);
        self.buffer = octets;
        let grown = self.end > REWRITE_FROM && self.end > self.least.saturating_mul(GROWTH);
        let written = written.and_then(|()| if grown { self.compact() } else { Ok(()) });
        if let Err(error) = written {
            // The head is made unreadable, so that the next process does not continue with old facts.
            self.failed = true;
            let _ = self.write(0, &[0; HEAD]);
            error!(%error, "state was not written, a crash or an upgrade will end the sessions");
        }
    }

    fn compact(&mut self) -> io::Result<()> {
        let octets = region_octets(self.file.as_fd(), self.region)?;
        let state::Region { entries, .. } = state::region(&octets).map_err(io::Error::other)?;
        self.rewrite(&entries)
    }

    /// Writes the entries to the other region, and uses that from now on.
    fn rewrite(&mut self, entries: &Entries) -> io::Result<()> {
        let next = 1 - self.region;
        self.clear(next)?;
        let records = state::records(entries);
        self.write(REGIONS[next] + REGION_HEAD as u64, &records)?;
        self.write(REGIONS[next], &state::region_head(self.sequence + 1))?; // from here on, it is the one in use
        let before = std::mem::replace(&mut self.region, next);
        self.sequence += 1;
        self.end = (REGION_HEAD + records.len()) as u64;
        self.least = self.end;
        self.clear(before)
    }

    /// Gives the pages of a region back. They read as zeros.
    fn clear(&self, region: usize) -> io::Result<()> {
        let length = REGIONS[1] - REGIONS[0];
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, REGIONS[region], length)?)
    }

    fn write(&self, place: u64, octets: &[u8]) -> io::Result<()> {
        write(self.file.as_fd(), place, octets)
    }
}

/// The octets of a region up to the end of the file or of the region.
fn region_octets(file: BorrowedFd<'_>, region: usize) -> io::Result<Vec<u8>> {
    let size = u64::try_from(fstat(file)?.st_size).unwrap_or_default();
    let (begin, limit) = (REGIONS[region], REGIONS.get(region + 1).copied().unwrap_or(u64::MAX));
    // The file has no pages after the last record of region 0, if region 1 was used.
    let end = match size > limit {
        true => begin + written(file, begin, limit)?,
        false => size.max(begin),
    };
    read(file, begin, usize::try_from(end - begin).map_err(io::Error::other)?)
}

/// How much of a region has pages.
fn written(file: BorrowedFd<'_>, begin: u64, limit: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(begin)) {
        Ok(end) => Ok(end.min(limit) - begin),
        Err(rustix::io::Errno::NXIO) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Reads `length` octets, or fewer at the end of the file.
fn read(file: BorrowedFd<'_>, place: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; length];
    let mut count = 0;
    while count < length {
        let rest = octets.get_mut(count..).unwrap_or_default();
        match rustix::io::pread(file, rest, place + count as u64) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    octets.truncate(count);
    Ok(octets)
}

fn write(file: BorrowedFd<'_>, place: u64, octets: &[u8]) -> io::Result<()> {
    let mut count = 0;
    while count < octets.len() {
        match rustix::io::pwrite(file, octets.get(count..).unwrap_or_default(), place + count as u64) {
            Ok(written) => count += written,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reopened(file: &StateLog) -> Result<(StateLog, Entries), StateLogError> {
        StateLog::open(file.descriptor().unwrap())
    }

    #[test]
    fn the_next_process_reads_what_was_written() {
        let file = StateLog::create().unwrap();
        file.put("a", b"1");
        file.append("b", b"x");
        file.append("b", b"y");
        file.put("c", b"3");
        file.remove("c");
        let (next, entries) = reopened(&file).unwrap();
        let want: Entries = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"xy".to_vec())].into();
        assert_eq!(entries, want);
        next.put("a", b"2");
        let (_, entries) = reopened(&next).unwrap();
        assert_eq!(entries["a"], b"2");
    }

    #[test]
    fn a_long_log_is_rewritten_and_needs_little_memory() {
        let file = StateLog::create().unwrap();
        let value = vec![7; 1000];
        let mut most = 0;
        for round in 0..20_000_u32 {
            file.put(&format!("key.{}", round % 50), &[&round.to_le_bytes()[..], &value].concat());
            most = most.max(fstat(file.descriptor().unwrap()).unwrap().st_blocks);
        }
        assert!(most * 512 < 1 << 20, "{} kB", most / 2);
        let (_, entries) = reopened(&file).unwrap();
        assert_eq!(entries.len(), 50);
        assert_eq!(entries["key.49"][..4], 19_999_u32.to_le_bytes());
    }

    #[test]
    fn a_damaged_or_foreign_file_is_refused() {
        let file = StateLog::create().unwrap();
        file.put("a", b"1");
        file.put("b", b"2");
        let descriptor = file.descriptor().unwrap();
        write(descriptor.as_fd(), REGIONS[0] + REGION_HEAD as u64 + 9, b"?").unwrap();
        assert!(matches!(reopened(&file), Err(StateLogError::State(StateError::Damaged { .. }))));
        write(descriptor.as_fd(), 0, &state::head(VERSION + 1)).unwrap();
        assert!(matches!(reopened(&file), Err(StateLogError::State(StateError::Version { .. }))));
        let empty = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        assert!(matches!(StateLog::open(empty), Err(StateLogError::State(StateError::Head))));
    }

    #[test]
    fn takeovers_are_counted_in_the_file() {
        let file = StateLog::create().unwrap();
        let descriptor = file.descriptor().unwrap();
        let counts = [(); 3].map(|()| {
            StateLog::count_takeover(descriptor.as_fd(), |all| all.crashed(Duration::from_secs(5)))
                .unwrap()
                .0
                .count
        });
        assert_eq!(counts, [1, 2, 3]);
        assert!(reopened(&file).is_ok());
    }
}
