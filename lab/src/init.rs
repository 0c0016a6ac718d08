//! A node from the inside: its namespaces, its mounts, and its first process.
//!
//! Touches the kernel: namespaces, mounts, processes. There are two hidden subcommands, each in its own process with a single
//! thread: `__node` makes the namespaces and starts `__init` in them, which is process 1 there. It mounts the file systems of a
//! container, starts the node's `cmd`, and reaps processes until `cmd` ends. Then the node ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, dup2_stdout, pivot_root, sethostname, setsid};

use crate::enter::environment;
use crate::state::{self, EngineRecord, State};
use crate::topology::{Access, Bind, NodeConfig};

/// The line on standard output for a node that is ready; any other line is an error.
pub const READY: &str = "ready";
/// How the line with the pid of a node's init begins.
pub const PID: &str = "pid ";

/// `lab __node DIR NODE [PID]`: makes the namespaces, but uses the network namespace of the process PID if there is one. It ends as
/// soon as `__init` runs, which inherits standard output and error. Before that it writes the line [`PID`] with the pid of `__init`.
pub fn node(dir: &Path, name: &str, shared: Option<Pid>) -> ExitCode {
    report(make_namespaces(dir, name, shared)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// `lab __init DIR NODE`: process 1 of the node.
pub fn init(dir: &Path, name: &str) -> ExitCode {
    let started = report(prepare(dir, name));
    let Some(main) = started else { return ExitCode::FAILURE };
    match reap_until_ended(main) {
        Some(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}

fn report<T>(result: Result<T, String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(message) => {
            output::line(message);
            None
        }
    }
}

fn make_namespaces(dir: &Path, name: &str, shared: Option<Pid>) -> Result<(), String> {
    // The node leaves the terminal's session: an interrupt there is for `lab up`, which cleans up.
    setsid().map_err(|e| format!("setsid: {}", e.desc()))?;
    let network = match shared {
        None => CloneFlags::CLONE_NEWNET,
        Some(pid) => {
            let path = format!("/proc/{pid}/ns/net");
            let file = fs::File::open(&path).map_err(|e| format!("{path}: {e}"))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .map_err(|e| format!("cannot enter {path}: {}", e.desc()))?;
            CloneFlags::empty()
        }
    };
    let own = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(own | network).map_err(|e| {
        let hint = if e == Errno::EPERM { " (in a container without CAP_SYS_ADMIN?)" } else { "" };
        format!("cannot make namespaces: {}{hint}", e.desc())
    })?;
    let program = std::env::current_exe().map_err(|e| format!("cannot find my own program: {e}"))?;
    let child = Command::new(program).arg(state::INIT).arg(dir).arg(name).stdin(Stdio::null()).spawn();
    let child = child.map_err(|e| format!("cannot start the node's first process: {e}"))?;
    output::line(format_args!("{PID}{}", child.id()));
    Ok(())
}

fn prepare(dir: &Path, name: &str) -> Result<Pid, String> {
    let state = State::read(dir).map_err(|e| format!("{}: {e}", dir.join("lab.json").display()))?;
    let node = state.nodes.get(name).ok_or_else(|| format!("no node `{name}`"))?;
    let EngineRecord::Netns { rootfs, programs } = &state.made else {
        return Err("a container's engine makes it".to_string());
    };
    let target = PathBuf::from("/usr/local/bin");
    let programs = programs.iter().cloned();
    let programs = programs.map(|source| Bind { source, target: target.clone(), access: Access::ReadOnly });
    let binds: Vec<Bind> = programs.chain(node.binds.iter().cloned()).collect();
    mounts(dir, name, rootfs, &binds)?;
    identity(name)?;
    for (key, value) in &node.sysctls {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        fs::write(&path, value).map_err(|e| format!("cannot set {key} to {value}: {e}"))?;
    }
    let main = start(node)?;

    // The parent reads this line; later output is not read.
    output::line(READY);
    if let Ok(null) = fs::File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(&null);
    }
    Ok(main)
}

fn start(node: &NodeConfig) -> Result<Pid, String> {
    let [program, arguments @ ..] = node.cmd.as_slice() else { return Err("`cmd` is empty".to_string()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment(node)).stdin(Stdio::null());
    let log = fs::File::create("/var/log/cmd.log").map_err(|e| format!("/var/log/cmd.log: {e}"))?;
    let copy = log.try_clone().map_err(|e| format!("/var/log/cmd.log: {e}"))?;
    let child =
        command.stdout(log).stderr(copy).spawn().map_err(|e| format!("cannot start `{program}`: {e}"))?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(|e| e.to_string())
}

fn reap_until_ended(main: Pid) -> Option<ExitStatus> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => return Some(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                return Some(ExitStatus::from_raw(signal as i32));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// The message for a failed system call.
fn failed(what: &str, at: &Path) -> impl FnOnce(Errno) -> String {
    let text = format!("cannot {what} {}", at.display());
    move |errno| format!("{text}: {}", errno.desc())
}

fn mount_at(source: &str, at: &Path, kind: &str, flags: MsFlags, data: &str) -> Result<(), String> {
    mount(Some(source), at, Some(kind), flags, Some(data)).map_err(failed("mount", at))
}

fn bind_at(source: &Path, at: &Path) -> Result<(), String> {
    mount(Some(source), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| format!("cannot bind {} to {}: {}", source.display(), at.display(), errno.desc()))
}

fn folder(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|e| format!("cannot make {}: {e}", path.display()))
}

fn mounts(dir: &Path, name: &str, rootfs: &Path, binds: &[Bind]) -> Result<(), String> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(failed("detach", Path::new("/")))?;

    // The node's own layer is in memory, above the tree that all nodes share.
    let base = dir.join(name);
    mount_at("lab", &base, "tmpfs", MsFlags::empty(), "mode=755")?;
    let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|part| base.join(part));
    for part in [&lower, &upper, &work, &root] {
        folder(part)?;
    }
    bind_at(rootfs, &lower)?;
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount_at("lab", &root, "overlay", MsFlags::empty(), &layers)?;

    let (nosuid, nodev, noexec) = (MsFlags::MS_NOSUID, MsFlags::MS_NODEV, MsFlags::MS_NOEXEC);
    let proc = root.join("proc");
    mount_at("proc", &proc, "proc", nosuid | nodev | noexec, "")?;
    // This is a separate mount, as in a container, so that `mount -o remount,rw /proc/sys` works in both.
    bind_at(&proc.join("sys"), &proc.join("sys"))?;
    mount_at("sysfs", &root.join("sys"), "sysfs", nosuid | nodev | noexec | MsFlags::MS_RDONLY, "")?;
    mount_at("tmpfs", &root.join("run"), "tmpfs", nosuid | nodev, "mode=755")?;
    mount_at("tmpfs", &root.join("tmp"), "tmpfs", nosuid | nodev, "mode=1777")?;
    devices(&root.join("dev"))?;

    let old = root.join(".host");
    folder(&old)?;
    pivot_root(&root, &old).map_err(failed("enter", &root))?;
    chdir("/").map_err(failed("enter", Path::new("/")))?;
    // This must not happen earlier: a target that is a symbolic link must be resolved in the node and not on the host.
    for bind in binds {
        let inside = Path::new("/.host").join(bind.source.strip_prefix("/").unwrap_or(&bind.source));
        bind_into(&inside, bind)?;
    }
    umount2("/.host", MntFlags::MNT_DETACH).map_err(failed("leave", Path::new("/.host")))?;
    fs::remove_dir("/.host").map_err(|e| format!("cannot remove /.host: {e}"))
}

fn bind_into(source: &Path, bind: &Bind) -> Result<(), String> {
    let target = &bind.target;
    if source.is_dir() {
        folder(target)?;
    } else if !target.exists() {
        folder(target.parent().unwrap_or(Path::new("/")))?;
        fs::write(target, "").map_err(|e| format!("cannot make {}: {e}", target.display()))?;
    }
    bind_at(source, target)?;
    match bind.access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
                .map_err(failed("make read-only", target))
        }
    }
}

fn devices(dev: &Path) -> Result<(), String> {
    mount_at("tmpfs", dev, "tmpfs", MsFlags::MS_NOSUID, "mode=755")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let at = dev.join(name);
        fs::write(&at, "").map_err(|e| format!("cannot make {}: {e}", at.display()))?;
        bind_at(&Path::new("/dev").join(name), &at)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        let at = dev.join(name);
        std::os::unix::fs::symlink(target, &at).map_err(|e| format!("cannot make {}: {e}", at.display()))?;
    }
    let [pts, shm] = ["pts", "shm"].map(|part| dev.join(part));
    folder(&pts)?;
    folder(&shm)?;
    mount_at(
        "devpts",
        &pts,
        "devpts",
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        "newinstance,ptmxmode=0666,mode=620",
    )?;
    mount_at("tmpfs", &shm, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")
}

fn identity(name: &str) -> Result<(), String> {
    sethostname(name).map_err(|e| format!("cannot set the host name: {}", e.desc()))?;
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n");
    for (path, text) in [("/etc/hostname", format!("{name}\n")), ("/etc/hosts", hosts)] {
        let path = PathBuf::from(path);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}
