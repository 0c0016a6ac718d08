use super::*;

fn kept(source: ApplySource) -> Kept {
    Kept {
        device: "lo".into(),
        vips: ["192.0.2.80", "2001:db8::80"].map(|vip| vip.parse().unwrap()).into(),
        forwarding: Forwarding::No,
        apply: ApplyCommand { program: "/usr/bin/dsr-setup".into(), source },
        tunnels: Vec::new(),
    }
}

/// The paths and the texts; for a link its target.
fn written(keeper: Keeper, kept: &Kept) -> Vec<(String, String)> {
    let text = |file: KeptFile| {
        let content = match file.content {
            Content::Text(text, _) => text,
            Content::Link(target) => target.display().to_string(),
        };
        (file.path.display().to_string(), content)
    };
    files(keeper, kept).unwrap().into_iter().map(text).collect()
}

const SECTIONS: &str = "
[Address]
Address=192.0.2.80/32
Label=lo:vip
Scope=link

[Address]
Address=2001:db8::80/128
DuplicateAddressDetection=none
AddPrefixRoute=no
PreferredLifetime=0
";

#[test]
fn networkd_gets_every_property_of_a_vip_and_the_settings_come_before() {
    let [(sysctl, settings), (network, text)] = &written(Keeper::Networkd, &kept(ApplySource::Vips))[..]
    else {
        panic!("not two files")
    };
    assert_eq!(
        (sysctl.as_str(), network.as_str()),
        ("/etc/sysctl.d/60-dsr-setup.conf", "/etc/systemd/network/10-dsr-setup-lo.network")
    );
    assert!(
        settings.ends_with("\nnet.ipv4.conf.all.arp_ignore = 1\nnet.ipv4.conf.all.arp_announce = 2\n"),
        "{settings}"
    );
    assert!(text.contains("\n[Match]\nName=lo\n\n[Network]\n"), "{text}");
    assert!(text.ends_with(&format!("KeepConfiguration=static\n{SECTIONS}")), "{text}");
}

#[test]
fn netplan_gets_the_same_in_a_drop_in_of_the_file_that_it_writes() {
    let files = written(Keeper::Netplan, &kept(ApplySource::Vips));
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/etc/sysctl.d/60-dsr-setup.conf",
            "/etc/systemd/network/10-netplan-lo.network.d/dsr-setup.conf",
            "/etc/netplan/60-dsr-setup.yaml"
        ]
    );
    assert!(files[1].1.ends_with(SECTIONS) && !files[1].1.contains("[Match]"), "{}", files[1].1);
    assert!(files[2].1.contains("\n    lo: "), "{}", files[2].1);
}

#[test]
fn the_unit_applies_what_was_named_on_the_command_line_or_the_configuration_as_it_is_then() {
    for (source, want) in [
        (ApplySource::Vips, "\nExecStart=/usr/bin/dsr-setup apply --vip 192.0.2.80 --vip 2001:db8::80\n"),
        (
            ApplySource::Config("/etc/announcer/announcer.toml".into()),
            "\nExecStart=/usr/bin/dsr-setup apply --config /etc/announcer/announcer.toml\n",
        ),
    ] {
        let files = written(Keeper::Systemd, &kept(source));
        assert!(files[0].1.contains(want), "{}", files[0].1);
        assert_eq!(files[2].1, files[0].0, "the link leads to the unit");
        // `watch` has to keep just what was applied.
        assert_eq!(files[1].0, "/etc/systemd/system/dsr-setup-watch.service.d/60-dsr-setup-persist.conf");
        let want = format!("\n[Service]\nExecStart={}", want.replace(" apply ", " watch "));
        assert!(files[1].1.ends_with(&want), "{}", files[1].1);
    }
}

#[test]
fn a_path_that_systemd_would_read_differently_is_refused() {
    for path in ["/opt/my tools/dsr-setup", "/opt/%n/dsr-setup", "dsr-setup", "/opt/$HOME", "/a\nb", "/a\"b"]
    {
        let mut kept = kept(ApplySource::Vips);
        kept.apply.program = path.into();
        assert_eq!(files(Keeper::Systemd, &kept), Err(KeptError::Unquotable(path.into())));
        assert!(files(Keeper::Networkd, &kept).is_ok(), "networkd runs no program");
    }
}

#[test]
fn each_text_names_its_keeper_and_the_chain_adds_its_setting() {
    for keeper in Keeper::ALL {
        let mut kept = kept(ApplySource::Vips);
        kept.forwarding = Forwarding::Yes;
        let files = files(keeper, &kept).unwrap();
        for file in &files {
            match &file.content {
                Content::Text(text, mode) => {
                    assert!(text.starts_with(marker(keeper)) && text.ends_with('\n'), "{text}");
                    assert_eq!(mode & 0o022, 0, "{}", file.path.display());
                    let is_sysctl = file.path.starts_with("/etc/sysctl.d");
                    assert_eq!(text.contains("net.ipv4.tcp_fwmark_accept = 1\n"), is_sysctl, "{text}");
                }
                Content::Link(_) => assert_eq!(keeper, Keeper::Systemd),
            }
        }
    }
}

#[test]
fn only_the_units_keep_tunnels() {
    let mut kept = kept(ApplySource::Vips);
    kept.tunnels = vec![TunnelKind::Ipip, TunnelKind::Gre];
    let files = |keeper| files(keeper, &kept);
    let texts = written(Keeper::Systemd, &kept);
    for (_, text) in &texts[..2] {
        assert!(text.contains(" --vip 2001:db8::80 --tunnel ipip --tunnel gre\n"), "{text}");
    }
    let error = files(Keeper::Networkd).unwrap_err();
    assert_eq!(error.to_string(), "`--for networkd` cannot keep a tunnel: use `--for systemd`");
    assert_eq!(files(Keeper::Netplan), Err(KeptError::Tunnels("netplan")));
}

#[test]
fn another_device_is_named_in_every_file_and_waited_for() {
    let of = |device: &str| Kept { device: device.into(), ..kept(ApplySource::Vips) };
    let networkd = written(Keeper::Networkd, &of("vip0"));
    assert_eq!(networkd[1].0, "/etc/systemd/network/10-dsr-setup-vip0.network");
    let text = &networkd[1].1;
    assert!(text.contains("\n[Match]\nName=vip0\n") && text.contains("\nLabel=vip0:vip\n"), "{text}");
    assert!(!networkd.iter().any(|(_, text)| text.contains("lo:vip") || text.contains("on lo")), "{text}");

    let unit = &written(Keeper::Systemd, &of("vip0"))[0].1;
    assert!(unit.contains("\nExecStart=/usr/bin/dsr-setup apply --device vip0 --vip 192.0.2.80 "), "{unit}");
    assert!(!unit.contains("on lo"), "{unit}");
    for (device, want) in
        [("vip0", "vip0"), ("vip-a.7", "vip\\x2da.7"), (".x", "\\x2ex"), ("a+b@c:d_e", "a\\x2bb\\x40c:d_e")]
    {
        let wait = format!("sys-subsystem-net-devices-{want}.device\n");
        for (_, text) in &written(Keeper::Systemd, &of(device))[..2] {
            assert!(
                text.contains(&format!("\nWants={wait}")) && text.contains(&format!("\nAfter={wait}")),
                "{text}"
            );
            assert!(text.contains(&format!(" --device {device} --vip ")), "{text}");
        }
    }
    for (_, of_lo) in &written(Keeper::Systemd, &kept(ApplySource::Vips))[..2] {
        assert!(!of_lo.contains("--device") && !of_lo.contains("Wants="), "{of_lo}");
    }

    assert_eq!(files(Keeper::Netplan, &of("vip0")), Err(KeptError::Device("vip0".into())));
    for name in ["", "a b", "vip*", "%i"] {
        assert_eq!(files(Keeper::Networkd, &of(name)), Err(KeptError::UnquotableDevice(name.into())));
    }
}
