//! The kind `tcp`: a connection, and what is said over it.
//!
//! Pure. Its probe is `health/io/tcp.rs`.

use super::super::endpoint;
use super::super::keys::Key;
use super::super::pattern::{Pattern, pattern};
use super::super::table::table;
use super::super::value::{port, string};
use super::super::writer::Out;
use super::interface::Kind;

table! {
    /// A connection, and what is said over it.
    pub struct Tcp as Written {
        /// Above 0.
        port("tcp"): one u16, one_of "25", port, "a TCP connection to that port, and what is said over it; 1 to 65535";
        /// What we say first.
        send: one String, optional "\"PING\"", string, "tcp: what is sent once connected; a line ends with `\\r\\n`";
        /// What has to be found in what the server says; `None`: it need say nothing.
        expect: one Pattern, optional "\"^220 \"", pattern,
            "tcp: a regular expression that has to be found in the first 16 KiB that come; without it, the connection is enough";
    }
}

impl Kind for Tcp {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] = &[endpoint::Written::KEYS];
    const DESCRIPTORS: u64 = 1;

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn request(&self, at: &str) -> String {
        format!("for a connection to TCP port {} at {at}", self.port)
    }

    fn write(written: &Written, out: &mut Out) {
        written.write(out);
    }
}
