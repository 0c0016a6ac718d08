//! The edges of what a VIP, a list of communities and a protocol of a handshake may be.

use super::{GOOD, printed};

#[test]
fn the_edges_of_what_a_vip_may_be() {
    let takes = |vip: &str| printed(&GOOD.replace("192.0.2.80", vip)) == "  good\n";
    for good in
        ["1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255"]
    {
        assert!(takes(good), "{good}");
    }
    for good in ["::1:0:0:0", "fc00::1", "fe7f::1", "fec0::1", "feff::1", "64:ff9b::1"] {
        assert!(takes(good), "{good}");
    }
    for bad in
        ["0.255.255.255", "127.0.0.0", "127.255.255.255", "169.254.255.255", "239.255.255.255", "240.0.0.0"]
    {
        assert!(!takes(bad), "{bad}");
    }
    for bad in ["::ffff:ffff", "::ffff:0.0.0.0", "fe80::", "febf:ffff::1", "ff00::", "ffff::1"] {
        assert!(!takes(bad), "{bad}");
    }
}

#[test]
fn communities_leave_room_for_vips() {
    let of = |count: usize| {
        let all: Vec<String> = (0..count).map(|i| format!("\"1:{i}\"")).collect();
        printed(&GOOD.replace("\"65001:80\"", &all.join(", ")))
    };
    assert_eq!(of(255), "  good\n");
    assert!(of(256).contains("17:15: 256 communities are too many"), "{}", of(256));
    for (key, each, most) in [("extended_communities", "rt:1:", 31), ("large_communities", "1:1:", 64)] {
        for (place, count) in [("med = 100", most), ("med = 100", most + 1), ("port = 179", most + 1)] {
            let all: Vec<String> = (0..count).map(|i| format!("\"{each}{i}\"")).collect();
            let printed = printed(&GOOD.replace(place, &format!("{place}\n{key} = [{}]", all.join(", "))));
            assert_eq!(printed.contains("are too many"), count > most, "{printed}");
        }
    }
    for (count, is_good) in [(16, true), (17, false)] {
        let all: Vec<String> = (0..count).map(|i| format!("\"1:{i}\"")).collect();
        let last_choice = format!("[service.deprefer]\ncommunities = [{}]", all.join(", "));
        let printed =
            printed(&GOOD.replace("[[service.check]]", &format!("{last_choice}\n[[service.check]]")));
        assert_eq!(printed == "  good\n", is_good, "{printed}");
    }
}

#[test]
fn the_edges_of_what_a_protocol_of_a_handshake_may_be() {
    let (most, too_long) = ("x".repeat(255), "x".repeat(256));
    for (name, is_good) in
        [(most.as_str(), true), (&too_long, false), ("", false), ("!~", true), ("h 2", false), ("hü", false)]
    {
        let tls = format!("tls = \"a\"\nalpn = [\"{name}\"]");
        let printed = printed(&GOOD.replace("http = \"http://www.example.com/healthz\"", &tls));
        assert_eq!(printed == "  good\n", is_good, "{printed}");
    }
}
