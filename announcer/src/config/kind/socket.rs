//! The words of a failed connection to a unix socket, which the kinds share that can have one as their `target`.
//!
//! Pure. Every text reads as the middle of a sentence. A socket is a file, so a probe can fail for reasons that a port does not have.

use std::fmt;

use super::interface::{FailureWord, ProbeContext, Word};

/// Why there is no connection to a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is no such file (ENOENT, ENOTDIR).
    Missing,
    /// The socket is there, and nobody listens on it (ECONNREFUSED); a file that is no socket gives the same.
    Refused,
    /// The daemon's user may not connect (EACCES).
    Forbidden,
    /// The server accepts too slowly: its queue of connections is full (EAGAIN).
    QueueFull,
    /// The socket is one for datagrams (EPROTOTYPE).
    NotStream,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![Failure::Missing, Failure::Refused, Failure::Forbidden, Failure::QueueFull, Failure::NotStream]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Missing => "socket_missing",
            Failure::Refused => "refused",
            Failure::Forbidden => "socket_forbidden",
            Failure::QueueFull => "queue_full",
            Failure::NotStream => "not_stream",
        }
    }

    fn hint(&self, _asked: &ProbeContext) -> Option<String> {
        let hint = match self {
            Failure::Missing => {
                "if the socket is below `/tmp`, `/var/tmp` or `/home`, the unit of announcer hides it from the daemon: put it below `/run`"
            }
            Failure::Refused => {
                "its server has ended, or the file is not a socket: `ss -xl` lists who listens"
            }
            Failure::Forbidden => {
                "the user `announcer` needs write permission on the socket, and search permission on the folders above it: `usermod -aG GROUP announcer` with the group of the socket, and restart the daemon"
            }
            Failure::QueueFull => "the server hangs or is overloaded",
            Failure::NotStream => return None,
        };
        Some(hint.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Missing => "the socket does not exist",
            Failure::Refused => "nobody listens on the socket",
            Failure::Forbidden => "announcer is not permitted to connect to the socket",
            Failure::QueueFull => "the queue of connections of the socket is full",
            Failure::NotStream => "the socket is not one for connections (SOCK_STREAM)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::FirstOctets;
    use super::*;

    #[test]
    fn each_failure_has_its_label_its_text_and_what_to_do() {
        let want = [
            ("socket_missing", "the socket does not exist", "put it below `/run`"),
            ("refused", "nobody listens on the socket", "`ss -xl`"),
            ("socket_forbidden", "announcer is not permitted to connect to the socket", "`usermod -aG"),
            ("queue_full", "the queue of connections of the socket is full", "hangs or is overloaded"),
            ("not_stream", "the socket is not one for connections (SOCK_STREAM)", ""),
        ];
        let failures = Failure::examples();
        assert_eq!(failures.len(), want.len());
        for (failure, (label, text, hint)) in failures.iter().zip(want) {
            match failure {
                // A new variant does not compile before it is here, and then in the examples and above.
                Failure::Missing | Failure::Refused | Failure::Forbidden => {}
                Failure::QueueFull | Failure::NotStream => {}
            }
            assert_eq!((failure.label(), failure.to_string().as_str()), (label, text));
            let said = failure.hint(&ProbeContext::of_test(FirstOctets::Other)).unwrap_or_default();
            assert!(said.contains(hint) && said.is_empty() == hint.is_empty(), "{said}");
        }
    }
}
