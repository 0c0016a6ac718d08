//! The environment variables that say which descriptors a process has inherited, and under which names.
//!
//! Pure. systemd's variables are those of sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`. Ours is
//! [`HANDOVER`], for example `pid=7 at=81230000000 fds=state:9,peer-r1:12`. Both name the process that they are for, because a child
//! of it would inherit them too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Start;

/// The variable by which a process that executes the next program says what it leaves.
pub const HANDOVER: &str = "ANNOUNCER_HANDOVER";

/// The variables that are not passed on to the next program as they are.
pub const OWN_VARIABLES: &[&str] =
    &[HANDOVER, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// The first descriptor that systemd passes (SD_LISTEN_FDS_START).
const FIRST: i32 = 3;

/// The most descriptors that are accepted from the environment. It is more than systemd stores for the shipped unit.
const MOST: i32 = 4096;

/// What a process leaves to the program that it executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The process, which stays the same.
    pub pid: u32,
    /// When the former program was left, by CLOCK_MONOTONIC.
    pub at: Duration,
    /// The numbers of the descriptors, by name.
    pub descriptors: BTreeMap<String, i32>,
}

impl Handover {
    /// The value of the variable.
    pub fn to_text(&self) -> String {
        let fds: Vec<String> =
            self.descriptors.iter().map(|(name, number)| format!("{name}:{number}")).collect();
        format!("pid={} at={} fds={}", self.pid, self.at.as_nanos(), fds.join(","))
    }

    /// From the value of the variable; `None`: it is not ours. Descriptors whose name or number is wrong are left out.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(' ');
        let pid = fields.next()?.strip_prefix("pid=")?.parse().ok()?;
        let at = Duration::from_nanos(fields.next()?.strip_prefix("at=")?.parse().ok()?);
        let fds = fields.next()?.strip_prefix("fds=")?;
        let descriptors = fds.split(',').filter_map(|one| {
            let (name, number) = one.split_once(':')?;
            let number = number.parse().ok().filter(|number| *number >= FIRST)?;
            is_name(name).then(|| (name.to_owned(), number))
        });
        Some(Handover { pid, at, descriptors: descriptors.collect() })
    }
}

/// Whether a descriptor may have this name: letters, digits, `-`, `.` and `_`, at most 255 (systemd's limit).
pub fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
}

/// The descriptors that a process has inherited, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedNumbers {
    /// How this process began.
    pub how: Start,
    /// When the former program was left, by CLOCK_MONOTONIC, if this process was upgraded.
    pub left: Option<Duration>,
    /// The descriptors with a name.
    pub named: BTreeMap<String, i32>,
    /// Those without a name of ours, or whose name an earlier one has: to close.
    pub other: Vec<i32>,
}

/// Reads the variables; `variable` returns the value of one, `own` is the number of this process.
pub fn inherited_numbers(variable: impl Fn(&str) -> Option<String>, own: u32) -> InheritedNumbers {
    let handover = variable(HANDOVER).and_then(|text| Handover::parse(&text));
    if let Some(handover) = handover.filter(|handover| handover.pid == own) {
        // After an upgrade, systemd's variables would be those of a start that is long past; the former program has removed them.
        return InheritedNumbers {
            how: Start::Upgrade,
            left: Some(handover.at),
            named: handover.descriptors,
            other: Vec::new(),
        };
    }
    let mut found =
        InheritedNumbers { how: Start::Cold, left: None, named: BTreeMap::new(), other: Vec::new() };
    let number = |name: &str| variable(name).and_then(|text| text.parse::<i32>().ok());
    if number("LISTEN_PID") != i32::try_from(own).ok() {
        return found;
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST);
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    for number in FIRST..FIRST + count {
        let name = names.next().unwrap_or_default();
        if is_name(name) && !found.named.contains_key(name) {
            found.named.insert(name.to_owned(), number);
        } else {
            found.other.push(number);
        }
    }
    if !found.named.is_empty() {
        found.how = Start::Crash;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> InheritedNumbers {
        let value =
            |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        inherited_numbers(value, 7)
    }

    fn named(numbers: &InheritedNumbers) -> String {
        let all: Vec<String> =
            numbers.named.iter().map(|(name, number)| format!("{name}:{number}")).collect();
        format!("{:?} {} {:?}", numbers.how, all.join(","), numbers.other)
    }

    #[test]
    fn systemd_passes_descriptors_by_name_and_in_any_order() {
        for (pid, fds, names, want) in [
            ("7", "2", "state:peer-r1", "Crash peer-r1:4,state:3 []"),
            ("7", "2", "peer-r1:state", "Crash peer-r1:3,state:4 []"),
            ("8", "2", "state:peer-r1", "Cold  []"), // of another process
            ("", "2", "state:peer-r1", "Cold  []"),
            ("7", "0", "", "Cold  []"),
            ("7", "-3", "", "Cold  []"),
            ("7", "x", "state", "Cold  []"),
            ("7", "3", "state", "Crash state:3 [4, 5]"),
            ("7", "3", "state:state:un known", "Crash state:3 [4, 5]"),
            ("7", "2", "", "Cold  [3, 4]"),
        ] {
            let numbers = read(&[("LISTEN_PID", pid), ("LISTEN_FDS", fds), ("LISTEN_FDNAMES", names)]);
            assert_eq!(named(&numbers), want, "{pid} {fds} {names}");
        }
        assert_eq!(named(&read(&[])), "Cold  []");
        let many = read(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2147483647")]);
        assert_eq!(many.other.len(), 4096);
    }

    #[test]
    fn what_a_program_leaves_is_read_by_the_next_one() {
        let descriptors = BTreeMap::from([("state".to_owned(), 9), ("peer-r1".to_owned(), 12)]);
        let handover = Handover { pid: 7, at: Duration::from_nanos(81_230_000_001), descriptors };
        let text = handover.to_text();
        assert_eq!(text, "pid=7 at=81230000001 fds=peer-r1:12,state:9");
        assert_eq!(Handover::parse(&text), Some(handover.clone()));
        let numbers = read(&[(HANDOVER, &text), ("LISTEN_PID", "7"), ("LISTEN_FDS", "1")]);
        assert_eq!(named(&numbers), "Upgrade peer-r1:12,state:9 []");
        assert_eq!(numbers.left, Some(handover.at));
        let nothing = Handover { descriptors: BTreeMap::new(), ..handover };
        assert_eq!(named(&read(&[(HANDOVER, &nothing.to_text())])), "Upgrade  []");
    }

    #[test]
    fn what_is_not_ours_is_left_out() {
        for (text, want) in [
            ("pid=8 at=1 fds=state:9", "Cold  []"),
            ("pid=7 at=1", "Cold  []"),
            ("pid=7 at=x fds=state:9", "Cold  []"),
            ("", "Cold  []"),
            ("pid=7 at=1 fds=state:2", "Upgrade  []"), // standard error
            ("pid=7 at=1 fds=state:-1,a+b:3,peer:7,x", "Upgrade peer:7 []"),
        ] {
            assert_eq!(named(&read(&[(HANDOVER, text)])), want, "{text}");
        }
    }

    #[test]
    fn a_name_has_letters_digits_and_some_signs() {
        for (name, want) in [
            ("state", true),
            ("peer-R1", true),
            ("bfd-send-r_1.a", true),
            ("", false),
            ("a:b", false),
            ("a,b", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), want, "{name}");
        }
        assert!(is_name(&"a".repeat(255)) && !is_name(&"a".repeat(256)));
    }
}
