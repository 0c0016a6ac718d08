//! The state file, and the other files that the program writes.

use std::path::Path;

use dsr_setup::record::Record;
use tempfile::TempDir;

use crate::STEPS;
use crate::common::{Netns, is_root, text};
use crate::host::{Host, VIPS, done};

/// Runs with a record of an address without a mark, as on a kernel before 5.18.
#[test]
fn the_state_file_says_whose_an_unmarked_address_is_for_this_namespace_alone() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip addr add 192.0.2.80/32 dev lo");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let netns = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let record = Record { addresses: ["192.0.2.80".parse().unwrap()].into(), ..Record::default() };
    std::fs::create_dir(host.state_dir()).unwrap();
    let write = |pid| {
        let text = record.write(&format!("{} {}", boot.trim(), netns(pid))).unwrap();
        std::fs::write(host.state_dir().join("dsr-setup.json"), text).unwrap();
    };
    write(std::process::id());
    assert_eq!(host.remove(&[]), done(""));
    write(host.netns.pid());
    assert_eq!(host.remove(&[]), done("remove 192.0.2.80/32 from lo\n"));
    assert!(!host.lo().contains("192.0.2.80"));
    assert_eq!(std::fs::read_dir(host.state_dir()).unwrap().count(), 0);
}

/// Cases W1 and W2: if the state file is broken, of another version or missing, changes cannot be undone, but nothing else fails.
#[test]
fn a_state_file_that_cannot_be_used_is_a_warning_and_the_vips_are_put_on_lo() {
    if !is_root() {
        return;
    }
    let of_another_version = {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        move |netns: &Netns| {
            let namespace = std::fs::read_link(format!("/proc/{}/ns/net", netns.pid())).unwrap();
            let life = format!("{} {}", boot.trim(), namespace.display());
            format!(r#"{{"life":"{life}","sysctls":{{"kernel.panic":{{"was":0,"set":1}}}},"addresses":[]}}"#)
        }
    };
    for what in ["broken", "of another version", "a FIFO", "a folder"] {
        let host = Host::new();
        let file = host.state_dir().join("dsr-setup.json");
        std::fs::create_dir(host.state_dir()).unwrap();
        match what {
            "broken" => std::fs::write(&file, "{").unwrap(),
            "of another version" => std::fs::write(&file, of_another_version(&host.netns)).unwrap(),
            "a FIFO" => {
                nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
            }
            _ => std::fs::create_dir(&file).unwrap(),
        }
        let (code, stdout, stderr) = host.apply();
        assert_eq!((code, stdout.as_str()), (0, STEPS), "{what}: {stderr}");
        assert!(stderr.starts_with("warning: `") && stderr.contains("dsr-setup.json"), "{what}: {stderr}");
        assert!(stderr.contains("; `dsr-setup remove` will not undo this\n"), "{what}: {stderr}");
        assert_eq!(host.netns.sysctl("all/arp_ignore"), "1", "{what}");
        // It is not known what has to be undone.
        let (code, stdout, stderr) = host.remove(&[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{what}: {stderr}");
        // The mark says that the address is ours.
        assert_eq!(host.remove(&["--vip", "192.0.2.80"]), done("remove 192.0.2.80/32 from lo\n"), "{what}");
    }
}

#[test]
fn the_state_file_belongs_to_whom_its_folder_belongs_and_can_be_read() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !is_root() {
        return;
    }
    let host = Host::new();
    std::fs::create_dir(host.state_dir()).unwrap();
    chown(host.state_dir(), Some(4711), Some(4712)).unwrap();
    // A crash has left an incomplete file of another user.
    let half = host.state_dir().join("dsr-setup.json.new");
    std::fs::write(&half, "half").unwrap();

    let careful = ["sh", "-c", "umask 077 && exec \"$0\" \"$@\""];
    let (code, _, stderr) = host.wrapped(&careful, &[&["apply"], &VIPS[..]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let file = std::fs::metadata(host.state_dir().join("dsr-setup.json")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (4711, 4712, 0o644));
    assert!(!half.exists());
}

/// Cases W2 and W7: whatever has the name of a file that is written.
#[test]
fn neither_a_fifo_nor_a_link_is_written_through() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let other = dir.path().join("other");
    std::fs::write(&other, "as it was").unwrap();
    let put = |kind: &str, path: &Path| match kind {
        "a FIFO" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap(),
        _ => symlink(&other, path).unwrap(),
    };
    let units = dir.path().join("units");
    let drop_in = units.join("shop.service.d/announcer.conf");
    std::fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    for kind in ["a FIFO", "a link"] {
        put(kind, &drop_in);
        let mut order = std::process::Command::new("timeout");
        order.args(["10", env!("CARGO_BIN_EXE_dsr-setup"), "order", "shop", "--units-dir"]).arg(&units);
        let output = order.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{kind}: {}", text(&output.stderr));
        assert!(std::fs::symlink_metadata(&drop_in).unwrap().is_file(), "{kind}");
        std::fs::remove_file(&drop_in).unwrap();
    }
    if is_root() {
        for kind in ["a FIFO", "a link"] {
            let host = Host::new();
            std::fs::create_dir(host.state_dir()).unwrap();
            put(kind, &host.state_dir().join("dsr-setup.json.new"));
            let (code, _, stderr) = host.wrapped(&["timeout", "10"], &[&["apply"], &VIPS[..]].concat());
            assert_eq!((code, stderr.as_str()), (0, ""), "{kind}");
            assert_eq!(std::fs::read_dir(host.state_dir()).unwrap().count(), 1, "{kind}");
        }
    }
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "as it was");
}
