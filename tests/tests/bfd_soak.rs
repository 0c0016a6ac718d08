//! Shows that BFD raises no false alarm on a busy host: 1,000 services and 5,000 VIPs, 100 reloads, every processor busy, FRR and BIRD
//! as routers with 100 ms x 3. First with real-time scheduling, then without it for a sixth of the time.
//!
//! `make bfd-soak` runs it, as root, in network namespaces of this host. MINUTES: how long. Both ends of a session have to keep their
//! time, so the routers' BFD has real-time scheduling in both parts: the test is about this end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use until::until;

const SERVICES: usize = 1000;
const VIPS_EACH: usize = 5;
const RELOADS: u32 = 100;
/// A reload changes the MED of each 20th service.
const STEP: usize = 20;
const PATIENCE: Duration = Duration::from_secs(120);
const NAMESPACES: [&str; 3] = ["bfdsoak-fe", "bfdsoak-r1", "bfdsoak-r2"];

/// The frontend has 10.0.1.11 towards FRR (10.0.1.1 in r1) and 10.0.2.11 towards BIRD (10.0.2.1 in r2).
const LINKS: &str = "set -e
for n in fe r1 r2; do ip netns add bfdsoak-$n; ip -n bfdsoak-$n link set lo up; done
for n in 1 2; do
	ip -n bfdsoak-fe link add eth$n type veth peer name eth0 netns bfdsoak-r$n
	ip -n bfdsoak-fe address add 10.0.$n.11/24 dev eth$n
	ip -n bfdsoak-r$n address add 10.0.$n.1/24 dev eth0
	ip -n bfdsoak-fe link set eth$n up; ip -n bfdsoak-r$n link set eth0 up
done";

const FRR: &str = "frr defaults traditional
router bgp 65000
 bgp router-id 10.0.1.1
 no bgp ebgp-requires-policy
 neighbor 10.0.1.11 remote-as 65001
 neighbor 10.0.1.11 passive
 neighbor 10.0.1.11 bfd profile fe
bfd
 profile fe
  transmit-interval 100
  receive-interval 100
  detect-multiplier 3
";

const BIRD: &str = "log \"LOG\" all;
router id 10.0.2.1;
protocol device {}
protocol kernel { ipv4 { export all; }; }
protocol bfd { debug { events }; interface \"eth0\" { interval 100 ms; multiplier 3; }; }
protocol bgp fe { local 10.0.2.1 as 65000; neighbor 10.0.2.11 as 65001; passive on; bfd on; ipv4 { import all; export none; }; }
";

const CONFIG: &str = "[bgp]
asn = 65001
router_id = \"10.0.1.11\"

[[peer]]
name = \"frr\"
address = \"10.0.1.1\"
asn = 65000
bfd = { interval = \"100ms\" }

[[peer]]
name = \"bird\"
address = \"10.0.2.1\"
asn = 65000
bfd = { interval = \"100ms\" }
";

/// Runs a shell script, and returns standard output.
fn shell(script: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", script]).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[track_caller]
fn must(script: &str) -> String {
    shell(script).unwrap_or_else(|error| panic!("{error}"))
}

/// Ends what a run has left in the namespaces, and removes them.
fn clear() {
    for name in NAMESPACES {
        let _ = shell(&format!(
            "ip netns pids {name} 2>/dev/null | xargs -r kill -9; ip netns delete {name} 2>/dev/null"
        ));
    }
}

/// The services, in the configuration before reload `round` (from 0).
fn config(folder: &Path, round: u32) -> String {
    let mut text = CONFIG.to_owned();
    for service in 0..SERVICES {
        let vips: Vec<String> = (0..VIPS_EACH).map(|index| format!("\"{}\"", vip(service, index))).collect();
        // The last reload that has changed this service.
        let changed = (1..=round).rev().find(|round| *round as usize % STEP == service % STEP);
        write!(
            text,
            "\n[[service]]\nname = \"s{service}\"\nvips = [{}]\nmed = {}\n[[service.check]]\nfile = \"{}\"\ninterval = \"10s\"\ntimeout = \"10s\"\n",
            vips.join(", "),
            100 + changed.unwrap_or(0),
            folder.join("up").display()
        )
        .unwrap();
    }
    text
}

fn vip(service: usize, index: usize) -> String {
    format!("198.18.{}.{}", service / 50, service % 50 * VIPS_EACH + index)
}

/// Three network namespaces with the daemon and both routers. Everything ends when this is dropped.
struct Site {
    folder: TempDir,
    children: Vec<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in &mut self.children {
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = kill(pid, Signal::SIGTERM); // stress-ng ends its workers
        }
        clear();
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

impl Site {
    /// Starts all of it, and waits until both routers have every route and BFD is up.
    fn start(real_time: bool) -> Site {
        clear();
        let folder = tempfile::Builder::new().prefix("bfd-soak-").tempdir_in("/run").unwrap();
        let mut site = Site { folder, children: Vec::new() };
        must(LINKS);
        let mut vips = String::new();
        for (service, index) in
            (0..SERVICES).flat_map(|service| (0..VIPS_EACH).map(move |index| (service, index)))
        {
            writeln!(vips, "address add {}/32 dev lo", vip(service, index)).unwrap();
        }
        site.write("vips", &vips);
        must(&format!("ip -n bfdsoak-fe -batch {}", site.path("vips").display()));
        site.routers();
        site.write("up", "");
        site.write("announcer.toml", &config(site.folder.path(), 0));
        let state = site.path("state");
        fs::create_dir(&state).unwrap();
        must(&format!("chmod 755 {0}; chown nobody {0} {0}/state", site.folder.path().display()));
        // The user and the capabilities of the unit. `setpriv` adds those that it has not dropped to the ambient set.
        let capabilities = if real_time { "-all,+net_admin,+sys_nice" } else { "-all,+net_admin" };
        let ambient = capabilities.trim_start_matches("-all,");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab/bin/announcer");
        site.spawn(
            "fe",
            &format!(
                "setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs --bounding-set {capabilities} \
                 --inh-caps {capabilities} --ambient-caps {ambient} {} run --log info --config {} --socket {} --state-dir {}",
                program.display(),
                site.path("announcer.toml").display(),
                site.path("socket").display(),
                state.display()
            ),
            "announcer.log",
        );
        site.until("routes and BFD", || {
            let frr = site.vtysh("show bgp summary json").matches("\"pfxRcd\":5000").count();
            let bird = site.birdc("show route count").contains("5000 of 5000");
            let up = site.announcer("status --json").matches("\"state\": \"Up\"").count();
            if (frr, bird, up) == (1, true, 2) { Ok(()) } else { Err(format!("{frr} {bird} {up}")) }
        });
        site
    }

    fn routers(&mut self) {
        let run = self.path("frr");
        fs::create_dir(&run).unwrap();
        self.write("frr/frr.conf", FRR);
        must(&format!("chown -R frr:frr {}", run.display()));
        for (name, before) in [("zebra", ""), ("bfdd", "chrt -r 10 "), ("bgpd", "")] {
            let run = run.display();
            self.spawn(
                "r1",
                &format!(
                    "{before}/usr/lib/frr/{name} -i {run}/{name}.pid -z {run}/zserv --vty_socket {run} -f {run}/frr.conf -P 0 {}",
                    if name == "bfdd" { format!("--bfdctl {run}/bfdd.sock") } else { String::new() }
                ),
                &format!("{name}.log"),
            );
        }
        let log = self.path("bird.log");
        self.write("bird.conf", &BIRD.replace("LOG", &log.display().to_string()));
        let (conf, socket) = (self.path("bird.conf"), self.path("bird.ctl"));
        self.spawn(
            "r2",
            &format!("chrt -r 10 bird -f -c {} -s {}", conf.display(), socket.display()),
            "bird.out",
        );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Runs a program in a namespace until this is dropped, with its output in a file.
    fn spawn(&mut self, namespace: &str, command: &str, output: &str) {
        let file = File::create(self.path(output)).unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("exec ip netns exec bfdsoak-{namespace} {command}")])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        self.children.push(child.unwrap());
    }

    fn vtysh(&self, command: &str) -> String {
        shell(&format!("vtysh --vty_socket {} -c '{command}'", self.path("frr").display()))
            .unwrap_or_default()
    }

    fn birdc(&self, command: &str) -> String {
        shell(&format!("birdc -s {} {command}", self.path("bird.ctl").display())).unwrap_or_default()
    }

    fn announcer(&self, command: &str) -> String {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab/bin/announcer");
        let command =
            format!("{} --socket {} {command} 2>&1", program.display(), self.path("socket").display());
        shell(&command).unwrap_or_else(|error| error)
    }

    #[track_caller]
    fn until(&self, what: &str, look: impl FnMut() -> Result<(), String>) {
        if let Err(state) = until(PATIENCE, look) {
            let files =
                ["announcer.log", "bgpd.log", "bfdd.log", "bird.out"].map(|name| self.read(name)).join("\n");
            panic!("not reached: {what}: {state}\n{files}");
        }
    }

    /// How often the session was down so far: at FRR, at BIRD, at the daemon.
    fn downs(&self) -> [u64; 3] {
        let number = |text: &str, key: &str| -> u64 {
            let numbers = text.split(key).skip(1).filter_map(|rest| {
                rest.trim_start_matches([':', ' ', '"'])
                    .split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse::<u64>()
                    .ok()
            });
            numbers.sum()
        };
        let frr = self.vtysh("show bfd peers counters json");
        let status = self.announcer("status --json");
        assert!(frr.contains("\"session-down\"") && status.contains("\"flaps\""), "{frr} {status}");
        let bird = self.read("bird.log");
        assert!(bird.contains("to Up"), "{bird}");
        [
            number(&frr, "\"session-down\""),
            bird.lines().filter(|line| line.contains("from Up to Down")).count() as u64,
            number(&status, "\"flaps\""),
        ]
    }

    /// The longest time between two BFD packets of a sender, of those that tcpdump has seen in a router's namespace.
    fn longest_pause(&self, capture: &str, sender: &str) -> (Duration, usize) {
        let text = self.read(capture);
        let times: Vec<f64> = text
            .lines()
            .filter(|line| line.contains(&format!("IP {sender}.")))
            .filter_map(|line| line.split(' ').next()?.parse().ok())
            .collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        (Duration::from_secs_f64(longest), times.len())
    }
}

/// Reloads 100 times in this time, under stress, and returns the number of downs.
fn soak(real_time: bool, time: Duration) -> [u64; 3] {
    let mut site = Site::start(real_time);
    for (router, capture) in [("r1", "frr.packets"), ("r2", "bird.packets")] {
        site.spawn(router, "tcpdump -n -tt -l -i eth0 udp dst port 3784", capture);
    }
    let stress = format!("stress-ng --quiet --cpu 0 --timeout {}", time.as_secs() + 600);
    site.spawn("fe", &stress, "stress.log");
    sleep(Duration::from_secs(1));
    let before = site.downs();
    let begin = Instant::now();
    for round in 1..=RELOADS {
        sleep((begin + time * round / RELOADS).saturating_duration_since(Instant::now()));
        site.write("announcer.toml", &config(site.folder.path(), round));
        let said = site.announcer("reload");
        assert!(!said.contains("error"), "reload {round}: {said}");
    }
    // Each reload was real: the routers have the MED of the last one.
    let changed = vip(RELOADS as usize % STEP, 0);
    site.until("the last MED at both routers", || {
        let frr = site.vtysh(&format!("show bgp ipv4 unicast {changed}/32"));
        let bird = site.birdc(&format!("show route {changed}/32 all"));
        let here = frr.contains(&format!("metric {},", 100 + RELOADS))
            && bird.contains(&format!("BGP.med: {}", 100 + RELOADS));
        if here { Ok(()) } else { Err(format!("{frr}{bird}")) }
    });
    let after = site.downs();
    let downs = [0, 1, 2].map(|index| after[index] - before[index]);
    report(&site, real_time, begin.elapsed(), downs);
    downs
}

fn report(site: &Site, real_time: bool, took: Duration, downs: [u64; 3]) {
    let status = site.announcer("status --json");
    let scheduling = status.lines().find(|line| line.contains("\"scheduling\"")).unwrap_or_default().trim();
    println!(
        "{}, {:.0} s, {RELOADS} reloads, {SERVICES} services, {} VIPs, stress-ng on every processor, load {}",
        if real_time { "with CAP_SYS_NICE" } else { "without CAP_SYS_NICE" },
        took.as_secs_f64(),
        SERVICES * VIPS_EACH,
        fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()
    );
    println!("  the routers' bfdd and bird have real-time scheduling: chrt -r 10");
    println!("  announcer status: {scheduling}");
    println!("  BFD downs: {} at FRR, {} at BIRD, {} at announcer", downs[0], downs[1], downs[2]);
    for (router, capture, ours, theirs) in
        [("FRR", "frr.packets", "10.0.1.11", "10.0.1.1"), ("BIRD", "bird.packets", "10.0.2.11", "10.0.2.1")]
    {
        let ((ours, count), (theirs, _)) =
            (site.longest_pause(capture, ours), site.longest_pause(capture, theirs));
        println!(
            "  longest pause between two packets: {} ms of announcer ({count} packets), {} ms of {router}",
            ours.as_millis(),
            theirs.as_millis()
        );
    }
    let said: Vec<String> =
        site.read("announcer.log").lines().filter(|line| line.contains("BFD")).map(str::to_owned).collect();
    println!("  the log's lines about BFD, from the start:\n    {}", said.join("\n    "));
    println!(
        "  VIPs that were withdrawn: {}",
        site.read("announcer.log").matches("VIP was withdrawn").count()
    );
}

#[test]
#[ignore = "takes half an hour and every processor: make bfd-soak"]
fn bfd_raises_no_false_alarm_on_a_busy_host() {
    let missing = ["ip", "chrt", "setpriv", "tcpdump", "stress-ng", "bird", "vtysh", "/usr/lib/frr/bfdd"]
        .into_iter()
        .filter(|program| shell(&format!("PATH=$PATH:/usr/sbin command -v {program}")).is_err());
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        return until::skipped(format_args!(
            "{} missing; on Debian: apt-get install iproute2 util-linux tcpdump stress-ng bird2 frr",
            missing.join(", ")
        ));
    }
    if let Err(error) = shell("chrt -r 10 true") {
        return until::skipped(format_args!("the kernel refuses real-time scheduling here: {error}"));
    }
    let minutes: f64 = std::env::var("MINUTES").map_or(30.0, |text| text.parse().expect("a number"));
    let time = Duration::from_secs_f64(minutes * 60.0);
    let with = soak(true, time);
    soak(false, time / 6);
    assert_eq!(with, [0, 0, 0], "BFD was down with real-time scheduling");
}
