//! Runs the hook: one run at a time, in the background.
//!
//! Touches processes. A run is a process group of its own, with nothing on its standard input and a clean environment, no
//! shell around it, and it is killed with all that it started when its time is up. The process is made on another thread:
//! a disk that hangs while it is loaded holds up nobody.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::{Call, Queue, Runs, line};
use crate::config::{Config, Hooks};
use crate::program::io::{self as program, Group};

#[cfg(test)]
mod tests;

/// Octets of a run's output that are kept; the rest is read and forgotten.
const KEPT: usize = 4096;

/// How a run ended.
#[derive(Debug)]
enum Ended {
    Ok,
    Failed(String),
    TimedOut,
    NotStarted(io::Error),
}

/// Tells the hook of `configs` what the queue has for it, for ever. Without a hook the queue is emptied all the same.
pub async fn run(configs: watch::Receiver<Arc<Config>>, queue: watch::Sender<Queue>) {
    let mut changes = queue.subscribe();
    loop {
        changes.mark_unchanged();
        while let Some(call) = next(&queue) {
            let hooks = configs.borrow().hooks.clone();
            if let Some(hooks) = hooks {
                let (ended, output) = once(&hooks, &call).await;
                tell(&call, &ended, &output, hooks.timeout);
                queue.send_if_modified(|queue| {
                    *count(&mut queue.runs, &ended) += 1;
                    false
                });
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Takes the next call; that is no change that anybody waits for.
fn next(queue: &watch::Sender<Queue>) -> Option<Call> {
    let mut next = None;
    queue.send_if_modified(|queue| {
        next = queue.take();
        false
    });
    next
}

fn count<'a>(runs: &'a mut Runs, ended: &Ended) -> &'a mut u64 {
    match ended {
        Ended::Ok => &mut runs.ok,
        Ended::Failed(_) => &mut runs.failed,
        Ended::TimedOut => &mut runs.timeout,
        Ended::NotStarted(_) => &mut runs.not_started,
    }
}

fn tell(call: &Call, ended: &Ended, output: &[u8], limit: Duration) {
    let (service, vip, standing) = (call.service.as_str(), call.vip, call.standing);
    let output = line(output).unwrap_or_default();
    match ended {
        Ended::Ok if output.is_empty() => debug!(service, %vip, standing, "hook was run"),
        Ended::Ok => info!(service, %vip, standing, output, "hook was run"),
        Ended::Failed(how) => warn!(service, %vip, standing, how, output, "hook failed"),
        Ended::TimedOut => {
            let after = humantime::format_duration(limit);
            warn!(service, %vip, standing, %after, output, "hook took too long and was killed");
        }
        Ended::NotStarted(error) => warn!(service, %vip, standing, %error, "hook was not started"),
    }
}

/// One run, from its start to its end; and what it said.
async fn once(hooks: &Hooks, call: &Call) -> (Ended, Vec<u8>) {
    let mut output = Vec::new();
    // Without a limit: what hangs here cannot be killed, and a second one beside it would hang as well.
    let (mut child, group) = match start(hooks, call).await {
        Ok(started) => started,
        Err(error) => return (Ended::NotStarted(error), output),
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut said = (Vec::new(), Vec::new());
    let ending = async {
        // Its output first, and its exit code last: until that is taken, its number is nobody else's.
        tokio::join!(read(out, &mut said.0), read(err, &mut said.1));
        child.wait().await
    };
    let ended = match timeout(hooks.timeout, ending).await {
        Ok(Ok(status)) if status.success() => Ended::Ok,
        Ok(Ok(status)) => Ended::Failed(status.to_string()),
        Ok(Err(error)) => Ended::Failed(error.to_string()),
        Err(_) => {
            group.kill();
            let _ = child.wait().await; // nothing survives that signal
            Ended::TimedOut
        }
    };
    output.append(&mut said.0);
    output.append(&mut said.1);
    (ended, output)
}

/// Makes the process, on a thread that may hang.
async fn start(hooks: &Hooks, call: &Call) -> io::Result<(Child, Group)> {
    let Some(mut command) = program::command(&hooks.on_change) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    command.envs(call.environment()).stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || program::spawn(command)).await.map_err(io::Error::other)?
}

/// Reads to the end; keeps as much as is worth a line.
async fn read(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut octets = [0; 1024];
    // An error ends it as its end does.
    while let Ok(count @ 1..) = from.read(&mut octets).await {
        let room = KEPT - kept.len();
        kept.extend(octets.iter().take(count.min(room)));
    }
}
