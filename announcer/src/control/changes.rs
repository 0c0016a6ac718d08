//! What a reload changes, for people: one line for each difference, and which sessions restart.
//!
//! Pure.

use crate::bgp::plan::{Interruption, restarts};
use crate::config::Config;
use crate::config::diff::{Difference, TableName, differences};
use crate::director::Preview;
use crate::model::RouterId;

/// What follows from BFD that is switched off while the session goes on.
const ADMIN_DOWN: &str =
    " (the router hears AdminDown, at which FRR and BIRD end the BGP session: remove BFD there first)";

/// The lines, such as `+ service api`, `www: + VIP 192.0.2.81` and `r1: hold_time 9s -> 3s (the session restarts)`. Empty if the
/// two are equal. `in_use` is the router id of the sessions; `log_options` are the keys of `[log]` that have no effect, each with the
/// option of the command line that comes first.
pub fn changes(
    old: &Config,
    new: &Config,
    in_use: Option<RouterId>,
    log_options: &[(&str, &str)],
) -> Vec<String> {
    let restarts = restarts(old, new, in_use);
    let found = differences(old, new);
    let named = |name: &str| found.iter().any(|one| one.table == TableName::Peer(name.to_owned()));
    // A session restarts because of its own table, or because of `[bgp]`.
    let others: Vec<String> =
        restarts.iter().filter(|name| !named(name.as_str())).map(ToString::to_string).collect();
    let lines = |one: &Difference| {
        let mut lines = one.lines();
        if one.table == TableName::Single("log".to_owned()) {
            for (key, option) in log_options {
                let is_of_key = |line: &&mut String| line.starts_with(&format!("[log]: {key} "));
                if let Some(line) = lines.iter_mut().find(is_of_key) {
                    line.push_str(&format!(" (no effect: `{option}` of the command line comes first)"));
                }
            }
        }
        let note = match &one.table {
            TableName::Peer(name) if restarts.iter().any(|peer| peer.as_str() == name) => {
                Some(" (the session restarts)".to_owned())
            }
            TableName::Single(name) if name == "bgp" && !others.is_empty() => {
                Some(format!(" (the sessions restart, one after the other: {})", others.join(", ")))
            }
            TableName::Peer(name) => {
                let switched_off = format!("{name}: - bfd ");
                if let Some(line) = lines.iter_mut().find(|line| line.starts_with(&switched_off)) {
                    line.push_str(ADMIN_DOWN);
                }
                None
            }
            TableName::Single(_) | TableName::Service(_) => None,
        };
        if let (Some(last), Some(note)) = (lines.last_mut(), note) {
            last.push_str(&note);
        }
        lines
    };
    found.iter().flat_map(lines).collect()
}

/// What a dry run prints: the changes, their effect on VIPs, and whether the reload would be refused. `capacity`: why the guard of capacity
/// would refuse it, from what the members say now.
pub fn would(
    changes: Vec<String>,
    preview: &Preview,
    interruption: Option<Interruption>,
    capacity: Option<String>,
) -> Vec<String> {
    let mut lines = changes;
    lines.extend(preview.changes().map(ToString::to_string));
    let refusal = interruption.map(|why| why.to_string()).or(preview.refusal().map(|why| why.to_string()));
    let refusal = refusal.or(capacity);
    match refusal {
        Some(why) => lines.push(format!("the reload would be refused: {why}; `--force` makes it anyway")),
        None => lines.push("nothing was changed: this was a dry run".to_owned()),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const OLD: &str = r#"
[bgp]
asn = 65001

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000

[[peer]]
name = "r2"
address = "10.0.1.2"
asn = 65000

[[service]]
name = "www"
vips = ["192.0.2.80"]

[[service.check]]
tcp = 80
"#;

    #[test]
    fn a_reload_says_what_it_changes_and_which_sessions_restart() {
        let parsed = |text: &str| parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
        let added = "\n[[service]]\nname = \"api\"\nvips = [\"192.0.2.90\"]\n[[service.check]]\ntcp = 80\n";
        for (from, to, want) in [
            ("", "", &[][..]),
            ("[[service]]", &format!("{added}\n[[service]]")[..], &["+ service api"]),
            ("\"192.0.2.80\"", "\"192.0.2.80\", \"192.0.2.81\"", &["www: + VIP 192.0.2.81"]),
            ("\"192.0.2.80\"", "\"192.0.2.81\"", &["www: - VIP 192.0.2.80", "www: + VIP 192.0.2.81"]),
            (
                "address = \"10.0.1.1\"",
                "address = \"10.0.1.1\"\nhold_time = \"3s\"",
                &["r1: hold_time 9s -> 3s (the session restarts)"],
            ),
            // Another MED is sent on the same session.
            ("address = \"10.0.1.1\"", "address = \"10.0.1.1\"\nmed = 7", &["r1: + med 7"]),
            (
                "asn = 65001",
                "asn = 65002",
                &["[bgp]: asn 65001 -> 65002 (the sessions restart, one after the other: r1, r2)"],
            ),
            ("[bgp]", "[metrics]\nlisten = \"127.0.0.1:9179\"\n[bgp]", &["[metrics] added"]),
        ] {
            let found = changes(&parsed(OLD), &parsed(&OLD.replacen(from, to, 1)), None, &[]);
            assert_eq!(found, want, "{to}");
        }
    }

    #[test]
    fn bfd_that_is_switched_off_is_said_to_end_the_sessions_of_some_routers() {
        let with = |lines: &str| {
            let text = OLD.replacen("address = \"10.0.1.1\"", &format!("address = \"10.0.1.1\"\n{lines}"), 1);
            parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"))
        };
        let off = "r1: - bfd { interval = \"300ms\", multiplier = 3, strict = false }";
        for (from, to, want) in [
            ("bfd = true", "", vec![format!("{off}{ADMIN_DOWN}")]),
            ("bfd = true", "med = 7", vec![format!("{off}{ADMIN_DOWN}"), "r1: + med 7".into()]),
            // The session ends in any case.
            (
                "bfd = true",
                "hold_time = \"3s\"",
                vec![off.to_owned(), "r1: hold_time 9s -> 3s (the session restarts)".into()],
            ),
            ("bfd = true", "bfd = { multiplier = 5 }", vec!["r1: bfd.multiplier 3 -> 5".into()]),
            ("bfd = true", "bfd = true", vec![]),
        ] {
            let found = changes(&with(from), &with(to), None, &[]);
            assert_eq!(found, want, "{from} {to}");
        }
    }

    #[test]
    fn a_key_of_the_log_below_the_command_line_is_said_to_have_no_effect() {
        let parsed = |text: &str| parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
        let new = parsed(&format!("{OLD}[log]\nlevel = \"debug\"\nformat = \"json\"\n"));
        const LEVEL: &str = "[log]: level info -> debug";
        const FORMAT: &str = "[log]: format text -> json";
        for (options, level, format) in [
            (&[][..], "", ""),
            (&[("level", "--log")], " (no effect: `--log` of the command line comes first)", ""),
            (
                &[("format", "--log-format")],
                "",
                " (no effect: `--log-format` of the command line comes first)",
            ),
        ] {
            let want = [format!("{FORMAT}{format}"), format!("{LEVEL}{level}")];
            assert_eq!(changes(&parsed(OLD), &new, None, options), want);
        }
    }
}
