//! Runs a simulation with many seeds, on all processors if not told otherwise, or with one seed.
//!
//! `SEEDS=n` says how many, `FIRST_SEED=n` where they begin, `THREADS=n` on how many processors they run, and `SEED=n` runs only that seed
//! and lets it print what happens.

use std::fmt::Debug;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What was counted in the runs of a simulation.
pub trait RunCounts: Default + Debug + Send {
    /// Adds what was counted in another run.
    fn add(&mut self, other: &Self);
}

/// Runs `simulation` for each seed, and returns how many they were with the sum of what was counted; `None`: it was only one seed. `usual`
/// is their number in a normal run of the tests. The second argument of `simulation` is whether it prints what happens.
///
/// It panics with the first seed that panics.
pub fn run<C: RunCounts>(
    usual: u64,
    simulation: impl Fn(u64, bool) -> C + Sync + RefUnwindSafe,
) -> Option<(u64, C)> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SEED") {
        let counts = simulation(seed, true);
        eprintln!("seed {seed}: {counts:?}");
        return None;
    }
    let (first, seeds) = (number("FIRST_SEED").unwrap_or(0), number("SEEDS").unwrap_or(usual));
    let (next, end) = (AtomicU64::new(first), first + seeds);
    let began = Instant::now();
    let work = || {
        let mut sum = C::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return sum;
            }
            match catch_unwind(|| simulation(seed, false)) {
                Ok(counts) => sum.add(&counts),
                Err(_) => {
                    next.store(end, Ordering::Relaxed);
                    panic!("seed {seed} failed; SEED={seed} runs it alone")
                }
            }
        }
    };
    let processors = || std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let threads = number("THREADS").filter(|threads| *threads > 0).unwrap_or_else(processors);
    let mut sum = C::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .for_each(|thread| sum.add(&thread.join().expect("every seed keeps the promises")));
    });
    let time = began.elapsed();
    let rate = seeds as f64 / time.as_secs_f64();
    println!("{seeds} seeds from {first} on in {time:.1?} on {threads} threads, {rate:.0} a second: {sum:?}");
    Some((seeds, sum))
}
