//! FRR or BIRD in a network namespace of its own, with the configuration that `announcer router-config` prints.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::daemon::ip;
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);
/// The frontend's address, on the link to the router or to the one in the middle.
pub const FRONTEND: &str = "10.9.8.2";

/// The software of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    Frr,
    Bird,
}

/// The way from the frontend to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A link.
    Link,
    /// Two links, and a router in the middle.
    Middle,
    /// A link without addresses, except those that the kernel gives it.
    Unnumbered,
}

/// A running router; it ends when this is dropped.
pub struct Router {
    software: Software,
    way: Way,
    folder: PathBuf,
    processes: Vec<Child>,
    /// What `ip monitor route` has printed in the router's namespace.
    changes: Arc<Mutex<String>>,
}

impl Router {
    /// Whether it is on this host.
    pub fn is_installed(software: Software) -> bool {
        let program = match software {
            Software::Frr => "/usr/lib/frr/bgpd",
            Software::Bird => "/usr/sbin/bird",
        };
        Path::new(program).exists()
    }

    /// The router's address.
    pub fn address(way: Way) -> &'static str {
        match way {
            Way::Link => "10.9.8.1",
            Way::Middle => "10.9.7.2",
            Way::Unnumbered => "router-advertisement\"\ninterface = \"fe",
        }
    }

    /// Makes the way from the namespace of this thread, and starts the router for the configuration in the folder.
    pub fn start(software: Software, way: Way, folder: &Path) -> Router {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let own = folder.join("router");
        fs::create_dir(&own).unwrap();
        let mut router =
            Router { software, way, folder: own, processes: Vec::new(), changes: Arc::default() };
        router.links();
        router.follow();
        router.configure(folder);
        let zebra = "--vty_socket @dir -z @dir/zserv.api -P 0 -i @dir";
        let daemons: Vec<String> = match software {
            Software::Frr => ["zebra", "staticd", "bfdd", "bgpd"]
                .map(|name| {
                    let more = if name == "bfdd" { "--bfdctl @dir/bfdd.ctl" } else { "" };
                    format!("/usr/lib/frr/{name} {zebra}/{name}.pid {more}")
                })
                .to_vec(),
            Software::Bird => vec!["bird -f -c @dir/router.conf -s @dir/bird.ctl".into()],
        };
        if software == Software::Frr {
            let status = Command::new("chown").args(["-R", "frr:frr"]).arg(&router.folder).status();
            assert!(status.unwrap().success());
        }
        for line in daemons {
            let log = fs::File::options().create(true).append(true).open(router.folder.join("log")).unwrap();
            let mut command = router.command(&line);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            router.processes.push(command.spawn().unwrap());
            std::thread::sleep(Duration::from_millis(300));
        }
        if software == Software::Frr {
            router.until("it loads its configuration", || {
                let said = router.run("vtysh --vty_socket @dir -f @dir/router.conf")?;
                if said.contains('%') || said.contains("rror") { Err(said) } else { Ok(()) }
            });
        }
        router
    }

    fn links(&self) {
        let here = self.name("router");
        netns(&format!("add {here}"));
        match self.way {
            Way::Unnumbered => {
                ip(&format!("link add fe type veth peer name eth0 netns {here}"));
                let mut forward = Command::new("ip");
                forward.args(["netns", "exec", &here, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
                assert!(forward.status().unwrap().success());
            }
            Way::Link => {
                ip(&format!("link add fe type veth peer name eth0 netns {here}"));
                self.must(&here, "address add 10.9.8.1/24 dev eth0");
            }
            Way::Middle => {
                let middle = self.name("middle");
                netns(&format!("add {middle}"));
                ip(&format!("link add fe type veth peer name eth0 netns {middle}"));
                self.must(&middle, &format!("link add eth1 type veth peer name eth0 netns {here}"));
                self.must(&middle, "address add 10.9.8.1/24 dev eth0");
                self.must(&middle, "address add 10.9.7.1/24 dev eth1");
                self.must(&middle, "link set eth0 up");
                self.must(&middle, "link set eth1 up");
                let mut forward = Command::new("ip");
                forward.args(["netns", "exec", &middle, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
                assert!(forward.status().unwrap().success());
                self.must(&here, "address add 10.9.7.2/24 dev eth0");
            }
        }
        self.must(&here, "link set lo up");
        self.must(&here, "link set eth0 up");
        if self.way != Way::Unnumbered {
            ip(&format!("address add {FRONTEND}/24 dev fe"));
        }
        ip("link set fe up");
        if self.way == Way::Middle {
            ip("route add 10.9.7.0/24 via 10.9.8.1");
            self.must(&here, "route add 10.9.8.0/24 via 10.9.7.1");
        }
    }

    fn must(&self, netns: &str, line: &str) {
        ip(&format!("-n {netns} {line}"));
    }

    /// Follows the routes of its kernel.
    fn follow(&mut self) {
        let mut child = self.command("ip monitor route").stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let changes = self.changes.clone();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                changes.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..length]));
            }
        });
        self.processes.push(child);
    }

    /// Writes what router-config prints.
    fn configure(&self, folder: &Path) {
        let system = match self.software {
            Software::Frr => "frr",
            Software::Bird => "bird",
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_announcer"));
        command.args(["router-config", "--for", system]);
        if self.way != Way::Unnumbered {
            command.args(["--frontend", FRONTEND]);
        }
        let output = command.arg(folder.join("announcer.toml")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut text = String::from_utf8(output.stdout).unwrap();
        if self.way == Way::Unnumbered {
            text = text.replace("FRONTEND-INTERFACE", "eth0").replace("ROUTER-ID", "10.9.8.1");
            text = text
                .replace("# router id 10.9.8.1;", "router id 10.9.8.1;")
                .replace("!  bgp router-id", " bgp router-id");
        }
        if (self.software, self.way) == (Software::Bird, Way::Middle) {
            // BIRD looks the next hop up in its own table.
            text += "protocol static { ipv4; route 10.9.8.0/24 via 10.9.7.1; }\n";
        }
        fs::write(self.folder.join("router.conf"), text).unwrap();
    }

    /// A command for the shell in its namespace; `@dir` is its folder.
    fn command(&self, line: &str) -> Command {
        let line = line.replace("@dir", &self.folder.display().to_string());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name("router"), "sh", "-c", &format!("exec {line}")]);
        command.process_group(0);
        command
    }

    /// What a command prints.
    pub fn run(&self, line: &str) -> Result<String, String> {
        let output = self.command(line).output().map_err(|error| error.to_string())?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// The lines about the BGP session which change if it ends, and nothing if it is not established.
    pub fn session(&self) -> Result<String, String> {
        match self.software {
            Software::Frr => {
                let neighbor = if self.way == Way::Unnumbered { "eth0" } else { FRONTEND };
                let said =
                    self.run(&format!("vtysh --vty_socket @dir -c 'show bgp neighbors {neighbor} json'"))?;
                let lines = said.lines().filter(|line| {
                    ["connectionsEstablished", "connectionsDropped"].iter().any(|key| line.contains(key))
                });
                let found: Vec<&str> = lines.map(str::trim).collect();
                if said.contains("\"Established\"") { Ok(found.join(" ")) } else { Err(said) }
            }
            Software::Bird => {
                let said = self.run("birdc -s @dir/bird.ctl show protocols announcer_fe1")?;
                let line = said.lines().find(|line| line.contains("Established"));
                line.map(str::to_owned).ok_or(said)
            }
        }
    }

    /// The lines about BFD which change if it goes down, and nothing if it is not up.
    pub fn bfd(&self) -> Result<String, String> {
        match self.software {
            Software::Frr => {
                let said = self.run("vtysh --vty_socket @dir -c 'show bfd peers'")?;
                if !said.contains("Status: up") {
                    return Err(said);
                }
                let counters = self.run("vtysh --vty_socket @dir -c 'show bfd peers counters'")?;
                let lines = counters.lines().filter(|line| line.contains("Session"));
                Ok(lines.map(str::trim).collect::<Vec<_>>().join(", "))
            }
            Software::Bird => {
                let said = self.run("birdc -s @dir/bird.ctl show bfd sessions")?;
                let of = if self.way == Way::Unnumbered { "fe80::" } else { FRONTEND };
                let line = said.lines().find(|line| line.contains(of) && line.contains(" Up "));
                // The address, the interface, the state and since when; then the intervals, which may change.
                let words = line.map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" "));
                words.ok_or(said)
            }
        }
    }

    /// Whether its kernel has a route to the VIP by a frontend.
    pub fn has_route(&self, vip: &str) -> Result<(), String> {
        let said = self.run(&format!("ip route show {vip}"))?;
        if said.contains("via") { Ok(()) } else { Err(format!("no route to {vip}: {said}")) }
    }

    /// The changes of routes to this address in its kernel so far.
    pub fn changes(&self, vip: &str) -> Vec<String> {
        let text = self.changes.lock().unwrap();
        text.lines().filter(|line| line.contains(vip)).map(str::to_owned).collect()
    }

    /// Waits for a state of the router.
    pub fn until<T>(&self, what: &str, holds: impl FnMut() -> Result<T, String>) -> T {
        until(PATIENCE, holds).unwrap_or_else(|seen| {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            panic!("{:?}: {what}: {seen}\n{log}", self.software)
        })
    }

    fn name(&self, node: &str) -> String {
        format!("h-{}-{:?}-{node}", std::process::id(), std::thread::current().id())
            .replace(['(', ')'], "")
            .replace("ThreadId", "t")
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let group = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL); // it may have ended
            let _ = process.wait();
        }
        for node in ["router", "middle"] {
            let name = self.name(node);
            let _ = Command::new("ip").args(["netns", "delete", &name]).stderr(Stdio::null()).status();
        }
    }
}

fn netns(line: &str) {
    assert!(
        Command::new("ip").arg("netns").args(line.split(' ')).status().unwrap().success(),
        "ip netns {line}"
    );
}
