//! `expect_header` and `expect_json`: what an answer has to have, and what it has instead.
//!
//! Pure. JSON pointers are those of RFC 6901.

use std::fmt;

use ::http::{HeaderMap, HeaderName};
use serde_json::Value as Json;
use toml::Value as Toml;

use super::super::super::pattern::{self, Pattern};
use super::super::super::value::{Value, ValueError, text, wrong};
use super::super::super::writer::{self, ToToml};
use crate::model::text::PrintableText;

/// A header field that an answer has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedField {
    /// Its name.
    pub name: HeaderName,
    /// What has to be found in its value; `None`: any value.
    pub value: Option<Pattern>,
}

/// A value that the JSON of a body has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedJson {
    /// Where: empty, or parts that begin with `/`.
    pub pointer: String,
    /// The value.
    pub value: Json,
}

/// What an answer has in place of what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The name of the field, or the pointer.
    pub place: String,
    /// The value that is there; `None`: there is none.
    pub found: Option<PrintableText>,
}

impl ExpectedField {
    /// The difference between the header of an answer and this; `None`: there is none. Of several fields of the name, one is enough.
    pub fn difference(&self, header: &HeaderMap) -> Option<Mismatch> {
        let values = header.get_all(&self.name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let fits = |value: &str| self.value.as_ref().is_none_or(|pattern| pattern.found_in(value));
        let found = values.first().map(|value| PrintableText::new(value));
        (!values.iter().any(|value| fits(value))).then(|| Mismatch { place: self.name.to_string(), found })
    }
}

impl ExpectedJson {
    /// The difference between a JSON value and this; `None`: there is none.
    pub fn difference(&self, body: &Json) -> Option<Mismatch> {
        let found = body.pointer(&self.pointer);
        let text = found.map(|value| PrintableText::new(&value.to_string()));
        let same = found.is_some_and(|value| is_same(value, &self.value));
        (!same).then(|| Mismatch { place: self.pointer.clone(), found: text })
    }
}

/// Whether two values are the same. 1 and 1.0 are.
fn is_same(one: &Json, other: &Json) -> bool {
    let fraction = one.is_f64() || other.is_f64();
    let numbers = one.as_f64().zip(other.as_f64());
    one == other || fraction && numbers.is_some_and(|(one, other)| one.total_cmp(&other).is_eq())
}

impl fmt::Display for ExpectedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(pattern) => write!(f, "{}: {pattern}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl fmt::Display for ExpectedJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.pointer, self.value)
    }
}

impl ToToml for ExpectedField {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

impl ToToml for ExpectedJson {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// `NAME: REGULAR EXPRESSION`, or `NAME`.
pub(super) fn expect_header(value: &Value<'_>) -> Result<ExpectedField, ValueError> {
    let text = text(value)?;
    let (name, regex) = match text.split_once(':') {
        Some((name, regex)) => (name, Some(regex.trim_start())),
        None => (text, None),
    };
    let Ok(name) = name.parse::<HeaderName>() else {
        return wrong(
            format!("`{}` does not begin with the name of a header field", text.escape_debug()),
            "write a name, a colon and a regular expression, as in `\"x-ready: ^yes$\"`, or the name alone",
        );
    };
    Ok(ExpectedField { name, value: regex.map(pattern::compile).transpose()? })
}

/// `POINTER = JSON`.
pub(super) fn expect_json(value: &Value<'_>) -> Result<ExpectedJson, ValueError> {
    const HELP: &str =
        "write a JSON pointer, `=` and a JSON value, as in `'/status = \"ok\"'`; a text has double quotes";
    let text = text(value)?;
    let Some((pointer, json)) = text.split_once(" = ").or_else(|| text.split_once('=')) else {
        return wrong(format!("`{}` has no `=`", text.escape_debug()), HELP);
    };
    let pointer = pointer.trim();
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let message = format!("the JSON pointer `{}` does not begin with `/`", pointer.escape_debug());
        return wrong(message, HELP);
    }
    match serde_json::from_str(json.trim()) {
        Ok(value) => Ok(ExpectedJson { pointer: pointer.to_owned(), value }),
        Err(_) => wrong(format!("`{}` is not a JSON value", json.trim().escape_debug()), HELP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeConfig;
    use crate::config::kind::http::HttpConfig;
    use crate::config::tests::a_check;

    fn http(lines: &str) -> HttpConfig {
        let ProbeConfig::Http(http) = a_check(&format!("http = \"http://x/\"\n{lines}")).probe else {
            panic!("another kind")
        };
        http
    }

    #[test]
    fn one_field_of_the_name_has_to_match() {
        let header: HeaderMap = [("x-ready", "no"), ("x-ready", "yes"), ("server", "nginx/1.26")]
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .into_iter()
            .collect();
        for (expected, want) in [
            ("X-Ready: ^yes$", None),
            ("x-ready: ^maybe", Some(("x-ready", Some("no")))),
            ("server", None),
            ("server:nginx", None),
            ("server: ^apache", Some(("server", Some("nginx/1.26")))),
            ("x-other", Some(("x-other", None))),
            ("x-other: ^$", Some(("x-other", None))),
        ] {
            let found = http(&format!("expect_header = '{expected}'")).expect_header[0].difference(&header);
            let want = want.map(|(place, found): (&str, Option<&str>)| Mismatch {
                place: place.to_owned(),
                found: found.map(PrintableText::new),
            });
            assert_eq!(found, want, "{expected}");
        }
    }

    #[test]
    fn a_pointer_has_to_lead_to_the_value() {
        let body = serde_json::json!({"status": "ok", "ready": true, "db": {"lag": 1, "a/b": [2.5, null]}});
        for (expected, want) in [
            ("/status = \"ok\"", None),
            ("/status=\"ok\"", None),
            ("/status = \"OK\"", Some(Some("\"ok\""))),
            ("/ready = true", None),
            ("/ready = \"true\"", Some(Some("true"))),
            ("/db/lag = 1.0", None),
            ("/db/lag = 2", Some(Some("1"))),
            ("/db/a~1b/0 = 2.5", None),
            ("/db/a~1b/1 = null", None),
            ("/db/a~1b/2 = null", Some(None)),
            ("/db/a~1b = [2.5, null]", None),
            ("/none = 1", Some(None)),
        ] {
            let expected_json = http(&format!("expect_json = '{expected}'")).expect_json;
            let found = expected_json[0].difference(&body).map(|difference| difference.found);
            let want = want.map(|found: Option<&str>| found.map(PrintableText::new));
            assert_eq!(found, want, "{expected}");
        }
        for (one, other, want) in [
            ("18446744073709551615", "18446744073709551614", false),
            ("9007199254740993", "9007199254740992", false),
            ("3", "3.0", true),
            ("-1", "1", false),
        ] {
            let [one, other]: [Json; 2] = [one, other].map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(is_same(&one, &other), want, "{one} {other}");
        }
    }
}
