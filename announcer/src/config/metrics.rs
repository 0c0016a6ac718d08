//! `[metrics]`.
//!
//! Pure.

use std::net::SocketAddr;

use super::keys::Section;
use super::table::table;
use super::value::listen;

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
    }
}
