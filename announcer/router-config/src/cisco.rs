//! What the systems with Cisco's grammar share: prefix lists, route maps and access lists.

use ipnet::IpNet;

use crate::facts::{Facts, Family};
use crate::text::Text;

/// A host as `host 192.0.2.80`, a network as it is written.
pub(crate) fn host_or_prefix(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        format!("host {}", prefix.addr())
    } else {
        prefix.to_string()
    }
}

/// The names of the families for `permit`: `icmp` or the system's word for ICMPv6.
pub(crate) fn icmp(family: Family, v6: &'static str) -> &'static str {
    match family {
        Family::Ipv4 => "icmp",
        Family::Ipv6 => v6,
    }
}

/// The note above an access list.
pub(crate) fn access_list_note(facts: &Facts, text: &mut Text) {
    text.note(&format!(
        "The access list for the interfaces on which clients arrive: the VIPs answer ICMP and TCP port {}, the ports that the checks \
         probe. Add other ports of the services, such as UDP 443 for QUIC.",
        facts.ports(" and ")
    ));
}

/// The note above a configuration without an access list.
pub(crate) fn no_access_list(text: &mut Text) {
    text.note("No access list: no check probes a TCP port of the VIPs.");
}

/// Route maps for IOS XE, NX-OS and EOS, in their common form; `indent` is one step of indentation.
pub(crate) fn route_maps(facts: &Facts, indent: &str, text: &mut Text) {
    text.note("A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice. Nothing is advertised to the frontends.");
    for family in &facts.families {
        let (ip, digit) = (family.ip(), family.digit());
        let list = format!("{indent}match {ip} address prefix-list ANNOUNCER-VIPS{digit}");
        text.lines([
            format!("route-map ANNOUNCER-IN{digit} permit 10"),
            list.clone(),
            format!("{indent}match community ANNOUNCER-GSHUT"),
            format!("{indent}set local-preference 0"),
            format!("route-map ANNOUNCER-IN{digit} permit 20"),
            list,
        ]);
    }
    text.line("route-map ANNOUNCER-OUT deny 10");
    text.line("!");
}

/// The notes above the prefix lists and above the routes of last resort.
pub(crate) const ACCEPTED: &str =
    "Exactly the announced prefixes are accepted; everything else that a frontend sends is refused.";
/// The same above the routes of last resort.
pub(crate) const LAST_RESORT: &str = "Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it: their distance is lower than 250.";
