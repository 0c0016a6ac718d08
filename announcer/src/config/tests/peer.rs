//! When two values of a peer are of one session, and of one router.

use super::{GOOD, parse};

#[test]
fn what_is_said_can_change_on_a_session_and_what_it_runs_on_cannot() {
    let of = |from: &str, to: &str| parse("x", &GOOD.replacen(from, to, 1)).unwrap().peers.remove(0);
    let keyed = |file: &str| of("port = 179", &format!("password_file = \"{file}\""));
    let before = of("", "");
    for (from, to) in [
        ("port = 179", "med = 7"),
        ("port = 179", "communities = []"),
        ("port = 179", "os = \"eos\""),
        ("2001:db8:1::11", "2001:db8:1::12"),
    ] {
        assert!(before.same_session(&of(from, to)), "{to}");
        assert_ne!(before, of(from, to));
    }
    assert!(keyed("a").same_session(&keyed("b")), "the key is changed on the live socket");
    for (from, to) in [
        ("179", "180"),
        ("asn = 65000", "asn = \"external\""),
        ("9s", "12s"),
        ("10.0.1.1\"", "10.0.1.2\""),
        ("port = 179", "ttl_security = true"),
        ("port = 179", "families = [\"ipv4\"]"),
        ("port = 179", "password_file = \"a\""),
        ("port = 179", "capabilities = false"),
    ] {
        assert!(!before.same_session(&of(from, to)), "{to}");
    }
    assert!(!keyed("a").same_session(&before));
}

#[test]
fn two_interfaces_may_have_two_routers_with_one_address() {
    let peer = |line: &str| {
        let text = GOOD.replace("port = 179", line).replace("med = 100", "peers = [\"r1\"]");
        parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).peers.remove(0)
    };
    let (eth0, eth1) = ("interface = \"eth0\"", "interface = \"eth1\"");
    for (one, other, want) in [
        ("", "", true),
        (eth0, eth0, true),
        (eth0, "", true), // the route of the other may be the same
        (eth0, eth1, false),
        ("port = 179", "port = 1179", false),
        ("vrf = \"edge\"", "vrf = \"edge\"", true),
        ("vrf = \"edge\"", "vrf = \"red\"", false),
        ("vrf = \"edge\"", "", false),
    ] {
        assert_eq!(peer(one).same_place(&peer(other)), want, "{one} {other}");
        assert_eq!(peer(other).same_place(&peer(one)), want, "{one} {other}");
    }
}
