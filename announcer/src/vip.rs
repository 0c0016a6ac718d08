//! The VIPs on this host: on its loopback, or in a VRF on the device of the VRF.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::model::Generation;
use crate::model::device::LOOPBACK;

pub mod findings;
pub mod io;
pub mod keeper;
pub mod removals;

/// Whether a VIP is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Its device was not read yet.
    Unknown,
    /// It is on its device.
    Present,
    /// It is not on its device, and could not be put there.
    Missing(DeviceProblem),
    /// Its device is down, so no address on it answers; with the reason why it stays down.
    DeviceDown(DeviceProblem),
}

/// Why a VIP does not answer on its device: it is not there, or the device is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProblem {
    /// The name of the device: `lo`, or that of a VRF.
    pub device: String,
    /// The reason, without a full stop.
    pub reason: String,
}

impl DeviceProblem {
    /// The sentence for a VIP that is not on the device, without a full stop.
    pub fn missing_sentence(&self) -> String {
        format!("the VIP is not on {}: {}", self.device, self.reason)
    }

    /// The sentence for a device that is down, without a full stop.
    pub fn down_sentence(&self) -> String {
        format!("{} is down, and could not be set up: {}", self.device, self.reason)
    }
}

#[cfg(test)]
impl From<&str> for DeviceProblem {
    /// On lo.
    fn from(reason: &str) -> Self {
        DeviceProblem { device: LOOPBACK.into(), reason: reason.into() }
    }
}

/// The VIPs that have to be on one device. A VIP that is no longer in the list is withdrawn in `generation` or earlier, and leaves the
/// device `settle` after the routers have acknowledged that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVips {
    /// The VIPs of the configuration.
    pub vips: Arc<BTreeSet<IpAddr>>,
    /// The generation of the Loc-RIB from which on no other VIP is announced.
    pub generation: Generation,
    /// The time that routers may need to follow an acknowledged withdraw.
    pub settle: Duration,
}

/// The VIPs that have to be on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedDevices {
    /// The VIPs of each device that has to have some, and those of lo.
    pub devices: BTreeMap<String, Arc<BTreeSet<IpAddr>>>,
    /// [`WantedVips::generation`].
    pub generation: Generation,
    /// [`WantedVips::settle`].
    pub settle: Duration,
}

impl WantedDevices {
    /// Those of a configuration that holds from `generation` on.
    pub fn new(config: &Config, generation: Generation) -> Self {
        let mut devices: BTreeMap<String, BTreeSet<IpAddr>> = [(LOOPBACK.to_owned(), BTreeSet::new())].into();
        for (vip, service) in config.vips() {
            devices.entry(service.device().to_owned()).or_default().insert(vip);
        }
        let devices = devices.into_iter().map(|(device, vips)| (device, Arc::new(vips))).collect();
        WantedDevices { devices, generation, settle: config.bgp.settle }
    }

    /// The VIPs of a device; none if the configuration does not name it.
    pub fn of(&self, device: &str) -> WantedVips {
        let vips = self.devices.get(device).cloned().unwrap_or_default();
        WantedVips { vips, generation: self.generation, settle: self.settle }
    }

    /// Whether a device still needs a keeper: the configuration names it, or one of its VIPs may still be there (`held`).
    pub fn needs(&self, device: &str, held: &BTreeSet<IpAddr>) -> bool {
        self.devices.contains_key(device) || !held.is_empty()
    }

    /// The VIPs of all devices.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.devices.values().flat_map(|vips| vips.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::config::tests::GOOD;

    #[test]
    fn the_vips_of_a_vrf_are_wanted_on_its_device() {
        let vrf = "[[service]]\nname = \"edge\"\nvips = [\"192.0.2.99\"]\nvrf = \"edge\"\npeers = [\"r1\"]\n[[service.check]]\ntcp = 80\n";
        let config = parse("x", &format!("{GOOD}\n{vrf}")).unwrap_or_else(|errors| panic!("{errors}"));
        let wanted = WantedDevices::new(&config, 7);
        assert_eq!(wanted.devices.keys().collect::<Vec<_>>(), ["edge", "lo"]);
        let vip: IpAddr = "192.0.2.99".parse().unwrap();
        assert_eq!(*wanted.of("edge").vips, [vip].into());
        assert!(!wanted.of("lo").vips.contains(&vip) && wanted.vips().contains(&vip));
        assert!(wanted.of("red").vips.is_empty());
        for (device, held, want) in
            [("edge", true, true), ("edge", false, true), ("red", true, true), ("red", false, false)]
        {
            let held = if held { [vip].into() } else { BTreeSet::new() };
            assert_eq!(wanted.needs(device, &held), want, "{device} {held:?}");
        }
        // lo is always looked after: a previous daemon may have left VIPs there.
        let all_in_vrf = GOOD.replacen("[[service]]", "[[service]]\nvrf = \"edge\"\npeers = [\"r1\"]", 1);
        let wanted = WantedDevices::new(&parse("x", &all_in_vrf).unwrap(), 7);
        assert!(wanted.devices["lo"].is_empty() && !wanted.devices["edge"].is_empty());
    }
}
