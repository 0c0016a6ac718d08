//! Decides which clients the control socket serves, so that clients that send slowly do not block others.
//!
//! Pure. A client is admitted when it connects, and has a short time to send its request. If many clients do not send, the oldest
//! of them is disconnected after a short time, and the next client is served. So a command waits only for a fraction of a second,
//! also if many clients connect and send nothing.

use std::time::Duration;

use super::api::{ApiError, ErrorCode, Request};

/// How many clients may be sending their requests at the same time.
/// They cost a descriptor and some 40 KiB each.
pub const SENDERS: usize = 128;
/// How long a client may take to send its request.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take while others wait.
/// It is so short that 1,500 clients that send nothing cost the next one 0.1 s.
pub const GRACE: Duration = Duration::from_millis(5);

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
pub const OWN_PROGRAM: &str = "programs of checks and hooks, and other programs of the daemon's own user, may not use \
                               the control socket; run the command as root or as a member of group `announcer`";

/// Whether a client is a program of a check or a hook, by its user and the daemon's. They run as the daemon's user and, unless that
/// is root, no other client does. Root is an operator too, so a client of root is refused only if it is a descendant of the daemon.
/// This protects against mistakes of a hook, but not against a malicious hook, because root has other ways.
pub fn is_own_program(client: u32, daemon: u32, descends: bool) -> bool {
    client == daemon && (daemon != 0 || descends)
}

/// The command that only root may give, as root writes it; `None` if members of the group may send this request too. The group
/// reads and drains, which the next operator sees and can undo. A reload can change everything, and belongs to whoever may write
/// the configuration.
pub fn only_root(request: &Request) -> Option<&'static str> {
    match request {
        Request::Reload { dry_run: true, .. } => None,
        Request::Reload { force: false, .. } => Some("sudo announcer reload"),
        Request::Reload { force: true, .. } => Some("sudo announcer reload --force"),
        Request::Upgrade { .. } => Some("sudo announcer upgrade"),
        // At `trace` the log fills a disk.
        Request::Log { .. } => Some("sudo announcer log"),
        Request::Status
        | Request::Drain { .. }
        | Request::Undrain { .. }
        | Request::Waits
        | Request::Recheck { .. }
        | Request::Explain { .. }
        | Request::ExplainPeer { .. }
        | Request::History { .. }
        | Request::Chain
        | Request::Site
        | Request::SwitchChain(_)
        | Request::Events
        | Request::OpenApi => None,
    }
}

/// Decides whether a client may send a request, by its user.
///
/// # Errors
/// The refusal, which says what to write.
pub fn permitted(request: &Request, uid: u32) -> Result<(), ApiError> {
    match only_root(request) {
        Some(command) if uid != 0 => {
            let text = format!("only root may do this: write `{command}`");
            Err(ApiError::new(ErrorCode::Forbidden, text))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::successor::Successor;

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
    fn the_group_reads_and_drains_and_root_reloads() {
        let drain = Request::Undrain(crate::control::orders::UndrainOrder::default());
        let dry_run = Request::Reload { force: false, dry_run: true };
        let chain = Request::SwitchChain(crate::control::api::ChainOrder::default());
        for request in [Request::Status, Request::Events, drain, dry_run, chain] {
            assert_eq!(permitted(&request, 1000), Ok(()), "{request:?}");
        }
        for (force, command) in
            [(false, "`sudo announcer reload`"), (true, "`sudo announcer reload --force`")]
        {
            let request = Request::Reload { force, dry_run: false };
            assert_eq!(permitted(&request, 0), Ok(()));
            let error = permitted(&request, 1000).unwrap_err();
            assert_eq!(error.code, ErrorCode::Forbidden);
            assert_eq!(error.text, format!("only root may do this: write {command}"));
        }
        let upgrade = Request::Upgrade { successor: Successor::Installed, force: false };
        assert_eq!(permitted(&upgrade, 0), Ok(()));
        let error = permitted(&upgrade, 1000).unwrap_err();
        assert_eq!(error.text, "only root may do this: write `sudo announcer upgrade`");
        let log = Request::Log { filter: "trace".into(), seconds: 60 };
        assert_eq!(permitted(&log, 0), Ok(()));
        assert!(permitted(&log, 1000).is_err());
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
            (SENDERS, 4, Admission::After(GRACE - Duration::from_millis(4))),
            (SENDERS, 20, Admission::InPlaceOfTheOldest),
            (SENDERS + 1, 1000, Admission::InPlaceOfTheOldest),
        ] {
            assert_eq!(admit(&sending(count, oldest)), want, "{count} clients, {oldest} ms");
        }
    }
}
