//! Dumps of rtnetlink that are asked for again while the kernel makes another one on the same socket.
//!
//! Touches rtnetlink and the clock. The kernel makes one dump at a time for each socket: until the last part of a dump was read, it refuses
//! the next one with EBUSY (`__netlink_dump_start` of net/netlink/af_netlink.c). That is so while a clone of the handle waits for its own
//! dump, and also after a future that had waited for one was dropped: the connection still reads the rest. Both end soon.

use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt};
use tokio::time::{Instant, sleep};

/// For how long a dump that is refused with EBUSY is asked for again. The kernel needs milliseconds for the other one.
const PATIENCE: Duration = Duration::from_secs(2);
/// The wait before a dump is asked for again.
const RETRY: Duration = Duration::from_millis(1);

/// All answers to a dump. `ask` sends the request, as in `handle.address().get().execute()`, each time that it is called.
///
/// # Errors
/// Those of rtnetlink; EBUSY only if the socket is busy for two seconds.
pub async fn dump<T, S>(ask: impl Fn() -> S) -> Result<Vec<T>, rtnetlink::Error>
where
    S: Stream<Item = Result<T, rtnetlink::Error>>,
{
    let give_up = Instant::now() + PATIENCE;
    loop {
        match ask().try_collect().await {
            Err(error) if super::vips::is(&error, libc::EBUSY) && Instant::now() < give_up => {
                sleep(RETRY).await
            }
            other => return other,
        }
    }
}
