//! Who answers for the VIPs on the LAN, and who else manages them.

use std::net::UdpSocket;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::common::is_root;
use crate::lan::{Lan, VIP};
use crate::{PROCESSES, fault};

pub(crate) fn vip_held_by_another_host() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.router("ip addr add 192.0.2.80/32 dev r0");
    lan.router("ip -6 addr add 2001:db8::80/128 dev r0 nodad");
    lan.expect(&[], &["warning vip-held-by-other 192.0.2.80", "warning vip-held-by-other 2001:db8::80"]);
    let mac = Lan::mac(&lan.router, "r0");
    let text = lan.text(&[]).1;
    assert!(text.contains(&format!("{} answered ARP for 192.0.2.80 on eth0", mac)), "{text}");
    assert!(text.contains("if that is the director, name its address with `--director`, or in `[dsr] directors` of the configuration"), "{text}");

    // The director answers rightly, in one of its addresses or in several; another host does not.
    lan.expect(&["--director", "10.0.1.1"], &[]);
    let errors = ["error vip-held-by-other 192.0.2.80", "error vip-held-by-other 2001:db8::80"];
    lan.expect(&["--director", "10.0.1.77"], &errors);

    // The same by the configuration, and by both.
    let services = "[[service]]\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n";
    let warnings = ["warning vip-held-by-other 192.0.2.80", "warning vip-held-by-other 2001:db8::80"];
    for (directors, options, want) in [
        ("", &[][..], &warnings[..]),
        ("[dsr]\ndirectors = [\"10.0.1.1\"]\n", &[], &[]),
        ("[dsr]\ndirectors = [\"10.0.1.77\"]\n", &[], &errors),
        ("[dsr]\ndirectors = [\"10.0.1.77\"]\n", &["--director", "10.0.1.1"], &[]),
    ] {
        let path = lan.config(&format!("{services}{directors}"));
        lan.expect(&[&["--config", path.to_str().unwrap()], options].concat(), want);
    }
    let path = lan.config(&format!("{services}[dsr]\ndirectors = [\"relayd\"]\n"));
    let refused = lan.text(&["--config", path.to_str().unwrap()]);
    assert_eq!((refused.0, refused.1.as_str()), (2, ""));
    assert!(refused.2.contains("announcer.toml:4:14: `relayd` is not an IP address"), "{}", refused.2);
}

pub(crate) fn arp_is_answered_by_these_settings() {
    fault(|lan| lan.set("net/ipv4/conf/all/arp_ignore", 0), &[], &["error arp-answered"]);
}

/// The settings are wrong, and a neighbour asks while doctor looks: the answer of this host is seen too.
pub(crate) fn an_answer_to_arp_is_seen() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.set("net/ipv4/conf/all/arp_ignore", 0);
    lan.router("ip route add 192.0.2.80/32 dev r0");
    let asking = lan.inside_router(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let _ = socket.send_to(b"x", (VIP, 9));
            // The next packet asks again.
            let mut flush = std::process::Command::new("ip");
            assert!(flush.args(["neigh", "flush", "dev", "r0"]).status().unwrap().success());
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mac = Lan::mac(&lan.host, "eth0");
    let text = lan.text(&[]).1;
    asking.join().unwrap();
    let seen = format!("this host answered ARP for 192.0.2.80 by eth0, with its own address {}", mac);
    assert!(text.contains(&seen) && text.contains("net.ipv4.conf.all.arp_ignore = 0"), "{text}");
}

pub(crate) fn one_mac_answers_for_several_hosts() {
    fault(
        |lan| {
            // Proxy ARP answers for what is routed by another interface.
            lan.second_segment();
            lan.router("ip route add default via 10.0.2.11");
            lan.router("sysctl -q -w net.ipv4.conf.r0.proxy_arp=1 net.ipv4.ip_forward=1");
        },
        &["--director", "10.0.1.1"],
        &["warning one-mac-for-several"],
    );
}

/// keepalived marks its addresses with the protocol of its routes.
pub(crate) fn keepalived_manages_the_vip() {
    fault(
        |lan| {
            lan.host("ip addr del 192.0.2.80/32 dev lo");
            lan.add_with_protocol(18);
        },
        &[],
        &["error second-manager 192.0.2.80"],
    );
}

/// A process with the name of keepalived, in the namespace of the host, and one in that of the router, which does not count.
pub(crate) fn keepalived_runs_in_this_namespace() {
    if !is_root() {
        return;
    }
    let _alone = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
    let lan = Lan::healthy();
    let _elsewhere = lan.process_named("keepalived", &lan.router);
    lan.expect(&[], &[]);
    for (name, who) in [("keepalived", "keepalived"), ("kube-vip", "kube-vip"), ("speaker", "MetalLB")] {
        let _process = lan.process_named(name, &lan.host);
        lan.expect(&[], &["warning second-manager"]);
        let text = lan.text(&[]).1;
        assert!(text.contains(&format!("runs in this network namespace: {who} manages addresses")), "{text}");
    }
    lan.expect(&[], &[]);
}
