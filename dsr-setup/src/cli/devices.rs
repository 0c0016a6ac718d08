//! The devices of the VIPs: that of `--device`, and those of the VRFs in the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Failure;
use crate::config::VipsByVrf;
use crate::io::Host;
use crate::io::device::DeviceError;

/// The devices of the VIPs, each with its VIPs.
pub(super) struct Devices {
    pub(super) all: Vec<(Host, BTreeSet<IpAddr>)>,
    /// Whether a VRF does not exist.
    pub(super) is_one_missing: bool,
}

/// The device of `host` for the VIPs in no VRF, and the devices of the VRFs. A VRF that does not exist has a warning: it may be made
/// later, and the others do not wait for it.
pub(super) async fn devices(host: &Host, by_vrf: VipsByVrf) -> Result<Devices, Failure> {
    let mut devices = Devices { all: Vec::new(), is_one_missing: false };
    for (vrf, vips) in by_vrf {
        match vrf {
            None => devices.all.push((host.clone(), vips)),
            Some(vrf) => match host.clone().on(&vrf).await {
                Ok(of_vrf) => devices.all.push((of_vrf, vips)),
                Err(DeviceError::Missing(vrf)) => {
                    devices.is_one_missing = true;
                    let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
                    output::note(format_args!(
                        "warning: the VRF {vrf} does not exist, so {} cannot be put there; `ip link add {vrf} type vrf table NUMBER` makes it",
                        vips.join(", ")
                    ));
                }
                Err(error @ (DeviceError::Kind(_) | DeviceError::Netlink(_))) => return Err(error.into()),
            },
        }
    }
    Ok(devices)
}

/// The VIPs by their device, where `base` is the device for the VIPs in no VRF. It is there without such VIPs too: a reload may add one. If
/// `--device` names a VRF, that device has the VIPs of this VRF and those in none.
pub(super) fn by_device(base: &str, by_vrf: &VipsByVrf) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut devices = BTreeMap::from([(base.to_owned(), BTreeSet::new())]);
    for (vrf, vips) in by_vrf {
        devices.entry(vrf.clone().unwrap_or_else(|| base.to_owned())).or_default().extend(vips);
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_there_once_and_that_of_no_vrf_always() {
        let vip = |last: &usize| IpAddr::from([192, 0, 2, u8::try_from(*last).unwrap()]);
        // The VIPs are numbered in the order of the VRFs.
        for (base, vrfs, want) in [
            ("lo", &[][..], &[("lo", &[][..])][..]),
            ("lo", &[""], &[("lo", &[0])]),
            ("lo", &["edge"], &[("edge", &[0]), ("lo", &[])]),
            ("lo", &["", "edge", "red"], &[("edge", &[1]), ("lo", &[0]), ("red", &[2])]),
            ("edge", &["", "edge"], &[("edge", &[0, 1])]),
            ("edge", &["edge"], &[("edge", &[0])]),
        ] {
            let key = |vrf: &&str| (!vrf.is_empty()).then(|| (*vrf).to_owned());
            let by_vrf =
                vrfs.iter().enumerate().map(|(n, vrf)| (key(vrf), BTreeSet::from([vip(&n)]))).collect();
            let want: Vec<(String, BTreeSet<IpAddr>)> = want
                .iter()
                .map(|(device, vips)| ((*device).to_owned(), vips.iter().map(vip).collect()))
                .collect();
            assert_eq!(by_device(base, &by_vrf).into_iter().collect::<Vec<_>>(), want, "{base} {vrfs:?}");
        }
    }
}
