//! Returns freed memory, and pages of the program that are not needed any more, to the kernel.
//!
//! Touches the allocator and the mappings of the program's file. glibc keeps most of the freed memory: about 10 MB after reading a
//! configuration of 1,000 services, and again after an answer to `status --json`. malloc_trim(3) returns it. And a start, or a large
//! answer, maps pages of code that the daemon does not run again for a long time: some 3 MB. madvise(2) unmaps them; they stay in
//! the page cache, and the first use maps them again. Code that has freed much memory calls [`Trimmer::soon`]; the task of [`run`]
//! trims a moment later, on another thread.

#![allow(unsafe_code, reason = "malloc_trim, dl_iterate_phdr and madvise have no safe interface")]

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
    unmap_program();
}

/// Other allocators return memory by themselves, or cannot return it.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// Unmaps the pages of the program's segments that are never written: its code and constants.
#[cfg(target_env = "gnu")]
fn unmap_program() {
    // SAFETY: the callback has the type that dl_iterate_phdr(3) documents, and does not keep what it is given.
    unsafe {
        libc::dl_iterate_phdr(Some(unmap_segments), std::ptr::null_mut());
    }
}

/// The callback of dl_iterate_phdr(3). The first object is the program itself; its libraries are shared with other programs.
///
/// # Safety
/// `info` points to the description of a loaded object.
#[cfg(target_env = "gnu")]
unsafe extern "C" fn unmap_segments(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the caller's promise; the description has `dlpi_phnum` headers.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    for header in headers {
        // What relocations have changed, also before it was made read-only (PT_GNU_RELRO), is in a segment with PF_W.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Whole pages of this segment alone.
        let start = (base + header.p_vaddr).next_multiple_of(PAGE);
        let end = (base + header.p_vaddr + header.p_filesz) / PAGE * PAGE;
        let length = end.saturating_sub(start);
        if let (Ok(address), Ok(length)) = (usize::try_from(start), usize::try_from(length)) {
            // SAFETY: the pages are mapped from the program's file and were never written, so the next access reads the same octets.
            // An error changes nothing.
            unsafe {
                libc::madvise(std::ptr::without_provenance_mut(address), length, libc::MADV_DONTNEED);
            }
        }
    }
    1 // the other objects are not wanted
}

/// At least the size of a page, and a multiple of it.
#[cfg(target_env = "gnu")]
const PAGE: u64 = 65536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_is_given_back() {
        // The memory of other tests would be counted too.
        crate::own_process::in_own_process("memory::io::tests::alone_with_much_memory", "");
    }

    #[test]
    fn code_that_is_not_used_is_unmapped_and_runs_again() {
        crate::own_process::in_own_process("memory::io::tests::alone_with_much_code", "");
    }

    /// The size of the pages of this program's file that are mapped, in KiB.
    fn mapped_of_the_program() -> u64 {
        let program = std::env::current_exe().unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut is_program, mut sum) = (false, 0);
        for line in smaps.lines() {
            match line.split_once(':') {
                Some(("Rss", size)) if is_program => {
                    sum += size.trim_end_matches("kB").trim().parse::<u64>().unwrap();
                }
                Some((name, _)) if name.chars().all(|char| char.is_ascii_alphabetic() || char == '_') => {}
                _ => is_program = line.ends_with(program.to_str().unwrap()),
            }
        }
        sum
    }

    #[test]
    #[ignore = "runs alone"]
    fn alone_with_much_code() {
        let text = include_str!("../../tests/fixture.toml");
        let used = || text.parse::<toml::Table>().unwrap().len();
        let before = used();
        let full = mapped_of_the_program();
        unmap_program();
        let trimmed = mapped_of_the_program();
        assert!(trimmed * 2 < full, "{trimmed} of {full} KiB are mapped");
        assert_eq!(used(), before);
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
