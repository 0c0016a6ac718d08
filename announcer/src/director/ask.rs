//! The requests of other tasks to the director's task.
//!
//! Pure. A request has a channel for its answer. The requester may have ended before the answer.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::preview::{Preview, Refusal};
use super::{Figures, Report};
use crate::config::Config;
use crate::model::Generation;

/// A request to the director's task.
#[derive(Debug)]
pub enum Ask {
    /// Returns the decisions and their reasons.
    Report(oneshot::Sender<Report>),
    /// Returns the numbers for metrics.
    Figures(oneshot::Sender<Figures>),
    /// Probes these services at once (`None`: all).
    Recheck(Option<Vec<String>>),
    /// Applies a new configuration, and returns the generation of the Loc-RIB that contains it. Unless it is forced, the reload is
    /// checked in the same step, and a refusal changes nothing.
    Reload {
        /// The new configuration.
        config: Arc<Config>,
        /// Whether it is applied also if it withdraws every VIP.
        force: bool,
        /// The generation, or why the configuration was refused.
        reply: oneshot::Sender<Result<Generation, Refusal>>,
    },
    /// Returns the decisions that a configuration would have now. Nothing changes.
    Preview {
        /// The configuration.
        config: Arc<Config>,
        /// The effect on every VIP.
        reply: oneshot::Sender<Preview>,
    },
    /// The daemon will end soon: every VIP is the last choice from now on.
    Leave,
    /// The daemon ends. Returns the generation of the Loc-RIB that announces nothing.
    Stop(oneshot::Sender<Generation>),
}

/// Sends a request to the director's task; `None`: the task has ended.
pub async fn ask<T>(asks: &mpsc::Sender<Ask>, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    asks.send(question(reply)).await.ok()?;
    answer.await.ok()
}
