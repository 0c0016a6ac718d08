//! `persist`: the files of the program that configures the network.

use std::path::Path;

use tempfile::TempDir;

use crate::common::text;
use crate::host::{CommandOutput, VIPS, done};

/// `persist` with these arguments below a root folder.
fn persist(root: &Path, args: &[&str]) -> CommandOutput {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dsr-setup"));
    let output = command.arg("persist").args(args).arg("--root").arg(root).output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn persist_installs_what_it_prints_once_and_removes_only_that() {
    for (keeper, count, with_vips) in [("systemd", 3, 2), ("networkd", 2, 1), ("netplan", 3, 1)] {
        let root = TempDir::new().unwrap();
        let below = |path: &str| root.path().join(path.trim_start_matches('/'));
        let (code, printed, _) = persist(root.path(), &[&["--for", keeper], &VIPS[..]].concat());
        assert_eq!(
            (code, std::fs::read_dir(root.path()).unwrap().count()),
            (0, 0),
            "printing changes nothing"
        );
        let install = || persist(root.path(), &[&["--for", keeper, "--install"], &VIPS[..]].concat());
        let (code, wrote, stderr) = install();
        assert_eq!((code, stderr.as_str(), wrote.lines().count()), (0, "", count + 1), "{wrote}");
        for path in wrote.lines().filter_map(|line| line.strip_prefix("wrote ")) {
            let path = Path::new(path);
            let inside = format!("/{}", path.strip_prefix(root.path()).unwrap().display());
            match std::fs::read_link(path) {
                Ok(target) => {
                    assert!(printed.contains(&format!("# {inside} -> {}\n", target.display())), "{printed}");
                    assert!(below(target.to_str().unwrap()).exists());
                }
                Err(_) => {
                    let text = std::fs::read_to_string(path).unwrap();
                    assert!(printed.contains(&format!("# {inside}\n{text}")), "{printed}");
                }
            }
        }
        assert_eq!(install(), done(""), "a second time there is nothing to do");

        // Another list replaces the files that have VIPs.
        let (code, wrote, _) = persist(root.path(), &["--for", keeper, "--install", "--vip", "192.0.2.81"]);
        assert_eq!((code, wrote.matches("wrote ").count()), (0, with_vips), "{wrote}");
        let (code, removed, stderr) = persist(root.path(), &["--for", keeper, "--remove"]);
        assert_eq!((code, stderr.as_str(), removed.matches("removed ").count()), (0, "", count), "{removed}");
        assert_eq!(persist(root.path(), &["--for", keeper, "--remove"]), done(""));
    }
}

#[test]
fn persist_never_changes_a_file_of_somebody_else() {
    let root = TempDir::new().unwrap();
    let theirs = root.path().join("etc/systemd/network/10-dsr-setup-lo.network");
    std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    std::fs::write(&theirs, "[Match]\nName=lo\n").unwrap();
    let (code, stdout, stderr) =
        persist(root.path(), &["--for", "networkd", "--install", "--vip", "192.0.2.80"]);
    let want = format!(
        "error: `{}` was not written by `dsr-setup persist`: move it away, or join both by hand\n",
        theirs.display()
    );
    assert_eq!((code, stdout.as_str(), stderr), (1, "", want));
    assert!(!root.path().join("etc/sysctl.d").exists(), "none of the files was written");
    assert_eq!(persist(root.path(), &["--for", "networkd", "--remove"]), done(""));
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "[Match]\nName=lo\n");

    // What was written for netplan is not removed for networkd.
    std::fs::remove_file(&theirs).unwrap();
    assert_eq!(persist(root.path(), &["--for", "netplan", "--install", "--vip", "192.0.2.80"]).0, 0);
    assert_eq!(persist(root.path(), &["--for", "networkd", "--remove"]), done(""));
    assert!(root.path().join("etc/sysctl.d/60-dsr-setup.conf").exists());
}

/// The device of the VIPs is a part of the files, and without it none is removed.
#[test]
fn persist_puts_the_vips_on_the_device_that_is_named() {
    let root = TempDir::new().unwrap();
    let args = |rest: &[&'static str]| [&["--for", "networkd", "--device", "vip0"], rest].concat();
    let (code, wrote, stderr) = persist(root.path(), &[args(&["--install"]), VIPS.to_vec()].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{wrote}");
    let network = root.path().join("etc/systemd/network/10-dsr-setup-vip0.network");
    let text = std::fs::read_to_string(&network).unwrap();
    assert!(text.contains("\n[Match]\nName=vip0\n"), "{text}");
    let (code, removed, _) = persist(root.path(), &args(&["--remove"]));
    assert_eq!((code, network.exists()), (0, false), "{removed}");

    let refused = persist(root.path(), &["--for", "netplan", "--device", "vip0", "--vip", "192.0.2.80"]);
    let want = "error: `--for netplan` cannot put VIPs on `vip0`, only on lo: use `--for systemd`, or `--for networkd` if a `.netdev` \
                file of your own makes the interface\n";
    assert_eq!(refused, (2, String::new(), want.into()));
}

/// What netplan makes of it, where netplan is installed.
#[test]
fn netplan_accepts_the_file_and_its_file_for_lo_has_the_name_of_the_drop_in() {
    let root = TempDir::new().unwrap();
    assert_eq!(persist(root.path(), &[&["--for", "netplan", "--install"], &VIPS[..]].concat()).0, 0);
    let generate =
        std::process::Command::new("netplan").args(["generate", "--root-dir"]).arg(root.path()).output();
    let output = match generate {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return until::skipped("netplan is not installed; on Debian: apt-get install netplan.io");
        }
        Err(error) => panic!("{error}"),
        Ok(output) => output,
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let network =
        std::fs::read_to_string(root.path().join("run/systemd/network/10-netplan-lo.network")).unwrap();
    assert!(network.starts_with("[Match]\nName=lo\n"), "{network}");
    assert!(root.path().join("etc/systemd/network/10-netplan-lo.network.d/dsr-setup.conf").exists());
}
