//! The packet filter, connection tracking, and which packets arrive.

use std::time::Duration;

use crate::common::is_root;
use crate::fault;
use crate::lan::{Lan, VIP};

pub(crate) fn the_firewall_drops_the_vip() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.nft("tcp dport 80 ip daddr 192.0.2.0/24 drop");
    lan.expect(&["--port", "80"], &["error firewall-drops-vip 192.0.2.80"]);
    let text = lan.text(&["--port", "80"]).1;
    let seen = "connections to 192.0.2.80 port 80 that arrive by eth0 are dropped by the rule `tcp dport 80 ip daddr 192.0.2.0/24 drop` of chain `inet f input`";
    assert!(text.contains(seen), "{text}");
}

pub(crate) fn the_firewall_drops_icmp_errors() {
    fault(
        |lan| lan.nft("ct state { related, new } iifname \"eth0\" icmp type destination-unreachable drop"),
        &[],
        &["error firewall-drops-icmp-errors 192.0.2.80"],
    );
}

pub(crate) fn invalid_packets_are_dropped() {
    fault(
        |lan| lan.nft("ct state invalid drop"),
        &[],
        &["warning conntrack-invalid-dropped 192.0.2.80", "warning conntrack-invalid-dropped 2001:db8::80"],
    );
}

/// The packet filter drops what the rules here cannot decide: packets of a mark that a program sets. The capture shows it.
pub(crate) fn a_syn_is_not_answered() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.nft("tcp dport 80 limit rate over 1/hour burst 1 packets drop");
    lan.expect(&[], &[]);
    let asking = lan.connect_from_router(Duration::from_secs(4));
    lan.expect(&["--listen", "3", "--vip", VIP], &["error syn-unanswered 192.0.2.80"]);
    asking.join().unwrap();
}

pub(crate) fn no_packet_arrives() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.expect(&["--listen", "1"], &["warning no-packet 192.0.2.80", "warning no-packet 2001:db8::80"]);
    let asking = lan.connect_from_router(Duration::from_secs(4));
    lan.expect(&["--listen", "2"], &["warning no-packet 2001:db8::80"]);
    asking.join().unwrap();
}

/// The namespace fills its table: its limit is that of the whole kernel, so that the entries have to be real.
pub(crate) fn conntrack_is_full() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.nft("ct state established accept");
    let max: usize = lan.host.run("cat /proc/sys/net/netfilter/nf_conntrack_max").trim().parse().unwrap();
    lan.router("ip route add 192.0.2.80/32 via 10.0.1.11");
    lan.fill_conntrack(max);
    let (code, text, _) = lan.text(&["--vip", VIP]);
    assert!(text.contains("code: conntrack-full"), "{code} {text}");
}
