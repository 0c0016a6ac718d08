//! The values of a check's keys: what each may be.
//!
//! Pure.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Method, header};
use url::{Host, Url};

use super::super::value::{Value, Wrong, number, path, text, wrong};
use super::{Digest, ExitCodes, Pattern, Place, Statuses, Verify, Version};
use crate::model::ServiceName;

/// `http[s]://HOST[:PORT][/PATH][?QUERY]`.
pub(super) fn url(value: &Value<'_>) -> Result<Url, Wrong> {
    const EXAMPLE: &str = "write what a client asks, as in `\"http://www.example.com/healthz\"`";
    let text = text(value)?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong("this URL has a blank in it", "write `%20` for a blank");
    }
    let Ok(url) = Url::parse(text) else {
        return wrong(format!("`{}` is no URL", text.escape_debug()), EXAMPLE);
    };
    match url.scheme() {
        "http" | "https" => {}
        scheme if text.starts_with(&format!("{scheme}://")) => {
            return wrong(format!("`{scheme}` is none of the protocols that are spoken"), EXAMPLE);
        }
        _ => return wrong(format!("`{}` does not begin with `http://`", text.escape_debug()), EXAMPLE),
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "write `headers = [\"Authorization: Basic …\"]` for them";
        return wrong("user and password in a URL are not supported", help);
    }
    if url.fragment().is_some() {
        return wrong("no server is sent what follows `#` in a URL", "leave out `#` and what follows");
    }
    if url.port() == Some(0) {
        let help = "write the port of the server, or none for 80 and 443";
        return wrong("port 0 cannot be connected to", help);
    }
    Ok(url)
}

/// `HOST[:PORT]`.
pub(super) fn server(value: &Value<'_>) -> Result<(Host, u16), Wrong> {
    let text = text(value)?;
    let plain = !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c));
    let url = Url::parse(&format!("https://{text}")).ok().filter(|_| plain);
    let port = url.as_ref().and_then(Url::port_or_known_default).filter(|port| *port > 0);
    match (url.as_ref().and_then(Url::host), port) {
        (Some(host), Some(port)) => Ok((host.to_owned(), port)),
        (None, _) | (_, None) => wrong(
            format!("`{}` is no host and port", text.escape_debug()),
            "write the server as its clients name it, as in `\"www.example.com\"` or `\"www.example.com:8443\"`",
        ),
    }
}

/// What a service may be called.
pub(super) fn name(value: &Value<'_>) -> Result<String, Wrong> {
    let name: ServiceName = text(value)?.parse()?;
    Ok(name.as_str().to_owned())
}

/// `ADDRESS` or `ADDRESS:PORT`.
pub(super) fn place(value: &Value<'_>) -> Result<Place, Wrong> {
    let text = text(value)?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let place = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(both), _) => Place { ip: both.ip(), port: Some(both.port()) },
        (Err(_), Ok(ip)) => Place { ip, port: None },
        (Err(_), Err(_)) => {
            return wrong(
                format!("`{}` is no address", text.escape_debug()),
                "write an address, with a port or without, as in `\"127.0.0.1:8080\"` or `\"[::1]:8080\"`",
            );
        }
    };
    if place.ip.is_unspecified() || place.ip.is_multicast() || place.port == Some(0) {
        return wrong(
            format!("`{place}` cannot be connected to"),
            "write an address that a server listens at",
        );
    }
    Ok(place)
}

/// A token in capitals; CONNECT asks for something else than an answer.
pub(super) fn method(value: &Value<'_>) -> Result<Method, Wrong> {
    let text = text(value)?;
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if method != Method::CONNECT && !text.contains(char::is_lowercase) => Ok(method),
        Ok(_) | Err(_) => wrong(
            format!("`{}` is no method that can be asked", text.escape_debug()),
            "write `\"GET\"`, `\"HEAD\"`, `\"POST\"` or another one, in capitals",
        ),
    }
}

/// `Name: value`; none that HTTP itself sets.
pub(super) fn header(value: &Value<'_>) -> Result<(HeaderName, HeaderValue), Wrong> {
    const TAKEN: &[HeaderName] = &[
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
    ];
    let text = text(value)?;
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
        Some((Ok(name), Ok(field))) if field.to_str().is_ok() => Ok((name, field)),
        Some(_) | None => wrong(
            format!("`{}` is no header field", text.escape_debug()),
            "write a name, a colon and a value in ASCII, as in `\"Accept: text/plain\"`",
        ),
    }
}

pub(super) fn version(value: &Value<'_>) -> Result<Version, Wrong> {
    match text(value)? {
        "auto" => Ok(Version::Auto),
        "1.1" => Ok(Version::Http1),
        "2" => Ok(Version::Http2),
        other => wrong(
            format!("`{}` is no version of HTTP that is spoken", other.escape_debug()),
            "write `\"auto\"`, `\"1.1\"` or `\"2\"`",
        ),
    }
}

/// `200-299`, or one status.
pub(super) fn statuses(value: &Value<'_>) -> Result<Statuses, Wrong> {
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (200..=599).contains(status));
    if let Some(text) = value.found.as_str() {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        return match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Statuses { first, last }),
            (_, _) => wrong(
                format!("`{}` is no range of statuses", text.escape_debug()),
                "write `\"200-299\"`, or one status of 200 to 599",
            ),
        };
    }
    let one = u16::try_from(number(value, 200..=599)?).unwrap_or_default();
    Ok(Statuses { first: one, last: one })
}

pub(super) fn pattern(value: &Value<'_>) -> Result<Pattern, Wrong> {
    match regex_lite::Regex::new(text(value)?) {
        Ok(regex) => Ok(Pattern(regex)),
        Err(error) => wrong(
            format!("this is no regular expression: {error}"),
            "write one as in `\"^ok\"`; `\\\\` stands for itself in `'…'`",
        ),
    }
}

/// Hexadecimal, as long as a SHA-1 or a SHA-256.
pub(super) fn digest(value: &Value<'_>) -> Result<Digest, Wrong> {
    let text = text(value)?;
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let plain = text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let octets: Vec<u8> = (0..text.len()).step_by(2).map_while(digit).filter(|_| plain).collect();
    match (<[u8; 20]>::try_from(octets.as_slice()), <[u8; 32]>::try_from(octets.as_slice())) {
        (Ok(sha1), _) if text.len() == 40 => Ok(Digest::Sha1(sha1)),
        (_, Ok(sha256)) if text.len() == 64 => Ok(Digest::Sha256(sha256)),
        (_, _) => wrong(
            format!("`{}` is no digest", text.escape_debug()),
            "write the 40 digits of `sha1sum` or the 64 of `sha256sum`, of the body as it is sent",
        ),
    }
}

/// 1 to 16 MiB.
pub(super) fn max_body(value: &Value<'_>) -> Result<u32, Wrong> {
    number(value, 1..=16 * 1024 * 1024)
}

/// The name of a protocol: 1 to 255 octets (RFC 7301 §3.1).
pub(super) fn protocol(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.len() > 255 || !text.chars().all(|c| c.is_ascii_graphic()) {
        let help = "write the names that are registered, as in `[\"h2\", \"http/1.1\"]`";
        return wrong(format!("`{}` is no protocol of ALPN", text.escape_debug()), help);
    }
    Ok(text.to_owned())
}

pub(super) fn verify(value: &Value<'_>) -> Result<Verify, Wrong> {
    match text(value)? {
        "warn" => Ok(Verify::Warn),
        "require" => Ok(Verify::Require),
        "off" => Ok(Verify::Off),
        other => wrong(
            format!("`{}` is no way to verify", other.escape_debug()),
            "write `\"warn\"`, `\"require\"` or `\"off\"`",
        ),
    }
}

/// A path that begins with `/`.
pub(super) fn absolute(value: &Value<'_>) -> Result<PathBuf, Wrong> {
    let path = path(value)?;
    if path.has_root() {
        return Ok(path);
    }
    let help = "write it from the root on, as in `\"/run/www.up\"`";
    wrong(format!("`{}` is no absolute path", path.display().to_string().escape_debug()), help)
}

/// A name that /etc/passwd can have.
pub(super) fn user(value: &Value<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace() || ":/".contains(c)) {
        let help = "write its name as /etc/passwd has it, as in `\"nobody\"`";
        return wrong(format!("`{}` is no user", text.escape_debug()), help);
    }
    Ok(text.to_owned())
}

pub(super) fn exit_codes(value: &Value<'_>) -> Result<ExitCodes, Wrong> {
    match text(value)? {
        "zero" => Ok(ExitCodes::Zero),
        "nagios" => Ok(ExitCodes::Nagios),
        other => wrong(
            format!("`{}` is no meaning of exit codes", other.escape_debug()),
            "write `\"zero\"` or `\"nagios\"`",
        ),
    }
}
