//! Reads settings and counters of this network namespace, and the processes in it.
//!
//! Touches `/proc`, and needs no privilege, except for the processes of other users.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::doctor::neighbours::MANAGERS;
use crate::doctor::observations::{ConntrackState, Counters, L3MDEV_ACCEPT, ManagerProcess, Seen, Unseen};

const CONF: &str = "/proc/sys/net/ipv4/conf";
/// The settings of each IPv4 interface that matter.
const OF_INTERFACES: [&str; 3] = ["rp_filter", "forwarding", "send_redirects"];
/// Other settings, below `/proc/sys`.
const OTHERS: [&str; 6] = [
    L3MDEV_ACCEPT,
    "net/ipv4/ip_forward",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/tcp_syncookies",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/fib_multipath_hash_policy",
];
const NETSTAT: &str = "/proc/thread-self/net/netstat";

fn number(path: &str) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The settings of interfaces. One that does not exist is missing.
pub(super) fn conf() -> BTreeMap<(String, String), i64> {
    let interfaces = fs::read_dir(CONF).into_iter().flatten().flatten();
    let names = interfaces.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .flat_map(|interface| {
            OF_INTERFACES.map(|name| {
                let value = number(&format!("{CONF}/{interface}/{name}"));
                value.map(|value| ((interface.clone(), name.to_owned()), value))
            })
        })
        .flatten()
        .collect()
}

/// The other settings.
pub(super) fn settings() -> BTreeMap<String, i64> {
    let read = |path: &str| Some((path.to_owned(), number(&format!("/proc/sys/{path}"))?));
    OTHERS.into_iter().filter_map(read).collect()
}

/// The table of connections.
pub(super) fn conntrack() -> Option<ConntrackState> {
    let read = |name: &str| {
        let value = number(&format!("/proc/sys/net/netfilter/{name}"))?;
        u64::try_from(value).ok()
    };
    Some(ConntrackState { count: read("nf_conntrack_count")?, max: read("nf_conntrack_max")? })
}

/// The counters.
pub(super) fn counters() -> Seen<Counters> {
    let text = fs::read_to_string(NETSTAT).map_err(|error| Unseen(format!("`{NETSTAT}`: {error}")))?;
    let value = |name: &str| counter(&text, name).unwrap_or(0);
    Ok(Counters {
        listen_overflows: value("ListenOverflows"),
        cookies_sent: value("SyncookiesSent"),
        reverse_path: value("IPReversePathFilter"),
    })
}

/// A counter of the group TcpExt: one line has the names, the next one the values.
fn counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    pairs.find(|(found, _)| *found == name)?.1.parse().ok()
}

/// The processes of this network namespace that are known to manage addresses.
pub(super) fn managers() -> Seen<Vec<ManagerProcess>> {
    let own = fs::read_link("/proc/thread-self/ns/net").map_err(|error| Unseen(format!("/proc: {error}")))?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|error| Unseen(format!("/proc: {error}")))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let folder = entry.path();
        // A process may end at any time.
        let Ok(name) = fs::read_to_string(folder.join("comm")) else { continue };
        let name = name.trim_end().to_owned();
        if !MANAGERS.iter().any(|(known, _)| *known == name) {
            continue;
        }
        match namespace(&folder) {
            Ok(namespace) if namespace == own => found.push(ManagerProcess { name, pid }),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Unseen(format!(
                    "the process {name} (pid {pid}) runs, and root alone can see in which network namespace: run it with sudo"
                )));
            }
            Err(_ended) => {}
        }
    }
    Ok(found)
}

fn namespace(process: &Path) -> std::io::Result<std::path::PathBuf> {
    fs::read_link(process.join("ns/net"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name_in_its_group() {
        let text = "IpExt: ListenOverflows\nIpExt: 9\nTcpExt: A ListenOverflows B\nTcpExt: 1 22 3\n";
        assert_eq!(counter(text, "ListenOverflows"), Some(22));
        assert_eq!(counter(text, "C"), None);
        assert_eq!(counter("", "A"), None);
    }
}
