//! Where this host is on the segment, and the VXLAN device.
//!
//! Touches rtnetlink.

use std::net::IpAddr;

use tracing::warn;

use crate::bgp::path::{Fitness, Network};
use crate::chain::heartbeat::NextHops;
use crate::chain::io::vxlan::{self, VxlanSettings};
use crate::chain::segment::{VXLAN_DEVICE, link_local, next_hop_v4};
use crate::config::ChainConfig;
use crate::files::io as files;

/// This host's place on the segment.
pub(super) struct Place {
    /// Our address in the list of members.
    pub(super) own: IpAddr,
    /// The other members.
    pub(super) others: Vec<IpAddr>,
    /// The device of the segment, and its index.
    pub(super) device: String,
    pub(super) index: u32,
    /// Where this host takes forwarded packets.
    pub(super) next_hops: NextHops,
}

/// Finds the place, and keeps the VXLAN device.
#[derive(Default)]
pub(super) struct PlaceKeeper {
    vxlan: Option<(VxlanSettings, u32)>,
}

impl PlaceKeeper {
    /// Where this host is on the segment; `None`: the network was not read yet. `others`: with whom it exchanges heartbeats.
    pub(super) async fn place(
        &mut self,
        chain: &ChainConfig,
        network: &Network,
        own: Option<IpAddr>,
        others: Vec<IpAddr>,
    ) -> Result<Option<Place>, String> {
        if !network.is_read() {
            return Ok(None);
        }
        let own = own.ok_or("no address of this host is in `members`")?;
        let (device, index) = match chain.vxlan {
            Some(number) => {
                let settings = VxlanSettings { number, own, members: others.clone() };
                (VXLAN_DEVICE.to_owned(), self.vxlan(settings, network).await?)
            }
            None => {
                self.leave(false).await; // a reload has left the VXLAN
                let found = network.links.iter().find(|(_, link)| link.name == chain.interface);
                let (index, _) =
                    found.ok_or_else(|| format!("the interface `{}` does not exist", chain.interface))?;
                (chain.interface.clone(), *index)
            }
        };
        let fit = |v4: bool| {
            let of = network.of(index).iter().filter(move |address| address.ip.is_ipv4() == v4);
            of.filter(|address| address.fitness != Fitness::Unfit).map(|address| address.ip).next()
        };
        let link_local_of_device = network.of(index).iter().find_map(|address| match address.ip {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
            IpAddr::V6(_) | IpAddr::V4(_) => None,
        });
        let (v4, v6) = match (own, chain.vxlan) {
            (_, Some(_)) => (Some(next_hop_v4(own)), Some(link_local(own))),
            (IpAddr::V4(v4), None) => (Some(v4), link_local_of_device),
            (IpAddr::V6(v6), None) => {
                let v4 = fit(true).and_then(|ip| match ip {
                    IpAddr::V4(v4) => Some(v4),
                    IpAddr::V6(_) => None,
                });
                (v4, Some(v6))
            }
        };
        Ok(Some(Place { own, others, device, index, next_hops: NextHops { v4, v6 } }))
    }

    /// Makes the VXLAN device, if it is not there as wanted, and returns its index.
    async fn vxlan(&mut self, settings: VxlanSettings, network: &Network) -> Result<u32, String> {
        if let Some((made, index)) = &self.vxlan
            && *made == settings
            && network.links.contains_key(index)
        {
            return Ok(*index);
        }
        let index = vxlan::make(&settings).await.map_err(|error| {
            format!("the VXLAN device `{VXLAN_DEVICE}` cannot be made: {}", files::sentence(&error))
        })?;
        self.vxlan = Some((settings, index));
        Ok(index)
    }

    /// Removes the VXLAN device, if this process has made it or a former one may have.
    pub(super) async fn leave(&mut self, former: bool) {
        if self.vxlan.take().is_none() && !former {
            return;
        }
        if let Err(error) = vxlan::remove().await {
            warn!(device = VXLAN_DEVICE, %error, "VXLAN device was not removed");
        }
    }
}
