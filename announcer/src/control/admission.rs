//! Decides which clients the control socket serves, so that clients that send slowly do not block others.
//!
//! Pure. A client is admitted when it connects, and has a short time to send its request. If many clients do not send, the oldest
//! of them is disconnected after a short time, and the next client is served. So a command waits only for a fraction of a second,
//! also if many clients connect and send nothing.

use std::time::Duration;

/// How many clients may be sending their requests at the same time.
pub const SENDERS: usize = 64;
/// How long a client may take to send its request.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take while others wait.
pub const GRACE: Duration = Duration::from_millis(50);

/// Whether the next client can be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It can.
    Now,
    /// It can, after the client that has been sending for the longest time is disconnected.
    InPlaceOfTheOldest,
    /// The decision is possible after this time.
    After(Duration),
}

/// Decides from the time for which each client has been sending, the longest first.
pub fn admit(sending: &[Duration]) -> Admission {
    match sending.first() {
        Some(oldest) if sending.len() >= SENDERS && *oldest < GRACE => Admission::After(GRACE - *oldest),
        Some(_) if sending.len() >= SENDERS => Admission::InPlaceOfTheOldest,
        Some(_) | None => Admission::Now,
    }
}

/// Why a program of a check or a hook is refused.
pub const OWN_PROGRAM: &str = "error: programs of checks and hooks, and other programs of the daemon's own user, may not use \
                               the control socket; run the command as root or as a member of group `announcer`";

/// Why another user may not change the level of the log: at `trace` it fills a disk.
pub const ROOT_ONLY: &str = "error: only root may change the level of the log; run the command as root";

/// Whether a client may change the level of the log, by its user.
pub fn may_change_log(client: u32) -> bool {
    client == 0
}

/// Whether a client is a program of a check or a hook, by its user and the daemon's. They run as the daemon's user and, unless that
/// is root, no other client does. Root is an operator too, so a client of root is refused only if it is a descendant of the daemon.
/// This protects against mistakes of a hook, but not against a malicious hook, because root has other ways.
pub fn is_own_program(client: u32, daemon: u32, descends: bool) -> bool {
    client == daemon && (daemon != 0 || descends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_daemon_s_own_user_is_refused_and_an_operator_is_not() {
        for (client, daemon, descends, want) in [
            (998, 998, false, true),
            (998, 998, true, true),
            (0, 998, false, false),
            (65534, 998, false, false),
            (0, 0, false, false),
            (0, 0, true, true),
            (65534, 0, true, false), // the socket's mode refuses it
        ] {
            assert_eq!(is_own_program(client, daemon, descends), want, "{client} {daemon} {descends}");
        }
    }

    #[test]
    fn only_root_changes_the_level_of_the_log() {
        assert!(may_change_log(0));
        assert!(!may_change_log(998) && !may_change_log(65534));
    }

    #[test]
    fn the_oldest_makes_room_after_its_grace() {
        let sending = |count: usize, oldest: u64| {
            let mut all = vec![Duration::from_millis(1); count];
            all.iter_mut().take(1).for_each(|age| *age = Duration::from_millis(oldest));
            all
        };
        for (count, oldest, want) in [
            (0, 0, Admission::Now),
            (SENDERS - 1, 1000, Admission::Now),
            (SENDERS, 10, Admission::After(Duration::from_millis(40))),
            (SENDERS, 50, Admission::InPlaceOfTheOldest),
            (SENDERS + 1, 1000, Admission::InPlaceOfTheOldest),
        ] {
            assert_eq!(admit(&sending(count, oldest)), want, "{count} clients, {oldest} ms");
        }
    }
}
