//! The readers of AS numbers, with help for other notations.
//!
//! Pure.

use toml::de::DeValue;

use super::{Value, ValueError, integer, outside, wrong};
use crate::model::{Asn, PeerAsn, asdot};

/// A way to write an AS that is not the way of this file.
enum AsNotation {
    /// A number as a string, perhaps behind `AS` or between blanks.
    Quoted(u32),
    /// `HIGH.LOW` (RFC 5396).
    Dotted(u32),
    /// Digits in groups, as in `65.000`; with the number that the same text is by RFC 5396.
    Grouped(u32, u32),
}

/// The notation of an AS in a text, which is a string or a float of the file.
fn as_notation(text: &str) -> Option<AsNotation> {
    let text = text.trim();
    let bare = ["ASN", "AS"].iter().find_map(|mark| {
        let (head, rest) = text.split_at_checked(mark.len())?;
        head.eq_ignore_ascii_case(mark).then_some(rest)
    });
    let text = bare.unwrap_or(text).trim_start();
    let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    if is_number(text) {
        return text.parse().ok().map(AsNotation::Quoted);
    }
    let number = asdot(text)?;
    let (high, low) = text.split_once('.')?;
    if low.len() == 3
        && low.starts_with('0')
        && let Ok(grouped) = format!("{high}{low}").parse()
    {
        return Some(AsNotation::Grouped(grouped, number));
    }
    Some(AsNotation::Dotted(number))
}

/// 1 to 4294967295.
pub(in crate::config) fn asn(value: &Value<'_>) -> Result<Asn, ValueError> {
    let text = match value.found {
        DeValue::Float(found) => Some(found.as_str()),
        DeValue::String(found) => Some(found.as_ref()),
        DeValue::Integer(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    let dot = || format!("{value} must be one number, without a dot");
    // A number that is no AS is reported as such: the help never says to write a value that would be refused.
    match text.and_then(as_notation) {
        Some(AsNotation::Quoted(number)) => {
            let asn = Asn::try_from(number)?;
            return Err(ValueError {
                help: format!("write `{asn}`, without quotes"),
                ..value.not("an integer")
            });
        }
        Some(AsNotation::Dotted(number)) => {
            let asn = Asn::try_from(number)?;
            return wrong(dot(), format!("write `{asn}`, which is the same AS (RFC 5396)"));
        }
        Some(AsNotation::Grouped(digits, number)) => {
            let (digits, number) = (Asn::try_from(digits)?, Asn::try_from(number)?);
            return wrong(dot(), format!("write `{digits}`, or `{number}` if the dot is that of RFC 5396"));
        }
        None if matches!(value.found, DeValue::Float(_)) => {
            let help = "write a number of 1 to 4294967295; in an AS with a dot (RFC 5396) each part is at most 65535";
            return wrong(dot(), help);
        }
        None => {}
    }
    let number = integer(value)?.ok_or_else(|| outside(value, 1..=u32::MAX))?;
    Ok(Asn::try_from(number)?)
}

/// An AS, or `external` or `internal`.
pub(in crate::config) fn peer_asn(value: &Value<'_>) -> Result<PeerAsn, ValueError> {
    match value.found.as_str() {
        Some("external") => Ok(PeerAsn::External),
        Some("internal") => Ok(PeerAsn::Internal),
        Some(text) if as_notation(text).is_none() => wrong(
            format!("`{}` is not an AS", text.escape_debug()),
            "write a number of 1 to 4294967295, `\"external\"` or `\"internal\"`",
        ),
        Some(_) | None => Ok(PeerAsn::Is(asn(value)?)),
    }
}

#[cfg(test)]
mod tests;
