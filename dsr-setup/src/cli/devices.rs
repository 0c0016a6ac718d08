//! The devices of the VIPs: that of `--device`, and those of the VRFs in the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::Failure;
use crate::LOOPBACK;
use crate::config::VipsByVrf;
use crate::doctor::code::Code;
use crate::doctor::finding::Finding;
use crate::io::Host;
use crate::io::device::{DeviceError, DeviceName};

/// The devices of the VIPs.
pub(super) struct Devices {
    /// Those that exist, each with its VIPs.
    pub(super) all: Vec<(Host, BTreeSet<IpAddr>)>,
    /// The VRFs that do not exist. They may be created later, and the others do not wait for them.
    pub(super) missing: Vec<MissingVrf>,
}

/// A VRF that does not exist, with its VIPs, which are not put anywhere else.
pub(super) struct MissingVrf {
    vrf: String,
    vips: BTreeSet<IpAddr>,
}

impl MissingVrf {
    /// What is wrong with each VIP, as `doctor` says it.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let finding = |vip: &IpAddr| {
            let evidence =
                format!("{vip} is on no interface of this host: the VRF `{}` does not exist", self.vrf);
            let repair = format!("{}, then `dsr-setup apply`", self.repair());
            Finding::new(Code::VipMissing, evidence, repair).of(*vip)
        };
        self.vips.iter().map(finding)
    }

    fn repair(&self) -> String {
        format!("`ip link add {} type vrf table NUMBER`", self.vrf)
    }
}

impl fmt::Display for MissingVrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vips: Vec<String> = self.vips.iter().map(ToString::to_string).collect();
        let (vrf, vips) = (&self.vrf, vips.join(", "));
        write!(
            f,
            "the VRF `{vrf}` does not exist, so {vips} cannot be put there; {} creates it",
            self.repair()
        )
    }
}

/// The device of `host` for the VIPs in no VRF, if there are any, and the devices of the VRFs.
pub(super) async fn devices(host: &Host, by_vrf: &VipsByVrf) -> Result<Devices, Failure> {
    let mut devices = Devices { all: Vec::new(), missing: Vec::new() };
    for (device, vips) in by_device(&host.vips().device().name, by_vrf) {
        if vips.is_empty() && !by_vrf.contains_key(&None) {
            continue;
        }
        match host.clone().on(&device).await {
            Ok(on_device) => devices.all.push((on_device, vips)),
            Err(DeviceError::NoSuchVrf(vrf)) => devices.missing.push(MissingVrf { vrf, vips }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(devices)
}

/// The VIPs by their device, where `base` is the device for the VIPs in no VRF. It is the first, and is there without such VIPs too: a reload
/// may add one. If `--device` names a VRF, that device has the VIPs of this VRF and those in none. `lo` is never a VRF.
pub(super) fn by_device(base: &str, by_vrf: &VipsByVrf) -> BTreeMap<DeviceName, BTreeSet<IpAddr>> {
    let base = DeviceName::Option(base.to_owned());
    let mut devices = BTreeMap::from([(base.clone(), BTreeSet::new())]);
    for (vrf, vips) in by_vrf {
        let of_vrf = vrf.clone().filter(|vrf| vrf != base.as_str() || vrf == LOOPBACK).map(DeviceName::Vrf);
        devices.entry(of_vrf.unwrap_or_else(|| base.clone())).or_default().extend(vips);
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
        let (of_option, of_vrf) =
            (|name: &str| DeviceName::Option(name.into()), |name: &str| DeviceName::Vrf(name.into()));
        for (base, vrfs, want) in [
            ("lo", &[][..], vec![(of_option("lo"), &[][..])]),
            ("lo", &[""], vec![(of_option("lo"), &[0])]),
            ("lo", &["edge"], vec![(of_option("lo"), &[]), (of_vrf("edge"), &[0])]),
            (
                "lo",
                &["", "edge", "a"],
                vec![(of_option("lo"), &[0]), (of_vrf("a"), &[2]), (of_vrf("edge"), &[1])],
            ),
            ("edge", &["", "edge"], vec![(of_option("edge"), &[0, 1])]),
            ("edge", &["edge"], vec![(of_option("edge"), &[0])]),
            ("lo", &["", "lo"], vec![(of_option("lo"), &[0]), (of_vrf("lo"), &[1])]),
            // `lo` as a VRF is refused when the device is looked for.
            ("d0", &["", "lo"], vec![(of_option("d0"), &[0]), (of_vrf("lo"), &[1])]),
        ] {
            let key = |vrf: &&str| (!vrf.is_empty()).then(|| (*vrf).to_owned());
            let by_vrf =
                vrfs.iter().enumerate().map(|(n, vrf)| (key(vrf), BTreeSet::from([vip(&n)]))).collect();
            let want: Vec<(DeviceName, BTreeSet<IpAddr>)> =
                want.into_iter().map(|(device, vips)| (device, vips.iter().map(vip).collect())).collect();
            assert_eq!(by_device(base, &by_vrf).into_iter().collect::<Vec<_>>(), want, "{base} {vrfs:?}");
        }
    }
}
