//! Which VIPs a command is about: those of its arguments, otherwise those of announcer's configuration.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::config::{self, VipsByVrf};
use crate::folder::{files_of_folder, folder_of};
use crate::io::regular;
use crate::persist::ApplySource;
use crate::plan::Forwarding;
use crate::substitution::{self, Variable, Variables};

/// The longest configuration, in octets: about 100,000 services.
const LONGEST_CONFIG: u64 = 64 * 1024 * 1024;

/// The VIPs of a command.
#[derive(Debug, Clone, Args)]
pub(super) struct VipSource {
    /// The VIPs, instead of those of the configuration
    #[arg(value_name = "VIP", value_parser = config::vip, conflicts_with = "config")]
    vips: Vec<IpAddr>,

    /// Another form of the argument VIP
    #[arg(long = "vip", value_name = "VIP", value_parser = config::vip, conflicts_with = "config", hide = true)]
    options: Vec<IpAddr>,

    /// The announcer configuration with the VIPs (`[[service]] vips`) and `[chain]`; also the files of `conf.d` beside it
    #[arg(long, value_name = "FILE", default_value = "/etc/announcer/announcer.toml")]
    config: PathBuf,
}

impl VipSource {
    /// The VIPs of the command line.
    pub(super) fn named(&self) -> BTreeSet<IpAddr> {
        self.vips.iter().chain(&self.options).copied().collect()
    }

    /// The file of the configuration.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Where `apply` would take the VIPs from.
    pub(super) fn as_written(&self) -> ApplySource {
        if self.named().is_empty() { ApplySource::Config(self.config.clone()) } else { ApplySource::Vips }
    }

    /// The VIPs of the command line, otherwise those of the configuration's files, by VRF, and whether their chain forwards packets. If
    /// they name no VIP, which is allowed, it prints this, and there is nothing to do.
    pub(super) fn read(&self) -> Result<Option<(VipsByVrf, Forwarding)>, Failure> {
        let (by_vrf, forwarding) = self.read_all()?;
        if by_vrf.is_empty() {
            output::note(format_args!(
                "warning: `{}` names no VIP: there is nothing to do; add a `[[service]]` with `vips`",
                self.config.display()
            ));
        }
        Ok((!by_vrf.is_empty()).then_some((by_vrf, forwarding)))
    }

    /// The same without a message: the VIPs by VRF, each with at least one.
    pub(super) fn read_all(&self) -> Result<(VipsByVrf, Forwarding), Failure> {
        let named = self.named();
        if !named.is_empty() {
            return Ok(([(None, named)].into(), Forwarding::No));
        }
        let (mut by_vrf, mut forwarding) = (VipsByVrf::new(), Forwarding::No);
        for (name, text) in texts(&self.config)? {
            for (vrf, vips) in config::vips_by_vrf(&name, &text, &environment(&text))? {
                by_vrf.entry(vrf).or_default().extend(vips);
            }
            forwarding = forwarding.max(config::forwarding(&text));
        }
        by_vrf.retain(|_, vips| !vips.is_empty());
        Ok(if by_vrf.is_empty() { (by_vrf, Forwarding::No) } else { (by_vrf, forwarding) })
    }
}

/// The names and the texts of the files of the configuration: of `config`, and of the files of `conf.d` beside it.
pub(super) fn texts(config: &Path) -> Result<Vec<(String, String)>, Failure> {
    let folder = folder_of(config);
    let names = match regular::names_of_trusted(&folder) {
        Ok(names) => names,
        Err(error) => return Err(Failure::ConfigFile { path: folder, error }),
    };
    let others = files_of_folder(names).into_iter().map(|name| folder.join(name));
    let read = |path: PathBuf| {
        let name = path.display().to_string();
        match regular::read_trusted(&path, LONGEST_CONFIG) {
            Ok(octets) => Ok((name.clone(), config::decode(&name, octets)?)),
            Err(error) => Err(Failure::ConfigFile { path, error }),
        }
    };
    std::iter::once(config.to_owned()).chain(others).map(read).collect()
}

/// The variables of the environment that a text names. announcer refuses a VIP from a credential.
pub(super) fn environment(text: &str) -> Variables {
    let value = |name: String| Some((name.clone(), Variable::Environment(std::env::var(&name).ok()?)));
    substitution::names(text).into_iter().filter_map(value).collect()
}
