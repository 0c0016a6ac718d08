//! What to write instead of an unknown key.
//!
//! Pure. In this order: the word of another program ([`synonyms`]), a key of this table with a similar spelling, a
//! key of another table that may have been meant here, and the nearest keys with the place where all of them are listed.

use toml::de::DeValue;

use super::keys::{Key, Section};
use super::synonyms::{self, plain};

/// A table with at most this many keys is listed whole.
const LISTED: usize = 12;
/// How many of the nearest keys are named.
const NEAREST: usize = 3;
/// How near a key is at least, to be named: 0 is not at all, 1 is the same.
const NEAR: f64 = 0.8;

/// The key of this table that a word probably means: the only one of a synonym, or one with a similar spelling.
pub(super) fn meant(section: &'static Section, name: &str) -> Option<&'static Key> {
    match synonyms::find(section, name).map(|row| row.keys) {
        Some([(header, key)]) if *header == section.header => section.key(key),
        Some(_) => None,
        None => misspelt(section, name),
    }
}

/// The key of which a word is probably a misspelling.
fn misspelt(section: &'static Section, name: &str) -> Option<&'static Key> {
    let far = |key: &&Key| match plain(key.name) == plain(name) {
        true => 0,
        false => strsim::osa_distance(name, key.name),
    };
    section.keys().filter(|key| far(key) <= 1.max(key.name.len() / 3)).min_by_key(far)
}

/// The suggestion for an unknown key with this value.
pub(super) fn suggestion(
    whole: &'static Section,
    section: &'static Section,
    name: &str,
    value: &DeValue<'_>,
) -> String {
    if let Some(row) = synonyms::find(section, name) {
        return match row.keys {
            [(_, key)] if row.help.is_empty() => match section.key(key).and_then(Key::example) {
                Some(example) => format!("announcer calls it `{key}`: write it as in `{key} = {example}`"),
                None => format!("announcer calls it `{key}`"),
            },
            _ => row.help.to_owned(),
        };
    }
    if let Some(key) = same(section, name) {
        return format!("did you mean `{}`?", key.shown());
    }
    if let Some(home) = home(whole, section, name, value) {
        return home;
    }
    if let Some(key) = misspelt(section, name) {
        return format!("did you mean `{}`?", key.shown());
    }
    let all: Vec<&Key> = section.keys().collect();
    if all.len() <= LISTED {
        return format!("write one of {}", list(&all));
    }
    let nearness = |key: &Key| strsim::jaro_winkler(&plain(name), &plain(key.name));
    let mut near: Vec<(f64, &Key)> = all.into_iter().map(|key| (nearness(key), key)).collect();
    near.retain(|(nearness, _)| *nearness >= NEAR);
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let near: Vec<&Key> = near.into_iter().map(|(_, key)| key).take(NEAREST).collect();
    let all = format!("`man announcer.toml` and docs/configuration.md list the keys of `{}`", section.header);
    match near.as_slice() {
        [] => all,
        [_] => format!("the nearest key is {}; {all}", list(&near)),
        [..] => format!("the nearest keys are {}; {all}", list(&near)),
    }
}

fn list(keys: &[&Key]) -> String {
    keys.iter().map(|key| format!("`{}`", key.shown())).collect::<Vec<_>>().join(", ")
}

/// The other table to which the key belongs, if that is so for this place and this value.
fn home(
    whole: &'static Section,
    section: &'static Section,
    name: &str,
    value: &DeValue<'_>,
) -> Option<String> {
    let all = whole.all();
    let homes: Vec<(&Section, &Key)> =
        all.iter().filter_map(|other| Some((*other, same(other, name)?))).collect();
    if let Some(table) = homes.iter().find_map(|(_, key)| key.section()) {
        return is_table(value).then(|| format!("write it as a separate table, `{}`", table.header));
    }
    let fits = |(other, key): &&(&Section, &Key)| are_near(section, other) && is_like(key, value);
    let homes: Vec<_> = homes.iter().filter(fits).collect();
    let (_, key) = homes.first()?;
    let headers: Vec<String> = homes.iter().map(|(other, _)| format!("`{}`", other.header)).collect();
    Some(format!("`{}` belongs to {}", key.name, headers.join(" or ")))
}

/// The key of a table that is this word, whatever its capitals, `-` and `_`.
fn same(section: &Section, name: &str) -> Option<&'static Key> {
    section.keys().find(|key| plain(key.name) == plain(name))
}

/// Whether a key may have slipped from one of these tables into the other: one is in the other, both are about the session, or it is
/// above all tables.
fn are_near(one: &Section, other: &Section) -> bool {
    let root = |section: &Section| {
        let name = section.header.trim_matches(['[', ']']);
        match name.split_once('.').map_or(name, |(first, _)| first) {
            "peer" => "bgp",
            first => first,
        }
        .to_owned()
    };
    one.header.is_empty() || root(one) == root(other)
}

fn is_table(value: &DeValue<'_>) -> bool {
    value.is_table() || value.as_array().is_some_and(|all| all.iter().any(|one| one.get_ref().is_table()))
}

/// Whether the value is of the type of the key's example; an array is as good as one of its elements.
fn is_like(key: &Key, value: &DeValue<'_>) -> bool {
    let Some(Ok(example)) = key.example().map(DeValue::parse) else { return false };
    kind(value) == kind(example.get_ref())
}

/// The type of a value, or of the first element of an array; `None`: the array is empty.
fn kind(value: &DeValue<'_>) -> Option<&'static str> {
    match value {
        DeValue::Array(all) => kind(all.first()?.get_ref()),
        DeValue::String(_) => Some("string"),
        DeValue::Integer(_) => Some("integer"),
        DeValue::Float(_) => Some("float"),
        DeValue::Boolean(_) => Some("boolean"),
        DeValue::Datetime(_) => Some("date"),
        DeValue::Table(_) => Some("table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FILE;

    #[test]
    fn an_unknown_key_is_led_to_what_can_be_written_there() {
        for (header, written, want) in [
            ("[[peer]]", "remote_as = 65000", "announcer calls it `asn`: write it as in `asn = 65000`"),
            ("[[peer]]", "remote-as = 65000", "announcer calls it `asn`: write it as in `asn = 65000`"),
            ("[[peer]]", "holdTime = \"9s\"", "did you mean `hold_time`?"),
            (
                "[[service.check]]",
                "script = \"/bin/x\"",
                "write the program and its arguments, as in `exec = [\"/usr/local/bin/check-www\"]`",
            ),
            (
                "[[service.check]]",
                "inter = 2000",
                "announcer calls it `interval`: write it as in `interval = \"1s\"`",
            ),
            // A port of a check is no port of a router.
            (
                "[[service.check]]",
                "port = 80",
                "write the port in the first key of a `[[service.check]]`, as in `tcp = 25` or `http = \"http://www.example.com:8080/\"`",
            ),
            ("[bgp]", "port = 179", "`port` belongs to `[[peer]]`"),
            ("[bgp]", "hold-time = \"9s\"", "`hold_time` belongs to `[[peer]]`"),
            ("[[peer]]", "settle = \"1s\"", "`settle` belongs to `[bgp]`"),
            // It is a number in the other table.
            ("[bgp]", "med = \"low\"", "write one of `asn`, `router_id`, `settle`, `graceful_restart`"),
            ("[[service]]", "interval = \"1s\"", "`interval` belongs to `[[service.check]]`"),
            ("", "asn = 65001", "`asn` belongs to `[bgp]` or `[[peer]]`"),
            ("[bgp]", "interval = \"1s\"", "`interval` belongs to `[peer.bfd]`"),
            ("[[service.check]]", "expect_state = 1", "did you mean `expect_status`?"),
            ("[[service.check]]", "expects = 1", "did you mean `expect`?"),
            ("[[service.check]]", "expect_anything = 1", "the nearest keys are `expect`, `expect_"),
            (
                "[[service.check]]",
                "gone = true",
                "`man announcer.toml` and docs/configuration.md list the keys of `[[service.check]]`",
            ),
            ("[[service.check]]", "disabled = true", "remove it, or remove the check"),
            ("[[service.check]]", "bfd = true", "write `bfd = true` in `[[peer]]`"),
            ("[peer.bfd]", "detect_multiplier = 3", "write it as in `multiplier = 3`"),
            ("[[peer]]", "enabled = true", "remove it: a router has a session while its `[[peer]]`"),
            ("[[peer]]", "maximum_prefix = 10", "remove it: announcer takes no routes from routers"),
            ("", "log_level = \"debug\"", "write `level = \"info\"` in `[log]`"),
            ("", "include = \"x\"", "remove it: announcer also reads"),
            (
                "[[service.check]]",
                "zzz = 1",
                "`man announcer.toml` and docs/configuration.md list the keys of `[[service.check]]`",
            ),
            (
                "[[service]]",
                "status = 1",
                "`man announcer.toml` and docs/configuration.md list the keys of `[[service]]`",
            ),
        ] {
            let all = FILE.all();
            let section = all.into_iter().find(|section| section.header == header).unwrap();
            let (name, value) = written.split_once(" = ").unwrap();
            let value = DeValue::parse(value).unwrap();
            let help = suggestion(&FILE, section, name, value.get_ref());
            assert!(help.starts_with(want), "{header} {written}: {help}");
        }
    }

    #[test]
    fn a_synonym_of_one_key_counts_as_that_key() {
        for (header, name, want) in [
            ("[[peer]]", "remote_as", Some("asn")),
            ("[[service.check]]", "url", Some("http")),
            ("[[service.check]]", "type", None),
            ("[[peer]]", "local_as", None),
        ] {
            let section = FILE.all().into_iter().find(|section| section.header == header).unwrap();
            assert_eq!(meant(section, name).map(|key| key.name), want, "{name}");
        }
    }
}
