//! Reads one value of the file: its type, and the rules that depend only on the value.
//!
//! Pure.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::LOOPBACK;
use super::keys::{Key, Need};
use crate::model::{Asn, InvalidValue, PeerAsn, Weight, asdot};

/// A value as it is in the file.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) key: &'static Key,
    /// Whether it is an element of the key's array.
    pub(super) element: bool,
    pub(super) found: &'a DeValue<'a>,
    /// The form that is shown if it has a part from a credential.
    pub(super) secret: Option<&'a str>,
    /// Whether its reader has asked for this form.
    pub(super) keeps: Cell<bool>,
    /// Whether the error of its reader is about this form, so that it quotes no credential.
    pub(super) printable: Cell<bool>,
}

/// Why it cannot be used.
#[derive(Debug)]
pub(super) struct ValueError {
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: String,
    /// Whether the value is of another type than wanted.
    pub(super) mistyped: bool,
}

pub(super) fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError { message: message.into(), help: help.into(), mistyped: false })
}

/// The types of the model return "message; help".
impl From<InvalidValue> for ValueError {
    fn from(InvalidValue(text): InvalidValue) -> Self {
        let (message, help) = text.rsplit_once("; ").unwrap_or((&text, "write another value"));
        ValueError { message: message.to_owned(), help: help.to_owned(), mistyped: false }
    }
}

/// The value as messages print it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}`{}`", if self.element { "each of " } else { "" }, self.key.shown())
    }
}

impl<'a> Value<'a> {
    /// A value of the file.
    pub(super) fn new(
        key: &'static Key,
        element: bool,
        found: &'a DeValue<'a>,
        secret: Option<&'a str>,
    ) -> Self {
        Value { key, element, found, secret, keeps: Cell::new(false), printable: Cell::new(false) }
    }

    /// How the value has to be shown, because it has a part from a credential; `None`: as it is. Only a reader whose value never
    /// shows the credential may call this.
    pub(super) fn shown(&self) -> Option<String> {
        self.keeps.set(true);
        self.secret.map(str::to_owned)
    }

    /// Lets the error of its reader be printed, if there is one: it is about the form that is shown.
    pub(super) fn of_shown<T>(&self, result: Result<T, ValueError>) -> Result<T, ValueError> {
        self.printable.set(result.is_err());
        result
    }
}

impl Value<'_> {
    /// The error for a value of another type than `wanted`, such as "a string" or "`[[peer]]`".
    pub(super) fn not(&self, wanted: &str) -> ValueError {
        if self.key.section().is_some() {
            let name = wanted.trim_matches(['[', ']']);
            let found = if self.found.is_table() {
                format!("`[{name}]`")
            } else if self.found.is_array() {
                format!("`[[{name}]]`")
            } else {
                a(self.found).to_owned()
            };
            let help = format!("write `{wanted}` on its own line, and its keys below it");
            return ValueError {
                message: format!("`{name}` must be written as `{wanted}`, not as {found}"),
                help,
                mistyped: true,
            };
        }
        let found = a(self.found);
        let example = self.key.example().unwrap_or(wanted);
        let help = match self.key.need {
            Need::Default("false") => format!("write `{} = true`", self.key.name),
            Need::Required(_)
            | Need::OneOf(_)
            | Need::Optional(_)
            | Need::Default(_)
            | Need::Table(_)
            | Need::OptionalTable(_)
            | Need::Tables(_)
            | Need::OptionalTables(_)
            | Need::Defaults(_) => {
                format!("write it as in `{} = {example}`", self.key.name)
            }
        };
        ValueError { message: format!("{self} must be {wanted}, not {found}"), help, mistyped: true }
    }

    /// The error for a value that is neither a boolean nor the table `header`.
    pub(super) fn no_switch(&self, header: &str) -> ValueError {
        let name = self.key.name;
        ValueError {
            message: format!(
                "`{name}` must be `true`, `false` or the table `{header}`, not {}",
                a(self.found)
            ),
            help: format!("write `{name} = true`, or `{header}` on its own line, and its keys below it"),
            mistyped: true,
        }
    }

    fn help(&self, help: impl fmt::Display) -> String {
        match self.key.need {
            Need::Default(value) => format!("{help}; the default is `{}`", value.trim_matches('"')),
            Need::Required(_)
            | Need::OneOf(_)
            | Need::Optional(_)
            | Need::Table(_)
            | Need::OptionalTable(_)
            | Need::Tables(_)
            | Need::OptionalTables(_)
            | Need::Defaults(_) => help.to_string(),
        }
    }
}

/// Its type, for a sentence.
fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Any string.
pub(super) fn string(value: &Value<'_>) -> Result<String, ValueError> {
    text(value).map(str::to_owned)
}

pub(super) fn text<'a>(value: &'a Value<'_>) -> Result<&'a str, ValueError> {
    value.found.as_str().ok_or_else(|| value.not("a string"))
}

/// `None`: no `u32`.
fn integer(value: &Value<'_>) -> Result<Option<u32>, ValueError> {
    if let DeValue::Integer(found) = value.found {
        return Ok(u32::from_str_radix(found.as_str(), found.radix()).ok());
    }
    let mut wrong = value.not("an integer");
    if let Some(number) = value.found.as_str().and_then(|text| text.parse::<u32>().ok()) {
        wrong.help = format!("write `{number}`, without quotes");
    }
    Err(wrong)
}

pub(super) fn number(value: &Value<'_>, bounds: RangeInclusive<u32>) -> Result<u32, ValueError> {
    integer(value)?.filter(|number| bounds.contains(number)).ok_or_else(|| outside(value, bounds))
}

fn outside(value: &Value<'_>, bounds: RangeInclusive<u32>) -> ValueError {
    let (least, most) = bounds.into_inner();
    let help = value.help(format_args!("write a number of {least} to {most}"));
    ValueError { message: format!("{value} must be {least} to {most}"), help, mistyped: false }
}

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
pub(super) fn asn(value: &Value<'_>) -> Result<Asn, ValueError> {
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
pub(super) fn peer_asn(value: &Value<'_>) -> Result<PeerAsn, ValueError> {
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

/// 0 to 10.
pub(super) fn prepend(value: &Value<'_>) -> Result<u8, ValueError> {
    octet(value, 0..=10)
}

/// 1 to 255.
pub(super) fn hops(value: &Value<'_>) -> Result<u8, ValueError> {
    octet(value, 1..=255)
}

/// Octets of a TCP segment: 536 (RFC 9293 §3.7.1) to the largest value that Linux accepts for TCP_MAXSEG.
pub(super) fn segment_size(value: &Value<'_>) -> Result<u16, ValueError> {
    let bounds = 536..=32767;
    let found = number(value, bounds.clone())?;
    u16::try_from(found).map_err(|_| outside(value, bounds))
}

fn octet(value: &Value<'_>, bounds: RangeInclusive<u32>) -> Result<u8, ValueError> {
    let found = number(value, bounds.clone())?;
    u8::try_from(found).map_err(|_| outside(value, bounds))
}

pub(super) fn boolean(value: &Value<'_>) -> Result<bool, ValueError> {
    value.found.as_bool().ok_or_else(|| value.not("`true` or `false`"))
}

/// The name of a host in a URL: letters, digits, `-` and `_` between dots.
pub(super) fn host_name(name: &str) -> Result<(), ValueError> {
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    if name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(good) {
        return Ok(());
    }
    let help = match name.contains(['$', '{', '%', '<', '@']) {
        true => {
            "write the name itself, or `${NAME}` for a variable of the environment; nothing else is replaced"
        }
        false => "write the name as clients write it, as in `www.example.com`",
    };
    wrong(format!("`{}` is not a host name", name.escape_debug()), help)
}

/// A path that begins with `/`.
pub(super) fn absolute(value: &Value<'_>) -> Result<PathBuf, ValueError> {
    let path = path(value)?;
    if path.has_root() {
        return Ok(path);
    }
    let help = "write the path from `/` on, as in `\"/run/www.up\"`";
    wrong(format!("`{}` is not an absolute path", path.display().to_string().escape_debug()), help)
}

/// A path that is not empty.
pub(super) fn path(value: &Value<'_>) -> Result<PathBuf, ValueError> {
    let text = text(value)?;
    if text.is_empty() || text.contains('\0') {
        return wrong(format!("`{}` is not a path", text.escape_debug()), "write the path of a file");
    }
    Ok(PathBuf::from(text))
}

/// `ADDRESS:PORT`, the address of IPv6 in brackets.
pub(super) fn listen(value: &Value<'_>) -> Result<SocketAddr, ValueError> {
    const HELP: &str = "write address and port, as in `\"127.0.0.1:9179\"` or `\"[::1]:9179\"`";
    let text = text(value)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) => wrong("port 0 cannot be used", HELP),
        Err(_) => wrong(format!("`{}` is not an address with a port", text.escape_debug()), HELP),
    }
}

/// A valid name for an interface in Linux.
pub(super) fn interface(value: &Value<'_>) -> Result<String, ValueError> {
    let text = text(value)?;
    let good = |c: char| c.is_ascii_graphic() && !"/:".contains(c);
    if text.is_empty() || text.len() > 15 || !text.chars().all(good) || [".", ".."].contains(&text) {
        return wrong(
            format!("`{}` is not an interface name", text.escape_debug()),
            "write its name as `ip link` prints it, as in `\"eth0\"`",
        );
    }
    Ok(text.to_owned())
}

/// The name of a VRF, which is that of its device.
pub(super) fn vrf(value: &Value<'_>) -> Result<String, ValueError> {
    match interface(value) {
        Err(ValueError { .. }) if value.found.as_str().is_some() => wrong(
            format!("`{}` is not the name of a VRF", text(value)?.escape_debug()),
            "write the name of its device as `ip link show type vrf` prints it, 1 to 15 characters, as in `\"edge\"`",
        ),
        Ok(name) if name == LOOPBACK => wrong(
            "`lo` is not a VRF",
            "remove `vrf`: without it, the VIPs are on lo, and the main routing table is used",
        ),
        other => other,
    }
}

/// Whole seconds that fit into 12 bits (RFC 4724 §3).
pub(super) fn restart_time(value: &Value<'_>) -> Result<Duration, ValueError> {
    let time = within(Duration::from_secs(1)..=Duration::from_secs(4095))(value)?;
    if time.subsec_nanos() != 0 {
        return wrong(
            format!("{value} must be whole seconds"),
            value.help("RFC 4724 section 3 counts it in seconds"),
        );
    }
    Ok(time)
}

/// Whole microseconds within bounds (RFC 5880 §4.1).
pub(super) fn microseconds(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Value<'_>) -> Result<Duration, ValueError> {
    move |value| {
        let time = within(bounds.clone())(value)?;
        if !time.subsec_nanos().is_multiple_of(1000) {
            return wrong(
                format!("{value} must be whole microseconds"),
                value.help("RFC 5880 section 4.1 counts it in microseconds"),
            );
        }
        Ok(time)
    }
}

/// 0 to 4294967295.
pub(super) fn med(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 0..=u32::MAX)
}

/// 1 to 65535.
pub(super) fn port(value: &Value<'_>) -> Result<u16, ValueError> {
    let port = number(value, 1..=u16::MAX.into())?;
    u16::try_from(port).or_else(|_| wrong("this is not a port", "write a number of 1 to 65535"))
}

/// 1 to 100.
pub(super) fn count(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 1..=100)
}

/// 1 to 100.
pub(super) fn weight(value: &Value<'_>) -> Result<Weight, ValueError> {
    let bounds = u32::from(Weight::LEAST)..=u32::from(Weight::MOST);
    let found = number(value, bounds.clone())?;
    u8::try_from(found).ok().and_then(Weight::new).ok_or_else(|| outside(value, bounds))
}

/// A word of the model: a name, a community.
pub(super) fn word<T: FromStr<Err = InvalidValue>>(value: &Value<'_>) -> Result<T, ValueError> {
    Ok(text(value)?.parse()?)
}

fn duration(value: &Value<'_>) -> Result<Duration, ValueError> {
    duration_of(value, &(Duration::ZERO..=Duration::MAX))
}

/// A duration that may be outside of the bounds. For a number without a unit, the unit is advised with which it is inside.
fn duration_of(value: &Value<'_>, bounds: &RangeInclusive<Duration>) -> Result<Duration, ValueError> {
    if let Ok(Some(number)) = integer(value) {
        let fits = |unit: Duration| unit.checked_mul(number).is_some_and(|time| bounds.contains(&time));
        let unit = if fits(MILLISECOND) && !fits(SECOND) { "ms" } else { "s" };
        let help = format!("write `\"{number}{unit}\"`: a string with a unit, such as `ms`, `s` or `m`");
        return Err(ValueError { help, ..value.not("a duration") });
    }
    let text = value.found.as_str().ok_or_else(|| value.not("a duration"))?;
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(duration),
        Err(_) => wrong(
            format!("`{}` is not a duration", text.escape_debug()),
            value.help("write numbers with their units, as in `100ms`, `9s` or `1m30s`"),
        ),
    }
}

/// A duration within bounds.
pub(super) fn within(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Value<'_>) -> Result<Duration, ValueError> {
    move |value| {
        let duration = duration_of(value, &bounds)?;
        let (least, most) = (span(*bounds.start()), span(*bounds.end()));
        if bounds.contains(&duration) {
            Ok(duration)
        } else if duration < *bounds.start() {
            wrong(
                format!("{value} must be at least `{least}`"),
                value.help(format_args!("write `{least}` to `{most}`")),
            )
        } else {
            wrong(
                format!("{value} must be at most `{most}`"),
                value.help(format_args!("write `{least}` to `{most}`")),
            )
        }
    }
}

/// A duration as it is written in the file: `1m30s`.
pub(super) fn span(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// Zero, or 3 to 65535 whole seconds (RFC 4271 §4.2).
pub(super) fn hold_time(value: &Value<'_>) -> Result<Duration, ValueError> {
    let hold = duration(value)?;
    if !hold.is_zero() && hold < Duration::from_secs(3) {
        let help = value.help("RFC 4271 section 4.2 forbids 1 and 2 seconds");
        wrong(format!("{value} must be zero or at least `3s`"), help)
    } else if hold.subsec_nanos() != 0 {
        let help = value.help("RFC 4271 section 4.2 counts it in seconds");
        wrong(format!("{value} must be whole seconds"), help)
    } else if hold > Duration::from_secs(u16::MAX.into()) {
        let help = value.help("RFC 4271 section 4.2 gives it two octets");
        wrong(format!("{value} must be at most `65535s`"), help)
    } else {
        Ok(hold)
    }
}

/// 3 to 65535 whole seconds: a hold time that is not zero.
pub(super) fn min_hold_time(value: &Value<'_>) -> Result<Duration, ValueError> {
    within(Duration::from_secs(3)..=Duration::from_secs(u16::MAX.into()))(value)?;
    hold_time(value)
}

/// Zero, or 1 ms to 1 s.
pub(super) fn watch(value: &Value<'_>) -> Result<Duration, ValueError> {
    match duration_of(value, &(Duration::ZERO..=SECOND))? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => within(Duration::from_millis(1)..=Duration::from_secs(1))(value),
    }
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// As humantime counts it: 365.25 days.
pub(super) const YEAR: Duration = Duration::from_secs(31_557_600);
