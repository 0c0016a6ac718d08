//! The readers of durations, and their units.
//!
//! Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Value, ValueError, integer, wrong};

/// Whole seconds that fit into 12 bits (RFC 4724 §3).
pub(in crate::config) fn restart_time(value: &Value<'_>) -> Result<Duration, ValueError> {
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
pub(in crate::config) fn microseconds(
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
pub(in crate::config) fn within(
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
pub(in crate::config) fn span(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// Zero, or 3 to 65535 whole seconds (RFC 4271 §4.2).
pub(in crate::config) fn hold_time(value: &Value<'_>) -> Result<Duration, ValueError> {
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
pub(in crate::config) fn min_hold_time(value: &Value<'_>) -> Result<Duration, ValueError> {
    within(Duration::from_secs(3)..=Duration::from_secs(u16::MAX.into()))(value)?;
    hold_time(value)
}

/// Zero, or 1 ms to 1 s.
pub(in crate::config) fn watch(value: &Value<'_>) -> Result<Duration, ValueError> {
    match duration_of(value, &(Duration::ZERO..=SECOND))? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => within(Duration::from_millis(1)..=Duration::from_secs(1))(value),
    }
}

pub(in crate::config) const MILLISECOND: Duration = Duration::from_millis(1);
pub(in crate::config) const SECOND: Duration = Duration::from_secs(1);
pub(in crate::config) const MINUTE: Duration = Duration::from_secs(60);
pub(in crate::config) const HOUR: Duration = Duration::from_secs(3600);
pub(in crate::config) const DAY: Duration = Duration::from_secs(86_400);
/// As humantime counts it: 365.25 days.
pub(in crate::config) const YEAR: Duration = Duration::from_secs(31_557_600);
