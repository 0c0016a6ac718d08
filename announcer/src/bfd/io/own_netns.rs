//! For tests that need a network namespace of their own.
//!
//! Touches a thread and its network namespace.

/// Runs a test on a thread in a new network namespace, which ends with the thread. Without root it is skipped.
pub(super) fn in_own_netns(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        // libtest hides what `eprintln!` prints in a test that passes.
        until::skipped("needs root to make a network namespace");
        return;
    }
    let thread = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        test();
    });
    thread.join().unwrap();
}
