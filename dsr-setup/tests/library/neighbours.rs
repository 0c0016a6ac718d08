//! What a neighbour on the same wire gets from a host with VIPs.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{Netns, ip, is_root};

/// A host and a neighbour on the same wire: v0 and v1, with addresses of both families, and routes of the neighbour to both VIPs.
fn neighbours() -> (Netns, Netns) {
    let (host, neighbour) = (Netns::new(), Netns::new());
    host.run(&format!("ip link add v0 type veth peer name v1 netns {}", neighbour.pid()));
    for line in [
        "ip link set lo up",
        "ip link set v0 up",
        "ip addr add 10.0.0.1/24 dev v0",
        "ip addr add 2001:db8:1::1/64 dev v0 nodad",
    ] {
        host.run(line);
    }
    for line in [
        "ip link set v1 up",
        "ip addr add 10.0.0.2/24 dev v1",
        "ip addr add 2001:db8:1::2/64 dev v1 nodad",
        "ip route add 192.0.2.80/32 dev v1",
        "ip -6 route add 2001:db8::80/128 dev v1",
    ] {
        neighbour.run(line);
    }
    for family in ["ipv4", "ipv6"] {
        let quicker = format!("echo 100 > /proc/sys/net/{family}/neigh/v1/retrans_time_ms");
        assert!(neighbour.command(&["sh", "-c", &quicker]).status().unwrap().success());
    }
    (host, neighbour)
}

fn apply(host: &Netns) {
    let dir = TempDir::new().unwrap();
    let apply = [env!("CARGO_BIN_EXE_dsr-setup"), "apply", "192.0.2.80", "2001:db8::80", "--state-dir"];
    assert!(host.command(&apply).arg(dir.path()).stdout(Stdio::null()).status().unwrap().success());
}

/// A neighbour on the same wire asks for the VIP: ARP answers before `apply`, and not after it; the interface's own
/// address still does.
#[test]
fn a_neighbour_gets_no_arp_answer_for_a_vip() {
    if !is_root() {
        return;
    }
    let (host, neighbour) = neighbours();
    host.run("ip addr add 192.0.2.80/32 dev lo scope link");
    assert!(is_answered(&neighbour, "192.0.2.80"), "the test itself: nothing answers");

    apply(&host);
    neighbour.run("ip neigh flush all");
    assert!(!is_answered(&neighbour, "192.0.2.80"));
    assert!(is_answered(&neighbour, "10.0.0.1"));
}

/// The same with IPv6. A VIP that a second host has too is taken away from it by duplicate address detection where it is on an
/// interface with neighbours; on lo it is not, and no neighbour gets an answer.
#[test]
fn a_neighbour_gets_no_answer_to_its_solicitation_for_a_vip_and_no_host_loses_it() {
    if !is_root() {
        return;
    }
    let (host, neighbour) = neighbours();
    host.run("ip addr add 2001:db8::80/128 dev v0 nodad");
    assert!(is_answered(&neighbour, "2001:db8::80"), "the test itself: nothing answers");
    neighbour.run("ip -6 route del 2001:db8::80/128 dev v1");
    neighbour.run("ip addr add 2001:db8::80/128 dev v1");
    let give_up = Instant::now() + Duration::from_secs(10);
    while !neighbour.run("ip -6 addr show dev v1").contains("dadfailed") {
        assert!(Instant::now() < give_up, "no duplicate was found");
        std::thread::sleep(Duration::from_millis(20));
    }
    neighbour.run("ip addr del 2001:db8::80/128 dev v1");
    host.run("ip addr del 2001:db8::80/128 dev v0");

    // Both hosts have it, and a third one would ask for it.
    apply(&host);
    apply(&neighbour);
    for host in [&host, &neighbour] {
        let lo = host.run("ip -6 addr show dev lo");
        assert!(
            lo.contains("2001:db8::80/128") && !lo.contains("tentative") && !lo.contains("dadfailed"),
            "{lo}"
        );
    }
    neighbour.run("ip addr del 2001:db8::80/128 dev lo");
    neighbour.run("ip -6 route replace 2001:db8::80/128 dev v1");
    neighbour.run("ip -6 neigh flush all");
    assert!(!is_answered(&neighbour, "2001:db8::80"));
    assert!(is_answered(&neighbour, "2001:db8:1::1"));
}

/// Sends to `target` from inside, and waits until the neighbour entry is settled one way or the other.
fn is_answered(netns: &Netns, target: &str) -> bool {
    let target = target.to_owned();
    inside(netns, move || {
        let any = if target.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.send_to(b"?", (target.as_str(), 9)).unwrap();
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            let entry = ip(&format!("neigh show {target}"));
            if entry.contains("lladdr") {
                return true;
            }
            if entry.contains("FAILED") {
                return false;
            }
            assert!(Instant::now() < give_up, "{target}: {entry}");
            std::thread::yield_now();
        }
    })
}

/// A request arrives by v2, and the default route leads through v0 (RFC 3704).
#[test]
fn a_request_that_arrives_by_another_interface_than_that_of_the_reply_is_not_dropped_after_apply() {
    if !is_root() {
        return;
    }
    let (host, neighbour) = neighbours();
    host.run(&format!("ip link add v2 type veth peer name v3 netns {}", neighbour.pid()));
    for line in ["ip link set v2 up", "ip addr add 10.0.1.1/24 dev v2", "ip route add default via 10.0.0.2"] {
        host.run(line);
    }
    for line in [
        "ip link set v3 up",
        "ip link set lo up",
        "ip addr add 10.0.1.2/24 dev v3",
        "ip addr add 198.51.100.1/32 dev lo",
        "ip route replace 192.0.2.80/32 via 10.0.1.1 src 198.51.100.1",
    ] {
        neighbour.run(line);
    }
    for interface in ["v0", "v2"] {
        host.set_sysctl(&format!("{interface}/rp_filter"), 1);
    }
    host.run("ip addr add 192.0.2.80/32 dev lo scope link");
    let dropped = || {
        let netstat = host.run("cat /proc/net/netstat");
        let of = |line: usize| {
            netstat.lines().nth(line).unwrap().split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        let at = of(0).iter().position(|name| name == "IPReversePathFilter").unwrap();
        of(1)[at].parse::<u64>().unwrap()
    };
    // It arrives if it is not dropped.
    let request = || {
        let server = inside(&host, || {
            let server = UdpSocket::bind("192.0.2.80:9").unwrap();
            server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            server
        });
        inside(&neighbour, || {
            let client = UdpSocket::bind("198.51.100.1:0").unwrap();
            client.send_to(b"?", "192.0.2.80:9").unwrap();
        });
        server.recv(&mut [0; 1]).is_ok()
    };
    // Otherwise, its ARP request would have the other address as its sender, and the filter would drop that already.
    assert!(is_answered(&neighbour, "10.0.1.1"));
    assert!(!request());
    assert!(dropped() > 0, "the test itself: nothing is dropped");
    apply(&host);
    assert_eq!((host.sysctl("v0/rp_filter"), host.sysctl("v2/rp_filter")), ("1".into(), "2".into()));
    let before = dropped();
    assert!(request());
    assert_eq!(dropped(), before);
}

/// Runs `body` on a thread inside a namespace.
fn inside<T: Send + 'static>(netns: &Netns, body: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/proc/{}/ns/net", netns.pid());
    let thread = std::thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        body()
    });
    thread.join().unwrap()
}
