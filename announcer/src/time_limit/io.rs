//! Waits for a result within a time limit.
//!
//! Touches the clock.

use std::pin::pin;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::STOOD_STILL;

/// The shortest extension. In this time tokio looks at the sockets again.
const ONE_LOOK: Duration = Duration::from_millis(1);

/// Waits for the result of `work` for `limit`, and longer if the end of `limit` is noticed late.
///
/// tokio handles the timers before the sockets. If the process stood still, the end of the limit is therefore noticed before a
/// result that arrived in time. So the limit is extended once, by the time by which its end was noticed late, but by 500 ms at most.
///
/// # Errors
/// There is no result within the limit.
pub async fn within<F: Future>(limit: Duration, work: F) -> Result<F::Output, Elapsed> {
    let mut work = pin!(work);
    let end = Instant::now() + limit;
    if let Ok(result) = timeout_at(end, work.as_mut()).await {
        return Ok(result);
    }
    let late = Instant::now().saturating_duration_since(end);
    timeout(late.clamp(ONE_LOOK, STOOD_STILL), work).await
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;

    /// A limit of one second, noticed late. The result comes then, or never. Returns whether it was taken, and the whole time.
    async fn noticed_late(late: Duration, comes: bool) -> (bool, Duration) {
        let start = Instant::now();
        let (sender, result) = oneshot::channel::<()>();
        let mut limited = pin!(within(Duration::from_secs(1), result));
        assert!(poll!(&mut limited).is_pending());
        advance(Duration::from_secs(1) + late).await;
        assert!(poll!(&mut limited).is_pending(), "the result may be there and not seen yet");
        let sender = if comes {
            sender.send(()).unwrap();
            None
        } else {
            Some(sender)
        };
        let taken = limited.await.is_ok();
        drop(sender);
        (taken, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_extended_by_the_time_by_which_its_end_was_noticed_late() {
        let ms = Duration::from_millis;
        for (late, whole) in [(0, 1_001), (300, 1_600), (500, 2_000), (4_000, 5_500)] {
            assert_eq!(noticed_late(ms(late), true).await, (true, ms(1_000 + late)), "{late}");
            let (taken, time) = noticed_late(ms(late), false).await;
            assert!(!taken && time >= ms(whole) && time <= ms(whole + 2), "{late}: {time:?}");
        }
        assert_eq!(within(ms(1_000), async { 7 }).await.ok(), Some(7));
    }
}
