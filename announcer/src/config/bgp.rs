//! `[bgp]`.
//!
//! Pure.

use std::time::Duration;

use super::address::router_id;
use super::keys::Section;
use super::table::table;
use super::value::{MINUTE, asn, restart_time, within};
use crate::model::{Asn, RouterId};

pub(super) const SECTION: Section =
    Section { header: "[bgp]", doc: "This host, as a BGP speaker.", keys: &[&[Written::KEYS]] };

table! {
    /// `[bgp]`.
    pub struct BgpConfig as Written {
        /// Our AS.
        asn: one Asn, required "65001", asn,
            "the AS of this host; on the router: `neighbor … remote-as 65001`";
        /// `None`: the IPv4 source address towards the first peer is used.
        router_id: one RouterId, optional "\"10.0.1.11\"", router_id,
            "the BGP identifier; without it, the IPv4 source address towards the first peer";
        /// The time that a router's FIB needs to follow its BGP table. A stop, `drain --wait` and the removal of a VIP wait for it
        /// after the withdraw.
        settle: one Duration, default "\"1s\"", within(Duration::ZERO..=MINUTE),
            "the time that a router's FIB may need to follow its BGP; 0s to 1m";
        /// 1 to 4095 whole seconds: how long routers keep our routes without a session (RFC 4724); `None`: they do not keep them.
        graceful_restart: one Duration, optional "\"10s\"", restart_time,
            "how long routers keep our routes after the daemon dies (RFC 4724), and therefore also after the host dies; without it, they do not keep them; 1s to 1h8m15s";
    }
}
