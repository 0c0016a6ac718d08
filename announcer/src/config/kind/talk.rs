//! The text that is sent and expected: the keys that `tcp` and `udp` share.
//!
//! Pure.

use super::super::pattern::{Pattern, pattern};
use super::super::secret::{SecretText, secret_text};
use super::super::table::table;

table! {
    /// What is said to a server, and what it has to say.
    pub struct TalkConfig as Written {
        /// The text that we send; `None`: there is none.
        send: one SecretText, optional "\"PING\"", secret_text,
            "tcp, udp: the text that is sent, over TCP after the connection is open; a line ends with `\\r\\n`";
        /// A regular expression that has to match the server's text; `None`: its text does not matter.
        expect: one Pattern, optional "\"^220 \"", pattern,
            "tcp, udp: a regular expression that has to be found in the first 16 KiB of the answer; without it, an open connection is enough, and any datagram";
    }
}
