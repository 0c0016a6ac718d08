//! The kinds of probes: the one list of them, and what is said of any.
//!
//! Pure. A kind is two files: here `kind/NAME.rs` (its keys and their rules, the request as data, the words of its results),
//! and `health/io/NAME.rs` with the probe. A new kind is those two, a line in [`kinds`] below with its `mod`, and the same in
//! `health/io.rs`. A check is of the kind whose first key it has; the keys of other kinds are refused.

pub mod certificate;
pub mod exec;
pub mod file;
pub mod http;
mod interface;
pub mod tcp;
pub mod tls;

use std::path::Path;

use url::Host;

use super::error::Fault;
use super::keys::Key;
use super::reader::{Present, Table};
use super::writer::Out;
use interface::Kind;

pub use interface::FirstOctets;

macro_rules! kinds {
    ($( $(#[$about:meta])* $Kind:ident = $module:ident; )*) => {
        /// What a check asks: one variant a kind.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(clippy::large_enum_variant, reason = "a configuration has few checks")]
        pub enum Probe {
            $( $(#[$about])* $Kind($module::$Kind), )*
        }

        impl Probe {
            /// The key that makes a check of it.
            pub fn kind(&self) -> &'static str {
                match self { $( Probe::$Kind(_) => name($module::Written::KEYS), )* }
            }

            /// The port that it asks, unless the target has another; `None`: it asks none.
            pub fn port(&self) -> Option<u16> {
                match self { $( Probe::$Kind(probe) => probe.port(), )* }
            }

            /// The server's name or address as clients write it; `None`: it asks for none.
            pub fn host(&self) -> Option<Host> {
                match self { $( Probe::$Kind(probe) => probe.host(), )* }
            }

            /// What a server hears first.
            pub fn first_octets(&self) -> FirstOctets {
                match self { $( Probe::$Kind(probe) => probe.first_octets(), )* }
            }

            /// What is asked, as the end of "the check asks"; `at`: the address that is asked.
            pub fn request(&self, at: &str) -> String {
                match self { $( Probe::$Kind(probe) => probe.request(at), )* }
            }

            /// How many file descriptors a probe holds that hangs.
            pub fn descriptors(&self) -> u64 {
                match self { $( Probe::$Kind(_) => <$module::$Kind as Kind>::DESCRIPTORS, )* }
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
            $( if has($module::Written::KEYS) || <$module::$Kind as Kind>::SHARED.iter().any(|keys| has(keys)) {
                homes.push(name($module::Written::KEYS));
            } )*
            homes
        }

        impl Written {
            /// The kinds whose key is there. Where there is none, each is read, so that what is wrong with the values is told.
            pub(super) fn read_all(table: &mut Table<'_>, present: &Present) -> Vec<Self> {
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

            pub(super) fn used(&self) -> Option<Probe> {
                match self { $( Written::$Kind(written) => written.used().map(Probe::$Kind), )* }
            }

            /// Tells keys that contradict one another.
            pub(super) fn judge(&self, present: &Present, faults: &mut Vec<Fault>) {
                match self { $( Written::$Kind(written) => $module::$Kind::judge(written, present, faults), )* }
            }

            /// Looks at the files without which a probe can only fail.
            pub(super) fn look(&self, look: &dyn Fn(&Path) -> Result<(), String>, faults: &mut Vec<Fault>) {
                match self { $( Written::$Kind(written) => $module::$Kind::look(written, look, faults), )* }
            }

            pub(super) fn write(&self, out: &mut Out) {
                match self { $( Written::$Kind(written) => $module::$Kind::write(written, out), )* }
            }
        }

        impl From<&Probe> for Written {
            fn from(probe: &Probe) -> Self {
                match probe { $( Probe::$Kind(probe) => Written::$Kind(probe.into()), )* }
            }
        }
    };
}

/// The name of a kind is its first key.
const fn name(keys: &'static [Key]) -> &'static str {
    match keys {
        [first, ..] => first.name,
        [] => "",
    }
}

kinds! {
    /// `http`: a request, and what its answer has to be.
    Http = http;
    /// `tls`: a handshake.
    Tls = tls;
    /// `tcp`: a connection, and what is said over it.
    Tcp = tcp;
    /// `exec`: a program and its exit code.
    Exec = exec;
    /// `file`: a path at which something has to be.
    File = file;
}
