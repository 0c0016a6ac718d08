//! The functions that the fuzzer runs: each decoder of octets from outside, with the processing of its results.
//!
//! Pure, except for the allocator. `tests/decoders.rs` runs the same functions over the seeds.

#![allow(clippy::panic, reason = "a broken promise is a crash, which is what a fuzzer looks for")]

pub mod decoders;

use std::alloc::System;
use std::sync::Once;

use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// The most memory that the program may hold because of one input, in octets.
pub const MOST: usize = 1 << 20;

/// Runs `decode`; the process aborts when it holds more than [`MOST`] octets at any moment.
pub fn bounded(decode: impl FnOnce()) {
    static WORDS: Once = Once::new();
    WORDS.call_once(|| {
        let say = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The backtrace of a panic needs more memory than a message.
            let _ = MEMORY.set_limit(usize::MAX);
            say(panic);
        }));
    });
    let limit = MEMORY.allocated() + MOST;
    // This cannot fail, because no more than that is allocated.
    let _ = MEMORY.set_limit(limit);
    decode();
    let _ = MEMORY.set_limit(usize::MAX);
}
