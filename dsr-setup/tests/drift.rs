//! Tests what happens when the host is not as `apply` leaves it: `check`, the next `apply`, `remove`, and an `apply` that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod host;

use std::process::Stdio;
use std::time::Instant;

use common::is_root;
use dsr_setup::io::vips::PROTOCOL;
use dsr_setup::plan::{DesiredState, Forwarding, plan};
use host::{Host, VIPS, done};
use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressProtocol, AddressScope, CacheInfo,
};

/// Runs `body` on a thread inside the host's namespace.
fn inside<T: Send + 'static>(host: &Host, body: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let path = format!("/proc/{}/ns/net", host.netns.pid());
    let thread = std::thread::spawn(move || {
        nix::sched::setns(std::fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(body())
    });
    thread.join().unwrap()
}

/// Puts an address with our mark on an interface, in another way than dsr-setup does. ip(8) of Debian 12 cannot set the mark. The words:
/// `global` or `link`, `label=lo:x`, `preferred=SECONDS`, `valid=SECONDS`, `flags` for nodad and noprefixroute.
fn put_ours(host: &Host, index: u32, net: &str, words: &'static str) {
    let net: IpNet = net.parse().unwrap();
    inside(host, async move || {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let mut request = handle.address().add(index, net.addr(), net.prefix_len()).replace();
        let message = request.message_mut();
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_preferred, lifetime.ifa_valid) = (u32::MAX, u32::MAX);
        for word in words.split(' ') {
            match word.split_once('=') {
                Some(("label", label)) => message.attributes.push(AddressAttribute::Label(label.into())),
                Some(("preferred", seconds)) => lifetime.ifa_preferred = seconds.parse().unwrap(),
                Some((_, seconds)) => lifetime.ifa_valid = seconds.parse().unwrap(),
                None if word == "link" => message.header.scope = AddressScope::Link,
                None if word == "flags" => {
                    let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
                    message.attributes.push(AddressAttribute::Flags(flags));
                }
                None => assert_eq!(word, "global"),
            }
        }
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
        request.execute().await.unwrap();
    });
}

const LO: u32 = 1;

#[test]
fn check_says_what_has_drifted_and_apply_repairs_it() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.check().0, 1);
    assert_eq!(host.apply().0, 0);
    assert_eq!(host.check(), done(""));
    let drifted = |what: &str, drift: &str, step: &str| {
        assert_eq!(host.check(), (1, format!("{drift}\n"), String::new()), "{what}");
        assert_eq!(host.apply(), done(&format!("{step}\n")), "{what}");
        assert_eq!(host.check(), done(""), "{what}");
    };
    host.netns.run("ip addr del 192.0.2.80/32 dev lo");
    drifted("removed", "192.0.2.80/32 is not on lo", "add 192.0.2.80/32 to lo");
    put_ours(&host, LO, "192.0.2.80/32", "link valid=900 preferred=900");
    drifted("v4 lifetime", "192.0.2.80/32 is on lo for a limited time", "correct 192.0.2.80/32 on lo");
    put_ours(&host, LO, "2001:db8::80/128", "flags");
    drifted(
        "v6 lifetime",
        "2001:db8::80/128 is on lo with a preferred lifetime",
        "correct 2001:db8::80/128 on lo",
    );
    put_ours(&host, LO, "2001:db8::80/128", "preferred=0");
    drifted(
        "v6 flags",
        "2001:db8::80/128 is on lo without nodad and noprefixroute",
        "correct 2001:db8::80/128 on lo",
    );
    host.netns.set_sysctl("all/arp_ignore", 3);
    drifted(
        "setting",
        "net.ipv4.conf.all.arp_ignore is 3, so that this host answers ARP requests for the VIPs",
        "set net.ipv4.conf.all.arp_ignore = 1 (was 3)",
    );
    host.netns.run("ip link set lo down");
    let (code, said, _) = host.check();
    assert!(code == 1 && said.starts_with("lo is down, so that no address on it answers\n"), "{said}");
    assert_eq!(host.apply().0, 0);
    assert_eq!(host.check(), done(""));
    // It needs no capability.
    let without_cap = ["setpriv", "--bounding-set", "-net_admin"];
    assert_eq!(host.wrapped(&without_cap, &[&["check"], &VIPS[..]].concat()), done(""));
    // A change by another program takes the mark away, so that the address counts as that program's.
    host.netns.run("ip addr change 2001:db8::80/128 dev lo");
    let (code, said, _) = host.check();
    assert!(
        code == 1 && said.starts_with("2001:db8::80/128 is on lo with a preferred lifetime: this host may"),
        "{said}"
    );
    assert_eq!((host.apply().0, host.apply().1), (1, String::new()));
    host.netns.run("ip address del 2001:db8::80/128 dev lo");
    assert_eq!(host.apply(), done("add 2001:db8::80/128 to lo\n"));
}

/// An address with our mark that cannot be corrected in its place.
#[test]
fn a_vip_of_ours_with_another_prefix_length_scope_or_label_is_replaced() {
    if !is_root() {
        return;
    }
    for (net, words, vip, how) in [
        ("192.0.2.80/24", "link label=lo:vip", "192.0.2.80/32", "with the prefix length 24"),
        ("192.0.2.80/32", "global label=lo:vip", "192.0.2.80/32", "with scope global"),
        ("192.0.2.80/32", "link label=lo:x", "192.0.2.80/32", "without our label"),
        ("2001:db8::80/64", "flags preferred=0", "2001:db8::80/128", "with the prefix length 64"),
    ] {
        let host = Host::new();
        assert_eq!(host.apply().0, 0);
        host.netns.run(&format!("ip addr del {vip} dev lo"));
        put_ours(&host, LO, net, words);
        assert_eq!(host.check(), (1, format!("{net} is on lo {how}\n"), String::new()), "{net} {words}");
        assert_eq!(host.apply(), done(&format!("replace {net} on lo by {vip}\n")), "{net} {words}");
        assert_eq!(host.check(), done(""), "{net} {words}");
    }
    let host = Host::new();
    assert_eq!(host.apply().0, 0);
    put_ours(&host, LO, "192.0.2.80/24", "link label=lo:vip");
    assert_eq!(host.apply(), done("remove 192.0.2.80/24 from lo\n"));
    assert_eq!(host.check(), done(""));
}

#[test]
fn a_vip_of_ours_on_another_interface_is_moved() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip link add v0 index 7 type veth peer name v1");
    put_ours(&host, 7, "192.0.2.80/32", "global");
    put_ours(&host, 7, "2001:db8::99/128", "flags");
    let (code, stdout, _) = host.apply();
    assert_eq!(code, 0);
    assert!(stdout.ends_with("add 2001:db8::80/128 to lo\nremove 192.0.2.80/32 from v0\n"), "{stdout}");
    assert_eq!(host.check(), done(""));
    assert!(host.remove(&[]).1.contains("remove 2001:db8::99/128 from v0\n"));
    assert_eq!(host.netns.run("ip -o addr show dev v0"), "");
}

#[test]
fn another_interface_than_a_loopback_a_dummy_or_a_vrf_is_refused_with_what_to_do() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip link add v0 type veth peer name v1");
    for (name, want) in [
        (
            "v0",
            "error: `v0` is no loopback, no dummy and no VRF: this host would answer ARP and neighbour solicitations",
        ),
        (
            "vip0",
            "error: this host has no interface `vip0`: make it first, as in `ip link add vip0 type dummy`, on a kernel that has",
        ),
        ("a-name-that-is-much-too-long", "error: this host has no interface `a-name-that-is-much-too-long`"),
    ] {
        for command in ["plan", "apply", "check", "remove"] {
            let (code, stdout, stderr) = host.wrapped(&[], &[command, "192.0.2.80", "--device", name]);
            assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
            assert!(stderr.starts_with(want), "{command} {name}: {stderr}");
        }
    }
    assert_eq!(host.netns.sysctl("all/arp_ignore"), "0");
}

#[test]
fn plan_prints_json() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip link set lo up");
    host.netns.run("ip addr add 192.0.2.80/24 dev lo");
    for command in ["plan", "check"] {
        let (code, stdout, stderr) = host.wrapped(&[], &[&[command, "--json"], &VIPS[..]].concat());
        assert_eq!((code, stderr.as_str()), (1, ""));
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(json["steps"][0]["sysctl"], "net.ipv4.conf.all.arp_ignore", "{stdout}");
        assert_eq!(json["steps"][2]["address"], "2001:db8::80/128", "{stdout}");
        assert!(
            json["refused"][0].as_str().unwrap().starts_with("192.0.2.80/24 is on lo: this host"),
            "{stdout}"
        );
    }
}

/// Every setting below /proc/sys/net/ipv4, as a text.
fn settings(host: &Host) -> String {
    // A file that cannot be read is none of ours.
    let read = "cd /proc/sys/net/ipv4 && grep -rH . conf tcp_fwmark_accept 2>/dev/null | sort";
    let output = host.netns.command(&["sh", "-c", read]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A host with several interfaces, whose settings are all different from the kernel's defaults.
fn odd_host() -> Host {
    let host = Host::new();
    for line in [
        "ip link set lo up",
        "ip link add v0 type veth peer name v1",
        "ip link add v2.7 type veth peer name v3",
        "ip link set v0 up",
        "ip link set v1 up",
        "ip link set v2.7 up",
        "ip addr add 10.0.0.1/24 dev v0",
        "ip route add default via 10.0.0.2",
        "ip addr add 192.0.2.81/32 dev lo",
    ] {
        host.netns.run(line);
    }
    for (name, value) in [
        ("all/arp_announce", 1),
        ("default/arp_ignore", 4),
        ("v0/arp_ignore", 3),
        ("v1/arp_announce", 3),
        ("v2.7/arp_ignore", 2),
        ("v0/rp_filter", 1),
        ("v1/rp_filter", 1),
        ("v2.7/rp_filter", 1),
        ("v0/accept_local", 1),
    ] {
        host.netns.set_sysctl(name, value);
    }
    host
}

#[test]
fn remove_restores_every_setting_exactly() {
    if !is_root() {
        return;
    }
    let host = odd_host();
    let (before, lo) = (settings(&host), host.lo());
    assert!(before.contains("conf/v2.7/rp_filter:1\n"), "{before}");
    assert_eq!(host.apply().0, 0);
    let after = settings(&host);
    for set in [
        "conf/v1/rp_filter:2\n",
        "conf/v0/rp_filter:1\n",
        "conf/v0/arp_ignore:1\n",
        "conf/all/arp_announce:2\n",
    ] {
        assert!(after.contains(set), "{set}: {after}");
    }
    assert_eq!(host.remove(&[]).0, 0);
    assert_eq!((settings(&host), host.lo()), (before, lo));
}

/// Kills `apply` at many moments between its start and its end. The next one ends with the same host, and `remove` then restores all.
#[test]
fn an_apply_that_was_killed_at_any_moment_is_completed_by_the_next_one() {
    if !is_root() {
        return;
    }
    let host = odd_host();
    let (before, lo) = (settings(&host), host.lo());
    let begin = Instant::now();
    assert_eq!(host.apply().0, 0);
    let whole = begin.elapsed();
    let (applied, applied_lo) = (settings(&host), host.lo());
    assert_eq!(host.remove(&[]).0, 0);

    let (mut untouched, mut half, mut finished) = (0, 0, 0);
    const KILLS: u32 = 30;
    for n in 0..KILLS {
        let mut apply = host.netns.command(&[env!("CARGO_BIN_EXE_dsr-setup"), "apply"]);
        apply.args(VIPS).arg("--state-dir").arg(host.state_dir()).stdout(Stdio::null());
        let mut apply = apply.spawn().unwrap();
        std::thread::sleep(whole * n / KILLS);
        apply.kill().unwrap();
        apply.wait().unwrap();
        let found = (settings(&host), host.lo());
        if found == (before.clone(), lo.clone()) {
            untouched += 1;
        } else if found == (applied.clone(), applied_lo.clone()) {
            finished += 1;
        } else {
            half += 1;
            // It never has a VIP without the settings.
            let is_quiet =
                found.0.contains("conf/all/arp_ignore:1\n") && found.0.contains("conf/all/arp_announce:2\n");
            assert!(is_quiet || !found.1.contains("lo:vip"), "{}", found.1);
        }
        assert_eq!(host.apply().0, 0);
        assert_eq!((settings(&host), host.lo()), (applied.clone(), applied_lo.clone()), "{n}");
        assert_eq!(host.remove(&[]).0, 0);
        assert_eq!((settings(&host), host.lo()), (before.clone(), lo.clone()), "{n}");
    }
    println!(
        "killed before the first step {untouched} times, between {half} times, after the last one {finished} times"
    );
}

/// Does the first steps of an `apply` inside the namespace, and ends there. Returns the number of all steps.
fn first_steps(host: &Host, count: usize) -> usize {
    let state_dir = host.state_dir();
    inside(host, async move || {
        let (connection, host) = dsr_setup::io::Host::connect(&state_dir).unwrap();
        tokio::spawn(connection);
        let vips = VIPS.iter().map(|vip| vip.parse().unwrap()).collect();
        let steps = plan(&host.observe().await.unwrap(), &DesiredState::Present(vips, Forwarding::No));
        for step in &steps[..count] {
            host.carry_out(step).await.unwrap();
        }
        steps.len()
    })
}

#[test]
fn an_apply_that_was_killed_after_each_of_its_steps_is_completed_by_the_next_one() {
    if !is_root() {
        return;
    }
    let host = odd_host();
    let (before, lo) = (settings(&host), host.lo());
    assert_eq!(host.apply().0, 0);
    let (applied, applied_lo) = (settings(&host), host.lo());
    assert_eq!(host.remove(&[]).0, 0);
    let all = first_steps(&host, 0);
    assert!(all > 8, "{all}");
    for count in 1..=all {
        assert_eq!(first_steps(&host, count), all);
        if count % 2 == 0 {
            // Killed between the record of a setting and the setting itself, which then still has its old value.
            host.netns.set_sysctl("all/arp_ignore", 0);
        }
        assert_eq!(host.apply().0, 0);
        assert_eq!((settings(&host), host.lo()), (applied.clone(), applied_lo.clone()), "{count}");
        assert_eq!(host.remove(&[]).0, 0);
        assert_eq!((settings(&host), host.lo()), (before.clone(), lo.clone()), "{count}");
    }
}
