//! Tests with this host's own kernel, which answers at its loopback addresses.

use std::net::IpAddr;

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::tls::tests::text_of;

async fn probe(vip: &str, lines: &str) -> String {
    let vip: IpAddr = vip.parse().unwrap();
    let target = Target::of_test(vip, a_check(lines), Duration::from_secs(20));
    let ProbeConfig::Icmp(icmp) = &target.config.probe else { panic!("no icmp") };
    text_of(&IcmpProbe::of(&Prober::new(Files::new()), &target, icmp).probe().await)
}

/// Whether this host lets the test ping depends on its sysctl; `tests/check_servers.rs` sets it in a network namespace.
#[tokio::test]
async fn the_kernel_echoes_or_says_that_it_does_not_permit_it() {
    let denied = "fail: this host does not let the group of announcer ping: `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`; the units of announcer do not set it";
    let first = probe("127.0.1.57", "icmp = 56").await;
    assert!(first == "pass: echo reply" || first == denied, "{first}");
    for (vip, lines) in [
        ("127.0.1.57", "icmp = 0"),
        ("127.0.1.57", "icmp = 8972"),
        ("::1", "icmp = 56"),
        ("192.0.2.80", "icmp = 56\ntarget = \"127.0.1.57\""),
    ] {
        assert_eq!(probe(vip, lines).await, first, "{vip} {lines}");
    }
    if first != denied {
        assert_eq!(probe("192.0.2.80", "icmp = 56").await, "fail: the VIP is not on this host");
    }
}
