//! Values that several systems have: durations, prefixes and names.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::draft::{Table, Value};
use crate::node::Node;
use crate::report::Report;

/// The range of a key of announcer.toml, in milliseconds or as a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    key: &'static str,
    least: u64,
    most: u64,
}

pub(crate) const INTERVAL: Range = Range { key: "interval", least: 50, most: 3_600_000 };
const FAST_INTERVAL: Range = Range { key: "fast_interval", least: 50, most: 3_600_000 };
pub(crate) const TIMEOUT: Range = Range { key: "timeout", least: 1, most: 60_000 };
pub(crate) const MAX_OFFSET: Range = Range { key: "max_offset", least: 1, most: 3_600_000 };
pub(crate) const RISE: Range = Range { key: "rise", least: 1, most: 100 };
pub(crate) const FALL: Range = Range { key: "fall", least: 1, most: 100 };

impl Range {
    /// The value in the range that is next to this one. A note says so if it is another one.
    pub(crate) fn fit(self, value: u64, node: Option<&Node>, report: &mut Report) -> u64 {
        let fitted = value.clamp(self.least, self.most);
        if let (true, Some(node)) = (fitted != value, node) {
            let value = if self.key == "rise" || self.key == "fall" {
                fitted.to_string()
            } else {
                format!("\"{}\"", duration(fitted))
            };
            report.differs(node, format!("`{}` cannot be this; {value} is the nearest", self.key));
        }
        fitted
    }
}

/// The value for `fast_interval`, which is not longer than `interval`.
pub(crate) fn fast_interval(value: u64, interval: u64, node: Option<&Node>, report: &mut Report) -> u64 {
    let fast = FAST_INTERVAL.fit(value, node, report);
    if let (true, Some(node)) = (fast > interval, node) {
        report.differs(node, "it is longer than the interval, which holds always");
    }
    fast.min(interval)
}

/// Sets `hold_time`, or the nearest value that BGP allows.
pub(crate) fn hold_time(seconds: u64, node: &Node, peer: &mut Table, report: &mut Report) {
    let fitted = if seconds == 0 { 0 } else { seconds.clamp(3, 65_535) };
    peer.set("hold_time", format!("{fitted}s"));
    if fitted != seconds {
        report
            .differs(node, format!("a hold time is zero, or 3 to 65,535 seconds; {fitted}s is the nearest"));
    }
}

/// A duration of so many milliseconds, as announcer.toml has it.
pub(crate) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// A duration as a value.
pub(crate) fn time(milliseconds: u64) -> Value {
    Value::Text(duration(milliseconds))
}

/// A number of seconds, with or without a fraction, in milliseconds.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.parse().ok()?;
    // More than eleven days is no interval of a check.
    let milliseconds = (seconds * 1000.0).round().max(if seconds > 0.0 { 1.0 } else { 0.0 });
    (0.0..=1e6).contains(&seconds).then_some(milliseconds as u64)
}

/// A duration as Go writes it, such as `1m30s`, in milliseconds.
pub(crate) fn go_duration(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match rest.get(..letters)? {
            "ns" => 1e-6,
            "us" | "µs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 6e4,
            "h" => 3.6e6,
            "d" => 8.64e7,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        sum += number * unit;
    }
    (0.0..=1e9).contains(&sum).then(|| sum.ceil() as u64)
}

/// The value of an option as a number or an address. A note says what is wrong.
pub(crate) fn parsed<T: std::str::FromStr>(node: &Node, what: &str, report: &mut Report) -> Option<T> {
    let value = node.word().parse().ok();
    if value.is_none() {
        report.dropped(node, format!("`{}` is not {what}", node.text()));
    }
    value
}

/// The words of a command line as Python's `shlex.split` reads them, for which `#` begins no comment; `None`: a quote has no end.
pub(crate) fn python_words(line: &str) -> Option<Vec<String>> {
    let mut escaped = String::new();
    let (mut quote, mut begins_word) = (None, true);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, '#') if begins_word => escaped.push('\\'),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (_, _) => {}
        }
        escaped.push(c);
        if c == '\\' && quote != Some('\'') {
            escaped.extend(rest.next());
        }
        begins_word = quote.is_none() && c.is_whitespace();
    }
    shlex::split(&escaped)
}

/// The number of an AS, also as two numbers with a dot (RFC 5396). A note says what is wrong, and that the router is left out.
pub(crate) fn router_asn(node: &Node, report: &mut Report) -> Option<u32> {
    let text = node.word();
    let asn = match text.split_once('.') {
        Some((high, low)) => high
            .parse::<u16>()
            .ok()
            .zip(low.parse::<u16>().ok())
            .map(|(high, low)| u32::from(high) << 16 | u32::from(low)),
        None => text.parse().ok(),
    };
    let asn = asn.filter(|asn| *asn > 0);
    if asn.is_none() {
        report.dropped(node, format!("`{}` is not an AS: the router is left out", node.text()));
    }
    asn
}

/// The value of an option in seconds, in milliseconds. A note says what is wrong.
pub(crate) fn parsed_seconds(node: &Node, report: &mut Report) -> Option<u64> {
    let value = seconds(node.word());
    if value.is_none() {
        report.dropped(node, format!("`{}` is not a number of seconds", node.text()));
    }
    value
}

/// A prefix, or an address as a prefix of one address.
pub(crate) fn prefix(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Whether the prefix is one address.
pub(crate) fn is_host(prefix: IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

/// A name with only the characters that names in announcer.toml have.
pub(crate) fn name(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.chars().take(60).map(allowed).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "service".to_owned() } else { name.to_owned() }
}

/// A shell line as a program with its arguments.
pub(crate) fn shell(line: &str) -> Vec<String> {
    ["/bin/sh", "-c", line].map(str::to_owned).to_vec()
}

/// A command without a shell. A program without a path is looked for by `env`.
pub(crate) fn command(mut words: Vec<String>) -> Vec<String> {
    if words.first().is_some_and(|program| !program.starts_with('/')) {
        words.insert(0, "/usr/bin/env".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_begins_no_comment_in_a_command_of_python() {
        for (line, want) in [
            ("a -u http://x/ # b -k 5", Some(vec!["a", "-u", "http://x/", "#", "b", "-k", "5"])),
            ("a '#b' \"# c\" d#e \\#f", Some(vec!["a", "#b", "# c", "d#e", "#f"])),
            ("a 'b", None),
        ] {
            assert_eq!(
                python_words(line),
                want.map(|words| words.into_iter().map(str::to_owned).collect()),
                "{line}"
            );
        }
    }

    #[test]
    fn an_as_is_a_number_or_two_with_a_dot() {
        let node = |text: &str| Node {
            name: "peer-as".into(),
            words: vec![text.to_owned()],
            place: crate::node::Place { file: "f".into(), line: 1 },
            children: None,
        };
        for (text, want) in
            [("65000", Some(65_000)), ("1.10", Some(65_546)), ("0", None), ("1.65536", None), ("x", None)]
        {
            let mut report = Report::default();
            assert_eq!(router_asn(&node(text), &mut report), want, "{text}");
            assert_eq!(report.notes().len(), usize::from(want.is_none()), "{text}");
        }
    }

    #[test]
    fn durations_of_all_systems_are_read() {
        for (text, want) in [
            ("5", Some(5000)),
            ("0.25", Some(250)),
            ("0.0001", Some(1)),
            ("0", Some(0)),
            ("-1", None),
            ("x", None),
            ("1e99", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
        for (text, want) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("100ms", Some(100)),
            ("1.5s", Some(1500)),
            ("5", None),
        ] {
            assert_eq!(go_duration(text), want, "{text}");
        }
        for (ms, want) in [(250, "250ms"), (5000, "5s"), (180_000, "3m"), (0, "0s"), (90_000, "90s")] {
            assert_eq!(duration(ms), want);
        }
        for (text, want) in [("www", "www"), ("a b/c", "a-b-c"), ("//", "service")] {
            assert_eq!(name(text), want);
        }
    }
}
