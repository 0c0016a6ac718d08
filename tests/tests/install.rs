//! Tests `make install` and `make uninstall` into a folder: `install/tree` lists the expected files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const TREE: &str = include_str!("install/tree");

/// Runs make; if it fails, the panic has its whole output.
fn make(target: &str, destination: &Path) {
    let output = Command::new("make")
        .args(["--no-print-directory", "-C", concat!(env!("CARGO_MANIFEST_DIR"), "/.."), target])
        .arg(format!("DESTDIR={}", destination.display()))
        .env("PROFILE", "quick") // the profile that `make test` has built
        .output()
        .unwrap();
    assert!(output.status.success(), "make {target}: {output:?}");
}

/// The files below a folder, as `install/tree` writes them.
fn tree(root: &Path) -> String {
    fn walk(root: &Path, folder: &Path, lines: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                assert_eq!(meta.permissions().mode() & 0o777, 0o755, "{}", path.display());
                walk(root, &path, lines);
            } else {
                let mode = meta.permissions().mode() & 0o7777;
                lines.push(format!("{mode:o} {}\n", path.strip_prefix(root).unwrap().display()));
            }
        }
    }
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort_by(|a, b| a[4..].cmp(&b[4..]));
    lines.concat()
}

#[test]
fn the_tree_is_the_one_that_the_list_names_and_what_is_the_operators_stays() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("root");
    make("install", &root);
    assert_eq!(tree(&root), TREE);

    // Files of an operator, and files of an earlier version.
    let etc = root.join("etc/announcer");
    let state = root.join("var/lib/announcer/drain");
    fs::write(etc.join("announcer.toml"), "mine").unwrap();
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("www"), "mine").unwrap();
    let page = root.join("usr/local/share/man/man8/announcer-earlier.8");
    fs::write(&page, "").unwrap();
    fs::write(etc.join("announcer.toml.sample"), "older").unwrap();
    let units = root.join("usr/local/lib/systemd/system");
    fs::write(units.join("announcer.service"), "older").unwrap();

    make("install", &root);
    let mine = "644 etc/announcer/announcer.toml\n644 var/lib/announcer/drain/www\n";
    let with_mine = format!("{TREE}{mine}");
    let mut lines: Vec<&str> = with_mine.lines().collect();
    lines.sort_by_key(|line| &line[4..]);
    assert_eq!(tree(&root).lines().collect::<Vec<_>>(), lines);
    assert_eq!(fs::read_to_string(etc.join("announcer.toml")).unwrap(), "mine");
    let sample = fs::read_to_string(etc.join("announcer.toml.sample")).unwrap();
    assert_eq!(sample, include_str!("../../announcer/etc/announcer.toml"));
    let unit = fs::read_to_string(units.join("announcer.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/local/lib/announcer/start run --fallback\n") && !unit.contains("DIR@"),
        "{unit}"
    );

    make("uninstall", &root);
    assert_eq!(tree(&root), mine);
}

#[test]
fn uninstalled_where_no_operator_was_nothing_is_left() {
    let dir = TempDir::new().unwrap();
    make("install", dir.path());
    make("uninstall", dir.path());
    assert_eq!(tree(dir.path()), "");
    assert!(!dir.path().join("etc/announcer").exists());
}
