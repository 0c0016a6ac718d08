//! The command `persist`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::source::VipSource;
use super::tunnel::TunnelOptions;
use crate::io::persist as io;
use crate::persist::{ApplyCommand, ApplySource, Content, Keeper, Kept, files};
use crate::plan::Forwarding;

/// The arguments of `persist`.
#[derive(Debug, Args)]
pub(super) struct Persist {
    /// What has to keep them
    #[arg(long = "for", value_name = "SYSTEM", value_enum)]
    keeper: Keeper,

    /// Install the files instead of printing them
    #[arg(long)]
    install: bool,

    /// Remove the files again; what is on the host now stays
    #[arg(long, conflicts_with_all = ["install", "config", "vips", "options", "tunnels"])]
    remove: bool,

    /// The root directory below which the files are installed, for the image of a host
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    #[command(flatten)]
    source: VipSource,

    #[command(flatten)]
    tunnels: TunnelOptions,
}

impl Persist {
    /// Prints, installs or removes the files.
    pub(super) fn carry_out(self, device: String) -> Result<ExitCode, Failure> {
        let Persist { keeper, install, remove, root, source, tunnels } = self;
        if remove {
            // Which files there are does not depend on the VIPs.
            let apply = ApplyCommand { program: "/dsr-setup".into(), source: ApplySource::Vips };
            let none = Kept {
                device,
                vips: BTreeSet::new(),
                forwarding: Forwarding::Yes,
                apply,
                tunnels: Vec::new(),
            };
            let removed = io::remove(&root, keeper, &files(keeper, &none)?)?;
            removed.iter().for_each(|path| output::line(format_args!("removed {}", path.display())));
            if !removed.is_empty() {
                output::line(
                    "what is on this host now stays until the next boot; `dsr-setup remove` removes what dsr-setup has set",
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/dsr-setup".into());
        // In the image of a host, the program has another path than here.
        let program =
            program.strip_prefix(&root).map_or(program.clone(), |inside| Path::new("/").join(inside));
        let apply = ApplyCommand { program, source: source.as_written() };
        let Some((mut by_vrf, forwarding)) = source.read()? else { return Ok(ExitCode::SUCCESS) };
        let vips = by_vrf.remove(&None).unwrap_or_default();
        let names: Vec<String> = by_vrf.into_keys().flatten().collect();
        // The unit of systemd runs `apply`, which puts them there.
        if !names.is_empty() && keeper != Keeper::Systemd {
            output::note(format_args!(
                "warning: the VIPs of the VRF {} are not in these files: enable `dsr-setup.service`, or write `--for systemd`",
                names.join(", ")
            ));
        }
        let all = files(
            keeper,
            &Kept { device, vips, forwarding, apply, tunnels: tunnels.kinds().into_iter().collect() },
        )?;
        if install {
            let changed = io::install(&root, keeper, &all)?;
            changed.iter().for_each(|path| output::line(format_args!("wrote {}", path.display())));
            if !changed.is_empty() {
                output::line(format_args!("the next boot uses this; `{}` uses it now", keeper.start()));
            }
            return Ok(ExitCode::SUCCESS);
        }
        for (position, file) in all.iter().enumerate() {
            let path = file.path.display();
            if position > 0 {
                output::line("");
            }
            match &file.content {
                Content::Text(text, _) => {
                    output::line(format_args!("# {path}"));
                    output::text(text);
                }
                Content::Link(target) => output::line(format_args!("# {path} -> {}", target.display())),
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
