//! The engine that uses containerlab, with Docker containers as nodes.
//!
//! Touches processes: `containerlab` and `docker`. containerlab runs in its own network and mount namespaces
//! (`lab __containerlab`). So links that it has not yet moved to a container, and its changes in /etc and /run/netns, disappear
//! when it ends in any way. A lab whose nodes use the management network is made in the host's network namespace, where Docker
//! makes the bridge of that network. containerlab's containers are found by their label in Docker, and its processes by their
//! environment.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::{Site, nodes};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::node::Node;
use crate::rootfs::on_path;
use crate::state::{self, EngineRecord, State};
use crate::topology::{Management, Topology};

mod log;

/// The hidden subcommand that becomes containerlab.
pub const CONTAINERLAB: &str = "__containerlab";
/// The variable for containerlab's folder, by which its processes are also found.
const FOLDER: &str = "CLAB_LABDIR_BASE";
/// How long to check that nothing new appears, because Docker finishes the requests of a killed client.
const QUIET: Duration = Duration::from_millis(500);
/// The oldest containerlab whose `privileged` and `security-opts` the topologies use.
const OLDEST: (u32, u32) = (0, 78);
/// How many nodes are made at the same time. By default as many as there are processors, but a node mostly waits.
const WORKERS: &str = "12";
/// Names of the network namespace in which containerlab runs, as an argument of [`CONTAINERLAB`].
const OWN_NETWORK: &str = "own";
const HOST_NETWORK: &str = "host";
/// How long Docker may take to end a lab.
const PATIENCE: Duration = Duration::from_secs(60);

/// Checks that everything that this engine needs exists; each message says how to get it.
pub(super) fn ready(
    lab: &str,
    topology: &Topology,
    program: &Path,
    images_folder: &Path,
) -> Result<EngineRecord, Error> {
    for (tool, from) in [
        ("containerlab", "https://containerlab.dev/install"),
        ("docker", "https://docs.docker.com/engine/install"),
    ] {
        if !on_path(tool) {
            return Err(Error::Missing(format!(
                "`{tool}` is missing ({from}); install it, or leave out ENGINE=containerlab: `netns` needs neither containerlab nor Docker"
            )));
        }
    }
    let version = Command::new("containerlab")
        .args(["version", "--short"])
        .stdin(Stdio::null())
        .process_group(0)
        .output();
    let version = version.map_err(|e| Error::of("containerlab", e))?;
    if let Some(message) = too_old(&String::from_utf8_lossy(&version.stdout)) {
        return Err(Error::Missing(message));
    }
    let server = docker(&["version", "--format", "{{.Server.Version}}"])?;
    if !server.status.success() {
        let said = String::from_utf8_lossy(&server.stderr);
        let said = said.lines().last().unwrap_or_default().trim();
        return Err(Error::Missing(format!("Docker's engine does not answer: start `dockerd` ({said})")));
    }
    let images: BTreeSet<&str> = topology.nodes.values().filter_map(|node| node.image.as_deref()).collect();
    for image in images {
        let label = format!("{{{{index .Config.Labels {INPUTS:?}}}}}");
        let inspected = docker(&["image", "inspect", "--format", &label, image])?;
        if !inspected.status.success() {
            return Err(Error::Missing(format!(
                "the image `{image}` is missing: `make image IMAGE={image}` makes the lab's own, `docker pull {image}` gets another"
            )));
        }
        let made_from = String::from_utf8_lossy(&inspected.stdout).trim().to_owned();
        // An image without the label is not ours.
        if !made_from.is_empty() && made_from != digest(images_folder)? {
            return Err(Error::Missing(format!(
                "the image `{image}` was made from other programs, or from other files in {}: `make image IMAGE={image}` makes it again",
                images_folder.display()
            )));
        }
    }
    if !containers(lab)?.is_empty() {
        return Err(Error::Missing(format!(
            "Docker already has containers of a lab `{lab}` that this program has not made or no longer knows: `containerlab destroy --name {lab}` removes them, `--name OTHER` (or LAB_NAME) makes a second lab"
        )));
    }
    let (management, named_by_file) = (topology.management, topology.name == lab);
    if management == Management::Used && !named_by_file {
        return Err(Error::Missing(format!(
            "a lab with a management network has the name of its file, because containerlab removes only that one's: leave out `--name` and LAB_NAME, or write `name: {lab}` in the file"
        )));
    }
    let (prefix, program) = (topology.prefix.clone(), program.to_path_buf());
    Ok(EngineRecord::Containerlab { management, prefix, named_by_file, program })
}

/// Why this version of containerlab cannot be used; `None` if it can, and if the text is not a version. A containerlab that was
/// built from source says `0.0.0`.
fn too_old(version: &str) -> Option<String> {
    let version = version.trim();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let found = (numbers.next()??, numbers.next()??);
    (found != (0, 0) && found < OLDEST).then(|| {
        format!(
            "containerlab {version} is too old, the topologies need {}.{} or newer: https://containerlab.dev/install",
            OLDEST.0, OLDEST.1
        )
    })
}

/// The name of a node's container. `prefix` is that of the topology file, which may be empty or a word of containerlab's.
pub(super) fn container(prefix: Option<&str>, lab: &str, node: &str) -> String {
    match prefix {
        None => format!("clab-{lab}-{node}"),
        Some("") => node.to_string(),
        Some("__lab-name") => format!("{lab}-{node}"),
        Some(prefix) => format!("{prefix}-{lab}-{node}"),
    }
}

/// The nodes' first processes.
pub(super) fn running(lab: &str, state: &State) -> BTreeMap<String, Pid> {
    let EngineRecord::Containerlab { prefix, .. } = &state.made else { return BTreeMap::new() };
    let container = |node: &str| container(prefix.as_deref(), lab, node);
    let names: Vec<String> = state.nodes.keys().map(|node| container(node)).collect();
    let mut words = vec!["inspect", "--type", "container", "--format", "{{.Name}} {{.State.Pid}}"];
    words.extend(names.iter().map(String::as_str));
    // The command fails if one of them does not exist, but prints the others.
    let Ok(output) = docker(&words) else { return BTreeMap::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let known = |name: &str| state.nodes.keys().find(|node| container(node) == name).cloned();
    text.lines()
        .filter_map(|line| {
            let (name, pid) = line.trim_start_matches('/').split_once(' ')?;
            let pid: i32 = pid.parse().ok().filter(|pid| *pid > 0)?; // 0: it has ended
            Some((known(name)?, Pid::from_raw(pid)))
        })
        .collect()
}

/// `containerlab deploy`.
pub(super) fn build(
    site: &Site<'_>,
    management: Management,
    cancel: &Cancel,
) -> Result<BTreeMap<String, Node>, Error> {
    let mut command = containerlab(site.program, site.name, site.dir, site.state, management, "deploy");
    let said = state::nameless()?;
    let copy = || said.try_clone().map_err(|e| Error::of("containerlab", e));
    command.args(["--max-workers", WORKERS]);
    command.stdin(Stdio::null()).stdout(copy()?).stderr(copy()?);
    let ended = cancel.spawn(&mut command).and_then(|mut child| cancel.wait(&mut child));
    let status = ended.map_err(|e| Error::of("containerlab", e))?;
    let text = state::text_of(said).map_err(|e| Error::of("containerlab", e))?;
    if let Some(failed) = log::failed_command(&text) {
        let prefix = match &site.state.made {
            EngineRecord::Containerlab { prefix, .. } => prefix.as_deref(),
            EngineRecord::Netns { .. } => None,
        };
        let profile = apparmor_profile(&container(prefix, site.name, &failed.node));
        return Err(Error::Node(failed.message(profile.as_deref())));
    }
    if !status.success() {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(8)..].join("\n  ");
        return Err(Error::Node(format!("containerlab deploy failed:\n  {last}")));
    }
    let nodes = nodes(site.name, site.state, site.program);
    match site.state.nodes.keys().find(|name| !nodes.contains_key(*name)) {
        Some(name) => Err(Error::Node(format!("{name}: its `cmd` has ended already"))),
        None => Ok(nodes),
    }
}

/// The label of an image that `images/build` has made: the digest of the files that it was made from.
const INPUTS: &str = "announcer-lab.inputs";

/// The digest of those files now.
fn digest(images: &Path) -> Result<String, Error> {
    let script = images.join("build");
    let output = Command::new(&script).arg("--digest").stdin(Stdio::null()).output();
    let output = output.map_err(|error| Error::file(&script, error))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The AppArmor profile of a container; `None` if it has none, as on a host without AppArmor.
fn apparmor_profile(container: &str) -> Option<String> {
    let output =
        docker(&["inspect", "--type", "container", "--format", "{{.AppArmorProfile}}", container]).ok()?;
    let profile = String::from_utf8_lossy(&output.stdout).trim().to_string();
    Some(profile).filter(|profile| !profile.is_empty() && profile != "unconfined")
}

/// Ends everything that containerlab has made or is making. `destroy`: if its own `destroy` can do it, the `lab` program
/// that starts it, and for which network.
pub(super) fn end(
    lab: &str,
    dir: &Path,
    state: &State,
    destroy: Option<(&Path, Management)>,
) -> Result<(), Error> {
    let killed = state::kill_all(|| keepers(dir)).map_err(|e| Error::of("containerlab", e))?;
    let polite = !killed && on_path("containerlab") && !containers(lab)?.is_empty();
    if polite && let Some((program, management)) = destroy {
        let mut command = containerlab(program, lab, dir, state, management, "destroy");
        command.arg("--cleanup").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = command.status(); // its effect is checked below
    }
    let deadline = Instant::now() + PATIENCE;
    let mut quiet_since = Instant::now();
    loop {
        let left = containers(lab)?;
        if left.is_empty() && (!killed || quiet_since.elapsed() >= QUIET) {
            return Ok(());
        }
        if !left.is_empty() {
            quiet_since = Instant::now();
            let mut words = vec!["rm", "--force", "--volumes"];
            words.extend(left.iter().map(String::as_str));
            let _ = docker(&words)?; // a container that is already being removed is not an error
        }
        if Instant::now() > deadline {
            return Err(Error::Node(format!("Docker does not end container {}", left.join(", "))));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A command in a container, by Docker.
pub(crate) fn exec<S: AsRef<OsStr>>(
    container: &str,
    env: &BTreeMap<String, String>,
    options: &[&str],
    words: &[S],
) -> Command {
    let mut command = Command::new("docker");
    command.arg("exec").args(options).args(["--workdir", "/"]);
    for (key, value) in env {
        command.arg("--env").arg(format!("{key}={value}"));
    }
    command.arg(container).args(words);
    command
}

/// The containers of a lab, in any state.
fn containers(lab: &str) -> Result<Vec<String>, Error> {
    let output =
        docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("label=containerlab={lab}")])?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Missing(format!(
            "Docker's engine does not answer: start `dockerd` ({})",
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect())
}

fn docker(words: &[&str]) -> Result<Output, Error> {
    let mut command = Command::new("docker");
    command.args(words).stdin(Stdio::null()).process_group(0);
    command.output().map_err(|e| Error::of("docker", e))
}

fn containerlab(
    program: &Path,
    lab: &str,
    dir: &Path,
    state: &State,
    management: Management,
    verb: &str,
) -> Command {
    let network = match management {
        Management::Unused => OWN_NETWORK,
        Management::Used => HOST_NETWORK,
    };
    let mut command = Command::new(program);
    command.arg(CONTAINERLAB).arg(dir).arg(Pid::this().to_string()).args([network, verb]);
    command.args(["--name", lab, "--topo"]).arg(&state.topology);
    command.env(FOLDER, dir).env("CLAB_VERSION_CHECK", "disable").env("NO_COLOR", "1");
    command.process_group(0); // an interrupt at the terminal is handled by its parent
    command
}

/// The processes of containerlab for the lab in `dir`, and processes that are becoming containerlab.
fn keepers(dir: &Path) -> Vec<Pid> {
    let mark = [FOLDER.as_bytes(), b"=", dir.as_os_str().as_bytes()].concat();
    let marked = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.split(|b| *b == 0).any(|one| one == mark))
    };
    state::pids().filter(marked).map(Pid::from_raw).collect()
}

/// `lab __containerlab DIR PARENT NETWORK WORD…`: becomes `containerlab WORD…`, which ends when the process PARENT ends. NETWORK is
/// `own` for a network namespace of its own, or `host`.
pub fn become_containerlab(dir: &Path, parent: Pid, network: &str, words: &[OsString]) -> ExitCode {
    let ready = set_pdeathsig(Signal::SIGKILL)
        .map_err(|e| e.desc().to_string())
        .and_then(|()| if getppid() == parent { Ok(()) } else { Err("its starter has ended".to_string()) })
        .and_then(|()| apart(dir, network));
    if let Err(message) = ready {
        output::note(format_args!("lab: {message}"));
        return ExitCode::FAILURE;
    }
    let error = Command::new("containerlab").args(words).exec();
    output::note(format_args!("lab: cannot run `containerlab`: {error}"));
    ExitCode::FAILURE
}

fn apart(dir: &Path, network: &str) -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_string();
        move |e: nix::errno::Errno| format!("cannot {what}: {}", e.desc())
    };
    let file = |path: &Path| {
        let path = path.display().to_string();
        move |e: io::Error| format!("{path}: {e}")
    };
    let network = if network == HOST_NETWORK { CloneFlags::empty() } else { CloneFlags::CLONE_NEWNET };
    unshare(CloneFlags::CLONE_NEWNS | network).map_err(failed("make namespaces"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(failed("detach the mounts"))?;
    let (hosts, copy) = (Path::new("/etc/hosts"), dir.join("hosts"));
    if hosts.exists() {
        fs::copy(hosts, &copy).map_err(file(&copy))?;
        mount(Some(&copy), hosts, none, MsFlags::MS_BIND, none).map_err(failed("cover /etc/hosts"))?;
    }
    for folder in ["/run/netns", "/etc/ssh/ssh_config.d"] {
        // If the folder does not exist, containerlab does not need it, or makes it in a covered folder.
        if Path::new(folder).exists() {
            mount(Some("lab"), folder, Some("tmpfs"), MsFlags::empty(), none)
                .map_err(failed(&format!("cover {folder}")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_too_old_is_named_and_one_that_is_not_known_is_taken() {
        for (version, fits) in
            [("0.78.0\n", true), ("0.79.2", true), ("1.0.0", true), ("0.77.0\n", false), ("0.9.1", false)]
        {
            assert_eq!(too_old(version).is_none(), fits, "{version}");
        }
        assert!(too_old("0.0.0").is_none() && too_old("").is_none() && too_old("a new form").is_none());
        assert_eq!(
            too_old("0.77.0\n").as_deref(),
            Some(
                "containerlab 0.77.0 is too old, the topologies need 0.78 or newer: https://containerlab.dev/install"
            )
        );
    }

    #[test]
    fn containers_are_named_as_containerlab_names_them() {
        for (prefix, name) in
            [(None, "clab-x-r1"), (Some(""), "r1"), (Some("__lab-name"), "x-r1"), (Some("me"), "me-x-r1")]
        {
            assert_eq!(container(prefix, "x", "r1"), name);
        }
    }
}
