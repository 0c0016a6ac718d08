//! `dsr-setup watch`: a keeper for each device of the VIPs, also for the device of a VRF that only a later configuration names.

use std::collections::BTreeSet;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::timeout;

use super::Failure;
use super::devices::by_device;
use super::source::VipSource;
use super::tunnel::TunnelOptions;
use crate::io::device::DeviceName;
use crate::io::watch::{self, Wanted};
use crate::io::{self as host, Host};

/// How long the keepers may take to end after one of them has heard the signal.
const END: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    source: VipSource,

    #[command(flatten)]
    tunnels: TunnelOptions,
}

impl Watch {
    /// Keeps the VIPs until SIGTERM or SIGINT.
    pub(super) async fn carry_out(self, host: &Host) -> Result<ExitCode, Failure> {
        // Without a VIP, the settings are kept.
        let by_vrf = self.source.read()?.map(|(by_vrf, _)| by_vrf).unwrap_or_default();
        host::permitted().map_err(Failure::NotPermitted)?;
        let base = host.vips().device().name.as_str();
        let mut kept: BTreeSet<DeviceName> = by_device(base, &by_vrf).into_keys().collect();
        let (devices, mut devices_heard) = mpsc::unbounded_channel();
        let keeper = |device: DeviceName| self.keep(host, device, devices.clone());
        let mut keepers: FuturesUnordered<_> = kept.iter().cloned().map(keeper).collect();
        loop {
            tokio::select! {
                Some(ended) = keepers.next() => {
                    ended?;
                    break; // at a signal, which the others hear too
                }
                Some(named) = devices_heard.recv() => {
                    let new = |device: &DeviceName| kept.insert(device.clone());
                    keepers.extend(named.into_iter().filter(new).map(keeper));
                }
            }
        }
        let _ = timeout(END, keepers.count()).await;
        Ok(ExitCode::SUCCESS)
    }

    /// Keeps the VIPs of one device. Each time that the configuration is read, the devices that it names are sent to `devices`.
    fn keep(
        &self,
        host: &Host,
        device: DeviceName,
        devices: UnboundedSender<BTreeSet<DeviceName>>,
    ) -> impl Future<Output = Result<(), Failure>> {
        let base = &host.vips().device().name;
        let tunnels = match &device {
            DeviceName::Option(_) => self.tunnels.kinds(),
            DeviceName::Vrf(_) => BTreeSet::new(),
        };
        async move {
            let read = || {
                let (by_vrf, forwarding) = self.source.read_all()?;
                let all = by_device(base, &by_vrf);
                let own: Wanted = (all.get(&device).cloned().unwrap_or_default(), forwarding);
                let _ = devices.send(all.into_keys().collect());
                Ok::<_, Failure>(own)
            };
            let Some(of_device) = watch::appeared(host, &device).await.map_err(Failure::Watch)? else {
                return Ok(());
            };
            watch::keep(of_device, &device, read()?, tunnels, &read).await.map_err(Failure::Watch)
        }
    }
}
