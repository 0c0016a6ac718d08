//! The VIPs of a service: addresses, and ranges of addresses.
//!
//! Pure. A range is only another way to write its addresses: after the file is read, nothing knows of it.

use std::net::IpAddr;

use dsr_setup::range::{self, MOST, RangeError};

use super::address::{address, usable};
use super::value::{Value, ValueError, text, wrong};

/// An address that clients in other networks can use, or a range of such addresses.
pub(super) fn vips(value: &Value<'_>) -> Result<Vec<IpAddr>, ValueError> {
    const HELP: &str =
        "write the address that clients connect to, as in `\"192.0.2.80\"` or `\"2001:db8::80\"`";
    const RANGE: &str = "write the first and the last address, as in `\"192.0.2.80-192.0.2.89\"`";
    let Some(all) = value.found.as_str().and_then(range::addresses) else {
        return Ok(vec![usable(address(value)?, HELP)?]);
    };
    let shown = text(value)?.escape_debug();
    match all {
        Ok(all) => all.into_iter().map(|vip| usable(vip, HELP)).collect(),
        Err(RangeError::NoRange(None)) => wrong(format!("`{shown}` is not a range of addresses"), RANGE),
        Err(RangeError::NoRange(Some((first, last)))) => wrong(
            format!("`{shown}` is not a range of addresses"),
            format!("write both addresses whole and without blanks: `\"{first}-{last}\"`"),
        ),
        Err(RangeError::Families) => wrong(format!("the ends of `{shown}` are not of one family"), RANGE),
        Err(RangeError::Descends(first, last)) => wrong(
            format!("`{shown}` ends before it begins"),
            format!("write the lower address first: `\"{first}-{last}\"`"),
        ),
        Err(RangeError::TooLong(end)) => wrong(
            format!("a range has at most {MOST} addresses, and `{shown}` has more"),
            format!("write several ranges; the first can end at `{end}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::diff::differences;
    use crate::config::tests::GOOD;
    use crate::config::{ConfigError, canonical, parse};

    const BOTH: &str = "[\"192.0.2.80\", \"2001:db8::80\"]";

    fn vips(list: &str) -> Result<Vec<String>, Vec<(usize, String, String)>> {
        match parse("x", &GOOD.replace(BOTH, list)) {
            Ok(config) => Ok(config.services[0].vips.iter().map(ToString::to_string).collect()),
            Err(errors) => {
                let one = |e: ConfigError<'_>| (e.column, e.message.to_owned(), e.help.to_owned());
                Err(errors.iter().map(one).collect())
            }
        }
    }

    #[test]
    fn a_range_is_its_addresses() {
        for (list, want) in [
            ("[\"192.0.2.80-192.0.2.82\"]", vec!["192.0.2.80", "192.0.2.81", "192.0.2.82"]),
            ("[\"192.0.2.80-192.0.2.80\"]", vec!["192.0.2.80"]),
            ("[\"192.0.2.255-192.0.3.1\"]", vec!["192.0.2.255", "192.0.3.0", "192.0.3.1"]),
            ("[\"2001:db8::ff-2001:db8::101\"]", vec!["2001:db8::ff", "2001:db8::100", "2001:db8::101"]),
            (
                "[\"192.0.2.1\", \"192.0.2.80-192.0.2.81\", \"2001:db8::1\"]",
                vec!["192.0.2.1", "192.0.2.80", "192.0.2.81", "2001:db8::1"],
            ),
        ] {
            assert_eq!(vips(list).unwrap(), want, "{list}");
        }
        assert_eq!(vips("[\"192.0.2.0-192.0.2.255\"]").unwrap().len(), 256);
    }

    #[test]
    fn a_range_that_is_none_is_refused_with_what_to_write() {
        for (range, message, help) in [
            (
                "192.0.2.80-89",
                "`192.0.2.80-89` is not a range of addresses",
                "write both addresses whole and without blanks: `\"192.0.2.80-192.0.2.89\"`",
            ),
            (
                "192.0.2.80 - 192.0.2.89",
                "`192.0.2.80 - 192.0.2.89` is not a range of addresses",
                "write both addresses whole and without blanks: `\"192.0.2.80-192.0.2.89\"`",
            ),
            (
                "192.0.2.80-2001:db8::1",
                "the ends of `192.0.2.80-2001:db8::1` are not of one family",
                "write the first and the last",
            ),
            (
                "192.0.2.89-192.0.2.80",
                "`192.0.2.89-192.0.2.80` ends before it begins",
                "write the lower address first: `\"192.0.2.80-192.0.2.89\"`",
            ),
            (
                "192.0.2.0-192.0.3.0",
                "a range has at most 256 addresses, and `192.0.2.0-192.0.3.0` has more",
                "write several ranges; the first can end at `192.0.2.255`",
            ),
            (
                "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a range has at most 256 addresses",
                "write several",
            ),
            (
                "www-1.example.com",
                "`www-1.example.com` is not a range of addresses",
                "write the first and the last address",
            ),
            ("-", "`-` is not a range of addresses", "write the first and the last address"),
            (
                "223.255.255.254-224.0.0.1",
                "`224.0.0.0` is a multicast group",
                "write the address that clients connect to",
            ),
            // The peer of the file.
            (
                "10.0.1.0-10.0.1.9",
                "the VIP `10.0.1.1` is also a peer's address",
                "write an address that every frontend shares",
            ),
        ] {
            let errors = vips(&format!("[\"{range}\"]")).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            let (_, found, advice) = &errors[0];
            assert!(found.starts_with(message) && advice.starts_with(help), "{range}: {found}: {advice}");
        }
    }

    #[test]
    fn an_overlap_is_one_error_that_names_the_first_address_and_both_places() {
        let errors = vips("[\"192.0.2.80-192.0.2.89\", \"192.0.2.85\"]").unwrap_err();
        assert_eq!(errors, [(34, "`192.0.2.85` is named twice".into(), "name each VIP once".into())]);
        let text = GOOD.replace(BOTH, "[\"192.0.2.80-192.0.2.89\"]").replace(
            "[[service.check]]",
            "[[service.check]]\ntcp = 1\n[[service]]\nname = \"b\"\nvips = [\"192.0.2.70-192.0.2.82\"]\n[[service.check]]",
        );
        let errors = parse("x", &text).unwrap_err();
        assert_eq!(errors.len(), 1);
        let printed = errors.to_string();
        assert!(printed.starts_with("error: `192.0.2.80` and 2 more are named twice"), "{printed}");
        assert!(
            printed.contains("first named here") && printed.contains("vips = [\"192.0.2.80-192.0.2.89\"]"),
            "{printed}"
        );
    }

    #[test]
    fn the_prefix_has_to_cover_the_whole_range() {
        let text = GOOD
            .replace(BOTH, "[\"192.0.2.250-192.0.3.3\"]")
            .replace("med = 100", "prefix = \"192.0.2.0/24\"");
        let errors: Vec<String> =
            parse("x", &text).unwrap_err().iter().map(|error| error.message.to_owned()).collect();
        assert_eq!(errors, ["the VIP `192.0.3.0` is not in `192.0.2.0/24`, which is announced for it"]);
    }

    #[test]
    fn a_range_and_the_list_of_its_addresses_are_equal() {
        let of = |list: &str| parse("x", &GOOD.replace(BOTH, list)).unwrap();
        let (range, list) = (of("[\"192.0.2.80-192.0.2.81\"]"), of("[\"192.0.2.80\", \"192.0.2.81\"]"));
        assert_eq!(range, list);
        assert!(differences(&range, &list).is_empty());
        assert_eq!(parse("x", &canonical(&range)).unwrap(), range);
    }
}
