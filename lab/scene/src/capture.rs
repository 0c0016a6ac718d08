//! A tcpdump in a node, whose output is read while it captures.
//!
//! Touches processes and a thread.

use std::io::{self, Read};
use std::process::{Child, ChildStdout};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::Node;

/// The longest time that tcpdump may need to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A capture that is running. It ends when this is dropped.
#[derive(Debug)]
pub struct Capture<T> {
    tcpdump: Child,
    reader: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Capture<T> {
    /// Starts a tcpdump with these arguments in a node; `read` gets its standard output on a separate thread. Returns when it captures.
    ///
    /// # Errors
    /// When the node has ended, or tcpdump does not start.
    pub fn start(
        node: &Node,
        arguments: &[&str],
        read: impl FnOnce(Output) -> T + Send + 'static,
    ) -> Result<Capture<T>> {
        // As another user than root, it would not die with the process that has started it (PR_SET_PDEATHSIG of prctl(2)).
        let words = [&["tcpdump", "-Z", "root"], arguments].concat();
        let mut tcpdump = node.spawn(&words)?;
        let output = tcpdump.stdout.take().context("tcpdump's output")?;
        let (ready, started) = channel();
        let output = Output { output, ready: Some(ready) };
        let mut capture = Capture { tcpdump, reader: Some(thread::spawn(move || read(output))) };
        started.recv_timeout(PATIENCE).context("tcpdump did not start")?;
        ensure!(capture.tcpdump.try_wait()?.is_none(), "tcpdump ended");
        Ok(capture)
    }

    /// Ends tcpdump, and returns what `read` has made of its output. Packets of the last moments may be missing.
    ///
    /// # Errors
    /// When `read` panicked.
    pub fn end(mut self) -> Result<T> {
        self.kill();
        match self.reader.take().map(JoinHandle::join) {
            Some(Ok(found)) => Ok(found),
            Some(Err(_)) | None => bail!("the thread that reads the capture panicked"),
        }
    }
}

impl<T> Capture<T> {
    fn kill(&mut self) {
        let _ = self.tcpdump.kill(); // if this fails, it has ended already
        let _ = self.tcpdump.wait();
    }
}

impl<T> Drop for Capture<T> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The output of a tcpdump: it writes its header when it captures.
#[derive(Debug)]
pub struct Output {
    output: ChildStdout,
    ready: Option<Sender<()>>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.output.read(buffer)?;
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(()); // the receiver may have ended
        }
        Ok(read)
    }
}
