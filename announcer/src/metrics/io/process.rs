//! What the kernel knows of this process, by the names that every exporter uses.
//!
//! Touches `/proc`. What it does not say is absent.

use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

use crate::files::io as files;
use crate::metrics::Process;

/// The longest file of `/proc` that is read, in octets.
const LONGEST: u64 = 1024 * 1024;

/// Reads it, and blocks.
pub(super) fn read() -> Process {
    let text = |file: &str| files::read_text(Path::new(file), LONGEST).ok();
    let (stat, limits) =
        (text("/proc/self/stat").unwrap_or_default(), text("/proc/self/limits").unwrap_or_default());
    let booted = text("/proc/stat");
    let ticks = number(SysconfVar::CLK_TCK);
    let page = number(SysconfVar::PAGE_SIZE);
    let mut process = Process { most_files: most_files(&limits), ..Process::default() };
    process.open_files = files::names(Path::new("/proc/self/fd")).ok().map(|names| names.len() as u64);
    if let (Some(stat), Some(ticks), Some(page)) = (Stat::of(&stat), ticks, page) {
        let seconds = |count: u64| count as f64 / ticks as f64;
        process.cpu = Some(seconds(stat.cpu));
        process.virtual_size = Some(stat.virtual_size);
        process.resident = Some(stat.resident * page);
        let booted = booted.as_deref().and_then(boot_time);
        process.started = booted.map(|booted| booted as f64 + seconds(stat.started));
    }
    process
}

fn number(variable: SysconfVar) -> Option<u64> {
    sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
}

/// Of proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Ticks, user's and system's.
    cpu: u64,
    /// Ticks after the boot.
    started: u64,
    /// Octets.
    virtual_size: u64,
    /// Pages.
    resident: u64,
}

impl Stat {
    /// The name, in parentheses, may hold anything; after the last of them come the fields from the third on.
    fn of(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu: field(14)? + field(15)?,
            started: field(22)?,
            virtual_size: field(23)?,
            resident: field(24)?,
        })
    }
}

/// Unix time, of proc_stat(5).
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit; `unlimited` is none.
fn most_files(limits: &str) -> Option<u64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_that_looks_like_them() {
        let text = "7 (a) S 1) S 1 7 7 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 1 0 900 10485760 2048 18446744073709551615\n";
        let want = Stat { cpu: 560, started: 900, virtual_size: 10_485_760, resident: 2048 };
        assert_eq!(Stat::of(text), Some(want));
        assert_eq!(Stat::of("7 (a"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
        assert_eq!(
            most_files("Max open files            1024                 4096                 files \n"),
            Some(1024)
        );
        assert_eq!(
            most_files("Max open files            unlimited            unlimited            files \n"),
            None
        );
    }

    #[test]
    fn this_process_is_told_of() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let process = read();
        let started = process.started.unwrap();
        assert!((now - 86_400.0..now + 2.0).contains(&started), "{started} {now}");
        assert!(process.open_files.unwrap() >= 3 && process.cpu.is_some());
        assert!(process.resident.unwrap() > 1_000_000 && process.virtual_size > process.resident);
    }
}
