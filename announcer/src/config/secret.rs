//! Values that may have parts from credentials. `Display` and `Debug` show `${NAME}` in place of these parts.
//!
//! Pure. A key whose reader calls [`Value::shown`](super::value::Value::shown) can have such a value; the [`reader`](super::reader)
//! refuses it for all other keys, because these are printed, logged or sent to routers.

use std::fmt;
use std::ops::Deref;

use toml::Value as Toml;
use url::Url;

use super::value::{Value, ValueError};
use super::writer::{self, ToToml};

/// The text between the shown form of a value and the value itself, where two configurations are compared.
pub(super) const SECRET_BEHIND: &str = "\0credential\0";

/// A text, which dereferences to the text itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText {
    text: String,
    /// With `${NAME}` for each credential; `None`: it has none.
    shown: Option<String>,
}

impl SecretText {
    /// A text, and how it is shown if it has a credential.
    pub fn new(text: String, shown: Option<String>) -> Self {
        SecretText { text, shown }
    }

    /// The text itself, with the credentials.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Deref for SecretText {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        SecretText { text: text.to_owned(), shown: None }
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        SecretText { text, shown: None }
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown.as_ref().unwrap_or(&self.text))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown.as_ref().unwrap_or(&self.text), f)
    }
}

impl ToToml for SecretText {
    fn to_toml(&self) -> Toml {
        shown_or(&self.shown, &self.text)
    }

    fn to_compare(&self) -> Toml {
        compared(&self.shown, &self.text)
    }
}

/// A URL, which dereferences to the URL itself. Only its path and its query can have a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestUrl {
    url: Url,
    shown: Option<String>,
}

impl RequestUrl {
    /// A URL, and how it is shown if it has a credential.
    pub fn new(url: Url, shown: Option<String>) -> Self {
        RequestUrl { url, shown }
    }
}

impl Deref for RequestUrl {
    type Target = Url;
    fn deref(&self) -> &Url {
        &self.url
    }
}

impl From<Url> for RequestUrl {
    fn from(url: Url) -> Self {
        RequestUrl { url, shown: None }
    }
}

impl fmt::Display for RequestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown.as_deref().unwrap_or(self.url.as_str()))
    }
}

impl fmt::Debug for RequestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl ToToml for RequestUrl {
    fn to_toml(&self) -> Toml {
        shown_or(&self.shown, self.url.as_str())
    }

    fn to_compare(&self) -> Toml {
        compared(&self.shown, self.url.as_str())
    }
}

/// The form that is shown is also one that can be written.
pub(super) fn shown_or(shown: &Option<String>, text: &str) -> Toml {
    shown.as_ref().map_or_else(|| writer::text(text), |shown| Toml::String(shown.clone()))
}

/// A form that differs if the credential does.
pub(super) fn compared(shown: &Option<String>, text: &str) -> Toml {
    match shown {
        Some(shown) => Toml::String(format!("{shown}{SECRET_BEHIND}{text}")),
        None => writer::text(text),
    }
}

/// Any string.
pub(super) fn secret_text(value: &Value<'_>) -> Result<SecretText, ValueError> {
    let shown = value.shown();
    super::value::string(value).map(|text| SecretText { text, shown })
}

/// An argument of a program; the kernel must be able to pass it.
pub(super) fn argument(value: &Value<'_>) -> Result<SecretText, ValueError> {
    let shown = value.shown();
    let text = super::value::text(value)?;
    if text.contains('\0') {
        return super::value::wrong("an argument ends at its first NUL", "remove NUL");
    }
    Ok(SecretText { text: text.to_owned(), shown })
}
