//! The tunnels of `plan`, `apply` and `remove`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Failure;
use crate::io::Host;
use crate::tunnel::{self, TunnelKind, TunnelState, TunnelStep};

/// The tunnels that `plan` and `apply` want: those of `--tunnel`, and the host as it is.
pub(super) struct Tunnels {
    kinds: BTreeSet<TunnelKind>,
    observed: Option<TunnelState>,
}

impl Tunnels {
    /// Reads the host, if any tunnel is wanted, and prints the warnings.
    pub(super) async fn observe(
        host: &Host,
        kinds: &[TunnelKind],
        vips: &BTreeSet<IpAddr>,
    ) -> Result<Tunnels, Failure> {
        let kinds: BTreeSet<TunnelKind> = kinds.iter().copied().collect();
        let observed = if kinds.is_empty() { None } else { Some(read(host).await?) };
        for warning in observed.iter().flat_map(|observed| tunnel::warnings(observed, &kinds, vips)) {
            output::note(format_args!("warning: {warning}"));
        }
        Ok(Tunnels { kinds, observed })
    }

    /// The steps before the VIPs are put on lo.
    pub(super) fn before(&self) -> Vec<TunnelStep> {
        self.observed.iter().flat_map(|observed| tunnel::make(observed, &self.kinds)).collect()
    }

    /// The steps after that.
    pub(super) fn after(&self, vips: &BTreeSet<IpAddr>) -> Vec<TunnelStep> {
        self.observed.iter().flat_map(|observed| tunnel::open(observed, &self.kinds, vips)).collect()
    }
}

async fn read(host: &Host) -> Result<TunnelState, Failure> {
    host.observe_tunnels().await.map_err(super::chain_failure)
}

/// The steps that undo what was changed here.
pub(super) async fn undo(host: &Host) -> Result<Vec<TunnelStep>, Failure> {
    Ok(tunnel::undo(&read(host).await?))
}

/// Does the steps in order, and prints each when it is done. It stops at the first that fails.
pub(super) async fn carry_out(host: &Host, steps: Vec<TunnelStep>) -> Result<(), Failure> {
    for step in steps {
        match host.carry_out_tunnel(&step).await {
            Ok(()) => output::line(&step),
            Err(error) => return Err(Failure::Tunnel { step, error }),
        }
    }
    Ok(())
}
