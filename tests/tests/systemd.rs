//! Tests the installed files with a real systemd, which boots from the lab's image in its own namespaces, with nginx.
//!
//! The test is skipped, with a message, if it cannot boot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "systemd/chain.rs"]
mod chain;
#[path = "systemd/findings.rs"]
mod findings;
#[path = "systemd/kinds.rs"]
mod kinds;
mod machine;
#[path = "systemd/programs.rs"]
mod programs;
#[path = "systemd/unnumbered.rs"]
mod unnumbered;
#[path = "systemd/upgrade.rs"]
mod upgrade;
#[path = "systemd/watchdog.rs"]
mod watchdog;

use std::thread::sleep;
use std::time::{Duration, Instant};

use self::machine::Machine;

const CONFIG: &str = r#"
[bgp]
asn = 65001
router_id = "10.0.1.11"

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000

[[service]]
name = "www"
vips = ["192.0.2.80"]

[[service.check]]
http = "http://www.example.com/"
"#;

#[test]
fn installed_under_systemd() {
    let machine = match Machine::boot() {
        Ok(machine) => machine,
        Err(why) => return until::skipped(format_args!("no systemd can be booted here: {}", why.trim())),
    };
    machine.install();
    units(&machine);
    start(&machine);
    ordering(&machine);
    reload(&machine);
    journal(&machine);
    findings::findings(&machine);
    programs::programs(&machine);
    kinds::kinds(&machine);
    crashes(&machine);
    upgrade::newer_files(&machine);
    upgrade::upgrades(&machine);
    upgrade::rolled_back(&machine);
    chain::chain(&machine);
    unnumbered::unnumbered(&machine);
    socket_activation(&machine);
    wrong_configuration(&machine);
    stop(&machine);
    uninstall(&machine);
}

fn units(machine: &Machine) {
    // The image has no `man`.
    let said = machine.must("cd /usr/local/lib/systemd/system && systemd-analyze verify --man=no *.service");
    assert_eq!(said, "");
    for unit in ["announcer.service", "dsr-setup.service", "dsr-setup-watch.service"] {
        let file = format!("/usr/local/lib/systemd/system/{unit}");
        // 0.1 for the question whether the clock is synchronised, 0.3 for the real-time scheduling of BFD: see the unit.
        let threshold = if unit == "announcer.service" { 24 } else { 21 };
        machine.must(&format!("systemd-analyze security --offline=true --threshold={threshold} {file}"));
        let all = machine.must(&format!("systemd-analyze security --offline=true {file} | tail -1"));
        println!("{all}");
    }
}

fn start(machine: &Machine) {
    // Without a configuration, the exit code is that of a wrong one, and systemd does not try again.
    assert_ne!(machine.run("systemctl start announcer").0, 0);
    assert_eq!(machine.property("ActiveState"), "failed");
    assert_eq!(
        (machine.property("ExecMainStatus").as_str(), machine.property("NRestarts").as_str()),
        ("2", "0")
    );

    machine.must(&format!("cat >/etc/announcer/announcer.toml <<'E'\n{CONFIG}\nE"));
    // When the start is done, the control socket answers, and the VIP was looked for.
    machine.must("systemctl reset-failed && systemctl enable announcer dsr-setup");
    let status = machine.must("systemctl start announcer && announcer status");
    assert!(!status.contains("were not read yet"), "{status}");
    machine.announced();
    machine.until("STATUS=", |machine| machine.property("StatusText") == "1 of 1 VIP, 0 of 1 router");
    machine.until("stored", |machine| machine.run("test -e /var/lib/announcer/last-good.toml").0 == 0);
    assert_eq!(machine.must("systemctl is-active dsr-setup announcer"), "active\nactive");
    assert_eq!(machine.must("cat /proc/sys/net/ipv4/conf/all/arp_ignore"), "1");
    assert_eq!(machine.must("cat /proc/sys/net/ipv4/conf/all/arp_announce"), "2");
    let owners = "stat -c '%U:%G %a %n' /var/lib/announcer /var/lib/announcer/* /run/announcer/control.sock";
    assert_eq!(
        machine.must(owners),
        "announcer:announcer 755 /var/lib/announcer\n\
         announcer:announcer 755 /var/lib/announcer/drain\n\
         announcer:announcer 644 /var/lib/announcer/dsr-setup.json\n\
         announcer:announcer 600 /var/lib/announcer/last-good.toml\n\
         announcer:announcer 640 /var/lib/announcer/running\n\
         announcer:announcer 640 /var/lib/announcer/starts\n\
         announcer:announcer 640 /var/lib/announcer/unfinished\n\
         announcer:announcer 660 /run/announcer/control.sock"
    );
    let status = "/proc/$(systemctl show --value -p MainPID announcer)/status";
    assert_eq!(machine.must(&format!("awk '/^CapEff/ {{ print $2 }}' {status}")), "0000000000801000"); // NET_ADMIN and SYS_NICE
    assert!(
        !machine.must("journalctl -u announcer --no-pager").contains("group of the socket was not changed")
    );

    // A member of the group may use `status` and drain; others may not.
    let member = "setpriv --reuid=nobody --regid=nogroup --groups=announcer";
    machine.must(&format!("{member} announcer drain www --reason test"));
    assert_eq!(machine.must("stat -c %U /var/lib/announcer/drain/www@nobody"), "announcer");
    machine.must(&format!("{member} announcer undrain www"));
    let (code, said) = machine.run("setpriv --reuid=nobody --regid=nogroup --clear-groups announcer status");
    assert!(code == 1 && said.contains("group `announcer`"), "{said}");
    // Files that root makes by hand, with a restrictive umask, must be readable for the daemon.
    machine.must("umask 077 && dsr-setup remove --force && dsr-setup apply");
    machine.must("setpriv --reuid=announcer --clear-groups cat /var/lib/announcer/dsr-setup.json >/dev/null");
    machine.announced();
}

/// A web server that our units do not name (case H5); it runs until everything is stopped.
fn ordering(machine: &Machine) {
    // It writes the time of its stop into a file, because systemd forgets the times of a unit that is no longer needed.
    machine.must(
        "printf '[Service]\\nExecStart=/bin/sleep infinity\\nExecStop=/bin/sh -c \"cat /proc/uptime >/tmp/shop\"\\n' \
         >/etc/systemd/system/shop.service",
    );
    machine.must("dsr-setup order shop && systemctl daemon-reload && systemctl start shop");
    let of =
        |unit: &str, property: &str| machine.must(&format!("systemctl show --value -p {property} {unit}"));
    let (after, before) = (of("shop", "After"), of("shop", "Before"));
    assert!(after.contains("dsr-setup.service") && before.contains("announcer.service"), "{after}; {before}");
    let before = of("dsr-setup", "Before");
    assert!(before.contains("network.target"), "{before}");
}

fn reload(machine: &Machine) {
    let before = machine.property("MainPID");
    machine.must("systemctl reload announcer");
    machine.must("sed -i.good 's/asn = 65001/asn = 0/' /etc/announcer/announcer.toml");
    let (code, _) = machine.run("systemctl reload announcer");
    assert_ne!(code, 0, "a wrong configuration was reloaded");
    machine.until("said why", |machine| {
        machine.must("journalctl -u announcer --no-pager").contains("error: AS 0 is reserved")
    });
    machine.must("mv /etc/announcer/announcer.toml.good /etc/announcer/announcer.toml");
    machine.must("systemctl reload announcer");
    sleep(Duration::from_millis(200)); // a deadly signal would have killed it by now
    assert_eq!((machine.property("MainPID"), machine.property("ActiveState")), (before, "active".to_owned()));
    machine.announced();
}

/// The lines of the daemon are records of the journal, with a priority and with fields.
fn journal(machine: &Machine) {
    machine.must("systemctl stop nginx");
    let withdrawn =
        "journalctl -u announcer --no-pager -o json -p err SERVICE=www VIP=192.0.2.80 | tail -n 1";
    machine.until("a record of the withdrawal", |machine| {
        machine.run(withdrawn).1.contains("last VIP was withdrawn")
    });
    let record: serde_json::Value = serde_json::from_str(&machine.must(withdrawn)).unwrap();
    let fields = ["PRIORITY", "SERVICE", "VIP", "SYSLOG_IDENTIFIER", "_TRANSPORT", "_SYSTEMD_UNIT"];
    let values = fields.map(|name| record[name].as_str().unwrap_or_default());
    assert_eq!(values, ["3", "www", "192.0.2.80", "announcer", "journal", "announcer.service"], "{record}");
    assert!(
        record["MESSAGE"].as_str().unwrap().starts_with("last VIP was withdrawn service=www "),
        "{record}"
    );
    let wrong = machine.must("journalctl -u announcer --no-pager -o cat -p err");
    assert!(wrong.contains("error: AS 0 is reserved"), "a mistake in the configuration is an error: {wrong}");
    let member = "setpriv --reuid=nobody --regid=nogroup --groups=announcer announcer log debug";
    let (code, said) = machine.run(member);
    assert!(code == 2 && said.contains("only root may do this: write `sudo announcer log`"), "{said}");
    machine.must("announcer log debug --for 5m && announcer log info && systemctl start nginx");
    machine.announced();
}

/// Kills the daemon, and waits for the next one.
fn crash(machine: &Machine) -> Duration {
    let before = machine.property("MainPID");
    let start = Instant::now();
    machine.must(&format!("kill -KILL {before}"));
    machine.until("started again", |machine| {
        let pid = machine.property("MainPID");
        pid != "0" && pid != before && machine.property("ActiveState") == "active"
    });
    start.elapsed()
}

fn crashes(machine: &Machine) {
    let times: Vec<Duration> = (0..5).map(|_| crash(machine)).collect();
    println!("killed five times in a row, started again after {times:.1?}");
    assert!(times.iter().all(|time| *time < Duration::from_secs(4)), "{times:?}");
    assert_eq!(machine.property("NRestarts"), "5");
    assert_eq!(machine.property("ActiveState"), "active");
    machine.announced();
}

/// systemd owns the web server's sockets. The server ends, by SIGTERM or SIGKILL, and is activated again, without a withdraw.
fn socket_activation(machine: &Machine) {
    let socket = "[Socket]\nListenStream=0.0.0.0:80\nListenStream=[::]:80\nBindIPv6Only=ipv6-only";
    let service = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nEnvironment=\"NGINX=3;4;\"\n\
        ExecStart=/usr/sbin/nginx -g \"daemon off;\"\nKillSignal=SIGQUIT";
    machine.must("systemctl stop nginx");
    for (unit, text) in [("www.socket", socket), ("www.service", service)] {
        machine.must(&format!("cat >/run/systemd/system/{unit} <<'E'\n{text}\nE"));
    }
    machine.must("systemctl daemon-reload && systemctl start www.socket");
    machine.announced();
    // The load: one request after the other, with a dot for each failed one.
    let mut load = machine
        .command(
            "until [ -e /run/enough ]; do echo >>/run/asked; \
             curl -sf -m 2 -o /dev/null http://192.0.2.80/ || echo >>/run/lost; sleep 0.02; done",
        )
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let pid = || machine.must("systemctl show --value --property=MainPID www.service");
    for round in 0..6 {
        let before = pid();
        machine.must(match round % 2 {
            0 => "systemctl stop www.service",
            _ => "systemctl kill --signal=KILL www.service",
        });
        machine.until("activated again", |machine| {
            pid() != before && pid() != "0" && machine.run("systemctl is-active www.service").0 == 0
        });
        sleep(Duration::from_millis(700)); // at a random time between two probes
    }
    let lasted = begun.elapsed().as_secs_f64();
    machine.must(": >/run/enough");
    load.wait().unwrap();
    let status: serde_json::Value = serde_json::from_str(&machine.must("announcer status --json")).unwrap();
    let vip = &status["services"][0]["vips"][0];
    assert_eq!(vip["reason"]["code"], "healthy", "{status}");
    assert!(vip["for"].as_f64().unwrap() > lasted, "withdrawn meanwhile, in {lasted} s: {status}");
    let counts = machine.must("wc -l </run/asked; cat /run/lost 2>/dev/null | wc -l");
    println!("activated six times in {lasted:.1} s; requests, and lost ones: {}", counts.replace('\n', ", "));
    machine.must("systemctl stop www.socket www.service; rm /run/systemd/system/www.*; systemctl daemon-reload; systemctl start nginx");
    machine.announced();
}

/// A typo does not take the frontend out: the last good configuration runs, and everything says so.
fn wrong_configuration(machine: &Machine) {
    let config = "/etc/announcer/announcer.toml";
    machine.must(&format!("sed -i.good 's/asn = 65001/asn = 0/' {config}"));
    machine.must("systemctl restart announcer");
    machine.announced();
    let text = machine.property("StatusText");
    assert!(
        text.ends_with("; fallback configuration: `/etc/announcer/announcer.toml` had 1 error"),
        "{text}"
    );
    let status = machine.must("announcer status --all");
    assert!(status.contains("the last good configuration runs"), "{status}");
    let journal = machine.must("journalctl -u announcer --no-pager -n 30");
    assert!(journal.contains("AS 0 is reserved") && journal.contains("the last good configuration runs"));
    assert_ne!(machine.run("systemctl reload announcer").0, 0, "a wrong configuration was reloaded");
    assert!(machine.must("announcer status --all").contains("the last good configuration runs"));
    machine.must(&format!("mv {config}.good {config} && systemctl reload announcer"));
    machine.until("STATUS=", |machine| machine.property("StatusText") == "1 of 1 VIP, 0 of 1 router");
    assert!(!machine.must("announcer status --all").contains("the last good configuration runs"));

    // A wrong file that does not mention the VIP any more.
    machine.must(&format!("sed -i.good 's/asn = 65001/asn = 0/; s/^vips/# vips/' {config}"));
    machine.must("systemctl restart announcer");
    let status = machine.must("announcer status --all");
    assert!(!status.contains("www") && status.contains("its VIP 192.0.2.80 is left out"), "{status}");

    // Without a copy of this machine, and without a file, there is nothing to run.
    let copy = "/var/lib/announcer/last-good.toml";
    for (make, has) in [
        (format!("cp -p {copy} /root/copy && sed -i '1s/machine ./machine x/' {copy}"), "another machine"),
        (format!("cp -p /root/copy {copy} && mv {config} /root/config"), "cannot read the configuration"),
    ] {
        machine.must(&make);
        assert_ne!(machine.run("systemctl restart announcer").0, 0);
        sleep(Duration::from_millis(1500)); // this is longer than RestartSec
        let seen = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|name| machine.property(name));
        assert_eq!(seen, ["failed", "2", "0"], "{has}");
        assert!(machine.must("journalctl -u announcer --no-pager -n 12").contains(has), "{has}");
    }
    machine.must(&format!("mv {config}.good {config}"));
    machine.must("systemctl start announcer");
    machine.announced();
}

fn stop(machine: &Machine) {
    // As at a shutdown, one transaction stops everything, and the order of the units decides.
    let target = "[Unit]\nRequires=basic.target\nAllowIsolate=yes";
    machine.must(&format!("echo '{target}' >/run/systemd/system/quiet.target && systemctl daemon-reload"));
    machine.must("systemctl isolate quiet.target");
    machine.until("stopped", |machine| {
        machine.run("systemctl is-active nginx announcer shop").1 == "inactive\ninactive\ninactive"
    });
    let at = |unit: &str, property: &str| -> u64 {
        let value = machine.must(&format!("systemctl show --value --property={property} {unit}"));
        value.parse().unwrap_or_else(|e| panic!("{unit} {property} {value}: {e}"))
    };
    let ours = at("announcer", "InactiveEnterTimestampMonotonic");
    let theirs = at("nginx", "ActiveExitTimestampMonotonic");
    assert!(ours <= theirs, "nginx had ended {} µs before announcer", ours.saturating_sub(theirs));
    println!("announcer ended {:.1} ms before nginx was asked to", (theirs - ours) as f64 / 1e3);
    let uptime = machine.must("cat /tmp/shop");
    let stopped = uptime.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok());
    let stopped = stopped.unwrap_or_else(|| panic!("the server wrote down no time: {uptime:?}"));
    // /proc/uptime has hundredths of a second.
    assert!(
        ours as f64 / 1e6 <= stopped + 0.01,
        "systemd stopped shop at {stopped} s, and announcer had ended at {ours} µs"
    );
    machine.must(
        "dsr-setup order --remove shop && rm /etc/systemd/system/shop.service && systemctl daemon-reload",
    );
    assert_eq!(machine.property("Result"), "success");
    assert!(machine.must("journalctl -u announcer --no-pager -n 5").contains("announcer ended"));
    assert!(
        machine.must("ip -o address show dev lo").contains("192.0.2.80/32"),
        "the VIP went with the daemon"
    );
}

fn uninstall(machine: &Machine) {
    machine.must("systemctl start announcer");
    let remove = "/root/announcer/announcer/packaging/install --remove '' /usr/local";
    let (code, said) = machine.run(remove);
    assert!(code == 1 && said.contains("is running"), "{said}");
    // The drain of a person stays, and that of the removal does not.
    machine.must("systemctl enable --now dsr-setup-watch && announcer drain www --reason mine && /usr/local/lib/announcer/before-removal");
    let left = "systemctl is-active announcer dsr-setup dsr-setup-watch; systemctl is-enabled announcer dsr-setup dsr-setup-watch; \
                ip -o address show dev lo | grep -c 192.0.2.80; cat /proc/sys/net/ipv4/conf/all/arp_ignore; \
                ls /var/lib/announcer/drain";
    assert_eq!(
        machine.run(left).1,
        "inactive\ninactive\ninactive\ndisabled\ndisabled\ndisabled\n0\n0\nwww@root"
    );
    machine.must(remove);
    assert_eq!(machine.run("systemctl cat announcer.service").0, 1);
    assert_eq!(
        machine.must("ls /etc/announcer; ls -d /var/lib/announcer"),
        "announcer.toml\n/var/lib/announcer"
    );
}
