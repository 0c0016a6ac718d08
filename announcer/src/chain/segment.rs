//! The segment: the network on which members pass packets on to each other, a LAN or a VXLAN.
//!
//! Pure. On a VXLAN, all addresses follow from the list of members, so that no host has to learn any: the Ethernet address of a member
//! from its address in the list, and its link-local IPv6 address from that (RFC 4291 §2.5.1, modified EUI-64). Packets of IPv4 need an
//! address of IPv4 there, which is never sent: it is one that no host can have (RFC 1112 §4, 240.0.0.0/4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::digest::{SHA256, digest};

/// The name of the VXLAN device.
pub const VXLAN_DEVICE: &str = "announcer0";
/// The UDP port of VXLAN (RFC 7348 §5).
pub const VXLAN_PORT: u16 = 4789;
/// The MTU of the VXLAN device between members with IPv4 addresses. Packets of clients are not larger; the outer packets may be
/// fragmented.
pub const VXLAN_MTU: u32 = 1500;
/// The MTU between members with IPv6 addresses: 1,500 without 40 octets of IPv6, 8 of UDP, 8 of VXLAN and 14 of Ethernet. The outer
/// packets are not fragmented, so the kernel tells a client whose packets are larger (RFC 8201).
pub const VXLAN_MTU_V6: u32 = 1430;

/// The Ethernet address of a member on the VXLAN: a locally administered one.
pub fn ethernet(member: IpAddr) -> [u8; 6] {
    let octets = match member.to_canonical() {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let digest = digest(&SHA256, &v6.octets());
            digest.as_ref().first_chunk().copied().unwrap_or_default()
        }
    };
    let [a, b, c, d] = octets;
    [0x02, 0x61, a, b, c, d]
}

/// The link-local address of a member on the VXLAN.
pub fn link_local(member: IpAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = ethernet(member);
    let interface = u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(interface))
}

/// The IPv4 address of a member on the VXLAN, for routes and the neighbour table of the other members alone.
pub fn next_hop_v4(member: IpAddr) -> Ipv4Addr {
    let [_, _, a, b, c, d] = ethernet(member);
    Ipv4Addr::new(0xf0 | a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_on_a_vxlan_follow_from_the_address_of_the_member() {
        let v4: IpAddr = "10.0.1.11".parse().unwrap();
        assert_eq!(ethernet(v4), [0x02, 0x61, 10, 0, 1, 11]);
        assert_eq!(link_local(v4).to_string(), "fe80::61:aff:fe00:10b");
        assert_eq!(next_hop_v4(v4).to_string(), "250.0.1.11");
        let v6: Vec<IpAddr> = ["2001:db8::11", "2001:db8::12"].map(|text| text.parse().unwrap()).into();
        assert_ne!(ethernet(v6[0]), ethernet(v6[1]));
        assert!(
            v6.iter().all(|member| ethernet(*member)[..2] == [0x02, 0x61]
                && link_local(*member).is_unicast_link_local())
        );
    }
}
