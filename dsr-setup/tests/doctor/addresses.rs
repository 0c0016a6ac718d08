//! The VIPs as addresses of the host.

use crate::common::is_root;
use crate::fault;
use crate::lan::{Lan, VIP};

pub(crate) fn vip_missing() {
    fault(|lan| lan.host("ip addr del 192.0.2.80/32 dev lo"), &[], &["error vip-missing 192.0.2.80"]);
}

pub(crate) fn lo_down() {
    // Without lo, no route leads to the IPv6 VIP either.
    fault(|lan| lan.host("ip link set lo down"), &["--vip", VIP], &["error lo-down"]);
}

/// Duplicate address detection waits while its interface has no carrier, and goes on for a second after that.
pub(crate) fn vip_tentative() {
    fault(
        |lan| {
            lan.host("ip -6 addr del 2001:db8::80/128 dev lo");
            lan.set("net/ipv6/conf/eth0/dad_transmits", 120);
            lan.set("net/ipv6/conf/eth0/accept_dad", 1);
            lan.host("ip -6 addr add 2001:db8::80/128 dev eth0");
        },
        &[],
        &["error vip-tentative 2001:db8::80", "error vip-on-other-interface 2001:db8::80"],
    );
}

pub(crate) fn vip_dadfailed() {
    fault(
        |lan| {
            lan.host("ip -6 addr del 2001:db8::80/128 dev lo");
            lan.router("ip -6 addr add 2001:db8::80/128 dev r0 nodad");
            lan.set("net/ipv6/conf/eth0/accept_dad", 1);
            lan.host("ip -6 addr add 2001:db8::80/128 dev eth0");
            lan.until("dadfailed", || lan.host.run("ip -6 addr show dev eth0").contains("dadfailed"));
        },
        &["--director", "10.0.1.1", "--director", "2001:db8:1::1"],
        &["error vip-dadfailed 2001:db8::80", "error vip-on-other-interface 2001:db8::80"],
    );
}

pub(crate) fn vip_on_other_interface() {
    fault(
        |lan| {
            lan.host("ip addr del 192.0.2.80/32 dev lo");
            lan.host("ip addr add 192.0.2.80/32 dev eth0");
        },
        &[],
        &["error vip-on-other-interface 192.0.2.80"],
    );
}

pub(crate) fn vip_prefix_length() {
    fault(
        |lan| {
            lan.host("ip addr del 192.0.2.80/32 dev lo");
            lan.host("ip addr add 192.0.2.80/24 dev lo scope link");
        },
        &[],
        &["error vip-prefix-length 192.0.2.80"],
    );
}

pub(crate) fn vip_in_connected_subnet() {
    fault(
        |lan| lan.host("ip addr add 192.0.2.11/24 dev eth0"),
        &[],
        &["warning vip-in-connected-subnet 192.0.2.80"],
    );
}

/// An address of ours that the configuration does not name any more.
pub(crate) fn a_vip_is_left_over() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    let config = lan.config(
        "[[peer]]\naddress = \"10.0.1.1\"\n[[service]]\nvips = [\"192.0.2.80\"]\n[[service.check]]\nhttp = \"http://x/\"\n",
    );
    let arguments = ["--config", config.to_str().unwrap()];
    lan.expect(&arguments, &["warning vip-left-over 2001:db8::80"]);
    lan.host("ip addr del 2001:db8::80/128 dev lo");
    lan.expect(&arguments, &[]);
    lan.stop_server();
    lan.serve("0.0.0.0:8080");
    lan.expect(&arguments, &["error server-not-listening 192.0.2.80"]);
}
