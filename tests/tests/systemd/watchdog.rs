//! The watchdog of systemd.

use std::thread::sleep;
use std::time::{Duration, Instant};

use until::until;

use crate::CONFIG;
use crate::machine::Machine;

/// The watchdog of systemd: a host that stands still for 20 s or has no processor time is no reason for a restart, and a daemon that
/// is blocked for longer than `WatchdogSec=` is. Each takes half a minute, so both have hosts of their own beside the other.
#[test]
fn the_watchdog_restarts_a_daemon_that_is_blocked_and_no_other() {
    std::thread::scope(|threads| {
        threads.spawn(|| watched(stands_still));
        watched(is_blocked);
    });
}

/// Runs a test on a host whose daemon announces and is watched.
fn watched(test: fn(&Machine)) {
    let machine = match Machine::boot() {
        Ok(machine) => machine,
        Err(why) => return until::skipped(format_args!("no systemd can be booted here: {}", why.trim())),
    };
    machine.install();
    machine.must(&format!("cat >/etc/announcer/announcer.toml <<'E'\n{CONFIG}\nE"));
    machine.must("systemctl start dsr-setup announcer");
    machine.announced();
    assert_eq!(machine.property("WatchdogUSec"), "30s");
    test(&machine);
}

fn stands_still(machine: &Machine) {
    let before = machine.property("MainPID");
    // Both cores at 100 %, with more processes than cores; and then the daemon stands still.
    machine.must("for i in 1 2 3 4; do timeout 12 sh -c 'while :; do :; done' >/dev/null 2>&1 & done");
    sleep(Duration::from_secs(8));
    machine.must(&format!("kill -STOP {before}"));
    sleep(Duration::from_secs(20));
    machine.must(&format!("kill -CONT {before}"));
    machine.announced();
    sleep(Duration::from_secs(2)); // a watchdog that was not fed would have barked
    let seen = ["MainPID", "NRestarts", "ActiveState"].map(|name| machine.property(name));
    assert_eq!(seen, [before.as_str(), "0", "active"]);
}

fn is_blocked(machine: &Machine) {
    let before = machine.property("MainPID");
    let begun = Instant::now();
    machine.must(&format!("kill -STOP {before}"));
    let restarted = until(Duration::from_secs(60), || {
        let (pid, state) = (machine.property("MainPID"), machine.property("ActiveState"));
        (pid != "0" && pid != before && state == "active").then_some(()).ok_or(())
    });
    let lasted = begun.elapsed();
    let journal = machine.run("journalctl -u announcer --no-pager -n 40").1;
    assert!(restarted.is_ok(), "not restarted: {journal}");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert!(lasted > Duration::from_secs(25), "{lasted:?}: {journal}");
    println!("a daemon that was blocked was started again after {lasted:.1?}");
    assert_eq!(machine.property("NRestarts"), "1");
    machine.announced();
}
