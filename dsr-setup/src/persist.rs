//! The files that keep the VIPs and the settings of a frontend over a reboot, without announcer.
//!
//! Pure. Each system has its own way, and in each the ARP settings come before the VIPs, so that the host never answers for them:
//!
//! - systemd: a unit that runs `dsr-setup apply` before the network is up, and a drop-in with which `dsr-setup-watch.service`, where it is
//!   installed, watches just the same: the same VIPs, on the same device, and the same tunnels;
//! - networkd: a `.network` file for `lo` (systemd.network(5)), and a file for sysctl.d(5), which is read before;
//! - netplan: the same as for networkd, in a drop-in for the file that netplan writes for `lo`. netplan itself has neither a scope nor
//!   the flags of an address.
//!
//! Another device than `lo` is made by somebody else, who has to make it at each boot: the files only put the VIPs on it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::LOOPBACK;
use crate::plan::{ArpSetting, Forwarding, Sysctl, label};
use crate::tunnel::TunnelKind;

/// What keeps the VIPs over a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keeper {
    /// A unit of systemd, which runs `dsr-setup apply` at boot
    Systemd,
    /// systemd-networkd
    Networkd,
    /// netplan, with networkd
    Netplan,
}

impl Keeper {
    /// All of them.
    pub const ALL: [Keeper; 3] = [Keeper::Systemd, Keeper::Networkd, Keeper::Netplan];

    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Keeper::Systemd => "systemd",
            Keeper::Networkd => "networkd",
            Keeper::Netplan => "netplan",
        }
    }

    /// What to run after the files were installed so that they hold at once.
    #[must_use]
    pub fn start(self) -> &'static str {
        match self {
            Keeper::Systemd => "systemctl daemon-reload && systemctl restart dsr-setup-persist",
            Keeper::Networkd => "sysctl --load=/etc/sysctl.d/60-dsr-setup.conf && networkctl reload",
            Keeper::Netplan => "sysctl --load=/etc/sysctl.d/60-dsr-setup.conf && netplan apply",
        }
    }
}

/// What the units run `dsr-setup apply` and `dsr-setup watch` on, and where the program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyCommand {
    /// The path of the program.
    pub program: PathBuf,
    /// Where the VIPs come from.
    pub source: ApplySource,
}

/// Where `dsr-setup apply` takes the VIPs from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplySource {
    /// This configuration, as it is at boot.
    Config(PathBuf),
    /// The VIPs of the request.
    Vips,
}

/// What has to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The interface that has the VIPs.
    pub device: String,
    /// The VIPs on it.
    pub vips: BTreeSet<IpAddr>,
    /// Whether the setting of the chain is needed.
    pub forwarding: Forwarding,
    /// The command of the unit.
    pub apply: ApplyCommand,
    /// The tunnels that the unit also opens. Only [`Keeper::Systemd`] keeps them.
    pub tunnels: Vec<TunnelKind>,
}

/// One file. Every text begins with [`marker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// Its path.
    pub path: PathBuf,
    /// What is there.
    pub content: Content,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A text, with these permission bits.
    Text(String, u32),
    /// A symbolic link to this target.
    Link(PathBuf),
}

/// The first line of every text: it says who has written it, and how to remove it. A file without such a line is never changed.
#[must_use]
pub fn marker(keeper: Keeper) -> &'static str {
    match keeper {
        Keeper::Systemd => {
            "# Written by `dsr-setup persist --for systemd`; `dsr-setup persist --for systemd --remove` removes it."
        }
        Keeper::Networkd => {
            "# Written by `dsr-setup persist --for networkd`; `dsr-setup persist --for networkd --remove` removes it."
        }
        Keeper::Netplan => {
            "# Written by `dsr-setup persist --for netplan`; `dsr-setup persist --for netplan --remove` removes it."
        }
    }
}

/// The files of a keeper, in the order in which they are written.
///
/// # Errors
/// When the command of the unit or the name of the device has a character that systemd would not read as it is, and when the keeper cannot
/// keep tunnels or another device than `lo`.
pub fn files(keeper: Keeper, kept: &Kept) -> Result<Vec<KeptFile>, KeptError> {
    let device = &kept.device;
    if device.is_empty() || !device.chars().all(is_plain) {
        return Err(KeptError::UnquotableDevice(device.clone()));
    }
    if keeper == Keeper::Netplan && device != LOOPBACK {
        return Err(KeptError::Device(device.clone()));
    }
    match keeper {
        Keeper::Networkd | Keeper::Netplan if !kept.tunnels.is_empty() => {
            return Err(KeptError::Tunnels(keeper.name()));
        }
        Keeper::Systemd | Keeper::Networkd | Keeper::Netplan => {}
    }
    let text = |path: &str, body: String| KeptFile {
        path: PathBuf::from(path),
        content: Content::Text(format!("{}\n{body}", marker(keeper)), 0o644),
    };
    let sysctl = || text("/etc/sysctl.d/60-dsr-setup.conf", settings(kept.forwarding));
    Ok(match keeper {
        Keeper::Systemd => vec![
            text("/etc/systemd/system/dsr-setup-persist.service", unit(kept)?),
            text(
                "/etc/systemd/system/dsr-setup-watch.service.d/60-dsr-setup-persist.conf",
                watch_drop_in(kept)?,
            ),
            KeptFile {
                path: "/etc/systemd/system/multi-user.target.wants/dsr-setup-persist.service".into(),
                content: Content::Link("/etc/systemd/system/dsr-setup-persist.service".into()),
            },
        ],
        Keeper::Networkd => {
            let head = format!(
                "# networkd takes the first file that matches {device}: join it with yours, if you have one.\n\
                 [Match]\nName={device}\n\n[Network]\n\
                 # Addresses that others have put on {device} stay, also those of announcer.\nKeepConfiguration=static\n"
            );
            let path = format!("/etc/systemd/network/10-dsr-setup-{device}.network");
            vec![sysctl(), text(&path, format!("{head}{}", addresses(kept)))]
        }
        Keeper::Netplan => {
            let yaml = "network:\n  version: 2\n  ethernets:\n    lo: # its addresses are in /etc/systemd/network/10-netplan-lo.network.d\n      \
                        renderer: networkd\n      match: { name: lo }\n      link-local: []\n";
            let head = "[Network]\n# Addresses that others have put on lo stay, also those of announcer.\nKeepConfiguration=static\n";
            let yaml = KeptFile {
                path: "/etc/netplan/60-dsr-setup.yaml".into(),
                content: Content::Text(format!("{}\n{yaml}", marker(keeper)), 0o600), // netplan warns about others
            };
            let drop_in = "/etc/systemd/network/10-netplan-lo.network.d/dsr-setup.conf";
            vec![sysctl(), text(drop_in, format!("{head}{}", addresses(kept))), yaml]
        }
    })
}

/// The settings, as sysctl.d(5) reads them.
fn settings(forwarding: Forwarding) -> String {
    let mut text = String::from("# The host does not answer ARP for the VIPs, and does not announce them.\n");
    for knob in ArpSetting::ALL {
        let _ = writeln!(text, "{} = {}", Sysctl::of_all(knob), knob.target()); // writing to a string cannot fail
    }
    if forwarding == Forwarding::Yes {
        let _ = writeln!(
            text,
            "# Connections keep the mark of the rules of the chain.\n{} = 1",
            Sysctl::AcceptMarks
        );
    }
    text
}

/// The VIPs, as systemd.network(5) reads them.
fn addresses(kept: &Kept) -> String {
    let section = |vip: &IpAddr| {
        let net = IpNet::from(*vip);
        match vip {
            IpAddr::V4(_) => {
                format!("\n[Address]\nAddress={net}\nLabel={}\nScope=link\n", label(&kept.device))
            }
            IpAddr::V6(_) => format!(
                "\n[Address]\nAddress={net}\nDuplicateAddressDetection=none\nAddPrefixRoute=no\nPreferredLifetime=0\n"
            ),
        }
    };
    kept.vips.iter().map(section).collect()
}

/// A command of dsr-setup for a unit: on these VIPs, this device and these tunnels.
fn command(kept: &Kept, name: &str) -> Result<String, KeptError> {
    let program = quoted(&kept.apply.program)?;
    let device = match kept.device.as_str() {
        LOOPBACK => String::new(),
        other => format!(" --device {other}"),
    };
    let source = match &kept.apply.source {
        ApplySource::Config(path) => format!(" --config {}", quoted(path)?),
        ApplySource::Vips => kept.vips.iter().map(|vip| format!(" --vip {vip}")).collect(),
    };
    let tunnels: String = kept.tunnels.iter().map(|kind| format!(" --tunnel {}", kind.name())).collect();
    Ok(format!("{program} {name}{device}{source}{tunnels}"))
}

/// What makes a unit wait for the device.
fn wait(kept: &Kept) -> String {
    if kept.device == LOOPBACK {
        return String::new();
    }
    let unit = device_unit(&kept.device);
    format!("# Whoever makes the interface, it waits for it.\nWants={unit}\nAfter={unit}\n")
}

/// The drop-in with which the unit of `watch` keeps what [`unit()`] applies. A tunnel or VIPs that the command line of `persist` has named are
/// in no configuration, where `watch` would find them.
fn watch_drop_in(kept: &Kept) -> Result<String, KeptError> {
    let (command, wait) = (command(kept, "watch")?, wait(kept));
    Ok(format!(
        "# `watch` keeps what dsr-setup-persist.service applies.\n\
         [Unit]\nAfter=dsr-setup-persist.service\n{wait}\n[Service]\nExecStart=\nExecStart={command}\n"
    ))
}

/// The unit that applies the VIPs at boot.
fn unit(kept: &Kept) -> Result<String, KeptError> {
    let (device, command, wait) = (&kept.device, command(kept, "apply")?, wait(kept));
    // A tunnel may need a module of the kernel, which the kernel loads itself.
    Ok(format!(
        "[Unit]\nDescription=Put the VIPs on {device}, and set ARP so that the host does not answer for them\n\
         # Before the servers, so that one that listens at the VIP itself finds it on {device}.\n\
         Before=network.target\nAfter=systemd-sysctl.service local-fs.target\n{wait}\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={command}\nTimeoutStartSec=60s\n\
         # It writes the state file for the user of the folder.\n\
         CapabilityBoundingSet=CAP_NET_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE\nNoNewPrivileges=yes\nPrivateTmp=yes\n\
         ProtectHome=read-only\nProtectKernelTunables=no\nProtectSystem=full\nRestrictAddressFamilies=AF_UNIX AF_NETLINK\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    ))
}

/// The unit by which systemd waits for an interface: its name is escaped as systemd.unit(5) says ("String Escaping for Inclusion in Unit
/// Names").
fn device_unit(device: &str) -> String {
    let escaped = device.char_indices().map(|(position, character)| match character {
        '.' if position == 0 => "\\x2e".to_owned(),
        ':' | '_' | '.' => character.to_string(),
        plain if plain.is_ascii_alphanumeric() => plain.to_string(),
        other => format!("\\x{:02x}", u32::from(other)),
    });
    format!("sys-subsystem-net-devices-{}.device", escaped.collect::<String>())
}

/// Whether systemd reads this character as it is, in a command and in a match.
fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "._-+@:".contains(character)
}

/// A path that systemd.service(5) reads as it is.
fn quoted(path: &Path) -> Result<&str, KeptError> {
    let fits = |character: char| is_plain(character) || character == '/';
    let text = path.to_str().filter(|text| text.chars().all(fits) && text.starts_with('/'));
    text.ok_or_else(|| KeptError::Unquotable(path.to_owned()))
}

/// Why the files cannot be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// A path that cannot be written into a unit.
    #[error(
        "`{}` cannot be written into a unit: use an absolute path of letters, digits and `/._-+@:`", .0.display()
    )]
    Unquotable(PathBuf),
    /// Tunnels with another keeper than systemd.
    #[error("`--for {0}` cannot keep a tunnel: use `--for systemd`")]
    Tunnels(&'static str),
    /// Another device than `lo` with netplan.
    #[error(
        "`--for netplan` cannot put VIPs on `{0}`, only on lo: use `--for systemd`, or `--for networkd` if a `.netdev` file of your own makes \
         the interface"
    )]
    Device(String),
    /// A name of an interface that cannot be written into a unit.
    #[error(
        "`{0}` cannot be written into a unit: use an interface whose name has letters, digits and `._-+@:` alone"
    )]
    UnquotableDevice(String),
}

#[cfg(test)]
mod tests;
