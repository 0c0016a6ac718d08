//! The values of the keys of `http`, with their rules.
//!
//! Pure.

use std::fmt;

use ::http::{HeaderName, HeaderValue, Method, header};
use toml::Value as Toml;
use url::{Host, Url};

use super::super::super::secret::{RequestUrl, compared, shown_or};
use super::super::super::value::{Value, ValueError, host_name, number, text, wrong};
use super::super::super::writer::{self, ToToml};

/// `http_version`: the version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// The server chooses by ALPN; without TLS it is 1.1.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// Statuses that pass, one or a range; 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    /// The first.
    pub first: u16,
    /// The last, never below the first.
    pub last: u16,
}

impl Statuses {
    /// Whether a status is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

/// `expect_digest`; its length decides which kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// In hexadecimal, lower case.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = match self {
            Digest::Sha1(octets) => octets.as_slice(),
            Digest::Sha256(octets) => octets.as_slice(),
        };
        octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl ToToml for Method {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// A field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: HeaderName,
    /// Its value, which is sensitive if it has a credential: then `Debug` does not show it.
    pub value: HeaderValue,
    /// The line as it is shown if it has a credential.
    shown: Option<String>,
}

impl Field {
    /// A field, and how its line is shown if it has a credential.
    pub fn new(name: HeaderName, mut value: HeaderValue, shown: Option<String>) -> Self {
        value.set_sensitive(shown.is_some());
        Field { name, value, shown }
    }

    fn line(&self) -> String {
        format!("{}: {}", self.name, self.value.to_str().unwrap_or_default())
    }
}

impl ToToml for Field {
    fn to_toml(&self) -> Toml {
        shown_or(&self.shown, &self.line())
    }

    fn to_compare(&self) -> Toml {
        compared(&self.shown, &self.line())
    }
}

impl ToToml for HttpVersion {
    fn to_toml(&self) -> Toml {
        writer::text(match self {
            HttpVersion::Auto => "auto",
            HttpVersion::Http1 => "1.1",
            HttpVersion::Http2 => "2",
        })
    }
}

impl ToToml for Statuses {
    fn to_toml(&self) -> Toml {
        let Statuses { first, last } = self;
        if first == last {
            Toml::Integer((*first).into())
        } else {
            writer::text(format_args!("{first}-{last}"))
        }
    }
}

impl ToToml for Digest {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// `http[s]://HOST[:PORT][/PATH][?QUERY]`. Only the path and the query can have a credential: the server is in many outputs.
pub(super) fn url(value: &Value<'_>) -> Result<RequestUrl, ValueError> {
    let text = text(value)?;
    let Some(shown) = value.shown() else { return Ok(plain_url(text)?.into()) };
    // What is wrong with the form that is shown is wrong with each credential.
    value.of_shown(server_without_credential(&shown).and_then(|()| plain_url(&shown)))?;
    Ok(RequestUrl::new(plain_url(text)?, Some(shown)))
}

/// Refuses a URL whose scheme, host or port has a credential. User and password have another message.
fn server_without_credential(shown: &str) -> Result<(), ValueError> {
    let (scheme, behind) = shown.split_once("://").unwrap_or((shown, ""));
    let server = behind.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    if !scheme.contains("${") && (!server.contains("${") || server.contains('@')) {
        return Ok(());
    }
    wrong(
        "only the path and the query of a URL can have a value from a credential",
        "announcer prints and sends the name of the server: write the credential behind the `/`, as in `\"http://www.example.com/${NAME}\"`; for another part, use a variable of the environment",
    )
}

fn plain_url(text: &str) -> Result<Url, ValueError> {
    const EXAMPLE: &str = "write the URL that a client requests, as in `\"http://www.example.com/healthz\"`";
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong("this URL contains a blank", "write `%20` for a blank");
    }
    let Ok(url) = Url::parse(text) else {
        return wrong(format!("`{}` is not a URL", text.escape_debug()), EXAMPLE);
    };
    match url.scheme() {
        "http" | "https" => {
            let Some((_, behind)) = text.split_once("://") else {
                return wrong(format!("`{}` does not begin with `http://`", text.escape_debug()), EXAMPLE);
            };
            if behind.starts_with(['/', '\\', '?', '#']) {
                return wrong(format!("`{}` has no host", text.escape_debug()), EXAMPLE);
            }
        }
        scheme if text.starts_with(&format!("{scheme}://")) => {
            return wrong(format!("`{scheme}` is not a supported protocol"), EXAMPLE);
        }
        _ => return wrong(format!("`{}` does not begin with `http://`", text.escape_debug()), EXAMPLE),
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "write `headers = [\"Authorization: Basic …\"]` for them";
        return wrong("user and password in a URL are not supported", help);
    }
    if url.fragment().is_some() {
        return wrong(
            "clients do not send the part of a URL after `#` to the server",
            "remove `#` and the part after it",
        );
    }
    if let Some(Host::Domain(name)) = url.host() {
        host_name(name)?;
    }
    if url.port() == Some(0) {
        let help = "write the port of the server, or none for 80 and 443";
        return wrong("port 0 cannot be used", help);
    }
    Ok(url)
}

/// A token in capitals. CONNECT is refused, because it does not ask for an answer.
pub(super) fn method(value: &Value<'_>) -> Result<Method, ValueError> {
    let text = text(value)?;
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if method != Method::CONNECT && !text.contains(char::is_lowercase) => Ok(method),
        Ok(_) | Err(_) => wrong(
            format!("`{}` is not a supported method", text.escape_debug()),
            "write `\"GET\"`, `\"HEAD\"`, `\"POST\"` or another one, in capitals",
        ),
    }
}

/// `Name: value`; none that HTTP itself sets.
pub(super) fn header(value: &Value<'_>) -> Result<Field, ValueError> {
    const TAKEN: &[HeaderName] = &[
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
    ];
    let (shown, text) = (value.shown(), text(value)?);
    let parts = text
        .split_once(':')
        .map(|(name, value)| (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim())));
    match parts {
        Some((Ok(name), _)) if name == header::HOST => wrong(
            "the Host field is the host of the URL",
            "write that host in `http`, and the address in `target`",
        ),
        Some((Ok(name), _)) if TAKEN.contains(&name) => {
            wrong(format!("HTTP itself sets the field `{name}`"), "leave it out")
        }
        Some((Ok(name), Ok(field))) if field.to_str().is_ok() => Ok(Field::new(name, field, shown)),
        Some(_) | None => wrong(
            format!("`{}` is not a header field", text.escape_debug()),
            "write a name, a colon and a value in ASCII, as in `\"Accept: text/plain\"`",
        ),
    }
}

pub(super) fn version(value: &Value<'_>) -> Result<HttpVersion, ValueError> {
    match text(value)? {
        "auto" => Ok(HttpVersion::Auto),
        "1.1" => Ok(HttpVersion::Http1),
        "2" => Ok(HttpVersion::Http2),
        other => wrong(
            format!("`{}` is not a supported version of HTTP", other.escape_debug()),
            "write `\"auto\"`, `\"1.1\"` or `\"2\"`",
        ),
    }
}

/// `200-299`, or one status.
pub(super) fn statuses(value: &Value<'_>) -> Result<Statuses, ValueError> {
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (200..=599).contains(status));
    if let Some(text) = value.found.as_str() {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        return match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Statuses { first, last }),
            (_, _) => wrong(
                format!("`{}` is not a range of statuses", text.escape_debug()),
                "write `\"200-299\"`, or one status of 200 to 599",
            ),
        };
    }
    let one = u16::try_from(number(value, 200..=599)?).unwrap_or_default();
    Ok(Statuses { first: one, last: one })
}

/// Hexadecimal, as long as a SHA-1 or a SHA-256.
pub(super) fn digest(value: &Value<'_>) -> Result<Digest, ValueError> {
    let text = text(value)?;
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let plain = text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let octets: Vec<u8> = (0..text.len()).step_by(2).map_while(digit).filter(|_| plain).collect();
    match (<[u8; 20]>::try_from(octets.as_slice()), <[u8; 32]>::try_from(octets.as_slice())) {
        (Ok(sha1), _) if text.len() == 40 => Ok(Digest::Sha1(sha1)),
        (_, Ok(sha256)) if text.len() == 64 => Ok(Digest::Sha256(sha256)),
        (_, _) => wrong(
            format!("`{}` is not a digest", text.escape_debug()),
            "write the 40 digits of `sha1sum` or the 64 of `sha256sum`, of the body as it is sent",
        ),
    }
}

/// 1 to 16 MiB.
pub(super) fn max_body(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 1..=16 * 1024 * 1024)
}
