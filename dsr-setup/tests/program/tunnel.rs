//! `--tunnel` on a kernel that may have no such tunnel.

use crate::common::{Netns, is_root};
use crate::host::{Host, VIPS, done};

/// Whether the kernel has this kind of tunnel, as ip(8) finds it, in a namespace of its own.
fn kernel_has(kind: &str) -> bool {
    let ip = Netns::new()
        .command(&["ip", "link", "add", "probe", "type", kind, "local", "192.0.2.1"])
        .output()
        .unwrap();
    ip.status.success()
}

#[test]
fn a_kernel_without_a_kind_of_tunnel_is_named_before_anything_is_changed() {
    if !is_root() {
        return;
    }
    for (kind, device, module) in
        [("ipip", "tunl0", "ipip"), ("sit", "sit0", "sit"), ("gre", "gre0", "ip_gre")]
    {
        let host = Host::new();
        host.netns.run("ip link set lo up");
        let apply = || host.wrapped(&[], &[&["apply", "--tunnel", kind], &VIPS[..]].concat());
        let (code, stdout, stderr) = apply();
        if kernel_has(kind) {
            println!("this kernel has {kind}");
            assert_eq!(code, 0, "{stderr}");
            assert!(stdout.contains(&format!("set {device} up\n")), "{stdout}");
            assert_eq!(apply(), done(""));
            assert!(host.remove(&[]).1.starts_with(&format!("set {device} down\n")));
            continue;
        }
        let want = format!(
            "error: `make the tunnel device {device}` failed: this kernel has no tunnels of the kind `{kind}` (module `{module}`): install \
             the package with the modules of the running kernel, or boot another kernel; a director that forwards by MAC address \
             needs no tunnel\n"
        );
        assert_eq!((code, stdout.as_str(), stderr), (1, "", want));
        assert!(!host.lo().contains("192.0.2.80"), "nothing was changed");
        assert_eq!(host.netns.sysctl("all/arp_ignore"), "0");
        // `plan` does not ask the kernel for a device that is not there.
        let (code, stdout, _) = host.wrapped(&[], &[&["plan", "--tunnel", kind], &VIPS[..]].concat());
        assert_eq!(code, 1);
        assert!(stdout.starts_with(&format!("make the tunnel device {device}\n")), "{stdout}");
        assert!(stdout.ends_with(&format!("set {device} up\n")), "{stdout}");
        assert_eq!(host.remove(&[]), done(""));

        // Neither does `check`, which says what is missing beside the VIPs, as text and as JSON.
        assert_eq!(host.apply().0, 0);
        let check = |args: &[&str]| host.wrapped(&[], &[&["check", "--tunnel", kind], args, &VIPS].concat());
        let missing =
            format!("the tunnel device {device} is missing, so that no packet of a director comes out");
        let (code, stdout, _) = check(&[]);
        assert_eq!((code, stdout.lines().next()), (1, Some(missing.as_str())), "{stdout}");
        assert!(!stdout.contains(&format!("{device} is down")), "{stdout}");
        let (code, stdout, _) = check(&["--json"]);
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((code, &json["steps"][0]["drift"]), (1, &missing.into()), "{stdout}");
        assert_eq!(json["steps"][0]["step"], format!("make the tunnel device {device}"));
        assert_eq!(host.remove(&[]).0, 0);
    }
}

#[test]
fn an_interface_with_the_name_of_a_tunnel_is_not_taken_for_one() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    if kernel_has("ipip") {
        return until::skipped("this kernel makes a device tunl0 itself");
    }
    host.netns.run("ip link add tunl0 type veth peer name other");
    let (code, _, stderr) = host.wrapped(&[], &["apply", "--tunnel", "ipip", "--vip", "192.0.2.80"]);
    // A kernel without the kind refuses it before it looks at the name.
    assert_eq!(code, 1);
    assert!(
        stderr.contains("this kernel has no tunnels")
            || stderr.contains("is not a tunnel of the kind `ipip`"),
        "{stderr}"
    );
}
