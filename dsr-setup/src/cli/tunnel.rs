//! The tunnels of `plan`, `apply`, `check`, `watch` and `remove`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clap::Args;

use super::Failure;
use crate::io::Host;
use crate::plan::Step;
use crate::tunnel::{self, TunnelKind, TunnelReport, TunnelState, TunnelStep};

/// The tunnels of `--tunnel`.
#[derive(Debug, Clone, Args)]
pub(super) struct TunnelOptions {
    /// Also accept the packets of a director that puts them into this kind of tunnel; repeat it for more
    #[arg(long = "tunnel", value_name = "KIND", value_enum)]
    tunnels: Vec<TunnelKind>,
}

impl TunnelOptions {
    /// The kinds, each once.
    pub(super) fn kinds(&self) -> BTreeSet<TunnelKind> {
        self.tunnels.iter().copied().collect()
    }

    /// Reads the host, if any tunnel is wanted. `settings` are the other steps that are left.
    pub(super) async fn report(
        &self,
        host: &Host,
        vips: &BTreeSet<IpAddr>,
        settings: &[Step],
    ) -> Result<TunnelReport, Failure> {
        let kinds = self.kinds();
        if kinds.is_empty() {
            return Ok(TunnelReport::default());
        }
        Ok(TunnelReport::new(&read(host).await?, &kinds, vips, settings))
    }
}

async fn read(host: &Host) -> Result<TunnelState, Failure> {
    host.observe_tunnels(None).await.map_err(super::chain_failure)
}

/// The steps that undo what was changed here.
pub(super) async fn undo(host: &Host) -> Result<Vec<TunnelStep>, Failure> {
    Ok(tunnel::undo(&read(host).await?))
}

/// Does the steps in order, and prints each when it is done. It stops at the first that fails.
pub(super) async fn carry_out(host: &Host, steps: &[TunnelStep]) -> Result<(), Failure> {
    for step in steps {
        match host.carry_out_tunnel(step).await {
            Ok(()) => output::line(step),
            Err(error) => return Err(Failure::Tunnel { step: step.clone(), error }),
        }
    }
    Ok(())
}
