//! `announcer explain`: the state of a VIP or a router, in sentences.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, no, print_answer};
use crate::control::api::Request;
use crate::control::io::client;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The VIP's address, or the name of a peer.
    #[arg(value_name = "VIP|PEER")]
    what: String,
    /// Of a VIP, only what was sent to this router.
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
}

pub(super) fn call(arguments: ExplainArguments, socket: &Path) -> Result<(), CommandError> {
    let ExplainArguments { what, peer } = arguments;
    let request = match what.parse() {
        Ok(vip) => Request::Explain { vip, peer },
        Err(_) if peer.is_none() => Request::ExplainPeer { peer: what },
        Err(_) => return Err(CommandError::Usage("error: `--peer` is only for a VIP".into())),
    };
    print_answer(client::ask(socket, &request, Duration::ZERO).map_err(no)?)
}
