//! A router and two frontends on one link, each in its own network namespace. The second frontend also announces an address that is
//! not a VIP of the configuration from which the router's side was printed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use until::until;

use super::routers::{Md5, Router};

mod checks;

/// How long a state may take to appear.
const PATIENCE: Duration = Duration::from_secs(30);
const VIP: &str = "192.0.2.80/32";
const VIP6: &str = "2001:db8::80/128";
/// What only the second frontend announces.
const STRANGER: &str = "192.0.2.99/32";
const FRONTENDS: [&str; 2] = ["10.9.0.1", "10.9.0.3"];
const FRONTENDS6: [&str; 2] = ["2001:db8:9::1", "2001:db8:9::3"];

/// The sessions of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// eBGP with MD5, where the router has it, and GTSM, with a neighbour for each frontend.
    Neighbours,
    /// iBGP with MD5, where the router has it, and a range of frontends.
    Range,
    /// eBGP over IPv6, with a neighbour for each frontend.
    OverIpv6,
    /// eBGP with GTSM over several hops, with a neighbour for each frontend and without BFD, which FRR and BIRD do not have with it.
    Far,
    /// eBGP with BFD over several hops, with a neighbour for each frontend.
    FarWithBfd,
}

pub(crate) struct Bench<'a> {
    router: &'a Router,
    setup: Setup,
    dir: tempfile::TempDir,
    prefix: String,
    processes: Vec<ChildProcess>,
    printed: String,
}

/// A process with its group, which ends with the test.
struct ChildProcess(Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ =
                Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).stderr(Stdio::null()).status();
        }
        let _ = self.0.wait();
    }
}

impl<'a> Bench<'a> {
    /// Starts the router with the printed configuration, and both frontends.
    pub(crate) fn up(router: &'a Router, setup: Setup) -> Bench<'a> {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let prefix = format!("side-{}-{}-{setup:?}", std::process::id(), router.system);
        let mut bench = Bench { router, setup, dir, prefix, processes: Vec::new(), printed: String::new() };
        bench.network();
        let keys = bench.dir.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        bench.write("keys/r1.key", "correct-horse", 0o600);
        bench.write("healthy", "", 0o644);
        for (index, extra) in ["", ", \"192.0.2.99\""].into_iter().enumerate() {
            let config = bench.announcer_config(index, extra, "");
            bench.write(&format!("fe{index}.toml"), &config, 0o644);
        }
        bench.start_router();
        for index in 0..2 {
            bench.start_frontend(index);
        }
        bench
    }

    fn network(&self) {
        let p = &self.prefix;
        for node in ["router", "fe0", "fe1"] {
            self.must(&format!(
                "ip netns add {p}-{node}; ip -n {p}-{node} link set lo up
                 ip netns exec {p}-{node} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
            ));
        }
        self.must(&format!(
            "ip -n {p}-router link add br0 type bridge forward_delay 0
             ip netns exec {p}-router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip -n {p}-router address add 10.9.0.2/24 dev br0
             ip -n {p}-router address add 2001:db8:9::2/64 dev br0
             ip -n {p}-router link set br0 up"
        ));
        for (index, (v4, v6)) in FRONTENDS.into_iter().zip(FRONTENDS6).enumerate() {
            self.must(&format!(
                "ip -n {p}-fe{index} link add eth1 type veth peer name port{index} netns {p}-router
                 ip -n {p}-router link set port{index} master br0 up
                 ip -n {p}-fe{index} address add {v4}/24 dev eth1
                 ip -n {p}-fe{index} address add {v6}/64 dev eth1
                 ip -n {p}-fe{index} address add 2001:db8:9::aa:{index}/64 dev eth1 valid_lft 3600 preferred_lft 1800
                 ip -n {p}-fe{index} link set eth1 up"
            ));
        }
    }

    /// The configuration of a frontend.
    fn announcer_config(&self, index: usize, extra_vip: &str, service: &str) -> String {
        let dir = self.dir.path().display();
        let (asn, mut keys) = match self.setup {
            Setup::Neighbours => ("65000", "bfd = true\nttl_security = true\n".to_owned()),
            Setup::Range => ("\"internal\"", "bfd = true\n".to_owned()),
            Setup::OverIpv6 => ("65000", "bfd = true\n".to_owned()),
            Setup::FarWithBfd => ("65000", "bfd = true\nmultihop = 3\n".to_owned()),
            Setup::Far => ("65000", "ttl_security = true\nmultihop = 3\n".to_owned()),
        };
        let address = if self.setup == Setup::OverIpv6 { "2001:db8:9::2" } else { "10.9.0.2" };
        let has_key = match self.router.md5 {
            Md5::All => true,
            Md5::NotRanges => self.setup != Setup::Range,
            Md5::None => false,
        };
        if has_key && self.setup != Setup::OverIpv6 {
            keys += &format!("password_file = \"{dir}/keys/r1.key\"\n");
        }
        format!(
            "[bgp]\nasn = 65001\nrouter_id = \"{id}\"\nsettle = \"0s\"\n\n[[peer]]\nname = \"r1\"\naddress = \"{address}\"\n\
             asn = {asn}\nos = \"{os}\"\n{keys}\n[[service]]\nname = \"www\"\n\
             vips = [\"192.0.2.80\", \"2001:db8::80\"{extra_vip}]\nrequire = \"any\"\n{service}\n\
             [[service.check]]\nfile = \"{dir}/healthy\"\ninterval = \"100ms\"\nrise = 1\n\n\
             [[service.check]]\ntcp = 443\n",
            id = FRONTENDS[index],
            os = self.router.system,
        )
    }

    /// What `announcer router-config` prints for the first frontend's configuration.
    fn print(&self, more: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_announcer"));
        command.arg("router-config").arg(self.path("fe0.toml")).args(more);
        match self.setup {
            Setup::Neighbours | Setup::Far | Setup::FarWithBfd => {
                command.args(FRONTENDS.iter().flat_map(|address| ["--frontend", address]))
            }
            Setup::Range => command.args(["--frontend-range", "10.9.0.0/24"]),
            Setup::OverIpv6 => command.args(FRONTENDS6.iter().flat_map(|address| ["--frontend", address])),
        };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn start_router(&mut self) {
        self.printed = self.print(&[]);
        let text = format!("{}{}", self.here(self.router.first_line), self.printed)
            .replace("KEY-OF-r1", "correct-horse")
            .replace("ROUTER-ID", "10.9.0.2");
        assert!(!text.contains("ROUTER-"), "{text}");
        // OpenBGPD refuses a file that others can read; FRR reads it as its own user.
        let mode = if self.router.system == "openbgpd" { 0o600 } else { 0o644 };
        self.write(self.router.file, &text, mode);
        for command in self.router.start {
            let started = self.spawn("router", &["sh", "-c", &self.here(command)], "router.log");
            self.processes.push(started);
        }
        if !self.router.load.is_empty() {
            let load = self.here(self.router.load);
            let loaded = self.wait("it loads its configuration", || {
                let output = self.run(&load);
                if output.status.success() { Ok(text_of(&output)) } else { Err(text_of(&output)) }
            });
            assert!(!loaded.contains('%') && !loaded.contains("rror"), "it refuses a line: {loaded}");
        }
        self.wait("it listens", || {
            let seen = self.run("ss -Hltn sport = 179");
            if seen.stdout.is_empty() { Err(String::new()) } else { Ok(()) }
        });
    }

    fn start_frontend(&mut self, index: usize) {
        let program = env!("CARGO_BIN_EXE_announcer");
        let (node, dir) = (format!("fe{index}"), self.dir.path().display().to_string());
        fs::create_dir_all(self.path(&format!("state{index}"))).unwrap();
        let line = format!(
            "exec {program} run --config {dir}/fe{index}.toml --socket {dir}/fe{index}.sock --state-dir {dir}/state{index}"
        );
        let started = self.spawn(&node, &["sh", "-c", &line], &format!("fe{index}.log"));
        self.processes.push(started);
    }

    /// What the router says of the routes to a prefix.
    fn routes(&self, prefix: &str) -> String {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let command = self.router.routes.replace("@prefix", prefix).replace("@family", family);
        text_of(&self.run(&self.here(&command)))
    }

    fn status(&self, index: usize) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_announcer"))
            .args(["status", "--json", "--socket"])
            .arg(self.path(&format!("fe{index}.sock")))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn wait<T>(&self, what: &str, holds: impl FnMut() -> Result<T, String>) -> T {
        until(PATIENCE, holds).unwrap_or_else(|seen| {
            let log = |file: &str| {
                let text = fs::read_to_string(self.path(file)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                lines[lines.len().saturating_sub(12)..].join("\n")
            };
            panic!(
                "{} {:?}: {what}: {seen}\n{}\n{}\n{:#}",
                self.router.system,
                self.setup,
                log("router.log"),
                log("fe0.log"),
                self.status(0)["peers"]
            )
        })
    }

    /// Runs a command line in the router's namespace.
    fn run(&self, line: &str) -> Output {
        self.command("router", &["sh", "-c", line]).output().unwrap()
    }

    fn spawn(&self, node: &str, words: &[&str], log: &str) -> ChildProcess {
        let log = fs::File::options().create(true).append(true).open(self.path(log)).unwrap();
        let mut command = self.command(node, words);
        ChildProcess(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    /// A command in a node, with its own process group.
    fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{node}", self.prefix)]).args(words);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    fn here(&self, text: &str) -> String {
        text.replace("@dir", &self.dir.path().display().to_string())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str, mode: u32) {
        fs::write(self.path(file), text).unwrap();
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn must(&self, commands: &str) {
        let output = Command::new("sh").args(["-ec", commands]).output().unwrap();
        assert!(output.status.success(), "{commands}: {}", text_of(&output));
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        self.processes.clear();
        for node in ["router", "fe0", "fe1"] {
            let _ = Command::new("ip").args(["netns", "delete", &format!("{}-{node}", self.prefix)]).status();
        }
    }
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
