//! Reads keys from the octets that a terminal sends.
//!
//! Pure. A key that is no character is a sequence that begins with ESC (ECMA-48, and xterm's `ctlseqs`), as in `ESC [ A` for the
//! arrow up. The key Escape is ESC alone, so only the time tells the two apart: see [`KeyReader::flush`].

const ESC: u8 = 0x1b;
/// The longest sequence that is waited for; what is longer is no key.
const LONGEST: usize = 16;

/// The help, one line for each key and each paragraph.
pub const HELP: &[&str] = &[
    "  Up Down j k      select a row",
    "  PageUp PageDown  a page up or down; Home End: the beginning or the end",
    "  Enter            explain the selected VIP or router; Escape goes back",
    "  /                show only names and addresses with a text in them",
    "  p                show only problems: FAIL, warn and start",
    "  a                a row for each VIP, also for VIPs with the same reason",
    "  s                sort: worst first, by name, as configured",
    "  Escape           go back, and end the filter",
    "  q Ctrl-C         quit",
    "",
    "Of a VIP, FAIL is: not announced although nobody drained it, or sent to no router; warn: the last choice; start: no verdict \
     yet; drain: drained. Of a router, FAIL is: no session; warn: some routes are not sent.",
    "",
    "The bars are the state of a row's VIPs at the last polls, one a second, the newest at the right: the worse, the higher.",
];

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPress {
    /// A character.
    Char(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home: the beginning.
    Home,
    /// End: the end.
    End,
    /// Ctrl-C.
    Interrupt,
}

/// The octets that are not a whole key yet.
#[derive(Debug, Default)]
pub struct KeyReader {
    waiting: Vec<u8>,
}

impl KeyReader {
    /// The keys in these octets and in those that waited. Sequences and characters that are no key here are left out.
    pub fn push(&mut self, octets: &[u8]) -> Vec<KeyPress> {
        self.waiting.extend_from_slice(octets);
        let mut keys = Vec::new();
        while let Some((length, key)) = first(&self.waiting) {
            self.waiting.drain(..length);
            keys.extend(key);
        }
        keys
    }

    /// Whether octets wait for others. If none come for some time, [`flush`](Self::flush) is due.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The key of the octets that waited, because no others came: Escape, if it was ESC alone.
    pub fn flush(&mut self) -> Option<KeyPress> {
        let waited = std::mem::take(&mut self.waiting);
        (waited == [ESC]).then_some(KeyPress::Escape)
    }
}

/// The length of the first key, and the key, if it is one; none while octets are missing.
fn first(octets: &[u8]) -> Option<(usize, Option<KeyPress>)> {
    let key = match *octets.first()? {
        ESC => return sequence(octets),
        b'\r' | b'\n' => KeyPress::Enter,
        0x08 | 0x7f => KeyPress::Backspace,
        0x03 => KeyPress::Interrupt,
        0x00..=0x1f => return Some((1, None)),
        _ => return character(octets),
    };
    Some((1, Some(key)))
}

/// A sequence: `ESC [` or `ESC O`, parameters, and a last octet.
fn sequence(octets: &[u8]) -> Option<(usize, Option<KeyPress>)> {
    match octets.get(1)? {
        b'[' | b'O' => {}
        // Escape, and then another key.
        _ => return Some((1, Some(KeyPress::Escape))),
    }
    let Some(end) = octets.iter().skip(2).position(|octet| (0x40..=0x7e).contains(octet)) else {
        return (octets.len() > LONGEST).then_some((octets.len(), None));
    };
    let length = end + 3;
    let key = match &octets[2..length] {
        b"A" => Some(KeyPress::Up),
        b"B" => Some(KeyPress::Down),
        b"5~" => Some(KeyPress::PageUp),
        b"6~" => Some(KeyPress::PageDown),
        b"H" | b"1~" | b"7~" => Some(KeyPress::Home),
        b"F" | b"4~" | b"8~" => Some(KeyPress::End),
        b"M" => Some(KeyPress::Enter), // of the numeric keypad
        _ => None,
    };
    Some((length, key))
}

/// A character in UTF-8. An octet that is none is left out.
fn character(octets: &[u8]) -> Option<(usize, Option<KeyPress>)> {
    let length = match octets[0] {
        0x20..0x80 => 1,
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => return Some((1, None)),
    };
    let text = octets.get(..length)?;
    match std::str::from_utf8(text).ok().and_then(|text| text.chars().next()) {
        Some(char) => Some((length, Some(KeyPress::Char(char)))),
        None => Some((1, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::KeyPress::*;
    use super::*;

    #[test]
    fn each_key_is_read() {
        for (octets, want) in [
            (&b"q"[..], &[Char('q')][..]),
            (b"\r", &[Enter]),
            (b"\x1b[A\x1bOB", &[Up, Down]),
            (b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~", &[PageUp, PageDown, Home, End, Home, End]),
            (b"\x03\x7f\x08", &[Interrupt, Backspace, Backspace]),
            ("/ä漢".as_bytes(), &[Char('/'), Char('ä'), Char('漢')]),
            (b"\x1bq", &[Escape, Char('q')]),
            (b"\x1b\x1b[A", &[Escape, Up]),
            (b"\x1b[1;5Ax", &[Char('x')]), // Ctrl and arrow up is no key here
            (b"\xff\xc3(x", &[Char('('), Char('x')]),
            (b"\x01\x1a", &[]),
        ] {
            assert_eq!(KeyReader::default().push(octets), want, "{octets:?}");
        }
    }

    #[test]
    fn a_key_may_come_in_parts() {
        let mut reader = KeyReader::default();
        for octet in "\u{1b}[6~ä".bytes().take(5) {
            assert_eq!(reader.push(&[octet]).len(), usize::from(octet == b'~'), "{octet}");
        }
        assert!(reader.is_waiting());
        assert_eq!(reader.push(&[0xa4]), [Char('ä')]);
        assert!(!reader.is_waiting());
    }

    #[test]
    fn escape_is_a_sequence_that_never_continues() {
        let mut reader = KeyReader::default();
        assert_eq!(reader.push(&[ESC]), []);
        assert!(reader.is_waiting());
        assert_eq!(reader.flush(), Some(Escape));
        assert_eq!((reader.push(b"\x1b["), reader.flush()), (vec![], None));
        assert!(!reader.is_waiting());
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_and_few_wait(octets: Vec<u8>) {
            let mut reader = KeyReader::default();
            for octet in octets {
                reader.push(&[octet]);
                proptest::prop_assert!(reader.waiting.len() <= LONGEST);
            }
        }
    }
}
