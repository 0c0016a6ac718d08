//! The traits that a kind of check implements: its properties besides its keys, and the words of its results.
//!
//! Pure. The results are data, so they are in this layer. `health` imports this layer, and not the other way round.

use std::fmt;
use std::net::IpAddr;

use url::Host;

use super::super::error::Fault;
use super::super::keys::Key;
use super::super::proxy::ProxyVersion;
use super::super::reader::{PresentKeys, Table};
use super::super::writer::TomlWriter;
use super::certificate::{ClientFiles, Date, Flaw, LookAtFiles};

/// The first octets that a server receives from a probe. The server could take the probe for another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstOctets {
    /// HTTP without TLS.
    PlainHttp,
    /// A TLS handshake, and HTTP after it.
    HttpOverTls,
    /// Only a TLS handshake.
    Tls,
    /// Anything else, or nothing.
    Other,
}

/// A kind of check, as the program uses it.
pub(in crate::config) trait ProbeKind {
    /// Its keys as written. The first key decides the kind.
    type Written;

    /// Keys of this kind that are declared elsewhere, because other kinds have them too.
    const SHARED: &'static [&'static [Key]] = &[];

    /// How many file descriptors a hanging probe has open.
    const DESCRIPTORS: u64;

    /// Whether its target may be a unix socket.
    const TAKES_SOCKET: bool = false;

    /// The port that is probed, unless the target has another; `None`: no port is probed.
    fn port(&self) -> Option<u16> {
        None
    }

    /// Whether this port is one of UDP.
    fn is_over_udp(&self) -> bool {
        false
    }

    /// The server's name or address as clients write it; `None`: no name is sent.
    fn host(&self) -> Option<Host> {
        None
    }

    /// The header of the PROXY protocol with which a connection begins; `None`: there is none.
    fn send_proxy(&self) -> Option<ProxyVersion> {
        None
    }

    /// The files of our own certificate; `None`: servers get none.
    fn client_files(&self) -> Option<ClientFiles> {
        None
    }

    /// The first octets that a server receives.
    fn first_octets(&self) -> FirstOctets {
        FirstOctets::Other
    }

    /// The request, as the end of "the check asks". `at` is the address that is probed.
    fn request(&self, at: &str) -> String;

    /// Takes back the defaults of `[defaults.check]` that do not fit to the keys of this check, which was read from `table`.
    fn fit(_written: &mut Self::Written, _table: &mut Table<'_>) {}

    /// Records an error for keys that contradict each other.
    fn judge(_written: &Self::Written, _present: &PresentKeys, _faults: &mut Vec<Fault>) {}

    /// Checks the files without which a probe always fails.
    fn look(_written: &Self::Written, _look: LookAtFiles<'_>, _faults: &mut Vec<Fault>) {}

    /// Writes the keys of this kind that have a value.
    fn write(written: &Self::Written, out: &mut TomlWriter);
}

/// A word of a result: an answer, a failure or a warning. Its `Display` is the middle of a sentence.
pub(in crate::config) trait Word: fmt::Display {
    /// One of each, for the documents and the tests that list them.
    fn examples() -> Vec<Self>
    where
        Self: Sized;

    /// The flaw of the server's certificate, and the time when it ends; `None`: it says nothing about a certificate.
    fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        None
    }
}

/// A word of a result of a failed probe.
pub(in crate::config) trait FailureWord: Word {
    /// One word for metrics.
    fn label(&self) -> &'static str;

    /// Whether "after 12 ms" follows the text. It must not follow a text that ends with a date or with an instruction, because it
    /// would seem to belong to that.
    fn is_timed(&self) -> bool {
        true
    }

    /// The hint, if the text alone does not say what to do. It says "if" when there is more than one possible cause.
    fn hint(&self, _asked: &ProbeContext) -> Option<String> {
        None
    }
}

/// How the probe was made. Hints depend on it.
#[derive(Debug, Clone, Copy)]
pub struct ProbeContext {
    /// The VIP of the probe.
    pub vip: IpAddr,
    /// Whether the probe went to the VIP itself, and not to a fixed target.
    pub vip_itself: bool,
    /// The first octets that the server received.
    pub first_octets: FirstOctets,
}

#[cfg(test)]
impl ProbeContext {
    /// The VIP 192.0.2.80 itself.
    pub(in crate::config) fn of_test(first_octets: FirstOctets) -> Self {
        ProbeContext { vip: [192, 0, 2, 80].into(), vip_itself: true, first_octets }
    }
}
