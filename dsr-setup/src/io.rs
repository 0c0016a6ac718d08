//! The host: reads its state, and executes the steps of a plan.
//!
//! Touches `lo` and its addresses by rtnetlink (`vips`, `events`, `device`), `/proc/sys/net/ipv4` (`sysctl`), the rules and the device of
//! the chain (`chain`), tunnels (`tunnel`), the state file (`store`), announcer's control socket (`announcer`), and the lock of the keeper
//! (`lock`). `doctor` looks at the whole host, and at its sockets by `sock_diag`. `dump` asks again for a dump that was refused.

pub mod announcer;
pub mod chain;
pub mod device;
pub mod doctor;
pub mod events;
pub mod http;
pub mod lock;
pub mod persist;
pub mod regular;
pub mod sock_diag;
pub mod store;
pub mod sysctl;
pub mod tunnel;
pub mod units;
pub mod vips;
pub mod watch;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::plan::{ChainRules, Change, HostState, Interface, MarkSupport, Step, Sysctl, is_strict};
use crate::record::Record;
use crate::tunnel::{MssRules, TunnelState, TunnelStep};
use chain::NftError;
use device::{DeviceError, DeviceName};
use store::{Store, StoreError};
use tunnel::TunnelError;
use vips::{AddResult, Vips};

/// Why the host could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused because a capability is missing.
    #[error("needs CAP_NET_ADMIN: run it with sudo")]
    NotPermitted,
    /// `/proc/sys` is mounted read-only, as in most containers.
    #[error(
        "`{0}` is on a read-only file system: in a container, mount /proc/sys read-write or set it from the host"
    )]
    ReadOnly(String),
    /// An IPv6 VIP on a device without IPv6, which has this name.
    #[error("IPv6 is disabled on {0}: set net.ipv6.conf.{0}.disable_ipv6 = 0, or leave the IPv6 VIPs out")]
    Ipv6Disabled(String),
    /// A file below `/proc` could not be read or written.
    #[error("`{path}`: {error}")]
    Proc {
        /// Its path.
        path: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another error of the kernel.
    #[error("netlink: {0}")]
    Netlink(io::Error),
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table of the chain was not removed.
    #[error(transparent)]
    Nft(#[from] NftError),
}

impl Error {
    /// The kernel's error number, if the kernel has returned one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Proc { error, .. }
            | Error::Netlink(error)
            | Error::Store(StoreError::Io { error, .. }) => error.raw_os_error(),
            Error::NotPermitted | Error::ReadOnly(_) | Error::Ipv6Disabled(_) | Error::Nft(_) => None,
            Error::Store(StoreError::Text { .. } | StoreError::NotRegular { .. }) => None,
        }
    }
}

/// This host, which means the network namespace of the program.
#[derive(Debug, Clone)]
pub struct Host {
    vips: Vips,
    store: Store,
}

impl Host {
    /// The host whose state file is in `state_dir`. The future carries the netlink messages and must be polled
    /// (spawned) for as long as the host is in use.
    pub fn connect(state_dir: &Path) -> Result<(impl Future<Output = ()> + Send + 'static, Host), Error> {
        let (connection, vips) = vips::connect()?;
        Ok((connection, Host { vips, store: Store::new(state_dir) }))
    }

    /// The same host, with the VIPs on this device in the place of `lo`.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub async fn on(self, device: &DeviceName) -> Result<Host, DeviceError> {
        Ok(Host { vips: self.vips.on_named(device).await?, store: self.store })
    }

    /// The VIPs of this host.
    #[must_use]
    pub fn vips(&self) -> &Vips {
        &self.vips
    }

    /// Reads the current state of the host, without the rules and the device of the chain.
    pub async fn observe(&self) -> Result<HostState, Error> {
        let (record, record_error) = match self.store.load() {
            Ok(record) => (record, None),
            Err(error) => (Record::default(), Some(error.to_string())),
        };
        let lo = self.vips.observe(&record.addresses).await?;
        let (changes, chain) = (record.changes, ChainRules::default());
        let mut sysctls = sysctl::read_all()?;
        sysctls.extend(sysctl::read_paths()?);
        let is_any_strict = |all: &[Interface]| all.iter().any(|one| is_strict(&sysctls, &one.name));
        let interfaces = device::interfaces(self.vips.handle(), is_any_strict).await?;
        Ok(HostState { lo, sysctls, changes, record_error, chain, interfaces })
    }

    /// Reads the rules and the device of the chain.
    pub async fn observe_chain(&self) -> Result<ChainRules, Error> {
        chain::observe(self.vips.handle()).await
    }

    /// Reads the tunnels. `mss` is what the rules for the MSS are known to be; without it, `nft` is asked.
    pub async fn observe_tunnels(&self, mss: Option<MssRules>) -> Result<TunnelState, Error> {
        tunnel::observe(self.vips.handle(), mss).await
    }

    /// Executes one step about a tunnel.
    pub async fn carry_out_tunnel(&self, step: &TunnelStep) -> Result<(), TunnelError> {
        tunnel::carry_out(self.vips.handle(), step).await
    }

    /// Executes one step. A setting is recorded before it is written, so that a crash between the two loses nothing. A step that
    /// cannot be recorded is still executed, but then it cannot be undone.
    pub async fn carry_out(&self, step: &Step) -> Result<StepResult, Error> {
        match step {
            Step::RaiseLo => self.vips.raise_lo().await.map(|()| StepResult::Recorded),
            Step::Add(vip) => self.add(*vip).await,
            Step::Replace { net, .. } => self.vips.replace(*net).await.map(|()| StepResult::Recorded),
            Step::Mend { vip, .. } => {
                self.vips.mend(&[*vip]).await.into_iter().try_for_each(|(_, done)| done)?;
                Ok(StepResult::Recorded)
            }
            Step::RemoveElsewhere { net, index, .. } => {
                self.vips.remove_from(*index, *net).await?;
                Ok(StepResult::Recorded)
            }
            Step::Remove(net) => {
                self.vips.remove(*net).await?;
                if self.store.load().is_ok_and(|record| record.addresses.contains(&net.addr())) {
                    self.store.update(|record| record.addresses.remove(&net.addr()))?;
                }
                Ok(StepResult::Recorded)
            }
            Step::RemoveTable(table) => {
                chain::remove_table(*table).await?;
                Ok(StepResult::Recorded)
            }
            Step::RemoveDevice(index) => {
                chain::remove_device(self.vips.handle(), *index).await?;
                Ok(StepResult::Recorded)
            }
            Step::Set { sysctl, change } => self.set(sysctl, *change),
            Step::Restore { sysctl, change } => {
                sysctl::write(sysctl, change.was)?;
                self.store.update(|record| record.changes.remove(sysctl))?;
                Ok(StepResult::Recorded)
            }
            Step::Leave { sysctl, .. } => {
                self.store.update(|record| record.changes.remove(sysctl))?;
                Ok(StepResult::Recorded)
            }
        }
    }

    async fn add(&self, vip: IpAddr) -> Result<StepResult, Error> {
        let added = self.vips.add(&[vip]).await.into_iter().next().map(|(_, ensured)| ensured).transpose()?;
        let lo = self.vips.observe(&BTreeSet::new()).await?;
        if added != Some(AddResult::Added) || lo.marks == MarkSupport::Kept {
            return Ok(StepResult::Recorded);
        }
        Ok(match self.store.update(|record| record.addresses.insert(vip)) {
            Ok(()) => StepResult::Recorded,
            Err(error) => StepResult::NotRecorded(error),
        })
    }

    fn set(&self, sysctl: &Sysctl, change: Change) -> Result<StepResult, Error> {
        let before = self.store.load().map(|mut record| record.changes.remove(sysctl));
        let recorded = before.and_then(|before| {
            self.store.update(|record| record.changes.insert(sysctl.clone(), change))?;
            Ok(before)
        });
        let written = sysctl::write(sysctl, change.set);
        match (written, recorded) {
            (Ok(()), Ok(_)) => Ok(StepResult::Recorded),
            (Ok(()), Err(error)) => Ok(StepResult::NotRecorded(error)),
            (Err(error), Ok(before)) => {
                // Nothing was changed. If this fails too, `remove` finds that the value is not the one that we set.
                let _ = self.store.update(|record| match before {
                    Some(before) => record.changes.insert(sysctl.clone(), before),
                    None => record.changes.remove(sysctl),
                });
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }
}

/// The result of an executed step.
#[derive(Debug)]
pub enum StepResult {
    /// It can be undone.
    Recorded,
    /// `remove` cannot undo it, because the state file could not be written; with the reason.
    NotRecorded(StoreError),
}

/// Whether this process has CAP_NET_ADMIN, without which no step can be carried out.
///
/// # Errors
/// [`Error::NotPermitted`], and those of the file that says it.
pub fn permitted() -> Result<(), Error> {
    if has_net_admin("/proc/thread-self/status")? { Ok(()) } else { Err(Error::NotPermitted) }
}

/// Whether the process with this `status` file (proc(5)) has CAP_NET_ADMIN.
fn has_net_admin(path: &str) -> Result<bool, Error> {
    const CAP_NET_ADMIN: u32 = 12;
    let failed = |error| Error::Proc { path: path.into(), error };
    let status = std::fs::read_to_string(path).map_err(failed)?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap_or_default().trim(), 16);
    let effective = effective.map_err(io::Error::other).map_err(failed)?;
    Ok(effective & (1 << CAP_NET_ADMIN) != 0)
}
