//! What the log of a daemon says of its starts: a host is in every ring before its sessions with the routers begin.
//!
//! Pure.

const STARTED: &str = " announcer started ";
const SESSION: &str = " session established ";
/// What only a daemon with a chain that works logs.
const RULES: [&str; 2] =
    [" rules of the chain were installed ", " rules of the former process are in the kernel"];
/// Sessions may begin: the host is in the rings, or it has waited for too long.
const JOINED: [&str; 2] =
    [" this host is in the ring of each member that is heard", ", not waiting any longer"];

/// The sessions that began before their host was in the rings, with the start of the daemon: a line for each start.
pub(crate) fn too_early(log: &str) -> Vec<String> {
    let mut starts: Vec<Vec<&str>> = Vec::new();
    for line in log.lines() {
        if line.contains(STARTED) {
            starts.push(Vec::new());
        }
        if let Some(start) = starts.last_mut() {
            start.push(line);
        }
    }
    let any = |line: &str, words: &[&str]| words.iter().any(|words| line.contains(words));
    let early = |start: &Vec<&str>| {
        let first = start.iter().position(|line| line.contains(SESSION))?;
        let joined = start.iter().position(|line| any(line, &JOINED));
        let has_chain = start.iter().any(|line| any(line, &RULES));
        (has_chain && joined.is_none_or(|joined| joined > first))
            .then(|| format!("{}\n  {}", start[0], start[first]))
    };
    starts.iter().filter_map(early).collect()
}

/// The tests of this file. They are trials of `chain.rs`, which has no other harness.
pub(crate) mod tests {
    use anyhow::{Result, ensure};

    use super::too_early;

    const PLAIN: &str = "1 INFO announcer started version=1\n2 INFO session established peer=r1\n";
    const GOOD: &str = "1 INFO announcer started version=1\n2 INFO rules of the chain were installed v4=nobody\n\
        3 INFO this host is in the ring of each member that is heard\n4 INFO session established peer=r1\n";
    const LATE: &str = "1 INFO announcer started version=1\n2 INFO rules of the former process are in the kernel\n\
        3 WARN members do not have this host in their rings, not waiting any longer\n4 INFO session established peer=r1\n";
    const EARLY: &str = "1 INFO announcer started version=1\n2 INFO session established peer=r1\n\
        3 INFO rules of the chain were installed v4=nobody\n4 INFO this host is in the ring of each member that is heard\n";
    const NEVER: &str = "1 INFO announcer started version=1\n2 INFO session established peer=r1\n\
        3 INFO rules of the chain were installed v4=nobody\n";

    pub(crate) fn each_start_is_judged_by_itself() -> Result<()> {
        for (log, count) in [
            ([PLAIN, GOOD, LATE].concat(), 0),
            ([GOOD, EARLY, GOOD].concat(), 1),
            ([NEVER, GOOD].concat(), 1),
            ([EARLY, PLAIN, NEVER].concat(), 2),
        ] {
            ensure!(too_early(&log).len() == count, "{log}: {:?}", too_early(&log));
        }
        Ok(())
    }
}
