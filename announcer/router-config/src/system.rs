//! The router systems, and the head of each configuration.

use std::fmt;
use std::str::FromStr;

use crate::facts::{Facts, Frontends, INTERFACE};
use crate::text::Text;
use crate::{bird, eos, frr, gobgp, ios_xe, ios_xr, junos, nx_os, openbgpd, routeros, srlinux};

/// A router system for which a configuration can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// FRRouting.
    Frr,
    /// BIRD 2.
    Bird,
    /// OpenBGPD.
    Openbgpd,
    /// GoBGP.
    Gobgp,
    /// Juniper Junos OS.
    Junos,
    /// Arista EOS.
    Eos,
    /// Cisco IOS XE.
    IosXe,
    /// Cisco NX-OS.
    NxOs,
    /// Cisco IOS XR.
    IosXr,
    /// Nokia SR Linux.
    Srlinux,
    /// MikroTik RouterOS 7.
    Routeros,
}

/// How far a configuration was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// announcer's tests load it into this version.
    With(&'static str),
    /// Not tried on a device; written after this manual.
    After(&'static str),
}

/// A word that is not the name of a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSystem(pub String);

impl fmt::Display for UnknownSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a router system; write one of {}",
            self.0.escape_debug(),
            UnknownSystem::names()
        )
    }
}

impl UnknownSystem {
    /// The names of all systems, for messages.
    pub fn names() -> String {
        System::ALL.map(|system| format!("`{system}`")).join(", ")
    }
}

impl std::error::Error for UnknownSystem {}

impl System {
    /// All of them, in the order of the documents.
    pub const ALL: [System; 11] = [
        System::Frr,
        System::Bird,
        System::Openbgpd,
        System::Gobgp,
        System::Junos,
        System::Eos,
        System::IosXe,
        System::NxOs,
        System::IosXr,
        System::Srlinux,
        System::Routeros,
    ];

    /// The word for it on the command line and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            System::Frr => "frr",
            System::Bird => "bird",
            System::Openbgpd => "openbgpd",
            System::Gobgp => "gobgp",
            System::Junos => "junos",
            System::Eos => "eos",
            System::IosXe => "ios-xe",
            System::NxOs => "nx-os",
            System::IosXr => "ios-xr",
            System::Srlinux => "srlinux",
            System::Routeros => "routeros",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            System::Frr => "FRR",
            System::Bird => "BIRD",
            System::Openbgpd => "OpenBGPD",
            System::Gobgp => "GoBGP",
            System::Junos => "Junos OS",
            System::Eos => "Arista EOS",
            System::IosXe => "Cisco IOS XE",
            System::NxOs => "Cisco NX-OS",
            System::IosXr => "Cisco IOS XR",
            System::Srlinux => "Nokia SR Linux",
            System::Routeros => "MikroTik RouterOS",
        }
    }

    /// How far its configuration was tried.
    pub fn tried(self) -> Tried {
        match self {
            System::Frr => Tried::With("FRR 8.4.4"),
            System::Bird => Tried::With("BIRD 2.0.12"),
            System::Openbgpd => Tried::With("OpenBGPD 7.7 on Linux"),
            System::Gobgp => Tried::With("GoBGP 3.10.0"),
            System::Junos => Tried::After(junos::MANUAL),
            System::Eos => Tried::After(eos::MANUAL),
            System::IosXe => Tried::After(ios_xe::MANUAL),
            System::NxOs => Tried::After(nx_os::MANUAL),
            System::IosXr => Tried::After(ios_xr::MANUAL),
            System::Srlinux => Tried::After(srlinux::MANUAL),
            System::Routeros => Tried::After(routeros::MANUAL),
        }
    }

    /// What begins a comment.
    fn comment(self) -> &'static str {
        match self {
            System::Frr | System::Eos | System::IosXe | System::NxOs | System::IosXr => "!",
            System::Bird
            | System::Openbgpd
            | System::Gobgp
            | System::Junos
            | System::Srlinux
            | System::Routeros => "#",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for System {
    type Err = UnknownSystem;
    fn from_str(text: &str) -> Result<Self, UnknownSystem> {
        let found = System::ALL.into_iter().find(|system| system.name() == text);
        found.ok_or_else(|| UnknownSystem(text.to_owned()))
    }
}

/// The router's side for these frontends, as text with comments. It ends with a line feed.
pub fn configuration(system: System, facts: &Facts) -> String {
    let mut text = Text::new(system.comment());
    head(system, facts, &mut text);
    match system {
        System::Frr => frr::write(facts, &mut text),
        System::Bird => bird::write(facts, &mut text),
        System::Openbgpd => openbgpd::write(facts, &mut text),
        System::Gobgp => gobgp::write(facts, &mut text),
        System::Junos => junos::write(facts, &mut text),
        System::Eos => eos::write(facts, &mut text),
        System::IosXe => ios_xe::write(facts, &mut text),
        System::NxOs => nx_os::write(facts, &mut text),
        System::IosXr => ios_xr::write(facts, &mut text),
        System::Srlinux => srlinux::write(facts, &mut text),
        System::Routeros => routeros::write(facts, &mut text),
    }
    text.finish()
}

/// How far it was tried, for whom it is, and what has to be replaced.
fn head(system: System, facts: &Facts, text: &mut Text) {
    let title = system.title();
    match system.tried() {
        Tried::After(manual) => text.note(&format!("not tried on a device; written after {manual}")),
        Tried::With(version) => {
            text.note(&format!("announcer's tests load such a configuration into {version}."))
        }
    }
    let kind = match (facts.router_asn, facts.is_internal()) {
        (None, _) => String::new(),
        (Some(_), true) => ", iBGP".into(),
        (Some(_), false) => ", eBGP".into(),
    };
    text.note(&format!(
        "{title} as router `{}` (AS {}) of frontends with announcer (AS {}){kind}.",
        facts.router,
        facts.router_as(),
        facts.frontend_asn
    ));
    if facts.router_asn.is_none() {
        text.note("ROUTER-AS: write the router's AS; announcer's configuration does not name it.");
    }
    if facts.unnumbered {
        text.note(&format!(
            "The session is unnumbered: it is between link-local addresses, and the frontends learn the router from the router \
             advertisements (RFC 4861) that it has to send on {INTERFACE}. Write what names this interface once for each frontend. A \
             lifetime of 0 in the advertisements lets the frontends take no default route from them. announcer's tests have tried an \
             unnumbered session with FRR and BIRD alone."
        ));
    }
    let by_interface = facts.unnumbered && matches!(system, System::Frr | System::Bird);
    if facts.frontends == Frontends::Unknown && !by_interface {
        text.note(
            "FRONTEND-ADDRESS: write the address of the frontend. announcer's configuration has no `source_address` for this router: \
             add `--frontend ADDRESS` for each frontend, or `--frontend-range NETWORK`.",
        );
    }
    if facts.unnumbered || facts.neighbors().iter().any(|neighbor| neighbor.is_link_local) {
        text.note(&format!(
            "{INTERFACE}: write the router's interface on the link of the frontends; a link-local address needs it."
        ));
    }
    if let Some(range) = facts.range().filter(|range| range.prefix_len() < 8) {
        text.note(&format!(
            "WARNING: any host with an address of {range} may try to open a session. Write the network of the frontends alone."
        ));
    }
    if let (Some(key), Some(file)) = (facts.key(), &facts.md5_file) {
        let file = file.escape_debug();
        text.note(&format!("{key}: write the TCP MD5 key, the text in `{file}` on the frontend."));
    }
    if facts.extended_next_hop {
        text.note(
            "The session is over IPv6. If the router has the capability of RFC 8950, the next hop of IPv4 routes is an IPv6 address; if not, \
             it is the frontend's IPv4 address on this link.",
        );
    }
    if !facts.sends_graceful_shutdown {
        text.note(
            "This configuration of announcer does not send GRACEFUL_SHUTDOWN (RFC 8326) itself; a route that has it is still \
             the last choice here.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_again() {
        for system in System::ALL {
            assert_eq!(system.name().parse(), Ok(system));
        }
        let error = "cisco".parse::<System>().unwrap_err().to_string();
        assert!(error.starts_with("`cisco` is not a router system; write one of `frr`, `bird`"), "{error}");
    }
}
