//! The configuration of announcer, which names the VIPs.

use crate::common::is_root;
use crate::host::Host;

#[test]
fn the_vips_come_from_the_configuration() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let config = config.to_str().unwrap();
    std::fs::write(config, "[bgp]\nasn = 65001\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.99\"]\n")
        .unwrap();
    let (code, stdout, _) = host.wrapped(&[], &["plan", "--config", config]);
    assert!(code == 1 && stdout.contains("\nadd 192.0.2.99/32 to lo"), "{stdout}");
    let folder = host.dir.path().join("conf.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.toml"), "[[service]]\nname = \"api\"\nvips = [\"192.0.2.100\"]\n").unwrap();
    std::fs::write(folder.join("a.toml.dpkg-old"), "no TOML").unwrap();
    let (code, stdout, _) = host.wrapped(&[], &["plan", "--config", config]);
    assert!(code == 1 && stdout.contains("\nadd 192.0.2.100/32 to lo"), "{stdout}");
    std::fs::write(folder.join("a.toml"), "no TOML").unwrap();
    let (code, _, stderr) = host.wrapped(&[], &["plan", "--config", config]);
    assert!(code == 2 && stderr.contains("conf.d/a.toml:1:"), "{stderr}");
    std::fs::remove_dir_all(&folder).unwrap();

    std::fs::write(config, "[[service]]\nvips = [\"192.0.2.300\"]\n").unwrap();
    let (code, stdout, stderr) = host.wrapped(&[], &["apply", "--config", config]);
    let want = format!("error: {config}:2:9: `192.0.2.300` is not an IP address;");
    assert!(stderr.starts_with(&want), "{stderr}");
    assert_eq!((code, stdout.as_str(), host.netns.sysctl("all/arp_ignore").as_str()), (2, "", "0"));

    for args in [
        &["plan", "--config", "/nowhere.toml"][..],
        &["apply", "127.0.0.1"],
        &["apply", "192.0.2.80", "--config", config],
        &["frobnicate"],
    ] {
        assert_eq!(host.wrapped(&[], args).0, 2, "{args:?}");
    }
}

/// Cases H16, H18 and W7: dsr-setup.service runs before the network, so a file that never answers would stop a boot.
#[test]
fn a_configuration_that_cannot_be_read_is_refused_at_once_and_one_without_vips_is_allowed() {
    use std::os::unix::fs::symlink;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let run =
        |command: &str| host.wrapped(&["timeout", "10"], &[command, "--config", config.to_str().unwrap()]);
    for kind in ["a FIFO", "a folder", "a device", "a large file", "UTF-16", "Latin-1"] {
        let why = match kind {
            "a FIFO" => {
                nix::unistd::mkfifo(&config, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
                "it is not a regular file\n"
            }
            "a folder" => {
                std::fs::create_dir(&config).unwrap();
                "it is not a regular file\n"
            }
            "a device" => {
                symlink("/dev/zero", &config).unwrap();
                "it is not a regular file\n"
            }
            "a large file" => {
                std::fs::File::create(&config).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
                "the file is larger than 67108864 octets\n"
            }
            "UTF-16" => {
                std::fs::write(&config, b"\xff\xfe[\0b\0g\0p\0]\0").unwrap();
                ":1:1: octet 0xff: this file is UTF-16; "
            }
            _ => {
                std::fs::write(&config, b"[bgp]\n# f\xfcr\n").unwrap();
                ":2:4: octet 0xfc is not UTF-8; in Latin-1 it is `\u{fc}`: "
            }
        };
        let want = match why.strip_prefix(':') {
            Some(_) => format!("error: {}{why}", config.display()),
            None => format!("error: cannot read `{}`: {why}", config.display()),
        };
        for command in ["plan", "apply"] {
            let (code, stdout, stderr) = run(command);
            assert_eq!((code, stdout.as_str()), (2, ""), "{kind}: {stderr}");
            assert!(stderr.starts_with(&want), "{kind}: {stderr}");
        }
        if config.is_dir() {
            std::fs::remove_dir(&config).unwrap()
        } else {
            std::fs::remove_file(&config).unwrap()
        }
    }
    for text in ["[bgp]\nasn = 65001\n", "[[service]]\nname = \"www\"\nvips = []\n"] {
        std::fs::write(&config, text).unwrap();
        for command in ["plan", "apply"] {
            let warning = format!(
                "warning: `{}` names no VIP: there is nothing to do; add a `[[service]]` with `vips`\n",
                config.display()
            );
            assert_eq!(run(command), (0, String::new(), warning), "{command} {text}");
        }
        assert_eq!(host.netns.sysctl("all/arp_ignore"), "0");
    }
}

/// As announcer does: another user could otherwise choose the addresses that root puts on lo.
#[test]
fn a_file_or_folder_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let (config, folder) = (host.dir.path().join("announcer.toml"), host.dir.path().join("conf.d"));
    std::fs::write(&config, "[[service]]\nvips = [\"192.0.2.80\"]\n").unwrap();
    std::fs::create_dir(&folder).unwrap();
    let more = folder.join("a.toml");
    std::fs::write(&more, "[[service]]\nvips = [\"192.0.2.81\"]\n").unwrap();
    let plan = || host.wrapped(&["timeout", "10"], &["plan", "--config", config.to_str().unwrap()]);
    assert!(plan().1.contains("192.0.2.81"));
    for path in [&config, &more, &folder] {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(before.mode() | 0o002)).unwrap();
        let (code, stdout, stderr) = plan();
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        let want = format!("error: cannot read `{}`: others can write it (mode 07", path.display());
        let file = format!("error: cannot read `{}`: others can write it (mode 06", path.display());
        assert!(stderr.starts_with(&want) || stderr.starts_with(&file), "{stderr}");
        std::fs::set_permissions(path, before).unwrap();
    }
    assert_eq!(plan().0, 1);
}

#[test]
fn a_vrf_that_does_not_exist_is_named_by_each_command_and_another_interface_is_refused() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let service = |vip: &str, vrf: &str| format!("[[service]]\nvips = [\"{vip}\"]\nvrf = \"{vrf}\"\n");
    let write = |text: &str| std::fs::write(&config, text).unwrap();
    let run = |words: &[&str]| {
        let words = [words, &["--config", config.to_str().unwrap()]].concat();
        host.wrapped(&[], &words)
    };
    let sentence = "the VRF `edge` does not exist, so 192.0.2.81 cannot be put there; `ip link add edge type vrf table NUMBER` creates it";
    // It is the only one, or there are also VIPs on lo, which are as they should be.
    for rest in ["", "[[service]]\nvips = [\"192.0.2.80\"]\n"] {
        write(&(service("192.0.2.81", "edge") + rest));
        let warning = format!("warning: {sentence}\n");
        let (code, _, stderr) = run(&["apply"]);
        assert_eq!((code, stderr.as_str()), (1, warning.as_str()), "{rest}");
        assert_eq!(host.lo().contains("192.0.2.80/32"), !rest.is_empty(), "the others do not wait");
        assert_eq!(run(&["plan"]), (1, String::new(), warning), "{rest}");
        assert_eq!(run(&["check"]), (1, format!("{sentence}\n"), String::new()), "{rest}");
        let (code, stdout, _) = run(&["check", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &json["refused"]), (1, &serde_json::json!([sentence])), "{rest}");
        let (code, stdout, _) = run(&["doctor", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        let evidence = "192.0.2.81 is on no interface of this host: the VRF `edge` does not exist";
        let finding = json["findings"].as_array().unwrap().iter().find(|one| one["evidence"] == evidence);
        assert_eq!(
            (code, &finding.expect("a finding")["code"]),
            (1, &serde_json::json!("vip-missing")),
            "{rest}"
        );
        assert_eq!(host.remove(&[]).0, 0);
    }
    host.netns.run("ip link add edge type veth peer name far");
    for vrf in ["lo", "edge"] {
        write(&service("192.0.2.81", vrf));
        for command in ["plan", "check", "apply", "doctor"] {
            let (code, _, stderr) = run(&[command]);
            let want = format!(
                "error: `{vrf}` is not a VRF: write in `vrf` a name that `ip link show type vrf` prints\n"
            );
            assert_eq!((code, stderr), (2, want), "{command}");
        }
        assert!(!host.lo().contains("192.0.2.81"));
    }
}
