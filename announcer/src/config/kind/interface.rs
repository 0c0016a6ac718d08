//! What a kind of probe says of itself, beside its keys, and what it can say of its results.
//!
//! Pure. The results are data, so that they are named here and not in `health`, which imports this layer.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use url::Host;

use super::super::error::Fault;
use super::super::keys::Key;
use super::super::reader::PresentKeys;
use super::super::writer::TomlWriter;
use super::certificate::{Date, Flaw};

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
pub(in crate::config) trait ProbeKind {
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
    fn judge(_written: &Self::Written, _present: &PresentKeys, _faults: &mut Vec<Fault>) {}

    /// Looks at the files without which a probe can only fail.
    fn look(_written: &Self::Written, _look: &dyn Fn(&Path) -> Result<(), String>, _faults: &mut Vec<Fault>) {
    }

    /// Writes its keys, those that hold.
    fn write(written: &Self::Written, out: &mut TomlWriter);
}

/// What a result can say: an answer, a failure or a warning. Displayed, it reads as the middle of a sentence.
pub(in crate::config) trait Word: fmt::Display {
    /// One of each, for the documents and the tests that list them.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// What it says of the server's certificate, if anything: what is wrong with it, and when it ends if that is soon or was.
    fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        None
    }
}

/// What a result can say of a probe that failed.
pub(in crate::config) trait FailureWord: Word {
    /// One word for metrics.
    fn label(&self) -> &'static str;

    /// Whether "after 12 ms" follows. Not where the text ends with a date or with what to do: it would be said of that.
    fn is_timed(&self) -> bool {
        true
    }

    /// What to look at, where the text alone could leave a person at a loss. It says "if" where there is more than one cause.
    fn hint(&self, _asked: &ProbeContext) -> Option<String> {
        None
    }
}

/// How a probe asked: what hints depend on.
#[derive(Debug, Clone, Copy)]
pub struct ProbeContext {
    /// The VIP that was asked for.
    pub vip: IpAddr,
    /// Whether the VIP itself was asked, and no fixed target.
    pub vip_itself: bool,
    /// What the server heard first.
    pub first_octets: FirstOctets,
}

#[cfg(test)]
impl ProbeContext {
    /// The VIP 192.0.2.80 itself.
    pub(in crate::config) fn of_test(first_octets: FirstOctets) -> Self {
        ProbeContext { vip: [192, 0, 2, 80].into(), vip_itself: true, first_octets }
    }
}
