//! `${NAME}` and `${NAME:-default}` in the values of announcer's configuration.
//!
//! Pure. `dsr-setup` and `announcer` both read the configuration by it. A default is used if the variable is unset or empty, as in a
//! shell. `$${` stands for the two characters `${`.

use std::collections::{BTreeMap, BTreeSet};

/// Where a value comes from, with the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// A variable of the environment.
    Environment(String),
    /// A credential of systemd: it is never printed.
    Credential(String),
    /// It exists, and cannot be used; with the reason, as the rest of a sentence that begins with its name.
    Unusable(String),
}

/// The variables that a configuration names, by their names; those that do not exist are missing.
pub type Variables = BTreeMap<String, Variable>;

/// A value after its substitution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// The value.
    pub text: String,
    /// The value as it can be written in a configuration and shown to people: with `${NAME}` for each credential; `None`: it has
    /// nothing of a credential.
    pub shown: Option<String>,
}

/// Why a value cannot be substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubstitutionError {
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub help: String,
    /// The name of the variable, if it is not set.
    pub unset: Option<String>,
}

/// A part of a value.
enum Piece<'a> {
    Text(&'a str),
    /// `$${`.
    Literal,
    Variable {
        name: &'a str,
        default: Option<&'a str>,
    },
    /// `${` that begins no substitution.
    Broken,
}

/// The pieces of a value, in their order.
fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while let Some(at) = text.find("${") {
        let (before, rest) = text.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Literal]);
            text = rest.get(2..).unwrap_or_default();
            continue;
        }
        pieces.push(Piece::Text(before));
        let inner = rest.get(2..).and_then(|inner| inner.split_once('}'));
        let (name, default) = match inner {
            Some((inner, _)) => {
                inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)))
            }
            None => ("", None),
        };
        if !is_name(name) {
            pieces.push(Piece::Broken);
            return pieces;
        }
        pieces.push(Piece::Variable { name, default });
        text = inner.map_or("", |(_, behind)| behind);
    }
    pieces.push(Piece::Text(text));
    pieces
}

/// Letters, digits, `_`, `-` and `.`; the first one is a letter or `_`.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet))
}

/// The names of the variables in a text, also those in comments.
pub fn names(text: &str) -> BTreeSet<String> {
    let behind = text.match_indices("${").filter_map(|(at, _)| text.get(at + 2..));
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c));
    let names = behind.filter_map(|rest| rest.split(is_end).next());
    names.filter(|name| is_name(name)).map(str::to_owned).collect()
}

/// Substitutes the variables of a value; `None`: it has none.
///
/// # Errors
/// When a variable is not set and has no default, or when `${` does not begin a substitution.
pub fn expand(text: &str, variables: &Variables) -> Result<Option<Expansion>, SubstitutionError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let (mut expanded, mut shown, mut is_secret) = (String::new(), String::new(), false);
    for piece in pieces(text) {
        let value = match piece {
            Piece::Text(text) => text,
            Piece::Literal => "${",
            Piece::Variable { name, default } => match (variables.get(name), default) {
                (Some(Variable::Environment(value) | Variable::Credential(value)), Some(default))
                    if value.is_empty() =>
                {
                    default
                }
                (Some(Variable::Environment(value)), _) => value,
                (Some(Variable::Credential(value)), _) => {
                    is_secret = true;
                    expanded.push_str(value);
                    shown.push_str(&format!("${{{name}}}"));
                    continue;
                }
                (Some(Variable::Unusable(why)), _) => {
                    let message = format!("`${{{name}}}` cannot be used: {why}");
                    return Err(SubstitutionError {
                        message,
                        help: "write another value, or correct this one".into(),
                        unset: None,
                    });
                }
                (None, Some(default)) => default,
                (None, None) => {
                    let help = match name.starts_with("ANNOUNCER_") {
                        true => format!(
                            "announcer sets it only for programs: write `$${{{name}}}`, which the program's shell replaces"
                        ),
                        false => format!(
                            "set `{name}` in the environment or as a credential of systemd, or write a default, as in `${{{name}:-default}}`; `$${{` stands for `${{` itself"
                        ),
                    };
                    let (message, unset) = (format!("`{name}` is not set"), Some(name.to_owned()));
                    return Err(SubstitutionError { message, help, unset });
                }
            },
            Piece::Broken => {
                return Err(SubstitutionError {
                    message: "`${` does not begin a substitution here".into(),
                    help: "write `${NAME}` or `${NAME:-default}`, with letters, digits, `_`, `-` and `.` in NAME; `$${` stands for `${` itself".into(),
                    unset: None,
                });
            }
        };
        expanded.push_str(value);
        shown.push_str(&escape(value));
    }
    let shown = Some(shown).filter(|_| is_secret);
    Ok(Some(Expansion { text: expanded, shown }))
}

/// A value as it has to be written in a configuration, so that nothing in it is substituted.
pub fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let environment =
            |name: &str, value: &str| (name.to_owned(), Variable::Environment(value.to_owned()));
        Variables::from([
            environment("ASN", "65001"),
            environment("EMPTY", ""),
            environment("REF", "${ASN}"),
            ("token.1".to_owned(), Variable::Credential("s3cret".to_owned())),
            ("BAD".to_owned(), Variable::Unusable("it is not UTF-8".to_owned())),
        ])
    }

    #[test]
    fn variables_are_replaced_once_and_a_default_is_for_what_is_unset_or_empty() {
        for (text, want) in [
            ("${ASN}", "65001"),
            ("a${ASN}b${ASN}", "a65001b65001"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${ASN:-x}", "65001"),
            ("${REF}", "${ASN}"),
            ("$${ASN}", "${ASN}"),
            ("$$${ASN}", "$${ASN}"),
            ("$5 $${", "$5 ${"),
            ("${token.1}", "s3cret"),
        ] {
            assert_eq!(expand(text, &variables()).unwrap().unwrap().text, want, "{text}");
        }
        for text in ["", "$", "$5", "a}b", "{x}"] {
            assert_eq!(expand(text, &variables()), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_has_a_credential_is_shown_with_its_name() {
        let shown = |text: &str| expand(text, &variables()).unwrap().unwrap().shown;
        assert_eq!(shown("Bearer ${token.1}").as_deref(), Some("Bearer ${token.1}"));
        assert_eq!(shown("${ASN} ${token.1:-x} ${REF}").as_deref(), Some("65001 ${token.1} $${ASN}"));
        assert_eq!(shown("${ASN}"), None);
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        for (text, want) in [
            ("${NONE}", "`NONE` is not set"),
            ("${BAD:-x}", "`${BAD}` cannot be used: it is not UTF-8"),
            ("${ASN", "`${` does not begin a substitution here"),
            ("${}", "`${` does not begin a substitution here"),
            ("${1}", "`${` does not begin a substitution here"),
            ("${A B}", "`${` does not begin a substitution here"),
            ("${A:+b}", "`${` does not begin a substitution here"),
        ] {
            let error = expand(text, &variables()).unwrap_err();
            assert_eq!(error.message, want, "{text}");
            assert!(!error.help.is_empty());
        }
    }

    #[test]
    fn an_escaped_text_is_itself() {
        for text in ["${ASN}", "$${ASN}", "$$${", "$", "${", "$$", "a", ""] {
            let again = expand(&escape(text), &Variables::new()).unwrap();
            assert_eq!(again.map_or(text.to_owned(), |again| again.text), text);
        }
    }

    #[test]
    fn names_are_found_wherever_they_are() {
        let found = names("a = \"${A} ${b.c:-x} ${D-}\" # ${E\n${1} $F ${}");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["A", "D-", "E", "b.c"]);
    }
}
