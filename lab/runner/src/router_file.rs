//! The configuration file of a router, as far as the lab needs it: its interfaces, and the neighbours that it expects.
//!
//! Pure. The router's own daemon reads the whole file. FRR: `interface`, `ip address`, `ipv6 address`, `neighbor A`,
//! `bgp listen range P`. BIRD: `neighbor A`, `neighbor range P`; its file names no addresses of interfaces.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// What was read of a router's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouterFile {
    /// Whose configuration it is.
    pub(crate) daemon: Daemon,
    /// The interfaces that have addresses, in the order of the file.
    pub(crate) interfaces: Vec<Interface>,
    /// The neighbours, in the order of the file, each once.
    pub(crate) neighbours: Vec<Neighbour>,
}

/// The program that reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// FRR.
    Frr,
    /// BIRD 2.
    Bird,
}

/// An interface of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its name.
    pub(crate) name: String,
    /// Its addresses, with the lengths of their subnets.
    pub(crate) addresses: Vec<IpNet>,
}

/// Whom the router expects as a BGP neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbour {
    /// The host with this address.
    Address(IpAddr),
    /// Every host of this subnet.
    Range(IpNet),
}

impl Neighbour {
    /// Whether a session from `address` is expected.
    pub(crate) fn fits(self, address: IpAddr) -> bool {
        match self {
            Neighbour::Address(expected) => expected == address,
            Neighbour::Range(range) => range.contains(&address),
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Daemon::Frr => "FRR",
            Daemon::Bird => "BIRD",
        })
    }
}

/// Reads a router's file.
///
/// # Errors
/// When it is neither FRR's nor BIRD's: the rest of a sentence that begins with the file.
pub(crate) fn read(text: &str) -> Result<RouterFile, String> {
    let begins = |words: &[&str]| {
        text.lines().any(|line| line.split_whitespace().take(words.len()).eq(words.iter().copied()))
    };
    if begins(&["router", "bgp"]) {
        Ok(frr(text))
    } else if begins(&["protocol", "bgp"]) || begins(&["template", "bgp"]) {
        Ok(bird(text))
    } else {
        Err("has neither `router bgp` (FRR) nor `protocol bgp` (BIRD): write the configuration file of a BGP router".to_owned())
    }
}

fn frr(text: &str) -> RouterFile {
    let mut file = RouterFile { daemon: Daemon::Frr, interfaces: Vec::new(), neighbours: Vec::new() };
    let mut interface: Option<String> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &interface) {
            (["interface", name, ..], _) if !line.starts_with(' ') => interface = Some((*name).to_owned()),
            (["ip" | "ipv6", "address", address, ..], Some(name)) => {
                let Ok(address) = address.parse::<IpNet>() else { continue };
                match file.interfaces.iter_mut().find(|known| known.name == *name) {
                    Some(known) => known.addresses.push(address),
                    None => file.interfaces.push(Interface { name: name.clone(), addresses: vec![address] }),
                }
            }
            (["neighbor", neighbour, ..], _) => {
                if let Ok(address) = neighbour.parse() {
                    add(&mut file.neighbours, Neighbour::Address(address));
                }
            }
            (["bgp", "listen", "range", range, ..], _) => {
                if let Ok(range) = range.parse() {
                    add(&mut file.neighbours, Neighbour::Range(range));
                }
            }
            _ => {
                // A line that is not indented ends the interface.
                if !line.starts_with([' ', '\t']) && !line.starts_with('!') {
                    interface = None;
                }
            }
        }
    }
    file
}

fn bird(text: &str) -> RouterFile {
    let text = without_comments(text);
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, ';' | '{' | '}'));
    let mut words = words.by_ref().filter(|word| !word.is_empty());
    let mut neighbours = Vec::new();
    while let Some(word) = words.next() {
        if word != "neighbor" {
            continue;
        }
        match words.next() {
            Some("range") => {
                if let Some(range) = words.next().and_then(|range| range.parse().ok()) {
                    add(&mut neighbours, Neighbour::Range(range));
                }
            }
            Some(address) => {
                let address = address.split('%').next().unwrap_or_default(); // after it stands the interface
                if let Ok(address) = address.parse() {
                    add(&mut neighbours, Neighbour::Address(address));
                }
            }
            None => {}
        }
    }
    RouterFile { daemon: Daemon::Bird, interfaces: Vec::new(), neighbours }
}

fn add(neighbours: &mut Vec<Neighbour>, neighbour: Neighbour) {
    if !neighbours.contains(&neighbour) {
        neighbours.push(neighbour);
    }
}

/// BIRD's text without `# …` and `/* … */`.
fn without_comments(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['#', '/']) {
        let (before, comment) = rest.split_at(at);
        plain.push_str(before);
        rest = if comment.starts_with("/*") {
            comment.split_once("*/").map_or("", |(_, after)| after)
        } else if comment.starts_with('#') {
            comment.find('\n').map_or("", |end| comment.split_at(end).1)
        } else {
            plain.push('/');
            comment.split_at(1).1
        };
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<Neighbour> {
        list.iter()
            .map(|text| {
                text.parse()
                    .map(Neighbour::Address)
                    .unwrap_or_else(|_| Neighbour::Range(text.parse().unwrap()))
            })
            .collect()
    }

    #[test]
    fn of_frr_the_interfaces_and_the_neighbours_are_read() {
        let file = read(
            "interface eth1\n description client\n ip address 10.1.0.0/31\n ipv6 address 2001:db8:1::1/64\nexit\n!\n\
             interface ens3 vrf blue\n! a remark\n ip address 10.0.0.1/24\n ip address 10.0.9.1/24\nexit\n ip address 10.9.9.9/24\n!\nip route 0.0.0.0/0 10.1.0.1\n\
             router bgp 65000\n neighbor FRONTENDS peer-group\n bgp listen range 10.0.9.0/24 peer-group FRONTENDS\n \
             neighbor 10.1.1.1 peer-group FRONTENDS\n neighbor 10.1.1.1 description fe1\n neighbor 2001:db8::9 remote-as 65001\n",
        );
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let interfaces = vec![
            interface("eth1", &["10.1.0.0/31", "2001:db8:1::1/64"]),
            interface("ens3", &["10.0.0.1/24", "10.0.9.1/24"]),
        ];
        let neighbours = addresses(&["10.0.9.0/24", "10.1.1.1", "2001:db8::9"]);
        assert_eq!(file, Ok(RouterFile { daemon: Daemon::Frr, interfaces, neighbours }));
    }

    #[test]
    fn of_bird_the_neighbours_are_read_and_comments_are_not() {
        let file = read(
            "# neighbor 10.9.9.9 as 1;\n/* neighbor 10.9.9.8\n as 1; */\nprotocol bgp fe1 from FRONTEND {\n\tneighbor 10.1.1.1 as 65001;\n}\n\
             protocol bgp all { neighbor range 10.2.0.0/16 as 65001; }\nprotocol bgp six {neighbor fe80::1%eth1 as 65001;}\n\
             protocol static { route 10.0.0.0/8 blackhole; }\n",
        );
        let neighbours = addresses(&["10.1.1.1", "10.2.0.0/16", "fe80::1"]);
        assert_eq!(file, Ok(RouterFile { daemon: Daemon::Bird, interfaces: Vec::new(), neighbours }));
    }

    #[test]
    fn another_file_is_refused() {
        for text in ["", "! router bgp 65000\n", "[bgp]\nasn = 65001\n"] {
            assert!(read(text).unwrap_err().contains("neither `router bgp`"), "{text}");
        }
    }

    #[test]
    fn a_neighbour_is_an_address_or_a_subnet() {
        for (neighbour, address, fits) in [
            ("10.1.1.1", "10.1.1.1", true),
            ("10.1.1.1", "10.1.1.2", false),
            ("10.1.0.0/16", "10.1.1.2", true),
            ("10.1.0.0/16", "10.2.1.2", false),
        ] {
            assert_eq!(
                addresses(&[neighbour])[0].fits(address.parse().unwrap()),
                fits,
                "{neighbour} {address}"
            );
        }
    }
}
