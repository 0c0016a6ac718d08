//! Tests that no router notices an upgrade or a crash of the daemon: under the installed unit, as user announcer, in its sandbox, on a
//! real systemd, with FRR and BIRD as routers, and a client that sends 2,000 requests a second through one of them.
//!
//! `make outlive` runs all of it and prints figures; `make test` runs the short scenario. ROUNDS: how often each thing is done.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod machine;

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use until::until;

use self::machine::Machine;

/// The frontend has 10.0.1.11 and 10.0.2.11; FRR is 10.0.1.1 in the namespace r1, BIRD is 10.0.2.1 in r2; the client is behind FRR.
const LINKS: &str = "
for n in r1 r2 client; do ip netns add $n; ip -n $n link set lo up; done
ip link add eth1 type veth peer name eth0 netns r1
ip link add eth2 type veth peer name eth0 netns r2
ip -n r1 link add eth1 type veth peer name eth0 netns client
ip address add 10.0.1.11/24 dev eth1; ip address add 10.0.2.11/24 dev eth2
ip link set eth1 up; ip link set eth2 up
ip -n r1 address add 10.0.1.1/24 dev eth0; ip -n r1 link set eth0 up
ip -n r2 address add 10.0.2.1/24 dev eth0; ip -n r2 link set eth0 up
ip -n r1 address add 10.9.1.1/24 dev eth1; ip -n r1 link set eth1 up
ip -n client address add 10.9.1.10/24 dev eth0; ip -n client link set eth0 up
ip -n client route add default via 10.9.1.1
ip route add 10.9.1.0/24 via 10.0.1.1
ip netns exec r1 sysctl -qw net.ipv4.ip_forward=1
";

const FRR: &str = "
frr defaults traditional
log file /run/frr-r1/log informational
router bgp 65000
 bgp router-id 10.0.1.1
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 neighbor 10.0.1.11 remote-as 65001
 neighbor 10.0.1.11 passive
";

const BIRD: &str = "
log \"/run/bird-r2.log\" all;
router id 10.0.2.1;
protocol device {}
protocol kernel { ipv4 { export all; }; }
protocol bfd { interface \"eth0\" { interval INTERVAL; multiplier 3; }; }
protocol bgp fe { local 10.0.2.1 as 65000; neighbor 10.0.2.11 as 65001; passive on; error wait time 1,3; BFD ipv4 { import all; export none; }; }
";

const CONFIG: &str = "
[bgp]
asn = 65001
router_id = \"10.0.1.11\"

[[peer]]
name = \"r1\"
address = \"10.0.1.1\"
asn = 65000
BFD
[[peer]]
name = \"r2\"
address = \"10.0.2.1\"
asn = 65000
BFD
[[service]]
name = \"www\"
vips = [\"192.0.2.80\"]

[[service.check]]
http = \"http://www.example.com/\"
interval = \"200ms\"
";

/// The frontend's host, with both routers in namespaces of it.
struct Site {
    machine: Machine,
    /// The interval of BFD in milliseconds; zero: none.
    interval: u32,
}

/// What both routers say of the sessions: it must not change.
#[derive(Debug)]
struct Sessions {
    frr: String,
    /// Without the time.
    bird: String,
    /// Since when BIRD's session is up, in seconds of the day. BIRD computes it anew for each answer, and rounds it to milliseconds.
    bird_since: f64,
}

impl Sessions {
    /// Fails if a session is another one than `before`.
    fn assert_same(&self, before: &Sessions) {
        assert_eq!((&self.frr, &self.bird), (&before.frr, &before.bird));
        assert!((self.bird_since - before.bird_since).abs() < 0.05, "{self:?}, before {before:?}");
    }
}

/// The words of a line of `birdc show protocols` without the time, and the time in seconds of the day.
fn without_time(line: &str) -> (String, f64) {
    let seconds = |word: &str| {
        let mut parts = word.split(':').map(str::parse::<f64>);
        let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        Some((hours * 60.0 + minutes) * 60.0 + seconds)
    };
    let since = line.split_whitespace().find_map(seconds);
    let rest = line.split_whitespace().filter(|word| seconds(word).is_none());
    (rest.collect::<Vec<_>>().join(" "), since.unwrap_or(f64::NAN))
}

impl Site {
    fn boot() -> Result<Site, String> {
        let machine = Machine::boot()?;
        machine.install();
        machine
            .put(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab/bin/lab"), "/usr/local/bin/lab");
        machine.must("chmod 755 /usr/local/bin/lab");
        machine.must(LINKS);
        machine.write(
            "/etc/nginx/sites-enabled/default",
            "server { listen 80 default_server backlog=4096; access_log off; location / { return 200; } }\n",
        );
        machine.must(
            "sed -i 's/worker_connections .*/worker_connections 8192;/; 1i worker_rlimit_nofile 20000;' /etc/nginx/nginx.conf && \
             systemctl restart nginx",
        );
        Ok(Site { machine, interval: 0 })
    }

    /// Starts both routers and the daemon, with BFD of this interval.
    fn start(&mut self, interval: u32) {
        self.interval = interval;
        let machine = &self.machine;
        machine.run("systemctl stop announcer; for f in /run/frr-r1/*.pid /run/bird-r2.pid; do [ ! -e $f ] || kill $(cat $f); done; sleep 1");
        machine.must("rm -rf /run/frr-r1 /run/bird-r2.log; install -d -o frr -g frr /run/frr-r1");
        let bfd = interval > 0;
        let mut frr = FRR.to_owned();
        if bfd {
            frr += &format!(
                " neighbor 10.0.1.11 bfd profile fe\nbfd\n profile fe\n  transmit-interval {interval}\n  receive-interval {interval}\n  detect-multiplier 3\n"
            );
        }
        machine.write("/etc/frr/r1.conf", &frr);
        machine.must("chown frr:frr /etc/frr/r1.conf");
        let (real_time, on) = (if self.real_time() { "chrt -r 10 " } else { "" }, "bfd on;");
        let bird = BIRD
            .replace("INTERVAL", &format!("{} ms", interval.max(10)))
            .replace("BFD", if bfd { on } else { "" });
        machine.write("/etc/bird/r2.conf", &bird);
        let daemon = |name: &str, before: &str, more: &str| {
            format!(
                "ip netns exec r1 {before}/usr/lib/frr/{name} -d -i /run/frr-r1/{name}.pid -z /run/frr-r1/zserv --vty_socket /run/frr-r1 -f /etc/frr/r1.conf -P 0 {more}"
            )
        };
        machine.must(&daemon("zebra", "", ""));
        if bfd {
            machine.must(&daemon("bfdd", real_time, "--bfdctl /run/frr-r1/bfdd.sock"));
        }
        machine.must(
            &daemon("bgpd", "", "--bfdctl /run/frr-r1/bfdd.sock")
                .replace(" --bfdctl /run/frr-r1/bfdd.sock", ""),
        );
        machine.must(&format!(
            "ip netns exec r2 {real_time}bird -c /etc/bird/r2.conf -s /run/bird-r2.ctl -P /run/bird-r2.pid"
        ));
        let table = if bfd { format!("bfd = {{ interval = \"{interval}ms\" }}\n") } else { String::new() };
        machine.write("/etc/announcer/announcer.toml", &CONFIG.replace("BFD\n", &table));
        machine.must("systemctl reset-failed announcer; systemctl start announcer");
        machine.announced();
        machine.until("both routers", |machine| {
            machine.run("ip -n r1 route show 192.0.2.80; ip -n r2 route show 192.0.2.80").1.lines().count()
                == 2
        });
        if bfd {
            machine.until("BFD", |machine| {
                let status = machine.run("announcer status --json").1;
                status.matches("\"state\": \"Up\"").count() == 2
            });
        }
        sleep(Duration::from_secs(1));
    }

    /// Whether a process of this host may have real-time scheduling.
    fn real_time(&self) -> bool {
        self.machine.run("chrt -r 10 true").0 == 0
    }

    /// What the routers say of their sessions, and of BFD.
    fn sessions(&self) -> Sessions {
        let vtysh = "vtysh --vty_socket /run/frr-r1 -c";
        let bfd = if self.interval > 0 {
            format!(
                "; {vtysh} 'show bfd peers counters' | grep -i 'session down'; grep -c 'bfd.*down\\|BFD.*Down' /run/frr-r1/log"
            )
        } else {
            String::new()
        };
        let frr = self.machine.run(&format!(
            "{vtysh} 'show bgp neighbor 10.0.1.11 json' | grep -o '\"connections[A-Z][a-z]*\":[0-9]*'{bfd}"
        ));
        let bird = self.machine.run(
            "birdc -s /run/bird-r2.ctl show protocols fe | tail -1; grep -c 'fe: \\|Session .* changed' /run/bird-r2.log",
        );
        let (bird, bird_since) = without_time(&bird.1);
        Sessions { frr: frr.1, bird, bird_since }
    }

    /// Starts to record the routers' route events.
    fn monitor(&self) -> Vec<Child> {
        let one = |router: &str| {
            let script = format!("exec ip netns exec {router} ip monitor route >/run/routes-{router}");
            self.machine.command(&script).stdout(Stdio::null()).spawn().unwrap()
        };
        let monitors = vec![one("r1"), one("r2")];
        self.machine
            .until("monitors", |machine| machine.run("test -e /run/routes-r1 -a -e /run/routes-r2").0 == 0);
        sleep(Duration::from_millis(300));
        monitors
    }

    /// Ends the recording, and returns what the routers' kernels have done with the VIP.
    fn events(&self, monitors: Vec<Child>) -> String {
        for mut monitor in monitors {
            let _ = monitor.kill();
            let _ = monitor.wait();
        }
        self.machine
            .run("grep -h 192.0.2.80 /run/routes-r1 /run/routes-r2; rm -f /run/routes-r1 /run/routes-r2")
            .1
    }

    /// Sends requests for this time.
    fn load(&self, seconds: u64, rate: u32) -> Child {
        let script = format!(
            "exec ip netns exec client lab load --rate {rate} --seconds {seconds} http://192.0.2.80/"
        );
        self.machine.command(&script).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn number(&self, key: &str) -> Option<f64> {
        let status = self.machine.run("announcer status --json").1;
        let (_, rest) = status.split_once(&format!("\"{key}\": "))?;
        rest.split([',', '\n']).next()?.trim().parse().ok()
    }

    fn pid(&self) -> String {
        self.machine.property("MainPID")
    }

    /// Forgets the crashes so far, of which the third within a minute would start cold.
    fn forget_crashes(&self) {
        self.machine.must(
            "pid=$(systemctl show --value -p MainPID announcer); for fd in /proc/$pid/fd/*; do case $(readlink $fd) in \
             *memfd:announcer-state*) dd if=/dev/zero of=$fd bs=1 seek=4096 count=76 conv=notrunc status=none; exit 0;; esac; done; exit 1",
        );
    }
}

fn rounds(usual: usize) -> usize {
    std::env::var("ROUNDS").map_or(usual, |text| text.parse().expect("a number"))
}

/// What the load generator printed, without the answered requests.
fn lost(load: Child) -> (u64, u64) {
    let output = load.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)));
    let total = &report["total"];
    let sum = |value: &serde_json::Value| {
        value.as_object().map_or(0, |all| all.values().filter_map(serde_json::Value::as_u64).sum::<u64>())
    };
    let kinds = ["refused", "reset", "timed_out", "other"];
    let others = kinds.iter().filter_map(|key| total[key].as_u64()).sum::<u64>() + sum(&total["status"]);
    if others > 0 {
        println!("lost: {total}");
    }
    (sum(&total["ok"]), others)
}

/// Replaces the program `rounds` times in place, every second time by the previous one.
fn upgrades(site: &Site, rounds: usize, rate: u32) {
    // Another file than the one that runs, as after an installation.
    site.machine
        .must("cd /usr/local/bin && cp announcer new && echo another build >>new && mv new announcer");
    let (before, pid) = (site.sessions(), site.pid());
    let monitors = site.monitor();
    let load = site.load(rounds as u64 * 2 + 3, rate);
    let mut refused = 0;
    let (mut gaps, mut pauses) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let previous = if round % 2 == 1 { "--previous" } else { "" };
        let command = format!("announcer upgrade {previous}");
        // On a busy host the pause may be too long for BFD, and the command says so.
        let said = loop {
            let (code, said) = site.machine.run(&command);
            if code == 0 {
                break said;
            }
            assert!(said.contains("has to be three times as long"), "{said}");
            refused += 1;
            assert!(refused <= rounds, "{said}");
        };
        assert!(said.contains(" runs, after a pause of "), "{said}");
        gaps.extend(site.number("gap_ms"));
        pauses.extend(site.number("bfd_pause_ms"));
    }
    let (answered, lost) = lost(load);
    let middle = |all: &mut Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2)
            .map_or("none".into(), |middle| format!("{middle:.0} ms, at most {:.0} ms", all[all.len() - 1]))
    };
    println!(
        "{rounds} upgrades ({refused} refused), BFD {} ms: {answered} requests answered, {lost} lost; pause {}, of BFD {}",
        site.interval,
        middle(&mut gaps),
        middle(&mut pauses)
    );
    assert_eq!(site.events(monitors), "");
    site.sessions().assert_same(&before);
    assert_eq!((site.pid(), lost), (pid, 0));
}

/// Kills the daemon `rounds` times at random moments.
fn crashes(site: &Site, rounds: usize, rate: u32) {
    let before = site.sessions();
    let monitors = site.monitor();
    let begun = Instant::now();
    let load = site.load(rounds as u64 * 2 + 3, rate);
    let mut random = 7_u64;
    for _ in 0..rounds {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sleep(Duration::from_millis(random >> 32 & 0x1ff));
        let pid = site.pid();
        site.forget_crashes();
        site.machine.must(&format!("kill -9 {pid}"));
        let back = until(Duration::from_secs(20), || {
            let now = site.pid();
            if now != "0" && now != pid && site.machine.run("announcer status").0 == 0 {
                Ok(())
            } else {
                Err(now)
            }
        });
        back.unwrap_or_else(|pid| {
            panic!("{pid}: {}", site.machine.run("journalctl -u announcer -n 30 --no-pager").1)
        });
    }
    let took = begun.elapsed();
    let (answered, lost) = lost(load);
    println!(
        "{rounds} times kill -9 in {:.0} s, BFD {} ms: {answered} requests answered, {lost} lost",
        took.as_secs_f64(),
        site.interval
    );
    site.machine.announced();
    assert_eq!(site.events(monitors), "");
    site.sessions().assert_same(&before);
    assert_eq!(lost, 0);
}

/// The web server ends while the daemon is dead: the routes go as soon as the next one runs.
fn gone_while_dead(site: &Site) {
    let monitors = site.monitor();
    site.forget_crashes();
    site.machine.must("kill -9 $(systemctl show --value -p MainPID announcer) && systemctl kill -s KILL nginx && systemctl stop nginx");
    site.machine.until("withdrawn", |machine| {
        machine.run("ip -n r1 route show 192.0.2.80; ip -n r2 route show 192.0.2.80").1.is_empty()
    });
    site.machine.must("systemctl start nginx");
    site.machine.announced();
    let events = site.events(monitors);
    assert!(events.contains("Deleted"), "{events}");
}

#[test]
fn no_router_notices_an_upgrade_or_a_crash() {
    let mut site = match Site::boot() {
        Ok(site) => site,
        Err(why) => return until::skipped(format_args!("no systemd can be booted here: {}", why.trim())),
    };
    site.start(0);
    upgrades(&site, 2, 200);
    crashes(&site, 3, 200);
    gone_while_dead(&site);
}

#[test]
#[ignore = "takes some minutes: make outlive"]
fn many_upgrades_and_crashes() {
    let mut site = Site::boot().unwrap_or_else(|why| panic!("{why}"));
    println!("the routers have real-time scheduling: {}", site.real_time());
    for interval in [0, 300, 100] {
        site.start(interval);
        upgrades(&site, rounds(100), 2000);
    }
    for interval in [0, 300] {
        site.start(interval);
        crashes(&site, rounds(200), 2000);
    }
    gone_while_dead(&site);
}
