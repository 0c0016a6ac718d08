//! One drain: the text of its file, its owner and its end.
//!
//! Pure. The text holds `reason:`, `by:`, `at:`, `uid:`, `until:` and `boot:` lines; any other text in it is the reason, so that
//! `echo 'kernel upgrade' > DIR/www` works. An empty file drains too. An end that cannot be read never ends a drain.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::text;

/// The longest reason that a command accepts, in octets. A drain file is read up to four times this length.
pub const LONGEST_REASON: usize = 1000;

/// Checks the reason of a command.
///
/// # Errors
/// When it is longer than [`LONGEST_REASON`].
pub fn reason(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_REASON {
        return Err(format!(
            "the reason has {} octets; write at most {LONGEST_REASON}, such as the number of a ticket",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// The operator who gives an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The user of the client, by the kernel.
    pub uid: u32,
    /// The user's name, or `uid 1000` if it has none.
    pub user: String,
    /// For the user 0, who may be several people: the name that the client gives, such as that of sudo. Nothing proves it.
    pub said: Option<String>,
}

impl Operator {
    /// The client's user, and the name that the client gives. The name counts only for the user 0, and only if it is another one.
    pub fn new(uid: u32, user: Option<String>, said: Option<String>) -> Operator {
        let user = user.unwrap_or_else(|| format!("uid {uid}"));
        let said = said.filter(|said| uid == 0 && *said != user).map(|said| text::one_line(&said, 64));
        Operator { uid, user, said: said.filter(|said| !said.is_empty()) }
    }

    /// Whether an order is this owner's own.
    pub fn owns(&self, drain: &Drain) -> bool {
        drain.uid == Some(self.uid) && (self.uid != 0 || drain.by.as_ref() == Some(&self.to_string()))
    }

    /// Whether this operator may end or extend an order without force. An order without an owner was made by hand, and everyone may.
    pub fn may_change(&self, drain: &Drain) -> bool {
        drain.uid.is_none() || self.owns(drain)
    }

    /// The part of a file's name after the `@`: letters, digits, `.`, `_` and `-`. Two owners may have the same.
    pub fn file(&self) -> String {
        let name = match &self.said {
            Some(said) => format!("{}-{said}", self.user),
            None => self.user.clone(),
        };
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        name.chars().map(safe).take(64).collect()
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Some(said) => write!(f, "{} (said to be {said})", self.user),
            None => f.write_str(&self.user),
        }
    }
}

/// When a drain ends by itself, by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// At this time.
    At(SystemTime),
    /// Never: its file has this text, which is not a time.
    Unreadable(String),
}

/// 9999-12-31T23:59:59Z, the last time that RFC 3339 can write, in seconds of Unix time.
const LAST: u64 = 253_402_300_799;

impl Until {
    /// A time after another one; `None`: it cannot be written.
    pub fn after(start: SystemTime, time: Duration) -> Option<Until> {
        let last = UNIX_EPOCH.checked_add(Duration::from_secs(LAST))?;
        start.checked_add(time).filter(|end| (UNIX_EPOCH..=last).contains(end)).map(Until::At)
    }

    fn parse(text: &str) -> Until {
        humantime::parse_rfc3339(text).map_or_else(|_| Until::Unreadable(text.to_owned()), Until::At)
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Until::At(time) => humantime::format_rfc3339_seconds(*time).fmt(f),
            Until::Unreadable(text) => f.write_str(text),
        }
    }
}

/// The kernel's name for a boot of the host, from `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootId(String);

impl BootId {
    /// Of the kernel's text; `None`: it is none.
    pub fn parse(text: &str) -> Option<BootId> {
        let text = text.trim();
        let form = |(place, octet): (usize, u8)| match place {
            8 | 13 | 18 | 23 => octet == b'-',
            _ => octet.is_ascii_hexdigit(),
        };
        (text.len() == 36 && text.bytes().enumerate().all(form)).then(|| BootId(text.to_owned()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One drain, with the contents of its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drain {
    /// The reason, in the operator's words.
    pub reason: Option<String>,
    /// Who made it.
    pub by: Option<String>,
    /// When, RFC 3339; only for people, and never compared.
    pub at: Option<String>,
    /// The user whose command made it; `None`: it was made by hand, or by a version that did not write it.
    pub uid: Option<u32>,
    /// When it ends by itself; `None`: not by time.
    pub until: Option<Until>,
    /// The boot during which it holds; `None`: reboots do not end it.
    pub boot: Option<BootId>,
}

impl Drain {
    /// Reads the text of a drain file. This never fails: the target is drained, whatever the text is.
    pub fn parse(text: &str) -> Drain {
        let mut drain = Drain::default();
        let mut reason = Vec::new();
        for line in text.lines().map(one_line).filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("reason", rest)) => reason.push(rest.to_owned()),
                Some(("by", rest)) => drain.by = Some(rest.to_owned()),
                Some(("at", rest)) => drain.at = Some(rest.to_owned()),
                Some(("until", rest)) => drain.until = Some(Until::parse(rest)),
                Some(("uid", rest)) if rest.parse::<u32>().is_ok() => drain.uid = rest.parse().ok(),
                Some(("boot", rest)) if BootId::parse(rest).is_some() => drain.boot = BootId::parse(rest),
                Some(_) | None => reason.push(line),
            }
        }
        drain.reason = (!reason.is_empty()).then(|| reason.join(" "));
        drain
    }

    /// The drain of a file that cannot be read. Such a file drains too.
    pub fn unreadable(why: &str) -> Drain {
        Drain { reason: Some(format!("its drain file cannot be read: {why}")), ..Drain::default() }
    }

    /// The text of its file.
    pub fn to_file(&self) -> String {
        [
            ("reason", self.reason.clone()),
            ("by", self.by.clone()),
            ("at", self.at.clone()),
            ("uid", self.uid.map(|uid| uid.to_string())),
            ("until", self.until.as_ref().map(ToString::to_string)),
            ("boot", self.boot.as_ref().map(ToString::to_string)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}: {}\n", one_line(&value?))))
        .collect()
    }
}

/// The part of a line that fits into the file.
fn one_line(text: &str) -> String {
    text::one_line(text, text.len())
}

impl fmt::Display for Drain {
    /// The rest of a sentence that begins "drained".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(by) = &self.by {
            write!(f, " by {by}")?;
        }
        if let Some(at) = &self.at {
            write!(f, " at {at}")?;
        }
        match &self.until {
            Some(until @ Until::At(_)) => write!(f, " until {until}")?,
            Some(Until::Unreadable(text)) => write!(f, " (its end `{text}` is not a time)")?,
            None => {}
        }
        if self.boot.is_some() {
            f.write_str(" until the next boot of the host")?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => f.write_str(", no reason given"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_made_by_hand_or_by_a_command_says_why() {
        let by_hand = Drain::parse("kernel upgrade\n");
        assert_eq!(by_hand.reason.as_deref(), Some("kernel upgrade"));
        let full = Drain {
            reason: Some("new\x1b[2J\nkernel".into()),
            by: Some("ann".into()),
            at: Some("now".into()),
            ..Drain::default()
        };
        let read = Drain::parse(&full.to_file());
        assert_eq!(read.to_string(), " by ann at now: new [2J kernel");
        assert_eq!(Drain::parse("").to_string(), ", no reason given");
        assert_eq!(Drain::parse("see: ticket 7").reason.as_deref(), Some("see: ticket 7"));
    }

    #[test]
    fn owner_and_ends_are_in_the_file_and_what_cannot_be_read_never_ends_a_drain() {
        let boot = "0a1b2c3d-0000-4000-8000-00000000000f";
        let text = format!("reason: disk\nby: ann\nuid: 1000\nuntil: 2026-01-31T14:00:00Z\nboot: {boot}\n");
        let read = Drain::parse(&text);
        assert_eq!(read.to_file(), text);
        let end = humantime::parse_rfc3339("2026-01-31T14:00:00Z").unwrap();
        assert_eq!((read.uid, &read.until), (Some(1000), &Some(Until::At(end))));
        assert_eq!(read.boot, BootId::parse(boot));
        assert_eq!(
            read.to_string(),
            " by ann until 2026-01-31T14:00:00Z until the next boot of the host: disk"
        );
        for (text, until, reason) in [
            ("until: friday", Some("friday"), None),
            ("until: 2026-01-31T14:00:00", Some("2026-01-31T14:00:00"), None),
            ("until: 2026-01-31T14:0", Some("2026-01-31T14:0"), None),
            ("until:", None, Some("until:")),
            ("uid: ann", None, Some("uid: ann")),
            ("uid: -1", None, Some("uid: -1")),
            ("boot: yesterday", None, Some("boot: yesterday")),
            (
                "boot: 0a1b2c3d-0000-4000-8000-00000000000",
                None,
                Some("boot: 0a1b2c3d-0000-4000-8000-00000000000"),
            ),
        ] {
            let read = Drain::parse(text);
            assert_eq!(read.until, until.map(|text| Until::Unreadable(text.into())), "{text}");
            assert_eq!((read.uid, read.boot, read.reason.as_deref()), (None, None, reason), "{text}");
        }
        assert_eq!(
            Drain::parse("until: friday").to_string(),
            " (its end `friday` is not a time), no reason given"
        );
    }

    #[test]
    fn an_end_that_cannot_be_written_is_none() {
        let last = UNIX_EPOCH + Duration::from_secs(LAST);
        assert_eq!(Until::after(last, Duration::ZERO).unwrap().to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Until::after(last, Duration::from_secs(1)), None);
        assert_eq!(Until::after(last, Duration::MAX), None);
    }

    // H23: the protocol cut a reason of 100 KB, and the command printed "EOF while parsing a string".
    #[test]
    fn a_reason_has_a_limit_that_is_said() {
        assert_eq!(reason(&"x".repeat(LONGEST_REASON)).unwrap().len(), LONGEST_REASON);
        let error = reason(&"x".repeat(100_000)).unwrap_err();
        assert_eq!(error, "the reason has 100000 octets; write at most 1000, such as the number of a ticket");
        let longest = Drain { reason: Some("x".repeat(LONGEST_REASON)), ..Drain::default() };
        assert!(longest.to_file().len() < 4096, "a drain file of our own is read as a whole");
    }

    #[test]
    fn the_kernel_says_who_the_owner_is_and_a_claim_is_shown_as_one() {
        let owner = |uid, user: Option<&str>, said: Option<&str>| {
            Operator::new(uid, user.map(str::to_owned), said.map(str::to_owned))
        };
        for (uid, user, said, text, file) in [
            (1000, Some("ann"), None, "ann", "ann"),
            (1000, Some("ann"), Some("bob"), "ann", "ann"),
            (1234, None, None, "uid 1234", "uid_1234"),
            (0, Some("root"), None, "root", "root"),
            (0, Some("root"), Some("root"), "root", "root"),
            (0, Some("root"), Some("ann"), "root (said to be ann)", "root-ann"),
            (0, Some("root"), Some("../\n"), "root (said to be ../)", "root-.._"),
            (0, Some("root"), Some("\n"), "root", "root"),
        ] {
            let owner = owner(uid, user, said);
            assert_eq!((owner.to_string().as_str(), owner.file().as_str()), (text, file));
        }
        let of = |owner: &Operator| Drain {
            by: Some(owner.to_string()),
            uid: Some(owner.uid),
            ..Drain::default()
        };
        let all = [
            owner(1000, Some("ann"), None),
            owner(1001, Some("bob"), None),
            owner(0, Some("root"), None),
            owner(0, Some("root"), Some("ann")),
            owner(0, Some("root"), Some("bob")),
        ];
        for (place, one) in all.iter().enumerate() {
            for (other_place, other) in all.iter().enumerate() {
                assert_eq!(one.owns(&of(other)), place == other_place, "{one} {other}");
            }
            assert!(!one.owns(&Drain::default()), "nobody owns what was made by hand");
        }
    }
}
