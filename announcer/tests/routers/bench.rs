//! One frontend, a router on its link, and a second router behind it: three network namespaces, in which the cases run one after
//! the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use until::until;

use super::cases::{Case, Software};

/// How long a state may take to appear.
const PATIENCE: Duration = Duration::from_secs(25);

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    prefix: String,
}

/// A process that ends with its case.
struct ChildProcess(Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Kills the whole group, because FRR and OpenBGPD are several processes.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ =
                Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).stderr(Stdio::null()).status();
        }
        let _ = self.0.wait();
    }
}

impl Bench {
    pub(crate) fn up() -> Bench {
        let prefix = format!("hints-{}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bench = Bench { dir, prefix };
        for node in ["fe", "near", "far"] {
            bench
                .must(&format!("ip netns add {p}-{node}; ip -n {p}-{node} link set lo up", p = bench.prefix));
        }
        bench.must(&format!(
            "ip -n {p}-fe link add eth1 type veth peer name eth1 netns {p}-near
             ip -n {p}-far link add eth1 type veth peer name eth2 netns {p}-near
             ip netns exec {p}-near sysctl -qw net.ipv4.ip_forward=1
             for node in fe near far; do
               ip netns exec {p}-$node sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
             done
             ip -n {p}-fe address add 10.9.0.1/24 dev eth1
             ip -n {p}-fe address add 2001:db8:9::1/64 dev eth1
             ip -n {p}-near address add 10.9.0.2/24 dev eth1
             ip -n {p}-near address add 2001:db8:9::2/64 dev eth1
             ip -n {p}-near address add 10.9.8.1/24 dev eth2
             ip -n {p}-far address add 10.9.8.2/24 dev eth1
             ip -n {p}-fe link set eth1 up; ip -n {p}-near link set eth1 up
             ip -n {p}-near link set eth2 up; ip -n {p}-far link set eth1 up
             ip -n {p}-fe route add default via 10.9.0.2; ip -n {p}-far route add default via 10.9.8.1",
            p = bench.prefix
        ));
        bench
    }

    /// Sets up the state of the case, and waits for the expected reason and hint.
    pub(crate) fn run(&self, case: &Case) -> Result<(String, String), String> {
        let at = |node: &str| format!("ip netns exec {}-{node} ", self.prefix);
        let shell = |commands: &str| {
            commands
                .replace("@fe ", &at("fe"))
                .replace("@near ", &at("near"))
                .replace("@far ", &at("far"))
                .replace("@dir", &self.dir.path().display().to_string())
        };
        self.must(&shell("@fe nft flush ruleset; @near nft flush ruleset; @far nft flush ruleset; true"));
        self.must(&shell(case.before));
        let _router = self.router(case)?;
        let _announcer = self.announcer(case);
        if !case.then.is_empty() {
            self.wait(|peer| peer["state"] == "Established")?;
            self.must(&shell(case.then));
        }
        let shown = self.wait(|peer| {
            let has = |key: &str, words: &[&str]| words.iter().all(|words| text(peer, key).contains(words));
            if case.reason.is_empty() {
                return peer["state"] == "Established" && text(peer, "hint").is_empty();
            }
            has("reason", case.reason) && has("hint", case.hint)
        })?;
        let reason = if case.reason.is_empty() { "Established".into() } else { text(&shown, "reason") };
        Ok((reason, text(&shown, "hint")))
    }

    fn wait(&self, holds: impl Fn(&serde_json::Value) -> bool) -> Result<serde_json::Value, String> {
        let log = |file: &str| {
            let text = fs::read_to_string(self.path(file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(5)..].join(" / ")
        };
        let seen = until(PATIENCE, || {
            let status = self.status().unwrap_or_default();
            // If two peers are the same router, either of them may have the session.
            let mut peers = status["peers"].as_array().into_iter().flatten();
            peers.find(|peer| holds(peer)).cloned().ok_or_else(|| status["peers"].to_string())
        });
        seen.map_err(|peers| format!("{peers} // {} // {}", log("router.log"), log("announcer.log")))
    }

    fn status(&self) -> Option<serde_json::Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_announcer"))
            .args(["status", "--json", "--socket"])
            .arg(self.path("control.sock"))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn announcer(&self, case: &Case) -> ChildProcess {
        let _ = fs::remove_dir_all(self.path("state"));
        for (key, text) in [("key", "correct-horse"), ("odd.key", "correct-horse ")] {
            fs::write(self.path(key), text).unwrap();
            fs::set_permissions(self.path(key), fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::write(self.path("healthy"), "").unwrap();
        let dir = self.dir.path().display();
        // FRR counts the prefixes before it adds the one at hand, so only a third is one too many for `maximum-prefix 1`.
        let config = format!(
            "[bgp]\n{}\nrouter_id = \"10.9.0.1\"\nsettle = \"0s\"\n{}\n[[service]]\nname = \"www\"\n\
             vips = [\"192.0.2.80\", \"192.0.2.81\", \"192.0.2.82\", \"2001:db8::80\"]\n[[service.check]]\nfile = \"{dir}/healthy\"\n\
             interval = \"100ms\"\nrise = 1\n",
            case.bgp,
            case.ours.replace("@dir", &dir.to_string())
        );
        fs::write(self.path("announcer.toml"), config).unwrap();
        let log = fs::File::create(self.path("announcer.log")).unwrap();
        let mut command = self.command("fe", &[env!("CARGO_BIN_EXE_announcer"), "run", "--config"]);
        command.arg(self.path("announcer.toml")).arg("--socket").arg(self.path("control.sock"));
        command.arg("--state-dir").arg(self.path("state"));
        fs::create_dir_all(self.path("state")).unwrap();
        ChildProcess(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn router(&self, case: &Case) -> Result<Vec<ChildProcess>, String> {
        let dir = self.dir.path().display().to_string();
        let _ = fs::remove_file(self.path("router.log"));
        let node = if case.far { "far" } else { "near" };
        let own = if case.far { "10.9.8.2" } else { "10.9.0.2" };
        let text = case.config.replace("@own", own).replace("@dir", &dir);
        let (file, commands) = match case.software {
            Software::None => return Ok(Vec::new()),
            Software::Frr => {
                // It runs as its own user, in its own directory.
                self.must(&format!(
                    "mkdir -p {dir}/frr && cp /dev/null {dir}/frr/frr.log && chown -R frr:frr {dir}/frr"
                ));
                let frr = format!("--vty_socket {dir}/frr -z {dir}/frr/zserv.api -P 0");
                (
                    "frr.conf",
                    vec![
                        format!("/usr/lib/frr/zebra {frr} -i {dir}/frr/zebra.pid"),
                        format!(
                            "sleep 0.2; exec /usr/lib/frr/bfdd {frr} -i {dir}/frr/bfdd.pid --bfdctl {dir}/frr/bfdd.sock"
                        ),
                        format!(
                            "sleep 0.3; exec /usr/lib/frr/bgpd {frr} -i {dir}/frr/bgpd.pid -f {dir}/frr.conf --log stdout"
                        ),
                    ],
                )
            }
            Software::Bird => (
                "bird.conf",
                vec![format!("bird -f -c {dir}/bird.conf -s {dir}/bird.ctl -D {dir}/router.log")],
            ),
            Software::Gobgp => (
                "gobgpd.toml",
                vec![format!("gobgpd -t toml -f {dir}/gobgpd.toml --api-hosts 127.0.0.1:50051 -l debug")],
            ),
            Software::Openbgpd => {
                ("bgpd.conf", vec![format!("mkdir -p /run/openbgpd; exec bgpd -d -v -f {dir}/bgpd.conf")])
            }
            Software::Exabgp => (
                "exabgp.conf",
                vec![format!(
                    "env exabgp_tcp_bind={own} exabgp_tcp_port=179 exabgp_daemon_user=root exabgp_daemon_daemonize=false \
                     exabgp_log_destination=stdout exabgp_log_all=true exabgp {dir}/exabgp.conf"
                )],
            ),
        };
        fs::write(self.path(file), text).unwrap();
        // OpenBGPD refuses files that others can read; FRR reads the file as its own user.
        let mode = if case.software == Software::Frr { 0o644 } else { 0o600 };
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(mode)).unwrap();
        let all = commands.iter().map(|command| {
            let log = fs::File::options().create(true).append(true).open(self.path("router.log")).unwrap();
            let mut started = self.command(node, &["sh", "-c", command]);
            ChildProcess(started.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
        });
        let all: Vec<ChildProcess> = all.collect();
        let listens = format!("ip netns exec {}-{node} ss -Hltn sport = 179", self.prefix);
        let listening = until(PATIENCE, || {
            let seen = Command::new("sh").args(["-c", &listens]).output().unwrap();
            if seen.stdout.is_empty() { Err(()) } else { Ok(()) }
        });
        let log = || fs::read_to_string(self.path("router.log")).unwrap_or_default();
        listening.map(|()| all).map_err(|()| format!("it does not listen: {}", log()))
    }

    /// A command in a node, with its own process group.
    fn command(&self, node: &str, words: &[&str]) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{node}", self.prefix)]).args(words);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn must(&self, commands: &str) {
        let output = Command::new("sh").args(["-c", commands]).output().unwrap();
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for node in ["fe", "near", "far"] {
            let _ = Command::new("ip").args(["netns", "delete", &format!("{}-{node}", self.prefix)]).status();
        }
    }
}

/// The reason or the hint of a peer; empty if it has none.
fn text(peer: &serde_json::Value, key: &str) -> String {
    let value = if key == "reason" { &peer[key]["text"] } else { &peer[key] };
    value.as_str().unwrap_or_default().to_owned()
}
