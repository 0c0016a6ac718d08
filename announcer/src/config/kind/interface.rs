//! What a kind of probe says of itself, beside its keys.
//!
//! Pure.

use std::path::Path;

use url::Host;

use super::super::error::Fault;
use super::super::keys::Key;
use super::super::reader::Present;
use super::super::writer::Out;

/// What a server hears first: what it could mistake a probe for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstOctets {
    /// HTTP without TLS.
    PlainHttp,
    /// A TLS handshake, and HTTP after it.
    HttpOverTls,
    /// A TLS handshake alone.
    Tls,
    /// Anything else, or nothing.
    Other,
}

/// A kind of probe, as the program uses it.
pub(in crate::config) trait Kind {
    /// Its keys as written; the first makes a check of this kind.
    type Written;

    /// Keys that go with it and are declared elsewhere: other kinds have them too.
    const SHARED: &'static [&'static [Key]] = &[];

    /// How many file descriptors a probe holds that hangs.
    const DESCRIPTORS: u64;

    /// The port that is asked, unless the target has another; `None`: none is.
    fn port(&self) -> Option<u16> {
        None
    }

    /// The server's name or address as clients write it; `None`: none is said.
    fn host(&self) -> Option<Host> {
        None
    }

    /// What a server hears first.
    fn first_octets(&self) -> FirstOctets {
        FirstOctets::Other
    }

    /// What is asked, as the end of "the check asks"; `at`: the address that is asked.
    fn request(&self, at: &str) -> String;

    /// Tells keys that contradict one another.
    fn judge(_written: &Self::Written, _present: &Present, _faults: &mut Vec<Fault>) {}

    /// Looks at the files without which a probe can only fail.
    fn look(_written: &Self::Written, _look: &dyn Fn(&Path) -> Result<(), String>, _faults: &mut Vec<Fault>) {
    }

    /// Writes its keys, those that hold.
    fn write(written: &Self::Written, out: &mut Out);
}
