//! The state as the page gets it.

use bytes::Bytes;

use super::PageContext;
use crate::control::api;
use crate::control::io as control;
use crate::director::ask::{Ask, ask};
use crate::page::{EVENTS, PageChain, PageStatus};

/// After a state with more octets than this, memory is returned to the system.
const LARGE_STATE: usize = 64 * 1024;

/// The state as JSON; `None`: the daemon ends. Another thread writes the text, so that a host with many VIPs does not delay the
/// director.
pub(super) async fn state(context: &PageContext) -> Option<Bytes> {
    let report = ask(&context.control.asks, Ask::Report).await?;
    let status = control::status(&context.control, &report);
    let samples = context.samples.borrow().clone();
    let history = context.control.history.borrow().newest(EVENTS);
    let chain = control::chain_of_page(&context.control);
    let text = tokio::task::spawn_blocking(move || {
        let chain = chain.map(|chain| PageChain::new(chain, &status));
        let page = PageStatus::new(&status, &samples, history, chain);
        serde_json::to_vec(&api::Numbered::new(page)).unwrap_or_default()
    });
    let text = text.await.ok()?;
    if text.len() > LARGE_STATE {
        context.control.trimmer.soon();
    }
    Some(text.into())
}
