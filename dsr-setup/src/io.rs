//! The host: looks at it, and carries out one step of a plan.
//!
//! Touches `lo` and its addresses by rtnetlink (`vips`, `events`), `/proc/sys/net/ipv4/conf` (`sysctl`), the state file
//! (`store`), and announcer's control socket (`announcer`).

pub mod announcer;
pub mod events;
pub mod store;
pub mod sysctl;
pub mod vips;

use std::io;
use std::path::Path;

use crate::plan::{Observed, Step};
use store::{Store, StoreError};
use vips::Vips;

/// Why the host could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused for want of a capability.
    #[error("needs CAP_NET_ADMIN: run it with sudo")]
    NotPermitted,
    /// `/proc/sys` is mounted read-only, as it is in most containers.
    #[error(
        "`{0}` is on a read-only file system: in a container, mount /proc/sys read-write or set it from the host"
    )]
    ReadOnly(String),
    /// An IPv6 VIP on a host without IPv6.
    #[error("IPv6 is disabled on lo: set net.ipv6.conf.lo.disable_ipv6 = 0, or leave the IPv6 VIPs out")]
    Ipv6Disabled,
    /// A file below `/proc` could not be read or written.
    #[error("`{path}`: {error}")]
    Proc {
        /// Its path.
        path: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Any other refusal by the kernel.
    #[error("netlink: {0}")]
    Netlink(io::Error),
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// The kernel's number for it, where it was the kernel that refused in its own words.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Proc { error, .. }
            | Error::Netlink(error)
            | Error::Store(StoreError::Io { error, .. }) => error.raw_os_error(),
            Error::NotPermitted | Error::ReadOnly(_) | Error::Ipv6Disabled => None,
            Error::Store(StoreError::Text { .. }) => None,
        }
    }
}

/// This host, or rather the network namespace that the program runs in.
#[derive(Debug, Clone)]
pub struct Host {
    vips: Vips,
    store: Store,
}

impl Host {
    /// The host whose state file is in `state_dir`. The future carries the netlink messages and must be polled
    /// (spawned) for as long as the host is in use.
    pub fn connect(state_dir: &Path) -> Result<(impl Future<Output = ()> + Send + 'static, Host), Error> {
        let store = Store::new(state_dir);
        let (connection, vips) = vips::connect(store.clone())?;
        Ok((connection, Host { vips, store }))
    }

    /// What is there now.
    pub async fn observe(&self) -> Result<Observed, Error> {
        let lo = self.vips.observe().await?;
        Ok(Observed { lo, sysctls: sysctl::read_all()?, changes: self.store.load()?.changes })
    }

    /// Carries out one step. A setting is recorded before it is written, so that a crash between the two loses nothing.
    pub async fn carry_out(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::RaiseLo => self.vips.raise_lo().await,
            Step::Add(vip) => self.vips.ensure(*vip).await.map(drop),
            Step::Remove(net) => self.vips.remove_if_ours(net.addr()).await.map(drop),
            Step::Set { sysctl, change } => {
                let before = self.store.load()?.changes.remove(sysctl);
                self.store.update(|record| record.changes.insert(sysctl.clone(), *change))?;
                sysctl::write(sysctl, change.set).inspect_err(|_| {
                    // Nothing was changed; should this fail too, `remove` finds a value that is not the one set.
                    let _ = self.store.update(|record| match before {
                        Some(before) => record.changes.insert(sysctl.clone(), before),
                        None => record.changes.remove(sysctl),
                    });
                })
            }
            Step::Restore { sysctl, change } => {
                sysctl::write(sysctl, change.was)?;
                Ok(self.store.update(|record| record.changes.remove(sysctl))?)
            }
            Step::Leave { sysctl, .. } => Ok(self.store.update(|record| record.changes.remove(sysctl))?),
        }
    }
}

/// Whether this process has CAP_NET_ADMIN, without which no step can be carried out.
pub fn permitted() -> Result<(), Error> {
    const CAP_NET_ADMIN: u32 = 12;
    let path = "/proc/thread-self/status";
    let failed = |error| Error::Proc { path: path.into(), error };
    let status = std::fs::read_to_string(path).map_err(failed)?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap_or_default().trim(), 16);
    let effective = effective.map_err(io::Error::other).map_err(failed)?;
    if effective & (1 << CAP_NET_ADMIN) == 0 { Err(Error::NotPermitted) } else { Ok(()) }
}
