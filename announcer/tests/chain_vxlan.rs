//! The VXLAN of the chain in the kernel: two frontends on links of their own, a router between them, and a client.
//!
//! ```text
//!   client ──── router ──┬── frontend 0          each on a network of its own,
//!                        └── frontend 1          and joined by the device `announcer0`
//! ```
//!
//! Each test makes its own network namespaces. Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod segment;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::time::Duration;

use announcer::chain::io::neighbours::{AskedNeighbour, Neighbours};
use announcer::chain::io::test_packets;
use announcer::chain::io::vxlan::{self, VxlanSettings};
use announcer::chain::rules::counters::{self, TestPacketCounters};
use announcer::chain::rules::{
    BelievedSources, FamilyRules, ForwardingSwitch, ListenOn, NextMember, RingLength, RuleSet, install,
};
use announcer::chain::segment::{VXLAN_DEVICE, VXLAN_MTU, ethernet, link_local, next_hop_v4};
use segment::{LARGE_BUDGET, Namespace, PORT, QUIET, VIP_V4, VIP_V6, VIPS};
use until::until;

const NUMBER: u32 = 4242;
/// The longest time until an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than fits into one packet, and less than the buffers of two sockets.
const LARGE: usize = 60_000;

/// What [`Site::neighbours`] has to be: the address of the other member and its link-local one, both fixed.
const FIXED: (usize, usize) = (2, 2);

/// Whether the test may make network namespaces.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        until::skipped("needs root to make a network namespace; run the tests with sudo");
    }
    is_root
}

/// The family of the addresses of the members, and so of the outer packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    V4,
    V6,
}

struct Site {
    outer: Outer,
    client: Namespace,
    router: Namespace,
    frontends: [Namespace; 2],
}

impl Site {
    fn new(outer: Outer) -> Site {
        let site = Site {
            outer,
            client: Namespace::new(),
            router: Namespace::new(),
            frontends: [(); 2].map(|()| Namespace::new()),
        };
        site.router.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")]);
        let hosts = [&site.client, &site.frontends[0], &site.frontends[1]];
        for (number, host) in hosts.into_iter().enumerate() {
            site.router.ip(&[
                format!("link add eth{number} type veth peer name eth0 netns {}", host.thread),
                format!("link set eth{number} up"),
                format!("address add 10.0.{number}.1/24 dev eth{number}"),
                format!("address add 2001:db8:a{number}::1/64 dev eth{number} nodad"),
            ]);
            host.ip(&[
                "link set eth0 up".to_owned(),
                format!("address add 10.0.{number}.2/24 dev eth0"),
                format!("address add 2001:db8:a{number}::2/64 dev eth0 nodad"),
                format!("route add default via 10.0.{number}.1"),
                format!("route add ::/0 via 2001:db8:a{number}::1"),
            ]);
        }
        for frontend in &site.frontends {
            // As on a host that is hardened, and that does not answer ARP for VIPs.
            frontend.sysctl(&[
                ("ipv4/conf/all/rp_filter", "1"),
                ("ipv4/conf/default/rp_filter", "1"),
                ("ipv4/conf/all/arp_ignore", "1"),
                ("ipv6/conf/default/addr_gen_mode", "3"),
            ]);
            frontend.ip(&[
                format!("address add {VIP_V4}/32 dev lo"),
                format!("address add {VIP_V6}/128 dev lo nodad"),
            ]);
        }
        site
    }

    fn member(&self, frontend: usize) -> IpAddr {
        let number = frontend + 1;
        match self.outer {
            Outer::V4 => format!("10.0.{number}.2").parse().unwrap(),
            Outer::V6 => format!("2001:db8:a{number}::2").parse().unwrap(),
        }
    }

    fn settings(&self, frontend: usize, number: u32) -> VxlanSettings {
        VxlanSettings { number, own: self.member(frontend), members: vec![self.member(1 - frontend)] }
    }

    /// Makes the device on a frontend, and returns its index.
    fn make(&self, frontend: usize, number: u32) -> u32 {
        let settings = self.settings(frontend, number);
        self.frontends[frontend].run(move || block_on(async move { vxlan::make(&settings).await.unwrap() }))
    }

    /// Makes the device on both frontends.
    fn make_both(&self) -> [u32; 2] {
        [0, 1].map(|frontend| self.make(frontend, NUMBER))
    }

    fn remove(&self, frontend: usize) {
        self.frontends[frontend].run(|| block_on(async { vxlan::remove().await.unwrap() }));
    }

    /// What `ip` prints on a frontend.
    fn ip(&self, frontend: usize, words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.frontends[frontend].feed("ip", &words, "").unwrap()
    }

    /// Whether the kernel of the other frontend answers. It is asked twice, and the second question begins before the first one has ended.
    fn ask(&self, frontend: usize, index: u32) -> bool {
        let member = self.member(1 - frontend);
        let neighbour = AskedNeighbour {
            interface: index,
            address: link_local(member).into(),
            fixed: Some(ethernet(member)),
        };
        self.frontends[frontend].run(move || {
            block_on(async move {
                let neighbours = Neighbours::open().unwrap();
                let second = async {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    neighbours.ask(neighbour).await
                };
                let (first, second) = tokio::join!(neighbours.ask(neighbour), second);
                assert!(first || !second, "the second one was answered, the first was not");
                second
            })
        })
    }

    /// The entries of the neighbour table, and how many of them are fixed.
    fn neighbours(&self, frontend: usize) -> (usize, usize) {
        let printed = self.ip(frontend, &format!("neigh show dev {VXLAN_DEVICE} nud all"));
        let unicast = || printed.lines().filter(|line| !line.starts_with("ff02::"));
        (unicast().count(), unicast().filter(|line| line.trim_end().ends_with("PERMANENT")).count())
    }

    /// Installs the rules with which each frontend forwards to the other one.
    fn ring(&self) {
        for frontend in [0, 1] {
            let (next, ring) = (self.member(1 - frontend), RingLength::new(2).unwrap());
            let next_v4 = Some(NextMember { address: next_hop_v4(next), ring });
            let rules = RuleSet {
                device: VXLAN_DEVICE.parse().unwrap(),
                believed: BelievedSources::Device,
                budget: NonZeroU32::new(LARGE_BUDGET).unwrap(),
                forwarding: ForwardingSwitch::On,
                v4: FamilyRules { services: [((VIP_V4, PORT), ListenOn::Wildcard)].into(), next: next_v4 },
                v6: FamilyRules {
                    services: [((VIP_V6, PORT), ListenOn::Wildcard)].into(),
                    next: Some(NextMember { address: link_local(next), ring }),
                },
            };
            self.frontends[frontend].nft(&install(&rules));
        }
    }

    /// Makes the router send to this frontend.
    fn route(&self, frontend: usize) {
        let number = frontend + 1;
        self.router.ip(&[
            format!("route replace {VIP_V4}/32 via 10.0.{number}.2"),
            format!("route replace {VIP_V6}/128 via 2001:db8:a{number}::2"),
        ]);
    }

    fn connect(&self, vip: IpAddr) -> TcpStream {
        let address = SocketAddr::new(vip, PORT);
        self.client.run(move || until(PATIENCE, || TcpStream::connect_timeout(&address, PATIENCE)).unwrap())
    }
}

/// Runs a future in the calling thread, and so in its network namespace.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Sends back what arrives, for both families.
fn serve(namespace: &Namespace) {
    namespace.run(|| {
        let listener = TcpListener::bind(("::", PORT)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
    });
}

/// Sends so many octets, and reads them back.
fn exchange(flow: &mut TcpStream, length: usize) -> std::io::Result<()> {
    flow.set_read_timeout(Some(PATIENCE))?;
    flow.write_all(&vec![7; length])?;
    flow.read_exact(&mut vec![0; length])
}

#[test]
fn a_flow_survives_over_a_vxlan_between_routed_links() {
    if !is_root() {
        return;
    }
    std::thread::scope(|threads| {
        threads.spawn(|| survives(Outer::V6));
        survives(Outer::V4);
    });
}

fn survives(outer: Outer) {
    let site = Site::new(outer);
    let index = site.make_both();
    site.ring();
    serve(&site.frontends[1]);
    site.route(1);
    let mut flows: Vec<TcpStream> = VIPS.iter().map(|vip| site.connect(*vip)).collect();
    for flow in &mut flows {
        exchange(flow, 1).unwrap();
    }
    site.route(0);
    let mut survive = |when: &str| {
        for (flow, vip) in flows.iter_mut().zip(VIPS) {
            for length in [1, LARGE] {
                exchange(flow, length)
                    .unwrap_or_else(|error| panic!("{outer:?} {vip} {when}, {length} octets: {error}"));
            }
        }
    };
    survive("frontend 1 left");
    let counters = site.frontends[1].counters();
    for vip in VIPS {
        let counted = counters[usize::from(vip.is_ipv6())].unwrap();
        assert!(counted.accepted >= 4, "{vip} came over the VXLAN: {counted:?}");
    }
    assert_eq!(site.make_both(), index, "the device is as wanted");
    survive("the device was made again");
    assert!(site.ask(0, index[0]));
    survive("the kernel was asked");
    site.frontends[1].ip(&["link set announcer0 down"]);
    assert!(!site.ask(0, index[0]));
    assert_eq!(site.neighbours(0), FIXED, "the neighbours are fixed again");
    assert_eq!(site.make(1, NUMBER), index[1], "it is set up again");
    survive("the kernel did not answer");
    assert!(site.ask(0, index[0]));
}

#[test]
fn the_device_is_made_again_only_if_it_is_another_one() {
    if !is_root() {
        return;
    }
    let site = Site::new(Outer::V4);
    let first = site.make(0, NUMBER);
    let shown = site.ip(0, &format!("-d link show {VXLAN_DEVICE}"));
    for words in
        ["vxlan id 4242 ", "local 10.0.1.2 ", "dstport 4789 ", "nolearning", &format!("mtu {VXLAN_MTU}")]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let addresses = site.ip(0, &format!("-6 -o address show {VXLAN_DEVICE}"));
    assert!(addresses.contains(&format!("{}/64", link_local(site.member(0)))), "{addresses}");
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
    assert_eq!(site.neighbours(0), FIXED);
    let forwarding = site.frontends[0].feed("bridge", &["fdb", "show", "dev", VXLAN_DEVICE], "").unwrap();
    assert!(forwarding.contains("02:61:0a:00:02:02 dst 10.0.2.2 self permanent"), "{forwarding}");
    assert_eq!(forwarding.lines().count(), 1, "{forwarding}");

    assert_eq!(site.make(0, NUMBER), first);
    let second = site.make(0, NUMBER + 1);
    assert_ne!(second, first);
    assert!(site.ip(0, &format!("-d link show {VXLAN_DEVICE}")).contains("vxlan id 4243 "));
    assert_eq!(site.neighbours(0), FIXED);
    site.remove(0);
    assert!(!site.ip(0, "link show").contains(VXLAN_DEVICE));
    site.remove(0);
}

#[test]
fn test_packets_show_whether_the_vxlan_carries_packets() {
    if !is_root() {
        return;
    }
    for outer in [Outer::V4, Outer::V6] {
        let site = Site::new(outer);
        site.make_both();
        site.ring();
        let counted = |frontend: usize| {
            let printed = site.frontends[frontend].feed("nft", &["-j", "list", "counters"], "").unwrap();
            counters::test_packets(&printed).unwrap().map(Option::unwrap)
        };
        let send = || {
            site.frontends[0].run(|| VIPS.into_iter().for_each(|vip| test_packets::send(vip, PORT).unwrap()));
        };
        let taken = TestPacketCounters { arrived: 1, delivered: 1, ..TestPacketCounters::default() };
        send();
        let arrived = until(PATIENCE, || if counted(1) == [taken; 2] { Ok(()) } else { Err(counted(1)) });
        assert_eq!(arrived, Ok(()), "{outer:?}");
        site.frontends[1]
            .nft("table inet fw { chain in { type filter hook input priority 0; udp dport 4789 drop; }\n}");
        send();
        std::thread::sleep(QUIET);
        assert_eq!(counted(0).map(|counted| counted.sent), [2; 2]);
        assert_eq!(counted(1), [taken; 2], "{outer:?}: they are lost");
    }
}

#[test]
fn nothing_is_left_of_a_member_that_was_removed_from_the_list() {
    if !is_root() {
        return;
    }
    for outer in [Outer::V4, Outer::V6] {
        let site = Site::new(outer);
        let (own, other) = (site.member(0), site.member(1));
        let leaves: IpAddr = match outer {
            Outer::V4 => "10.0.2.99".parse().unwrap(),
            Outer::V6 => "2001:db8:a2::99".parse().unwrap(),
        };
        let make = |members: Vec<IpAddr>| {
            let settings = VxlanSettings { number: NUMBER, own, members };
            site.frontends[0].run(move || block_on(async move { vxlan::make(&settings).await.unwrap() }))
        };
        let shown = || {
            let forwarding =
                site.frontends[0].feed("bridge", &["fdb", "show", "dev", VXLAN_DEVICE], "").unwrap();
            let v4 = site.ip(0, &format!("-4 route show dev {VXLAN_DEVICE}"));
            let neighbours = site.ip(0, &format!("neigh show dev {VXLAN_DEVICE} nud permanent"));
            [forwarding, v4, neighbours].map(|text| text.lines().map(str::to_owned).collect::<Vec<String>>())
        };
        let both = [other, leaves];
        let index = make(both.to_vec());
        assert_eq!(shown().map(|lines| lines.len()), [2, 2, 4], "{outer:?} {:?}", shown());
        // An entry of somebody else for another device stays.
        site.frontends[0].ip(&["neigh add 10.0.1.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent"]);
        for kept in both {
            assert_eq!(make(both.to_vec()), index);
            assert_eq!(make(vec![kept]), index, "the device stays");
            let [forwarding, routes, neighbours] = shown();
            assert_eq!((forwarding.len(), routes.len(), neighbours.len()), (1, 1, 2), "{outer:?} {kept}");
            assert!(forwarding[0].contains(&format!(" dst {kept} ")), "{forwarding:?}");
            assert!(routes[0].starts_with(&next_hop_v4(kept).to_string()), "{routes:?}");
            let addresses = [next_hop_v4(kept).to_string(), link_local(kept).to_string()];
            for address in addresses {
                let found = |line: &String| line.split(' ').next() == Some(&address);
                assert!(neighbours.iter().any(found), "{address}: {neighbours:?}");
            }
        }
        assert!(site.ip(0, "neigh show dev eth0 nud permanent").contains("10.0.1.77"));
        assert_eq!(make(Vec::new()), index);
        assert_eq!(shown().map(|lines| lines.len()), [0; 3], "{outer:?} {:?}", shown());
    }
}

#[test]
fn a_host_without_ipv6_has_a_device_for_ipv4() {
    if !is_root() {
        return;
    }
    let site = Site::new(Outer::V4);
    site.frontends[0].sysctl(&[("ipv6/conf/default/disable_ipv6", "1")]);
    site.make_both();
    let printed = site.ip(0, &format!("neigh show dev {VXLAN_DEVICE} nud permanent"));
    assert!(printed.contains("250.0.2.2 lladdr 02:61:0a:00:02:02 PERMANENT"), "{printed}");
}
