//! The last changes of a VIP or of a router, as lines of an explanation.
//!
//! Pure.

use crate::control::api::{Change, WireTime};

/// How many changes are explained.
const MOST: usize = 10;

/// The lines about the newest changes that fit, the newest first; none if there was no change.
pub fn last_changes(changes: &[Change], fits: impl Fn(&Change) -> bool) -> Vec<String> {
    let newest: Vec<String> =
        changes.iter().rev().filter(|change| fits(change)).take(MOST).map(line).collect();
    let head = (!newest.is_empty()).then(|| "The last changes:".to_owned());
    head.into_iter().chain(newest).collect()
}

fn line(change: &Change) -> String {
    let Change { time, before, after, .. } = change;
    let word = |standing: &str| standing.replace('_', " ");
    let reason = change.reason.as_ref().map(|reason| format!(": {}", reason.text)).unwrap_or_default();
    let wire = match change.wire_ms {
        Some(WireTime { first, last }) if last > first => {
            format!("; the UPDATEs were written after {first:.1} to {last:.1} ms")
        }
        Some(WireTime { first, .. }) => format!("; the UPDATE was written after {first:.1} ms"),
        None => String::new(),
    };
    format!("    {time} {} -> {}{reason}{wire}", word(before), word(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{ChangeKind, ReasonStatus};

    fn change(id: u64, vip: &str, wire_ms: Option<WireTime>) -> Change {
        Change {
            id,
            time: format!("2026-01-31T12:00:{id:02}.000Z"),
            kind: ChangeKind::Standing,
            service: Some("www".into()),
            vip: Some(vip.parse().unwrap()),
            peer: None,
            drain: None,
            before: "announced".into(),
            after: "not_announced".into(),
            reason: Some(ReasonStatus { code: "unhealthy".into(), text: "HTTP 503".into() }),
            wire_ms,
        }
    }

    #[test]
    fn the_newest_ten_changes_of_the_vip_are_explained() {
        let all: Vec<Change> =
            (0..15).flat_map(|id| [change(id, "192.0.2.80", None), change(id, "192.0.2.81", None)]).collect();
        let vip = "192.0.2.80".parse().ok();
        let lines = last_changes(&all, |change| change.vip == vip);
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "The last changes:");
        assert_eq!(lines[1], "    2026-01-31T12:00:14.000Z announced -> not announced: HTTP 503");
        assert_eq!(lines[10], "    2026-01-31T12:00:05.000Z announced -> not announced: HTTP 503");
        assert_eq!(last_changes(&all, |change| change.peer.is_some()), Vec::<String>::new());
    }

    #[test]
    fn the_time_to_the_wire_is_that_of_the_first_and_the_last_router() {
        for (wire, want) in [
            (WireTime { first: 1.25, last: 1.25 }, "; the UPDATE was written after 1.2 ms"),
            (WireTime { first: 1.25, last: 7.0 }, "; the UPDATEs were written after 1.2 to 7.0 ms"),
        ] {
            let lines = last_changes(&[change(1, "192.0.2.80", Some(wire))], |_| true);
            assert!(lines[1].ends_with(want), "{lines:?}");
        }
    }
}
