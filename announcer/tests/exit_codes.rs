//! The exit codes of all commands, with and without a daemon: 0 done, 1 failed or refused, 2 wrong usage, an unknown name or a wrong
//! configuration. `status --check` has its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../../dsr-setup/output/tests/closed/mod.rs"]
mod closed;
mod daemon;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use daemon::{Daemon, FIXTURE, in_new_netns};

const PROGRAM: &str = env!("CARGO_BIN_EXE_announcer");
const SERVICE: &str = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
                       [[service.check]]\ntcp = 8080\ninterval = \"50ms\"\n";

/// The chain of the daemon. Its members do not include this host.
const CHAIN: &str =
    "[chain]\ninterface = \"lo\"\nmembers = [\"10.0.1.11\", \"10.0.1.12\"]\nkey_file = \"/nonexistent\"\n";

/// While no daemon runs. `good.toml` is a configuration, `bad.toml` is none, `www.conf` has options of ExaBGP's healthcheck; a
/// server listens at the port of `www`.
const WITHOUT: &[(&str, i32)] = &[
    ("status", 1),
    ("status --json", 1),
    ("status --no-such-option", 2),
    ("status --check", 2),
    ("status --check --all", 3),
    ("explain 192.0.2.80", 1),
    ("explain", 2),
    ("top", 2), // not a terminal
    ("status --members", 1),
    ("chain", 1),
    ("chain off", 2), // without a reason
    ("chain --json", 1),
    ("history", 1),
    ("history --no-such-option", 2),
    ("recheck", 1),
    ("recheck --no-such-option", 2),
    ("reload", 1),
    ("upgrade", 1),
    ("reload --force --dry-run", 2),
    ("log debug", 1),
    ("log debug --for tomorrow", 2),
    ("validate good.toml", 0),
    ("validate bad.toml", 2),
    ("validate missing.toml", 2),
    ("router-config good.toml --for frr", 0),
    ("router-config good.toml --for bird --verify", 0),
    ("router-config good.toml", 2),
    ("router-config good.toml --for cisco", 2),
    ("router-config good.toml --for frr --peer r9", 2),
    ("router-config bad.toml --for frr", 2),
    ("check failing --config good.toml", 1),
    ("check wwww --config good.toml", 2),
    ("check www --config bad.toml", 2),
    ("drain www --config good.toml", 0),
    ("drain wwww --config good.toml", 2),
    ("drain", 2),
    ("undrain www --config good.toml", 0),
    ("undrain wwww --config good.toml", 2),
    ("import exabgp www.conf --asn 65001 --router r1=10.0.1.1,65000", 0),
    ("import exabgp www.conf", 1),
    ("import exabgp missing.conf", 2),
    ("import exabgp www.conf --router r1", 2),
    ("run --config bad.toml", 2),
    ("run --config missing.toml", 2),
    ("run --config good.toml --log inof", 2),
];

/// While the daemon runs. Its only router does not exist.
const WITH: &[(&str, i32)] = &[
    ("status", 0),
    ("status --json", 0),
    ("status --all", 0),
    ("status www", 0),
    ("status 192.0.2.80", 0),
    ("status wwww", 2),
    ("status --check", 2), // the VIP was sent to no router
    ("explain 192.0.2.80", 0),
    ("explain 192.0.2.99", 2),
    ("explain r1", 0),
    ("explain www", 0),
    ("explain www --json", 0),
    ("explain www --peer r1", 0),
    ("explain r1 --peer r1", 2),
    ("explain r99", 2),
    ("history", 0),
    ("history --json", 0),
    ("status --members", 0),
    ("chain", 0),
    ("chain --json", 0),
    ("chain off --reason kernel", 0),
    ("chain on", 0),
    ("chain on --reason kernel", 2),
    ("recheck", 0),
    ("recheck www", 0),
    ("recheck wwww", 2),
    ("reload", 0),
    ("reload --dry-run", 0),
    ("log debug --for 1m", 0),
    ("log inof", 2),
    ("upgrade --previous", 2),           // there is no previous program
    ("check www --config good.toml", 0), // its VIP is on lo now
    ("drain www", 0),
    ("status --check", 1), // all is drained, and the router is down
    ("drain wwww", 2),
    ("undrain www", 0),
    ("undrain wwww", 2),
    ("run --config announcer.toml", 1), // another daemon runs
];

#[test]
fn each_command_has_its_exit_codes() {
    in_new_netns(each_command);
}

fn each_command(folder: &Path) {
    let listed = closed::commands(PROGRAM);
    assert!(listed.len() > 8, "the commands were not found");
    for name in listed.iter().filter(|name| *name != "help") {
        let has = |table: &[(&str, i32)], code: &dyn Fn(i32) -> bool| {
            table.iter().any(|(words, want)| words.split(' ').next() == Some(name) && code(*want))
        };
        let all: Vec<(&str, i32)> = WITHOUT.iter().chain(WITH).copied().collect();
        assert!(
            // `upgrade` keeps a program beside the installation: tests/upgrade.rs has one of its own.
            has(&all, &|code| code == 0) || ["run", "top", "upgrade"].contains(&name.as_str()),
            "add a `{name}` that succeeds"
        );
        assert!(has(&all, &|code| code != 0), "add a `{name}` that fails");
    }

    let _listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    let failing = SERVICE.replace("www", "failing").replace("8080", "8081").replace(".80", ".81");
    std::fs::write(folder.join("good.toml"), format!("{FIXTURE}{SERVICE}{failing}")).unwrap();
    std::fs::write(folder.join("bad.toml"), format!("{FIXTURE}{SERVICE}no_such_key = 1\n")).unwrap();
    std::fs::write(folder.join("www.conf"), "ip = 192.0.2.80\nwithdraw-on-down\n").unwrap();
    let run = |words: &str| {
        let mut words = words.split(' ');
        let mut command = daemon::command(folder, &[words.next().unwrap()]);
        command.args(words).current_dir(folder).output().unwrap()
    };
    let check = |table: &[(&str, i32)]| {
        for (words, want) in table {
            let ended = run(words);
            assert_eq!(ended.status.code(), Some(*want), "announcer {words}: {ended:?}");
            let is_explained = words.contains("--json") || words.starts_with("status --check");
            let said = if is_explained && ended.stderr.is_empty() { &ended.stdout } else { &ended.stderr };
            assert!(*want == 0 || !said.is_empty(), "a failure is explained: announcer {words}: {ended:?}");
        }
    };
    check(WITHOUT);
    let daemon = Daemon::start(folder, &format!("{FIXTURE}{SERVICE}{CHAIN}"));
    daemon.until_all_are(Duration::from_secs(10), "announced");
    check(WITH);
    daemon::write_config(folder, &format!("{FIXTURE}{SERVICE}"));
    assert_eq!(run("reload").status.code(), Some(0));
    assert_eq!(run("chain").status.code(), Some(2), "no chain is configured");
    daemon::write_config(folder, "[bgp]\nasn = 0\n");
    assert_eq!(run("reload").status.code(), Some(2), "the file is wrong");
    assert_eq!(run("reload --dry-run").status.code(), Some(2), "the file is wrong");
}
