//! Tests `dsr-setup watch`: what it repairs, and who keeps the VIPs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod host;

use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::is_root;
use dsr_setup::io::lock::{KeeperLock, hold_as_daemon};
use host::{Host, VIPS, done};

const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to see that nothing happens.
const QUIET: Duration = Duration::from_millis(500);

/// A running `dsr-setup watch`, and its lines.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    fn start(host: &Host, args: &[&str]) -> Watch {
        let mut command = host.netns.command(&[env!("CARGO_BIN_EXE_dsr-setup"), "watch"]);
        let command = command.args(args).arg("--state-dir").arg(host.state_dir());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Watch { child, lines }
    }

    /// Starts with both VIPs, and waits until it keeps them.
    fn keeps(host: &Host) -> Watch {
        let watch = Watch::start(host, &VIPS);
        watch.says("keeps 2 VIPs on lo");
        until("the VIPs", || has(host, &VIPS));
        watch
    }

    /// The lines that were said and not read yet.
    fn rest(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Waits for a line that has this text.
    fn says(&self, text: &str) -> String {
        let give_up = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => all.push(line),
                Err(_) => panic!("`{text}` was not said: {all:#?}"),
            }
        }
    }

    /// Waits for its end.
    fn ended(mut self) -> ExitStatus {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < give_up, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn has(host: &Host, vips: &[&str]) -> bool {
    let lo = host.lo();
    vips.iter().all(|vip| lo.contains(&format!(" {vip}/")))
}

/// A program that holds the lock as the daemon does, until it is told how to end.
struct FakeDaemon(Sender<End>, std::thread::JoinHandle<()>);

enum End {
    Stop,
    Crash,
}

impl FakeDaemon {
    fn start(host: &Host) -> FakeDaemon {
        let path = format!("/proc/{}/ns/net", host.netns.pid());
        let (sender, ends) = channel();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            nix::sched::setns(std::fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET)
                .unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut lock: KeeperLock = hold_as_daemon("lo").await.unwrap();
                ready.send(()).unwrap();
                loop {
                    let _ = tokio::time::timeout(Duration::from_millis(5), lock.serve()).await;
                    match ends.try_recv() {
                        Ok(End::Stop) => return lock.stop().await,
                        Ok(End::Crash) => return,
                        Err(_) => {}
                    }
                }
            });
        });
        is_ready.recv_timeout(PATIENCE).unwrap();
        FakeDaemon(sender, thread)
    }

    fn end(self, how: End) {
        self.0.send(how).unwrap();
        self.1.join().unwrap();
    }
}

#[test]
fn what_another_program_does_to_the_vips_is_repaired_at_once() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let watch = Watch::keeps(&host);
    // Each repair is made once.
    std::thread::sleep(QUIET);
    assert_eq!(
        watch.rest(),
        [
            "net.ipv4.conf.all.arp_ignore was 0, so that this host answers ARP requests for the VIPs: repaired",
            "net.ipv4.conf.all.arp_announce was 0, so that the ARP requests of this host may name a VIP as their sender: repaired",
            "lo was down, so that no address on it answers: repaired",
            "192.0.2.80/32 was not on lo: repaired",
            "2001:db8::80/128 was not on lo: repaired",
        ]
    );
    // After each repair it looks once more, and may see the next change before the kernel's event: then it does not say within what time.
    for (line, repaired) in [
        ("ip addr del 192.0.2.80/32 dev lo", "192.0.2.80/32 was not on lo: repaired within "),
        ("ip addr del 2001:db8::80/128 dev lo", "2001:db8::80/128 was not on lo: repaired"),
        ("ip addr flush dev lo", "2001:db8::80/128 was not on lo: repaired"),
        ("ip link set lo down", "lo was down, so that no address on it answers: repaired"),
        (
            "ip addr change 192.0.2.80/32 dev lo valid_lft 900 preferred_lft 900",
            "192.0.2.80/32 was on lo for a limited time and without our mark: repaired",
        ),
        (
            "ip addr replace 2001:db8::80/128 dev lo",
            "2001:db8::80/128 was on lo with a preferred lifetime and without nodad and noprefixroute and without our mark: repaired",
        ),
    ] {
        let begin = Instant::now();
        host.netns.run(line);
        println!("{line}: {} ({} ms with ip)", watch.says(repaired), begin.elapsed().as_millis());
        until(line, || host.check() == done(""));
    }
    host.netns.set_sysctl("all/arp_ignore", 0);
    watch.says(
        "net.ipv4.conf.all.arp_ignore was 0, so that this host answers ARP requests for the VIPs: repaired",
    );
    until("the setting", || host.check() == done(""));
    // A new interface that answers.
    host.netns.run("ip link add v0 type veth peer name v1");
    host.netns.set_sysctl("v0/arp_ignore", 3);
    watch.says("net.ipv4.conf.v0.arp_ignore was 3");

    // A stop removes nothing.
    watch.signal(nix::sys::signal::Signal::SIGTERM);
    let mut watch = watch;
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
    assert!(has(&host, &VIPS));
    assert_eq!(host.check(), done(""));
}

/// A VIP that cannot be put back does not keep the others away.
#[test]
fn without_ipv6_the_ipv4_vips_are_put_back_and_with_it_all_of_them() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let watch = Watch::start(&host, &["192.0.2.80", "2001:db8::80", "2001:db8::81"]);
    until("the VIPs", || has(&host, &["192.0.2.80", "2001:db8::80", "2001:db8::81"]));
    let ipv6 = |value: &str| {
        let script = format!("echo {value} > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
        assert!(host.netns.command(&["sh", "-c", &script]).status().unwrap().success());
    };
    ipv6("1"); // this removes them
    watch.says("2001:db8::80/128 was not on lo, and cannot be repaired: IPv6 is disabled on lo");
    watch.says("2001:db8::81/128 was not on lo, and cannot be repaired: IPv6 is disabled on lo");
    host.netns.run("ip addr del 192.0.2.80/32 dev lo");
    watch.says("192.0.2.80/32 was not on lo: repaired");
    ipv6("0");
    until("all of them", || has(&host, &["192.0.2.80", "2001:db8::80", "2001:db8::81"]));
}

#[test]
fn while_the_daemon_has_the_lock_only_settings_are_repaired_and_after_its_stop_what_it_removed_stays_away() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let watch = Watch::keeps(&host);
    let begin = Instant::now();
    let daemon = FakeDaemon::start(&host); // `watch` gives it the lock
    println!("the lock was given away within {} ms", begin.elapsed().as_millis());
    let line = watch.says("keeps the VIPs on lo: only the settings are repaired until it ends");
    assert_eq!(
        line,
        format!(
            "announcer (process {}) keeps the VIPs on lo: only the settings are repaired until it ends",
            std::process::id()
        )
    );

    host.netns.run("ip addr del 192.0.2.80/32 dev lo");
    host.netns.set_sysctl("all/arp_announce", 0);
    watch.says("net.ipv4.conf.all.arp_announce was 0");
    std::thread::sleep(QUIET);
    assert!(!has(&host, &["192.0.2.80"]), "put back while the daemon has the lock");

    daemon.end(End::Stop);
    watch.says("was stopped; what it has removed is not put back");
    watch.says("keeps 1 VIP on lo");
    std::thread::sleep(QUIET);
    assert!(!has(&host, &["192.0.2.80"]), "put back after a stop");
    host.netns.run("ip addr del 2001:db8::80/128 dev lo");
    watch.says("2001:db8::80/128 was not on lo: repaired");

    // The same when the daemon runs first.
    drop(watch);
    let daemon = FakeDaemon::start(&host);
    let watch = Watch::start(&host, &VIPS);
    watch.says("announcer (process ");
    std::thread::sleep(QUIET);
    assert!(!has(&host, &["192.0.2.80"]));
    daemon.end(End::Crash);
    watch.says("has ended, and was not stopped");
    watch.says("keeps 2 VIPs on lo");
    until("put back after a crash", || has(&host, &VIPS));
}

#[test]
fn after_a_crash_of_the_daemon_nothing_is_taken_away_and_the_next_one_gets_the_lock() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.wrapped(&[], &["apply", "192.0.2.99"]).0, 0); // of the daemon, and not of the configuration
    let watch = Watch::keeps(&host);
    for _ in 0..3 {
        let daemon = FakeDaemon::start(&host);
        watch.says("announcer (process ");
        daemon.end(End::Crash);
        watch.says("has ended, and was not stopped");
        watch.says("keeps 2 VIPs on lo");
        std::thread::sleep(QUIET);
        assert!(has(&host, &["192.0.2.80", "2001:db8::80", "192.0.2.99"]), "{}", host.lo());
    }
}

#[test]
fn a_second_watch_waits_for_the_first_one_and_remove_is_refused_while_one_runs() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let first = Watch::keeps(&host);
    let second = Watch::start(&host, &VIPS);
    second.says(&format!("`dsr-setup watch` (process {}) keeps the VIPs on lo", first.child.id()));
    let refusal = format!(
        "error: `dsr-setup watch` (process {}) keeps the VIPs on lo, and would put them back; stop it first, with `systemctl stop \
         dsr-setup-watch` if it is the unit, or use `--force`\n",
        first.child.id()
    );
    assert_eq!(host.remove(&[]), (1, String::new(), refusal.clone()));
    assert_eq!(host.remove(&["192.0.2.80"]), (1, String::new(), refusal));
    drop(first);
    second.says("has ended");
    second.says("keeps 2 VIPs on lo");
    drop(second);
    assert_eq!(host.remove(&[]).0, 0);
}

#[test]
fn the_configuration_is_read_again_at_sighup_and_a_wrong_one_changes_nothing() {
    use nix::sys::signal::Signal::SIGHUP;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let write = |vips: &str| std::fs::write(&config, format!("[[service]]\nvips = [{vips}]\n")).unwrap();
    write("\"192.0.2.80\"");
    let watch = Watch::start(&host, &["--config", config.to_str().unwrap()]);
    watch.says("keeps 1 VIP on lo");
    until("the first VIP", || has(&host, &["192.0.2.80"]));
    write("\"192.0.2.80\", \"192.0.2.81\"");
    watch.signal(SIGHUP);
    until("the second VIP", || has(&host, &["192.0.2.80", "192.0.2.81"]));
    write("\"192.0.2.80\", \"192.0.2.300\"");
    watch.signal(SIGHUP);
    watch.says("`192.0.2.300` is not an IP address");
    host.netns.run("ip addr del 192.0.2.81/32 dev lo");
    watch.says("192.0.2.81/32 was not on lo: repaired");
    // A VIP that is not named any more stays.
    write("\"192.0.2.80\"");
    watch.signal(SIGHUP);
    std::thread::sleep(QUIET);
    assert!(has(&host, &["192.0.2.80", "192.0.2.81"]));
}

#[test]
fn a_vrf_that_only_a_later_configuration_names_is_kept_too() {
    use nix::sys::signal::Signal::SIGHUP;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let config = host.dir.path().join("announcer.toml");
    let write = |vrf: &str| {
        let service = |vip: &str, vrf: &str| format!("[[service]]\nvips = [\"{vip}\"]\n{vrf}\n");
        std::fs::write(&config, service("192.0.2.80", "") + &service("192.0.2.81", vrf)).unwrap();
    };
    write("");
    let watch = Watch::start(&host, &["--config", config.to_str().unwrap()]);
    watch.says("keeps 2 VIPs on lo");
    write("vrf = \"edge\"");
    watch.signal(SIGHUP);
    watch.says("warning: the VRF `edge` does not exist: `ip link add edge type vrf table NUMBER` creates it; its VIPs are put there when it exists");
    // Not every kernel has VRFs. Another interface shows that the keeper of edge looks at it, and goes on.
    host.netns.run("ip link add edge type veth peer name far");
    watch.says("warning: `edge` is not a VRF: write in `vrf` a name that `ip link show type vrf` prints;");
    host.netns.run("ip addr del 192.0.2.80/32 dev lo");
    watch.says("192.0.2.80/32 was not on lo: repaired");
    host.netns.run("ip link del edge");
    watch.says("warning: the VRF `edge` does not exist");
    watch.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(watch.ended().success(), "the keeper of each device ends");
}

/// Any user may bind an abstract name, and has every capability in a user namespace of its own.
#[test]
fn a_process_without_rights_cannot_take_the_lock() {
    if !is_root() {
        return;
    }
    let bind = "$| = 1; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; \
                bind($s, pack_sockaddr_un(\"\\0announcer/keeper/lo\")) or die; listen($s, 5) or die; print \"ready\\n\"; sleep 60";
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for namespace in [&[][..], &["unshare", "--user", "--map-root-user"]] {
        let host = Host::new();
        let line = [&as_nobody[..], namespace, &["perl", "-MSocket", "-e", bind]].concat();
        let mut nobody = host.netns.command(&line).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(nobody.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() && !namespace.is_empty() {
            nobody.wait().unwrap();
            return until::skipped("in part: this host has no user namespaces for users");
        }
        assert_eq!(line, "ready\n");
        let watch = Watch::start(&host, &VIPS);
        watch.says("user 65534 holds the lock of the keeper, and has no right to: the VIPs are kept without the lock");
        until("the VIPs", || has(&host, &VIPS));
        host.netns.run("ip addr del 192.0.2.80/32 dev lo");
        watch.says("192.0.2.80/32 was not on lo: repaired");
        nobody.kill().unwrap();
        nobody.wait().unwrap();
    }
}

/// A process of another user counts if it has CAP_NET_ADMIN, as the unit's user has.
#[test]
fn a_watch_of_another_user_with_the_capability_counts() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let as_user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps",
        "+net_admin",
        "--ambient-caps",
        "+net_admin",
    ];
    let mut command =
        host.netns.command(&[&as_user[..], &[env!("CARGO_BIN_EXE_dsr-setup"), "watch"], &VIPS].concat());
    let dir = host.dir.path().join("of-nobody");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    for path in [host.dir.path(), &dir] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut first = command.arg("--state-dir").arg(&dir).spawn().unwrap();
    until("the VIPs", || has(&host, &VIPS));
    let second = Watch::start(&host, &VIPS);
    second.says(&format!("`dsr-setup watch` (process {}) keeps the VIPs on lo", first.id()));
    first.kill().unwrap();
    first.wait().unwrap();
    second.says("keeps 2 VIPs on lo");
}

/// Where the kernel lacks the tunnel, this is said once, and the VIPs are kept. Where it has it, the tunnel is kept.
#[test]
fn a_tunnel_is_kept_or_its_lack_is_said_once() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    host.netns.run("ip link set lo up");
    let watch = Watch::start(&host, &[&["--tunnel", "ipip"], &VIPS[..]].concat());
    watch.says("keeps 2 VIPs on lo");
    let has_device = host.netns.command(&["ip", "link", "show", "tunl0"]).output().unwrap().status.success();
    if has_device {
        println!("this kernel has ipip: tests/vm/run.d/40-tunnels.sh shows what is repaired");
        return;
    }
    let said = watch.says("the tunnel device tunl0 was missing");
    let want = "warning: the tunnel device tunl0 was missing, so that no packet of a director comes out, and cannot be repaired: this \
                kernel has no tunnels of the kind `ipip` (module `ipip`): ";
    assert!(said.starts_with(want), "{said}");
    until("the VIPs", || has(&host, &VIPS));
    // `watch` looks every two seconds, and has nothing new to say.
    host.netns.run("ip address delete 192.0.2.80/32 dev lo");
    watch.says("192.0.2.80/32 was not on lo");
    std::thread::sleep(Duration::from_secs(5));
    let again: Vec<String> = watch.rest().into_iter().filter(|line| line.contains("tunl0")).collect();
    assert_eq!(again, [""; 0]);
}
