//! The kernel's data about this process, with the names that every exporter uses.
//!
//! Touches `/proc`. Values that it does not have are absent.

use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};
use procfs_core::process::{LimitValue, Limits, Stat};
use procfs_core::{ExplicitSystemInfo, FromRead, FromReadSI, KernelStats};

use crate::files::io as files;
use crate::metrics::ProcessMetrics;

/// The longest file of `/proc` that is read, in octets.
const LONGEST: u64 = 1024 * 1024;

/// Reads the data. Blocks.
pub(super) fn read() -> ProcessMetrics {
    let text = |file: &str| files::read_text(Path::new(file), LONGEST).unwrap_or_default();
    let ticks = number(SysconfVar::CLK_TCK);
    let page = number(SysconfVar::PAGE_SIZE);
    let limits = Limits::from_read(text("/proc/self/limits").as_bytes()).ok();
    let mut process = ProcessMetrics { max_files: limits.and_then(max_files), ..ProcessMetrics::default() };
    process.open_files = files::names(Path::new("/proc/self/fd")).ok().map(|names| names.len() as u64);
    let stat = Stat::from_read(text("/proc/self/stat").as_bytes()).ok();
    if let (Some(stat), Some(ticks), Some(page)) = (stat, ticks, page) {
        let seconds = |count: u64| count as f64 / ticks as f64;
        process.cpu = Some(seconds(stat.utime + stat.stime));
        process.virtual_size = Some(stat.vsize);
        process.resident = Some(stat.rss * page);
        let host = ExplicitSystemInfo {
            boot_time_secs: 0, // it is what is read here
            ticks_per_second: ticks,
            page_size: page,
            is_little_endian: cfg!(target_endian = "little"),
        };
        let kernel = KernelStats::from_read(text("/proc/stat").as_bytes(), &host).ok();
        process.started = kernel.map(|kernel| kernel.btime as f64 + seconds(stat.starttime));
    }
    process
}

fn number(variable: SysconfVar) -> Option<u64> {
    sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
}

/// The soft limit of open files, unless there is none.
fn max_files(limits: Limits) -> Option<u64> {
    match limits.max_open_files.soft_limit {
        LimitValue::Value(count) => Some(count),
        LimitValue::Unlimited => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_this_process_are_read() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let process = read();
        let started = process.started.unwrap();
        assert!((now - 86_400.0..now + 2.0).contains(&started), "{started} {now}");
        assert!(process.open_files.unwrap() >= 3 && process.cpu.is_some());
        assert_eq!(
            process.max_files,
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft)
        );
        assert!(process.resident.unwrap() > 1_000_000 && process.virtual_size > process.resident);
    }
}
