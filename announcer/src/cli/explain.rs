//! `announcer explain`: the state of a VIP, a service or a router, in sentences.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, ask, json, unexpected};
use crate::control::api::{Request, Response, ServiceDetails, Status, VipDetails};
use crate::control::names;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The VIP's address, or the name of a service or a peer.
    #[arg(value_name = "VIP|SERVICE|PEER")]
    what: String,
    /// Of a VIP or a service, only what was sent to this router.
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn call(arguments: ExplainArguments, socket: &Path) -> Result<(), CommandError> {
    let ExplainArguments { what, peer, json: is_json } = arguments;
    let (text, lines) = match what.parse() {
        Ok(vip) => {
            let details = of_vip(socket, vip, peer)?;
            (json(&details), details.lines)
        }
        Err(_) => {
            let Response::Status { status } = ask(socket, &Request::Status, Duration::ZERO)? else {
                return Err(unexpected());
            };
            match status.services.iter().find(|service| service.name == what) {
                Some(service) => {
                    let vips = service.vips.iter().map(|vip| of_vip(socket, vip.address, peer.clone()));
                    let details = ServiceDetails { service: what, vips: vips.collect::<Result<_, _>>()? };
                    let lines: Vec<String> = details.vips.iter().map(|vip| vip.lines.join("\n")).collect();
                    (json(&details), vec![lines.join("\n\n")])
                }
                None if peer.is_none() => of_peer(socket, what, &status)?,
                None => {
                    return Err(CommandError::Usage("error: `--peer` is only for a VIP or a service".into()));
                }
            }
        }
    };
    output::line(if is_json { text } else { lines.join("\n") });
    Ok(())
}

fn of_vip(socket: &Path, vip: IpAddr, peer: Option<String>) -> Result<VipDetails, CommandError> {
    match ask(socket, &Request::Explain { vip, peer }, Duration::ZERO)? {
        Response::Vip(details) => Ok(*details),
        Response::Peer(_)
        | Response::Status { .. }
        | Response::History(_)
        | Response::Done { .. }
        | Response::OpenApi
        | Response::Waits(_)
        | Response::Chain(_)
        | Response::Site(_)
        | Response::Error(_) => Err(unexpected()),
    }
}

fn of_peer(socket: &Path, peer: String, status: &Status) -> Result<(String, Vec<String>), CommandError> {
    if status.peers.iter().all(|known| known.name != peer) {
        let known = status.services.iter().map(|service| service.name.as_str());
        let known = known.chain(status.peers.iter().map(|known| known.name.as_str()));
        return Err(CommandError::Usage(names::unknown("service, VIP or peer", &peer, known)));
    }
    match ask(socket, &Request::ExplainPeer { peer }, Duration::ZERO)? {
        Response::Peer(details) => Ok((json(&details), details.lines)),
        Response::Vip(_)
        | Response::Status { .. }
        | Response::History(_)
        | Response::Done { .. }
        | Response::OpenApi
        | Response::Waits(_)
        | Response::Chain(_)
        | Response::Site(_)
        | Response::Error(_) => Err(unexpected()),
    }
}
