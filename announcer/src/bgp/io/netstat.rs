//! The kernel counters of packets that the kernel has dropped, not sent or refused.
//!
//! Touches /proc (proc_pid_net(5)) of the network namespace, through the door to the disk.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bgp::hint::KernelCounter;
use crate::files::io::Files;

/// The files.
const FILES: [&str; 3] =
    ["/proc/thread-self/net/netstat", "/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"];
const MOST: u64 = 64 << 10;

/// Each counter, with its group and name in the files. A file has two lines per group (names, then values), or one line per
/// counter.
const COUNTERS: [(KernelCounter, &str, &str); 6] = [
    (KernelCounter::LowTtl, "TcpExt:", "TCPMinTTLDrop"),
    (KernelCounter::Unsigned, "TcpExt:", "TCPMD5NotFound"),
    (KernelCounter::OtherKey, "TcpExt:", "TCPMD5Failure"),
    (KernelCounter::NotSent, "TcpExt:", "TCPRetransFail"),
    (KernelCounter::Rejected, "Icmp:", "OutDestUnreachs"),
    (KernelCounter::Rejected, "", "Icmp6OutDestUnreachs"),
];

/// The counters at one time; `None`: the kernel does not have this counter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NetstatCounters([Option<u64>; COUNTERS.len()]);

impl NetstatCounters {
    /// Reads the current values.
    pub(super) async fn read(files: &Files) -> NetstatCounters {
        let mut all = String::new();
        for file in FILES {
            // A file that cannot be read counts as empty.
            all.push_str(&files.read_text(Path::new(file), MOST).await.unwrap_or_default());
        }
        NetstatCounters::of(&all)
    }

    fn of(text: &str) -> NetstatCounters {
        NetstatCounters(COUNTERS.map(|(_, group, name)| counter(text, group, name)))
    }

    /// The counters that increased since `before`.
    pub(super) fn rose_since(&self, before: &NetstatCounters) -> BTreeSet<KernelCounter> {
        let all = COUNTERS.iter().zip(self.0).zip(before.0);
        all.filter(|((_, now), before)| now > before && before.is_some())
            .map(|(((what, ..), _), _)| *what)
            .collect()
    }
}

/// A number from a file with two lines per group (names, then values). Without a group, from a file with one line per counter.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    if group.is_empty() {
        let mut pairs = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
        return pairs.find(|(found, _)| *found == name)?.1.trim().parse().ok();
    }
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs.find(|(found, _)| *found == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let text = "TcpExt: A TCPMinTTLDrop B\nTcpExt: 1 22 3\nIcmp: TCPMinTTLDrop\nIcmp: 4\nIcmp6OutDestUnreachs \t 7\n";
        assert_eq!(counter(text, "TcpExt:", "TCPMinTTLDrop"), Some(22));
        assert_eq!(counter(text, "Icmp:", "TCPMinTTLDrop"), Some(4));
        assert_eq!(counter(text, "", "Icmp6OutDestUnreachs"), Some(7));
        assert_eq!(counter(text, "TcpExt:", "C"), None);
        assert_eq!(counter("", "TcpExt:", "A"), None);
    }

    #[test]
    fn what_rose_is_distinguished_from_what_stands_and_what_is_not_counted() {
        let of = |low, unsigned| {
            NetstatCounters::of(&format!("TcpExt: TCPMinTTLDrop TCPMD5NotFound\nTcpExt: {low} {unsigned}\n"))
        };
        assert_eq!(of(3, 5).rose_since(&of(2, 5)), [KernelCounter::LowTtl].into());
        assert_eq!(of(3, 5).rose_since(&NetstatCounters::default()), [].into());
        assert_eq!(NetstatCounters::default().rose_since(&of(1, 1)), [].into());
    }

    #[tokio::test]
    async fn this_kernel_counts_them() {
        let found = NetstatCounters::read(&Files::new()).await;
        assert!(found.0.iter().take(5).all(Option::is_some), "{found:?}");
    }
}
