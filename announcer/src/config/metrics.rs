//! `[metrics]`.
//!
//! Pure.

use std::net::SocketAddr;

use super::keys::Section;
use super::table::table;
use super::value::{Value, ValueError, host_name, listen, text};

pub(super) const SECTION: Section = Section {
    header: "[metrics]",
    doc: "Metrics for Prometheus; without the table, there are none.",
    keys: &[&[Written::KEYS]],
};

table! {
    /// `[metrics]`.
    pub struct MetricsConfig as Written {
        /// The address and port to listen on; the port is not 0.
        listen: one SocketAddr, required "\"127.0.0.1:9179\"", listen,
            "address and port of `/metrics`, as in `[::1]:9179` too; everyone who can connect can read the metrics";
        /// Names under which clients may reach the listener, besides addresses and `localhost`.
        hosts: list String, optional "[\"fe1.example.com\"]", host,
            "names under which the listener may be asked, besides addresses and `localhost`; a request for another name is refused, so that no web page can read the metrics through an operator's browser";
    }
}

/// The name of a host.
pub(super) fn host(value: &Value<'_>) -> Result<String, ValueError> {
    let text = text(value)?;
    host_name(text)?;
    Ok(text.to_owned())
}
