//! Tests the program in its own network namespaces: its commands, its output and its effects.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod common;
mod host;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::{Netns, is_root, text};
use dsr_setup::record::Record;
use host::{CommandOutput, Host, VIPS, done};
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

/// A fake announcer that returns one VIP with this standing for each request.
fn announcer(socket: &Path, standing: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let head = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            assert_eq!(head[0], "GET /v1/status HTTP/1.1");
            let answer = format!(
                r#"{{"schema":1,"services":[{{"name":"www","vips":[{{"address":"192.0.2.80","standing":"{standing}"}}]}}]}}"#
            );
            let length = answer.len();
            write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}").unwrap();
        }
    });
}

/// Case W21: the daemon puts back its VIPs, also while they are drained, and the host would answer ARP for them.
#[test]
fn remove_refuses_while_announcer_holds_a_vip_unless_forced() {
    if !is_root() {
        return;
    }
    for standing in ["announced", "not_announced", "drained"] {
        let host = Host::new();
        assert_eq!(host.apply().0, 0);
        let before = host.lo();
        announcer(&host.socket(), standing);
        let refusal = "error: announcer runs and holds 192.0.2.80: it would put it back; stop it first with `systemctl stop \
                       announcer`, or use `--force`\n";
        assert_eq!(host.remove(&[]), (1, String::new(), refusal.into()), "{standing}");
        assert_eq!(host.remove(&["--vip", "192.0.2.80"]), (1, String::new(), refusal.into()), "{standing}");
        assert_eq!((host.lo(), host.netns.sysctl("all/arp_ignore")), (before, "1".into()));

        // A VIP that it does not hold may be removed.
        assert_eq!(host.remove(&["--vip", "2001:db8::80"]), done("remove 2001:db8::80/128 from lo\n"));
        assert_eq!(host.remove(&["--force"]).0, 0);
        assert!(!host.lo().contains("192.0.2.80"));
        assert_eq!(host.remove(&[]), done(""));
    }
}

#[test]
fn remove_goes_on_when_the_daemon_is_gone() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.apply().0, 0);
    drop(UnixListener::bind(host.socket()).unwrap()); // a stale socket without a listener
    assert_eq!(host.remove(&[]).0, 0);
    assert!(!host.lo().contains("2001:db8::80"));
}

#[test]
fn remove_refuses_when_the_daemon_cannot_be_understood() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.apply().0, 0);
    let listener = UnixListener::bind(host.socket()).unwrap();
    std::thread::spawn(move || drop(listener.accept()));
    let (code, stdout, stderr) = host.remove(&[]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: cannot ask announcer at `"), "{stderr}");
    assert!(host.lo().contains("192.0.2.80"));
}

/// Runs with a record of an address without a mark, as on a kernel before 5.18.
#[test]
fn the_state_file_says_whose_an_unmarked_address_is_for_this_namespace_alone() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip addr add 192.0.2.80/32 dev lo");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let netns = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let record = Record { addresses: ["192.0.2.80".parse().unwrap()].into(), ..Record::default() };
    std::fs::create_dir(host.state_dir()).unwrap();
    let write = |pid| {
        let text = record.write(&format!("{} {}", boot.trim(), netns(pid))).unwrap();
        std::fs::write(host.state_dir().join("dsr-setup.json"), text).unwrap();
    };
    write(std::process::id());
    assert_eq!(host.remove(&[]), done(""));
    write(host.netns.pid());
    assert_eq!(host.remove(&[]), done("remove 192.0.2.80/32 from lo\n"));
    assert!(!host.lo().contains("192.0.2.80"));
    assert_eq!(std::fs::read_dir(host.state_dir()).unwrap().count(), 0);
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

#[test]
fn the_vips_come_from_the_configuration() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let config = config.to_str().unwrap();
    std::fs::write(config, "[bgp]\nasn = 65001\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.99\"]\n")
        .unwrap();
    let (code, stdout, _) = host.wrapped(&[], &["plan", "--config", config]);
    assert!(code == 1 && stdout.contains("\nadd 192.0.2.99/32 to lo"), "{stdout}");
    let folder = host.dir.path().join("conf.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.toml"), "[[service]]\nname = \"api\"\nvips = [\"192.0.2.100\"]\n").unwrap();
    std::fs::write(folder.join("a.toml.dpkg-old"), "no TOML").unwrap();
    let (code, stdout, _) = host.wrapped(&[], &["plan", "--config", config]);
    assert!(code == 1 && stdout.contains("\nadd 192.0.2.100/32 to lo"), "{stdout}");
    std::fs::write(folder.join("a.toml"), "no TOML").unwrap();
    let (code, _, stderr) = host.wrapped(&[], &["plan", "--config", config]);
    assert!(code == 2 && stderr.contains("conf.d/a.toml:1:"), "{stderr}");
    std::fs::remove_dir_all(&folder).unwrap();

    std::fs::write(config, "[[service]]\nvips = [\"192.0.2.300\"]\n").unwrap();
    let (code, stdout, stderr) = host.wrapped(&[], &["apply", "--config", config]);
    let want = format!("error: {config}:2:9: `192.0.2.300` is not an IP address;");
    assert!(stderr.starts_with(&want), "{stderr}");
    assert_eq!((code, stdout.as_str(), host.netns.sysctl("all/arp_ignore").as_str()), (2, "", "0"));

    for args in [
        &["plan", "--config", "/nowhere.toml"][..],
        &["apply", "127.0.0.1"],
        &["apply", "192.0.2.80", "--config", config],
        &["frobnicate"],
    ] {
        assert_eq!(host.wrapped(&[], args).0, 2, "{args:?}");
    }
}

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

/// Cases H16, H18 and W7: dsr-setup.service runs before the network, so a file that never answers would stop a boot.
#[test]
fn a_configuration_that_cannot_be_read_is_refused_at_once_and_one_without_vips_is_allowed() {
    use std::os::unix::fs::symlink;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let run =
        |command: &str| host.wrapped(&["timeout", "10"], &[command, "--config", config.to_str().unwrap()]);
    for kind in ["a FIFO", "a folder", "a device", "a large file", "UTF-16", "Latin-1"] {
        let why = match kind {
            "a FIFO" => {
                nix::unistd::mkfifo(&config, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
                "it is not a regular file\n"
            }
            "a folder" => {
                std::fs::create_dir(&config).unwrap();
                "it is not a regular file\n"
            }
            "a device" => {
                symlink("/dev/zero", &config).unwrap();
                "it is not a regular file\n"
            }
            "a large file" => {
                std::fs::File::create(&config).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
                "the file is larger than 67108864 octets\n"
            }
            "UTF-16" => {
                std::fs::write(&config, b"\xff\xfe[\0b\0g\0p\0]\0").unwrap();
                ":1:1: octet 0xff: this file is UTF-16; "
            }
            _ => {
                std::fs::write(&config, b"[bgp]\n# f\xfcr\n").unwrap();
                ":2:4: octet 0xfc is not UTF-8; in Latin-1 it is `\u{fc}`: "
            }
        };
        let want = match why.strip_prefix(':') {
            Some(_) => format!("error: {}{why}", config.display()),
            None => format!("error: cannot read `{}`: {why}", config.display()),
        };
        for command in ["plan", "apply"] {
            let (code, stdout, stderr) = run(command);
            assert_eq!((code, stdout.as_str()), (2, ""), "{kind}: {stderr}");
            assert!(stderr.starts_with(&want), "{kind}: {stderr}");
        }
        if config.is_dir() {
            std::fs::remove_dir(&config).unwrap()
        } else {
            std::fs::remove_file(&config).unwrap()
        }
    }
    for text in ["[bgp]\nasn = 65001\n", "[[service]]\nname = \"www\"\nvips = []\n"] {
        std::fs::write(&config, text).unwrap();
        for command in ["plan", "apply"] {
            let warning = format!(
                "warning: `{}` names no VIP: there is nothing to do; add a `[[service]]` with `vips`\n",
                config.display()
            );
            assert_eq!(run(command), (0, String::new(), warning), "{command} {text}");
        }
        assert_eq!(host.netns.sysctl("all/arp_ignore"), "0");
    }
}

/// Cases W1 and W2: if the state file is broken, of another version or missing, changes cannot be undone, but nothing else fails.
/// As announcer does: another user could otherwise choose the addresses that root puts on lo.
#[test]
fn a_file_or_folder_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let (config, folder) = (host.dir.path().join("announcer.toml"), host.dir.path().join("conf.d"));
    std::fs::write(&config, "[[service]]\nvips = [\"192.0.2.80\"]\n").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let more = folder.join("a.toml");
    std::fs::write(&more, "[[service]]\nvips = [\"192.0.2.81\"]\n").unwrap();
    let plan = || host.wrapped(&["timeout", "10"], &["plan", "--config", config.to_str().unwrap()]);
    assert!(plan().1.contains("192.0.2.81"));
    for path in [&config, &more, &folder] {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(before.mode() | 0o002)).unwrap();
        let (code, stdout, stderr) = plan();
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        let want = format!("error: cannot read `{}`: others can write it (mode 07", path.display());
        let file = format!("error: cannot read `{}`: others can write it (mode 06", path.display());
        assert!(stderr.starts_with(&want) || stderr.starts_with(&file), "{stderr}");
        std::fs::set_permissions(path, before).unwrap();
    }
    assert_eq!(plan().0, 1);
}

#[test]
fn a_state_file_that_cannot_be_used_is_a_warning_and_the_vips_are_put_on_lo() {
    if !is_root() {
        return;
    }
    let of_another_version = {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        move |netns: &Netns| {
            let namespace = std::fs::read_link(format!("/proc/{}/ns/net", netns.pid())).unwrap();
            let life = format!("{} {}", boot.trim(), namespace.display());
            format!(r#"{{"life":"{life}","sysctls":{{"kernel.panic":{{"was":0,"set":1}}}},"addresses":[]}}"#)
        }
    };
    for what in ["broken", "of another version", "a FIFO", "a folder"] {
        let host = Host::new();
        let file = host.state_dir().join("dsr-setup.json");
        std::fs::create_dir(host.state_dir()).unwrap();
        match what {
            "broken" => std::fs::write(&file, "{").unwrap(),
            "of another version" => std::fs::write(&file, of_another_version(&host.netns)).unwrap(),
            "a FIFO" => {
                nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
            }
            _ => std::fs::create_dir(&file).unwrap(),
        }
        let (code, stdout, stderr) = host.apply();
        assert_eq!((code, stdout.as_str()), (0, STEPS), "{what}: {stderr}");
        assert!(stderr.starts_with("warning: `") && stderr.contains("dsr-setup.json"), "{what}: {stderr}");
        assert!(stderr.contains("; `dsr-setup remove` will not undo this\n"), "{what}: {stderr}");
        assert_eq!(host.netns.sysctl("all/arp_ignore"), "1", "{what}");
        // It is not known what has to be undone.
        let (code, stdout, stderr) = host.remove(&[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{what}: {stderr}");
        // The mark says that the address is ours.
        assert_eq!(host.remove(&["--vip", "192.0.2.80"]), done("remove 192.0.2.80/32 from lo\n"), "{what}");
    }
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

#[test]
fn the_state_file_belongs_to_whom_its_folder_belongs_and_can_be_read() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !is_root() {
        return;
    }
    let host = Host::new();
    std::fs::create_dir(host.state_dir()).unwrap();
    chown(host.state_dir(), Some(4711), Some(4712)).unwrap();
    // A crash has left an incomplete file of another user.
    let half = host.state_dir().join("dsr-setup.json.new");
    std::fs::write(&half, "half").unwrap();

    let careful = ["sh", "-c", "umask 077 && exec \"$0\" \"$@\""];
    let (code, _, stderr) = host.wrapped(&careful, &[&["apply"], &VIPS[..]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let file = std::fs::metadata(host.state_dir().join("dsr-setup.json")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (4711, 4712, 0o644));
    assert!(!half.exists());
}

/// Cases W2 and W7: whatever has the name of a file that is written.
#[test]
fn neither_a_fifo_nor_a_link_is_written_through() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let other = dir.path().join("other");
    std::fs::write(&other, "as it was").unwrap();
    let put = |kind: &str, path: &Path| match kind {
        "a FIFO" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap(),
        _ => symlink(&other, path).unwrap(),
    };
    let units = dir.path().join("units");
    let drop_in = units.join("shop.service.d/announcer.conf");
    std::fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    for kind in ["a FIFO", "a link"] {
        put(kind, &drop_in);
        let mut order = std::process::Command::new("timeout");
        order.args(["10", env!("CARGO_BIN_EXE_dsr-setup"), "order", "shop", "--units-dir"]).arg(&units);
        let output = order.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{kind}: {}", text(&output.stderr));
        assert!(std::fs::symlink_metadata(&drop_in).unwrap().is_file(), "{kind}");
        std::fs::remove_file(&drop_in).unwrap();
    }
    if is_root() {
        for kind in ["a FIFO", "a link"] {
            let host = Host::new();
            std::fs::create_dir(host.state_dir()).unwrap();
            put(kind, &host.state_dir().join("dsr-setup.json.new"));
            let (code, _, stderr) = host.wrapped(&["timeout", "10"], &[&["apply"], &VIPS[..]].concat());
            assert_eq!((code, stderr.as_str()), (0, ""), "{kind}");
            assert_eq!(std::fs::read_dir(host.state_dir()).unwrap().count(), 1, "{kind}");
        }
    }
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "as it was");
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

/// `persist` with these arguments below a root folder.
fn persist(root: &Path, args: &[&str]) -> CommandOutput {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dsr-setup"));
    let output = command.arg("persist").args(args).arg("--root").arg(root).output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn persist_installs_what_it_prints_once_and_removes_only_that() {
    for (keeper, count, with_vips) in [("systemd", 3, 2), ("networkd", 2, 1), ("netplan", 3, 1)] {
        let root = TempDir::new().unwrap();
        let below = |path: &str| root.path().join(path.trim_start_matches('/'));
        let (code, printed, _) = persist(root.path(), &[&["--for", keeper], &VIPS[..]].concat());
        assert_eq!(
            (code, std::fs::read_dir(root.path()).unwrap().count()),
            (0, 0),
            "printing changes nothing"
        );
        let install = || persist(root.path(), &[&["--for", keeper, "--install"], &VIPS[..]].concat());
        let (code, wrote, stderr) = install();
        assert_eq!((code, stderr.as_str(), wrote.lines().count()), (0, "", count + 1), "{wrote}");
        for path in wrote.lines().filter_map(|line| line.strip_prefix("wrote ")) {
            let path = Path::new(path);
            let inside = format!("/{}", path.strip_prefix(root.path()).unwrap().display());
            match std::fs::read_link(path) {
                Ok(target) => {
                    assert!(printed.contains(&format!("# {inside} -> {}\n", target.display())), "{printed}");
                    assert!(below(target.to_str().unwrap()).exists());
                }
                Err(_) => {
                    let text = std::fs::read_to_string(path).unwrap();
                    assert!(printed.contains(&format!("# {inside}\n{text}")), "{printed}");
                }
            }
        }
        assert_eq!(install(), done(""), "a second time there is nothing to do");

        // Another list replaces the files that have VIPs.
        let (code, wrote, _) = persist(root.path(), &["--for", keeper, "--install", "--vip", "192.0.2.81"]);
        assert_eq!((code, wrote.matches("wrote ").count()), (0, with_vips), "{wrote}");
        let (code, removed, stderr) = persist(root.path(), &["--for", keeper, "--remove"]);
        assert_eq!((code, stderr.as_str(), removed.matches("removed ").count()), (0, "", count), "{removed}");
        assert_eq!(persist(root.path(), &["--for", keeper, "--remove"]), done(""));
    }
}

#[test]
fn persist_never_changes_a_file_of_somebody_else() {
    let root = TempDir::new().unwrap();
    let theirs = root.path().join("etc/systemd/network/10-dsr-setup-lo.network");
    std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    std::fs::write(&theirs, "[Match]\nName=lo\n").unwrap();
    let (code, stdout, stderr) =
        persist(root.path(), &["--for", "networkd", "--install", "--vip", "192.0.2.80"]);
    let want = format!(
        "error: `{}` was not written by `dsr-setup persist`: move it away, or join both by hand\n",
        theirs.display()
    );
    assert_eq!((code, stdout.as_str(), stderr), (1, "", want));
    assert!(!root.path().join("etc/sysctl.d").exists(), "none of the files was written");
    assert_eq!(persist(root.path(), &["--for", "networkd", "--remove"]), done(""));
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "[Match]\nName=lo\n");

    // What was written for netplan is not removed for networkd.
    std::fs::remove_file(&theirs).unwrap();
    assert_eq!(persist(root.path(), &["--for", "netplan", "--install", "--vip", "192.0.2.80"]).0, 0);
    assert_eq!(persist(root.path(), &["--for", "networkd", "--remove"]), done(""));
    assert!(root.path().join("etc/sysctl.d/60-dsr-setup.conf").exists());
}

/// The device of the VIPs is a part of the files, and without it none is removed.
#[test]
fn persist_puts_the_vips_on_the_device_that_is_named() {
    let root = TempDir::new().unwrap();
    let args = |rest: &[&'static str]| [&["--for", "networkd", "--device", "vip0"], rest].concat();
    let (code, wrote, stderr) = persist(root.path(), &[args(&["--install"]), VIPS.to_vec()].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{wrote}");
    let network = root.path().join("etc/systemd/network/10-dsr-setup-vip0.network");
    let text = std::fs::read_to_string(&network).unwrap();
    assert!(text.contains("\n[Match]\nName=vip0\n"), "{text}");
    let (code, removed, _) = persist(root.path(), &args(&["--remove"]));
    assert_eq!((code, network.exists()), (0, false), "{removed}");

    let refused = persist(root.path(), &["--for", "netplan", "--device", "vip0", "--vip", "192.0.2.80"]);
    let want = "error: `--for netplan` cannot put VIPs on `vip0`, only on lo: use `--for systemd`, or `--for networkd` if a `.netdev` \
                file of your own makes the interface\n";
    assert_eq!(refused, (2, String::new(), want.into()));
}

/// What netplan makes of it, where netplan is installed.
#[test]
fn netplan_accepts_the_file_and_its_file_for_lo_has_the_name_of_the_drop_in() {
    let root = TempDir::new().unwrap();
    assert_eq!(persist(root.path(), &[&["--for", "netplan", "--install"], &VIPS[..]].concat()).0, 0);
    let generate =
        std::process::Command::new("netplan").args(["generate", "--root-dir"]).arg(root.path()).output();
    let output = match generate {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return println!("SKIPPED: netplan is not installed; on Debian: apt-get install netplan.io");
        }
        Err(error) => panic!("{error}"),
        Ok(output) => output,
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let network =
        std::fs::read_to_string(root.path().join("run/systemd/network/10-netplan-lo.network")).unwrap();
    assert!(network.starts_with("[Match]\nName=lo\n"), "{network}");
    assert!(root.path().join("etc/systemd/network/10-netplan-lo.network.d/dsr-setup.conf").exists());
}

/// Whether the kernel has this kind of tunnel, as ip(8) finds it, in a namespace of its own.
fn kernel_has(kind: &str) -> bool {
    let ip = Netns::new()
        .command(&["ip", "link", "add", "probe", "type", kind, "local", "192.0.2.1"])
        .output()
        .unwrap();
    ip.status.success()
}

#[test]
fn a_kernel_without_a_kind_of_tunnel_is_named_before_anything_is_changed() {
    if !is_root() {
        return;
    }
    for (kind, device, module) in
        [("ipip", "tunl0", "ipip"), ("sit", "sit0", "sit"), ("gre", "gre0", "ip_gre")]
    {
        let host = Host::new();
        host.netns.run("ip link set lo up");
        let apply = || host.wrapped(&[], &[&["apply", "--tunnel", kind], &VIPS[..]].concat());
        let (code, stdout, stderr) = apply();
        if kernel_has(kind) {
            println!("this kernel has {kind}");
            assert_eq!(code, 0, "{stderr}");
            assert!(stdout.contains(&format!("set {device} up\n")), "{stdout}");
            assert_eq!(apply(), done(""));
            assert!(host.remove(&[]).1.starts_with(&format!("set {device} down\n")));
            continue;
        }
        let want = format!(
            "error: `make the tunnel device {device}` failed: this kernel has no tunnels of the kind `{kind}` (module `{module}`): install \
             the package with the modules of the running kernel, or boot another kernel; a director that forwards by MAC address \
             needs no tunnel\n"
        );
        assert_eq!((code, stdout.as_str(), stderr), (1, "", want));
        assert!(!host.lo().contains("192.0.2.80"), "nothing was changed");
        assert_eq!(host.netns.sysctl("all/arp_ignore"), "0");
        // `plan` does not ask the kernel for a device that is not there.
        let (code, stdout, _) = host.wrapped(&[], &[&["plan", "--tunnel", kind], &VIPS[..]].concat());
        assert_eq!(code, 1);
        assert!(stdout.starts_with(&format!("make the tunnel device {device}\n")), "{stdout}");
        assert!(stdout.ends_with(&format!("set {device} up\n")), "{stdout}");
        assert_eq!(host.remove(&[]), done(""));

        // Neither does `check`, which says what is missing beside the VIPs, as text and as JSON.
        assert_eq!(host.apply().0, 0);
        let check = |args: &[&str]| host.wrapped(&[], &[&["check", "--tunnel", kind], args, &VIPS].concat());
        let missing =
            format!("the tunnel device {device} is missing, so that no packet of a director comes out");
        let (code, stdout, _) = check(&[]);
        assert_eq!((code, stdout.lines().next()), (1, Some(missing.as_str())), "{stdout}");
        assert!(!stdout.contains(&format!("{device} is down")), "{stdout}");
        let (code, stdout, _) = check(&["--json"]);
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &json["steps"][0]["drift"]), (1, &missing.into()), "{stdout}");
        assert_eq!(json["steps"][0]["step"], format!("make the tunnel device {device}"));
        assert_eq!(host.remove(&[]).0, 0);
    }
}

#[test]
fn an_interface_with_the_name_of_a_tunnel_is_not_taken_for_one() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    if kernel_has("ipip") {
        return println!("SKIPPED: this kernel makes a device tunl0 itself");
    }
    host.netns.run("ip link add tunl0 type veth peer name other");
    let (code, _, stderr) = host.wrapped(&[], &["apply", "--tunnel", "ipip", "--vip", "192.0.2.80"]);
    // A kernel without the kind refuses it before it looks at the name.
    assert_eq!(code, 1);
    assert!(
        stderr.contains("this kernel has no tunnels")
            || stderr.contains("is not a tunnel of the kind `ipip`"),
        "{stderr}"
    );
}
