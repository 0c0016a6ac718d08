//! The options of ExaBGP's healthcheck, as written on a command line or in its file.

use crate::Input;
use crate::node::{Node, Place};
use crate::row::{Block, dropped, translated, unneeded};

/// The options of the healthcheck of ExaBGP 3.4 to 5, by their long names.
pub(super) const HEALTHCHECK: Block = Block {
    title: "the healthcheck",
    rows: &[
        translated(&["name"], "`name` of the service"),
        translated(&["interval"], "`interval`"),
        translated(&["fast-interval"], "`fast_interval`"),
        translated(&["timeout"], "`timeout`, at most `1m`"),
        translated(&["rise", "fall"], "`rise`, `fall`"),
        translated(
            &["disable"],
            "an `exec` check that fails while the file exists; `announcer drain` does the same for an operator",
        ),
        translated(
            &["command", "cmd"],
            "an `exec` check with `/bin/sh -c`; a comment proposes a check without a program",
        ),
        translated(&["next-hop"], "`next_hop`"),
        translated(&["ip"], "`vips`; a network also `prefix`"),
        translated(&["ip-ifname"], "`vips`; the interface is always lo"),
        translated(&["label"], "nothing: the label names addresses on lo, which `--vips` has to give"),
        translated(&["local-preference"], "`local_pref`"),
        translated(&["deaggregate-networks"], "each address of the network in `vips`, without `prefix`"),
        translated(&["start-ip"], "the order in which the VIPs get their `med`"),
        translated(&["increase"], "a service for each VIP, each with its own `med`"),
        translated(&["up-metric"], "`med`"),
        translated(&["down-metric"], "`med` of `[service.deprefer]`"),
        translated(&["disabled-metric"], "`med` of `[service.deprefer]` if it is the same as `down-metric`"),
        translated(
            &["withdraw-on-down"],
            "`on_failure = \"withdraw\"`; without it, `on_failure = \"deprefer\"`",
        ),
        translated(&["community"], "`communities`"),
        translated(
            &["disabled-community"],
            "`communities` of `[service.deprefer]`, which are added to the others",
        ),
        translated(&["extended-community"], "`extended_communities`, route targets and sites of origin"),
        translated(&["large-community"], "`large_communities`"),
        translated(&["as-path", "up-as-path"], "`prepend`, if the path consists of this host's own AS"),
        translated(
            &["down-as-path"],
            "`prepend` of `[service.deprefer]`, if the path begins with that of `prepend`",
        ),
        translated(&["disabled-as-path"], "as `down-as-path`, if it is the same"),
        translated(&["neighbor"], "`peers` of the service"),
        translated(&["config"], "its options"),
        translated(&["path-id"], "nothing if it is 0; announcer has no ADD-PATH"),
        unneeded(
            &["silent", "syslog-facility", "no-syslog", "debug"],
            "announcer's log: `announcer run --log`",
        ),
        unneeded(
            &["no-ack", "debounce"],
            "announcer sends a route only when it changes, and reads no answers of a pipe",
        ),
        unneeded(&["pid"], "systemd knows the process"),
        unneeded(&["sudo"], "the daemon has the capability that it needs"),
        unneeded(&["label-exact-match"], "the label is not used"),
        translated(&["no-ip-setup"], "nothing: announcer puts a VIP on lo only if it is missing there"),
        dropped(
            &["dynamic-ip-setup"],
            "a VIP stays on lo while it is not announced, so that connections can end; only its removal from the configuration removes it",
        ),
        translated(&["user"], "nothing: programs run as the daemon's user, or as `nobody` if that is root"),
        dropped(&["group"], "a program has the groups of its user"),
        dropped(
            &["execute", "up-execute", "down-execute", "disabled-execute"],
            "write `on_change` in `[hooks]`, or in `[service.hooks]` for one service; it has ANNOUNCER_STANDING where this has STATE",
        ),
    ],
};

/// The options without a value.
const FLAGS: &[&str] = &[
    "silent",
    "no-syslog",
    "debug",
    "no-ack",
    "sudo",
    "deaggregate-networks",
    "no-ip-setup",
    "dynamic-ip-setup",
    "withdraw-on-down",
    "label-exact-match",
    "debounce",
];

/// The short names of options.
const SHORT: &[(&str, &str)] = &[
    ("sF", "syslog-facility"),
    ("s", "silent"),
    ("d", "debug"),
    ("a", "no-ack"),
    ("n", "name"),
    ("F", "config"),
    ("p", "pid"),
    ("i", "interval"),
    ("f", "fast-interval"),
    ("t", "timeout"),
    ("c", "command"),
    ("N", "next-hop"),
];

/// The options of a command line, the program not included.
pub(super) fn arguments(words: &[String], place: &Place) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let (name, mut value) = match word.strip_prefix("--") {
            Some(long) => match long.split_once('=') {
                Some((name, value)) => (full(name), Some(value.to_owned())),
                None => (full(long), None),
            },
            None => match short(word) {
                Some((name, value)) => (name.to_owned(), value),
                None => (word.clone(), None),
            },
        };
        let is_known = HEALTHCHECK.rows.iter().any(|row| row.names.contains(&name.as_str()));
        if value.is_none() && word.starts_with('-') && is_known && !FLAGS.contains(&name.as_str()) {
            value = match name.as_str() {
                "syslog-facility" => rest.next_if(|next| !next.starts_with('-')).cloned(),
                _ => rest.next().cloned(),
            };
        }
        nodes.push(Node { name, words: value.into_iter().collect(), place: place.clone(), children: None });
    }
    nodes
}

/// The long name that a long option may shorten, and one name for options with two.
fn full(name: &str) -> String {
    let names = || HEALTHCHECK.rows.iter().flat_map(|row| row.names).copied();
    let mut longer = names().filter(|long| long.starts_with(name));
    let name = match (names().any(|known| known == name), longer.next(), longer.next()) {
        (false, Some(only), None) => only,
        (_, _, _) => name,
    };
    if name == "cmd" { "command".to_owned() } else { name.to_owned() }
}

/// A short option with the value that is behind it without a blank.
fn short(word: &str) -> Option<(&'static str, Option<String>)> {
    let letters = word.strip_prefix('-')?;
    let (short, long) = SHORT.iter().find(|(short, _)| letters.starts_with(short))?;
    let value = letters.strip_prefix(short).filter(|rest| !rest.is_empty());
    Some((long, value.map(|value| value.trim_start_matches('=').to_owned())))
}

/// The options of a file: a long name in each line, with its value after `=`.
pub(super) fn file(input: &Input) -> Vec<Node> {
    let file: std::rc::Rc<str> = input.name.as_str().into();
    let lines = (1..).zip(input.text.lines()).filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    lines
        .map(|(number, line)| {
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
                None => (line.trim(), None),
            };
            let place = Place { file: file.clone(), line: number };
            Node { name: full(name), words: value.into_iter().collect(), place, children: None }
        })
        .collect()
}

/// Whether the healthcheck has one of these options.
pub(super) fn has_known(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| HEALTHCHECK.rows.iter().any(|row| row.names.contains(&node.name.as_str())))
}

/// The options of the healthcheck that a command line starts; none if it starts another program.
pub(super) fn healthcheck(words: &[String]) -> Option<Vec<String>> {
    let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    if let [shell, option, line] = words
        && ["sh", "bash", "dash"].contains(&base(shell).as_str())
        && option.starts_with('-')
        && option.ends_with('c')
    {
        let inner = shlex::split(line)?;
        return healthcheck(inner.strip_prefix(&["exec".to_owned()]).unwrap_or(&inner));
    }
    let at = words.iter().take(8).position(|word| {
        ["healthcheck", "healthcheck.py", "exabgp-healthcheck", "exabgp.application.healthcheck"]
            .contains(&base(word).as_str())
    })?;
    words.get(at + 1..).map(<[String]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_argparse_reads_them() {
        let place = Place { file: "f".into(), line: 1 };
        for (line, want) in [
            ("-s --name x -i5 -f 0.5", "silent= name=x interval=5 fast-interval=0.5"),
            ("--cmd 'a b' --command=c --withdraw-on", "command=a b command=c withdraw-on-down="),
            ("-sF local0 -F/etc/x -p /run/p", "syslog-facility=local0 config=/etc/x pid=/run/p"),
            ("--no-such x --ip=192.0.2.1", "no-such= x= ip=192.0.2.1"),
        ] {
            let words = shlex::split(line).unwrap();
            let shown: Vec<String> = arguments(&words, &place)
                .iter()
                .map(|node| format!("{}={}", node.name, node.text()))
                .collect();
            assert_eq!(shown.join(" "), want, "{line}");
        }
    }

    #[test]
    fn a_healthcheck_is_found_in_a_command_line() {
        for (line, want) in [
            ("python3 -m exabgp healthcheck --name x", Some("--name x")),
            ("/usr/bin/env python /usr/lib/healthcheck.py -d", Some("-d")),
            ("/bin/sh -c 'exec exabgp healthcheck --name x'", Some("--name x")),
            ("/usr/local/bin/announce.sh", None),
        ] {
            let found = healthcheck(&shlex::split(line).unwrap());
            assert_eq!(found.map(|words| words.join(" ")).as_deref(), want, "{line}");
        }
    }
}
