//! The VIPs in announcer's configuration or on the command line, the directors, and whether its chain forwards packets.
//!
//! Pure. Only `[[service]] vips` and `vrf`, `[dsr] directors` and `[chain] forward` are read; `announcer validate` checks the rest of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::encoding::{self, EncodingFault};
use crate::plan::Forwarding;
use crate::range::{self, RangeError};
use crate::substitution::{Expansion, Variables, expand};

/// Reads one VIP: a unicast address that other hosts can reach.
pub fn vip(text: &str) -> Result<IpAddr, VipError> {
    usable(text.parse().map_err(|_| VipError::NoAddress)?)
}

/// Reads a VIP, or a range of VIPs.
fn vip_or_range(text: &str) -> Result<Vec<IpAddr>, VipError> {
    match range::addresses(text) {
        None => Ok(vec![vip(text)?]),
        Some(all) => all?.into_iter().map(usable).collect(),
    }
}

fn usable(vip: IpAddr) -> Result<IpAddr, VipError> {
    let kind = match vip {
        IpAddr::V4(v4) if v4.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_broadcast() => Some("no host's address"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("a loopback address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("no host's address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address written as IPv6"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    kind.map_or(Ok(vip), |kind| Err(VipError::Kind(kind)))
}

/// The text of announcer's configuration; messages call it `name`.
///
/// # Errors
/// Each place that is not UTF-8, with its line, column and octet.
pub fn decode(name: &str, octets: Vec<u8>) -> Result<String, ConfigError> {
    encoding::decode(octets).map_err(|error| {
        let line = |fault: EncodingFault| {
            let place = at(name, &error.text, Some(fault.span));
            format!("{place}: {}; {}", fault.message, fault.help)
        };
        ConfigError(error.faults.into_iter().map(line).collect())
    })
}

/// Every VIP of every service in `text`, which is a file of announcer's configuration; messages call it `name`. There may be none: then
/// announcer announces nothing.
///
/// # Errors
/// All mistakes at once, each with its line and column.
pub fn vips(name: &str, text: &str, variables: &Variables) -> Result<BTreeSet<IpAddr>, ConfigError> {
    let file: File = parse(name, text)?;
    addresses(name, text, variables, file.service.into_iter().flat_map(|service| service.vips), vip_or_range)
}

/// The VIPs of the configuration, by the VRF of their service; `None`: those of services in no VRF. The device of a VRF has its VIPs, and
/// has the name of the VRF.
pub type VipsByVrf = BTreeMap<Option<String>, BTreeSet<IpAddr>>;

/// The same as [`vips`], by the VRF of their service (`[[service]] vrf`).
///
/// # Errors
/// All mistakes at once, each with its line and column.
pub fn vips_by_vrf(name: &str, text: &str, variables: &Variables) -> Result<VipsByVrf, ConfigError> {
    let file: File = parse(name, text)?;
    let (mut by_vrf, mut errors) = (VipsByVrf::new(), Vec::new());
    for Service { vips, vrf } in file.service {
        match (addresses(name, text, variables, vips, vip_or_range), vrf_of(name, text, variables, vrf)) {
            (Ok(vips), Ok(vrf)) => by_vrf.entry(vrf).or_default().extend(vips),
            (vips, vrf) => {
                let of_vips = vips.err().map(|ConfigError(lines)| lines);
                errors.extend(of_vips.into_iter().chain(vrf.err().map(|ConfigError(lines)| lines)).flatten());
            }
        }
    }
    if errors.is_empty() { Ok(by_vrf) } else { Err(ConfigError(errors)) }
}

/// The name of a VRF, after its variables were replaced.
fn vrf_of(
    name: &str,
    text: &str,
    variables: &Variables,
    written: Option<Spanned<String>>,
) -> Result<Option<String>, ConfigError> {
    let Some(written) = written else { return Ok(None) };
    let place = || at(name, text, Some(written.span()));
    match expand(written.get_ref(), variables) {
        Ok(Some(expansion)) => Ok(Some(expansion.text)),
        Ok(None) => Ok(Some(written.get_ref().clone())),
        Err(error) => Err(ConfigError(vec![format!("{}: {}; {}", place(), error.message, error.help)])),
    }
}

/// The directors (`[dsr] directors`) in `text`, which is a file of announcer's configuration; messages call it `name`.
///
/// # Errors
/// All mistakes at once, each with its line and column.
pub fn directors(name: &str, text: &str, variables: &Variables) -> Result<BTreeSet<IpAddr>, ConfigError> {
    let file: DsrFile = parse(name, text)?;
    let director = |text: &str| match vip(text) {
        Ok(address) => Ok(vec![address]),
        Err(VipError::Kind(kind)) => Err(DirectorError::Kind(kind)),
        Err(VipError::NoAddress | VipError::Range(_)) => Err(DirectorError::NoAddress),
    };
    addresses(name, text, variables, file.dsr.directors, director)
}

/// A text as TOML with the keys of `T`.
fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text)
        .map_err(|error| ConfigError(vec![format!("{}: {}", at(name, text, error.span()), error.message())]))
}

/// The addresses of all values, each of which `read` reads after its variables were replaced.
fn addresses<E: Display>(
    name: &str,
    text: &str,
    variables: &Variables,
    values: impl IntoIterator<Item = Spanned<String>>,
    read: impl Fn(&str) -> Result<Vec<IpAddr>, E>,
) -> Result<BTreeSet<IpAddr>, ConfigError> {
    let (mut found, mut errors) = (BTreeSet::new(), Vec::new());
    for written in values {
        let place = || at(name, text, Some(written.span()));
        let as_written = written.get_ref();
        let (expanded, shown) = match expand(as_written, variables) {
            Ok(Some(Expansion { text, shown })) => (text.clone(), shown.unwrap_or(text)),
            Ok(None) => (as_written.clone(), as_written.clone()),
            Err(error) => {
                let help = error.unset.map_or(error.help, |name| {
                    format!("set it in the environment, also in that of dsr-setup.service, or write a default, as in `${{{name}:-192.0.2.80}}`")
                });
                errors.push(format!("{}: {}; {help}", place(), error.message));
                continue;
            }
        };
        match read(&expanded) {
            Ok(all) => found.extend(all),
            Err(error) => errors.push(format!("{}: `{shown}` {error}", place())),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(ConfigError(errors)) }
}

/// Whether `[chain]` is in `text`, which is a file of announcer's configuration, without `forward = false`. A text that is no TOML has no
/// `[chain]`; [`vips`] reports it.
pub fn forwarding(text: &str) -> Forwarding {
    let chain = toml::from_str::<toml::Table>(text).ok().and_then(|mut file| file.remove("chain"));
    match chain {
        Some(chain) if chain.get("forward") != Some(&toml::Value::Boolean(false)) => Forwarding::Yes,
        Some(_) | None => Forwarding::No,
    }
}

/// Why a text is not a VIP. The message continues the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// Not an address at all, or one with a prefix length.
    #[error("is not an IP address; write it without a prefix length, as in `192.0.2.80`")]
    NoAddress,
    /// An address for which routers cannot have a route to this host.
    #[error("is {0}, and cannot be a VIP")]
    Kind(&'static str),
    /// It looks like a range, and is none.
    #[error(transparent)]
    Range(#[from] RangeError),
}

/// Why a text is not the address of a director. The message continues the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum DirectorError {
    /// Not an address at all, or one with a prefix length.
    #[error("is not an IP address; write that of the director in the LAN, as in `10.0.1.5`")]
    NoAddress,
    /// An address that no other host in the LAN can have.
    #[error("is {0}, and cannot be the address of a director")]
    Kind(&'static str),
}

/// The mistakes in the configuration, one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    service: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    vips: Vec<Spanned<String>>,
    vrf: Option<Spanned<String>>,
}

#[derive(Deserialize)]
struct DsrFile {
    #[serde(default)]
    dsr: Dsr,
}

#[derive(Deserialize, Default)]
struct Dsr {
    #[serde(default)]
    directors: Vec<Spanned<String>>,
}

/// `name:line:column` of the span's start, both from 1.
fn at(name: &str, text: &str, span: Option<Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    format!("{name}:{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::substitution::Variable;

    #[test]
    fn only_vips_are_read_and_the_rest_may_be_anything() {
        let text = "[bgp]\nasn = \"odd\"\n[[service]]\nname = 7\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n\
                    [[service]]\nvips = [\"192.0.2.81\"]\n[[service]]\n";
        let want = ["192.0.2.80", "192.0.2.81", "2001:db8::80"].map(|text| text.parse().unwrap());
        assert_eq!(vips("a.toml", text, &Variables::new()).unwrap(), want.into());
    }

    #[test]
    fn the_vips_of_a_vrf_are_apart() {
        let variables = Variables::from([("V".to_owned(), Variable::Environment("red".to_owned()))]);
        let text = "[[service]]\nvips = [\"192.0.2.80\"]\n[[service]]\nvrf = \"edge\"\nvips = [\"192.0.2.81\"]\n\
                    [[service]]\nvips = [\"2001:db8::81\"]\nvrf = \"edge\"\n[[service]]\nvrf = \"${V}\"\nvips = [\"192.0.2.82\"]\n";
        let found = vips_by_vrf("a.toml", text, &variables).unwrap();
        let of = |vrf: Option<&str>| {
            found[&vrf.map(str::to_owned)].iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found.len(), 3);
        assert_eq!(of(None), ["192.0.2.80"]);
        assert_eq!(of(Some("edge")), ["192.0.2.81", "2001:db8::81"]);
        assert_eq!(of(Some("red")), ["192.0.2.82"]);
        let wrong =
            "[[service]]\nvrf = \"${NONE}\"\nvips = [\"192.0.2.80/32\"]\n[[service]]\nvips = [\"::1\"]\n";
        let error = vips_by_vrf("a.toml", wrong, &Variables::new()).unwrap_err().to_string();
        let places = ["a.toml:3:9: `192.0.2.80/32`", "a.toml:2:7: `NONE` is not set", "a.toml:5:9: `::1`"];
        assert!(places.iter().all(|place| error.contains(place)) && error.lines().count() == 3, "{error}");
    }

    #[test]
    fn a_chain_forwards_unless_it_says_otherwise() {
        for (text, want) in [
            ("[chain]\ninterface = \"eth0\"\n", Forwarding::Yes),
            ("chain.forward = true", Forwarding::Yes),
            ("[chain]\nforward = false", Forwarding::No),
            ("[[service]]\nforward = true", Forwarding::No),
            ("", Forwarding::No),
            ("[chain]\nforward = \n", Forwarding::No),
        ] {
            assert_eq!(forwarding(text), want, "{text}");
        }
    }

    #[test]
    fn every_unreadable_vip_is_reported_with_its_place() {
        let text = "[[service]]\nvips = [\"192.0.2.80/32\", \"192.0.2.81\",\n  \"ff02::1\"]\n";
        assert_eq!(
            vips("a.toml", text, &Variables::new()).unwrap_err().to_string(),
            "a.toml:2:9: `192.0.2.80/32` is not an IP address; write it without a prefix length, as in `192.0.2.80`\n\
             a.toml:3:3: `ff02::1` is a multicast address, and cannot be a VIP"
        );
    }

    #[test]
    fn a_range_is_read_as_its_addresses() {
        let text = "[[service]]\nvips = [\"192.0.2.80-192.0.2.82\", \"2001:db8::1\"]\n";
        let want =
            ["192.0.2.80", "192.0.2.81", "192.0.2.82", "2001:db8::1"].map(|text| text.parse().unwrap());
        assert_eq!(vips("a.toml", text, &Variables::new()).unwrap(), want.into());
        let wrong = "[[service]]\nvips = [\"192.0.2.80-89\", \"223.255.255.255-224.0.0.1\"]\n";
        assert_eq!(
            vips("a.toml", wrong, &Variables::new()).unwrap_err().to_string(),
            "a.toml:2:9: `192.0.2.80-89` is not a range of addresses; write the first and the last address, as in `192.0.2.80-192.0.2.89`\n\
             a.toml:2:26: `223.255.255.255-224.0.0.1` is a multicast address, and cannot be a VIP"
        );
    }

    #[test]
    fn broken_toml_and_wrong_types_are_reported_with_their_place() {
        for (text, want) in [
            ("[[service]]\nvips = [\n", "a.toml:2:9: unclosed array"),
            ("[[service]]\nvips = \"192.0.2.80\"\n", "a.toml:2:8: invalid type"),
            ("[[service]]\nvips = [80]\n", "a.toml:2:9: invalid type"),
        ] {
            let error = vips("a.toml", text, &Variables::new()).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }

    #[test]
    fn variables_of_the_environment_are_replaced() {
        let variables = Variables::from([("VIP".to_owned(), Variable::Environment("192.0.2.80".to_owned()))]);
        let of = |vip: &str| vips("a.toml", &format!("[[service]]\nvips = [\"{vip}\"]\n"), &variables);
        assert_eq!(of("${VIP}").unwrap(), ["192.0.2.80".parse().unwrap()].into());
        assert_eq!(of("${NONE:-192.0.2.81}").unwrap(), ["192.0.2.81".parse().unwrap()].into());
        let error = of("${NONE}").unwrap_err().to_string();
        assert!(
            error.starts_with(
                "a.toml:2:9: `NONE` is not set; set it in the environment, also in that of dsr-setup.service"
            ),
            "{error}"
        );
    }

    #[test]
    fn directors_are_read_alone_and_every_mistake_has_its_place() {
        let variables = Variables::from([("D".to_owned(), Variable::Environment("10.0.1.6".to_owned()))]);
        let of = |text: &str| directors("a.toml", text, &variables);
        for (text, want) in [
            (
                "[dsr]\ndirectors = [\"10.0.1.5\", \"${D}\", \"2001:db8:1::5\"]\n",
                vec!["10.0.1.5", "10.0.1.6", "2001:db8:1::5"],
            ),
            ("dsr.directors = []\n[[service]]\nvips = 7\n", vec![]),
            ("[dsr]\n", vec![]),
            ("", vec![]),
        ] {
            let want: BTreeSet<IpAddr> = want.into_iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(of(text).unwrap(), want, "{text}");
        }
        let not_an_address = "is not an IP address; write that of the director in the LAN, as in `10.0.1.5`";
        for (written, want) in [
            (
                "[\"10.0.1.5/24\",\n \"127.0.0.1\"]",
                format!(
                    "a.toml:2:14: `10.0.1.5/24` {not_an_address}\na.toml:3:2: `127.0.0.1` is a loopback address, and cannot be the address of a director"
                ),
            ),
            ("[\"10.0.1.5-10.0.1.6\"]", format!("a.toml:2:14: `10.0.1.5-10.0.1.6` {not_an_address}")),
            (
                "\"10.0.1.5\"",
                "a.toml:2:13: invalid type: string \"10.0.1.5\", expected a sequence".to_owned(),
            ),
        ] {
            let error = of(&format!("[dsr]\ndirectors = {written}\n")).unwrap_err().to_string();
            assert_eq!(error, want, "{written}");
        }
    }

    // H16.
    #[test]
    fn a_configuration_without_a_vip_is_allowed() {
        for text in ["", "[bgp]\n", "[[service]]\nname = \"www\"\n"] {
            assert_eq!(vips("a.toml", text, &Variables::new()).unwrap(), BTreeSet::new(), "{text}");
        }
    }

    // H18.
    #[test]
    fn a_file_that_is_no_utf_8_is_reported_with_line_column_and_octet() {
        let error = |octets: &[u8]| decode("a.toml", octets.to_vec()).unwrap_err().to_string();
        assert_eq!(decode("a.toml", b"[bgp] # f\xc3\xbcr\n".to_vec()).unwrap(), "[bgp] # f\u{fc}r\n");
        assert_eq!(
            error(b"[bgp]\nasn = 1 # f\xfcr\n\xa0x = 1\n"),
            "a.toml:2:12: octet 0xfc is not UTF-8; in Latin-1 it is `\u{fc}`: save the file as UTF-8; \
             `iconv -f ISO-8859-1 -t UTF-8` converts it\n\
             a.toml:3:1: octet 0xa0 is not UTF-8; in Latin-1 it is a no-break space: write a plain space"
        );
        assert_eq!(
            error(b"\xff\xfe[\0b\0"),
            "a.toml:1:1: octet 0xff: this file is UTF-16; save it as UTF-8; `iconv -f UTF-16 -t UTF-8` converts it"
        );
    }

    #[test]
    fn addresses_that_cannot_be_a_vip() {
        for (text, want) in [
            ("127.0.0.1", "a loopback address"),
            ("169.254.1.1", "a link-local address"),
            ("224.0.0.5", "a multicast address"),
            ("0.0.0.0", "no host's address"),
            ("255.255.255.255", "no host's address"),
            ("::", "no host's address"),
            ("::1", "a loopback address"),
            ("fe80::1", "a link-local address"),
            ("ff02::1", "a multicast address"),
            ("::ffff:192.0.2.80", "an IPv4 address written as IPv6"),
        ] {
            assert_eq!(vip(text), Err(VipError::Kind(want)), "{text}");
        }
    }
}
