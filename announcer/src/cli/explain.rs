//! `announcer explain`: the state of a VIP or a router, in sentences.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, ask, json, unexpected};
use crate::control::api::{Request, Response};

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The VIP's address, or the name of a peer.
    #[arg(value_name = "VIP|PEER")]
    what: String,
    /// Of a VIP, only what was sent to this router.
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn call(arguments: ExplainArguments, socket: &Path) -> Result<(), CommandError> {
    let ExplainArguments { what, peer, json: is_json } = arguments;
    let request = match what.parse() {
        Ok(vip) => Request::Explain { vip, peer },
        Err(_) if peer.is_none() => Request::ExplainPeer { peer: what },
        Err(_) => return Err(CommandError::Usage("error: `--peer` is only for a VIP".into())),
    };
    let (text, lines) = match ask(socket, &request, Duration::ZERO)? {
        Response::Vip(details) => (json(&details), details.lines),
        Response::Peer(details) => (json(&details), details.lines),
        Response::Status { .. }
        | Response::History(_)
        | Response::Done { .. }
        | Response::OpenApi
        | Response::Waits(_)
        | Response::Error(_) => return Err(unexpected()),
    };
    output::line(if is_json { text } else { lines.join("\n") });
    Ok(())
}
