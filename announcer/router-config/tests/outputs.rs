//! The configuration and the commands of each system, for seven setups. `UPDATE_EXPECT=1` writes them again; the diff shows what
//! changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::fmt::Write;
use std::time::Duration;

use expect_test::expect_file;
use router_config::{Bfd, Facts, Family, Frontends, Question, System, commands, configuration};

/// eBGP with both families, MD5 and GTSM, two frontends.
fn dual_stack() -> Facts {
    Facts {
        router: "r1".into(),
        router_asn: Some(65000),
        router_address: Some("10.0.1.1".parse().unwrap()),
        frontend_asn: 65001,
        frontends: Frontends::Addresses(vec!["10.0.1.11".parse().unwrap(), "10.0.1.12".parse().unwrap()]),
        families: vec![Family::Ipv4, Family::Ipv6],
        prefixes: vec!["192.0.2.80/32".parse().unwrap(), "2001:db8::80/128".parse().unwrap()],
        ports: vec![80, 443],
        md5_file: Some("/etc/announcer/r1.key".into()),
        ttl_security: true,
        hops: 1,
        hold_time: 9,
        sends_graceful_shutdown: true,
        extended_next_hop: false,
        unnumbered: false,
        bfd: None,
    }
}

/// iBGP with IPv4 alone. The address of the frontend is not known, and no check probes a port.
fn internal() -> Facts {
    Facts {
        router_asn: Some(65001),
        frontends: Frontends::Unknown,
        families: vec![Family::Ipv4],
        prefixes: vec!["192.0.2.0/24".parse().unwrap()],
        ports: vec![],
        md5_file: None,
        ttl_security: false,
        hold_time: 30,
        sends_graceful_shutdown: false,
        ..dual_stack()
    }
}

/// eBGP over IPv6 with a range of frontends and 40 VIPs.
fn range() -> Facts {
    Facts {
        router_address: Some("2001:db8:1::1".parse().unwrap()),
        frontends: Frontends::Range("2001:db8:1::/64".parse().unwrap()),
        families: vec![Family::Ipv4],
        prefixes: (80..120).map(|byte| std::net::IpAddr::from([192, 0, 2, byte]).into()).collect(),
        ports: vec![443],
        md5_file: None,
        ttl_security: false,
        extended_next_hop: true,
        ..dual_stack()
    }
}

/// eBGP with GTSM over several hops, and IPv6 VIPs alone.
fn far() -> Facts {
    Facts {
        families: vec![Family::Ipv6],
        prefixes: vec!["2001:db8::80/128".parse().unwrap()],
        md5_file: None,
        hops: 3,
        ..dual_stack()
    }
}

/// BFD with the default values, with each of the addresses and with a router that is further away.
fn with_bfd(facts: Facts) -> Facts {
    let bfd = Bfd { interval: Duration::from_millis(300), multiplier: 3, is_strict: false };
    Facts { bfd: Some(bfd), ..facts }
}

/// eBGP with both families and BFD between link-local addresses; the router is learnt.
fn unnumbered() -> Facts {
    let facts = Facts {
        router_address: None,
        frontends: Frontends::Unknown,
        md5_file: None,
        ttl_security: false,
        extended_next_hop: true,
        unnumbered: true,
        ..dual_stack()
    };
    with_bfd(facts)
}

fn outputs(system: System) -> [(&'static str, String); 7] {
    let all = [
        ("dual-stack", dual_stack()),
        ("internal", internal()),
        ("range", range()),
        ("far", far()),
        ("bfd", with_bfd(Facts { prefixes: far().prefixes, families: vec![Family::Ipv6], ..dual_stack() })),
        ("unnumbered", unnumbered()),
        ("bfd-far", with_bfd(Facts { ttl_security: false, ..far() })),
    ];
    all.map(|(name, facts)| {
        let mut text = configuration(system, &facts);
        text += "\n";
        for command in commands(system, &facts) {
            writeln!(text, "{:<9} {}", command.question.name(), command.text).unwrap();
        }
        (name, text)
    })
}

#[test]
fn each_configuration_is_as_recorded() {
    for system in System::ALL {
        for (name, text) in outputs(system) {
            let file = format!("{}/tests/outputs/{system}-{name}.txt", env!("CARGO_MANIFEST_DIR"));
            expect_file![file].assert_eq(&text);
        }
    }
}

#[test]
fn each_configuration_has_every_prefix_and_never_a_wider_one() {
    for system in System::ALL {
        let text = configuration(system, &range());
        for prefix in range().prefixes {
            let shown = [prefix.to_string(), format!("host {}", prefix.addr())];
            assert!(shown.iter().any(|prefix| text.contains(prefix)), "{system}: {prefix}\n{text}");
        }
        assert!(!text.contains("192.0.2.0/24"), "{system}\n{text}");
    }
}

#[test]
fn routeros_filters_nothing_until_the_comment_signs_are_removed() {
    let text = configuration(System::Routeros, &dual_stack());
    assert!(!text.lines().any(|line| line.starts_with("add chain=forward")), "{text}");
    assert!(text.contains("# add chain=forward dst-address-list=announcer-vips action=drop"), "{text}");
}

#[test]
fn a_link_local_address_has_an_interface() {
    for system in System::ALL {
        let address = |facts| configuration(system, &facts);
        let known =
            Frontends::Addresses(vec!["fe80::11".parse().unwrap(), "2001:db8:1::12".parse().unwrap()]);
        let text = address(Facts { frontends: known, ..dual_stack() });
        let named = ["fe80::11%", "interface ", "update-source "];
        assert!(
            named.iter().any(|word| text.contains(&format!("{word}FRONTEND-INTERFACE"))),
            "{system}\n{text}"
        );
        assert!(text.contains("FRONTEND-INTERFACE: write"), "{system}\n{text}");
        assert!(!text.contains("::12%"), "{system}\n{text}");
        let router = Some("fe80::1".parse().unwrap());
        let text = address(Facts { router_address: router, frontends: Frontends::Unknown, ..dual_stack() });
        assert!(text.matches("FRONTEND-INTERFACE").count() >= 2, "{system}\n{text}");
        assert!(!address(dual_stack()).contains("FRONTEND-INTERFACE"), "{system}");
    }
}

#[test]
fn each_system_names_the_router_id_without_an_ipv4_address() {
    for system in System::ALL.into_iter().filter(|system| *system != System::Routeros) {
        let text = configuration(system, &range());
        assert!(
            text.contains("router-id ROUTER-ID")
                || text.contains("router id ROUTER-ID")
                || text.contains("ROUTER-ID: write"),
            "{system}\n{text}"
        );
        assert!(!configuration(system, &dual_stack()).contains("ROUTER-ID"), "{system}");
    }
}

#[test]
fn a_range_of_the_whole_internet_has_a_warning() {
    let of = |range: &str| {
        let frontends = Frontends::Range(range.parse().unwrap());
        configuration(System::Frr, &Facts { frontends, ..dual_stack() }).contains("! WARNING: any host")
    };
    assert_eq!([of("0.0.0.0/0"), of("::/0"), of("10.0.0.0/8")], [true, true, false]);
}

#[test]
fn openbgpd_has_no_hold_time_of_zero() {
    let text = configuration(System::Openbgpd, &Facts { hold_time: 0, ..dual_stack() });
    assert!(!text.contains("\n    holdtime") && text.contains("OpenBGPD refuses 0"), "{text}");
    let text = configuration(System::Openbgpd, &dual_stack());
    assert!(text.contains("\n    holdtime 9\n"), "{text}");
}

#[test]
fn a_key_is_named_by_its_router() {
    for system in System::ALL {
        let text = configuration(system, &dual_stack());
        assert!(text.matches("KEY-OF-r1").count() >= 2, "{system}\n{text}");
        assert_eq!(text.matches("/etc/announcer/r1.key").count(), 1, "{system}\n{text}");
    }
}

#[test]
fn the_path_of_a_key_changes_no_line_of_the_configuration() {
    let lines = |system, file: &str| {
        let text = configuration(system, &Facts { md5_file: Some(file.into()), ..dual_stack() });
        let comment = if text.starts_with('!') { '!' } else { '#' };
        let lines = text.lines().filter(|line| !line.trim_start().starts_with(comment));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for system in System::ALL {
        let plain = lines(system, "/etc/announcer/r1.key");
        for file in ["/etc/r1\nrouter bgp 1\n", "/etc/a b", "/etc/\"r1", &format!("/{}", "x".repeat(200))] {
            assert_eq!(lines(system, file), plain, "{system} {file:?}");
        }
    }
}

#[test]
fn bfd_is_in_the_configuration_if_the_frontends_have_it() {
    for system in System::ALL {
        let (without, with) = (dual_stack(), with_bfd(dual_stack()));
        let asks = |facts| commands(system, facts).iter().any(|command| command.question == Question::Bfd);
        let text = configuration(system, &without);
        assert!(!text.to_lowercase().contains("bfd") && !asks(&without), "{system}\n{text}");
        let text = configuration(system, &with);
        let has_none = [System::Openbgpd, System::Gobgp].contains(&system);
        assert_eq!(text.contains("No BFD: "), has_none, "{system}\n{text}");
        assert_eq!(asks(&with), !has_none, "{system}");
        assert_eq!(text.contains("300"), !has_none, "{system}\n{text}");
        if has_none {
            let strict = with.bfd.map(|bfd| Bfd { is_strict: true, ..bfd });
            let text = configuration(system, &Facts { bfd: strict, ..with });
            assert!(text.contains("never connects"), "{system}\n{text}");
        }
    }
}

#[test]
fn bfd_over_several_hops_and_gtsm_do_not_go_together_at_frr_and_bird() {
    for (system, words) in [(System::Frr, "takes a neighbour with"), (System::Bird, "with TTL 64")] {
        let has =
            |facts| configuration(system, &facts).replace("\n! ", " ").replace("\n# ", " ").contains(words);
        assert!(has(with_bfd(far())), "{system}");
        assert!(!has(with_bfd(Facts { ttl_security: false, ..far() })), "{system}");
        assert!(!has(with_bfd(dual_stack())) && !has(far()), "{system}");
    }
}

#[test]
fn an_interval_that_a_system_does_not_take_is_said() {
    let bfd = |system| {
        let bfd = Bfd { interval: Duration::from_millis(10), multiplier: 1, is_strict: false };
        configuration(system, &Facts { bfd: Some(bfd), ..dual_stack() })
    };
    for (system, words) in [
        (System::IosXe, "bfd interval 50 min_rx 50 multiplier 3"),
        (System::NxOs, "bfd interval 50 min_rx 50 multiplier 1"),
        (System::Eos, "bfd interval 50 min-rx 50 multiplier 3"),
        (System::IosXr, "bfd multiplier 2"),
        (System::Frr, "detect-multiplier 2"),
    ] {
        let text = bfd(system);
        assert!(text.contains(words), "{system}: {words}\n{text}");
        assert!(text.contains("The frontends have BFD with 10 ms"), "{system}\n{text}");
    }
    assert!(bfd(System::Bird).contains("bfd { interval 10 ms; multiplier 1; };"));
}
