//! `/livez` and `/readyz`.
//!
//! Touches the clock.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::timeout;

use super::MetricsContext;
use crate::delivery::deliveries;
use crate::director::Figures;
use crate::director::ask::{Ask, ask};

/// How long the director may take to answer.
const ALIVE: Duration = Duration::from_secs(2);

const SILENT: &str = "the director did not answer within 2s\n";

/// Whether the loops turn. A drain or lost sessions do not matter: a restart would not help.
pub(super) async fn live(context: &MetricsContext) -> (StatusCode, String) {
    match figures(context).await {
        Some(_) => (StatusCode::OK, "the director answers\n".to_owned()),
        None => (StatusCode::SERVICE_UNAVAILABLE, SILENT.to_owned()),
    }
}

/// Whether at least one VIP was sent to a router.
pub(super) async fn ready(context: &MetricsContext) -> (StatusCode, String) {
    let Some(figures) = figures(context).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, SILENT.to_owned());
    };
    let routers = context.control.peers.borrow().routers();
    let (mut all, mut sent) = (0, 0);
    for (_, _, delivery) in deliveries(&figures, &routers) {
        all += 1;
        sent += usize::from(delivery.acknowledged() > 0);
    }
    let status = if sent > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{sent} of {all} VIPs were sent to a router; `announcer status` says why\n"))
}

async fn figures(context: &MetricsContext) -> Option<Figures> {
    timeout(ALIVE, ask(&context.control.asks, Ask::Figures)).await.ok()?
}
