//! The order to switch the forwarding of this host off or on.
//!
//! Pure.

use crate::chain::status::OffOrder;
use crate::control::api::{ApiError, ChainOrder, ErrorCode};
use crate::control::orders::OrderFacts;
use crate::drain;
use crate::model::text;

/// The answer to every question about the chain while there is none.
pub const NOT_CONFIGURED: &str =
    "no chain is configured: `[chain]` of the configuration lists the frontends that forward to each other";

/// What is stored: an order to forward nothing, or `None` to forward again.
///
/// # Errors
/// When it has no reason although it switches off, or a reason although it switches on, or a reason that is too long.
pub fn off_order(order: &ChainOrder, facts: &OrderFacts) -> Result<Option<OffOrder>, ApiError> {
    let wrong = |text: &str| ApiError::new(ErrorCode::BadRequest, text);
    match (order.off, order.reason.as_deref().map(str::trim)) {
        (true, None | Some("")) => Err(wrong("write a reason, so that other operators know when it may end")),
        (true, Some(reason)) => {
            let reason = drain::reason(reason).map_err(|why| wrong(&why))?;
            Ok(Some(OffOrder {
                reason: text::one_line(&reason, text::LINE),
                by: facts.operator.to_string(),
                at: humantime::format_rfc3339_seconds(facts.now).to_string(),
            }))
        }
        (false, Some(_)) => Err(wrong("a reason is only for switching the chain off")),
        (false, None) => Ok(None),
    }
}
