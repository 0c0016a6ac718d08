use std::os::fd::AsFd;

use super::*;
use crate::bfd::io::own_netns::in_own_netns;

fn vrf_device(name: &str) -> VrfDevice {
    VrfDevice { name: name.to_owned(), index: 7 }
}

/// The socket is bound to lo in place of a VRF, which not every kernel has. The ports are those of a namespace of the test.
#[test]
fn receivers_of_two_vrfs_share_a_port_and_no_other_program_does() {
    in_own_netns(|| {
        for family in [Family::V4, Family::V6] {
            let key =
                |vrf: Option<&str>| ReceiverKey { port: Port::SingleHop, family, vrf: vrf.map(vrf_device) };
            let main = receiver(&key(None), false).unwrap();
            assert!(receiver(&key(None), true).is_err(), "a second program");
            share(main.as_fd(), true).unwrap();
            let inside = receiver(&key(Some("lo")), true).unwrap();
            for (shared, is_open) in [(true, true), (false, false)] {
                for socket in [&main, &inside] {
                    share(socket.as_fd(), shared).unwrap();
                }
                for vrf in [None, Some("lo")] {
                    let other = receiver(&key(vrf), true);
                    assert_eq!(other.is_ok(), is_open, "another program, beside ours in {vrf:?}");
                }
            }
            share(inside.as_fd(), true).unwrap();
            let bound = SockRef::from(&inside).device().unwrap();
            assert_eq!(bound.as_deref(), Some(&b"lo"[..]));
            drop(main);
            let _main = receiver(&key(None), true).expect("it is opened again beside that of the VRF");
            let gone = key(Some("nosuch"));
            let error = receiver(&gone, true).unwrap_err();
            assert_eq!(
                receiver_error(&error, &gone),
                "the VRF `nosuch` does not exist; `ip link add nosuch type vrf table NUMBER` creates it"
            );
        }
    });
}

/// The sockets are bound to a veth device in place of a VRF, which not every kernel has.
#[test]
fn a_vrf_that_is_made_again_needs_another_receiver() {
    let ip = |arguments: &str| {
        let done = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    };
    let made = move || {
        for arguments in [
            "link add edge type veth peer name far",
            "address add 10.9.9.11/32 dev edge",
            "link set edge up",
            "link set far up",
            "route add 10.9.9.1/32 dev edge",
        ] {
            ip(arguments);
        }
        nix::net::if_::if_nametoindex("edge").unwrap()
    };
    let ends = |vrf_index: u32| Ends {
        local: "10.9.9.11".parse().unwrap(),
        peer: "10.9.9.1".parse().unwrap(),
        interface: vrf_index,
        device: Some("edge".to_owned()),
        vrf: Some(VrfDevice { name: "edge".to_owned(), index: vrf_index }),
        hops: 1,
        least_ttl: 255,
    };
    in_own_netns(move || {
        let (first, first_sender) = {
            let ends = ends(made());
            (receiver(&ReceiverKey::of(&ends), false).unwrap(), sender(&ends).unwrap())
        };
        let before = nix::net::if_::if_nametoindex("edge").unwrap();
        ip("link delete edge");
        let again = ends(made());
        assert_ne!(ReceiverKey::of(&again), ReceiverKey::of(&ends(before)), "the key of the former VRF");
        let error = send(first_sender.as_fd(), &again, b"x").unwrap_err();
        assert!(is_gone(&error), "{error}");
        send(sender(&again).unwrap().as_fd(), &again, b"x").expect("a new sender is in the new VRF");
        drop(receiver(&ReceiverKey::of(&again), false).expect("the former receiver does not have the port"));
        drop(first);
    });
}

#[test]
fn a_receiver_is_named_after_its_port_and_vrf() {
    let key = |vrf: Option<&str>| ReceiverKey {
        port: Port::Multihop,
        family: Family::V6,
        vrf: vrf.map(vrf_device),
    };
    assert_eq!(key(None).socket_name(), "bfd-receive-4784-ipv6");
    assert_eq!(key(Some("edge")).socket_name(), "bfd-receive-4784-ipv6-in-edge-7");
}
