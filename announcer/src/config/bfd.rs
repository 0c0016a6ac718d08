//! `[peer.bfd]`, or `bfd = true` in `[[peer]]`.
//!
//! Pure.

use std::time::Duration;

use super::keys::Section;
use super::reader::Table;
use super::table::table;
use super::value::{SECOND, Value, ValueError, boolean, microseconds, number};
use super::writer::TomlWriter;

pub(super) const SECTION: Section = Section {
    header: "[peer.bfd]",
    doc: "BFD with the router (RFC 5880, 5881; with `multihop` above 1, RFC 5883). `bfd = true` in `[[peer]]` is the same with the defaults; without both, there is no BFD.",
    keys: &[&[Keys::KEYS]],
};

/// The shortest interval that FRR allows, and the default of BIRD (`min rx interval`, `min tx interval`).
const SHORTEST: Duration = Duration::from_millis(10);

table! {
    /// `[peer.bfd]`.
    pub struct BfdConfig as Keys {
        /// The interval in which we want to send, and in which we can receive: whole microseconds, 10 ms to 10 s.
        interval: one Duration, default "\"300ms\"", microseconds(SHORTEST..=SECOND * 10),
            "how often both sides send; the router may ask for less; 10ms to 10s";
        /// How many of our packets in a row may be missing before the router declares us down, 1 to 255.
        multiplier: one u8, default "3", multiplier,
            "after how many missing packets in a row the router considers this host dead; the router's own multiplier says the same of the router; 1 to 255";
        /// Whether a BGP session needs BFD.
        strict: one bool, default "false", boolean,
            "connect to the router only while BFD with it is up; otherwise a router without BFD has a session as well";
    }
}

/// How many packets may be missing.
fn multiplier(value: &Value<'_>) -> Result<u8, ValueError> {
    Ok(u8::try_from(number(value, 1..=u8::MAX.into())?).unwrap_or(u8::MAX))
}

/// The table as written; `None`: BFD is off, or the value is wrong and an error was recorded.
#[derive(Debug)]
pub(super) struct Written(Option<Keys>);

impl Written {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Written(table.switch("bfd", Keys::read))
    }

    pub(super) fn used(&self) -> Option<Option<BfdConfig>> {
        self.0.as_ref().map_or(Some(None), |keys| keys.used().map(Some))
    }

    pub(super) fn write(&self, out: &mut TomlWriter) {
        if let Written(Some(keys)) = self {
            out.header(SECTION.header);
            keys.write(out);
        }
    }
}

impl From<&Option<BfdConfig>> for Written {
    fn from(used: &Option<BfdConfig>) -> Self {
        Written(used.as_ref().map(Keys::from))
    }
}
