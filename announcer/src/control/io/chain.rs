//! The answers about the chain, and the order to switch the forwarding of this host off or on.
//!
//! Touches the clock.

use std::time::Instant;

use tokio::sync::oneshot;

use super::answers::time_of;
use super::{ControlContext, ending};
use crate::chain::io::ChainRequest;
use crate::chain::status::OffOrder;
use crate::control::api::{ChainReport, ErrorCode, Response};
use crate::control::chain::{ChainClock, OwnVip, report, site};
use crate::director::ask::{Ask, ask};

/// The chain as this host sees it.
pub(super) async fn chain(context: &ControlContext) -> Response {
    let Some(vips) = own_vips(context).await else { return ending() };
    let status = context.chain.borrow().clone();
    let clock = ChainClock { now: Instant::now(), time_of: &time_of };
    Response::Chain(Box::new(report(&status, &vips, clock)))
}

/// The chain for the status page, in which the VIPs of this host are not counted; `None`: there is no chain.
pub(crate) fn chain_of_page(context: &ControlContext) -> Option<ChainReport> {
    let status = context.chain.borrow().clone();
    let clock = ChainClock { now: Instant::now(), time_of: &time_of };
    status.configured.then(|| report(&status, &[], clock))
}

/// The VIPs of the whole site.
pub(super) async fn vips(context: &ControlContext) -> Response {
    let Some(vips) = own_vips(context).await else { return ending() };
    let status = context.chain.borrow().clone();
    Response::Site(Box::new(site(&status, &vips)))
}

/// The VIPs of this host; `None`: the daemon ends.
async fn own_vips(context: &ControlContext) -> Option<Vec<OwnVip>> {
    let figures = ask(&context.asks, Ask::Figures).await?;
    let config = context.configs.borrow().clone();
    let vips = figures.services.iter().flat_map(|service| {
        let found = config.services.iter().find(|known| known.name == service.name);
        let min_announcers = found.and_then(|known| known.min_announcers);
        service.vips.iter().map(move |vip| OwnVip {
            address: vip.address,
            service: service.name.to_string(),
            standing: vip.standing,
            min_announcers,
        })
    });
    Some(vips.collect())
}

/// Switches the forwarding of this host off, or with `None` on.
pub(super) async fn switch(off: Option<OffOrder>, context: &ControlContext) -> Response {
    let note = match &off {
        Some(_) => {
            "forwarding is switched off on this host until `announcer chain on`; packets whose way began at another member are still passed on"
        }
        None => "forwarding is no longer switched off on this host",
    };
    let (reply, done) = oneshot::channel();
    if context.chain_requests.send(ChainRequest { off, reply }).await.is_err() {
        return ending();
    }
    match done.await {
        Ok(Ok(())) => Response::Done { notes: vec![note.to_owned()] },
        Ok(Err(why)) => Response::error(ErrorCode::Failed, why),
        Err(_) => ending(),
    }
}
