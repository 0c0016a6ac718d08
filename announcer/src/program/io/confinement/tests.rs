//! Tests with a daemon's files below a folder, and with programs that every host has.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::config::tests::with_services;
use crate::program::io::{ProgramRun, Programs, Runner};
use crate::program::{Bounds, ProgramEnd, ProgramSpec, RunAs};

const LONG: Duration = Duration::from_secs(20);

/// The daemon's files below a folder.
struct Daemon {
    folder: TempDir,
    programs: Programs,
    _configs: watch::Sender<Arc<Config>>,
}

impl Daemon {
    /// A state directory, a socket's directory, a configuration and a key; and a folder for a program.
    fn new() -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for directory in ["state", "state/drain", "run", "etc", "work"] {
            fs::create_dir(at(directory)).unwrap();
        }
        for (file, mode) in [
            ("state/running", 0o644),
            ("state/last-good.toml", 0o600),
            ("run/lock", 0o644),
            ("etc/key", 0o600),
            ("etc/config", 0o644),
            ("etc/other", 0o644),
        ] {
            fs::write(at(file), "text\n").unwrap();
            fs::set_permissions(at(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        // The configured names lead there through a link.
        std::os::unix::fs::symlink("key", at("etc/link")).unwrap();
        let config = format!(
            with_services!(
                "password_file = \"{}\"\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\nexec = [\"/bin/true\"]\n"
            ),
            at("etc/link").display()
        );
        let (configs, given) = watch::channel(Arc::new(
            crate::config::parse("test", &config).unwrap_or_else(|errors| panic!("{errors}")),
        ));
        let files =
            DaemonFiles { state_dir: at("state"), socket: at("run/control.sock"), config: at("etc/config") };
        Daemon { programs: Programs::new(Files::new(), files, given), folder, _configs: configs }
    }

    /// The end of a script whose working directory is the folder, with the daemon's process id as `$1`.
    async fn exit(&self, programs: &Programs, user: RunAs, script: &str) -> (ProgramEnd, String) {
        let script = format!("cd {} && {{ {script}\n}}", self.folder.path().display());
        let daemon = std::process::id().to_string();
        let command = ["/bin/sh", "-c", &script, "sh", &daemon].map(str::to_owned).to_vec();
        let order = Arc::new(ProgramSpec { command, user, environment: Vec::new() });
        let ProgramRun { end, output } =
            Runner::new(programs).run(&order, Bounds { time: LONG, kept: 4096 }).await;
        (end, String::from_utf8_lossy(&output).into_owned())
    }
}

/// Runs a test as a user who is not root, because programs of root are not confined.
fn unprivileged(test: &str) {
    let mut command = if Uid::effective().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(std::env::current_exe().unwrap());
        command
    } else {
        Command::new(std::env::current_exe().unwrap())
    };
    let run = command.args(["--exact", "--ignored", test]).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn programs_of_checks_and_hooks_cannot_act_as_the_daemon() {
    unprivileged("program::io::confinement::tests::alone_confined");
}

#[tokio::test]
#[ignore = "runs alone"]
async fn alone_confined() {
    let open = Programs::unconfined(Files::new());
    let Support::Landlock(abi) = open.0.confinement.support else { return until::skipped("no Landlock") };
    let mut wrong = Vec::new();
    for (script, least) in [
        // Each command works if it is not confined.
        ("echo > state/drain/www", 1),
        ("echo > state/new", 1),
        ("echo more >> state/running", 1),
        ("rm state/running", 1),
        ("mkdir state/drain/x", 1),
        ("echo more >> state/last-good.toml", 1),
        ("echo > work/y; mv work/y state/last-good.toml", 1),
        ("rm state/last-good.toml", 1),
        ("echo > state/.last-good.toml.new", 1),
        ("ln -s /etc/passwd state/drain/www", 1),
        ("echo > work/y; mv work/y state/drain/www", 1),
        ("mv state work/state", 1),
        ("mv state elsewhere", 1),
        ("truncate -s 0 state/running", 3),
        ("rm run/lock", 1),
        ("echo > run/control.sock", 1),
        ("mv run work/run", 1),
        ("echo >> etc/config", 1),
        ("rm etc/config", 1),
        ("cat etc/key", 1),
        ("cat etc/link", 1),
        ("ln etc/key work/key && cat work/key", 1),
        ("cat /proc/$1/root/$PWD/etc/key", 1),
        ("head -c 1 /proc/$1/environ", 1),
        ("kill -0 $1", 6),
        ("(setsid kill -0 $1)", 6),
        ("prlimit --pid $1 --core=0:0", 1),
    ] {
        if abi < Abi(least) {
            continue;
        }
        for user in [RunAs::Unprivileged, RunAs::Daemon] {
            let daemon = Daemon::new();
            let (end, said) = daemon.exit(&daemon.programs, user.clone(), script).await;
            if !matches!(end, ProgramEnd::Code(1..)) {
                wrong.push(format!("{user:?}: done, and is forbidden: {script}: {end}: {said}"));
            }
            let (end, said) = Daemon::new().exit(&open, user.clone(), script).await;
            if end != ProgramEnd::Code(0) {
                wrong.push(format!("{user:?}: the case does not do what it says: {script}: {end}: {said}"));
            }
        }
    }
    for script in [
        // Things that programs of checks and hooks do.
        "cat state/running run/lock etc/config etc/other",
        "ls -l state run etc / /etc /run /var/lib",
        "echo more >> etc/other",
        "echo > work/new; mkdir work/a; mv work/new work/a/new; ln work/a/new work/b; rm -r work/a; truncate -s 0 work/b",
        "cat /etc/passwd /proc/self/status /proc/loadavg; ls /proc/$1; echo > /dev/null; head -c 1 /dev/urandom",
        "echo to stdout > /dev/stdout; echo to stderr > /dev/stderr; echo a | cat | grep a; cat <<E\nhere\nE",
        "sleep 60 & kill -0 $! && kill $!",
        "t=$(mktemp work/XXXXXX) && echo > $t && rm $t",
        "mkfifo work/fifo; echo > work/fifo & cat work/fifo",
        "[ $(id -u) != 0 ] && command -v sh && env",
    ] {
        let daemon = Daemon::new();
        let (end, said) = daemon.exit(&daemon.programs, RunAs::Daemon, script).await;
        if end != ProgramEnd::Code(0) {
            wrong.push(format!("forbidden, and has to work: {script}: {end}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_ruleset_is_made_anew_when_a_directory_on_the_way_or_a_mount_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let protected =
        ProtectedPaths { unwritable: [folder.path().join("state")].into(), ..ProtectedPaths::default() };
    let listed = vec![(folder.path().to_owned(), DirectoryStamp::of(folder.path()))];
    let ruleset = Arc::new(fs::File::open("/dev/null").unwrap().into());
    let mut made = CachedRuleset { mounts: "one".into(), protected: protected.clone(), listed, ruleset };
    assert!(made.holds("one", &protected));
    assert!(!made.holds("another", &protected), "a mount is another place under the same name");
    assert!(!made.holds("one", &ProtectedPaths::default()), "another key");
    let root = PathBuf::from("/");
    let stamp = DirectoryStamp::of(&root);
    made.listed.push((root, stamp)); // it stays as it is
    std::thread::sleep(Duration::from_millis(20)); // the tick of the clock for files
    fs::write(folder.path().join("new"), "").unwrap();
    assert!(!made.holds("one", &protected), "a new file has no rule yet");
}

/// The directory of the socket is protected if it can be the daemon's own. Of a file system of another host, nothing is asked.
#[test]
fn a_directory_that_every_user_may_write_is_not_the_daemons() {
    for (mode, is_remote, want) in [(0o755, false, true), (0o777, false, false), (0o755, true, false)] {
        let folder = tempfile::tempdir().unwrap();
        let run = fs::canonicalize(folder.path()).unwrap().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
        let files = DaemonFiles {
            state_dir: "/nonexistent/state".into(),
            socket: run.join("control.sock"),
            config: "/nonexistent/config".into(),
        };
        let found = protected(&files, vec![], &|path| is_remote && path == run);
        assert_eq!(found.unwritable.contains(&run), want, "{mode:o} {is_remote}");
    }
}

#[test]
fn a_place_is_opened_as_itself_and_is_not_read() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    assert!(File::from(open(&link).unwrap()).metadata().unwrap().is_symlink(), "no link is followed");
    let read = File::from(open(&file).unwrap()).read(&mut [0]).unwrap_err();
    assert_eq!(errno(&read), Errno::EBADF);
}

#[test]
fn a_shortage_of_the_host_is_no_fault_of_the_path() {
    for (errno, want) in [(Errno::EMFILE, true), (Errno::ENOMEM, true), (Errno::ENOENT, false)] {
        assert_eq!(is_shortage(&io::Error::from(errno)), want, "{errno}");
    }
}

#[test]
fn programs_that_cannot_be_confined_are_warned_of() {
    unprivileged("program::io::confinement::tests::alone_warned");
}

#[test]
#[ignore = "runs alone"]
fn alone_warned() {
    let warns = |hooks: &str, check: &str, support: Support| {
        let text = format!(
            with_services!(
                "{}\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\n{}\n[[service.check]]\ntcp = 80\n"
            ),
            hooks, check
        );
        let config = crate::config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors}"));
        let (_, configs) = watch::channel(Arc::new(config));
        let files = DaemonFiles { state_dir: "/s".into(), socket: "/r/s".into(), config: "/c".into() };
        let confinement = Confinement::new(Files::new(), Some((files, configs)));
        Confinement { support, ..confinement }.warning().is_some()
    };
    let (program, hooks) = ("exec = [\"/bin/true\"]", "[hooks]\non_change = [\"/bin/true\"]");
    let missing = Support::Missing(Errno::ENOSYS);
    assert!(warns("", program, missing));
    assert!(warns(hooks, "tcp = 25", missing));
    assert!(!warns("", "tcp = 25", missing), "there is no program");
    assert!(!warns(hooks, program, Support::Landlock(Abi(6))), "it is confined");
    let none = Confinement { support: missing, ..Confinement::new(Files::new(), None) };
    assert_eq!(none.warning(), None);
}

#[test]
fn a_ruleset_is_kept_if_no_directory_has_changed_just_now_and_no_place_is_remote() {
    unprivileged("program::io::confinement::tests::alone_kept");
}

#[test]
#[ignore = "runs alone"]
fn alone_kept() {
    let text =
        with_services!("[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n");
    let config = Arc::new(crate::config::parse("test", text).unwrap_or_else(|errors| panic!("{errors}")));
    let new = tempfile::tempdir().unwrap();
    // Only `/` has entries with a rule each, and then a new directory too.
    for (state_dir, is_new) in [(PathBuf::from("/announcer-test"), false), (new.path().join("state"), true)] {
        let files = DaemonFiles {
            state_dir,
            socket: "/nonexistent/control.sock".into(),
            config: "/announcer-test.toml".into(),
        };
        let (_sender, configs) = watch::channel(config.clone());
        let confinement = Confinement::new(Files::new(), Some((files, configs)));
        let Some(pending) = confinement.ruleset().unwrap() else { return until::skipped("no Landlock") };
        let is_kept = confinement.cached.lock().unwrap().is_some();
        assert_eq!(is_kept, pending.rules.is_empty() && !is_new, "{:?}", pending.rules);
    }
}

#[test]
fn what_changed_just_now_may_change_again_at_the_same_time() {
    let stamp = DirectoryStamp { identity: (1, 2), changed: (1000, 999_999_999) };
    for (seconds, older) in [(999, false), (1000, false), (1001, false), (1002, true), (5000, true)] {
        assert_eq!(stamp.is_older(UNIX_EPOCH + Duration::from_secs(seconds)), older, "{seconds}");
    }
}
