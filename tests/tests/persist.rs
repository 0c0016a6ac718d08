//! Tests the files of `dsr-setup persist` with a real systemd and a real networkd, which boot with them.
//!
//! The test is skipped, with a message, if no systemd can boot. What netplan makes of its files is in dsr-setup/tests/program.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use self::machine::Machine;

const PROGRAM: &str = "usr/local/bin/dsr-setup";
const VIPS: [&str; 4] = ["--vip", "192.0.2.80", "--vip", "2001:db8::80"];

/// The files of a host that has dsr-setup.
fn image() -> TempDir {
    let image = TempDir::new().unwrap();
    fs::set_permissions(image.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = image.path().join(PROGRAM);
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/lab/bin/dsr-setup");
    fs::copy(built, program).unwrap();
    image
}

/// Runs `dsr-setup persist` of an image on it.
fn persist(image: &Path, args: &[&str]) -> String {
    let mut command = Command::new(image.join(PROGRAM));
    let output = command.arg("persist").args(args).arg("--root").arg(image).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Boots, or prints why it cannot.
fn boot(image: &Path) -> Option<Machine> {
    Machine::boot_with(image)
        .map_err(|why| until::skipped(format_args!("no systemd can be booted here: {}", why.trim())))
        .ok()
}

/// The VIPs are there as `apply` puts them there, and so are the settings.
fn kept(machine: &Machine) {
    let lo = "ip -d address show dev lo";
    machine.until("both VIPs", |machine| {
        let lo = machine.must(lo);
        lo.contains("192.0.2.80") && lo.contains("2001:db8::80")
    });
    let lo = machine.must(lo);
    assert!(lo.contains("inet 192.0.2.80/32 scope link lo:vip\n       valid_lft forever"), "{lo}");
    assert!(
        lo.contains(
            "inet6 2001:db8::80/128 scope global nodad deprecated noprefixroute \n       valid_lft forever preferred_lft 0sec"
        ),
        "{lo}"
    );
    assert!(lo.contains("inet 127.0.0.1/8 ") && lo.contains("inet6 ::1/128 "), "{lo}");
    assert_eq!(machine.must("cat /proc/sys/net/ipv4/conf/all/arp_ignore"), "1");
    assert_eq!(machine.must("cat /proc/sys/net/ipv4/conf/all/arp_announce"), "2");
    // There is nothing left to do.
    assert_eq!(machine.must(&format!("/{PROGRAM} plan {}", VIPS.join(" "))), "");
}

/// Nothing of it is there.
fn gone(machine: &Machine) {
    let lo = machine.must("ip -d address show dev lo");
    assert!(!lo.contains("192.0.2.80") && !lo.contains("2001:db8::80"), "{lo}");
    assert_eq!(machine.must("cat /proc/sys/net/ipv4/conf/all/arp_ignore"), "0");
}

#[test]
fn a_unit_keeps_the_vips_over_a_reboot() {
    let image = image();
    persist(image.path(), &[&["--for", "systemd", "--install"], &VIPS[..]].concat());
    let Some(machine) = boot(image.path()) else { return };
    kept(&machine);
    assert_eq!(machine.must("systemctl is-active dsr-setup-persist"), "active");
    machine.must("systemd-analyze verify --man=no /etc/systemd/system/dsr-setup-persist.service");
    // What the unit has done, `remove` undoes.
    machine.must(&format!("/{PROGRAM} remove"));
    gone(&machine);
    drop(machine);

    persist(image.path(), &["--for", "systemd", "--remove"]);
    gone(&boot(image.path()).unwrap());
}

/// `watch` keeps what the unit of `persist` applies: VIPs and tunnels of its command line, which are in no configuration.
#[test]
fn the_unit_of_watch_keeps_the_vips_and_the_tunnels_of_persist() {
    let image = image();
    let Some(machine) = boot(image.path()) else { return };
    machine.install();
    let args = VIPS.join(" ");
    machine.must(&format!("dsr-setup persist --for systemd --install {args} --tunnel ipip"));
    machine.must("systemctl daemon-reload && systemctl start dsr-setup-watch");
    let command = machine.must("systemctl show --value --property=ExecStart dsr-setup-watch");
    let want = format!("argv[]=/usr/local/bin/dsr-setup watch {args} --tunnel ipip ;");
    assert!(command.contains(&want) && command.matches("argv[]").count() == 1, "{command}");
    // In its sandbox, and as user announcer, it puts on the VIPs and the rules, and the device if the kernel has one.
    kept(&machine);
    machine.until("the rules of the tunnel", |machine| {
        machine.run("nft list table inet dsr-setup").1.contains("maxseg size set 1440")
    });
    let journal = machine.must("journalctl --no-pager --output cat --unit dsr-setup-watch");
    let lacks_it = journal.contains("this kernel has no tunnels of the kind `ipip`");
    assert_eq!(!lacks_it, machine.run("ip -o link show up | grep -q tunl0").0 == 0, "{journal}");
    machine.must("nft delete table inet dsr-setup && ip address delete 192.0.2.80/32 dev lo");
    kept(&machine);
    machine.must("systemctl stop dsr-setup-watch");

    machine.must("dsr-setup persist --for systemd --remove && systemctl daemon-reload");
    let command = machine.must("systemctl show --value --property=ExecStart dsr-setup-watch");
    assert!(command.contains("argv[]=/usr/local/bin/dsr-setup watch ;"), "{command}");
    machine.must("! test -e /etc/systemd/system/dsr-setup-watch.service.d");
}

#[test]
fn networkd_keeps_the_vips_over_a_reboot() {
    let image = image();
    let wants = image.path().join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink("/lib/systemd/system/systemd-networkd.service", wants.join("systemd-networkd.service")).unwrap();
    persist(image.path(), &[&["--for", "networkd", "--install"], &VIPS[..]].concat());
    let Some(machine) = boot(image.path()) else { return };
    kept(&machine);
    // An address that somebody else has put on lo stays when networkd starts again.
    machine.must("ip address add 192.0.2.99/32 dev lo && ip address del 192.0.2.80/32 dev lo");
    machine.must("systemctl restart systemd-networkd");
    kept(&machine);
    let lo = machine.must("ip address show dev lo");
    assert!(lo.contains("192.0.2.99/32"), "{lo}");
    drop(machine);

    persist(image.path(), &["--for", "networkd", "--remove"]);
    gone(&boot(image.path()).unwrap());
}
