//! The ways of packets.

use std::net::UdpSocket;

use crate::common::is_root;
use crate::fault;
use crate::lan::{Lan, VIP};

pub(crate) fn a_vip_is_the_source_of_ipv4() {
    fault(
        |lan| lan.host("ip route replace default via 10.0.1.1 src 192.0.2.80"),
        &[],
        &["error vip-is-source 192.0.2.80"],
    );
}

/// The only IPv6 address that is not link-local is the VIP.
pub(crate) fn a_vip_is_the_source_of_ipv6() {
    fault(
        |lan| lan.host("ip -6 addr del 2001:db8:1::11/64 dev eth0"),
        &[],
        &["error vip-is-source 2001:db8::80"],
    );
}

pub(crate) fn rp_filter_is_strict_where_answers_leave_elsewhere() {
    fault(
        |lan| {
            lan.second_segment();
            lan.set("net/ipv4/conf/eth0/rp_filter", 1);
            lan.host("ip route replace default via 10.0.2.1");
            // Such a packet is dropped, and the counter says so.
            lan.router("ip route add 192.0.2.80/32 via 10.0.1.11");
            lan.router("ip addr add 198.51.100.7/32 dev lo");
            let sent = lan.inside_router(|| {
                let socket = UdpSocket::bind("198.51.100.7:0").unwrap();
                socket.send_to(b"x", (VIP, 9)).unwrap();
            });
            sent.join().unwrap();
            lan.until("drop", || lan.text(&[]).1.contains("it has dropped 1 for this reason"));
        },
        &[],
        &["error rp-filter-strict"],
    );
}

pub(crate) fn no_return_route() {
    fault(
        |lan| {
            lan.host("ip route del default");
            lan.host("ip -6 route replace unreachable default");
        },
        &[],
        &["error no-return-route 192.0.2.80", "error no-return-route 2001:db8::80"],
    );
}

pub(crate) fn a_rule_catches_the_vip() {
    fault(
        |lan| {
            lan.host("ip route add default via 10.0.1.1 table 100");
            lan.host("ip rule add from 192.0.2.0/24 lookup 100 priority 1000");
            lan.host("ip -6 rule add from 2001:db8::80 blackhole priority 1000");
        },
        &[],
        &[
            "error no-return-route 2001:db8::80",
            "error rule-catches-vip 2001:db8::80",
            "warning rule-catches-vip 192.0.2.80",
        ],
    );
}

/// The other end of the cable takes packets of 1400 octets only, and says nothing.
pub(crate) fn the_mtu_is_above_that_of_the_path() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.router("ip link set r0 mtu 1400");
    lan.expect(&[], &["warning mtu-above-path", "warning mtu-above-path"]);
    let text = lan.text(&[]).1;
    let seen = "10.0.1.1 answers packets of 1400 octets and none of 1500, which is the MTU of eth0";
    assert!(text.contains(seen), "{text}");
}

pub(crate) fn redirects_are_sent() {
    fault(|lan| lan.set("net/ipv4/ip_forward", 1), &[], &["warning icmp-redirects"]);
}

pub(crate) fn several_next_hops_are_chosen_by_addresses_alone() {
    fault(
        |lan| {
            lan.second_segment();
            lan.set("net/ipv4/ip_forward", 1);
            for interface in ["all", "eth0", "eth1"] {
                lan.set(&format!("net/ipv4/conf/{interface}/send_redirects"), 0);
            }
            lan.host("ip route replace default nexthop via 10.0.1.1 nexthop via 10.0.2.1");
        },
        &[],
        &["warning multipath-hash-policy"],
    );
}
