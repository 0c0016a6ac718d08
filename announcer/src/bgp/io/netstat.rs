//! What the kernel counts of packets that it dropped.
//!
//! Touches /proc (proc_pid_net(5)), the network namespace's own.

/// How many packets were dropped because their TTL was below what a socket demands (RFC 5082); `None`: the kernel does
/// not say.
pub(super) fn ttl_drops() -> Option<u64> {
    counter(&std::fs::read_to_string("/proc/thread-self/net/netstat").ok()?, "TcpExt:", "TCPMinTTLDrop")
}

/// A number of a file of two lines a group: names, then values.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
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
        let text = "TcpExt: A TCPMinTTLDrop B\nTcpExt: 1 22 3\nIpExt: TCPMinTTLDrop\nIpExt: 4\n";
        assert_eq!(counter(text, "TcpExt:", "TCPMinTTLDrop"), Some(22));
        assert_eq!(counter(text, "IpExt:", "TCPMinTTLDrop"), Some(4));
        assert_eq!(counter(text, "TcpExt:", "C"), None);
        assert_eq!(counter("", "TcpExt:", "A"), None);
        assert!(ttl_drops().is_some(), "this kernel counts them");
    }
}
