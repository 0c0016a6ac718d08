//! The octets of the state that outlives the process: a log of records in one memory file.
//!
//! Pure. A record is written before the fact that it describes has an effect outside. So the log is right at every instant: a process
//! that is killed while it writes leaves a torn record at the end, and what that record describes has not happened yet.
//!
//! ```text
//! page 0       magic, version, checksum        which program can read it
//! page 1       the times of the takeovers      written before anything else is read
//! region 0     sequence, checksum, records     the region with the higher sequence is in use; the other one is empty,
//! region 1     sequence, checksum, records     or is being written
//! ```
//!
//! A region that has grown is replaced by the other one, which starts with one record for each entry. Numbers are little-endian.

use std::collections::BTreeMap;

pub use super::STATE_VERSION as VERSION;
/// The length of the head of a region.
pub const REGION_HEAD: usize = 16;
/// The place of the times of the takeovers.
pub const TAKEOVERS: u64 = 4096;
/// The places of the two regions. The file has no pages between them.
pub const REGIONS: [u64; 2] = [64 << 10, 64 << 20];
/// The length of the head of the file.
pub const HEAD: usize = 16;

const MAGIC: [u8; 8] = *b"ANNCRSTA";
/// The head of a record: the length of its body, the checksum of the body, and the checksum of these eight octets.
const RECORD_HEAD: usize = 12;

/// Why a state cannot be used. Its `Display` is a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The file is not a state, or its head is damaged.
    #[error("the state of the former process cannot be read: its head is damaged")]
    Head,
    /// The state of another program.
    #[error("the state of the former process has version {found}, and this program reads version {VERSION}")]
    Version {
        /// The version in its head.
        found: u32,
    },
    /// A record in the middle is damaged.
    #[error("the state of the former process cannot be read: it is damaged at octet {at} of its region")]
    Damaged {
        /// The offset from the region's begin.
        at: usize,
    },
    /// No region has a correct head.
    #[error("the state of the former process cannot be read: it has no records")]
    Empty,
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// The entry has this value from now on.
    Put,
    /// The value continues with these octets.
    Append,
    /// There is no such entry any more.
    Remove,
}

impl RecordKind {
    fn octet(self) -> u8 {
        match self {
            RecordKind::Put => 1,
            RecordKind::Append => 2,
            RecordKind::Remove => 3,
        }
    }

    fn of(octet: u8) -> Option<Self> {
        [RecordKind::Put, RecordKind::Append, RecordKind::Remove].into_iter().find(|one| one.octet() == octet)
    }
}

/// The entries by their keys.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// The entries of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// What the records leave.
    pub entries: Entries,
    /// The length of the region up to the last whole record. The next record is written there.
    pub length: usize,
}

/// The head of a file.
pub fn head(version: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = crc32fast::hash(&head[..12]);
    head[12..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// Checks the head of a file.
///
/// # Errors
/// When it is no state, or the state of a version that this program does not read.
pub fn check_head(octets: &[u8]) -> Result<(), StateError> {
    let found = octets.get(8..12).and_then(number).ok_or(StateError::Head)?;
    if octets.get(..HEAD) != Some(&head(found)) {
        return Err(StateError::Head);
    }
    if reads(found) { Ok(()) } else { Err(StateError::Version { found }) }
}

/// Whether this program reads a state of that version.
pub fn reads(version: u32) -> bool {
    version == VERSION || version + 1 == VERSION && version > 0
}

/// The head of a region.
pub fn region_head(sequence: u64) -> [u8; REGION_HEAD] {
    let mut head = [0; REGION_HEAD];
    head[..8].copy_from_slice(&sequence.to_le_bytes());
    let sum = crc32fast::hash(&[b"region  ".as_slice(), &head[..8]].concat());
    head[8..12].copy_from_slice(&sum.to_le_bytes());
    head
}

/// The sequence of a region, if its head is correct.
pub fn sequence(octets: &[u8]) -> Option<u64> {
    let sequence = u64::from_le_bytes(octets.get(..8)?.try_into().ok()?);
    (octets.get(..REGION_HEAD)? == region_head(sequence)).then_some(sequence)
}

/// Appends a record to `octets`.
pub fn record(octets: &mut Vec<u8>, kind: RecordKind, key: &str, value: &[u8]) {
    let start = octets.len();
    let key = key.as_bytes().get(..usize::from(u8::MAX)).unwrap_or(key.as_bytes());
    let length = u32::try_from(2 + key.len() + value.len()).unwrap_or(u32::MAX);
    octets.extend([0; RECORD_HEAD]);
    octets.extend([kind.octet(), u8::try_from(key.len()).unwrap_or(u8::MAX)]);
    octets.extend(key);
    octets.extend(value);
    let sum = checksum(octets.get(start + RECORD_HEAD..).unwrap_or_default());
    if let Some(place) = octets.get_mut(start..start + RECORD_HEAD) {
        place.copy_from_slice(&record_head(length, sum));
    }
}

/// The records of a whole region, without its head: one for each entry.
pub fn records(entries: &Entries) -> Vec<u8> {
    let mut octets = Vec::new();
    for (key, value) in entries {
        record(&mut octets, RecordKind::Put, key, value);
    }
    octets
}

/// Reads a region with its head. The octets after its last record are zero, apart from a torn record.
///
/// # Errors
/// When a record is damaged that others follow. A later entry would be missing, and what it says would be stale.
pub fn region(octets: &[u8]) -> Result<Region, StateError> {
    let mut entries = Entries::new();
    let mut at = REGION_HEAD;
    loop {
        let rest = octets.get(at..).unwrap_or_default();
        let after = |length: usize| rest.get(length..).unwrap_or_default();
        let Some((length, sum)) = rest.get(..RECORD_HEAD).and_then(read_record_head) else {
            if after(RECORD_HEAD).iter().any(|octet| *octet != 0) {
                return Err(StateError::Damaged { at });
            }
            break; // no head, or a torn one
        };
        let end = RECORD_HEAD.saturating_add(length);
        let Some(body) = rest.get(RECORD_HEAD..end).filter(|body| checksum(body) == sum) else {
            if after(end).iter().any(|octet| *octet != 0) {
                return Err(StateError::Damaged { at });
            }
            break; // torn: it was being written when the process ended
        };
        apply(&mut entries, body).ok_or(StateError::Damaged { at })?;
        at += end;
    }
    Ok(Region { entries, length: at.min(octets.len().max(REGION_HEAD)) })
}

fn apply(entries: &mut Entries, body: &[u8]) -> Option<()> {
    let (kind, rest) = body.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (key, value) = rest.split_at_checked(usize::from(*length))?;
    let key = std::str::from_utf8(key).ok()?;
    match RecordKind::of(*kind)? {
        RecordKind::Put => {
            entries.insert(key.to_owned(), value.to_vec());
        }
        RecordKind::Append => entries.entry(key.to_owned()).or_default().extend(value),
        RecordKind::Remove => {
            entries.remove(key);
        }
    }
    Some(())
}

fn record_head(length: u32, sum: u32) -> [u8; RECORD_HEAD] {
    let mut head = [0; RECORD_HEAD];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..8].copy_from_slice(&sum.to_le_bytes());
    let own = checksum(&head[..8]);
    head[8..].copy_from_slice(&own.to_le_bytes());
    head
}

/// The length and the checksum of the body, if the head is correct.
fn read_record_head(octets: &[u8]) -> Option<(usize, u32)> {
    let (length, sum) = (octets.get(..4).and_then(number)?, octets.get(4..8).and_then(number)?);
    (octets == record_head(length, sum)).then_some((usize::try_from(length).ok()?, sum))
}

/// The checksum of zeros is not zero.
fn checksum(body: &[u8]) -> u32 {
    !crc32fast::hash(body)
}

fn number(octets: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(octets.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(steps: &[(RecordKind, &str, &[u8])]) -> Vec<u8> {
        let mut octets = region_head(1).to_vec();
        for (kind, key, value) in steps {
            record(&mut octets, *kind, key, value);
        }
        octets
    }

    fn entries(all: &[(&str, &[u8])]) -> Entries {
        all.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect()
    }

    const STEPS: &[(RecordKind, &str, &[u8])] = &[
        (RecordKind::Put, "a", b"one"),
        (RecordKind::Append, "b", b"x"),
        (RecordKind::Put, "a", b"two"),
        (RecordKind::Append, "b", b"yz"),
        (RecordKind::Put, "c", b""),
        (RecordKind::Remove, "c", b""),
    ];

    #[test]
    fn the_last_record_of_a_key_counts() {
        let octets = log(STEPS);
        let want = Region { entries: entries(&[("a", b"two"), ("b", b"xyz")]), length: octets.len() };
        assert_eq!(region(&octets), Ok(want.clone()));
        assert_eq!(region(&[octets, vec![0; 100]].concat()), Ok(want), "pages that were not written");
        assert_eq!(region(&[]).unwrap().entries, Entries::new());
    }

    /// A process that is killed at any octet of its write leaves the entries as they were before it, or as they are after it.
    #[test]
    fn a_torn_record_is_ignored() {
        let whole = log(STEPS);
        let ends: Vec<usize> = (0..=STEPS.len()).map(|count| log(&STEPS[..count]).len()).collect();
        for cut in REGION_HEAD..=whole.len() {
            let count = ends.iter().rposition(|end| *end <= cut).unwrap();
            let want = region(&log(&STEPS[..count])).unwrap();
            for zeros in [0, 4096] {
                let torn = [&whole[..cut], &vec![0; zeros]].concat();
                let found = region(&torn).map(|found| found.entries);
                assert_eq!(found, Ok(want.entries.clone()), "cut at {cut}, {zeros} zeros");
            }
        }
    }

    #[test]
    fn a_damaged_record_that_others_follow_makes_the_state_unusable() {
        let whole = log(STEPS);
        let last = log(&STEPS[..STEPS.len() - 1]).len();
        for at in REGION_HEAD..last {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let found = region(&damaged);
                assert!(matches!(found, Err(StateError::Damaged { .. })), "octet {at}, bit {bit}: {found:?}");
            }
        }
    }

    #[test]
    fn the_head_says_who_can_read_it() {
        assert_eq!(check_head(&head(VERSION)), Ok(()));
        let found = VERSION + 1;
        assert_eq!(check_head(&head(found)), Err(StateError::Version { found }));
        assert_eq!(check_head(&head(0)), Err(StateError::Version { found: 0 }));
        for at in 0..HEAD {
            let mut damaged = head(VERSION);
            damaged[at] ^= 1;
            assert!(check_head(&damaged).is_err(), "octet {at}");
        }
        assert_eq!(check_head(&[0; 8]), Err(StateError::Head));
        assert_eq!(sequence(&region_head(7)), Some(7));
        assert_eq!(sequence(&[0; REGION_HEAD]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            steps in prop::collection::vec((0..3_usize, "[a-z.]{0,12}", prop::collection::vec(any::<u8>(), 0..40)), 0..30)
        ) {
            let mut want = Entries::new();
            let mut octets = region_head(1).to_vec();
            for (kind, key, value) in &steps {
                let kind = [RecordKind::Put, RecordKind::Append, RecordKind::Remove][*kind];
                record(&mut octets, kind, key, value);
                match kind {
                    RecordKind::Put => { want.insert(key.clone(), value.clone()); }
                    RecordKind::Append => want.entry(key.clone()).or_default().extend(value),
                    RecordKind::Remove => { want.remove(key); }
                }
            }
            prop_assert_eq!(&region(&octets).unwrap().entries, &want);
            let compact = [region_head(2).to_vec(), records(&want)].concat();
            prop_assert_eq!(region(&compact).unwrap().entries, want);
        }

        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (region(&octets), check_head(&octets), sequence(&octets));
        }
    }
}
