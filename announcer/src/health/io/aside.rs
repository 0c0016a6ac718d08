//! Work on files, done where a mount that hangs holds up nothing but the check that asks for it.
//!
//! Touches threads. A look that hangs cannot be called back: so each check has one at a time, and all of them together
//! leave threads to the rest of the daemon.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::trouble::Trouble;
use crate::health::outcome::Reason;

/// The most looks at a time, of all checks: half of the threads that the runtime has for such.
static PLACES: Semaphore = Semaphore::const_new(256);

/// Where one check's work on files is done.
#[derive(Debug)]
pub(super) struct Aside(Arc<Semaphore>);

impl Aside {
    pub(super) fn new() -> Self {
        Aside(Arc::new(Semaphore::new(1)))
    }

    /// Does the work once the work before has ended. Dropped, it waits no longer; the work goes on to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let ended = |_| Trouble::Fail(Reason::Other("announcer is ending"));
        let own: OwnedSemaphorePermit = self.0.clone().acquire_owned().await.map_err(ended)?;
        let place = PLACES.acquire().await.map_err(ended)?;
        let done = tokio::task::spawn_blocking(move || {
            let _places = (own, place);
            work()
        });
        done.await
            .unwrap_or(Err(Trouble::Fail(Reason::Other("a part of announcer ended by a fault of its own"))))
    }
}
