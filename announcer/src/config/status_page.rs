//! `[status]`.
//!
//! Pure.

use std::net::SocketAddr;

use super::keys::Section;
use super::metrics::host;
use super::table::table;
use super::value::listen;

pub(super) const SECTION: Section = Section {
    header: "[status]",
    doc: "The status page, which only shows; without the table, there is none.",
    keys: &[&[Written::KEYS]],
};

table! {
    /// `[status]`.
    pub struct StatusPageConfig as Written {
        /// The address and port to listen on; the port is not 0.
        listen: one SocketAddr, required "\"127.0.0.1:9180\"", listen,
            "address and port of the status page, as in `[::1]:9180` too; everyone who can connect can read names, addresses and reasons";
        /// Names under which clients may reach the page, besides addresses and `localhost`.
        hosts: list String, optional "[\"fe1.example.com\"]", host,
            "names under which the page may be asked, besides addresses and `localhost`; a request for another name is refused, so that no other web page can read this one through an operator's browser";
    }
}
