//! `announcer history`: the last changes, their causes, and the time until the routers' connections had them.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, ask, json, unexpected};
use crate::control::api::{Change, Request, Response};

#[derive(Debug, Args)]
pub(super) struct HistoryArguments {
    /// How many changes to print, the newest; without it, all that the daemon has.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn call(arguments: &HistoryArguments, socket: &Path) -> Result<(), CommandError> {
    let request = Request::History { limit: arguments.limit };
    let Response::History(list) = ask(socket, &request, Duration::ZERO)? else { return Err(unexpected()) };
    if arguments.json {
        output::line(json(&list));
    } else {
        list.changes.iter().for_each(|change| output::line(line(change)));
    }
    Ok(())
}

/// One change in one line, as in `2026-01-01T00:00:00.000Z  www 192.0.2.80: announced -> not_announced, 3 of 3 probes failed
/// (written to the first router after 1.2 ms, to the last after 3.4 ms)`.
fn line(change: &Change) -> String {
    let wire = change.wire_ms.map(|wire| {
        format!(" (written to the first router after {} ms, to the last after {} ms)", wire.first, wire.last)
    });
    format!("{}  {}{}", change.time, change.sentence(), wire.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{ChangeKind, ReasonStatus, WireTime};

    #[test]
    fn a_change_is_a_line() {
        let session = Change {
            id: 1,
            time: "2026-01-01T00:00:00.000Z".into(),
            kind: ChangeKind::Session,
            service: None,
            vip: None,
            peer: Some("r1".into()),
            drain: None,
            before: "OpenConfirm".into(),
            after: "Established".into(),
            reason: None,
            wire_ms: None,
        };
        assert_eq!(line(&session), "2026-01-01T00:00:00.000Z  r1: OpenConfirm -> Established");
        let standing = Change {
            kind: ChangeKind::Standing,
            service: Some("www".into()),
            vip: Some("192.0.2.80".parse().unwrap()),
            peer: None,
            before: "announced".into(),
            after: "drained".into(),
            reason: Some(ReasonStatus { code: "drained".into(), text: "drained by ann".into() }),
            wire_ms: Some(WireTime { first: 1.25, last: 3.5 }),
            ..session
        };
        assert_eq!(
            line(&standing),
            "2026-01-01T00:00:00.000Z  www 192.0.2.80: announced -> drained, drained by ann (written to the first router \
             after 1.25 ms, to the last after 3.5 ms)"
        );
    }
}
