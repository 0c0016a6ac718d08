//! Reads and writes `/proc/sys/net/ipv4`, which has the settings of the process's network namespace.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use super::Error;
use crate::doctor::observations::L3MDEV_ACCEPT;
use crate::plan::{ArpSetting, PathSetting, Sysctl};

const CONF: &str = "/proc/sys/net/ipv4/conf";

/// The file of [`Sysctl::AcceptMarks`].
const ACCEPT_MARKS: &str = "/proc/sys/net/ipv4/tcp_fwmark_accept";

/// The file of a setting, such as `/proc/sys/net/ipv4/conf/eth0/arp_ignore`.
fn path(sysctl: &Sysctl) -> String {
    match sysctl {
        Sysctl::Arp { interface, knob } => format!("{CONF}/{interface}/{}", knob.name()),
        Sysctl::Path { interface, knob } => format!("{CONF}/{interface}/{}", knob.name()),
        Sysctl::AcceptMarks => ACCEPT_MARKS.to_owned(),
    }
}

/// The values of both ARP settings (`arp_ignore` and `arp_announce`) of `all`, `default` and every interface, and of the setting of the
/// chain. An interface that is removed during the read is left out, and so is the setting of the chain on a kernel without it (before
/// 3.15). `all` cannot be removed, so a missing file of it is an error.
pub fn read_all() -> Result<BTreeMap<Sysctl, i32>, Error> {
    let of = |interface: &str| ArpSetting::ALL.map(|knob| Sysctl::Arp { interface: interface.into(), knob });
    let mut wanted = vec![Sysctl::AcceptMarks];
    wanted.extend(folders()?.iter().flat_map(|interface| of(interface)));
    read(wanted)
}

/// The values of the settings about arriving packets (`rp_filter` and `accept_local`) of `all`, `default` and every interface.
///
/// # Errors
/// As [`read_all`].
pub fn read_paths() -> Result<BTreeMap<Sysctl, i32>, Error> {
    let of =
        |interface: &str| PathSetting::ALL.map(|knob| Sysctl::Path { interface: interface.into(), knob });
    read(folders()?.iter().flat_map(|interface| of(interface)).collect())
}

fn failed(path: &str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Proc { path: path.to_owned(), error }
}

/// The interfaces, and `all` and `default`.
fn folders() -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(CONF).map_err(failed(CONF))?;
    entries.map(|entry| Ok(entry.map_err(failed(CONF))?.file_name().to_string_lossy().into_owned())).collect()
}

fn read(wanted: Vec<Sysctl>) -> Result<BTreeMap<Sysctl, i32>, Error> {
    let mut values = BTreeMap::new();
    for sysctl in wanted {
        let path = path(&sysctl);
        let may_be_missing = match &sysctl {
            Sysctl::Arp { interface, .. } | Sysctl::Path { interface, .. } => interface != "all",
            Sysctl::AcceptMarks => true,
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let value = text.trim().parse().map_err(io::Error::other).map_err(failed(&path))?;
                values.insert(sysctl, value);
            }
            Err(error) if error.kind() == ErrorKind::NotFound && may_be_missing => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Ok(values)
}

/// Writes one setting at once. It does not read or record the old value; the caller does that.
pub fn write(sysctl: &Sysctl, value: i32) -> Result<(), Error> {
    write_file(path(sysctl), value)
}

/// Writes the file of a setting.
pub(super) fn write_file(path: String, value: i32) -> Result<(), Error> {
    let Err(error) = std::fs::write(&path, value.to_string()) else { return Ok(()) };
    Err(if error.kind() == ErrorKind::PermissionDenied {
        Error::NotPermitted
    } else if error.kind() == ErrorKind::ReadOnlyFilesystem {
        Error::ReadOnly(path)
    } else {
        Error::Proc { path, error }
    })
}

/// Whether TCP servers that are bound to no device serve in every VRF (`net.ipv4.tcp_l3mdev_accept`, for both families). A kernel without
/// VRFs lacks the setting. Everybody may read it.
#[must_use]
pub fn serves_in_every_vrf() -> bool {
    std::fs::read_to_string(format!("/proc/sys/{L3MDEV_ACCEPT}")).is_ok_and(|text| text.trim() == "1")
}
