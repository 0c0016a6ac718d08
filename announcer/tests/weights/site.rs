//! A router with FRR or BIRD, three frontends and a client, each in a network namespace of its own. The router has the configuration that
//! `announcer router-config` prints.
//!
//! ```text
//!   client ──── router ──┬── frontend 1 ──┐
//!                        ├── frontend 2 ──┼── the segment of the chain (one bridge)
//!                        └── frontend 3 ──┘
//! ```

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use until::until;

use crate::daemon::pair::chain_of;
use crate::daemon::{Daemon, ip, write_config};
use crate::segment::Namespace;

const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const VIP_V4: &str = "192.0.2.80";
pub(crate) const VIP_V6: &str = "2001:db8::80";
pub(crate) const VIPS: [&str; 2] = [VIP_V4, VIP_V6];
/// How many connections are counted for a share.
pub(crate) const FLOWS: usize = 3000;
/// How many connections to each VIP are open while a weight changes.
pub(crate) const OPEN: usize = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Software {
    Frr,
    Bird,
}

/// Whether the frontends pass packets on to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    /// They have no `[chain]`.
    Without,
    /// They are its members.
    With,
}

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that sends its number, and then sends back what it gets.
fn serve(number: u8) {
    let listener = TcpListener::bind("[::]:80").unwrap();
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
pub(crate) struct Site {
    folder: PathBuf,
    software: Software,
    chain: Chain,
    frontends: Vec<(Namespace, Daemon)>,
    client: Namespace,
    _router: Vec<Process>,
}

impl Site {
    /// Starts it; the frontends have these keys in their services.
    pub(crate) fn start(software: Software, chain: Chain, folder: &Path, keys: [&str; 3]) -> Site {
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/fib_multipath_hash_policy", "1"),
            ("ipv6/fib_multipath_hash_policy", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ] {
            fs::write(format!("/proc/sys/net/{key}"), value).unwrap();
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let key = folder.join("chain.key");
        fs::write(&key, "a key of the test, long enough\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let client = Namespace::new();
        link(&client, 9);
        ip("link add segment type bridge mcast_snooping 0");
        ip("link set segment up");
        let namespaces: Vec<Namespace> = (1..=3).map(|_| Namespace::new()).collect();
        for (number, namespace) in (1..).zip(&namespaces) {
            namespace.sysctl(&[("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")]);
            link(namespace, number);
            port(namespace, number);
        }
        let frontends = (1..).zip(namespaces).zip(keys).map(|((number, namespace), keys)| {
            let (own, text) = (folder.join(number.to_string()), config(folder, chain, number, keys));
            fs::create_dir(&own).unwrap();
            let daemon = namespace.run(move || {
                serve(u8::try_from(number).unwrap());
                Daemon::start(&own, &text)
            });
            (namespace, daemon)
        });
        let frontends = frontends.collect();
        let router = router(software, folder);
        let site = Site { folder: folder.to_owned(), software, chain, frontends, client, _router: router };
        if chain == Chain::With {
            site.until_joined();
        }
        site
    }

    /// Waits until each frontend has all three in its rings.
    fn until_joined(&self) {
        for (_, daemon) in &self.frontends {
            let joined = until(PATIENCE, || {
                let report = chain_of(daemon)?;
                let is_whole = |family: &str| {
                    let ring = report.rings.get(family);
                    ring.is_some_and(|ring| ring.length == 3 && ring.next.is_some())
                };
                let is_joined = report.installed && is_whole("ipv4") && is_whole("ipv6");
                if is_joined { Ok(()) } else { Err(format!("{report:?}")) }
            });
            assert_eq!(joined, Ok(()));
        }
    }

    /// Waits until the kernel's routes of all VIPs have these weights, in the order of the frontends.
    pub(crate) fn until_weights(&self, want: [u32; 3]) {
        for vip in VIPS {
            let seen = until(PATIENCE, || {
                let family = if vip.contains(':') { "-6" } else { "-4" };
                let output = Command::new("ip").args([family, "route", "show", vip]).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if weights(&text) == want { Ok(()) } else { Err(text) }
            });
            let status = self.frontends[0].1.status().unwrap();
            assert_eq!(seen, Ok(()), "{:?}: {want:?}\n{status:?}", self.software);
        }
    }

    /// The share of each frontend of new connections to the VIP, in percent.
    pub(crate) fn shares(&self, vip: &str) -> [f64; 3] {
        let vip = vip.parse().unwrap();
        let counts = self.client.run(move || {
            let mut counts = [0_usize; 3];
            for _ in 0..FLOWS {
                let (_, number) = connect(vip);
                counts[usize::from(number) - 1] += 1;
            }
            counts
        });
        counts.map(|count| 100.0 * count as f64 / FLOWS as f64)
    }

    /// Keeps connections to both VIPs open while `change` is made and the routes follow; returns how many percent of them break, for each
    /// VIP.
    pub(crate) fn broken(&self, change: impl FnOnce()) -> [f64; 2] {
        let mut open = self.client.run(|| {
            VIPS.map(|vip| {
                let vip = vip.parse().unwrap();
                (0..OPEN).map(|_| connect(vip).0).collect::<Vec<_>>()
            })
        });
        change();
        let broken = self.client.run(move || {
            let is_broken = |stream: &mut TcpStream| {
                let mut octet = [0];
                stream.write_all(b"x").is_err() || stream.read_exact(&mut octet).is_err()
            };
            let mut broken = [0_usize; 2];
            for (broken, open) in broken.iter_mut().zip(&mut open) {
                *broken = open.iter_mut().map(|stream| usize::from(is_broken(stream))).sum();
            }
            broken
        });
        broken.map(|broken| 100.0 * broken as f64 / OPEN as f64)
    }

    /// How many packets the frontends have taken from each other for their own connections, for IPv4 and IPv6.
    pub(crate) fn accepted(&self) -> [u64; 2] {
        let mut accepted = [0; 2];
        for (namespace, _) in &self.frontends {
            for (sum, counters) in accepted.iter_mut().zip(namespace.counters()) {
                *sum += counters.expect("the rules are installed").accepted;
            }
        }
        accepted
    }

    /// Gives a frontend other keys by a reload.
    pub(crate) fn reload(&self, frontend: usize, keys: &str) {
        let text = config(&self.folder, self.chain, frontend, keys);
        write_config(&self.folder.join(frontend.to_string()), &text);
        self.frontends[frontend - 1].1.signal(Signal::SIGHUP);
    }
}

fn config(folder: &Path, chain: Chain, frontend: usize, keys: &str) -> String {
    let chain = match chain {
        Chain::Without => String::new(),
        Chain::With => format!(
            "[chain]\ninterface = \"segment\"\nmembers = [\"10.8.0.1\", \"10.8.0.2\", \"10.8.0.3\"]\nkey_file = \"{}\"\n",
            folder.join("chain.key").display()
        ),
    };
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.9.{frontend}.2\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.{frontend}.1\"\nasn = 65000\n{chain}\
         [[service]]\nname = \"www\"\nflap_damping = false\nvips = [\"{VIP_V4}\", \"{VIP_V6}\"]\n{keys}\
         [[service.check]]\ntcp = 80\ninterval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\n"
    )
}

/// A connection of the client, and the number of the frontend that has answered.
fn connect(vip: IpAddr) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect((vip, 80)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut number = [0];
    stream.read_exact(&mut number).unwrap();
    (stream, number[0])
}

/// Connects a namespace with the router's, which is that of this thread.
fn link(namespace: &Namespace, number: usize) {
    ip(&format!("link add to{number} type veth peer name fe netns {}", namespace.thread));
    ip(&format!("address add 10.9.{number}.1/24 dev to{number}"));
    ip(&format!("address add fd09:0:0:{number}::1/64 dev to{number} nodad"));
    ip(&format!("link set to{number} up"));
    let lines = [
        format!("address add 10.9.{number}.2/24 dev fe"),
        format!("address add fd09:0:0:{number}::2/64 dev fe nodad"),
        "link set fe up".to_owned(),
        format!("route add default via 10.9.{number}.1"),
        format!("route add ::/0 via fd09:0:0:{number}::1"),
    ];
    namespace.ip(&lines);
}

/// Connects a frontend with the segment of the chain.
fn port(namespace: &Namespace, number: usize) {
    ip(&format!("link add port{number} type veth peer name segment netns {}", namespace.thread));
    ip(&format!("link set port{number} master segment up"));
    let lines = [
        format!("address add 10.8.0.{number}/24 dev segment"),
        format!("address add fd08::{number}/64 dev segment nodad"),
        "link set segment up".to_owned(),
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
        let device = format!("dev to{frontend} ");
        let Some((_, behind)) = text.split_once(&device) else { return 0 };
        let line = behind.lines().next().unwrap_or_default();
        let weight = line.split_once("weight ").and_then(|(_, rest)| rest.split(' ').next());
        weight.map_or(1, |weight| weight.parse().unwrap())
    })
}
