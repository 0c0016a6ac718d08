//! Returns freed memory to the kernel.
//!
//! Touches the allocator. glibc keeps most of the freed memory: about 10 MB after reading a configuration of 1,000 services, and
//! again after an answer to `status --json`. malloc_trim(3) returns it. Code that has freed much memory calls [`Trimmer::soon`];
//! the task of [`run`] trims a moment later, on another thread.

#![allow(unsafe_code, reason = "malloc_trim has no safe interface")]

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// How long a trim waits until more memory is freed; also the shortest time between two trims.
const PAUSE: Duration = Duration::from_secs(2);

/// Requests a trim. Clones use the same task.
#[derive(Debug, Clone, Default)]
pub struct Trimmer(Arc<Notify>);

impl Trimmer {
    /// Much was freed, or will be within [`PAUSE`].
    pub fn soon(&self) {
        self.0.notify_one();
    }
}

/// Trims on request; never returns.
pub async fn run(trimmer: Trimmer) {
    loop {
        trimmer.0.notified().await;
        sleep(PAUSE).await;
        let _ = tokio::task::spawn_blocking(trim).await; // a failed trim has changed nothing
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: malloc_trim takes a number and touches only memory that is free; it may be called on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators return memory by themselves, or cannot return it.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_is_given_back() {
        // The memory of other tests would be counted too.
        crate::own_process::in_own_process("memory::io::tests::alone_with_much_memory", "");
    }

    #[tokio::test(start_paused = true)]
    #[ignore = "runs alone"]
    async fn alone_with_much_memory() {
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let trimmer = Trimmer::default();
        let task = tokio::spawn(run(trimmer.clone()));
        // Some pieces are kept, so that the free memory between them is not at the end of the heap.
        let pieces: Vec<Vec<u8>> = (0..20_000).map(|_| vec![1; 4000]).collect();
        let full = resident();
        let kept: Vec<Vec<u8>> = pieces.into_iter().step_by(100).collect();
        for _ in 0..100 {
            trimmer.soon();
            sleep(PAUSE).await;
            if resident() + 50_000_000 < full {
                break;
            }
        }
        assert!(
            resident() + 50_000_000 < full,
            "{} of {full} octets are resident, {}",
            resident(),
            kept.len()
        );
        assert!(!task.is_finished());
    }
}
