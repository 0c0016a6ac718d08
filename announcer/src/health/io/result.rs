//! The common parts of the probes: their results, and the meaning of kernel errors.
//!
//! Pure, except for the type of the errors.

use std::error::Error;
use std::io;
use std::iter::successors;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::error::Elapsed;

use crate::config::kind::{self, Answer, Warning};
use crate::health::outcome::{Outcome, Reason, Shortage, TimeoutPhase};
use crate::time_limit::STOOD_STILL;

/// The result of a probe that did not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProbeError {
    Fail(Reason),
    TimedOut(TimeoutPhase),
    Skip(Shortage),
}

/// The result of a probe that passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProbeSuccess {
    pub(super) answer: Answer,
    pub(super) warning: Option<Warning>,
}

impl<T: Into<Answer>> From<T> for ProbeSuccess {
    fn from(answer: T) -> Self {
        ProbeSuccess { answer: answer.into(), warning: None }
    }
}

impl ProbeError {
    /// A failure with a word of its kind.
    pub(super) fn of(failure: impl Into<kind::Failure>) -> Self {
        ProbeError::Fail(Reason::Kind(failure.into()))
    }
}

/// The outcome of a probe that `took` so long, with its `timeout`; `waiting` is the wait that a timeout has ended.
///
/// The result of every kind of probe comes here. If it comes much later than its time limit, announcer stood still: the timers are
/// handled before the sockets, so the answer may have arrived in time. Such a probe says nothing about the server, unless it passed.
pub(super) fn outcome(
    ended: Result<Result<impl Into<ProbeSuccess>, ProbeError>, Elapsed>,
    waiting: TimeoutPhase,
    timeout: Duration,
    took: Duration,
) -> Outcome {
    let reason = match ended {
        Ok(Ok(passed)) => {
            let ProbeSuccess { answer, warning } = passed.into();
            return Outcome::Pass { answer, warning, took };
        }
        Ok(Err(ProbeError::Skip(shortage))) => return Outcome::Skipped(shortage),
        _ if took > timeout + STOOD_STILL => return Outcome::Skipped(Shortage::Processor),
        Ok(Err(ProbeError::Fail(reason))) => reason,
        Ok(Err(ProbeError::TimedOut(waiting))) => Reason::TimedOut { waiting, after: timeout },
        Err(_) => Reason::TimedOut { waiting, after: timeout },
    };
    Outcome::Fail { reason, took }
}

/// The text for an error that should have a kernel error number, but has none.
const NO_ERRNO: &str = "the kernel refused it, and gave no reason";

/// The reason for an error of a system call that has no reason of its own: its error number.
pub(super) fn kernel_reason(error: &io::Error) -> Reason {
    error.raw_os_error().map_or(Reason::Other(NO_ERRNO), |errno| Reason::Os(Errno::from_raw(errno)))
}

/// The meaning of an error of a system call on our socket; none if the error has another origin.
pub(super) fn of_kernel(error: &io::Error) -> Option<ProbeError> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    if let Some(shortage) = Shortage::of(errno) {
        return Some(ProbeError::Skip(shortage));
    }
    if errno == Errno::ETIMEDOUT {
        return Some(ProbeError::TimedOut(TimeoutPhase::Connection));
    }
    let known = [
        (Errno::ECONNREFUSED, Reason::Refused),
        (Errno::ECONNRESET, Reason::Reset),
        (Errno::EPIPE, Reason::Closed),
        (Errno::EADDRNOTAVAIL, Reason::VipMissing), // from bind(2), because a probe's socket is bound to the VIP
    ];
    let reason = known.into_iter().find(|(known, _)| *known == errno).map(|(_, reason)| reason);
    Some(ProbeError::Fail(reason.unwrap_or(Reason::Os(errno))))
}

/// The same for an error that a library has wrapped.
pub(super) fn errno_of(error: &(dyn Error + 'static)) -> Option<ProbeError> {
    causes(error).filter_map(|cause| cause.downcast_ref()).find_map(of_kernel)
}

/// Whether an error of this kind is among the causes.
pub(super) fn of_kind(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref()).any(|cause: &io::Error| cause.kind() == kind)
}

/// The first cause of a type.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// An error and its causes.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        // The source of this error skips the error inside it.
        Some(within) => Some(within as &(dyn Error + 'static)),
        None => (*error).source(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_limit_that_is_noticed_late_says_nothing_about_the_server() {
        let timeout = Duration::from_secs(1);
        let over = || tokio::time::timeout(Duration::ZERO, std::future::pending());
        let passed = || ProbeSuccess { answer: kind::file::Answer::Exists.into(), warning: None };
        let failed = Outcome::Skipped(Shortage::Processor);
        for (late, is_skipped) in [(0, false), (500, false), (501, true), (4000, true)] {
            let took = timeout + Duration::from_millis(late);
            let ended: [Result<Result<ProbeSuccess, ProbeError>, Elapsed>; 4] = [
                over().await,                                            // http, tcp, tls, file
                Ok(Err(ProbeError::TimedOut(TimeoutPhase::Exit))),       // exec
                Ok(Err(ProbeError::TimedOut(TimeoutPhase::Connection))), // the time limit of a connection in HTTP
                Ok(Err(ProbeError::Fail(Reason::Closed))), // by a server whose own time limit ended
            ];
            for ended in ended {
                let outcome = outcome(ended, TimeoutPhase::Answer, timeout, took);
                assert_eq!(outcome == failed, is_skipped, "{late} ms: {outcome:?}");
            }
            let pass = outcome(Ok(Ok(passed())), TimeoutPhase::Answer, timeout, took);
            assert!(matches!(pass, Outcome::Pass { .. }), "an answer counts: {pass:?}");
        }
    }

    #[test]
    fn errors_of_the_kernel_have_their_meaning() {
        let fail = |reason| Some(ProbeError::Fail(reason));
        for (errno, want) in [
            (Errno::EMFILE, Some(ProbeError::Skip(Shortage::Files))),
            (Errno::ENFILE, Some(ProbeError::Skip(Shortage::Files))),
            (Errno::ENOMEM, Some(ProbeError::Skip(Shortage::Memory))),
            (Errno::ENOBUFS, Some(ProbeError::Skip(Shortage::Memory))),
            (Errno::EADDRINUSE, Some(ProbeError::Skip(Shortage::Ports))),
            (Errno::EADDRNOTAVAIL, fail(Reason::VipMissing)),
            (Errno::ECONNREFUSED, fail(Reason::Refused)),
            (Errno::EPIPE, fail(Reason::Closed)),
            (Errno::EPERM, fail(Reason::Os(Errno::EPERM))),
            (Errno::ETIMEDOUT, Some(ProbeError::TimedOut(TimeoutPhase::Connection))),
        ] {
            assert_eq!(of_kernel(&io::Error::from_raw_os_error(errno as i32)), want);
        }
        assert_eq!(of_kernel(&io::Error::other("no errno")), None);
    }

    #[test]
    fn a_cause_is_found_in_what_is_wrapped_twice() {
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "gone");
        let wrapped = io::Error::other(io::Error::other(eof));
        assert!(of_kind(&wrapped, io::ErrorKind::UnexpectedEof));
        assert!(!of_kind(&wrapped, io::ErrorKind::TimedOut));
        let wrapped = io::Error::other(io::Error::from_raw_os_error(Errno::ECONNRESET as i32));
        assert_eq!(errno_of(&wrapped), Some(ProbeError::Fail(Reason::Reset)));
        assert_eq!(errno_of(&io::Error::other("no errno")), None);
    }
}
