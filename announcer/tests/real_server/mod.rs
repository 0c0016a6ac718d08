//! A server of Debian, which an integration test runs.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server that is killed when this is dropped, with the processes of its group. It also ends when the test is killed.
pub struct RealServer(Child);

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-self.pid()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

impl RealServer {
    /// Starts a program of Debian; `None`, with a message, if it is not installed.
    pub fn start(program: &str, arguments: &[&str]) -> Option<RealServer> {
        let path = Path::new("/usr/sbin").join(program);
        if !path.exists() {
            until::skipped(format_args!("{program} is not installed"));
            return None;
        }
        // When the thread of the test ends, the kernel sends SIGTERM to the server, and the server ends its own processes.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(path);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(RealServer(command.process_group(0).spawn().unwrap()))
    }

    pub fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }
}

/// The configuration of nginx as one process, with these `server` blocks. FOLDER stands for the folder of the test.
pub fn nginx(servers: &str) -> String {
    format!(
        "daemon off;\nmaster_process off;\nuser root;\npid FOLDER/pid;\nerror_log stderr crit;\nevents {{}}\n\
         http {{\n  access_log off;\n{servers}}}\n"
    )
}
