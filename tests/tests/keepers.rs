//! Tests that VIPs stay on lo, whatever the programs that configure addresses do: networkd, NetworkManager, netplan, ifupdown and ip(8),
//! each the real one, on a Debian with systemd. The daemon keeps the VIPs in one half, and `dsr-setup watch` in the other.
//!
//! The test is skipped, with a message, if no systemd can be booted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::cell::Cell;
use std::collections::BTreeMap;

use self::machine::Machine;

const CONFIG: &str = r#"
[bgp]
asn = 65001
router_id = "10.0.1.11"

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000

[[service]]
name = "www"
vips = ["192.0.2.80", "2001:db8::80"]

[[service.check]]
tcp = 80
"#;

const VIPS: [&str; 2] = ["192.0.2.80/32", "2001:db8::80/128"];

/// What is done, by which program: the script, and whether it removes a VIP from lo or sets lo down, so that it is repaired.
struct Attack {
    name: &'static str,
    before: &'static str,
    script: &'static str,
}

const ATTACKS: &[Attack] = &[
    Attack {
        name: "ip address del",
        before: "",
        script: "ip address del 192.0.2.80/32 dev lo; ip address del 2001:db8::80/128 dev lo",
    },
    Attack { name: "ip address flush", before: "", script: "ip address flush dev lo" },
    Attack {
        name: "ip address change: flags and lifetimes",
        before: "",
        script: "ip address change 2001:db8::80/128 dev lo; ip address change 192.0.2.80/32 dev lo valid_lft 900 preferred_lft 900",
    },
    Attack { name: "ip link set lo down", before: "", script: "ip link set lo down" },
    Attack {
        name: "ip link set lo down and up",
        before: "",
        script: "ip link set lo down; ip link set lo up",
    },
    Attack {
        name: "NetworkManager: connection up",
        before: "nmcli connection add type loopback con-name own ifname lo ipv4.method manual ipv4.addresses 127.0.0.1/8,10.9.0.1/32 \
                 ipv6.method manual ipv6.addresses ::1/128,2001:db8:9::1/128",
        script: "nmcli connection up own",
    },
    Attack { name: "NetworkManager: device reapply", before: "", script: "nmcli device reapply lo" },
    Attack {
        name: "NetworkManager: connection down",
        before: "",
        script: "nmcli connection down own; nmcli connection delete own",
    },
    Attack { name: "NetworkManager: restart", before: "", script: "systemctl restart NetworkManager" },
    Attack {
        name: "ifdown and ifup",
        before: "systemctl stop NetworkManager",
        script: "ifdown --force lo; ifup lo",
    },
    Attack { name: "networking.service: restart", before: "", script: "systemctl restart networking" },
    Attack {
        name: "networkd: start",
        before: "printf '[Match]\\nName=lo\\n[Network]\\nAddress=10.9.0.2/32\\nAddress=2001:db8:9::2/128\\n' \
                 >/etc/systemd/network/lo.network",
        script: "systemctl start systemd-networkd",
    },
    Attack {
        name: "networkd: reconfigure",
        before: "sed -i s/10.9.0.2/10.9.0.3/ /etc/systemd/network/lo.network",
        script: "networkctl reload && networkctl reconfigure lo",
    },
    Attack { name: "networkd: restart", before: "", script: "systemctl restart systemd-networkd" },
    Attack {
        name: "netplan apply",
        before: "rm /etc/systemd/network/lo.network && printf 'network:\\n  version: 2\\n  renderer: networkd\\n  ethernets:\\n    lo:\\n      \
                 addresses: [10.9.0.4/32, \"2001:db8:9::4/128\"]\\n' >/etc/netplan/lo.yaml && chmod 600 /etc/netplan/lo.yaml",
        script: "netplan apply",
    },
];

#[test]
#[ignore = "15 programs, 45 s: run it with `make keepers`"]
fn whatever_configures_addresses_the_daemon_keeps_the_vips() {
    let Some(machine) = boot() else { return };
    machine.must("systemctl start dsr-setup announcer");
    keep(&machine, "announcer");
}

#[test]
#[ignore = "15 programs, 45 s: run it with `make keepers`"]
fn whatever_configures_addresses_watch_keeps_the_vips() {
    let Some(machine) = boot() else { return };
    machine.must("systemctl start dsr-setup dsr-setup-watch");
    keep(&machine, "dsr-setup-watch");
}

/// The two real programs, with the lock between them.
#[test]
fn the_daemon_and_watch_never_keep_the_vips_together() {
    let Some(machine) = boot() else { return };
    let read = Cell::new(0); // the lines that were read already
    let said = |text: &str| {
        machine.until(text, |machine| {
            let journal = machine.run("journalctl --no-pager -o cat -u dsr-setup-watch").1;
            let found = journal.lines().skip(read.get()).position(|line| line.contains(text));
            found.inspect(|at| read.set(read.get() + at + 1)).is_some()
        });
    };
    machine.must("systemctl start dsr-setup dsr-setup-watch");
    said("keeps 2 VIPs on lo");
    machine.must("systemctl start announcer");
    said("announcer (process ");
    // The daemon keeps them, and `watch` the settings.
    machine.must("echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore; ip address del 192.0.2.80/32 dev lo");
    said("net.ipv4.conf.all.arp_ignore was 0");
    machine.until("put back", |machine| machine.run("dsr-setup check").0 == 0);
    assert!(!machine.run("journalctl --no-pager -o cat -u dsr-setup-watch").1.contains("192.0.2.80"));

    // An upgrade and a crash: nothing is taken away, and the next daemon has the lock again.
    machine.must("announcer upgrade --force");
    said("keeps the VIPs on lo: only the settings");
    machine.must("kill -KILL $(systemctl show --value -p MainPID announcer)");
    said("has ended, and was not stopped");
    said("keeps the VIPs on lo: only the settings");
    machine.until("the next daemon", |machine| machine.run("announcer status").1.contains("192.0.2.80"));
    machine.must("dsr-setup check");

    // A reload takes a VIP away, and a stop by order follows: `watch` does not put it back.
    machine.must("sed -i 's/\"192.0.2.80\", //' /etc/announcer/announcer.toml && announcer reload --force");
    machine.until("gone", |machine| !machine.must("ip -o address show dev lo").contains("192.0.2.80"));
    machine.must("systemctl stop announcer");
    said("was stopped; what it has removed is not put back");
    let lo = machine.must("sleep 1; ip -o address show dev lo");
    assert!(!lo.contains("192.0.2.80") && lo.contains("2001:db8::80"), "{lo}");
    machine.must("ip address del 2001:db8::80/128 dev lo");
    said("2001:db8::80/128 was not on lo: repaired");
    let (code, refusal) = machine.run("dsr-setup remove");
    assert!(code == 1 && refusal.contains("`dsr-setup watch` (process "), "{refusal}");
    machine.must("systemctl stop dsr-setup-watch && dsr-setup remove");
    assert!(!machine.must("ip -o address show dev lo").contains("2001:db8::80"));
}

fn boot() -> Option<Machine> {
    let machine = match Machine::boot_from("managers/root") {
        Ok(machine) => machine,
        Err(why) => {
            until::skipped(format_args!("no systemd can be booted here: {}", why.trim()));
            return None;
        }
    };
    machine.install();
    machine.write("/etc/announcer/announcer.toml", CONFIG);
    Some(machine)
}

/// Each attack, one after the other, and how long each VIP was away.
fn keep(machine: &Machine, unit: &str) {
    machine.until("the VIPs", |machine| machine.run("dsr-setup check").0 == 0);
    for attack in ATTACKS {
        machine.must(&format!("true; {}", attack.before));
        machine.must("ip -ts monitor address >/tmp/monitor 2>&1 & echo $! >/tmp/monitor.pid; sleep 0.2");
        let (code, said) = machine.run(attack.script);
        assert_eq!(code, 0, "{}: {said}", attack.name);
        machine.until(attack.name, |machine| machine.run("dsr-setup check").0 == 0);
        // It is not undone a moment later: a manager may configure the interface again.
        machine.must("sleep 1.5; kill $(cat /tmp/monitor.pid)");
        machine.until(attack.name, |machine| machine.run("dsr-setup check").0 == 0);
        println!("{unit}: {}: {}", attack.name, gaps(&machine.must("cat /tmp/monitor")));
    }
    let journal = machine.must(&format!("journalctl --no-pager -o cat -u {unit}"));
    let reports = match unit {
        "announcer" => {
            ["VIP was removed by another program", "was corrected", "device of the VIPs was set down"]
        }
        _ => ["192.0.2.80/32 was not on lo: repaired", "without our mark: repaired", "lo was down"],
    };
    for report in reports {
        let mut lines = journal.lines().filter(|line| line.contains(report));
        let names_lo = |line: &str| unit != "announcer" || line.contains("device=lo");
        assert!(lines.any(names_lo), "{report}: {journal}");
    }
}

/// How long each VIP was away, from what `ip -ts monitor address` has printed: the longest time, and how often it was removed.
fn gaps(monitor: &str) -> String {
    let mut since: BTreeMap<&str, f64> = BTreeMap::new();
    let mut all: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
    for line in monitor.lines() {
        // [2026-01-31T12:00:00.123456] Deleted 1: lo    inet 192.0.2.80/32 scope link lo:vip
        let Some((time, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else {
            continue;
        };
        let Some(vip) = VIPS.into_iter().find(|vip| rest.contains(&format!(" {vip} "))) else { continue };
        let clock = time.split_once('T').unwrap().1;
        let seconds = clock
            .split(':')
            .map(|part| part.parse::<f64>().unwrap())
            .fold(0.0, |all, part| all * 60.0 + part);
        if rest.starts_with("Deleted") {
            since.entry(vip).or_insert(seconds);
        } else if let Some(since) = since.remove(vip) {
            let (longest, count) = all.entry(vip).or_default();
            (*longest, *count) = (longest.max(seconds - since), *count + 1);
        }
    }
    let text = all.iter().map(|(vip, (longest, count))| {
        format!("{vip} away {count} times, at most {:.1} ms", longest * 1000.0)
    });
    let text: Vec<String> = text.collect();
    if text.is_empty() { "not removed".into() } else { text.join("; ") }
}
