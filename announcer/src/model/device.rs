//! The devices that have the VIPs: lo, and those of VRFs.
//!
//! Pure.

/// The device of the VIPs of a service that is in no VRF.
pub const LOOPBACK: &str = "lo";

/// The advice for a VRF that does not exist, as part of a sentence: the command that creates it.
pub fn create_vrf(vrf: &str) -> String {
    format!("`ip link add {vrf} type vrf table NUMBER` creates it")
}
