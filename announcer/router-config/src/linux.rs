//! Commands for a router that is a Linux host: the hash policy, the access list, and the routes of last resort.
//!
//! They are comments that begin with `$`. announcer's tests run them.

use crate::facts::{Facts, Family};
use crate::text::Text;

/// The hash policy of ECMP.
pub(crate) fn hash_policy(facts: &Facts, text: &mut Text) {
    text.note(
        "ECMP by ports too, on the router's host; keep the lines in /etc/sysctl.d. Without them, all connections of one client go to \
         the same frontend.",
    );
    for family in &facts.families {
        text.shell(&format!("sysctl -w net.{}.fib_multipath_hash_policy=1", family.word()));
    }
}

/// The access list: packets to the VIPs pass only to the ports of the services.
pub(crate) fn access_list(facts: &Facts, text: &mut Text) {
    if facts.ports.is_empty() {
        text.note("No access list: no check probes a TCP port of the VIPs.");
        return;
    }
    text.note(&format!(
        "The access list, on the router's host: the VIPs answer ICMP and TCP port {}, the ports that the checks probe. Add other \
         ports of the services, such as UDP 443 for QUIC. Keep it in /etc/nftables.conf.",
        facts.ports(" and ")
    ));
    text.shell("nft add table inet announcer");
    text.shell("nft flush table inet announcer");
    text.shell("nft 'add chain inet announcer forward { type filter hook forward priority filter; }'");
    for family in &facts.families {
        let prefixes = facts.cover(*family);
        let (ip, icmp) = match family {
            Family::Ipv4 => ("ip", "icmp"),
            Family::Ipv6 => ("ip6", "ipv6-icmp"),
        };
        let list: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        let vips = format!("{ip} daddr {{ {} }}", list.join(", "));
        let ports = facts.ports(", ");
        for verdict in
            [format!("meta l4proto {icmp} accept"), format!("tcp dport {{ {ports} }} accept"), "drop".into()]
        {
            text.shell(&format!("nft 'add rule inet announcer forward {vips} {verdict}'"));
        }
    }
}

/// The routes of last resort, for a BGP daemon that has no static routes of its own.
pub(crate) fn blackholes(facts: &Facts, text: &mut Text) {
    for family in &facts.families {
        let ip = match family {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip -6",
        };
        for prefix in facts.cover(*family) {
            text.shell(&format!("{ip} route replace blackhole {prefix} metric 4294967295"));
        }
    }
}
