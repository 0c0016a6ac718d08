//! The kinds of probes: the one list of them, and what is said of any.
//!
//! Pure. A kind is two files: here `kind/NAME.rs` (its keys and their rules, the request as data, the words of its results as
//! data), and `health/io/NAME.rs` with the probe. A new kind is those two, a line in `kinds!` below with its `mod`, and the same
//! in `health/io.rs`. A check is of the kind whose first key it has; the keys of other kinds are refused.
//!
//! The words of its results are types in its file: `Answer` (what passes) and, where it has any of its own, `Failure` (why a
//! probe failed) and `Warning` (what is wrong though it passed). `interface.rs` says what each has to tell: its text, its label
//! for metrics, its hint, examples for the documents. What can go wrong with any kind (nothing listens, the time is up) is in
//! `health/outcome.rs`, and this layer names nothing of `health`.

pub mod certificate;
pub mod exec;
pub mod file;
pub mod handshake;
pub mod http;
mod interface;
pub mod tcp;
pub mod tls;

use std::fmt;
use std::path::Path;

use url::Host;

use super::error::Fault;
use super::keys::Key;
use super::reader::{PresentKeys, Table};
use super::writer::TomlWriter;
use certificate::{Date, Flaw};
use interface::{FailureWord, ProbeKind, Word};

pub use interface::{FirstOctets, ProbeContext};

macro_rules! kinds {
    ($(
        $(#[$about:meta])*
        $Kind:ident = $module:ident::$Config:ident $(, fails: $Failure:ident)? $(, warns: $Warning:ident)? ;
    )*) => {
        /// What a check asks: one variant a kind.
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

            /// The port that it asks, unless the target has another; `None`: it asks none.
            pub fn port(&self) -> Option<u16> {
                match self { $( ProbeConfig::$Kind(probe) => probe.port(), )* }
            }

            /// The server's name or address as clients write it; `None`: it asks for none.
            pub fn host(&self) -> Option<Host> {
                match self { $( ProbeConfig::$Kind(probe) => probe.host(), )* }
            }

            /// What a server hears first.
            pub fn first_octets(&self) -> FirstOctets {
                match self { $( ProbeConfig::$Kind(probe) => probe.first_octets(), )* }
            }

            /// What is asked, as the end of "the check asks"; `at`: the address that is asked.
            pub fn request(&self, at: &str) -> String {
                match self { $( ProbeConfig::$Kind(probe) => probe.request(at), )* }
            }

            /// How many file descriptors a probe holds that hangs.
            pub fn descriptors(&self) -> u64 {
                match self { $( ProbeConfig::$Kind(_) => <$module::$Config as ProbeKind>::DESCRIPTORS, )* }
            }
        }

        /// The keys of one kind as written.
        #[derive(Debug)]
        #[allow(clippy::large_enum_variant, reason = "a configuration has few checks")]
        pub(super) enum Written {
            $( $Kind($module::Written), )*
        }

        /// The key that makes a check of a kind, for each.
        pub(super) const NAMES: &[&str] = &[$( name($module::Written::KEYS) ),*];
        /// The same as keys.
        pub(super) const HEADS: &[&[Key]] = &[$( $module::Written::KEYS.split_at(1).0 ),*];
        /// All other keys of the kinds, each once.
        pub(super) const RESTS: &[&[Key]] =
            &[$( $module::Written::KEYS.split_at(1).1, )* certificate::Written::KEYS];

        /// The kinds that a key goes with, if it is not one that goes with each.
        pub(super) fn homes(key: &str) -> Vec<&'static str> {
            let has = |keys: &[Key]| keys.iter().any(|other| other.name == key);
            let mut homes = Vec::new();
            $( if has($module::Written::KEYS) || <$module::$Config as ProbeKind>::SHARED.iter().any(|keys| has(keys)) {
                homes.push(name($module::Written::KEYS));
            } )*
            homes
        }

        impl Written {
            /// The kinds whose key is there. Where there is none, each is read, so that what is wrong with the values is text.
            pub(super) fn read_all(table: &mut Table<'_>, present: &PresentKeys) -> Vec<Self> {
                let mut kinds = Vec::new();
                let all = !NAMES.iter().any(|name| present.has(name));
                $( if all || present.has(name($module::Written::KEYS)) {
                    kinds.push(Written::$Kind($module::Written::read(table)));
                } )*
                if all { Vec::new() } else { kinds }
            }

            /// The key that makes a check of it.
            pub(super) fn name(&self) -> &'static str {
                match self { $( Written::$Kind(_) => name($module::Written::KEYS), )* }
            }

            pub(super) fn used(&self) -> Option<ProbeConfig> {
                match self { $( Written::$Kind(written) => written.used().map(ProbeConfig::$Kind), )* }
            }

            /// Tells keys that contradict one another.
            pub(super) fn judge(&self, present: &PresentKeys, faults: &mut Vec<Fault>) {
                match self { $( Written::$Kind(written) => $module::$Config::judge(written, present, faults), )* }
            }

            /// Looks at the files without which a probe can only fail.
            pub(super) fn look(&self, look: &dyn Fn(&Path) -> Result<(), String>, faults: &mut Vec<Fault>) {
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
            /// What a probe saw that passed: one variant a kind.
            Answer: Word { $( $Kind = $module::Answer, )* }
        }

        words! {
            /// Why a probe failed, where its kind alone can say it: one variant a kind that has words of its own, and one for
            /// what kinds share.
            Failure: FailureWord {
                $( $( $Kind = $module::$Failure, )? )*
                Handshake = handshake::Failure,
            }
        }

        words! {
            /// What is wrong though a probe passed: as [`Failure`].
            Warning: Word {
                $( $( $Kind = $module::$Warning, )? )*
                Handshake = handshake::Warning,
            }
        }
    };
}

/// An enum of the words of several kinds, each of which implements `$Trait`.
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

        /// As the middle of a sentence.
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

    /// What to look at, where the text alone could leave a person at a loss.
    pub fn hint(&self, asked: &ProbeContext) -> Option<String> {
        self.word().hint(asked)
    }

    /// What it says of the server's certificate, if anything: what is wrong with it, and when it ended if that is it.
    pub fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        self.word().certificate()
    }
}

impl Warning {
    /// What it says of the server's certificate, if anything: what is wrong with it, and when it ends if that is soon or was.
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

// After the name of a kind and its keys: the words of failures and of warnings that are its own, if it has any.
kinds! {
    /// `http`: a request, and what its answer has to be.
    Http = http::HttpConfig, fails: Failure;
    /// `tls`: a handshake.
    Tls = tls::TlsConfig;
    /// `tcp`: a connection, and what is said over it.
    Tcp = tcp::TcpConfig, fails: Failure;
    /// `exec`: a program and its exit code.
    Exec = exec::ExecConfig, fails: Failure, warns: Warning;
    /// `file`: a path at which something has to be.
    File = file::FileConfig, fails: Failure;
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
