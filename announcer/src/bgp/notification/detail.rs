//! Reads the data of a NOTIFICATION: the capability, the attribute, the limit, the number.
//!
//! Pure. RFC 5492 §5, RFC 4271 §6.1 to §6.3, RFC 4486 §4, RFC 6608 §4, RFC 8538 §3.1. The data comes from the peer: data that is
//! too short is ignored.

use super::{HARD_RESET, Notification};

/// The number of prefixes that a peer accepts for a family (RFC 4486 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixLimit {
    /// AFI and SAFI.
    pub family: (u16, u8),
    /// The most prefixes that it accepts.
    pub limit: u32,
}

/// A capability that a NOTIFICATION names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedCapability {
    /// Its code.
    pub code: u8,
    /// AFI and SAFI, if the code is that of a family (RFC 4760 §8).
    pub family: Option<(u16, u8)>,
}

impl Notification {
    /// The capabilities that data of 2/7 lists, encoded as in an OPEN (RFC 5492 §5), with or without the parameter
    /// around them.
    pub fn capabilities(&self) -> Vec<NamedCapability> {
        if self.kind() != (2, 7) {
            return Vec::new();
        }
        let bare = capabilities(&self.data);
        let wrapped = match self.data.as_slice() {
            [2, length, inside @ ..] if usize::from(*length) == inside.len() && *length >= 2 => {
                capabilities(inside)
            }
            _ => None,
        };
        wrapped.or(bare).unwrap_or_default()
    }

    /// The limit in the data of 6/1 (RFC 4486 §4).
    pub fn prefix_limit(&self) -> Option<PrefixLimit> {
        match (self.kind(), self.data.as_slice()) {
            ((6, 1), [afi_high, afi_low, safi, a, b, c, d]) => Some(PrefixLimit {
                family: (u16::from_be_bytes([*afi_high, *afi_low]), *safi),
                limit: u32::from_be_bytes([*a, *b, *c, *d]),
            }),
            _ => None,
        }
    }

    /// The type of the path attribute in the data of 3/x (RFC 4271 §6.3).
    pub fn attribute(&self) -> Option<u8> {
        match (self.kind(), self.data.as_slice()) {
            // Only the type.
            ((3, 3), [kind, ..]) => Some(*kind),
            ((3, 2 | 4 | 5 | 6 | 8 | 9), [_, kind, ..]) => Some(*kind),
            _ => None,
        }
    }

    /// The inner NOTIFICATION of a hard reset (RFC 8538 §3.1).
    pub fn inner(&self) -> Option<Notification> {
        match (self.kind(), self.data.as_slice()) {
            (HARD_RESET, [code, subcode, data @ ..]) if (*code, *subcode) != HARD_RESET => {
                Some(Notification::new((*code, *subcode), data))
            }
            _ => None,
        }
    }

    /// The data as words, if it can be read.
    pub(super) fn detail(&self) -> Option<String> {
        if let Some(text) = self.text() {
            return Some(format!("\"{text}\""));
        }
        if let Some(inner) = self.inner() {
            return Some(inner.to_string());
        }
        if let Some(PrefixLimit { family, limit }) = self.prefix_limit() {
            return Some(format!("{}, at most {limit}", family_name(family)));
        }
        if let Some(kind) = self.attribute() {
            return Some(attribute_name(kind));
        }
        let capabilities: Vec<String> = self.capabilities().iter().map(ToString::to_string).collect();
        if !capabilities.is_empty() {
            return Some(capabilities.join(", "));
        }
        match (self.kind(), self.data.as_slice()) {
            ((1, 2), [high, low, ..]) => Some(format!("length {}", u16::from_be_bytes([*high, *low]))),
            ((1, 3), [kind, ..]) => Some(format!("type {kind}")),
            ((2, 1), [high, low]) => Some(format!("version {} at most", u16::from_be_bytes([*high, *low]))),
            ((5, 1..=3), [kind, ..]) => Some(message_name(*kind)),
            _ => None,
        }
    }
}

/// Reads a list of code, length and value; `None`: the octets are not such a list.
fn capabilities(mut rest: &[u8]) -> Option<Vec<NamedCapability>> {
    let mut found = Vec::new();
    while let [code, length, after @ ..] = rest {
        let (value, later) = after.split_at_checked(usize::from(*length))?;
        let family = match (code, value) {
            (1, [high, low, _, safi]) => Some((u16::from_be_bytes([*high, *low]), *safi)),
            _ => None,
        };
        found.push(NamedCapability { code: *code, family });
        rest = later;
    }
    rest.is_empty().then_some(found)
}

impl std::fmt::Display for NamedCapability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(family) = self.family {
            return f.write_str(&family_name(family));
        }
        // IANA's registry of capability codes.
        let name = match self.code {
            1 => "multiprotocol",
            2 | 128 => "route refresh",
            3 => "outbound route filtering",
            5 => "extended next hop",
            6 => "extended messages",
            9 => "BGP role",
            64 => "graceful restart",
            65 => "AS numbers of four octets",
            67 => "dynamic capability",
            68 => "multisession",
            69 => "ADD-PATH",
            70 => "enhanced route refresh",
            71 => "long-lived graceful restart",
            73 => "host name",
            75 => "software version",
            76 => "paths limit",
            code => return write!(f, "capability {code}"),
        };
        write!(f, "{name} (capability {})", self.code)
    }
}

/// The name of a family, by its numbers (IANA, RFC 4760).
pub fn family_name((afi, safi): (u16, u8)) -> String {
    match (afi, safi) {
        (1, 1) => "IPv4".into(),
        (2, 1) => "IPv6".into(),
        (1, 128) => "VPN-IPv4".into(),
        (2, 128) => "VPN-IPv6".into(),
        (25, 70) => "EVPN".into(),
        (afi, safi) => format!("AFI {afi}, SAFI {safi}"),
    }
}

fn attribute_name(kind: u8) -> String {
    let name = match kind {
        1 => "ORIGIN",
        2 => "AS_PATH",
        3 => "NEXT_HOP",
        4 => "MULTI_EXIT_DISC",
        5 => "LOCAL_PREF",
        8 => "COMMUNITIES",
        14 => "MP_REACH_NLRI",
        15 => "MP_UNREACH_NLRI",
        16 => "EXTENDED_COMMUNITIES",
        17 => "AS4_PATH",
        32 => "LARGE_COMMUNITY",
        kind => return format!("attribute {kind}"),
    };
    format!("attribute {name}")
}

fn message_name(kind: u8) -> String {
    match kind {
        1 => "OPEN".into(),
        2 => "UPDATE".into(),
        3 => "NOTIFICATION".into(),
        4 => "KEEPALIVE".into(),
        5 => "ROUTE-REFRESH".into(),
        kind => format!("type {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // B10, B21: what the data says is shown.
    #[test]
    fn the_data_of_each_error_is_read_as_words() {
        for (kind, data, want) in [
            (
                (2, 7),
                &[0x46, 0][..],
                "OPEN Message Error/Unsupported Capability (enhanced route refresh (capability 70))",
            ),
            (
                (2, 7),
                &[0x41, 4, 0, 0, 0xfd, 0xe8],
                "OPEN Message Error/Unsupported Capability (AS numbers of four octets (capability 65))",
            ),
            (
                (2, 7),
                &[1, 4, 0, 2, 0, 1, 64, 2, 0, 0],
                "OPEN Message Error/Unsupported Capability (IPv6, graceful restart (capability 64))",
            ),
            // The whole optional parameter, which some peers send.
            ((2, 7), &[2, 6, 1, 4, 0, 1, 0, 1], "OPEN Message Error/Unsupported Capability (IPv4)"),
            (
                (2, 7),
                &[2, 2, 70, 0],
                "OPEN Message Error/Unsupported Capability (enhanced route refresh (capability 70))",
            ),
            // Capability 2, whose code is also the type of that parameter.
            ((2, 7), &[2, 0], "OPEN Message Error/Unsupported Capability (route refresh (capability 2))"),
            (
                (2, 7),
                &[2, 2, 0, 0, 99, 0],
                "OPEN Message Error/Unsupported Capability (route refresh (capability 2), capability 99)",
            ),
            ((2, 7), &[99, 0], "OPEN Message Error/Unsupported Capability (capability 99)"),
            // Data with a length that is too long names no capability.
            ((2, 7), &[65, 4, 0], "OPEN Message Error/Unsupported Capability"),
            ((2, 7), &[], "OPEN Message Error/Unsupported Capability"),
            ((2, 1), &[0, 3], "OPEN Message Error/Unsupported Version Number (version 3 at most)"),
            ((6, 1), &[0, 2, 1, 0, 0, 0, 10], "Cease/Maximum Number of Prefixes Reached (IPv6, at most 10)"),
            ((6, 1), &[0, 2, 1], "Cease/Maximum Number of Prefixes Reached"),
            (
                (6, 9),
                &[6, 1, 0, 1, 1, 0, 0, 0, 2],
                "Cease/Hard Reset (Cease/Maximum Number of Prefixes Reached (IPv4, at most 2))",
            ),
            (
                (3, 8),
                &[0x40, 3, 4, 10, 0, 0, 1],
                "UPDATE Message Error/Invalid NEXT_HOP Attribute (attribute NEXT_HOP)",
            ),
            ((3, 3), &[5], "UPDATE Message Error/Missing Well-known Attribute (attribute LOCAL_PREF)"),
            ((3, 9), &[0xc0, 99, 0], "UPDATE Message Error/Optional Attribute Error (attribute 99)"),
            ((3, 9), &[0xc0], "UPDATE Message Error/Optional Attribute Error"),
            ((3, 1), &[1, 2, 3], "UPDATE Message Error/Malformed Attribute List"),
            ((1, 2), &[0, 18], "Message Header Error/Bad Message Length (length 18)"),
            ((1, 3), &[9], "Message Header Error/Bad Message Type (type 9)"),
            ((5, 2), &[2], "Finite State Machine Error/Unexpected Message in OpenConfirm (UPDATE)"),
        ] {
            assert_eq!(Notification::new(kind, data).to_string(), want, "{kind:?} {data:?}");
        }
    }
}
