//! A router has the same routes from ExaBGP and, after `announcer import exabgp`, from announcer: ExaBGP 4.2 with its healthcheck and
//! FRR, both from Debian, in two network namespaces. Healthy, unhealthy and out of service, on eBGP and on iBGP.
//!
//! It needs root, ExaBGP, FRR and iproute2, and takes half a minute: `make interop` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use until::until;

const PATIENCE: Duration = Duration::from_secs(25);

/// ExaBGP's configuration. `@asn` is the AS of the router, `@dir` the folder of the test.
const EXABGP: &str = "
template {
  neighbor rack {
    local-as 65001;
    peer-as @asn;
    hold-time 9;
    family { ipv4 unicast; ipv6 unicast; }
  }
}
neighbor 10.9.0.2 {
  inherit rack;
  router-id 10.9.0.1;
  local-address 10.9.0.1;
  static { route 198.51.100.9/32 next-hop self med 7 community [ 65001:9 no-export ]; }
  api { processes [ web, soft, six ]; }
}
process web {
  run python3 -m exabgp healthcheck --no-syslog --config @dir/web.conf --ip 192.0.2.80/32 --ip 192.0.2.81/32;
  encoder text;
}
process soft {
  run python3 -m exabgp healthcheck --no-syslog --config @dir/soft.conf --ip 192.0.2.90 --rise 2 --fall 2 --up-metric 50 --down-metric 900 @path;
  encoder text;
}
process six {
  run python3 -m exabgp healthcheck --no-syslog -n six --ip 2001:db8:80::80/128 -N 2001:db8:9::1 --cmd 'test -e @dir/healthy' -i 0.2 @six;
  encoder text;
}
";

const WEB: &str = "
name = web
interval = 0.2
fast-interval = 0.1
rise = 2
fall = 2
command = test -e @dir/healthy
disable = @dir/disable
withdraw-on-down
up-metric = 10
increase = 5
community = 65001:80 no-advertise
large-community = 65001:1:2
extended-community = target:65001:80
local-preference = 200
";

/// The options of the process `soft`.
const SOFT: &str = "

name = soft
command = test -e @dir/healthy
interval = 0.2
fast-interval = 0.1
";

/// More options of the process `six`.
const SIX: &str = "-f 0.1 --rise 2 --fall 2 --withdraw-on-down --up-metric 0 --local-preference 300";

/// A group of processes, which ends when it is dropped.
struct Group(Child);

impl Group {
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal("-KILL");
        let _ = self.0.wait();
    }
}

/// A frontend and a router with a link between them.
struct Rack {
    dir: tempfile::TempDir,
    prefix: String,
}

impl Drop for Rack {
    fn drop(&mut self) {
        for node in ["fe", "r"] {
            let _ = Command::new("ip").args(["netns", "delete", &format!("{}-{node}", self.prefix)]).status();
        }
    }
}

impl Rack {
    fn up(asn: u32) -> Rack {
        let rack = Rack {
            dir: tempfile::tempdir().unwrap(),
            prefix: format!("migrate-{}-{asn}", std::process::id()),
        };
        fs::set_permissions(rack.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        rack.must(
            "for node in fe r; do
               ip netns add @ns-$node; ip -n @ns-$node link set lo up
               ip netns exec @ns-$node sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
             done
             ip -n @ns-fe link add eth1 type veth peer name eth1 netns @ns-r
             ip -n @ns-fe address add 10.9.0.1/24 dev eth1; ip -n @ns-fe address add 2001:db8:9::1/64 dev eth1
             ip -n @ns-r address add 10.9.0.2/24 dev eth1; ip -n @ns-r address add 2001:db8:9::2/64 dev eth1
             ip -n @ns-fe link set eth1 up; ip -n @ns-r link set eth1 up
             mkdir -p @dir/frr @dir/state; chown frr:frr @dir/frr; touch @dir/healthy",
        );
        rack
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn text(&self, text: &str) -> String {
        text.replace("@ns-", &format!("{}-", self.prefix))
            .replace("@dir", &self.dir.path().display().to_string())
    }

    fn must(&self, commands: &str) -> String {
        let output = Command::new("sh").args(["-ec", &self.text(commands)]).output().unwrap();
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a shell line in a node. Its output is in a file.
    fn start(&self, node: &str, name: &str, line: &str) -> Group {
        let log =
            fs::File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{node}", self.prefix), "sh", "-c", &self.text(line)]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        Group(command.spawn().unwrap())
    }

    fn router(&self, asn: u32) -> Vec<Group> {
        let config = format!(
            "frr defaults traditional\nrouter bgp {asn}\n bgp router-id 10.9.0.2\n no bgp ebgp-requires-policy\n \
             neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n address-family ipv6 unicast\n  \
             neighbor 10.9.0.1 activate\n exit-address-family\n"
        );
        fs::write(self.path("frr.conf"), config).unwrap();
        let frr = "--vty_socket @dir/frr -z @dir/frr/zserv.api -P 0";
        vec![
            self.start("r", "zebra", &format!("exec /usr/lib/frr/zebra {frr} -i @dir/frr/zebra.pid")),
            self.start(
                "r",
                "bgpd",
                &format!("sleep 0.3; exec /usr/lib/frr/bgpd {frr} -i @dir/frr/bgpd.pid -f @dir/frr.conf --log stdout"),
            ),
        ]
    }

    fn vtysh(&self, command: &str) -> Value {
        let output = Command::new("vtysh")
            .arg("--vty_socket")
            .arg(self.path("frr"))
            .args(["-c", command])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The routes of the router from the frontend, a line for each, and the ways to them in its kernel.
    fn table(&self) -> String {
        let mut lines = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let all = self.vtysh(&format!("show bgp {family} unicast json"));
            let Some(routes) = all["routes"].as_object() else { continue };
            for prefix in routes.keys() {
                let detail = self.vtysh(&format!("show bgp {family} unicast {prefix} json"));
                for path in detail["paths"].as_array().into_iter().flatten() {
                    let text = |value: &Value| value["string"].as_str().unwrap_or("-").to_owned();
                    let hops: Vec<&str> = path["nexthops"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter(|hop| hop["scope"] != "link-local")
                        .filter_map(|hop| hop["ip"].as_str())
                        .collect();
                    lines.push(format!(
                        "{prefix} via {} path [{}] origin {} med {} preference {} communities [{}] extended [{}] large [{}]",
                        hops.join(","),
                        text(&path["aspath"]),
                        path["origin"].as_str().unwrap_or("-"),
                        path["metric"],
                        path["locPrf"],
                        text(&path["community"]),
                        text(&path["extendedCommunity"]),
                        text(&path["largeCommunity"]),
                    ));
                }
            }
        }
        for family in ["-4", "-6"] {
            let routes = self.must(&format!("ip {family} -n @ns-r route show proto bgp"));
            lines.extend(routes.lines().map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let via = words.iter().skip_while(|word| **word != "via").nth(1).unwrap_or(&"?");
                format!("kernel {} via {via}", words[0])
            }));
        }
        lines.sort();
        lines.join("\n")
    }

    /// Waits until the table is as it should be, or fails with both.
    fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let seen = until(PATIENCE, || {
            let table = self.table();
            if holds(&table) { Ok(table) } else { Err(table) }
        });
        seen.unwrap_or_else(|table| {
            let log = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
            panic!(
                "{what}: it is\n{table}\n{}\n{}\n{}",
                log("exabgp.log"),
                log("announcer.log"),
                log("bgpd.log")
            )
        })
    }

    /// The tables while the checks pass, while they fail, and while a service is out of service.
    fn states(&self, who: &str, wants: Option<&[String]>) -> Vec<String> {
        let counted = |number: usize, state: usize, more: &'static str| {
            move |table: &str| match wants {
                Some(wants) => table == wants[state],
                None => {
                    table.lines().filter(|line| !line.starts_with("kernel")).count() == number
                        && table.contains(more)
                }
            }
        };
        let both = |table: &str| table.lines().filter(|line| line.starts_with("kernel")).count();
        let settled = |number, state, more| {
            let holds = counted(number, state, more);
            move |table: &str| holds(table) && both(table) * 2 == table.lines().count()
        };
        let healthy = self.wait_for(&format!("{who}, healthy"), settled(5, 0, "med 50"));
        fs::remove_file(self.path("healthy")).unwrap();
        let unhealthy = self.wait_for(&format!("{who}, unhealthy"), settled(2, 1, "med 900"));
        fs::write(self.path("healthy"), "").unwrap();
        fs::write(self.path("disable"), "").unwrap();
        let disabled = self.wait_for(&format!("{who}, disabled"), settled(3, 2, "med 50"));
        fs::remove_file(self.path("disable")).unwrap();
        self.wait_for(&format!("{who}, healthy again"), |table| table == healthy);
        vec![healthy, unhealthy, disabled]
    }
}

fn moves_over(asn: u32) {
    let rack = Rack::up(asn);
    let _router = rack.router(asn);
    // On iBGP, a path with our own AS would be a loop.
    let path =
        if asn == 65001 { "" } else { "--up-as-path '65001 65001' --down-as-path '65001 65001 65001'" };
    let config =
        rack.text(EXABGP).replace("@asn", &asn.to_string()).replace("@path", path).replace("@six", SIX);
    fs::write(rack.path("exabgp.conf"), config).unwrap();
    fs::write(rack.path("web.conf"), rack.text(WEB)).unwrap();
    fs::write(rack.path("soft.conf"), rack.text(SOFT)).unwrap();

    let exabgp = rack.start(
        "fe",
        "exabgp",
        "env exabgp_daemon_user=root exabgp_daemon_daemonize=false exabgp_log_destination=stdout exabgp_api_cli=false \
         exabgp @dir/exabgp.conf",
    );
    let before = rack.states("ExaBGP", None);
    println!("AS {asn}, from ExaBGP:\n{}\n", before.join("\n\n"));
    exabgp.signal("-TERM");
    drop(exabgp);
    rack.wait_for("no route after the end of ExaBGP", str::is_empty);

    let output = Command::new(env!("CARGO_BIN_EXE_announcer"))
        .args(["import", "exabgp"])
        .arg(rack.path("exabgp.conf"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "{said}");
    fs::write(rack.path("announcer.toml"), &output.stdout).unwrap();
    let announcer = rack.start(
        "fe",
        "announcer",
        &format!(
            "exec {} run --config @dir/announcer.toml --socket @dir/control.sock --state-dir @dir/state",
            env!("CARGO_BIN_EXE_announcer")
        ),
    );
    let after = rack.states("announcer", Some(&before));
    assert_eq!(after, before);
    announcer.signal("-TERM");
    rack.wait_for("no route after the end of announcer", str::is_empty);
}

#[test]
#[ignore = "needs root, ExaBGP and FRR; `make interop` runs it"]
fn the_routes_of_a_router_in_another_as_stay_the_same() {
    moves_over(65000);
}

#[test]
#[ignore = "needs root, ExaBGP and FRR; `make interop` runs it"]
fn the_routes_of_a_router_in_the_same_as_stay_the_same() {
    moves_over(65001);
}
