//! Ambient capabilities: those that a program gets which this thread executes.
//!
//! Touches the capabilities of the calling thread. A start clears the ambient set, so that programs of checks and hooks get none
//! ([`limits`](crate::daemon)). Without that set, execve(2) of a user who is not root drops every capability (capabilities(7)).

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, set_capabilities,
};
use tracing::warn;

/// Some capabilities of this thread are ambient, until this is dropped.
#[derive(Debug)]
pub struct AmbientCapabilities {
    before: CapabilitySets,
    changed: bool,
}

impl AmbientCapabilities {
    /// Raises those of `wanted` that this thread may use.
    ///
    /// # Errors
    /// Those of the kernel. Then the thread is as before.
    pub fn raise(wanted: CapabilitySet) -> io::Result<Self> {
        let before = capabilities(None)?;
        let wanted = before.permitted & before.effective & wanted;
        let inheritable = before.inheritable | wanted;
        // Under the unit, systemd has made them inheritable, and capset(2) is forbidden.
        let changed = inheritable != before.inheritable;
        if changed {
            set_capabilities(None, CapabilitySets { inheritable, ..before })?;
        }
        let raised = AmbientCapabilities { before, changed };
        for capability in each(wanted) {
            configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(raised)
    }
}

impl Drop for AmbientCapabilities {
    fn drop(&mut self) {
        let cleared = clear_ambient_capability_set();
        let restored = if self.changed { set_capabilities(None, self.before) } else { Ok(()) };
        if let Err(error) = cleared.and(restored) {
            warn!(%error, "programs of checks have the daemon's capabilities");
        }
    }
}

fn each(set: CapabilitySet) -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)).filter(move |one| set.contains(*one))
}
