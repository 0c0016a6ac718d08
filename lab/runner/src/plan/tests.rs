use announcer::config::endpoint::{ProbeTarget, TargetAddress};
use expect_test::{Expect, expect};

use super::*;
use crate::header::header;
use crate::router_file;

/// A configuration with these peers (`ADDRESS` and more lines) and VIPs.
pub(crate) fn config(index: usize, peers: &[&str], vips: &str) -> ConfigFile {
    let peer = |(number, peer): (usize, &&str)| {
        let (address, more) = peer.split_once('\n').unwrap_or((peer, ""));
        format!("[[peer]]\nname = \"p{}\"\naddress = \"{address}\"\nasn = 65000\n{more}\n", number + 1)
    };
    let peers: String = peers.iter().enumerate().map(peer).collect();
    let text = format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.255.0.{index}\"\n{peers}[[service]]\nname = \"www\"\nvips = [{vips}]\n[[service.check]]\nhttp = \"http://www.example.com/\"\n"
    );
    let config = announcer::config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors}"));
    ConfigFile { file: format!("{index}.toml"), config }
}

pub(crate) fn configs(peers: &[&[&str]]) -> Vec<ConfigFile> {
    let numbered = peers.iter().enumerate();
    numbered.map(|(index, peers)| config(index + 1, peers, "\"192.0.2.80\", \"2001:db8::80\"")).collect()
}

/// FRR with these interfaces (`NAME ADDRESS…`) and neighbours.
pub(crate) fn frr(interfaces: &[&str], neighbours: &[&str]) -> String {
    let mut text = String::new();
    for interface in interfaces {
        let mut words = interface.split(' ');
        text += &format!("interface {}\n", words.next().unwrap());
        for address in words {
            let family = if address.contains(':') { "ipv6" } else { "ip" };
            text += &format!(" {family} address {address}\n");
        }
    }
    text += "router bgp 65000\n";
    for neighbour in neighbours {
        text += &match neighbour.contains('/') {
            true => format!(" bgp listen range {neighbour} peer-group FE\n"),
            false => format!(" neighbor {neighbour} remote-as 65001\n"),
        };
    }
    text
}

pub(crate) fn bird(neighbours: &[&str]) -> String {
    let session = |neighbour: &&str| format!("protocol bgp {{ neighbor {neighbour} as 65001; }}\n");
    neighbours.iter().map(session).collect()
}

pub(crate) fn routers(texts: &[String]) -> Vec<RouterInput> {
    let numbered = texts.iter().enumerate();
    let input = |(index, text): (usize, &String)| RouterInput {
        file: format!("{}.conf", index + 1),
        read: router_file::read(text).unwrap(),
    };
    numbered.map(input).collect()
}

#[track_caller]
fn planned(peers: &[&[&str]], files: &[String], wanted: Expect) {
    let configs = configs(peers);
    wanted.assert_eq(&match plan(&configs, &routers(files)) {
        Ok(plan) => {
            let sessions = plan.frontends.iter().flat_map(|frontend| {
                frontend.sessions.iter().map(|session| {
                    format!("{} {}: {} to {}\n", frontend.name, session.peer, session.from, session.to)
                })
            });
            header(&plan, &configs, None) + &sessions.collect::<String>()
        }
        Err(refused) => refused.join("\n"),
    });
}

#[test]
fn a_peer_is_on_the_interface_with_its_address() {
    planned(
        &[&["10.1.1.0", "10.2.1.0"], &["10.1.2.0"]],
        &[frr(
            &["eth1 10.1.0.0/31", "eth2 10.1.1.0/31 2001:db8:1:1::1/64", "ens7 10.1.2.0/31"],
            &["10.1.1.1", "10.1.2.1"],
        )],
        expect![[r#"
            router r1: FRR, 1.conf
              eth2 10.1.1.0/31 2001:db8:1:1::1/64 to fe1
              ens7 10.1.2.0/31 2001:2:0:2::1/64 to fe2
            frontend fe1: 1.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.1.1.1/31 2001:db8:1:1::2/64 to r1
            frontend fe2: 2.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.1.2.1/31 2001:2:0:2::2/64 to r1
            note: 1.toml: peer `p2`: 10.2.1.0 is not on a link of any --router file, so this session stays down; its other sessions are played
            note: 1.conf gives r1 no IPv6 address on ens7, which the next hop of IPv6 VIPs needs: the lab sets 2001:2:0:2::1/64

            fe1 p1: 10.1.1.1 to 10.1.1.0
            fe2 p1: 10.1.2.1 to 10.1.2.0
        "#]],
    );
}

#[test]
fn without_interfaces_the_neighbours_say_which_subnet_it_is() {
    planned(
        &[&["10.1.1.0"], &["10.9.9.1"], &["2001:db8:5::1"], &["10.8.0.10"], &["10.8.0.10"]],
        &[bird(&["10.1.1.1", "10.9.9.11", "2001:db8:5::2", "10.8.0.11", "10.8.0.12"])],
        expect![[r#"
            router r1: BIRD, 1.conf
              eth1 10.1.1.0/31 2001:2:0:1::1/64 to fe1
              eth2 10.9.9.1/24 2001:2:0:2::1/64 to fe2
              eth3 2001:db8:5::1/64 to fe3
              eth4 10.8.0.10/24 2001:2:0:4::1/64 to fe4, fe5
            frontend fe1: 1.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.1.1.1/31 2001:2:0:1::2/64 to r1
            frontend fe2: 2.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.9.9.11/24 2001:2:0:2::2/64 to r1
            frontend fe3: 3.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 2001:db8:5::2/64 to r1
            frontend fe4: 4.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.8.0.11/24 2001:2:0:4::2/64 to r1, fe5
            frontend fe5: 5.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.8.0.12/24 2001:2:0:4::3/64 to r1, fe4
            note: 1.conf gives r1 no IPv6 address on eth1, which the next hop of IPv6 VIPs needs: the lab sets 2001:2:0:1::1/64
            note: 1.conf gives r1 no IPv6 address on eth2, which the next hop of IPv6 VIPs needs: the lab sets 2001:2:0:2::1/64
            note: 1.conf gives r1 no IPv6 address on eth4, which the next hop of IPv6 VIPs needs: the lab sets 2001:2:0:4::1/64

            fe1 p1: 10.1.1.1 to 10.1.1.0
            fe2 p1: 10.9.9.11 to 10.9.9.1
            fe3 p1: 2001:db8:5::2 to 2001:db8:5::1
            fe4 p1: 10.8.0.11 to 10.8.0.10
            fe5 p1: 10.8.0.12 to 10.8.0.10
        "#]],
    );
}

#[test]
fn frontends_and_routers_of_one_subnet_share_a_bridge() {
    planned(
        &[
            &["10.0.0.1", "10.0.0.2"],
            &["10.0.0.1\nsource_address = \"10.0.0.11\"", "10.0.0.2\nsource_address = \"10.0.0.11\""],
        ],
        &[bird(&["10.0.0.11", "10.0.0.12"]), frr(&["bond0 10.0.0.2/24"], &["10.0.0.11", "10.0.0.12"])],
        expect![[r#"
            router r1: BIRD, 1.conf
              eth1 10.0.0.1/24 2001:2:0:1::1/64 to r2, fe1, fe2
            router r2: FRR, 2.conf
              bond0 10.0.0.2/24 2001:2:0:1::2/64 to r1, fe1, fe2
            frontend fe1: 1.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.0.0.12/24 2001:2:0:1::2/64 to r1, r2, fe2
            frontend fe2: 2.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              eth1 10.0.0.11/24 2001:2:0:1::3/64 to r1, r2, fe1
            note: 1.conf gives r1 no IPv6 address on eth1, which the next hop of IPv6 VIPs needs: the lab sets 2001:2:0:1::1/64
            note: 2.conf gives r2 no IPv6 address on bond0, which the next hop of IPv6 VIPs needs: the lab sets 2001:2:0:1::2/64

            fe1 p1: 10.0.0.12 to 10.0.0.1
            fe1 p2: 10.0.0.12 to 10.0.0.2
            fe2 p1: 10.0.0.11 to 10.0.0.1
            fe2 p2: 10.0.0.11 to 10.0.0.2
        "#]],
    );
}

#[test]
fn a_range_of_neighbours_takes_any_host_and_two_sessions_of_one_interface_one_cable() {
    planned(
        &[&["10.3.0.1", "2001:db8:3::1\ninterface = \"bond0\""]],
        &[frr(&["eth5 10.3.0.1/24 2001:db8:3::1/64"], &["10.3.0.0/16", "2001:db8:3::/64"])],
        expect![[r#"
            router r1: FRR, 1.conf
              eth5 10.3.0.1/24 2001:db8:3::1/64 to fe1
            frontend fe1: 1.toml, VIPs 192.0.2.80, 2001:db8::80, nginx for its checks
              bond0 10.3.0.2/24 2001:db8:3::2/64 to r1

            fe1 p1: 10.3.0.2 to 10.3.0.1
            fe1 p2: 2001:db8:3::2 to 2001:db8:3::1
        "#]],
    );
}

#[test]
fn what_the_lab_cannot_do_is_refused_with_file_and_place() {
    let link = || frr(&["eth2 10.1.1.0/31"], &["10.1.1.1"]);
    let wide = || frr(&["eth2 10.1.1.1/24"], &["10.1.1.2"]);
    let cases: [(&[&[&str]], Vec<String>); 11] = [
        (&[&["10.8.0.1"]], vec![link()]),
        (&[&["10.1.1.0\nmultihop = 3\nttl_security = true"]], vec![link()]),
        (&[&["10.1.1.0\nport = 1179"]], vec![link()]),
        (&[&["default-gateway", "fe80::1\ninterface = \"eth1\""]], vec![link()]),
        (&[&["10.1.1.0\nsource_address = \"10.1.7.1\""]], vec![link()]),
        (&[&["10.1.1.1\nsource_address = \"10.1.1.3\""]], vec![wide()]),
        (&[&["10.1.1.0"]], vec![frr(&["eth2 10.1.1.0/31"], &["10.1.7.1"])]),
        (&[&["10.1.1.0"]], vec![link(), bird(&["10.7.7.1"])]),
        (&[&["10.1.1.0"]], vec![frr(&["lo 10.1.1.0/32"], &["10.1.1.1"])]),
        // The router has another address in this subnet.
        (&[&["10.1.1.7"]], vec![wide()]),
        // Two frontends cannot have the address of one neighbour.
        (&[&["10.1.1.1"], &["10.1.1.1"]], vec![wide()]),
    ];
    let mut said = String::new();
    for (peers, files) in cases {
        let refused = plan(&configs(peers), &routers(&files)).unwrap_err();
        said += &format!("{}\n\n", refused.join("\n"));
    }
    expect![[r#"
        1.toml: peer `p1`: 10.8.0.1 is not on a link of any --router file: give the file of its router, in which an interface has the address 10.8.0.1, or which has a neighbour in the subnet of 10.8.0.1

        1.toml: peer `p1`: `multihop = 3`: in the lab every router is directly connected, so leave it out

        1.toml: peer `p1`: `port = 1179`: the routers of the lab listen on port 179, so leave it out

        1.toml: peer `p1`: the lab does not know which router `address = "default-gateway"` is: write the router's address
        1.toml: peer `p2`: the lab does not choose link-local addresses, such as fe80::1: write a global address of the router

        1.toml: peer `p1`: `source_address = "10.1.7.1"` is not in 10.1.1.0/31, the subnet of 1.conf with 10.1.1.0: write an address of it

        1.toml: peer `p1`: 1.conf does not expect a session from `source_address = "10.1.1.3"`: write it as a neighbour there

        1.toml: peer `p1`: 1.conf has no neighbour in 10.1.1.0/31 that is not taken: write one there, such as `neighbor 10.1.1.1`

        2.conf: no --config has a peer on this router: leave it out

        1.conf: the lab cannot connect the interface `lo`: write the addresses of the peers at one such as `eth1`

        1.toml: peer `p1`: 10.1.1.7 is not on a link of any --router file: give the file of its router, in which an interface has the address 10.1.1.7, or which has a neighbour in the subnet of 10.1.1.7

        2.toml: peer `p1`: 1.conf has no neighbour in 10.1.1.0/24 that is not taken: write one there, such as `neighbor 10.1.1.3`

    "#]].assert_eq(&said);
    let own = |target: &str| {
        let peers = ["10.1.1.0"];
        let mut config = config(1, &peers, "\"192.0.2.80\"");
        config.config.services[0].checks[0].target =
            Some(ProbeTarget::Address(TargetAddress { ip: target.parse().unwrap(), port: None }));
        plan(&[config], &routers(&[link()])).map(|_| ())
    };
    for target in ["127.0.0.1", "192.0.2.80", "10.1.1.1"] {
        assert_eq!(own(target), Ok(()), "{target}");
    }
    assert!(
        own("10.1.1.0").unwrap_err()[0].contains("`target = \"10.1.1.0\"` is no address of this frontend")
    );
    let mut socket = config(1, &["10.1.1.0"], "\"192.0.2.80\"");
    let with_socket = "[bgp]\nasn = 65001\nrouter_id = \"10.255.0.1\"\n[[peer]]\nname = \"p1\"\naddress = \"10.1.1.0\"\nasn = 65000\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\ntarget = \"unix:/run/app.sock\"\n";
    socket.config = announcer::config::parse("test", with_socket).unwrap_or_else(|errors| panic!("{errors}"));
    let refused = plan(&[socket], &routers(&[link()])).unwrap_err();
    assert!(refused[0].contains("`target = \"unix:/run/app.sock\"` is no address of this frontend"));
    let many: Vec<String> = (0..9).map(|_| link()).collect();
    let refused = plan(&configs(&[&["10.1.1.0"]]), &routers(&many)).unwrap_err();
    assert_eq!(refused, ["a lab has at most 8 routers, and --router is there 9 times"]);
}
