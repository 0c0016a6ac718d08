//! The list of the kinds of checks, and what all kinds have in common.
//!
//! Pure. A kind consists of two files: `kind/NAME.rs` (its keys and their rules, the request as data, the words of its results as
//! data), and `health/io/NAME.rs` with the probe. To add a kind, add these two files, a line in `kinds!` below with its `mod`, and
//! the same in `health/io.rs`. The first key of a check decides its kind; keys of other kinds are refused.
//!
//! The words of its results are types in its file: `Answer` (what passes) and, if the kind has its own, `Failure` (why a probe
//! failed) and `Warning` (what is wrong although the probe passed). `interface.rs` defines what each type has to provide: the text,
//! the label for metrics, the hint, and examples for the documents. `health/outcome.rs` has the failures of every kind (nothing
//! listens, the probe timed out). This layer imports nothing from `health`.

pub mod certificate;
pub mod dns;
pub mod exec;
pub mod file;
pub mod grpc;
pub mod handshake;
pub mod http;
pub mod icmp;
mod interface;
pub mod ntp;
pub mod socket;
pub mod talk;
pub mod tcp;
pub mod tls;
pub mod udp;

use std::fmt;

use url::Host;

use super::error::Fault;
use super::keys::Key;
use super::proxy::{self, ProxyVersion};
use super::reader::{PresentKeys, Table};
use super::writer::TomlWriter;
use certificate::{ClientFiles, Date, Flaw, LookAtFiles};
use interface::{FailureWord, ProbeKind, Word};

pub use interface::{FirstOctets, ProbeContext};

macro_rules! kinds {
    ($(
        $(#[$about:meta])*
        $Kind:ident = $module:ident::$Config:ident $(, fails: $Failure:ident)? $(, warns: $Warning:ident)? ;
    )*) => {
        /// The request of a check: one variant per kind.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(clippy::large_enum_variant, reason = "a configuration has few checks")]
        pub enum ProbeConfig {
            $( $(#[$about])* $Kind($module::$Config), )*
        }

        impl ProbeConfig {
            /// The key that makes a check of it.
            pub fn kind(&self) -> &'static str {
                match self { $( ProbeConfig::$Kind(_) => name($module::Written::KEYS), )* }
            }

            /// The port that it probes, unless the target has another; `None`: it probes no port.
            pub fn port(&self) -> Option<u16> {
                match self { $( ProbeConfig::$Kind(probe) => probe.port(), )* }
            }

            /// Whether this port is one of UDP. The listener watch sees TCP alone.
            pub fn is_over_udp(&self) -> bool {
                match self { $( ProbeConfig::$Kind(probe) => probe.is_over_udp(), )* }
            }

            /// The server's name or address as clients write it; `None`: it sends no name.
            pub fn host(&self) -> Option<Host> {
                match self { $( ProbeConfig::$Kind(probe) => probe.host(), )* }
            }

            /// The header of the PROXY protocol with which its connections begin.
            pub fn send_proxy(&self) -> Option<ProxyVersion> {
                match self { $( ProbeConfig::$Kind(probe) => probe.send_proxy(), )* }
            }

            /// The files of our own certificate; `None`: servers get none.
            pub fn client_files(&self) -> Option<ClientFiles> {
                match self { $( ProbeConfig::$Kind(probe) => probe.client_files(), )* }
            }

            /// The first octets that a server receives.
            pub fn first_octets(&self) -> FirstOctets {
                match self { $( ProbeConfig::$Kind(probe) => probe.first_octets(), )* }
            }

            /// The request, as the end of "the check asks". `at` is the address that is probed.
            pub fn request(&self, at: &str) -> String {
                match self { $( ProbeConfig::$Kind(probe) => probe.request(at), )* }
            }

            /// How many file descriptors a hanging probe has open.
            pub fn descriptors(&self) -> u64 {
                match self { $( ProbeConfig::$Kind(_) => <$module::$Config as ProbeKind>::DESCRIPTORS, )* }
            }
        }

        impl ProbeConfig {
            /// Whether its probes have a socket of the network, which a VRF concerns.
            pub fn is_of_the_network(&self) -> bool {
                self.port().is_some() || self.has_target_without_port()
            }

            /// Whether it probes an address, and no port of it.
            pub(super) fn has_target_without_port(&self) -> bool {
                self.port().is_none() && homes("target").contains(&self.kind())
            }
        }

        /// The keys of one kind as written.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "a configuration has few checks")]
        pub(super) enum Written {
            $( $Kind($module::Written), )*
        }

        /// The first key of each kind.
        pub(super) const NAMES: &[&str] = &[$( name($module::Written::KEYS) ),*];
        /// The same as keys.
        pub(super) const HEADS: &[&[Key]] = &[$( $module::Written::KEYS.split_at(1).0 ),*];
        /// All other keys of the kinds, each once.
        pub(super) const RESTS: &[&[Key]] =
            &[$( $module::Written::KEYS.split_at(1).1, )*
                talk::Written::KEYS, certificate::Written::KEYS, proxy::Written::KEYS];

        /// The kinds to which a key belongs, unless it belongs to all kinds.
        pub(super) fn homes(key: &str) -> Vec<&'static str> {
            let has = |keys: &[Key]| keys.iter().any(|other| other.name == key);
            let mut homes = Vec::new();
            $( if has($module::Written::KEYS) || <$module::$Config as ProbeKind>::SHARED.iter().any(|keys| has(keys)) {
                homes.push(name($module::Written::KEYS));
            } )*
            homes
        }

        impl Written {
            /// Reads the kinds whose first key is present. If there is none, all kinds are read, so that mistakes in the values are
            /// reported too.
            pub(super) fn read_all(table: &mut Table<'_>, present: &PresentKeys) -> Vec<Self> {
                let mut kinds = Vec::new();
                let all = !NAMES.iter().any(|name| present.has(name));
                $( if all || present.has(name($module::Written::KEYS)) {
                    let mut written = $module::Written::read(table);
                    $module::$Config::fit(&mut written, table);
                    kinds.push(Written::$Kind(written));
                } )*
                if all { Vec::new() } else { kinds }
            }

            /// The key that makes a check of it.
            pub(super) fn name(&self) -> &'static str {
                match self { $( Written::$Kind(_) => name($module::Written::KEYS), )* }
            }

            /// Whether its target may be a unix socket.
            pub(super) fn takes_socket(&self) -> bool {
                match self { $( Written::$Kind(_) => <$module::$Config as ProbeKind>::TAKES_SOCKET, )* }
            }

            pub(super) fn used(&self) -> Option<ProbeConfig> {
                match self { $( Written::$Kind(written) => written.used().map(ProbeConfig::$Kind), )* }
            }

            /// Records an error for keys that contradict each other.
            pub(super) fn judge(&self, present: &PresentKeys, faults: &mut Vec<Fault>) {
                match self { $( Written::$Kind(written) => $module::$Config::judge(written, present, faults), )* }
            }

            /// Checks the files without which a probe always fails.
            pub(super) fn look(&self, look: LookAtFiles<'_>, faults: &mut Vec<Fault>) {
                match self { $( Written::$Kind(written) => $module::$Config::look(written, look, faults), )* }
            }

            pub(super) fn write(&self, out: &mut TomlWriter) {
                match self { $( Written::$Kind(written) => $module::$Config::write(written, out), )* }
            }
        }

        impl From<&ProbeConfig> for Written {
            fn from(probe: &ProbeConfig) -> Self {
                match probe { $( ProbeConfig::$Kind(probe) => Written::$Kind(probe.into()), )* }
            }
        }

        words! {
            /// The answer that a probe has seen: one variant per kind.
            Answer: Word { $( $Kind = $module::Answer, )* }
        }

        words! {
            /// Why a probe failed, for reasons of its kind: one variant per kind with its own words, and two for words that kinds
            /// share.
            Failure: FailureWord {
                $( $( $Kind = $module::$Failure, )? )*
                Handshake = handshake::Failure,
                Socket = socket::Failure,
            }
        }

        words! {
            /// What is wrong although a probe passed; with variants like [`Failure`].
            Warning: Word {
                $( $( $Kind = $module::$Warning, )? )*
                Handshake = handshake::Warning,
            }
        }
    };
}

/// An enum of the words of several kinds. Each of them implements `$Trait`.
macro_rules! words {
    (
        $(#[$about:meta])*
        $Words:ident: $Trait:ident { $( $Kind:ident = $module:ident::$Word:ident, )* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $Words {
            $(
                #[doc = concat!("What `", stringify!($module), "` says.")]
                $Kind($module::$Word),
            )*
        }

        impl $Words {
            /// One of each, for the documents and the tests that list them.
            pub fn examples() -> Vec<Self> {
                let mut examples = Vec::new();
                $( examples.extend($module::$Word::examples().into_iter().map($Words::$Kind)); )*
                examples
            }

            fn word(&self) -> &dyn $Trait {
                match self { $( $Words::$Kind(word) => word, )* }
            }
        }

        $( impl From<$module::$Word> for $Words {
            fn from(word: $module::$Word) -> Self {
                $Words::$Kind(word)
            }
        } )*

        /// The text is the middle of a sentence.
        impl fmt::Display for $Words {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.word().fmt(f)
            }
        }
    };
}

impl Failure {
    /// One word for metrics.
    pub fn label(&self) -> &'static str {
        self.word().label()
    }

    /// Whether "after 12 ms" follows its text.
    pub fn is_timed(&self) -> bool {
        self.word().is_timed()
    }

    /// The hint, if the text alone does not say what to do.
    pub fn hint(&self, asked: &ProbeContext) -> Option<String> {
        self.word().hint(asked)
    }

    /// The flaw of the server's certificate, and the time when it ended; `None`: it says nothing about a certificate.
    pub fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        self.word().certificate()
    }
}

impl Warning {
    /// The flaw of the server's certificate, and the time when it ends; `None`: it says nothing about a certificate.
    pub fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        self.word().certificate()
    }
}

/// The name of a kind is its first key.
const fn name(keys: &'static [Key]) -> &'static str {
    match keys {
        [first, ..] => first.name,
        [] => "",
    }
}

// After the name of a kind and its module: its own types for failures and warnings, if it has any.
kinds! {
    /// `http`: a request, and what its answer has to be.
    Http = http::HttpConfig, fails: Failure;
    /// `tls`: a handshake.
    Tls = tls::TlsConfig;
    /// `tcp`: a connection, and the text that is sent and expected.
    Tcp = tcp::TcpConfig, fails: Failure;
    /// `exec`: a program and its exit code.
    Exec = exec::ExecConfig, fails: Failure, warns: Warning;
    /// `file`: a file that has to exist.
    File = file::FileConfig, fails: Failure;
    /// `dns`: a query, and what its answer has to be.
    Dns = dns::DnsConfig, fails: Failure;
    /// `icmp`: an echo request.
    Icmp = icmp::IcmpConfig, fails: Failure;
    /// `udp`: a datagram, and the expected one.
    Udp = udp::UdpConfig, fails: Failure;
    /// `ntp`: a request for the time.
    Ntp = ntp::NtpConfig, fails: Failure;
    /// `grpc`: the health service of a gRPC server.
    Grpc = grpc::GrpcConfig, fails: Failure;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_words_for_metrics_and_texts_are_the_middle_of_a_sentence() {
        let is_of_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        for failure in Failure::examples() {
            assert!(failure.label().chars().all(is_of_label), "{}", failure.label());
        }
        let answers = Answer::examples().into_iter().map(|answer| answer.to_string());
        let failures = Failure::examples().into_iter().map(|failure| failure.to_string());
        let warnings = Warning::examples().into_iter().map(|warning| warning.to_string());
        for text in answers.chain(failures).chain(warnings) {
            assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{text}");
        }
    }
}
