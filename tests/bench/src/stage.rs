//! The lab, and the frontend on which a candidate runs. The other frontends always run announcer.
//!
//! Touches the lab, `/proc`, and PyPI at the first run: anycast_healthchecker is not in Debian.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Node};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scene::log::Mark;
use scene::wire::{Message, between};
use scene::{FRONTENDS, Scene, VIPS, address, server, topology};
use until::until;

use crate::candidate::Candidate;
use crate::results::Reaction;

/// The frontend of the candidates.
pub(crate) const FRONTEND: &str = "fe1";
/// The VIP of the times and the losses.
pub(crate) const VIP: &str = VIPS[0];
/// The longest time of an operation before it counts as failed; it is longer than all timers of the daemons.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The installed version.
const HEALTHCHECKER: &str = "anycast-healthchecker==0.9.10";
const VENV: &str = "opt/anycast-healthchecker";

/// The intervals and limits that all candidates use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The time between two probes, in milliseconds.
    pub(crate) interval_ms: u32,
    /// The timeout of a probe, in milliseconds.
    pub(crate) timeout_ms: u32,
    /// The interval of BFD with both routers, in milliseconds, with a multiplier of 3; `None`: no BFD.
    pub(crate) bfd_ms: Option<u32>,
}

/// For the times and the losses.
pub(crate) const FAST: Pace = Pace { interval_ms: 100, timeout_ms: 100, bfd_ms: None };
/// For memory and CPU: announcer's defaults.
pub(crate) const CALM: Pace = Pace { interval_ms: 1000, timeout_ms: 1000, bfd_ms: None };
/// How many passes in a row make a service healthy.
pub(crate) const RISE: u32 = 2;
/// How many failures in a row make it unhealthy.
pub(crate) const FALL: u32 = 3;

/// The lab, up, with every candidate installed on [`FRONTEND`] and none running.
pub(crate) struct Stage {
    /// The lab.
    pub(crate) scene: Scene,
    /// The processes that always run on the frontend.
    furniture: BTreeSet<Pid>,
}

impl Stage {
    /// Starts a lab with the nodes of `ecmp`, and installs every candidate.
    ///
    /// # Errors
    /// When the lab does not come up, or anycast_healthchecker can neither be found nor fetched.
    pub(crate) fn up(lab: &str) -> Result<Stage> {
        let scene = Scene::of(Lab::up(&topology(lab))?)?;
        let mut stage = Stage { scene, furniture: BTreeSet::new() };
        stage.node()?.must(&["/lab/announcer", "stop"])?;
        stage.keep_what_runs()?;
        let node = stage.node()?;
        let bench = node.root().join("bench");
        copy(&within_bench("peers"), &bench)?;
        install_healthchecker(node).with_context(|| format!("installing {HEALTHCHECKER} from PyPI"))?;
        Ok(stage)
    }

    /// From now on, what runs on the frontend is not a candidate's.
    ///
    /// # Errors
    /// When the node has ended.
    pub(crate) fn keep_what_runs(&mut self) -> Result<()> {
        self.furniture.extend(self.players()?.into_iter().map(|process| process.pid));
        Ok(())
    }

    /// The frontend.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn node(&self) -> Result<&Node> {
        self.scene.node(FRONTEND)
    }

    /// Runs a command that every candidate has: see `tests/bench/peers/README.md`.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn control(&self, candidate: Candidate, word: &str) -> Result<String> {
        Ok(self.node()?.must(&[&format!("/bench/{}/control", candidate.folder()), word])?)
    }

    /// Writes the candidate's configuration for these VIPs.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn configure(&self, candidate: Candidate, vips: &[String], pace: Pace) -> Result<()> {
        let bench = self.node()?.root().join("bench");
        let seconds = |ms: u32| f64::from(ms) / 1e3;
        let pace = format!(
            "INTERVAL={}\nTIMEOUT={}\nRISE={RISE}\nFALL={FALL}\nBFD={}\n",
            seconds(pace.interval_ms),
            seconds(pace.timeout_ms),
            pace.bfd_ms.map_or_else(String::new, |ms| ms.to_string())
        );
        fs::write(bench.join("pace"), pace)?;
        fs::write(bench.join("services"), vips.iter().fold(String::new(), |all, vip| all + vip + "\n"))?;
        self.control(candidate, "configure")?;
        Ok(())
    }

    /// Ends the candidate, repairs all faults, and waits until the routers have only the other frontends.
    ///
    /// # Errors
    /// When a fault cannot be repaired.
    pub(crate) fn clear(&self, candidate: Candidate) -> Result<()> {
        let node = self.node()?;
        node.must(&["nft", "flush", "ruleset"])?;
        node.kill(server(FRONTEND), Signal::SIGCONT);
        if let Err(error) = self.control(candidate, "stop") {
            eprintln!("{}: {error:#}", candidate.title());
        }
        for process in self.players()? {
            eprintln!("{}: left a process behind: {}", candidate.title(), process.name);
            let _ = kill(process.pid, Signal::SIGKILL); // it may have ended already
        }
        node.must(&[
            "/bin/sh",
            "-c",
            "rm -rf /var/lib/announcer/drain/* /run/loops.pids /etc/exabgp/disable",
        ])?;
        node.exec(&["/lab/web", "start"])?; // it refuses if the server runs
        self.wait_hops(VIP, false)?;
        Ok(())
    }

    /// Waits until both routers have, or do not have, the frontend as a next hop of a VIP; the other frontends always stay.
    ///
    /// # Errors
    /// When it takes longer than [`PATIENCE`].
    pub(crate) fn wait_hops(&self, vip: &str, there: bool) -> Result<()> {
        for (index, router) in self.scene.routers.iter().enumerate() {
            let playing = FRONTENDS.iter().filter(|frontend| there || **frontend != FRONTEND);
            let wanted: BTreeSet<IpAddr> = playing.map(|frontend| address(index, frontend, vip)).collect();
            until(PATIENCE, || {
                let found = self.scene.next_hops(router.name, vip)?;
                ensure!(found == wanted, "{} has {found:?} for {vip}, not {wanted:?}", router.name);
                anyhow::Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until the slower router has reacted to `cause`; returns the times until the first message and until the change of the
    /// FIB. Adds the time from a withdraw to the FIB of the same router to `floor`.
    ///
    /// # Errors
    /// When a FIB does not follow within [`PATIENCE`].
    pub(crate) fn reaction(
        &self,
        mark: Mark,
        cause: SystemTime,
        there: bool,
        floor: &mut Vec<f64>,
    ) -> Result<(Option<f64>, f64)> {
        let vip: IpAddr = VIP.parse()?;
        let (mut wire, mut fib) = (Some(Duration::ZERO), Duration::ZERO);
        for (index, router) in self.scene.routers.iter().enumerate() {
            let hop = address(index, FRONTEND, VIP);
            let change = router.fib.wait(mark, PATIENCE, |change| {
                change.prefix.addr() == vip && change.at >= cause && change.next_hops.contains(&hop) == there
            });
            let change = change.with_context(|| format!("{}'s FIB did not follow", router.name))?;
            fib = fib.max(between(cause, change.at));
            let heard = |says: &dyn Fn(&Message) -> bool| {
                // A message appears in the log slightly later than its time.
                router.wire.wait(mark, Duration::from_millis(100), |message| {
                    message.from == hop && message.at >= cause && message.at <= change.at && says(message)
                })
            };
            let first = if there {
                heard(&|message| message.announces(vip))
            } else {
                let gone = heard(&|message| message.withdraws(vip));
                floor.extend(gone.iter().map(|message| ms(between(message.at, change.at))));
                gone.or_else(|| heard(&|message| message.notification().is_some()))
                    .or_else(|| heard(&|message| message.announces(vip))) // as a route with a lower preference
            };
            wire = wire.zip(first).map(|(slower, message)| slower.max(between(cause, message.at)));
        }
        Ok((wire.map(ms), ms(fib)))
    }

    /// The candidate's processes: those on the frontend besides its init, its `cmd` and its web server.
    ///
    /// # Errors
    /// When the node has ended.
    pub(crate) fn players(&self) -> Result<Vec<Process>> {
        let node = self.node()?;
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(&node.pid().to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some((text, pid)) = name.to_str().and_then(|text| Some((text, text.parse::<i32>().ok()?)))
            else {
                continue;
            };
            let pid = Pid::from_raw(pid);
            if pid == node.pid() || self.furniture.contains(&pid) || namespace(text) != own {
                continue;
            }
            let Ok(comm) = fs::read_to_string(format!("/proc/{text}/comm")) else { continue };
            if comm.trim_end() != server(FRONTEND) {
                found.push(Process { pid, name: comm.trim_end().to_owned() });
            }
        }
        Ok(found)
    }

    /// The versions of the candidate's programs, as they print them.
    ///
    /// # Errors
    /// When a program does not print its version.
    pub(crate) fn version(&self, candidate: Candidate) -> Result<String> {
        let said = self.control(candidate, "version")?;
        ensure!(!said.trim().is_empty(), "{} does not say its version", candidate.title());
        Ok(said.trim().replace('\n', ", "))
    }

    /// The environment of the benchmark.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub(crate) fn machine(&self) -> Result<Vec<String>> {
        let router = self.scene.node("r1")?.must(&["/usr/lib/frr/bgpd", "--version"])?;
        let router = router.lines().next().unwrap_or_default().replace("bgpd version ", "FRR ");
        let mut lines = host()?;
        lines.push(format!("routers: {router}"));
        Ok(lines)
    }

    /// Ends the lab.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub(crate) fn down(self) -> Result<()> {
        self.scene.down()
    }
}

/// The machine and its kernel, one line each.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn host() -> Result<Vec<String>> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<&str> = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model))
        .collect();
    let cores = thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).context("no MemTotal")?.parse()?;
    Ok(vec![
        format!("{cores} cores ({}), {} GiB", models.first().unwrap_or(&"unknown"), kib.div_ceil(1 << 20)),
        format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()),
    ])
}

/// A process of a candidate.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Its pid on the host.
    pub(crate) pid: Pid,
    /// Its name.
    pub(crate) name: String,
}

/// In milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A folder of this package.
pub(crate) fn within_bench(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Copies a folder with everything below it, with the modes; existing files are replaced.
///
/// # Errors
/// When it cannot be read or written.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{}", to.display()))?;
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().context("cp")?;
    ensure!(status.success(), "{} was not copied to {}", from.display(), to.display());
    Ok(())
}

/// Installs it into the node's root: from an earlier run, or by pip, which runs with the node's files and the host's network.
fn install_healthchecker(node: &Node) -> Result<()> {
    let kept = kept()?;
    let place = node.root().join(VENV);
    if kept.exists() {
        return copy(&kept, &place);
    }
    println!("fetching {HEALTHCHECKER} from PyPI, once ({})", kept.display());
    let root = node.root();
    for file in ["etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"] {
        match fs::copy(Path::new("/").join(file), root.join(file)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {} // the host has no such file
            Err(error) => bail!("/{file}: {error}"),
        }
    }
    let script = format!("python3 -m venv /{VENV} && /{VENV}/bin/pip install --quiet {HEALTHCHECKER}");
    let mut pip = Command::new("nsenter");
    pip.arg(format!("--mount=/proc/{}/ns/mnt", node.pid())).args(["/bin/sh", "-c", &script]);
    pip.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/root").env_remove("PIP_FIND_LINKS");
    let status = pip.status().context("nsenter")?;
    let _ = fs::remove_file(root.join("etc/resolv.conf")); // nodes have no resolver
    ensure!(status.success(), "pip failed: {status}");
    let half = kept.with_extension("half");
    copy(&place, &half)?;
    Ok(fs::rename(&half, &kept)?)
}

/// The folder of the virtual environment between runs.
fn kept() -> Result<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/lab/peers");
    fs::create_dir_all(&cache).with_context(|| format!("{}", cache.display()))?;
    Ok(cache.join(HEALTHCHECKER))
}

/// A reaction, in the form of the results.
pub(crate) fn reacted(
    candidate: Candidate,
    event: crate::results::Event,
    times: (Option<f64>, f64),
) -> Reaction {
    Reaction { candidate, event, wire_ms: times.0, fib_ms: times.1 }
}
