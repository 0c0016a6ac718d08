//! Reads the validity of a certificate (RFC 5280 section 4.1.2.5) from its DER (X.690), and writes dates.
//!
//! Pure. Only the two times are read; nothing is verified. Any octets give an answer or `None`.

use super::observations::Validity;

const SEQUENCE: u8 = 0x30;
/// `[0]`: the version, which certificates of version 1 leave out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The validity of a certificate in DER; `None`: it could not be read.
pub fn validity(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (mut fields, _) = take(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = skip(fields)?;
    }
    for _field in ["serialNumber", "signature", "issuer"] {
        fields = skip(fields)?;
    }
    let (times, _) = take(fields, SEQUENCE)?;
    let (begins, rest) = time(times)?;
    let (ends, _) = time(rest)?;
    Some(Validity { begins, ends })
}

/// The tag, the contents and the rest of the first value.
fn value(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = octets.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        0x80 | 0x85..=0xff => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

fn take(octets: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = value(octets)?;
    (tag == wanted).then_some((contents, rest))
}

fn skip(octets: &[u8]) -> Option<&[u8]> {
    value(octets).map(|(_, _, rest)| rest)
}

/// A time as seconds since 1970, and the rest.
fn time(octets: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, contents, rest) = value(octets)?;
    let digits = contents.strip_suffix(b"Z")?;
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = digits.get(range)?;
        digits
            .iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, at) = match (tag, digits.len()) {
        // RFC 5280: two digits from 50 on are of the twentieth century.
        (UTC_TIME, 12) => (number(0..2)?, 2),
        (GENERALIZED_TIME, 14) => (number(0..4)?, 4),
        (_, _) => return None,
    };
    let year = match tag {
        UTC_TIME if year >= 50 => year + 1900,
        UTC_TIME => year + 2000,
        _generalized => year,
    };
    let part = |index: usize| number(at + 2 * index..at + 2 * index + 2);
    let days = days_until(year, part(0)?, part(1)?)?;
    Some((days * 86_400 + part(2)? * 3_600 + part(3)? * 60 + part(4)?, rest))
}

/// The days from 1970-01-01 to a date of the Gregorian calendar.
fn days_until(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// A time of seconds since 1970 as `2026-01-31 12:00:00 UTC`.
pub fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let part = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * part + 2) / 5 + 1, if part < 10 { part + 3 } else { part - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(contents.len()).unwrap()], contents].concat()
    }

    fn certificate(version: &[u8], times: &[Vec<u8>]) -> Vec<u8> {
        let validity = der(SEQUENCE, &times.concat());
        let fields = [
            version,
            &der(2, &[1]),
            &der(SEQUENCE, &[]),
            &der(SEQUENCE, &[]),
            &validity,
            &der(SEQUENCE, &[]),
        ]
        .concat();
        der(SEQUENCE, &der(SEQUENCE, &fields))
    }

    #[test]
    fn both_kinds_of_time_are_read() {
        let (utc, general) = (der(UTC_TIME, b"260131120000Z"), der(GENERALIZED_TIME, b"20510101000000Z"));
        let version = der(VERSION, &der(2, &[2]));
        for version in [&version[..], &[]] {
            let read = validity(&certificate(version, &[utc.clone(), general.clone()])).unwrap();
            assert_eq!(date(read.begins), "2026-01-31 12:00:00 UTC");
            assert_eq!(date(read.ends), "2051-01-01 00:00:00 UTC");
        }
        let old = validity(&certificate(&[], &[der(UTC_TIME, b"991231235959Z"), utc])).unwrap();
        assert_eq!(date(old.begins), "1999-12-31 23:59:59 UTC");
    }

    #[test]
    fn what_is_no_certificate_gives_nothing() {
        let good = certificate(&[], &[der(UTC_TIME, b"260131120000Z"), der(UTC_TIME, b"270131120000Z")]);
        assert!(validity(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(validity(&good[..end]), None, "{end} octets");
        }
        for time in [&b"260131120000"[..], b"26013112000xZ", b"261331120000Z", b"260100120000Z", b""] {
            assert_eq!(
                validity(&certificate(&[], &[der(UTC_TIME, time), der(UTC_TIME, time)])),
                None,
                "{time:?}"
            );
        }
        assert_eq!(validity(&[SEQUENCE, 0x80, 0, 0]), None);
    }

    #[test]
    fn dates_of_leap_years_are_right() {
        for (year, month, day, want) in [
            (1970, 1, 1, "1970-01-01"),
            (2000, 2, 29, "2000-02-29"),
            (2024, 2, 29, "2024-02-29"),
            (2024, 3, 1, "2024-03-01"),
            (2100, 2, 28, "2100-02-28"),
            (1999, 12, 31, "1999-12-31"),
        ] {
            assert_eq!(date(days_until(year, month, day).unwrap() * 86_400), format!("{want} 00:00:00 UTC"));
        }
        // The day after 2100-02-28 is in March: 2100 is no leap year.
        assert_eq!(date(days_until(2100, 2, 28).unwrap() * 86_400 + 86_400), "2100-03-01 00:00:00 UTC");
    }
}
