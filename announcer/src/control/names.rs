//! The message for an unknown name.
//!
//! Pure.

use crate::model::text;

/// The most names that are listed; a site may have thousands.
const LISTED: usize = 20;

/// The sentences for a name that is not one of `known`: with the most similar names, if there are any, or all names, if there are
/// few. `what` is the kind of name, such as `service`.
pub fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let name = text::one_line(name, text::LINE);
    let mut near: Vec<(usize, &str)> =
        known.iter().map(|other| (strsim::osa_distance(&name, other), *other)).collect();
    near.retain(|(distance, other)| *distance <= 1 + other.len().min(name.len()) / 3);
    near.sort();
    let near: Vec<String> = near.iter().take(3).map(|(_, other)| format!("`{other}`")).collect();
    let mut message = format!("error: there is no {what} `{name}`");
    if !near.is_empty() {
        message.push_str(&format!("; did you mean {}?", near.join(" or ")));
    }
    if known.is_empty() {
        message.push_str(&format!("; the configuration has no {what}"));
    } else if near.is_empty() {
        let listed: Vec<&str> = known.iter().take(LISTED).copied().collect();
        message.push_str(&format!("; there is {}", listed.join(", ")));
        if known.len() > LISTED {
            message.push_str(&format!(" and {} more", known.len() - LISTED));
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first_and_long_lists_are_cut() {
        let many: Vec<String> = (0..25).map(|number| format!("service-{number:03}x")).collect();
        let all: Vec<&str> = many.iter().map(String::as_str).collect();
        let twenty = all[..20].join(", ");
        for (name, known, want) in [
            ("ww", &["www", "mail"][..], "error: there is no service `ww`; did you mean `www`?".to_owned()),
            // In a long name, more letters may differ.
            (
                "pyaments",
                &["payments"],
                "error: there is no service `pyaments`; did you mean `payments`?".into(),
            ),
            ("paymnt", &["payments"], "error: there is no service `paymnt`; did you mean `payments`?".into()),
            // The shorter of both names decides.
            ("mail", &["mailman"], "error: there is no service `mail`; there is mailman".into()),
            ("mailman", &["mail"], "error: there is no service `mailman`; there is mail".into()),
            ("nonsuch", &["www", "mail"], "error: there is no service `nonsuch`; there is www, mail".into()),
            ("www", &[], "error: there is no service `www`; the configuration has no service".into()),
            ("\x1b[2J", &["www"], "error: there is no service `[2J`; there is www".into()),
            ("?", &all[..20], format!("error: there is no service `?`; there is {twenty}")),
            ("?", &all[..21], format!("error: there is no service `?`; there is {twenty} and 1 more")),
            ("?", &all, format!("error: there is no service `?`; there is {twenty} and 5 more")),
        ] {
            assert_eq!(unknown("service", name, known.iter().copied()), want);
        }
    }
}
