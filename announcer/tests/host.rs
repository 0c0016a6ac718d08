//! Tests how the daemon reacts when other programs change lo, addresses and its state file. Each test runs in its own network
//! namespace, with the real kernel and real programs.
//!
//! Most of the time a test waits for the next look of the daemon, ten seconds: [`AT_ONCE`] of them run at the same time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../../dsr-setup/tests/common/mod.rs"]
mod common;
mod daemon;
#[path = "host/findings.rs"]
mod findings;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use announcer::control::api::{Request, Response, Status};
use common::{Netns, is_root, named, run_tests, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use until::until;

const V4: &str = "192.0.2.80";
const V6: &str = "2001:db8::80";
/// The longest time that an operation may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many tests run at the same time, on any number of processors.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let tests = named![
        findings::a_healthy_host_has_no_finding_and_no_warning,
        findings::a_full_accept_queue_is_found_and_its_length_is_a_figure,
        findings::a_vip_that_a_reload_adds_is_watched_too,
        findings::a_missing_way_back_is_found,
        findings::a_vip_that_is_a_source_is_found,
        findings::arp_settings_and_a_vip_on_another_interface_are_found,
        findings::a_vip_that_cannot_be_put_on_lo_is_found,
        a_state_file_that_cannot_be_used_is_a_warning_and_withholds_nothing,
        a_state_file_that_is_a_fifo_holds_nothing_up,
        each_vip_leaves_lo_settle_after_its_own_reload,
        lo_that_is_flushed_twice_within_milliseconds_withdraws_nothing,
        a_vip_that_is_removed_again_and_again_is_not_announced,
        a_vip_that_was_replaced_gets_its_flags_and_lifetimes_back,
        lo_that_is_set_down_is_set_up_again,
        arp_settings_that_were_reset_are_a_warning_also_while_drained,
        somebody_elses_form_of_a_vip_is_a_warning_with_the_command_that_mends_it,
        a_host_with_link_local_addresses_alone_is_warned_that_it_sends_from_a_vip,
        a_vip_of_an_older_configuration_leaves_after_the_start,
        a_drain_folder_that_cannot_be_read_is_reported_with_its_reason_also_at_a_restart,
    ];
    // It fills a table of the kernel, which takes two minutes: `make keepers`.
    let ignored = named![findings::a_full_table_of_connections_is_found];
    run_tests(AT_ONCE, tests, ignored)
}

/// A namespace with one interface besides lo, the ARP settings, and a daemon that announces two VIPs.
struct Host {
    netns: Netns,
    dir: TempDir,
    daemon: Option<Child>,
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Host {
    fn new() -> Host {
        let host = Host { netns: Netns::new(), dir: TempDir::new().unwrap(), daemon: None };
        for line in [
            "ip link add v0 type veth peer name v1",
            "ip link set v0 up",
            "ip link set v1 up",
            "ip addr add 10.0.0.1/24 dev v0",
            "ip addr add 2001:db8:1::1/64 dev v0 nodad",
            "ip route add default via 10.0.0.2",
            "ip -6 route add default via 2001:db8:1::2",
        ] {
            host.netns.run(line);
        }
        host.netns.set_sysctl("all/arp_ignore", 1);
        host.netns.set_sysctl("all/arp_announce", 2);
        std::fs::create_dir(host.state_dir()).unwrap();
        std::fs::write(host.dir.path().join("up"), "").unwrap();
        host
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes the configuration.
    fn configure(&self, vips: &[&str], settle: &str) {
        let vips: Vec<String> = vips.iter().map(|vip| format!("\"{vip}\"")).collect();
        let config = format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.0.0.1\"\nsettle = \"{settle}\"\n\
             [[peer]]\nname = \"r1\"\naddress = \"10.0.0.2\"\nasn = 65000\n\
             [[service]]\nname = \"www\"\nvips = [{}]\n\
             [[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\nrise = 1\n",
            vips.join(", "),
            self.dir.path().join("up").display()
        );
        std::fs::write(self.config(), config).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("announcer.toml")
    }

    fn announcer(&self, args: &[&str]) -> Command {
        let mut command = self.netns.command(&[env!("CARGO_BIN_EXE_announcer")]);
        command.arg("--socket").arg(self.dir.path().join("socket"));
        command.arg("--state-dir").arg(self.state_dir()).args(args);
        command
    }

    /// Starts the daemon and waits until it announces the VIPs.
    fn start(&mut self) {
        let run = self.announcer(&["run", "--config"]);
        self.start_by(run);
    }

    /// The same, by this command, to which the configuration is appended.
    fn start_by(&mut self, mut run: Command) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let config = self.config();
        self.daemon = Some(
            run.arg(config)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        );
        self.wait("announced", |host| host.status().is_some_and(|status| is_announced(&status)));
    }

    /// Stops the daemon by SIGTERM.
    fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        kill(Pid::from_raw(i32::try_from(daemon.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(daemon.wait().unwrap().success(), "{}", self.log());
    }

    fn status(&self) -> Option<Status> {
        let stream = UnixStream::connect(self.dir.path().join("socket")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let Response::Status { status } = daemon::ask(stream, &Request::Status).ok()? else {
            panic!("no status")
        };
        Some(*status)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn lo(&self) -> String {
        self.netns.run("ip -d addr show dev lo")
    }

    fn holds(&self, vip: &str) -> bool {
        self.lo().contains(&format!(" {vip}/"))
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Host) -> bool) {
        self.wait_for(what, PATIENCE, is_so);
    }

    fn wait_for(&self, what: &str, patience: Duration, is_so: impl Fn(&Host) -> bool) {
        let seen = until(patience, || is_so(self).then_some(()).ok_or(()));
        assert!(seen.is_ok(), "never {what}:\n{}\n{}", self.lo(), self.log());
    }

    /// Waits for a warning that has these words, in the status and in the log.
    fn warns(&self, words: &str) {
        self.wait(words, |host| host.warnings().iter().any(|warning| warning.contains(words)));
        self.wait("in the log", |host| host.log().contains(words));
    }

    fn warns_no_more(&self) {
        self.wait("without warnings", |host| host.warnings().is_empty());
    }

    /// The warnings about this host. Its only router does not exist, which is a warning too, sooner or later.
    fn warnings(&self) -> Vec<String> {
        let warnings = self.status().unwrap().warnings.into_iter();
        warnings.filter(|warning| !warning.contains("sent to no router")).collect()
    }

    fn reload(&self, vips: &[&str], settle: &str) {
        self.configure(vips, settle);
        let output = self.announcer(&["reload", "--force"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Checks for some time that nothing is withdrawn.
    fn stays_announced(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assert!(is_announced(&self.status().unwrap()), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20)); // between looks
        }
        let log = self.log();
        assert!(!log.contains("VIP was withdrawn") && !log.contains("last VIP"), "{log}");
    }
}

fn is_announced(status: &Status) -> bool {
    status.services.iter().flat_map(|service| &service.vips).all(|vip| vip.standing == "announced")
}

fn started() -> Option<Host> {
    if !is_root() {
        return None;
    }
    let mut host = Host::new();
    host.configure(&[V4, V6], "2s");
    host.start();
    Some(host)
}

/// Case W1.
fn a_state_file_that_cannot_be_used_is_a_warning_and_withholds_nothing() {
    let Some(host) = started() else { return };
    let file = host.state_dir().join("dsr-setup.json");
    std::fs::write(&file, r#"{"life":"x"#).unwrap();
    host.warns("dsr-setup.json` is not readable");
    // lo is read again, because of an event and of a removal.
    host.netns.run(&format!("ip addr del {V4}/32 dev lo"));
    host.wait("put back", |host| host.holds(V4));
    host.stays_announced(Duration::from_secs(2));
    std::fs::remove_file(&file).unwrap();
    host.warns_no_more();
}

/// Case W2.
fn a_state_file_that_is_a_fifo_holds_nothing_up() {
    let Some(host) = started() else { return };
    let file = host.state_dir().join("dsr-setup.json");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    host.netns.run(&format!("ip addr del {V4}/32 dev lo"));
    host.wait("put back", |host| host.holds(V4));
    host.warns("dsr-setup.json` is not a regular file");
    host.stays_announced(Duration::from_secs(2));
}

/// Case W4, without a router that has to acknowledge.
fn each_vip_leaves_lo_settle_after_its_own_reload() {
    let Some(host) = started() else { return };
    host.reload(&[V4, V6, "192.0.2.81"], "3s");
    host.wait("three VIPs", |host| host.holds("192.0.2.81"));
    let first = Instant::now();
    host.reload(&[V4, V6], "3s");
    std::thread::sleep(Duration::from_millis(2_500)); // within the first one's `settle`
    let second = Instant::now();
    host.reload(&[V4], "3s");
    host.wait("without the first", |host| !host.holds("192.0.2.81"));
    assert!(first.elapsed() >= Duration::from_secs(3), "{:?}", first.elapsed());
    assert!(host.holds(V6), "the second left with the first, {:?} after its reload", second.elapsed());
    host.wait("without the second", |host| !host.holds(V6));
    assert!(second.elapsed() >= Duration::from_secs(3), "{:?}", second.elapsed());
    assert!(host.holds(V4));
}

/// Case H3: the removals by `ip address flush` and `nmcli connection up`.
fn lo_that_is_flushed_twice_within_milliseconds_withdraws_nothing() {
    let Some(host) = started() else { return };
    for _ in 0..2 {
        host.netns.run("ip addr flush dev lo");
        host.wait("put back", |host| host.holds(V4) && host.holds(V6));
    }
    host.stays_announced(Duration::from_secs(2));
}

/// Case H3: repeated removals by another program are reported.
fn a_vip_that_is_removed_again_and_again_is_not_announced() {
    let Some(host) = started() else { return };
    host.wait("withheld", |host| {
        let _ = host.netns.command(&["ip", "addr", "del", &format!("{V4}/32"), "dev", "lo"]).output(); // it may be gone already
        !is_announced(&host.status().unwrap())
    });
    let status = host.status().unwrap();
    let reasons: Vec<&str> = status
        .services
        .iter()
        .flat_map(|service| &service.vips)
        .map(|vip| vip.reason.text.as_str())
        .collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("removed again soon after it was put back")),
        "{reasons:?}"
    );
}

/// Case H4: NetworkManager's `device reapply` replaces the address.
fn a_vip_that_was_replaced_gets_its_flags_and_lifetimes_back() {
    let Some(host) = started() else { return };
    host.netns.run(&format!("ip addr replace {V6}/128 dev lo"));
    host.wait("deprecated again", |host| {
        let lo = host.lo();
        let lines: String = lo.lines().skip_while(|line| !line.contains(V6)).take(2).collect();
        ["nodad", "deprecated", "noprefixroute"].iter().all(|word| lines.contains(word))
    });
    let is_report = |line: &str| line.contains("was corrected") && line.contains("device=lo");
    assert!(host.log().lines().any(is_report), "{}", host.log());
    host.stays_announced(Duration::from_secs(1));
    // Its mark is back too: it leaves when no service names it.
    host.reload(&[V4], "1s");
    host.wait("without it", |host| !host.holds(V6));
}

/// Case H10.
fn lo_that_is_set_down_is_set_up_again() {
    let Some(host) = started() else { return };
    host.netns.run("ip link set lo down");
    host.wait("up again", |host| host.lo().contains("LOOPBACK,UP") && host.holds(V6));
    host.stays_announced(Duration::from_secs(2));
    assert!(host.log().contains("device of the VIPs was set down by another program"), "{}", host.log());
}

/// Cases H11 and W21: a later file in /etc/sysctl.d, or `dsr-setup remove`.
fn arp_settings_that_were_reset_are_a_warning_also_while_drained() {
    let Some(host) = started() else { return };
    assert_eq!(host.warnings(), [""; 0]);
    assert!(host.announcer(&["drain", "--all"]).status().unwrap().success());
    host.netns.set_sysctl("all/arp_ignore", 0);
    host.warns("net.ipv4.conf.all.arp_ignore = 0; `dsr-setup apply` corrects it");
    host.netns.set_sysctl("all/arp_ignore", 1);
    host.warns_no_more();
}

/// Case H12, and the commands that the warnings name.
fn somebody_elses_form_of_a_vip_is_a_warning_with_the_command_that_mends_it() {
    if !is_root() {
        return;
    }
    let mut host = Host::new();
    host.netns.run("ip link set lo up");
    host.netns.run(&format!("ip addr add {V4}/24 dev lo"));
    host.configure(&[V4, V6], "2s");
    host.start();
    host.warns("192.0.2.80/24 is on lo: this host treats all of 192.0.2.0/24 as its own addresses");
    host.netns.run("ip address del 192.0.2.80/24 dev lo");
    host.wait("put there as it should be", |host| host.lo().contains(" 192.0.2.80/32 scope link lo:vip"));
    host.warns_no_more();

    host.netns.run(&format!("ip addr add {V4}/24 dev v0"));
    host.warns("192.0.2.80/24 is also on v0");
    host.netns.run("ip address del 192.0.2.80/24 dev v0");
    host.warns_no_more();
}

/// Case H6.
fn a_host_with_link_local_addresses_alone_is_warned_that_it_sends_from_a_vip() {
    let Some(host) = started() else { return };
    host.netns.run("ip addr del 2001:db8:1::1/64 dev v0");
    host.warns("this host has only link-local IPv6 addresses");
    host.netns.run("ip addr add 2001:db8:1::1/64 dev v0 nodad");
    host.warns_no_more();
}

/// A VIP with our mark that no service names at the start leaves after `settle`; an address of another program stays.
fn a_vip_of_an_older_configuration_leaves_after_the_start() {
    let Some(mut host) = started() else { return };
    let mut daemon = host.daemon.take().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    host.netns.run("ip addr add 192.0.2.99/32 dev lo");
    host.configure(&[V4], "1s");
    let start = Instant::now();
    host.start();
    host.wait("without it", |host| !host.holds(V6));
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(host.holds(V4) && host.holds("192.0.2.99"));
}

/// Case H7: the reason is in the warning while the daemon runs, and in the error of a start.
fn a_drain_folder_that_cannot_be_read_is_reported_with_its_reason_also_at_a_restart() {
    let Some(mut host) = started() else { return };
    let folder = host.state_dir().join("drain");
    std::fs::rename(&folder, host.state_dir().join("drain.old")).unwrap();
    std::fs::write(&folder, "").unwrap();
    host.wait("warned of", |host| {
        host.warnings().iter().any(|warning| {
            warning.starts_with("the drain folder cannot be read: ")
                && warning.contains("; drained services stay drained")
        })
    });
    host.stays_announced(Duration::from_secs(1));
    host.stop();

    // A file in place of the folder, and a folder that the daemon may not read.
    let config = host.config();
    let run = |wrapper: &[&str]| {
        let line = [wrapper, &["timeout", "20", env!("CARGO_BIN_EXE_announcer"), "run", "--config"]].concat();
        let mut command = host.netns.command(&line);
        command.arg(&config).arg("--socket").arg(host.dir.path().join("socket"));
        let output = command.arg("--state-dir").arg(host.state_dir()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let error = |why: &str| format!("error: cannot read the drains in `{}`: {why}\n", folder.display());
    assert_eq!(run(&[]), (Some(1), error("File exists")));

    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    let as_any_user = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];
    assert_eq!(run(&as_any_user), (Some(1), error("Permission denied")));
}
