//! Whether a request names a host under which the listener may be asked.
//!
//! Pure. A web page can make a browser ask an address that the page's own name resolves to (DNS rebinding). The browser then sends
//! that name as the Host (RFC 9110 §7.2). An address, `localhost` or a configured name cannot be such a name.

use std::net::{IpAddr, Ipv6Addr};

/// Whether a listener answers a request for this host, with or without a port. `names` are those of the configuration.
pub fn is_admitted(host: &str, names: &[String]) -> bool {
    let Some(name) = without_port(host) else { return false };
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let same = |known: &str| known.strip_suffix('.').unwrap_or(known).eq_ignore_ascii_case(name);
    matches!(name.parse(), Ok(IpAddr::V4(_))) || same("localhost") || names.iter().any(|known| same(known))
}

/// A host without its port; `None`: this is no port.
fn without_port(host: &str) -> Option<&str> {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    match host.get(end..)?.find(':') {
        None => Some(host),
        Some(colon) => {
            let (name, port) = (host.get(..end + colon)?, host.get(end + colon + 1..)?);
            (port.is_empty() || port.parse::<u16>().is_ok()).then_some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_configured_names_are_admitted() {
        let names = ["fe1.example.com".to_owned()];
        for good in [
            "127.0.0.1",
            "127.0.0.1:9179",
            "192.0.2.1:80",
            "[::1]:9179",
            "[2001:db8::1]",
            "localhost",
            "LocalHost:9179",
            "localhost.:9179",
            "fe1.example.com:9179",
            "FE1.example.com.",
        ] {
            assert!(is_admitted(good, &names), "{good}");
        }
        for bad in [
            "",
            ":9179",
            "evil.example",
            "evil.example:9179",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "fe2.example.com",
            "[localhost]",
            "[::1",
            "::1",
            "127.0.0.1:9179:1",
            "127.0.0.1:99999",
            "127.0.0.1@evil.example",
            "[127.0.0.1]",
        ] {
            assert!(!is_admitted(bad, &names), "{bad}");
        }
    }
}
