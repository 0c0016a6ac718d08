//! A host that runs a real systemd, which boots from a root filesystem in its own namespaces: `tests/systemd/boot`.
//!
//! Two test programs use it, each a part of it.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{Cancel, Options};
use tempfile::TempDir;
use until::until;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A host that runs systemd. It ends when this is dropped.
pub(crate) struct Machine {
    boot: Child,
    pub(crate) pid: String,
    _work: TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.boot.stdin.take()); // this ends it
        let _ = self.boot.wait();
    }
}

/// The exit code, and standard output and standard error together.
pub(crate) type CommandOutput = (i32, String);

impl Machine {
    /// Boots from the lab's root filesystem, or returns why it cannot.
    pub(crate) fn boot() -> Result<Machine, String> {
        Machine::boot_from("../lab/images")
    }

    /// Boots from the root filesystem that the list of packages in a folder describes; the folder is relative to `tests/`.
    pub(crate) fn boot_from(images: &str) -> Result<Machine, String> {
        Machine::boot_layers(images, None)
    }

    /// Boots from the lab's root filesystem, with the files below this folder in addition.
    pub(crate) fn boot_with(files: &Path) -> Result<Machine, String> {
        Machine::boot_layers("../lab/images", Some(files))
    }

    fn boot_layers(images: &str, files: Option<&Path>) -> Result<Machine, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("needs root to make namespaces; run the tests with sudo".into());
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let options = Options::new(&here.join("../lab/ecmp/ecmp.clab.yml"));
        let root = lab::rootfs::ready(&here.join(images), &options.cache, &Cancel::new())
            .map_err(|e| e.to_string())?;
        // `lowerdir` of an overlay takes several folders, the highest first.
        let mut layers = files.map(|files| format!("{}:", files.display())).unwrap_or_default();
        layers.push_str(root.canonicalize().unwrap().to_str().unwrap());
        let work = TempDir::new().unwrap();
        let mut boot = Command::new(here.join("systemd/boot"))
            .args([Path::new(&layers), work.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(boot.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let mut machine = Machine { boot, pid: pid.trim().to_owned(), _work: work };
        let ended = until(PATIENCE, || {
            if machine.run("systemctl is-system-running").1.starts_with("running") {
                return Ok(None);
            }
            let ended = machine.boot.try_wait().unwrap();
            ended.map(Some).ok_or_else(|| machine.run("systemctl --failed; systemctl list-jobs").1)
        });
        if let Some(status) = ended.unwrap_or_else(|jobs| panic!("{jobs}")) {
            let mut why = String::new();
            machine.boot.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            assert_eq!(status.code(), Some(77), "systemd ended: {why}");
            return Err(why);
        }
        Ok(machine)
    }

    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.pid, "env", "-i"]);
        command.args(["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER=", "sh", "-c"]);
        command.arg(format!("exec 2>&1; cd /; {script}"));
        command
    }

    pub(crate) fn run(&self, script: &str) -> CommandOutput {
        let output = self.command(script).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn must(&self, script: &str) -> String {
        let (code, said) = self.run(script);
        assert_eq!(code, 0, "{script}: {said}\n{}", self.run("journalctl --no-pager -n 40").1);
        said
    }

    /// A property of announcer.service.
    pub(crate) fn property(&self, name: &str) -> String {
        self.must(&format!("systemctl show --value --property={name} announcer.service"))
    }

    /// Waits until something holds, for at most [`PATIENCE`].
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Machine) -> bool) {
        self.until_within(PATIENCE, what, holds);
    }

    /// The same, for what needs another time limit.
    pub(crate) fn until_within(&self, limit: Duration, what: &str, holds: impl Fn(&Machine) -> bool) {
        let held = until(limit, || holds(self).then_some(()).ok_or(()));
        assert!(held.is_ok(), "not within {limit:?}: {what}: {}", self.run("journalctl --no-pager -n 40").1);
    }

    pub(crate) fn announced(&self) {
        self.until("announced", |machine| {
            machine.run("announcer status --json").1.contains("\"standing\": \"announced\"")
        });
    }

    /// Runs the same installation as `make install` on the machine.
    pub(crate) fn install(&self) {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let parts = [
            "announcer/packaging",
            "announcer/etc",
            "docs/alerts",
            "docs/grafana",
            "LICENSE",
            "target/lab/bin",
            "target/lab/manual",
        ];
        let packed = Command::new("tar").args(["-c", "-C", here]).args(parts).output().unwrap();
        assert!(packed.status.success(), "{packed:?}");
        let unpack = "mkdir -p /root/announcer && tar -x -C /root/announcer --no-same-owner";
        let mut unpack = self.command(unpack).stdin(Stdio::piped()).spawn().unwrap();
        unpack.stdin.take().unwrap().write_all(&packed.stdout).unwrap();
        assert!(unpack.wait().unwrap().success());
        let built = "--programs target/lab/bin --manual target/lab/manual";
        self.must(&format!("cd /root/announcer && announcer/packaging/install {built} '' /usr/local"));
    }

    /// Puts a file into the host.
    pub(crate) fn put(&self, file: &Path, path: &str) {
        let mut write = self.command(&format!("cat >{path}")).stdin(Stdio::piped()).spawn().unwrap();
        write.stdin.take().unwrap().write_all(&std::fs::read(file).unwrap()).unwrap();
        assert!(write.wait().unwrap().success());
    }

    /// Puts a text into a file of the host.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let mut write = self.command(&format!("cat >{path}")).stdin(Stdio::piped()).spawn().unwrap();
        write.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(write.wait().unwrap().success());
    }
}
