//! What other tasks ask of the director's task.
//!
//! Pure. A question carries the channel for its answer; whoever asked may be gone by then.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::preview::Refusal;
use super::{Figures, Report};
use crate::config::Config;
use crate::model::Generation;

/// A question, or an order, to the director's task.
#[derive(Debug)]
pub enum Ask {
    /// What is decided, and why.
    Report(oneshot::Sender<Report>),
    /// What metrics want of it.
    Figures(oneshot::Sender<Figures>),
    /// These services are to be probed at once (`None`: all).
    Recheck(Option<Vec<String>>),
    /// The configuration is another one: which generation of the Loc-RIB has that in it? Unless it is forced, it is judged at
    /// the same moment, and a refusal leaves everything as it was.
    Reload {
        /// The new configuration.
        config: Arc<Config>,
        /// Whether it is taken whatever it withdraws.
        force: bool,
        /// The generation, or why the configuration was not taken.
        reply: oneshot::Sender<Result<Generation, Refusal>>,
    },
    /// The daemon ends: which generation of the Loc-RIB announces nothing?
    Stop(oneshot::Sender<Generation>),
}

/// Asks the director's task; `None`: it has ended.
pub async fn ask<T>(asks: &mpsc::Sender<Ask>, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    asks.send(question(reply)).await.ok()?;
    answer.await.ok()
}
