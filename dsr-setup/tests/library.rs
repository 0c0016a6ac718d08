//! What the daemon uses, and what the VIPs and settings do to the network around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Netns, inside_new_netns, ip, is_root};
use dsr_setup::{Ensured, Events, Link, Removed, Store, VipEvent, Vips, connect, watch};
use tempfile::TempDir;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vips(dir: &TempDir) -> Vips {
    let (connection, vips) = connect(Store::new(dir.path())).unwrap();
    tokio::spawn(connection);
    vips
}

async fn next(events: &mut Events) -> VipEvent {
    tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap()
}

#[test]
fn a_vip_is_ensured_once_and_removed_only_if_ours() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let dir = TempDir::new().unwrap();
        let vips = vips(&dir);
        ip("addr add 192.0.2.81/32 dev lo");
        for vip in [addr("192.0.2.80"), addr("2001:db8::80")] {
            assert_eq!(vips.ensure(vip).await.unwrap(), Ensured::Added);
            assert_eq!(vips.ensure(vip).await.unwrap(), Ensured::AlreadyThere);
        }
        assert_eq!(vips.ensure(addr("192.0.2.81")).await.unwrap(), Ensured::AlreadyThere);
        assert_eq!(vips.ours().await.unwrap(), [addr("192.0.2.80"), addr("2001:db8::80")]);
        assert!(vips.observe().await.unwrap().holds(addr("192.0.2.81")));

        assert_eq!(vips.remove_if_ours(addr("192.0.2.81")).await.unwrap(), Removed::Foreign);
        assert_eq!(vips.remove_if_ours(addr("192.0.2.82")).await.unwrap(), Removed::Absent);
        for vip in [addr("192.0.2.80"), addr("2001:db8::80")] {
            assert_eq!(vips.remove_if_ours(vip).await.unwrap(), Removed::Removed);
        }
        let left = vips.observe().await.unwrap();
        assert_eq!(
            left.addresses.iter().map(|on_lo| on_lo.net.addr()).collect::<Vec<_>>(),
            [addr("127.0.0.1"), addr("192.0.2.81"), addr("::1")]
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "this kernel keeps the mark");
    });
}

#[test]
fn the_mark_outlives_the_process_and_a_lost_state_folder() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        vips(&first).ensure(addr("192.0.2.80")).await.unwrap();
        assert_eq!(vips(&second).ours().await.unwrap(), [addr("192.0.2.80")]);
    });
}

#[test]
fn lo_is_raised() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let dir = TempDir::new().unwrap();
        let vips = vips(&dir);
        ip("link set lo down");
        assert_eq!(vips.observe().await.unwrap().link, Link::Down);
        vips.raise_lo().await.unwrap();
        vips.raise_lo().await.unwrap();
        assert_eq!(vips.observe().await.unwrap().link, Link::Up);
    });
}

#[test]
fn changes_on_lo_are_told_and_no_others() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let mut events = watch().unwrap();
        ip("link add v0 type veth peer name v1");
        ip("addr add 192.0.2.99/32 dev v0");
        for (line, vip) in
            [("192.0.2.80/32 dev lo", "192.0.2.80"), ("2001:db8::80/128 dev lo nodad", "2001:db8::80")]
        {
            ip(&format!("addr add {line}"));
            assert_eq!(next(&mut events).await, VipEvent::Added(addr(vip)));
            ip(&format!("addr del {line}"));
            assert_eq!(next(&mut events).await, VipEvent::Removed(addr(vip)));
        }
    });
}

#[test]
fn events_that_the_kernel_dropped_show_as_an_overrun() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let mut events = watch().unwrap();
        let batch: String =
            (0..8_000).map(|n| format!("addr add 10.1.{}.{}/32 dev lo\n", n / 250, n % 250)).collect();
        let file = TempDir::new().unwrap();
        std::fs::write(file.path().join("batch"), batch).unwrap();
        // The runtime has this one thread, so nobody reads while ip(8) runs.
        ip(&format!("-batch {}", file.path().join("batch").display()));
        assert_eq!(next(&mut events).await, VipEvent::Overrun);
        // From here on nothing is missed.
        ip("addr add 192.0.2.80/32 dev lo");
        assert_eq!(next(&mut events).await, VipEvent::Added(addr("192.0.2.80")));
    });
}

#[test]
fn a_vip_answers_on_the_host_itself_as_soon_as_it_is_ensured() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let dir = TempDir::new().unwrap();
        let vips = vips(&dir);
        // Many, since the kernel inserts the route of an IPv6 address a moment after the address.
        let many = (1..50).flat_map(|n| [addr(&format!("192.0.2.{n}")), addr(&format!("2001:db8::{n}"))]);
        for vip in many {
            vips.ensure(vip).await.unwrap();
            let listener = TcpListener::bind((vip, 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(client.local_addr().unwrap().ip(), vip);
        }
    });
}

/// v0 has no address of its own, as an unnumbered link to a router has none.
#[test]
fn a_vip_is_never_chosen_as_the_source_of_what_the_host_sends() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let dir = TempDir::new().unwrap();
        let vips = vips(&dir);
        for line in [
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "addr add 10.0.0.1/32 dev v1",
            "addr add 2001:db8:1::1/128 dev v1 nodad",
            "route add 198.51.100.0/24 dev v0",
            "route add 2001:db8::/64 dev v0",
        ] {
            ip(line);
        }
        for vip in [addr("192.0.2.80"), addr("2001:db8::80")] {
            vips.ensure(vip).await.unwrap();
        }
        let v4 = ip("route get 198.51.100.5");
        assert!(v4.contains("src 10.0.0.1 "), "{v4}");
        // By the longest matching prefix the VIP would be the one.
        let v6 = ip("route get 2001:db8::99");
        assert!(v6.contains("src 2001:db8:1::1 "), "{v6}");
    });
}

/// A neighbour on the same wire asks for the VIP: ARP answers before `apply`, and not after it; the interface's own
/// address still does.
#[test]
fn a_neighbour_gets_no_arp_answer_for_a_vip() {
    if !is_root() {
        return;
    }
    let (host, neighbour) = (Netns::new(), Netns::new());
    host.run(&format!("ip link add v0 type veth peer name v1 netns {}", neighbour.pid()));
    for line in ["ip link set lo up", "ip link set v0 up", "ip addr add 10.0.0.1/24 dev v0"] {
        host.run(line);
    }
    for line in ["ip link set v1 up", "ip addr add 10.0.0.2/24 dev v1", "ip route add 192.0.2.80/32 dev v1"] {
        neighbour.run(line);
    }
    let quicker = "echo 100 > /proc/sys/net/ipv4/neigh/v1/retrans_time_ms";
    assert!(neighbour.command(&["sh", "-c", quicker]).status().unwrap().success());
    host.run("ip addr add 192.0.2.80/32 dev lo");
    assert!(is_answered(&neighbour, "192.0.2.80"), "the test itself: nothing answers");

    let dir = TempDir::new().unwrap();
    let apply = [env!("CARGO_BIN_EXE_dsr-setup"), "apply", "--vip", "192.0.2.80", "--state-dir"];
    assert!(host.command(&apply).arg(dir.path()).stdout(Stdio::null()).status().unwrap().success());
    neighbour.run("ip neigh flush all");
    assert!(!is_answered(&neighbour, "192.0.2.80"));
    assert!(is_answered(&neighbour, "10.0.0.1"));
}

/// Sends to `target` from inside, and waits until the neighbour entry is settled one way or the other.
fn is_answered(netns: &Netns, target: &str) -> bool {
    let path = format!("/proc/{}/ns/net", netns.pid());
    let target = target.to_owned();
    let thread = std::thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
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
    });
    thread.join().unwrap()
}
