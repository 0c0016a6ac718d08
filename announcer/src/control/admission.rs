//! Who is served at the control socket, and how clients that send slowly are kept from standing in the way of others.
//!
//! Pure. A client is admitted when it connects, and has a short time to send its request. Where many do not, the oldest of them
//! is let go after a grace, so that the next one is served: however many connect and say nothing, a command waits for a
//! fraction of a second.

use std::time::Duration;

/// How many clients may be sending their request at a time.
pub const SENDERS: usize = 64;
/// How long a client may take to send its request.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take where others wait.
pub const GRACE: Duration = Duration::from_millis(50);

/// Whether the next client can be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It can.
    Now,
    /// It can, once the client that has been sending for the longest time is let go.
    InPlaceOfTheOldest,
    /// It can be decided after this time.
    After(Duration),
}

/// Decides by how long each client that is still sending has been sending, the longest first.
pub fn admit(sending: &[Duration]) -> Admission {
    match sending.first() {
        Some(oldest) if sending.len() >= SENDERS && *oldest < GRACE => Admission::After(GRACE - *oldest),
        Some(_) if sending.len() >= SENDERS => Admission::InPlaceOfTheOldest,
        Some(_) | None => Admission::Now,
    }
}

/// Why a program of a check or a hook is refused.
pub const OWN_PROGRAM: &str = "error: the control socket is not for the programs of checks and hooks, nor for others of the \
     daemon's own user; run the command as root or as a member of group `announcer`";

/// Whether a client is a program of a check or a hook, by its user and the daemon's. They have the daemon's user and, unless that
/// is root, nobody else has. Root is an operator too: a client of root is refused if it descends from the daemon. That keeps a
/// hook from a mistake, and not from malice, which root has other ways for.
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
            (65534, 0, true, false), // by the socket's mode
        ] {
            assert_eq!(is_own_program(client, daemon, descends), want, "{client} {daemon} {descends}");
        }
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
