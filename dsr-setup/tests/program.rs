//! Tests the program in its own network namespaces: its commands, its output and its effects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "program/chain.rs"]
mod chain;
mod common;
#[path = "program/configuration.rs"]
mod configuration;
#[path = "program/daemon.rs"]
mod daemon;
mod host;
#[path = "program/persist.rs"]
mod persist;
#[path = "program/state.rs"]
mod state;
#[path = "program/tunnel.rs"]
mod tunnel;

use common::{is_root, text};
use host::{Host, VIPS, done};
use tempfile::TempDir;

const STEPS: &str = "set net.ipv4.conf.all.arp_ignore = 1 (was 0)
set net.ipv4.conf.all.arp_announce = 2 (was 0)
set lo up
add 192.0.2.80/32 to lo
add 2001:db8::80/128 to lo
";

/// What `plan` prints: each step and its reason.
const PLAN: &str = "\
set net.ipv4.conf.all.arp_ignore = 1 (was 0)  # so that this host does not answer ARP requests for the VIPs
set net.ipv4.conf.all.arp_announce = 2 (was 0)  # so that the ARP requests of this host do not name a VIP as their sender
set lo up  # no address on it answers while it is down
add 192.0.2.80/32 to lo  # with scope link, so that this host does not send from it
add 2001:db8::80/128 to lo  # with preferred lifetime 0, so that this host does not send from it; without duplicate address detection, \
because other hosts have it too
";

#[test]
fn apply_does_what_plan_says_and_a_second_apply_does_nothing() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.plan(), (1, PLAN.into(), String::new()));
    assert_eq!(host.apply(), done(STEPS));
    assert_eq!(host.plan(), done(""));
    assert_eq!(host.apply(), done(""));

    assert_eq!(host.netns.sysctl("all/arp_ignore"), "1");
    assert_eq!(host.netns.sysctl("all/arp_announce"), "2");
    let lo = host.netns.run("ip -d addr show dev lo");
    assert!(lo.contains("inet 192.0.2.80/32 scope link lo:vip\n"), "{lo}");
    // ip(8) shows no NODAD for an address that is past it; `deprecated` is the preferred lifetime of 0.
    let v6 = lo.lines().skip_while(|line| !line.contains("2001:db8::80/128")).take(2).collect::<String>();
    for word in ["nodad", "deprecated", "noprefixroute", "valid_lft forever", "preferred_lft 0sec"] {
        assert!(v6.contains(word), "{word}: {lo}");
    }
    assert_eq!(host.netns.run("ip -6 route show dev lo"), "");
}

#[test]
fn remove_undoes_all_of_it_and_leaves_no_file() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.set_sysctl("all/arp_announce", 1);
    host.netns.run("ip link set lo up");
    let before = host.lo();
    assert_eq!(host.apply().0, 0);
    assert_eq!(
        host.remove(&[]),
        done(
            "remove 192.0.2.80/32 from lo\nremove 2001:db8::80/128 from lo\n\
             set net.ipv4.conf.all.arp_ignore = 0 (was 1)\nset net.ipv4.conf.all.arp_announce = 1 (was 2)\n"
        )
    );
    assert_eq!(host.lo(), before);
    assert_eq!(host.netns.sysctl("all/arp_ignore"), "0");
    assert_eq!(host.netns.sysctl("all/arp_announce"), "1");
    assert_eq!(std::fs::read_dir(host.state_dir()).unwrap().count(), 0);
    assert_eq!(host.remove(&[]), done(""));
}

#[test]
fn what_somebody_else_did_is_left_alone() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip link set lo up");
    host.netns.run("ip addr add 192.0.2.80/32 dev lo");
    host.netns.set_sysctl("all/arp_ignore", 2);
    let (code, stdout, stderr) = host.apply();
    // It harms there, so that the exit code is 1, and the rest is done.
    assert_eq!(
        (code, stdout.contains("192.0.2.80"), stdout.contains("arp_ignore"), stdout.contains("2001:db8::80")),
        (1, false, false, true),
        "{stdout}"
    );
    let warning = "warning: 192.0.2.80/32 is on lo with scope global: this host may send from it, and the answers may go to another \
                   frontend; `ip address del 192.0.2.80/32 dev lo` removes it, and the daemon or `dsr-setup apply` adds it again \
                   correctly\n";
    assert_eq!(stderr, warning);

    host.netns.set_sysctl("all/arp_announce", 1);
    assert_eq!(
        host.remove(&["--vip", "192.0.2.80"]),
        (0, String::new(), "192.0.2.80 was put on lo by another program: it stays\n".into())
    );
    let left = "leave net.ipv4.conf.all.arp_announce = 1 (no longer the 2 that was set)\n";
    assert_eq!(host.remove(&[]), done(&format!("remove 2001:db8::80/128 from lo\n{left}")));
    assert!(host.lo().contains("inet 192.0.2.80/32 scope global lo"), "{}", host.lo());
    assert_eq!(host.netns.sysctl("all/arp_ignore"), "2");
    assert_eq!(host.netns.sysctl("all/arp_announce"), "1");
}

#[test]
fn an_interface_whose_own_setting_would_answer_is_set_and_restored() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip link add v0.7 type veth peer name v1");
    host.netns.set_sysctl("v0.7/arp_ignore", 3);
    let (_, stdout, _) = host.apply();
    assert!(stdout.contains("set net.ipv4.conf.v0/7.arp_ignore = 1 (was 3)\n"), "{stdout}");
    assert_eq!(host.netns.sysctl("v0.7/arp_ignore"), "1");
    assert_eq!(host.remove(&[]).0, 0);
    assert_eq!(host.netns.sysctl("v0.7/arp_ignore"), "3");
}

#[test]
fn what_stands_in_the_way_is_named_and_the_next_apply_goes_on() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let vips = [&["apply"], &VIPS[..]].concat();

    let without_cap = ["setpriv", "--bounding-set", "-net_admin"];
    let needs = "error: needs CAP_NET_ADMIN: run it with sudo\n";
    assert_eq!(host.wrapped(&without_cap, &vips), (1, String::new(), needs.into()));

    let script =
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" \"$@\"";
    let (code, stdout, stderr) = host.wrapped(&["unshare", "--mount", "sh", "-c", script], &vips);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let read_only = "error: `set net.ipv4.conf.all.arp_ignore = 1 (was 0)` failed: \
        `/proc/sys/net/ipv4/conf/all/arp_ignore` is on a read-only file system: in a container, mount /proc/sys \
        read-write or set it from the host; 4 steps after it were not done\n";
    assert_eq!(stderr, read_only);
    assert!(!host.state_dir().join("dsr-setup.json").exists(), "a change that did not happen is recorded");

    let off = "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6";
    assert!(host.netns.command(&["sh", "-c", off]).status().unwrap().success());
    let (code, stdout, stderr) = host.apply();
    assert_eq!((code, stdout.lines().last()), (1, Some("add 192.0.2.80/32 to lo")));
    assert!(stderr.contains("`add 2001:db8::80/128 to lo` failed: IPv6 is disabled on lo"), "{stderr}");

    let on = "echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6";
    assert!(host.netns.command(&["sh", "-c", on]).status().unwrap().success());
    assert_eq!(host.apply(), done("add 2001:db8::80/128 to lo\n"));
    // If everything is in place, no capability is needed.
    assert_eq!(host.wrapped(&without_cap, &vips), done(""));
}

/// Cases H6 and H12.
#[test]
fn plan_warns_of_what_harms_the_host_and_its_commands_correct_it() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    for line in [
        "ip link set lo up",
        "ip link add v0 type veth peer name v1",
        "ip link set v0 up",
        "ip link set v1 up",
        // The kernel adds a link-local address too, but later.
        "ip addr add fe80::1/64 dev v0 nodad",
        "ip addr add 192.0.2.80/24 dev lo",
    ] {
        host.netns.run(line);
    }
    let (_, _, stderr) = host.plan();
    assert!(
        stderr.contains("warning: 192.0.2.80/24 is on lo: this host treats all of 192.0.2.0/24"),
        "{stderr}"
    );
    assert!(stderr.contains("warning: this host has only link-local IPv6 addresses"), "{stderr}");
    // The commands in the warnings correct the problems.
    host.netns.run("ip address del 192.0.2.80/24 dev lo");
    host.netns.run("ip addr add 192.0.2.80/24 dev v0");
    host.netns.run("ip addr add 2001:db8:1::1/64 dev v0 nodad");
    assert_eq!(host.apply().0, 1);
    let (code, stdout, stderr) = host.plan();
    assert_eq!(
        (code, stdout.as_str(), stderr.as_str()),
        (
            1,
            "",
            "warning: 192.0.2.80/24 is also on v0, where this host answers ARP for it, even while it is drained; \
             `ip address del 192.0.2.80/24 dev v0` removes it\n"
        )
    );
    host.netns.run("ip address del 192.0.2.80/24 dev v0");
    assert_eq!(host.plan(), done(""));
}

/// Case H5: a web server that our units do not name.
#[test]
fn order_writes_a_drop_in_and_removes_it_again() {
    let dir = TempDir::new().unwrap();
    let order = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dsr-setup"));
        let output = command.arg("order").args(args).arg("--units-dir").arg(dir.path()).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    std::fs::write(dir.path().join("shop.service"), "").unwrap();
    let file = dir.path().join("shop.service.d/announcer.conf");
    let next = "`systemctl daemon-reload` lets systemd read it\n";
    assert_eq!(order(&["shop"]), done(&format!("wrote {}\n{next}", file.display())));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("\nAfter=dsr-setup.service\nBefore=announcer.service\n"), "{written}");
    assert_eq!(order(&["shop.service"]), done(""));
    assert_eq!(order(&["shop", "--remove"]), done(&format!("removed {}\n{next}", file.display())));
    assert_eq!(order(&["shop", "--remove"]), done(""));
    assert_eq!(order(&["announcer"]).0, 2);
    assert_eq!(order(&["../x"]).0, 2);
    for (unit, of) in [("www.socket", "socket"), ("caddy.timer", "timer"), ("foo.target", "target")] {
        let (code, stdout, stderr) = order(&[unit]);
        let why = format!(
            "is a {of} and not a service; write the service that runs the web server, as in `caddy.service`"
        );
        assert_eq!((code, stdout.as_str()), (2, ""), "{unit}: {stderr}");
        assert!(stderr.contains(&format!("'{unit}'")) && stderr.contains(&why), "{unit}: {stderr}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the unit itself");

    // A unit may be installed later.
    let (code, stdout, stderr) = order(&["no-such-shop"]);
    assert!(code == 0 && stdout.starts_with("wrote "), "{stdout}");
    let warning = "warning: systemd has no unit `no-such-shop.service` yet; the drop-in has no effect until there is one\n";
    assert_eq!(stderr, warning);
    assert_eq!(order(&["no-such-shop", "--remove"]).2, "");
}
