//! Tests the Debian package: on a Debian with only systemd and nginx, which peers with a second host that runs FRR.
//!
//! `make packages-test` builds the packages and runs this; `make test` does not. The commands and files are README's own: the test
//! takes them from there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use until::until;

use self::machine::Machine;

const README: &str = include_str!("../../README.md");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Longer than the removal waits, so that the router still counts as connected.
const HOLD_TIME: &str = "90s";

/// The code block in README that begins after `before` and has `has`.
fn block(before: &str, has: &str) -> &'static str {
    let (_, rest) = README.split_once(before).unwrap_or_else(|| panic!("README has no `{before}`"));
    let mut blocks = rest.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.contains(has)).unwrap_or_else(|| panic!("no block with `{has}`"));
    block.split_once('\n').unwrap().1
}

/// The package of a revision, which `make deb` has built.
fn package(revision: u32) -> PathBuf {
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let name = format!("announcer_{VERSION}-{revision}_{arch}.deb");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/package").join(name);
    assert!(path.exists(), "{} is missing: run `make packages-test`", path.display());
    path
}

fn host(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

/// The frontend, and its router.
struct Site {
    fe: Machine,
    router: Machine,
}

impl Site {
    fn boot() -> Site {
        let fe = Machine::boot_from("packages/root").unwrap();
        let router = Machine::boot().unwrap();
        host(&format!(
            "ip link add pkg-fe type veth peer name pkg-r
             ip link set pkg-fe name eth0 netns {fe}; ip link set pkg-r name eth0 netns {r}",
            fe = fe.pid,
            r = router.pid
        ));
        fe.must(
            "ip address add 10.0.1.11/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.1.1",
        );
        router.must(
            "ip address add 10.0.1.1/24 dev eth0; ip link set eth0 up; sysctl -qw net.ipv4.ip_forward=1",
        );
        router.write("/etc/frr/frr.conf", block("## Configure the routers", "router bgp"));
        router.must(
            "sed -i 's/^bgpd=no/bgpd=yes/' /etc/frr/daemons && chown frr:frr /etc/frr/* && \
             rm -f /etc/systemd/system/frr.service && systemctl daemon-reload && systemctl start frr",
        );
        router.until("bgpd", |router| router.run("vtysh -c 'show bgp summary'").0 == 0);
        Site { fe, router }
    }

    /// Whether the router's kernel sends the VIP to the frontend.
    fn in_fib(&self) -> bool {
        self.router.run("ip route get 192.0.2.80").1.contains("via 10.0.1.11")
    }

    fn fib(&self, what: &str, is: bool) {
        let patience = Duration::from_secs(60);
        let seen = until(patience, || if self.in_fib() == is { Ok(()) } else { Err(()) });
        let journal = || self.fe.run("announcer status; journalctl -u announcer --no-pager -n 30").1;
        assert!(seen.is_ok(), "{what}: in the router's FIB: {is} was not seen: {}", journal());
    }

    /// How many sessions the router has established and lost.
    fn sessions(&self) -> String {
        let script = "vtysh -c 'show bgp neighbor 10.0.1.11 json' | grep -o 'connections[ED][a-z]*\":[0-9]*'";
        self.router.must(script)
    }

    fn state(&self) -> String {
        self.fe.must("dpkg-query --show --showformat='${db:Status-Status}' announcer")
    }

    /// Installs a package by the words of README.
    fn install(&self, revision: u32) -> String {
        let file = format!("announcer_{VERSION}-1_amd64.deb");
        let install =
            block("## Put it on a host", ".deb").lines().find(|line| line.contains(".deb")).unwrap();
        let install = install.split('#').next().unwrap().replace("sudo ", "");
        assert!(install.contains(&file), "README installs {file}: {install}");
        self.fe.put(&package(revision), &format!("/root/{file}"));
        self.fe.must(&format!("cd /root && DEBIAN_FRONTEND=noninteractive {}", install.trim()))
    }
}

#[test]
#[ignore = "needs the packages: make packages-test"]
fn the_package_is_installed_upgraded_removed_and_purged() {
    let site = Site::boot();
    install(&site);
    upgrade(&site);
    removal_is_refused(&site);
    remove(&site);
    purge(&site);
}

fn install(site: &Site) {
    let Site { fe, router } = site;
    let begun = Instant::now();
    let said = site.install(1);
    let installed = begun.elapsed();
    assert!(said.contains("announcer.toml.sample") && said.contains("systemctl enable --now"), "{said}");
    // Nothing was started or enabled.
    let units =
        "systemctl is-active announcer dsr-setup; systemctl is-enabled announcer dsr-setup; id -nu announcer";
    assert_eq!(fe.run(units).1, "inactive\ninactive\ndisabled\ndisabled\nannouncer");

    let config = block("## Configure a frontend", "[bgp]");
    let session = format!("hold_time = \"{HOLD_TIME}\"\n\n[[service]]");
    fe.write("/etc/announcer/announcer.toml", &config.replace("[[service]]", &session));
    let location = block("## Configure a frontend", "location = /healthz");
    let site_of = format!("server {{\nlisten 80 default_server;\n{location}\n}}\n");
    fe.write("/etc/nginx/sites-enabled/default", &site_of);
    fe.must("systemctl restart nginx && announcer validate");
    let enable = block("## Put it on a host", "systemctl enable");
    let enable = enable.lines().find(|line| line.contains("systemctl enable")).unwrap();
    fe.must(enable.split('#').next().unwrap().replace("sudo ", "").trim());
    site.fib("installed", true);
    let whole = begun.elapsed();
    println!(
        "installed after {installed:.1?}, in the FIB of the router {whole:.1?} after the start of the installation"
    );
    assert!(whole < Duration::from_secs(60), "{whole:?}");
    router.until("answered", |router| router.run("curl -sf -m 2 http://192.0.2.80/healthz").0 == 0);
}

/// The old daemon goes on, no route moves, and `status` says that another program is on disk.
fn upgrade(site: &Site) {
    let Site { fe, router } = site;
    let before = (fe.property("MainPID"), site.sessions());
    let config = fe.must("sha256sum /etc/announcer/announcer.toml");
    router.must("ip -o monitor route >/run/moved 2>&1 & echo $! >/run/monitor");
    let said = site.install(2);
    assert!(said.contains("no route has moved") && said.contains("`announcer upgrade`"), "{said}");
    let replaced = until(Duration::from_secs(90), || {
        let status = fe.run("announcer status --all").1;
        if status.contains("was replaced since it was started") { Ok(()) } else { Err(status) }
    });
    assert!(replaced.is_ok(), "{replaced:?}");
    assert_eq!((fe.property("MainPID"), site.sessions()), before);
    router.must("kill $(cat /run/monitor)");
    assert_eq!(router.must("cat /run/moved"), "", "a route has moved");
    assert_eq!(fe.must("sha256sum /etc/announcer/announcer.toml"), config);
    // needrestart reads its rules as a Perl program.
    let rule = "do \"/etc/needrestart/conf.d/announcer.conf\" // die; print keys %{$nrconf{override_rc}}";
    assert!(fe.must(&format!("perl -e '{rule}'")).contains("announcer\\.service"));

    fe.must("announcer upgrade");
    assert_eq!(fe.property("MainPID"), before.0);
    assert!(!fe.must("announcer status --all").contains("was replaced"));
    fe.must("systemctl restart announcer");
    site.fib("restarted", true);
}

/// A router that does not acknowledge the withdraw: nothing is stopped, and the message says what to do.
fn removal_is_refused(site: &Site) {
    let Site { fe, router } = site;
    let before = fe.property("MainPID");
    router.must("nft 'add table inet deaf; add chain inet deaf in { type filter hook input priority 0; policy drop; }'");
    let (code, said) = fe.run("apt-get -y remove announcer");
    assert_ne!(code, 0, "{said}");
    for word in ["announcer is not removed", "r1", "systemctl stop announcer"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!((fe.property("MainPID"), site.state()), (before, "installed".to_owned()));
    assert_eq!(fe.must("ls /var/lib/announcer/drain"), "");
    assert_eq!(fe.must("dpkg --audit"), "", "dpkg has something half-configured");
    router.must("nft delete table inet deaf");
    site.fib("the router answers again", true);
}

fn remove(site: &Site) {
    let Site { fe, .. } = site;
    fe.must("apt-get -y remove announcer");
    assert!(!site.in_fib());
    assert_eq!(site.state(), "config-files");
    let left = "systemctl is-active announcer dsr-setup; ip -o address show dev lo | grep -c 192.0.2.80; \
                cat /proc/sys/net/ipv4/conf/all/arp_ignore; ls /etc/announcer /var/lib/announcer/drain; \
                ls -d /usr/lib/announcer; ls /usr/bin/announcer";
    assert_eq!(
        fe.run(left).1,
        "inactive\ninactive\n0\n0\n/etc/announcer:\nannouncer.toml\nannouncer.toml.sample\n\n/var/lib/announcer/drain:\n\
         ls: cannot access '/usr/lib/announcer': No such file or directory\n\
         ls: cannot access '/usr/bin/announcer': No such file or directory"
    );
    let journal = fe.must("journalctl --no-pager -u announcer");
    assert!(journal.contains("announcer ended"), "{journal}");
    // Installed again, it is not drained.
    site.install(2);
    fe.must("systemctl enable --now dsr-setup announcer");
    site.fib("installed again", true);
}

fn purge(site: &Site) {
    let Site { fe, .. } = site;
    fe.must("apt-get -y purge announcer");
    assert_eq!(fe.run("ls -d /etc/announcer /var/lib/announcer /etc/needrestart/conf.d/announcer.conf").0, 2);
    assert_eq!(fe.run("dpkg-query --show announcer").0, 1);
    sleep(Duration::from_millis(100));
    assert!(!site.in_fib());
}
