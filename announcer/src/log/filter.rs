//! Checks the value of `--log`.
//!
//! Pure. The filter library accepts any word as the name of a module, and then logs nothing: `inof` would switch off the log.

use tracing_subscriber::EnvFilter;

/// The levels, the quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The levels of syslog and of other programs, each with the level of announcer.
const OTHER_LEVELS: &[(&str, &str)] = &[
    ("emerg", "error"),
    ("alert", "error"),
    ("crit", "error"),
    ("critical", "error"),
    ("fatal", "error"),
    ("err", "error"),
    ("warning", "warn"),
    ("notice", "info"),
    ("verbose", "debug"),
    ("none", "off"),
];

/// The name of this crate, as it begins the names of its modules.
const CRATE: &str = "announcer";

/// The modules that log, below the crate `announcer`. The modules above them can be named too.
const MODULES: &[&str] = &[
    "bfd::io::session",
    "bfd::io::thread",
    "bgp::io::discovery",
    "bgp::io::network",
    "bgp::io::router_id",
    "bgp::io::session::actions",
    "bgp::io::session::clues",
    "bgp::io::session::liveness",
    "bgp::io::session::network",
    "bgp::io::session::routes",
    "bgp::io::session::talk",
    "capabilities::io",
    "chain::io::heartbeats",
    "chain::io::neighbours",
    "chain::io::vxlan",
    "cli::run",
    "control::io::drains",
    "control::io::socket",
    "daemon::io::bfd",
    "daemon::io::chain",
    "daemon::io::chain::capacity",
    "daemon::io::chain::exchange",
    "daemon::io::chain::key",
    "daemon::io::chain::paths",
    "daemon::io::chain::place",
    "daemon::io::chain::rules",
    "daemon::io::chain::switch",
    "daemon::io::chain::turn",
    "daemon::io::delivery",
    "daemon::io::direct",
    "daemon::io::findings",
    "daemon::io::limits",
    "daemon::io::main_loop",
    "daemon::io::reload",
    "daemon::io::sessions",
    "daemon::io::start",
    "daemon::io::stop",
    "daemon::io::supervise",
    "daemon::io::takeover",
    "daemon::io::takeover::store",
    "daemon::io::upgrade",
    "daemon::io::tasks",
    "drain::io",
    "drain::io::folder",
    "fallback::io",
    "files::io",
    "health::io::identity",
    "health::io::listener",
    "health::io::trust",
    "hook::io",
    "log::io",
    "log::io::level",
    "metrics::io",
    "page::io",
    "systemd::io",
    "realtime::io",
    "takeover::io::state_log",
    "takeover::io::children",
    "vip::io",
    "vip::io::device",
    "vip::io::lock",
    "weight::io",
];

/// The libraries that log.
const LIBRARIES: &[&str] = &["h2", "hyper_util", "netlink_proto", "netlink_sys", "reqwest"];

/// The spans: what the lines of a session have in common.
const SPANS: &[&str] = &["peer"];

/// The filter of a text.
///
/// # Errors
/// The end of a sentence that begins with the text.
pub fn parse(text: &str) -> Result<EnvFilter, String> {
    check(text)?;
    // The outcome of a probe has the error of the probe. The libraries must not log it again for each probe.
    EnvFilter::try_new(format!("info,hyper_util=error,{text}"))
        .map_err(|error| format!("it is not a filter: {error}"))
}

/// Checks a filter: each of its parts has to be a level, or `MODULE=LEVEL`.
///
/// # Errors
/// The end of a sentence that begins with the filter.
pub fn check(filter: &str) -> Result<(), String> {
    for part in filter.split(',').map(str::trim) {
        let (target, level) =
            part.rsplit_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(format!(
                "`{level}` is not a level; write {}, or MODULE=LEVEL such as `{CRATE}::bgp=debug`{}",
                LEVELS.join(", "),
                did_you_mean(level, LEVELS.iter().map(|known| (*known).to_owned()))
            ));
        }
        target.map_or(Ok(()), check_target)?;
    }
    Ok(())
}

/// Checks a module, and a span behind it, as in `announcer::bgp[peer{name=r1}]`.
fn check_target(target: &str) -> Result<(), String> {
    let (module, span) = target.split_once('[').map_or((target, None), |(module, span)| (module, Some(span)));
    if let Some(span) = span {
        let name = span.split(['{', ']']).next().unwrap_or_default();
        if !SPANS.contains(&name) || !span.ends_with(']') {
            return Err(format!(
                "`[{span}` is not a span; write `[peer{{name=NAME}}]` for the lines of one router"
            ));
        }
        if module.is_empty() {
            return Ok(());
        }
    }
    let below = |module: &str, of: &str| {
        module.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let own = module.strip_prefix(CRATE).and_then(|rest| rest.strip_prefix("::"));
    if module == CRATE
        || own.is_some_and(|own| MODULES.iter().any(|known| below(known, own)))
        || LIBRARIES.iter().any(|known| below(module, known))
    {
        return Ok(());
    }
    let of_crate = MODULES.iter().flat_map(|known| above(known)).map(|known| format!("{CRATE}::{known}"));
    let known = of_crate.chain([CRATE.to_owned()]).chain(LIBRARIES.iter().map(|known| (*known).to_owned()));
    Err(format!(
        "there is no module `{module}` that logs{}; write `announcer=LEVEL` for all modules of announcer",
        did_you_mean(module, known)
    ))
}

/// A module and the modules above it.
fn above(module: &'static str) -> impl Iterator<Item = &'static str> {
    let ends = module.match_indices("::").map(|(at, _)| at).chain([module.len()]);
    ends.filter_map(|end| module.get(..end))
}

/// The end of a sentence with the most similar words; empty if none is similar.
fn did_you_mean(word: &str, known: impl Iterator<Item = String>) -> String {
    let word = word.to_ascii_lowercase();
    if let Some((_, level)) = OTHER_LEVELS.iter().find(|(other, _)| *other == word) {
        return format!("; did you mean `{level}`?");
    }
    let most = if word.contains("::") { 4 } else { 2 };
    let mut near: Vec<(usize, String)> =
        known.map(|known| (strsim::osa_distance(&known, &word), known)).collect();
    near.retain(|(distance, _)| *distance <= most);
    near.sort_unstable();
    near.dedup();
    let near: Vec<String> = near.iter().take(3).map(|(_, known)| format!("`{known}`")).collect();
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    // W19: `--log json` and `--log inof` switched off all logging without a message.
    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "announcer::bgp=debug",
            "announcer=debug",
            "announcer::bgp::io::session::talk=off",
            "warn,announcer::health=trace",
            "warn, info",
            "h2=debug",
            "h2::codec=trace",
            "[peer{name=r1}]=debug",
            "announcer::bgp[peer]=debug",
        ] {
            assert_eq!(parse(good).map(drop), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("inof", "did you mean `info`?"),
            ("err", "did you mean `error`?"),
            ("Warning", "did you mean `warn`?"),
            ("announcer::bgp=notice", "did you mean `info`?"),
            ("json", "`json` is not a level"),
            ("", "`` is not a level"),
            ("announcer::bgp", "`announcer::bgp` is not a level"),
            ("announcer::bgp=debgu", "did you mean `debug`?"),
            ("info,", "`` is not a level"),
            ("warn,announcer", "`announcer` is not a level"),
            ("announcer::bpg=debug", "no module `announcer::bpg` that logs; did you mean `announcer::bgp`"),
            ("announcr=debug", "no module `announcr` that logs; did you mean `announcer`?"),
            (
                "announcer::bgp::io::sesion=debug",
                "did you mean `announcer::bgp::io::session` or `announcer::bfd::io::session`?",
            ),
            ("announcer::bg=debug", "did you mean `announcer::bgp`"),
            ("announcerbgp=debug", "no module `announcerbgp`"),
            ("announcer::=debug", "no module `announcer::`"),
            ("=debug", "no module ``"),
            ("nginx=debug", "no module `nginx` that logs; write"),
            ("[per]=debug", "`[per]` is not a span"),
            ("[peer=debug", "is not a span"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(want), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_not_named_is_logged_as_ever() {
        let filter = |text: &str| parse(text).unwrap().to_string();
        assert!(filter("warn").contains("warn") && !filter("warn").contains("info"), "{}", filter("warn"));
        assert!(filter("announcer::bgp=debug").contains("info"), "{}", filter("announcer::bgp=debug"));
    }

    #[test]
    fn every_module_that_logs_can_be_named() {
        fn walk(path: &Path, found: &mut Vec<PathBuf>) {
            if path.is_dir() {
                std::fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), found));
            } else {
                found.push(path.to_owned());
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut files, mut logging) = (Vec::new(), BTreeSet::new());
        walk(&root, &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let module =
                file.strip_prefix(&root).unwrap().with_extension("").to_string_lossy().replace('/', "::");
            let logs = text.lines().any(|line| {
                let line = line.trim_start();
                let macros = ["error!(", "warn!(", "info!(", "debug!(", "trace!(", "at_level!("];
                !line.starts_with("//") && macros.iter().any(|name| line.contains(name))
            });
            if module != "log::filter"
                && logs
                && (text.contains("use tracing::") || text.contains("at_level;"))
            {
                logging.insert(format!("announcer::{module}"));
            }
        }
        let named = |module: &&String| check_target(module).is_err();
        let missing: Vec<_> = logging.iter().filter(named).collect();
        assert!(missing.is_empty(), "add to MODULES: {missing:?}");
        let silent = |module: &&&str| !logging.contains(&format!("{CRATE}::{module}"));
        let silent: Vec<_> = MODULES.iter().filter(silent).collect();
        assert!(silent.is_empty(), "remove from MODULES: {silent:?}");
    }
}
