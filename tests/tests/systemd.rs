//! Tests the installed files with a real systemd, which boots from the lab's image in its own namespaces, with nginx.
//!
//! The test is skipped, with a message, if it cannot boot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "systemd/findings.rs"]
mod findings;
#[path = "systemd/kinds.rs"]
mod kinds;
mod machine;
#[path = "systemd/unnumbered.rs"]
mod unnumbered;

use std::thread::sleep;
use std::time::{Duration, Instant};

use until::until;

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
        Err(why) => return println!("SKIPPED: no systemd can be booted here: {}", why.trim()),
    };
    machine.install();
    units(&machine);
    start(&machine);
    ordering(&machine);
    reload(&machine);
    journal(&machine);
    findings::findings(&machine);
    programs(&machine);
    kinds::kinds(&machine);
    crashes(&machine);
    newer_files(&machine);
    upgrades(&machine);
    rolled_back(&machine);
    chain(&machine);
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
    assert!(!status.contains("lo was not read"), "{status}");
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

/// The script of a check or hook: each line is an attempt with its name. `$1` is the name of the program, and its parent is the
/// daemon. Two runs may overlap, for two VIPs, so that each writes a file of its own.
const TRY: &str = r#"#!/bin/sh
daemon=${2-$PPID}
may() { if sh -c "$2" sh "$daemon" >/dev/null 2>&1; then echo "$1"; fi; }
{
	may 'write a drain' 'echo >/var/lib/announcer/drain/api && rm /var/lib/announcer/drain/api'
	may 'write the state' 'echo >/var/lib/announcer/new && rm /var/lib/announcer/new'
	may 'write the last good configuration' 'echo >>/var/lib/announcer/last-good.toml'
	may 'remove the last good configuration' 'cd /var/lib/announcer && mv last-good.toml x && mv x last-good.toml'
	may 'write the run directory' 'echo >/run/announcer/new && rm /run/announcer/new'
	may 'drain by the socket' 'announcer drain www'
	may 'ask the socket' 'announcer status'
	may 'reload by the socket' 'announcer reload'
	may 'read a key' 'grep . /etc/announcer/r1.key'
	may 'read the daemon' 'head -c 1 /proc/$1/environ'
	may 'signal the daemon' 'kill -0 $1'
	may 'remove the socket' 'mv /run/announcer/control.sock /run/announcer/s && mv /run/announcer/s /run/announcer/control.sock'
	may '+ read /etc and /proc' 'cat /etc/passwd /etc/announcer/announcer.toml /proc/loadavg /proc/self/status'
	may '+ read the state' 'ls /var/lib/announcer/drain && cat /var/lib/announcer/running'
	may '+ write /tmp' 'f=$(mktemp) && mkdir $f.d && mv $f $f.d/x && rm -r $f.d'
	may '+ use the network' 'curl -sf -m 5 -o /dev/null http://192.0.2.80/'
	may '+ signal its own' 'sleep 9 & kill $!'
} >/tmp/$1.$$
mv /tmp/$1.$$ /tmp/$1
exit 0
"#;

/// Programs of checks and hooks run as the daemon's user, but cannot act as the daemon.
fn programs(machine: &Machine) {
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    machine.must("umask 027 && echo secret >/etc/announcer/r1.key && chgrp announcer /etc/announcer/r1.key");
    machine.must(&format!("cat >/usr/local/bin/try <<'E'\n{TRY}\nE\nchmod 755 /usr/local/bin/try"));
    machine.must(
        "cd /etc/announcer && sed -i 's|^asn = 65000|&\\npassword_file = \"/etc/announcer/r1.key\"|' announcer.toml && \
         printf '[[service.check]]\\nname = \"try\"\\nexec = [\"/usr/local/bin/try\", \"check\"]\\ninterval = \"1s\"\\n\
         timeout = \"20s\"\\n[hooks]\\non_change = [\"/usr/local/bin/try\", \"hook\"]\\ntimeout = \"20s\"\\n' >>announcer.toml",
    );
    machine.must("systemctl restart announcer");
    machine.announced();
    let pid = machine.property("MainPID");
    let good = "+ read /etc and /proc\n+ read the state\n+ write /tmp\n+ use the network\n+ signal its own";
    for program in ["check", "hook"] {
        let seen = format!("/proc/{pid}/root/tmp/{program}");
        machine.until(program, |machine| machine.run(&format!("test -e {seen}")).0 == 0);
        assert_eq!(machine.must(&format!("cat {seen}")), good, "{program}");
    }
    assert!(!machine.must("announcer status --all").contains("Landlock"));
    // Checks the test itself: the same commands by the same user work, except that the control socket refuses them.
    machine.must(&format!("setpriv --reuid=announcer --regid=announcer --clear-groups try hand {pid}"));
    let all = "write a drain\nwrite the state\nwrite the last good configuration\nremove the last good configuration\n\
               write the run directory\nread a key\nread the daemon\nsignal the daemon\n\
               remove the socket\n";
    let by_hand = machine.must("cat /tmp/hand");
    println!("by hand, as user announcer: {}", by_hand.replace('\n', ", "));
    assert!(
        by_hand.lines().filter(|line| !line.starts_with('+')).all(|line| all.contains(line)),
        "{by_hand}"
    );
    for line in [
        "write a drain",
        "write the state",
        "write the last good configuration",
        "remove the last good configuration",
        "read a key",
        "signal the daemon",
        "remove the socket",
    ] {
        assert!(by_hand.contains(line), "{by_hand}");
    }
    machine.must("mv /etc/announcer/before /etc/announcer/announcer.toml && rm /etc/announcer/r1.key");
    machine.must("systemctl restart announcer");
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

fn newer_files(machine: &Machine) {
    let before = machine.property("MainPID");
    machine.install();
    assert_eq!(machine.property("MainPID"), before, "installing restarted the daemon");
    assert!(
        machine.must(&format!("readlink /proc/{before}/exe")).ends_with("(deleted)"),
        "nothing newer was installed"
    );
    machine.announced();
}

/// The file of the program that runs.
fn runs(machine: &Machine) -> String {
    machine.run("readlink /proc/$(systemctl show --value -p MainPID announcer)/exe").1
}

/// In the unit's sandbox: another program in the same process, with the same capabilities, and the way back.
fn upgrades(machine: &Machine) {
    let state = |machine: &Machine| {
        let capabilities =
            machine.must("grep ^Cap /proc/$(systemctl show --value -p MainPID announcer)/status");
        (machine.property("MainPID"), machine.property("NRestarts"), capabilities)
    };
    let before = state(machine);
    let said = machine.must("announcer upgrade");
    assert!(said.contains("is kept in `/usr/local/lib/announcer/previous`"), "{said}");
    assert_eq!((runs(machine).as_str(), state(machine)), ("/usr/local/bin/announcer", before.clone()));
    machine.must("announcer upgrade --previous");
    let previous = "/usr/local/lib/announcer/previous/announcer";
    assert_eq!((runs(machine).as_str(), state(machine)), (previous, before.clone()));
    machine.must("announcer upgrade");
    assert_eq!((runs(machine).as_str(), state(machine)), ("/usr/local/bin/announcer", before));
    assert_eq!(machine.must("stat -c '%U %a' /usr/local/lib/announcer/previous"), "root 755");
    machine.announced();
}

/// What `nft` gets from the daemon, as the wrapper writes it, which stands in its place.
const NFT: &str = r#"#!/bin/sh
{ grep ^CapEff /proc/$$/status; tr '\\0' '\\n' </proc/$$/environ | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; } >/tmp/nft
exec /usr/sbin/nft.real "$@"
"#;

/// The rules of the chain, in the unit's sandbox: `nft` gets CAP_NET_ADMIN and nothing else, and a check gets nothing.
fn chain(machine: &Machine) {
    let before = machine.must("nft list ruleset");
    machine.must("cp -p /etc/announcer/announcer.toml /etc/announcer/before");
    machine.must("ip link add chain0 type veth peer name chain1 && ip addr add 10.7.0.1/24 dev chain0");
    machine.must("ip link set chain0 up && ip link set chain1 up");
    machine.must("umask 027 && echo 0123456789abcdef >/etc/announcer/chain.key && chgrp announcer /etc/announcer/chain.key");
    machine.must(&format!(
        "mv /usr/sbin/nft /usr/sbin/nft.real && cat >/usr/sbin/nft <<'E'\n{NFT}E\nchmod 755 /usr/sbin/nft"
    ));
    machine.must(
        "printf '[[service.check]]\\nname = \"caps\"\\nexec = [\"/bin/sh\", \"-c\", \"cat /etc/announcer/chain.key >/tmp/key; grep ^CapEff /proc/self/status >/tmp/check\"]\\n\
         [chain]\\ninterface = \"chain0\"\\nmembers = [\"10.7.0.1\", \"10.7.0.2\"]\\nkey_file = \"/etc/announcer/chain.key\"\\n' \
         >>/etc/announcer/announcer.toml && announcer reload",
    );
    let installed = |machine: &Machine| {
        machine.run("nft.real list table ip announcer && nft.real list table ip6 announcer").0 == 0
    };
    machine.until("rules", installed);
    let pid = machine.property("MainPID");
    machine.until("the check", |machine| machine.run(&format!("test -s /proc/{pid}/root/tmp/check")).0 == 0);
    assert_eq!(machine.must(&format!("cat /proc/{pid}/root/tmp/nft")), "CapEff:\t0000000000001000"); // NET_ADMIN, and no variable
    assert_eq!(machine.must(&format!("cat /proc/{pid}/root/tmp/check")), "CapEff:\t0000000000000000");
    assert_eq!(machine.must(&format!("cat /proc/{pid}/root/tmp/key")), "", "a check has read the key");
    let status = machine.must("announcer status --all");
    assert!(status.contains("chain: member 10.7.0.2 was not heard"), "{status}");

    // They outlive the process, and the next one knows them.
    crash(machine);
    assert!(installed(machine));
    machine.must("announcer upgrade");
    assert!(installed(machine));
    machine.until("known again", |machine| {
        machine
            .must("journalctl -u announcer --no-pager")
            .matches("rules of the former process are in the kernel")
            .count()
            >= 2
    });
    // A stop removes them, and so does a configuration without the table.
    machine.must("systemctl stop announcer");
    assert_eq!(machine.must("nft.real list ruleset"), before);
    machine.must("systemctl start announcer");
    machine.until("rules", installed);
    machine.must("mv /etc/announcer/before /etc/announcer/announcer.toml && announcer reload");
    machine.until("no rules", |machine| machine.must("nft.real list ruleset") == before);
    machine.must("mv /usr/sbin/nft.real /usr/sbin/nft && ip link del chain0 && rm /etc/announcer/chain.key");
    machine.announced();
}

/// Puts a program in the place of the installed one.
fn put_program(machine: &Machine, text: &str) {
    machine.must(&format!("printf '{text}' >/usr/local/bin/new && chmod 755 /usr/local/bin/new"));
    machine.must("mv /usr/local/bin/new /usr/local/bin/announcer");
}

/// A program that takes over and then ends, and one that cannot be executed at all: the previous one runs.
fn rolled_back(machine: &Machine) {
    let previous = "/usr/local/lib/announcer/previous/announcer";
    let kept = "cp -a /usr/local/bin/announcer /root/works && cp -a /root/works /usr/local/bin/again && \
                mv /usr/local/bin/again /usr/local/bin/announcer && announcer upgrade";
    let crashes =
        "#!/bin/sh\\ncase \" $* \" in *takeover-check*) echo announcer 9 takes over ;; *) exit 1 ;; esac\\n";
    for (what, program) in [("it ends", crashes), ("it cannot be executed", "\\177ELF")] {
        machine.must(kept);
        put_program(machine, program);
        if program == crashes {
            machine.must("systemctl kill --kill-who=main --signal=USR2 announcer");
        } else {
            machine.must("systemctl kill --kill-who=main --signal=KILL announcer");
        }
        machine.until(what, |machine| runs(machine) == previous);
        machine.until(what, |machine| machine.run(&format!("{previous} status")).1.contains("crashed twice"));
        // It stays, also after a stop.
        machine.must("systemctl restart announcer");
        assert_eq!(runs(machine), previous, "{what}");
        machine.must(
            "cp -a /root/works /usr/local/bin/again && mv /usr/local/bin/again /usr/local/bin/announcer",
        );
        machine.must("announcer upgrade");
        assert_eq!(runs(machine), "/usr/local/bin/announcer", "{what}");
    }
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
        Err(why) => return println!("SKIPPED: no systemd can be booted here: {}", why.trim()),
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
