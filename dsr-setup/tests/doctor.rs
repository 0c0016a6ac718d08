//! `dsr-setup doctor` on hosts with real faults: each is made in its own network namespaces, and has to be named.
//!
//! `doctor` waits two seconds for answers: [`AT_ONCE`] tests run at the same time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod lan;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{is_root, named, run_tests};
use lan::{Lan, VIP, VIP6};

/// How many tests run at the same time, on any number of processors.
const AT_ONCE: usize = 4;
/// For the tests about processes: without root, `doctor` names those of every network namespace.
static PROCESSES: Mutex<()> = Mutex::new(());

fn main() -> ExitCode {
    let tests = named![
        keepalived_runs_in_this_namespace,
        vip_held_by_another_host,
        a_certificate_ends_soon_has_ended_or_begins_later,
        a_healthy_host_has_no_finding_and_everything_is_checked,
        vip_missing,
        lo_down,
        vip_tentative,
        vip_dadfailed,
        vip_on_other_interface,
        vip_prefix_length,
        vip_in_connected_subnet,
        arp_is_answered_by_these_settings,
        an_answer_to_arp_is_seen,
        a_vip_is_the_source_of_ipv4,
        a_vip_is_the_source_of_ipv6,
        rp_filter_is_strict_where_answers_leave_elsewhere,
        no_return_route,
        a_rule_catches_the_vip,
        the_mtu_is_above_that_of_the_path,
        the_firewall_drops_the_vip,
        the_firewall_drops_icmp_errors,
        invalid_packets_are_dropped,
        a_syn_is_not_answered,
        no_packet_arrives,
        conntrack_is_full,
        the_server_does_not_listen,
        the_server_listens_for_the_other_family,
        the_server_listens_on_loopback_only,
        the_backlog_overflows,
        syn_cookies_are_always_used,
        redirects_are_sent,
        several_next_hops_are_chosen_by_addresses_alone,
        one_mac_answers_for_several_hosts,
        keepalived_manages_the_vip,
        a_vip_is_left_over,
        two_faults_at_once_are_two_findings,
        wrong_usage_is_exit_code_2,
        without_root_it_says_what_it_could_not_check,
    ];
    run_tests(AT_ONCE, tests, &[])
}

/// A fault: what makes it, and the findings that doctor has to report, as `severity code`.
fn fault(make: impl FnOnce(&Lan), arguments: &[&str], want: &[&str]) {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    make(&lan);
    lan.expect(arguments, want);
}

fn a_healthy_host_has_no_finding_and_everything_is_checked() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    assert_eq!(lan.text(&[]), (0, String::new(), String::new()));
    lan.expect(&[], &[]);
    lan.expect(&["--director", "10.0.1.1", "--client", "198.51.100.7", "--port", "80"], &[]);
}

fn vip_missing() {
    fault(|lan| lan.host("ip addr del 192.0.2.80/32 dev lo"), &[], &["error vip-missing 192.0.2.80"]);
}

fn lo_down() {
    // Without lo, no route leads to the IPv6 VIP either.
    fault(|lan| lan.host("ip link set lo down"), &["--vip", VIP], &["error lo-down"]);
}

/// Duplicate address detection waits while its interface has no carrier, and goes on for a second after that.
fn vip_tentative() {
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

fn vip_dadfailed() {
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

fn vip_on_other_interface() {
    fault(
        |lan| {
            lan.host("ip addr del 192.0.2.80/32 dev lo");
            lan.host("ip addr add 192.0.2.80/32 dev eth0");
        },
        &[],
        &["error vip-on-other-interface 192.0.2.80"],
    );
}

fn vip_prefix_length() {
    fault(
        |lan| {
            lan.host("ip addr del 192.0.2.80/32 dev lo");
            lan.host("ip addr add 192.0.2.80/24 dev lo scope link");
        },
        &[],
        &["error vip-prefix-length 192.0.2.80"],
    );
}

fn vip_in_connected_subnet() {
    fault(
        |lan| lan.host("ip addr add 192.0.2.11/24 dev eth0"),
        &[],
        &["warning vip-in-connected-subnet 192.0.2.80"],
    );
}

fn vip_held_by_another_host() {
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

fn arp_is_answered_by_these_settings() {
    fault(|lan| lan.set("net/ipv4/conf/all/arp_ignore", 0), &[], &["error arp-answered"]);
}

/// The settings are wrong, and a neighbour asks while doctor looks: the answer of this host is seen too.
fn an_answer_to_arp_is_seen() {
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

fn a_vip_is_the_source_of_ipv4() {
    fault(
        |lan| lan.host("ip route replace default via 10.0.1.1 src 192.0.2.80"),
        &[],
        &["error vip-is-source 192.0.2.80"],
    );
}

/// The only IPv6 address that is not link-local is the VIP.
fn a_vip_is_the_source_of_ipv6() {
    fault(
        |lan| lan.host("ip -6 addr del 2001:db8:1::11/64 dev eth0"),
        &[],
        &["error vip-is-source 2001:db8::80"],
    );
}

fn rp_filter_is_strict_where_answers_leave_elsewhere() {
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

fn no_return_route() {
    fault(
        |lan| {
            lan.host("ip route del default");
            lan.host("ip -6 route replace unreachable default");
        },
        &[],
        &["error no-return-route 192.0.2.80", "error no-return-route 2001:db8::80"],
    );
}

fn a_rule_catches_the_vip() {
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
fn the_mtu_is_above_that_of_the_path() {
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

fn the_firewall_drops_the_vip() {
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

fn the_firewall_drops_icmp_errors() {
    fault(
        |lan| lan.nft("ct state { related, new } iifname \"eth0\" icmp type destination-unreachable drop"),
        &[],
        &["error firewall-drops-icmp-errors 192.0.2.80"],
    );
}

fn invalid_packets_are_dropped() {
    fault(
        |lan| lan.nft("ct state invalid drop"),
        &[],
        &["warning conntrack-invalid-dropped 192.0.2.80", "warning conntrack-invalid-dropped 2001:db8::80"],
    );
}

/// The packet filter drops what the rules here cannot decide: packets of a mark that a program sets. The capture shows it.
fn a_syn_is_not_answered() {
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

fn no_packet_arrives() {
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
fn conntrack_is_full() {
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

fn the_server_does_not_listen() {
    fault(
        Lan::stop_server,
        &[],
        &["error server-not-listening 192.0.2.80", "error server-not-listening 2001:db8::80"],
    );
}

fn the_server_listens_for_the_other_family() {
    fault(
        |lan| {
            lan.stop_server();
            lan.serve("0.0.0.0:80");
        },
        &[],
        &["error server-other-family 2001:db8::80"],
    );
}

fn the_server_listens_on_loopback_only() {
    fault(
        |lan| {
            lan.stop_server();
            lan.serve("127.0.0.1:80");
            lan.serve("[2001:db8::80]:80");
        },
        &["--vip", VIP, "--vip", VIP6],
        &["error server-on-loopback-address 192.0.2.80"],
    );
    fault(
        |lan| {
            lan.stop_server();
            lan.serve("127.0.0.1:80");
        },
        &["--vip", VIP],
        &["error server-on-loopback-address 192.0.2.80"],
    );
}

/// A server that never accepts, with room for one connection.
fn the_backlog_overflows() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.stop_server();
    let server = lan.inside_host(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"[::]:80".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(1).unwrap();
        socket
    });
    let server = server.join().unwrap();
    let clients = lan.inside_host(|| {
        let connect = |_| {
            TcpStream::connect_timeout(&SocketAddr::new(VIP.parse().unwrap(), 80), Duration::from_millis(300))
        };
        (0..4).map(connect).collect::<Vec<_>>()
    });
    let clients = clients.join().unwrap();
    assert!(clients.iter().any(Result::is_err), "every connection was accepted");
    lan.expect(&[], &["error backlog-overflow"]);
    let (_, text, _) = lan.text(&[]);
    assert!(text.contains("connections wait at [::]:80 until the server accepts them, and 1 may"), "{text}");
    assert!(text.contains("TcpExtListenOverflows"), "{text}");
    drop(server);
}

fn syn_cookies_are_always_used() {
    fault(|lan| lan.set("net/ipv4/tcp_syncookies", 2), &[], &["warning syn-cookies"]);
}

fn redirects_are_sent() {
    fault(|lan| lan.set("net/ipv4/ip_forward", 1), &[], &["warning icmp-redirects"]);
}

fn several_next_hops_are_chosen_by_addresses_alone() {
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

fn a_certificate_ends_soon_has_ended_or_begins_later() {
    if !is_root() {
        return;
    }
    for (begins, ends, want) in [
        (-1, 90, vec![]),
        (-1, 3, vec!["warning certificate-ends 192.0.2.80", "warning certificate-ends 2001:db8::80"]),
        (-9, -1, vec!["error certificate-ends 192.0.2.80", "error certificate-ends 2001:db8::80"]),
        (2, 90, vec!["error clock-wrong 192.0.2.80", "error clock-wrong 2001:db8::80"]),
    ] {
        let lan = Lan::healthy();
        let _server = lan.tls_server(begins, ends);
        lan.expect(&[], &want);
    }
}

fn one_mac_answers_for_several_hosts() {
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
fn keepalived_manages_the_vip() {
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
fn keepalived_runs_in_this_namespace() {
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

/// An address of ours that the configuration does not name any more.
fn a_vip_is_left_over() {
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

fn two_faults_at_once_are_two_findings() {
    fault(
        |lan| {
            lan.host("ip addr del 2001:db8::80/128 dev lo");
            lan.set("net/ipv4/conf/all/arp_ignore", 0);
        },
        &[],
        &["error arp-answered", "error vip-missing 2001:db8::80"],
    );
}

fn wrong_usage_is_exit_code_2() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    for arguments in [
        &["--vip", "localhost"][..],
        &["--vip", VIP, "--listen", "0"],
        &["--vip", VIP, "--port", "0"],
        &["--vip", VIP, "--director", "r1"],
        &["--config", "/nonexistent/announcer.toml"],
    ] {
        let (code, printed, errors) = lan.text(arguments);
        assert_eq!(
            (code, printed.as_str(), errors.starts_with("error: ")),
            (2, "", true),
            "{arguments:?}: {errors}"
        );
    }
}

/// Without capabilities, what is left is checked, and the rest is named.
fn without_root_it_says_what_it_could_not_check() {
    if !is_root() {
        return;
    }
    let _alone = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
    let lan = Lan::healthy();
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let (code, text, errors) = lan.doctor(&nobody, &["--listen", "1"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let gaps = [
        "not checked: firewall-drops-vip, firewall-drops-icmp-errors, conntrack-invalid-dropped: needs CAP_NET_ADMIN: run it with sudo\n",
        "not checked: vip-held-by-other, one-mac-for-several, mtu-above-path, no-packet, syn-unanswered: needs CAP_NET_RAW: run it with \
         sudo\n",
    ];
    assert_eq!(text, gaps.concat());
    lan.host("ip addr del 192.0.2.80/32 dev lo");
    let (code, text, _) = lan.doctor(&nobody, &[]);
    assert_eq!(code, 1);
    assert!(
        text.starts_with("error: 192.0.2.80 is on no interface of this host\n  code: vip-missing, "),
        "{text}"
    );
}
