//! The task that owns the list of the last changes: it hears of standings from the director and of ends from the drain folder's owner,
//! and reads the states of the sessions.
//!
//! Touches the wall clock, for people. It never waits for a reader: it publishes the list, and each reader reads it when it can.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::History;
use crate::bgp::fsm::StateName;
use crate::bgp::io::peers::Peers;
use crate::bgp::io::session::SessionReport;
use crate::control::api::{Change, ChangeKind, ReasonStatus};
use crate::director::StandingChange;
use crate::drain::ends::EndEvent;

/// The word of a VIP without a verdict since the start.
const STARTING: &str = "starting";

/// Changes that the director has made together.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The changes.
    pub changes: Vec<StandingChange>,
    /// When the fact was known that led to new routes; none if the routes stayed as they were.
    pub known: Option<Instant>,
}

/// What was last seen of a session.
#[derive(Debug, Clone, Copy)]
struct SessionSeen {
    state: StateName,
    established: u64,
    /// The newest fact whose UPDATEs were written.
    written: Option<Instant>,
}

/// Records changes until the sender of `batches` was dropped.
pub async fn run(
    mut batches: mpsc::Receiver<ChangeBatch>,
    mut ends: mpsc::Receiver<EndEvent>,
    mut peers: watch::Receiver<Peers>,
    history: watch::Sender<History>,
) {
    let mut seen = BTreeMap::new();
    let mut current = peers.borrow_and_update().clone();
    loop {
        tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => history.send_modify(|history| add(history, batch)),
                None => return,
            },
            Some(event) = ends.recv() => history.send_modify(|history| history.push(drain_end(&event), None)),
            changed = peers.changed() => match changed {
                Ok(()) => current = peers.borrow_and_update().clone(),
                Err(_) => return,
            },
            () = current.changed() => {}
        }
        history.send_if_modified(|history| look(history, &mut seen, &current));
    }
}

fn add(history: &mut History, ChangeBatch { changes, known }: ChangeBatch) {
    let time = now();
    // At a start, a VIP is looked for and then waits for its checks: one state in the words of `status`.
    let is_news =
        |change: &StandingChange| (change.before.word(), change.standing.word()) != (STARTING, STARTING);
    for change in changes.into_iter().filter(is_news) {
        let reason =
            ReasonStatus { code: change.standing.label().to_owned(), text: change.standing.to_string() };
        let entry = Change {
            id: 0, // it gets its number from the history
            time: time.clone(),
            kind: ChangeKind::Standing,
            service: Some(change.service.to_string()),
            vip: Some(change.vip),
            peer: None,
            drain: None,
            before: change.before.word().to_owned(),
            after: change.standing.word().to_owned(),
            reason: Some(reason),
            wire_ms: None,
        };
        history.push(entry, known);
    }
}

/// Compares the sessions with what was last seen of them. Whether there was news.
fn look(history: &mut History, seen: &mut BTreeMap<String, SessionSeen>, peers: &Peers) -> bool {
    let (end, mut now_seen) = (history.end(), BTreeMap::new());
    for (peer, status) in peers.iter() {
        let name = peer.name.to_string();
        let before = seen.remove(&name).unwrap_or(SessionSeen {
            state: StateName::Idle,
            established: 0,
            written: None,
        });
        session(history, &name, before, &status);
        let written = status.last_written.map(|cause| cause.known);
        if let Some(cause) = status.last_written.filter(|cause| before.written != Some(cause.known)) {
            let before = before.written.filter(|known| *known > status.since);
            history.written(before, cause.known, cause.written);
        }
        let state = SessionSeen { state: status.state, established: status.established, written };
        now_seen.insert(name, state);
    }
    // The peers that the configuration no longer names.
    for (name, before) in std::mem::replace(seen, now_seen) {
        if before.state == StateName::Established {
            let reason = ReasonStatus { code: "deconfigured".into(), text: "the peer was removed".into() };
            history.push(entry(&name, StateName::Established, StateName::Idle, Some(reason)), None);
        }
    }
    history.end() != end
}

/// Adds the changes of one session: whether it is established.
fn session(history: &mut History, name: &str, before: SessionSeen, status: &SessionReport) {
    let is_new = status.established > before.established;
    let (was, is) = (before.state == StateName::Established, status.state == StateName::Established);
    if was && (!is || is_new) {
        let reason = status
            .last_down
            .as_ref()
            .map(|down| ReasonStatus { code: down.why.label().to_owned(), text: down.why.to_string() });
        let after = if is { StateName::Idle } else { status.state };
        history.push(entry(name, StateName::Established, after, reason), None);
    }
    if is && (!was || is_new) {
        let before = if was { StateName::Idle } else { before.state };
        history.push(entry(name, before, StateName::Established, None), None);
    }
}

fn entry(name: &str, before: StateName, after: StateName, reason: Option<ReasonStatus>) -> Change {
    Change {
        id: 0, // it gets its number from the history
        time: now(),
        kind: ChangeKind::Session,
        service: None,
        vip: None,
        peer: Some(name.to_owned()),
        drain: None,
        before: before.to_string(),
        after: after.to_string(),
        reason,
        wire_ms: None,
    }
}

fn drain_end(event: &EndEvent) -> Change {
    let state = event.state;
    Change {
        id: 0, // it gets its number from the history
        time: now(),
        kind: ChangeKind::Drain,
        service: None,
        vip: None,
        peer: None,
        drain: Some(event.order.target.to_string()),
        before: "in_force".to_owned(),
        after: state.word().to_owned(),
        reason: Some(ReasonStatus { code: format!("drain_{}", state.word()), text: event.details() }),
        wire_ms: None,
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::standing::{NotAnnouncedReason, Standing};
    use crate::drain::ends::EndState;
    use crate::drain::{Drain, Drains};

    fn words(history: &History) -> Vec<String> {
        history.newest(usize::MAX).iter().map(Change::sentence).collect()
    }

    #[test]
    fn a_start_is_no_change_until_the_vip_has_left_it() {
        let change = |before: &Standing, standing: &Standing| StandingChange {
            service: "www".parse().unwrap(),
            vip: "192.0.2.80".parse().unwrap(),
            before: before.clone(),
            standing: standing.clone(),
        };
        let not_looked_for = Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into()));
        let drained = Standing::Drained(Drain::default().into());
        assert_eq!(not_looked_for.word(), STARTING);
        let mut history = History::default();
        let changes = vec![change(&not_looked_for, &not_looked_for), change(&not_looked_for, &drained)];
        add(&mut history, ChangeBatch { changes, known: None });
        assert_eq!(words(&history), ["www 192.0.2.80: starting -> drained, drained, no reason given"]);
    }

    #[test]
    fn the_end_of_a_drain_is_an_entry() {
        let text = "until: 2026-01-31T14:00:00Z\nby: ann\n".to_owned();
        let drains = Drains::from_files([("www@ann".to_owned(), Ok(text))]);
        let order = drains.iter().next().unwrap().clone();
        let mut history = History::default();
        history.push(drain_end(&EndEvent { order, state: EndState::EndsSoon }), None);
        assert_eq!(
            words(&history),
            ["drain of www: in_force -> ends_soon, by ann, its end is 2026-01-31T14:00:00Z"]
        );
        assert_eq!(history.newest(1)[0].reason.as_ref().unwrap().code, "drain_ends_soon");
    }
}
