//! Real-time scheduling of the thread: SCHED_RR, which comes before every ordinary process of the host.
//!
//! Touches the calling thread. This file has `unsafe` code. sched(7), capabilities(7).

#![allow(unsafe_code, reason = "sched_setscheduler has no safe interface in a kept crate")]

use std::io;

use rustix::thread::CapabilitySet;

use crate::realtime::{Scheduling, SchedulingRefusal};

/// Above every ordinary process, and below the kernel's own threads, whose priority is 50.
const PRIORITY: libc::c_int = 10;

/// Asks for SCHED_RR for the calling thread. Its children are scheduled in the ordinary way (SCHED_RESET_ON_FORK).
pub(super) fn real_time() -> Scheduling {
    let refused = match set(libc::SCHED_RR, PRIORITY) {
        Ok(()) => return Scheduling::RealTime,
        Err(error) => error,
    };
    if refused.raw_os_error() != Some(libc::EPERM) {
        return Scheduling::Ordinary(SchedulingRefusal::Other(refused.to_string()));
    }
    let nice =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE));
    // SCHED_OTHER is what the thread has, so that only a filter refuses it.
    Scheduling::Ordinary(match (nice, set(libc::SCHED_OTHER, 0)) {
        (_, Err(_)) => SchedulingRefusal::Filter,
        (false, Ok(())) => SchedulingRefusal::NoCapability,
        (true, Ok(())) => SchedulingRefusal::ControlGroup,
    })
}

fn set(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread, and the kernel only reads `parameters`, which lives until the call returns.
    let result = unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_is_scheduled_as_it_says() {
        let scheduling = std::thread::spawn(|| (real_time(), policy())).join().unwrap();
        match scheduling {
            (Scheduling::RealTime, policy) => assert_eq!(policy, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK),
            (Scheduling::Ordinary(refusal), policy) => {
                assert_eq!(policy & libc::SCHED_RR, 0, "{refusal}");
                assert!(!refusal.to_string().is_empty());
            }
        }
    }

    fn policy() -> libc::c_int {
        // SAFETY: 0 is the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }
}
