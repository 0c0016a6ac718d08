//! The thread that sends BFD packets and heartbeats, so that they leave on time whatever the main thread does.
//!
//! Pure; [`io`] has the thread.

use std::fmt;

pub mod io;

/// How the thread is scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduling {
    /// SCHED_RR: packets leave on time on a busy host too.
    RealTime,
    /// Like every other process, because the kernel has refused SCHED_RR for this reason.
    Ordinary(SchedulingRefusal),
}

/// Why the kernel has refused SCHED_RR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchedulingRefusal {
    /// The process does not have CAP_SYS_NICE.
    NoCapability,
    /// sched_setscheduler itself is forbidden, for example by `SystemCallFilter=` or `RestrictRealtime=`.
    Filter,
    /// The process has CAP_SYS_NICE and may call sched_setscheduler. A kernel with RT_GROUP_SCHED refuses it outside of the root
    /// control group.
    ControlGroup,
    /// Another error.
    Other(String),
}

impl fmt::Display for SchedulingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchedulingRefusal::NoCapability => {
                f.write_str("the process has no CAP_SYS_NICE; the unit of this version gives it")
            }
            SchedulingRefusal::Filter => f.write_str(
                "a filter of the service manager forbids it; the unit needs `RestrictRealtime=no` and `SystemCallFilter=sched_setscheduler`",
            ),
            SchedulingRefusal::ControlGroup => f.write_str(
                "the kernel refused it although the process has CAP_SYS_NICE; a kernel with RT_GROUP_SCHED refuses it outside of the root control group",
            ),
            SchedulingRefusal::Other(error) => f.write_str(error),
        }
    }
}
