use super::*;

const NEWEST: Abi = Abi(7);

/// A host's tree: each directory with its entries.
const TREE: &[(&str, &[(&str, EntryKind)])] = &[
    (
        "/",
        &[
            ("bin", EntryKind::Link),
            ("etc", EntryKind::Directory),
            ("run", EntryKind::Directory),
            ("tmp", EntryKind::Directory),
            ("usr", EntryKind::Directory),
            ("var", EntryKind::Directory),
        ],
    ),
    (
        "/etc",
        &[("announcer", EntryKind::Directory), ("passwd", EntryKind::File), ("ssl", EntryKind::Directory)],
    ),
    (
        "/etc/announcer",
        &[("announcer.toml", EntryKind::File), ("check.sh", EntryKind::File), ("r1.key", EntryKind::File)],
    ),
    (
        "/run",
        &[
            ("announcer", EntryKind::Directory),
            ("nginx.pid", EntryKind::File),
            ("systemd", EntryKind::Directory),
        ],
    ),
    ("/var", &[("lib", EntryKind::Directory), ("log", EntryKind::Directory), ("run", EntryKind::Link)]),
    ("/var/lib", &[("announcer", EntryKind::Directory), ("nginx", EntryKind::Directory)]),
];

fn list(path: &Path) -> Vec<(PathBuf, EntryKind)> {
    let found = TREE.iter().find(|(directory, _)| Path::new(directory) == path);
    found.map_or_else(Vec::new, |(_, entries)| {
        entries.iter().map(|(name, kind)| (path.join(name), *kind)).collect()
    })
}

fn protected(unwritable: &[&str], unreadable: &[&str]) -> ProtectedPaths {
    let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect();
    ProtectedPaths { unwritable: paths(unwritable), unreadable: paths(unreadable) }
}

/// The rights of a program at a path, by the rules: `r`, `w`, both or nothing.
fn may(rules: &[Rule], handled: Rights, path: &str) -> String {
    let given = (rules.iter().filter(|rule| Path::new(path).starts_with(&rule.path)))
        .fold(Rights::NONE, |given, rule| given.and(rule.rights));
    let has = |right: Rights| right.without(handled).is_empty().then(|| right.without(given).is_empty());
    let letter =
        |right, letter: &str| if has(right).unwrap_or(true) { letter.to_owned() } else { String::new() };
    letter(Rights::READ, "r") + &letter(Rights(1 << 1), "w")
}

fn of(protected: &ProtectedPaths, abi: Abi) -> Vec<Rule> {
    rules(protected, abi, ("/".into(), EntryKind::Directory), protected.handled(abi), &mut list)
}

#[test]
fn all_is_allowed_but_for_what_is_protected() {
    let shipped = protected(
        &["/var/lib/announcer", "/run/announcer", "/etc/announcer/announcer.toml"],
        &["/etc/announcer/r1.key", "/run/credentials/announcer.service"],
    );
    let keyless = protected(&["/var/lib/announcer", "/run/announcer"], &[]);
    for (protected, path, want) in [
        (&shipped, "/usr/bin/curl", "rw"),
        (&shipped, "/tmp/new", "rw"),
        (&shipped, "/var/log/new", "rw"),
        (&shipped, "/var/lib/nginx/new", "rw"),
        (&shipped, "/etc/passwd", "rw"),
        (&shipped, "/etc/ssl/new", "rw"),
        (&shipped, "/etc/announcer/check.sh", "rw"),
        (&shipped, "/run/nginx.pid", "rw"),
        (&shipped, "/var/lib/announcer/drain/www", "r"),
        (&shipped, "/run/announcer/control.sock", "r"),
        (&shipped, "/etc/announcer/announcer.toml", "r"),
        (&shipped, "/etc/announcer/r1.key", ""),
        (&shipped, "/run/credentials/announcer.service/r1", ""),
        // Parent directories: a new file there is accessible only for the next run.
        (&shipped, "/var/lib/new", "r"),
        (&shipped, "/etc/new", ""),
        (&keyless, "/etc/new", "rw"),
        (&keyless, "/var/lib/new", "r"),
        (&keyless, "/var/lib/announcer/drain/www", "r"),
    ] {
        let rules = of(protected, NEWEST);
        assert_eq!(may(&rules, protected.handled(NEWEST), path), want, "{path}");
    }
}

#[test]
fn a_rule_has_only_rights_that_its_place_can_have_and_its_kernel_knows() {
    let protected = protected(&["/var/lib/announcer"], &["/etc/announcer/r1.key"]);
    for (abi, known, unknown) in [
        (Abi(1), Rights::NONE, Rights::REFER.and(Rights::TRUNCATE)),
        (Abi(2), Rights::REFER, Rights::TRUNCATE),
        (Abi(3), Rights::REFER.and(Rights::TRUNCATE), Rights::NONE),
    ] {
        assert_eq!(protected.handled(abi).bits() & unknown.bits(), 0);
        assert!(known.without(protected.handled(abi)).is_empty(), "{abi:?}");
        for rule in of(&protected, abi) {
            assert!(!rule.rights.is_empty() && rule.rights.without(protected.handled(abi)).is_empty());
            let is_file = TREE.iter().flat_map(|(directory, _)| list(Path::new(directory)));
            if is_file.into_iter().any(|(path, kind)| path == rule.path && kind == EntryKind::File) {
                assert!(rule.rights.without(Rights::OF_FILES).is_empty(), "{rule:?}");
            }
        }
    }
    assert!(of(&protected, NEWEST).iter().all(|rule| rule.path != Path::new("/bin")), "a link has no rule");
}

#[test]
fn a_key_below_the_state_directory_is_not_read_either() {
    let protected = protected(&["/var/lib/announcer"], &["/var/lib/announcer"]);
    let rules = of(&protected, NEWEST);
    assert_eq!(may(&rules, protected.handled(NEWEST), "/var/lib/announcer/running"), "");
    assert_eq!(may(&rules, protected.handled(NEWEST), "/var/lib/nginx"), "rw");
}

#[test]
fn what_a_kernel_lacks_is_a_warning() {
    assert_eq!(Support::Landlock(Abi(6)).warning(), None);
    for (support, want) in [
        (Support::Landlock(Abi(5)), "version 5 of Landlock"),
        (Support::Missing(Errno::ENOSYS), "the kernel has no Landlock"),
        (Support::Missing(Errno::EOPNOTSUPP), "not enabled (`lsm=` at boot)"),
        (Support::Missing(Errno::EPERM), "Landlock cannot be used: Operation not permitted"),
    ] {
        let warning = support.warning().unwrap();
        assert!(warning.contains(want), "{warning}");
    }
}

#[test]
fn mounts_that_may_hang_are_known_by_their_kind() {
    let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                30 22 0:25 / /srv/a\\040b rw - nfs4 server:/x rw\n\
                31 22 0:26 / /mnt rw shared:5 master:1 - fuse.sshfs a@b:/ rw\n\
                32 22 0:27 / /tmp rw - tmpfs tmp rw\nbroken\n";
    let remote = remote_mounts(text);
    assert_eq!(remote.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(), ["/mnt", "/srv/a b"]);
}
