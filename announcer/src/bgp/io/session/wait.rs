//! The waits of a session. Most of them wait for ever if there is nothing to wait for.
//!
//! Touches the clock.

use std::future::pending;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::{BoxedFuture, SessionOrder};

/// Waits for a moment; waits for ever if there is none.
pub(in crate::bgp::io) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// Waits for a running operation; waits for ever if there is none.
pub(super) async fn done<T>(under_way: &mut Option<BoxedFuture<T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Waits for a change; waits for ever if the sender was dropped.
pub(super) async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending().await
    }
}

/// Waits until a session that continues may send; waits for ever if the session is not silent.
pub(super) async fn may_send(silent: &mut Option<watch::Receiver<bool>>) {
    match silent {
        Some(allowed) => {
            if allowed.wait_for(|allowed| *allowed).await.is_err() {
                pending().await // the daemon ends, and the session with it
            }
        }
        None => pending().await,
    }
}

/// Waits for another order. If the sender was dropped, the session ends.
pub(super) async fn next_order(order: &mut watch::Receiver<SessionOrder>) -> SessionOrder {
    match order.changed().await {
        Ok(()) => order.borrow_and_update().clone(),
        Err(_) => SessionOrder::Shutdown { text: String::new() },
    }
}
