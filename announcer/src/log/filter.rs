//! Checks the value of `--log`.
//!
//! Pure. The filter library accepts any word as the name of a module, and then logs nothing: `inof` would switch off the log.

/// The levels, the quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks a filter: each of its parts has to be a level, or `MODULE=LEVEL`.
///
/// # Errors
/// The end of a sentence that begins with the filter.
pub fn check(filter: &str) -> Result<(), String> {
    for part in filter.split(',').map(str::trim) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            continue;
        }
        let near = LEVELS
            .iter()
            .filter(|known| strsim::osa_distance(known, level) <= 2)
            .min_by_key(|known| strsim::osa_distance(known, level));
        let near = near.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        return Err(format!(
            "`{level}` is not a level; write {}, or MODULE=LEVEL such as `announcer::bgp=debug`{near}",
            LEVELS.join(", ")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // W19: `--log json` and `--log inof` switched off all logging without a message.
    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in
            ["info", "DEBUG", "off", "announcer::bgp=debug", "warn,announcer::health=trace", "warn, info"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("inof", "did you mean `info`?"),
            ("err", "did you mean `error`?"),
            ("json", "`json` is not a level"),
            ("", "`` is not a level"),
            ("announcer::bgp", "`announcer::bgp` is not a level"),
            ("announcer::bgp=debgu", "did you mean `debug`?"),
            ("info,", "`` is not a level"),
            ("warn,announcer", "`announcer` is not a level"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.contains(want), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_not_named_is_logged_as_ever() {
        let filter =
            |text: &str| tracing_subscriber::EnvFilter::try_new(format!("info,{text}")).unwrap().to_string();
        assert_eq!(filter("warn"), "warn");
        assert!(filter("announcer::bgp=debug").contains("info"), "{}", filter("announcer::bgp=debug"));
    }
}
