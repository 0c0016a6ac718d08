//! The thread, and its scheduling.
//!
//! Touches a thread and its scheduling. The thread has its own runtime, on which the loops run that must not wait for the main thread.

mod scheduling;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing::{error, info, warn};

use super::Scheduling;

/// A loop: it is made on the thread, and hears how the thread is scheduled.
type Task = Box<dyn FnOnce(Scheduling) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The thread. It is started with its first loop, and ends when all clones of this are dropped and all loops have ended.
#[derive(Debug, Clone, Default)]
pub struct RealtimeThread(Arc<Mutex<Option<mpsc::UnboundedSender<Task>>>>);

impl RealtimeThread {
    /// Runs the loop that `make` makes. The caller blocks the signals that the daemon handles, because a thread inherits its mask.
    ///
    /// # Errors
    /// When the kernel makes no thread.
    pub fn run<F>(&self, make: impl FnOnce(Scheduling) -> F + Send + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        let mut task: Task = Box::new(move |scheduling| Box::pin(make(scheduling)));
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = running.as_ref() {
            match tasks.send(task) {
                Ok(()) => return Ok(()),
                Err(refused) => task = refused.0, // the thread has ended
            }
        }
        let (tasks, received) = mpsc::unbounded_channel();
        std::thread::Builder::new().name("realtime".to_owned()).spawn(move || serve(received))?;
        let _ = tasks.send(task); // a thread that has ended at once has dropped the loop, which its owner notices
        *running = Some(tasks);
        Ok(())
    }
}

/// The thread, from its start to its end.
fn serve(mut tasks: mpsc::UnboundedReceiver<Task>) {
    let scheduling = scheduling::real_time();
    match &scheduling {
        Scheduling::RealTime => info!("BFD packets and heartbeats have real-time scheduling"),
        Scheduling::Ordinary(why) => {
            warn!(reason = %why, "BFD packets and heartbeats have no real-time scheduling")
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error!(%error, "real-time thread cannot wait for sockets and timers"),
    };
    let loops = LocalSet::new();
    loops.block_on(&runtime, async {
        while let Some(task) = tasks.recv().await {
            loops.spawn_local(task(scheduling.clone()));
        }
    });
    runtime.block_on(loops); // until the last loop has ended
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn loops_share_one_thread_which_starts_again_after_its_end() {
        let thread = RealtimeThread::default();
        let of_loop = async |thread: &RealtimeThread| {
            let (id, heard) = oneshot::channel();
            thread.run(|_| async move { id.send(std::thread::current().id()).unwrap() }).unwrap();
            heard.await.unwrap()
        };
        let first = of_loop(&thread).await;
        assert_eq!(of_loop(&thread).await, first);
        assert_eq!(of_loop(&thread.clone()).await, first);
        assert_ne!(first, std::thread::current().id());
        thread.run(|_| async { panic!("as a test") }).unwrap();
        assert_eq!(of_loop(&thread).await, first, "a loop that panics ends alone");
        // A thread that has ended is replaced.
        *thread.0.lock().unwrap() = Some(mpsc::unbounded_channel().0);
        assert_ne!(of_loop(&thread).await, first);
    }
}
