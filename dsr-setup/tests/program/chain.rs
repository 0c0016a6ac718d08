//! The chain: a setting of the kernel, and the rules and the device that `remove` removes.

use crate::common::is_root;
use crate::daemon::announcer;
use crate::host::{Host, done};

/// A namespace with a configuration that has this `[chain]` and one VIP, and the path of the file.
fn with_chain(chain: &str) -> (Host, String) {
    let host = Host::new();
    host.netns.run("ip link set lo up");
    let config = host.dir.path().join("announcer.toml");
    std::fs::write(&config, format!("[[service]]\nvips = [\"192.0.2.80\"]\n[chain]\n{chain}\n")).unwrap();
    (host, config.to_str().unwrap().to_owned())
}

#[test]
fn a_chain_that_forwards_packets_lets_connections_keep_marks_until_remove() {
    if !is_root() {
        return;
    }
    let step = "set net.ipv4.tcp_fwmark_accept = 1 (was 0)\n";
    for (chain, want) in [("vxlan = 4242", step), ("forward = true", step), ("forward = false", "")] {
        let (host, config) = with_chain(chain);
        let marks = || host.netns.sysctl("../tcp_fwmark_accept");
        let (code, planned, _) = host.wrapped(&[], &["plan", "--config", &config]);
        let planned: String =
            planned.lines().map(|line| format!("{}\n", line.split("  # ").next().unwrap())).collect();
        assert_eq!((code, planned.contains("tcp_fwmark_accept")), (1, !want.is_empty()), "{planned}");
        assert!(planned.contains(want), "{chain}: {planned}");
        assert_eq!(host.wrapped(&[], &["apply", "--config", &config]), done(&planned));
        assert_eq!(marks(), if want.is_empty() { "0" } else { "1" }, "{chain}");
        assert_eq!(host.wrapped(&[], &["plan", "--config", &config]), done(""));
        let (_, removed, _) = host.remove(&[]);
        let undone = removed.contains("set net.ipv4.tcp_fwmark_accept = 0 (was 1)\n");
        assert_eq!((undone, marks().as_str()), (!want.is_empty(), "0"), "{removed}");
    }
}

#[test]
fn remove_removes_the_rules_and_the_device_of_the_chain_and_no_others() {
    if !is_root() {
        return;
    }
    let (host, _) = with_chain("");
    let make = "for table in 'ip announcer' 'ip6 announcer' 'inet announcer' 'ip filter'; do nft add table $table; done
        ip link add announcer0 type vxlan id 4242 dstport 4789 local 127.0.0.1";
    assert!(host.netns.command(&["sh", "-ec", make]).status().unwrap().success());
    host.netns.run("ip addr add 192.0.2.99/32 dev lo");
    // Single VIPs are removed alone.
    assert_eq!(host.apply().0, 0);
    assert_eq!(host.remove(&["--vip", "2001:db8::80"]), done("remove 2001:db8::80/128 from lo\n"));
    // The daemon would install the rules again.
    announcer(&host.socket(), "announced");
    assert_eq!(host.remove(&[]).0, 1);
    std::fs::remove_file(host.socket()).unwrap();
    assert_eq!(
        host.remove(&[]),
        done(
            "remove the nftables table ip announcer\nremove the nftables table ip6 announcer\n\
             remove the device announcer0\nremove 192.0.2.80/32 from lo\n\
             set net.ipv4.conf.all.arp_ignore = 0 (was 1)\nset net.ipv4.conf.all.arp_announce = 0 (was 2)\n"
        )
    );
    assert_eq!(host.netns.run("nft list tables"), "table inet announcer\ntable ip filter\n");
    assert!(!host.netns.run("ip link").contains("announcer0"));
    assert_eq!(host.remove(&[]), done(""));

    // A device of another kind is not the daemon's.
    host.netns.run("ip link add announcer0 type veth peer name v1");
    assert_eq!(host.remove(&[]), done(""));
    assert!(host.netns.run("ip link").contains("announcer0"));
}

#[test]
fn remove_goes_on_without_nft_and_says_when_it_cannot_be_asked() {
    if !is_root() {
        return;
    }
    let (host, _) = with_chain("");
    host.netns.run("nft add table ip announcer");
    assert_eq!(host.apply().0, 0);
    let socket = host.socket();
    let remove = ["remove", "--socket", socket.to_str().unwrap()];
    let without_cap = ["setpriv", "--bounding-set", "-net_admin"];
    let needs = "error: needs CAP_NET_ADMIN: run it with sudo\n";
    assert_eq!(host.wrapped(&without_cap, &remove), (1, String::new(), needs.into()));

    let broken = "mount --bind /bin/false $(readlink -f /usr/sbin/nft) && exec \"$0\" \"$@\"";
    let (code, stdout, stderr) = host.wrapped(&["unshare", "--mount", "sh", "-c", broken], &remove);
    assert_eq!((code, stdout.contains("remove 192.0.2.80/32 from lo\n")), (0, true), "{stdout}{stderr}");
    assert_eq!(
        stderr,
        "warning: the rules of the chain stay, if there are any: `nft` said: nothing; `nft delete table ip announcer` and `nft \
         delete table ip6 announcer` remove them\n"
    );
    let missing = "mount -t tmpfs none /usr/sbin && mount -t tmpfs none /sbin && exec \"$0\" \"$@\"";
    assert_eq!(host.wrapped(&["unshare", "--mount", "sh", "-c", missing], &remove), done(""));
    assert_eq!(host.remove(&[]), done("remove the nftables table ip announcer\n"));
}
