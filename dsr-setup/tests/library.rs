//! Tests the functions that the daemon uses, and the effects of the VIPs and settings on the network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod common;
#[path = "library/neighbours.rs"]
mod neighbours;

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{inside_new_netns, ip, is_root};
use dsr_setup::{
    AddResult, Difference, Error, Events, Link, Loopback, MarkSupport, Owner, RemoveResult, VipEvent, Vips,
    connect, watch,
};
use tempfile::TempDir;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vips() -> Vips {
    let (connection, vips) = connect().unwrap();
    tokio::spawn(connection);
    vips
}

/// Reads `lo`, without a record.
async fn lo(vips: &Vips) -> Loopback {
    vips.observe(&BTreeSet::new()).await.unwrap()
}

async fn add(vips: &Vips, vip: &str) -> Result<AddResult, Error> {
    vips.add(&[addr(vip)]).await.remove(0).1
}

fn ours(lo: &Loopback) -> Vec<IpAddr> {
    lo.ours().map(|net| net.addr()).collect()
}

async fn next(events: &mut Events) -> VipEvent {
    tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap()
}

/// Lets the other tasks run, without a look whether sockets can be read. So a connection sends its next request before it has read the
/// answer to the one before, as it happens on a busy host.
async fn turn() {
    tokio::spawn(async {}).await.unwrap();
}

/// The kernel makes one dump at a time for each socket. None of these may fail: a dump after one whose future was dropped at any point,
/// and several at the same time.
#[test]
fn a_dump_does_not_fail_because_of_another_one_on_the_same_socket() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        let many: Vec<IpAddr> =
            (0..1000).map(|n| IpAddr::from([198, 51, 100 + (n >> 8) as u8, n as u8])).collect();
        assert!(vips.add(&many).await.iter().all(|(_, added)| added.is_ok()));
        let none = BTreeSet::new();
        for polls in 0..100 {
            let mut dropped = Box::pin(vips.observe(&none));
            for _ in 0..polls / 4 {
                if futures_util::poll!(&mut dropped).is_ready() {
                    break;
                }
                turn().await;
            }
            drop(dropped);
            assert_eq!(lo(&vips).await.ours().count(), many.len(), "after {polls} polls");
        }
        // Each of these asks after another number of turns.
        let later = |turns| {
            let vips = vips.clone();
            async move {
                for _ in 0..turns {
                    turn().await;
                }
                lo(&vips).await.ours().count()
            }
        };
        let at_once = futures_util::future::join_all((0..20).map(later).map(tokio::spawn)).await;
        assert!(at_once.into_iter().all(|count| count.unwrap() == many.len()));
    });
}

#[test]
fn a_vip_is_added_once_and_bears_our_mark() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        ip("addr add 192.0.2.81/32 dev lo");
        for vip in ["192.0.2.80", "2001:db8::80"] {
            assert_eq!(add(&vips, vip).await.unwrap(), AddResult::Added);
            assert_eq!(add(&vips, vip).await.unwrap(), AddResult::AlreadyThere);
        }
        assert_eq!(add(&vips, "192.0.2.81").await.unwrap(), AddResult::AlreadyThere);
        let seen = lo(&vips).await;
        assert_eq!(ours(&seen), [addr("192.0.2.80"), addr("2001:db8::80")]);
        assert_eq!(seen.marks, MarkSupport::Kept);
        for on_lo in seen.addresses.iter().filter(|on_lo| on_lo.owner == Owner::Ours) {
            assert_eq!(on_lo.differences, BTreeSet::new(), "{on_lo:?}");
        }
        assert!(seen.holds(addr("192.0.2.81")));

        for vip in ["192.0.2.80/32", "2001:db8::80/128"] {
            assert_eq!(vips.remove(vip.parse().unwrap()).await.unwrap(), RemoveResult::Removed);
            assert_eq!(vips.remove(vip.parse().unwrap()).await.unwrap(), RemoveResult::Absent);
        }
        assert_eq!(
            lo(&vips).await.addresses.iter().map(|on_lo| on_lo.net.addr()).collect::<Vec<_>>(),
            [addr("127.0.0.1"), addr("192.0.2.81"), addr("::1")]
        );
    });
}

#[test]
fn the_mark_outlives_the_connection_and_no_record_can_take_it_away_or_give_it() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        add(&vips(), "192.0.2.80").await.unwrap();
        ip("addr add 192.0.2.81/32 dev lo");
        let recorded = BTreeSet::from([addr("192.0.2.81")]);
        for recorded in [BTreeSet::new(), recorded] {
            assert_eq!(ours(&vips().observe(&recorded).await.unwrap()), [addr("192.0.2.80")], "{recorded:?}");
        }
    });
}

/// Case H4: NetworkManager's `device reapply` replaces the address, which then loses its flags, lifetime and mark.
#[test]
fn an_address_that_was_replaced_shows_what_differs_and_is_mended() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        for vip in ["192.0.2.80", "2001:db8::80"] {
            add(&vips, vip).await.unwrap();
        }
        ip("addr replace 2001:db8::80/128 dev lo");
        ip("addr change 192.0.2.80/32 dev lo valid_lft 3600 preferred_lft 1800");
        let differences = |lo: &Loopback, vip: &str| {
            let on_lo = lo.addresses.iter().find(|on_lo| on_lo.net.addr() == addr(vip)).unwrap();
            on_lo.differences.iter().copied().collect::<Vec<_>>()
        };
        let seen = lo(&vips).await;
        assert_eq!(
            differences(&seen, "2001:db8::80"),
            [Difference::Source, Difference::Flags, Difference::Mark]
        );
        assert!(differences(&seen, "192.0.2.80").contains(&Difference::Ends));
        assert!(!differences(&seen, "192.0.2.80").contains(&Difference::Label));
        for (vip, mended) in vips.mend(&[addr("192.0.2.80"), addr("2001:db8::80")]).await {
            mended.unwrap_or_else(|error| panic!("{vip}: {error}"));
        }
        let seen = lo(&vips).await;
        assert_eq!(differences(&seen, "2001:db8::80"), []);
        assert_eq!(differences(&seen, "192.0.2.80"), []);
        assert_eq!(ours(&seen), [addr("192.0.2.80"), addr("2001:db8::80")]);
        assert_eq!(ip("-6 route show dev lo"), "", "the prefix route is gone again");
    });
}

/// Cases H6 and H12: the other addresses of the host.
#[test]
fn addresses_of_other_interfaces_are_seen_with_their_names() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        add(&vips, "192.0.2.80").await.unwrap();
        add(&vips, "2001:db8::80").await.unwrap();
        for line in [
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "addr add 192.0.2.80/24 dev v0",
            "addr add 2001:db8::80/64 dev v1 nodad",
        ] {
            ip(line);
        }
        let seen = lo(&vips).await;
        let found = |net: &str| {
            seen.elsewhere
                .iter()
                .find(|other| other.net.to_string() == net)
                .unwrap_or_else(|| panic!("{seen:?}"))
        };
        assert_eq!(found("192.0.2.80/24").interface, "v0");
        assert_eq!(found("192.0.2.80/24").owner, Owner::Foreign);
        assert_eq!(
            (found("2001:db8::80/64").interface.as_str(), found("2001:db8::80/64").link_local),
            ("v1", false)
        );
        assert!(seen.elsewhere.iter().any(|other| other.link_local), "{seen:?}");
    });
}

/// Case B15: one request after the other, each with a read of all addresses, took 14 s in an optimized build. The new code has to
/// be quicker in every build, also on a busy machine.
#[test]
fn thousands_of_vips_are_put_on_lo_within_seconds() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        let v4 = (0..2_000).map(|n| addr(&format!("10.9.{}.{}", n / 250, n % 250)));
        let v6 = (0..1_000).map(|n| addr(&format!("2001:db8::{n:x}")));
        let many: Vec<IpAddr> = v4.chain(v6).collect();
        let begin = Instant::now();
        let done = vips.add(&many).await;
        let taken = begin.elapsed();
        println!("{} VIPs in {} ms", many.len(), taken.as_millis());
        assert!(done.iter().all(|(_, ensured)| matches!(ensured, Ok(AddResult::Added))));
        assert!(taken < Duration::from_secs(30), "{taken:?}");
        assert_eq!(ours(&lo(&vips).await).len(), many.len());
    });
}

#[test]
fn lo_is_raised_and_what_becomes_of_it_is_reported() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        let mut events = watch().unwrap();
        ip("link set lo down");
        assert_eq!(next(&mut events).await, VipEvent::Link(Link::Down));
        assert_eq!(lo(&vips).await.link, Link::Down);
        vips.raise_lo().await.unwrap();
        vips.raise_lo().await.unwrap();
        assert_eq!(lo(&vips).await.link, Link::Up);
        while next(&mut events).await != VipEvent::Link(Link::Up) {}
    });
}

#[test]
fn changes_on_lo_are_reported_and_no_others() {
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
        // The runtime has only this thread, so no events are read while ip(8) runs.
        ip(&format!("-batch {}", file.path().join("batch").display()));
        assert_eq!(next(&mut events).await, VipEvent::Overrun);
        // From here on no event is missed.
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
        let vips = vips();
        // Many, since the kernel inserts the route of an IPv6 address a moment after the address.
        let many = (1..50).flat_map(|n| [addr(&format!("192.0.2.{n}")), addr(&format!("2001:db8::{n}"))]);
        for vip in many {
            assert!(matches!(vips.add(&[vip]).await[..], [(_, Ok(AddResult::Added))]));
            let listener = TcpListener::bind((vip, 0)).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert_eq!(client.local_addr().unwrap().ip(), vip);
        }
    });
}

/// If lo is down, the kernel adds no route for its IPv6 addresses, so the wait for the route would not end otherwise.
#[test]
fn a_vip_that_is_removed_again_at_once_is_not_waited_for() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
        ip("link set lo down");
        let vip = addr("2001:db8::80");
        let remove = async {
            while ours(&lo(&vips).await).is_empty() {
                turn().await;
            }
            vips.remove(vip.into()).await.unwrap();
            Instant::now()
        };
        let added = async { (add(&vips, "2001:db8::80").await.unwrap(), Instant::now()) };
        let ((ensured, returned), removed) = tokio::join!(added, remove);
        assert_eq!(ensured, AddResult::Added);
        let after = returned.saturating_duration_since(removed);
        assert!(after < Duration::from_millis(500), "{after:?}");
    });
}

/// v0 has no address of its own, as an unnumbered link to a router has none.
#[test]
fn a_vip_is_never_chosen_as_the_source_of_what_the_host_sends() {
    if !is_root() {
        return;
    }
    inside_new_netns(async || {
        let vips = vips();
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
        for vip in ["192.0.2.80", "2001:db8::80"] {
            add(&vips, vip).await.unwrap();
        }
        let v4 = ip("route get 198.51.100.5");
        assert!(v4.contains("src 10.0.0.1 "), "{v4}");
        // By the longest matching prefix, the VIP would be chosen.
        let v6 = ip("route get 2001:db8::99");
        assert!(v6.contains("src 2001:db8:1::1 "), "{v6}");
        // Case H6: without another global address, the host sends from the VIP. `warning` reports this.
        ip("addr del 2001:db8:1::1/128 dev v1");
        let v6 = ip("route get 2001:db8::99");
        assert!(v6.contains("src 2001:db8::80 "), "{v6}");
    });
}
