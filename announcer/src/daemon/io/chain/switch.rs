//! The order of an operator to forward nothing from this host.
//!
//! Touches its file in the state directory.

use std::path::Path;

use tracing::{info, warn};

use super::{ChainChannels, ChainKeeper};
use crate::chain::io::ChainRequest;
use crate::chain::status::OffOrder;
use crate::files::io::{self as files, Files};

/// The longest file with that order, in octets.
const LONGEST_OFF: u64 = 65_536;
/// The file with that order, in the state directory.
const OFF: &str = "chain-off";

/// The order of a former process; `None`: there is none.
pub(super) async fn stored(files: &Files, state_dir: &Path) -> Option<OffOrder> {
    let off = files.read_text(&state_dir.join(OFF), LONGEST_OFF).await;
    off.ok().and_then(|text| serde_json::from_str(&text).ok())
}

impl ChainKeeper {
    /// Carries out the command of an operator.
    pub(super) async fn switch_forwarding(&mut self, request: ChainRequest, channels: &ChainChannels) {
        let ChainRequest { off, reply } = request;
        let stored = match &off {
            Some(order) => {
                let text = serde_json::to_string(order).unwrap_or_default();
                channels
                    .files
                    .run(&channels.state_dir, move |folder| files::replace(folder, OFF, &text))
                    .await
            }
            None => {
                channels.files.run(&channels.state_dir.join(OFF), |path| files::remove(path).map(drop)).await
            }
        };
        if let Err(why) = stored {
            let _ = reply.send(Err(format!("error: the order cannot be stored: {why}"))); // the client may have ended
            return;
        }
        match &off {
            Some(order) => warn!(reason = order.reason, by = order.by, "forwarding was switched off"),
            None => info!("forwarding was switched on"),
        }
        self.off = off;
        let changed = self.rules.switch(self.off.is_some(), channels).await;
        let _ = reply.send(changed.map_err(|why| format!("error: {why}")));
    }
}
