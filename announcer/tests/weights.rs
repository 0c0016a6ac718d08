//! The weights of three frontends, as the kernel of a router with FRR or BIRD spreads real connections by them. The router has the
//! configuration that `announcer router-config` prints.
//!
//! It needs root, iproute2, FRR and BIRD, and runs in `make interop`. It prints what it has measured; docs/interop.md has it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod segment;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use daemon::{Daemon, in_new_netns, ip, write_config};
use nix::sys::signal::Signal;
use segment::Namespace;
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);
const VIP: &str = "192.0.2.80";
/// How many connections are counted for a share.
const FLOWS: usize = 3000;
/// How many connections are open while a weight changes.
const OPEN: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Software {
    Frr,
    Bird,
}

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn config(frontend: usize, keys: &str) -> String {
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.9.{frontend}.2\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.{frontend}.1\"\nasn = 65000\nfamilies = [\"ipv4\"]\n\
         [[service]]\nname = \"www\"\nflap_damping = false\nvips = [\"{VIP}\"]\n{keys}\
         [[service.check]]\ntcp = 80\ninterval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\n"
    )
}

/// A server that sends its number, and then sends back what it gets.
fn serve(number: u8) {
    let listener = TcpListener::bind("0.0.0.0:80").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The client or the probe may have ended.
            std::thread::spawn(move || {
                let _ = stream.write_all(&[number]);
                let mut octet = [0];
                while stream.read_exact(&mut octet).is_ok() {
                    let _ = stream.write_all(&octet);
                }
            });
        }
    });
}

/// The router in the namespace of this thread, with three frontends and a client.
struct Site {
    software: Software,
    frontends: Vec<(Namespace, Daemon)>,
    client: Namespace,
    _router: Vec<Process>,
}

impl Site {
    /// Starts it; the frontends have these keys in their services.
    fn start(software: Software, folder: &Path, keys: [&str; 3]) -> Site {
        for (key, value) in [
            ("ip_forward", "1"),
            ("fib_multipath_hash_policy", "1"),
            ("conf/all/rp_filter", "0"),
            ("conf/default/rp_filter", "0"),
        ] {
            fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap();
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let client = Namespace::new();
        link(&client, 9);
        let namespaces: Vec<Namespace> = (1..=3).map(|_| Namespace::new()).collect();
        (1..).zip(&namespaces).for_each(|(number, namespace)| link(namespace, number));
        let frontends = (1..).zip(namespaces).zip(keys).map(|((number, namespace), keys)| {
            let (own, text) = (folder.join(number.to_string()), config(number, keys));
            fs::create_dir(&own).unwrap();
            let daemon = namespace.run(move || {
                serve(u8::try_from(number).unwrap());
                Daemon::start(&own, &text)
            });
            (namespace, daemon)
        });
        let frontends = frontends.collect();
        let router = router(software, folder);
        Site { software, frontends, client, _router: router }
    }

    /// Waits until the kernel's route has these weights, in the order of the frontends.
    fn until_weights(&self, want: [u32; 3]) {
        let seen = until(PATIENCE, || {
            let output = Command::new("ip").args(["route", "show", VIP]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if weights(&text) == want { Ok(()) } else { Err(text) }
        });
        let status = self.frontends[0].1.status().unwrap();
        assert_eq!(seen, Ok(()), "{:?}: {want:?}\n{status:?}", self.software);
    }

    /// The share of each frontend of new connections, in percent.
    fn shares(&self) -> [f64; 3] {
        let counts = self.client.run(|| {
            let mut counts = [0_usize; 3];
            for _ in 0..FLOWS {
                let (_, number) = connect();
                counts[usize::from(number) - 1] += 1;
            }
            counts
        });
        counts.map(|count| 100.0 * count as f64 / FLOWS as f64)
    }

    /// Keeps connections open while `change` is made and the route follows; returns how many percent of them break.
    fn broken(&self, change: impl FnOnce()) -> f64 {
        let mut open = self.client.run(|| (0..OPEN).map(|_| connect().0).collect::<Vec<_>>());
        change();
        let broken = self.client.run(move || {
            let is_broken = |stream: &mut TcpStream| {
                let mut octet = [0];
                stream.write_all(b"x").is_err() || stream.read_exact(&mut octet).is_err()
            };
            open.iter_mut().map(|stream| usize::from(is_broken(stream))).sum::<usize>()
        });
        100.0 * broken as f64 / OPEN as f64
    }

    /// Gives a frontend other keys by a reload.
    fn reload(&self, folder: &Path, frontend: usize, keys: &str) {
        write_config(&folder.join(frontend.to_string()), &config(frontend, keys));
        self.frontends[frontend - 1].1.signal(Signal::SIGHUP);
    }
}

/// A connection of the client, and the number of the frontend that has answered.
fn connect() -> (TcpStream, u8) {
    let mut stream = TcpStream::connect((VIP, 80)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut number = [0];
    stream.read_exact(&mut number).unwrap();
    (stream, number[0])
}

/// Connects a namespace with the router's, which is that of this thread.
fn link(namespace: &Namespace, number: usize) {
    ip(&format!("link add to{number} type veth peer name fe netns {}", namespace.thread));
    ip(&format!("address add 10.9.{number}.1/24 dev to{number}"));
    ip(&format!("link set to{number} up"));
    let lines = [
        format!("address add 10.9.{number}.2/24 dev fe"),
        "link set fe up".to_owned(),
        format!("route add default via 10.9.{number}.1"),
    ];
    namespace.ip(&lines);
}

/// Starts the router with the configuration that announcer prints.
fn router(software: Software, folder: &Path) -> Vec<Process> {
    let own = folder.join("router");
    fs::create_dir(&own).unwrap();
    let (system, file) = match software {
        Software::Frr => ("frr", own.join("frr.conf")),
        Software::Bird => ("bird", own.join("bird.conf")),
    };
    let mut print = Command::new(env!("CARGO_BIN_EXE_announcer"));
    print.args(["router-config", "--for", system]);
    for number in 1..=3 {
        print.args(["--frontend", &format!("10.9.{number}.2")]);
    }
    let output = print.arg(folder.join("1/announcer.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(&file, output.stdout).unwrap();
    let own = own.display().to_string();
    let daemons = match software {
        Software::Frr => {
            let options = format!("--vty_socket {own} -z {own}/zserv.api -P 0");
            ["zebra", "staticd", "bgpd"]
                .map(|name| format!("/usr/lib/frr/{name} {options} -i {own}/{name}.pid"))
                .to_vec()
        }
        Software::Bird => vec![format!("/usr/sbin/bird -f -c {} -s {own}/bird.ctl", file.display())],
    };
    if software == Software::Frr {
        assert!(Command::new("chown").args(["-R", "frr:frr", &own]).status().unwrap().success());
    }
    let start = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        let log = fs::File::options().create(true).append(true).open(format!("{own}/log")).unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = Process(command.spawn().unwrap());
        std::thread::sleep(Duration::from_millis(300));
        process
    };
    let processes = daemons.into_iter().map(start).collect();
    if software == Software::Frr {
        let loaded = until(PATIENCE, || {
            let mut vtysh = Command::new("vtysh");
            let output = vtysh.args(["--vty_socket", &own, "-f"]).arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && !said.contains('%') { Ok(()) } else { Err(said) }
        });
        assert_eq!(loaded, Ok(()), "{}", fs::read_to_string(format!("{own}/log")).unwrap_or_default());
    }
    processes
}

/// The weights of a route by three frontends, as `ip route show` prints them; 0: there is no such next hop.
fn weights(text: &str) -> [u32; 3] {
    [1, 2, 3].map(|frontend| {
        let via = format!("via 10.9.{frontend}.2 ");
        let Some((_, behind)) = text.split_once(&via) else { return 0 };
        let line = behind.lines().next().unwrap_or_default();
        let weight = line.split_once("weight ").and_then(|(_, rest)| rest.split(' ').next());
        weight.map_or(1, |weight| weight.parse().unwrap())
    })
}

fn near(what: &str, seen: [f64; 3], want: [f64; 3]) {
    let shown = seen.map(|share| format!("{share:.1}")).join(" / ");
    println!("{what}: {shown} % of {FLOWS} connections");
    for (seen, want) in seen.into_iter().zip(want) {
        assert!((seen - want).abs() < 5.0, "{what}: {shown}, not {want}");
    }
}

const EVEN: [f64; 3] = [33.3, 33.3, 33.3];

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_spreads_by_the_weights_and_evenly_if_one_is_missing() {
    in_new_netns(|folder| {
        let site = Site::start(Software::Frr, folder, ["weight = 10\n", "weight = 20\n", "weight = 70\n"]);
        site.until_weights([10, 20, 70]);
        near("FRR, weights 10, 20 and 70", site.shares(), [10.0, 20.0, 70.0]);
        let broken = site.broken(|| {
            site.reload(folder, 3, "weight = 30\n");
            site.until_weights([16, 33, 50]);
        });
        println!("FRR, weight 70 becomes 30: {broken:.1} % of {OPEN} open connections break");
        assert!(broken > 5.0, "the documents say that a change breaks flows");
        near("FRR, weights 10, 20 and 30", site.shares(), [16.7, 33.3, 50.0]);
        site.reload(folder, 1, "");
        site.until_weights([1, 1, 1]);
        near("FRR, one of three without a weight", site.shares(), EVEN);
        let file = folder.join("weight");
        fs::write(&file, "9\n").unwrap();
        site.reload(folder, 1, &format!("weight_file = \"{}\"\n", file.display()));
        site.until_weights([16, 33, 50]);
        site.reload(folder, 2, "weight = 1\n");
        site.reload(folder, 3, "weight = 100\n");
        site.until_weights([9, 1, 90]);
    });
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_accepts_the_weights_and_ignores_them() {
    in_new_netns(|folder| {
        let site = Site::start(Software::Bird, folder, ["weight = 10\n", "weight = 20\n", "weight = 70\n"]);
        site.until_weights([1, 1, 1]);
        let control = folder.join("router/bird.ctl");
        let mut birdc = Command::new("birdc");
        let output =
            birdc.arg("-s").arg(control).args(["show", "route", "for", VIP, "all"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("BGP.ext_community"), "it has the communities\n{said}");
        near("BIRD, weights 10, 20 and 70", site.shares(), EVEN);
    });
}
