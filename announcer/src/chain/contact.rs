//! What is known of a member that is not heard: whether its kernel answers, and why what arrives from it does not count.
//!
//! Pure. A member that is silent is asked by [`Member`](super::member::Member), which decides whether it lives; one that is dead, or was
//! never heard, is asked here, for people alone: if its kernel answers, something else keeps its heartbeats away.

use std::time::{Duration, Instant};

use super::heartbeat::HeartbeatDropReason;
use super::member::MemberState;

/// How often the kernel of a member that is not heard is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// For how long a datagram that did not count is remembered.
const REMEMBERED: Duration = Duration::from_secs(5);

/// What is said of a member that is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContactReport {
    /// Whether its kernel has answered when it was asked last; `None`: it was not asked yet.
    pub kernel_answers: Option<bool>,
    /// Why the last datagram from its address did not count; `None`: none has arrived in the last 5 s.
    pub dropped: Option<HeartbeatDropReason>,
}

/// What is known of one member.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    asked: Option<Instant>,
    kernel_answers: Option<bool>,
    dropped: Option<(HeartbeatDropReason, Instant)>,
}

impl Contact {
    /// A heartbeat has counted.
    pub fn heard(&mut self) {
        *self = Contact::default();
    }

    /// A datagram from its address did not count.
    pub fn dropped(&mut self, reason: HeartbeatDropReason, now: Instant) {
        self.dropped = Some((reason, now));
    }

    /// Its kernel was asked, and this is whether it has answered.
    pub fn kernel_answered(&mut self, answered: bool) {
        self.kernel_answers = Some(answered);
    }

    /// Whether its kernel is to be asked now.
    pub fn ask(&mut self, state: MemberState, now: Instant) -> bool {
        let unheard = match state {
            MemberState::Unknown | MemberState::Dead => true,
            MemberState::Alive | MemberState::Asked | MemberState::Silent | MemberState::Left => false,
        };
        let due = unheard && self.asked.is_none_or(|asked| now >= asked + ASK_EVERY);
        if due {
            self.asked = Some(now);
        }
        due
    }

    /// What is known now.
    pub fn report(&self, now: Instant) -> ContactReport {
        let recent = self.dropped.filter(|(_, at)| now < *at + REMEMBERED);
        ContactReport { kernel_answers: self.kernel_answers, dropped: recent.map(|(reason, _)| reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_a_member_that_is_not_heard_is_asked_every_five_seconds() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut contact = Contact::default();
        for state in MemberState::ALL {
            let unheard = [MemberState::Unknown, MemberState::Dead].contains(&state);
            assert_eq!(contact.clone().ask(state, begin), unheard, "{state}");
        }
        assert!(contact.ask(MemberState::Unknown, at(0)));
        assert!(!contact.ask(MemberState::Unknown, at(4)));
        assert!(contact.ask(MemberState::Dead, at(5)));
        assert_eq!(contact.report(at(5)), ContactReport::default());
        contact.kernel_answered(true);
        contact.dropped(HeartbeatDropReason::Hmac, at(6));
        let report = |dropped| ContactReport { kernel_answers: Some(true), dropped };
        assert_eq!(contact.report(at(10)), report(Some(HeartbeatDropReason::Hmac)));
        assert_eq!(contact.report(at(11)), report(None));
        contact.kernel_answered(false);
        assert_eq!(contact.report(at(11)).kernel_answers, Some(false));
        contact.heard();
        assert_eq!(contact.report(at(11)), ContactReport::default());
    }
}
