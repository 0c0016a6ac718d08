//! `dsr-setup doctor` on hosts with real faults: each is made in its own network namespaces, and has to be named.
//!
//! `doctor` waits two seconds for answers: [`AT_ONCE`] tests run at the same time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "doctor/addresses.rs"]
mod addresses;
mod common;
mod lan;
#[path = "doctor/neighbours.rs"]
mod neighbours;
#[path = "doctor/routing.rs"]
mod routing;
#[path = "doctor/server.rs"]
mod server;
#[path = "doctor/traffic.rs"]
mod traffic;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use common::{is_root, named, run_tests};
use lan::{Lan, VIP};

/// How many tests run at the same time, on any number of processors.
const AT_ONCE: usize = 4;
/// For the tests about processes: without root, `doctor` names those of every network namespace.
static PROCESSES: Mutex<()> = Mutex::new(());

fn main() -> ExitCode {
    let tests = named![
        neighbours::keepalived_runs_in_this_namespace,
        neighbours::vip_held_by_another_host,
        server::a_certificate_ends_soon_has_ended_or_begins_later,
        a_healthy_host_has_no_finding_and_everything_is_checked,
        addresses::vip_missing,
        addresses::lo_down,
        addresses::vip_tentative,
        addresses::vip_dadfailed,
        addresses::vip_on_other_interface,
        addresses::vip_prefix_length,
        addresses::vip_in_connected_subnet,
        neighbours::arp_is_answered_by_these_settings,
        neighbours::an_answer_to_arp_is_seen,
        routing::a_vip_is_the_source_of_ipv4,
        routing::a_vip_is_the_source_of_ipv6,
        routing::rp_filter_is_strict_where_answers_leave_elsewhere,
        routing::no_return_route,
        routing::a_rule_catches_the_vip,
        routing::the_mtu_is_above_that_of_the_path,
        traffic::the_firewall_drops_the_vip,
        traffic::the_firewall_drops_icmp_errors,
        traffic::invalid_packets_are_dropped,
        traffic::a_syn_is_not_answered,
        traffic::no_packet_arrives,
        traffic::conntrack_is_full,
        server::the_server_does_not_listen,
        server::the_server_listens_for_the_other_family,
        server::the_server_listens_on_loopback_only,
        server::the_backlog_overflows,
        server::syn_cookies_are_always_used,
        routing::redirects_are_sent,
        routing::several_next_hops_are_chosen_by_addresses_alone,
        neighbours::one_mac_answers_for_several_hosts,
        neighbours::keepalived_manages_the_vip,
        addresses::a_vip_is_left_over,
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
