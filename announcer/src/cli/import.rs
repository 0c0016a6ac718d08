//! `announcer import`: the configuration of another system as an announcer.toml.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ::import::{Files, Given, ImportError, Imported, Input, Router};
use clap::{Args, Subcommand};

use super::{CommandError, usage};
use crate::config;
use crate::files::io as files;

/// The largest file that is read, in octets.
const LONGEST: u64 = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    #[command(subcommand)]
    system: ImportSystem,
}

/// The system whose configuration is translated.
#[derive(Debug, Subcommand)]
enum ImportSystem {
    /// ExaBGP 3.4 to 5: its configuration, and the files of its healthchecks.
    Exabgp {
        /// Configurations, and files with the options of healthchecks. Those that a `-F` or `--config` names are found by themselves.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// The VIPs of a healthcheck without `--ip`, by its name.
        #[arg(long, value_name = "NAME=ADDRESS,…", value_parser = vips)]
        vips: Vec<Vips>,
        #[command(flatten)]
        given: GivenArguments,
    },
    /// anycast_healthchecker: its files, and the sessions of its BIRD.
    AnycastHealthchecker {
        /// Files, and folders with `*.conf`, in the order in which they are read. For a folder `NAME.d` alone, `NAME.conf` beside it is
        /// read first.
        #[arg(value_name = "DIR", required = true)]
        paths: Vec<PathBuf>,
        /// A configuration of BIRD, for this host's AS and the routers.
        #[arg(long, value_name = "FILE")]
        bird: Vec<PathBuf>,
        #[command(flatten)]
        given: GivenArguments,
    },
    /// anycastd (github.com/runityru/anycastd): its YAML or JSON file.
    Anycastd {
        /// The configuration.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        given: GivenArguments,
    },
    /// keepalived: virtual servers with a real server on this host, and instances of VRRP.
    Keepalived {
        /// The configuration. Files that it includes are found by themselves.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// An address of this host, by which real servers are known to be on it, besides loopback addresses and the VIPs.
        #[arg(long, value_name = "ADDRESS")]
        local: Vec<IpAddr>,
        #[command(flatten)]
        given: GivenArguments,
    },
}

/// What the configuration of the other system may not say.
#[derive(Debug, Args)]
struct GivenArguments {
    /// The AS of this host.
    #[arg(long, value_name = "ASN", value_parser = clap::value_parser!(u32).range(1..))]
    asn: Option<u32>,
    /// A router. For one that the configuration has, with this address, it gives the name and the AS.
    #[arg(long, value_name = "NAME=ADDRESS,ASN", value_parser = router)]
    router: Vec<Router>,
}

/// A service and its VIPs.
#[derive(Debug, Clone)]
struct Vips {
    service: String,
    addresses: Vec<IpAddr>,
}

impl GivenArguments {
    fn given(&self) -> Given {
        Given { asn: self.asn, routers: self.router.clone(), ..Given::default() }
    }
}

fn router(text: &str) -> Result<Router, String> {
    let help = || format!("`{text}` is not a router: write it as in `r1=10.0.1.1,65000`");
    let (name, rest) = text.split_once('=').ok_or_else(help)?;
    let (address, asn) = rest.rsplit_once(',').ok_or_else(help)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let asn: u32 = asn.parse().map_err(|_| help())?;
    if name.is_empty() || !name.chars().all(is_name) || asn == 0 {
        return Err(help());
    }
    Ok(Router { name: name.to_owned(), address: address.parse().map_err(|_| help())?, asn })
}

fn vips(text: &str) -> Result<Vips, String> {
    let help =
        || format!("`{text}` is not a service with its VIPs: write it as in `www=192.0.2.80,2001:db8::80`");
    let (service, rest) = text.split_once('=').ok_or_else(help)?;
    let addresses: Result<Vec<IpAddr>, _> = rest.split(',').map(str::parse).collect();
    Ok(Vips { service: service.to_owned(), addresses: addresses.map_err(|_| help())? })
}

pub(super) fn call(arguments: &ImportArguments) -> Result<(), CommandError> {
    let imported = match &arguments.system {
        ImportSystem::Exabgp { files, vips, given } => {
            let inputs = read_all(files)?;
            let vips = vips.iter().map(|vips| (vips.service.clone(), vips.addresses.clone())).collect();
            ::import::exabgp::import(&inputs, &Disk, &Given { vips, ..given.given() })
        }
        ImportSystem::AnycastHealthchecker { paths, bird, given } => {
            let inputs = read_all(&healthchecker_files(paths)?)?;
            let birds = read_all(bird)?;
            ::import::anycast_healthchecker::import(&inputs, &birds, &given.given())
        }
        ImportSystem::Anycastd { file, given } => {
            ::import::anycastd::import(&read(file).map_err(wrong)?, &given.given())
        }
        ImportSystem::Keepalived { file, local, given } => ::import::keepalived::import(
            &read(file).map_err(wrong)?,
            &Disk,
            &Given { local: local.clone(), ..given.given() },
        ),
    };
    print(&imported.map_err(|error: ImportError| wrong(error.to_string()))?)
}

/// Prints the result. What the user has to know is on standard error too.
fn print(imported: &Imported) -> Result<(), CommandError> {
    output::text(&imported.toml);
    imported.losses().for_each(output::note);
    let losses = imported.losses().count();
    let refused = config::parse("announcer.toml", &imported.toml).err();
    if let Some(errors) = &refused {
        output::note(format_args!("`announcer validate` refuses the result as it stands:\n{errors}"));
    }
    match losses {
        0 if refused.is_none() => Ok(()),
        0 => Err(CommandError::No(String::new())),
        1 => Err(CommandError::No(
            "1 option has no equivalent or lacks a value: it is in the comments of the file".to_owned(),
        )),
        several => Err(CommandError::No(format!(
            "{several} options have no equivalent or lack a value: they are in the comments of the file"
        ))),
    }
}

fn wrong(text: String) -> CommandError {
    usage(format_args!("error: {text}"))
}

/// Reads a file.
fn read(path: &Path) -> Result<Input, String> {
    let name = path.display().to_string();
    let octets = files::read(path, LONGEST).map_err(|error| format!("cannot read `{name}`: {error}"))?;
    let text = dsr_setup::config::decode(&name, octets).map_err(|error| error.to_string())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
    Ok(Input { name, text })
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Input>, CommandError> {
    paths.iter().map(|path| read(path).map_err(wrong)).collect()
}

/// The files of anycast_healthchecker: each file, and the `*.conf` of each folder.
fn healthchecker_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CommandError> {
    let mut all = Vec::new();
    for path in paths {
        let Ok(names) = files::names(path) else {
            // A file, or a path that cannot be read, which is reported when it is read.
            all.push(path.clone());
            continue;
        };
        let beside = path.with_extension("conf");
        if path.extension().is_some_and(|extension| extension == "d")
            && paths.len() == 1
            && files::exists(&beside)
        {
            all.push(beside);
        }
        let before = all.len();
        all.extend(matching(names, "*.conf").into_iter().map(|name| path.join(name)));
        if all.len() == before {
            return Err(wrong(format!("`{}` has no file `*.conf`", path.display())));
        }
    }
    Ok(all)
}

/// The names that a pattern with `*` describes, in byte order.
fn matching(names: Vec<std::ffi::OsString>, pattern: &str) -> Vec<String> {
    let mut found: Vec<String> = names
        .iter()
        .filter_map(|name| name.to_str())
        .filter(|name| fits(name, pattern))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

/// Whether a name is described by a pattern, in which `*` stands for any text. A name that begins with a dot needs a dot.
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let Some((last, middle)) =
        parts.collect::<Vec<_>>().split_last().map(|(last, middle)| (*last, middle.to_vec()))
    else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The files that a configuration names.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str, named_in: &str) -> Result<Vec<Input>, String> {
        let beside = Path::new(named_in).parent().unwrap_or(Path::new("")).join(path);
        let (Some(folder), Some(pattern)) =
            (beside.parent(), beside.file_name().and_then(|name| name.to_str()))
        else {
            return Err("it is not the path of a file".to_owned());
        };
        if !pattern.contains('*') {
            return read(&beside).map(|input| vec![input]);
        }
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let names = files::names(folder).map_err(|error| files::sentence(&error))?;
        matching(names, pattern).into_iter().map(|name| read(&folder.join(name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_pattern_describes_names() {
        for (name, pattern, want) in [
            ("a.conf", "*.conf", true),
            (".a.conf", "*.conf", false),
            ("a.conf.bak", "*.conf", false),
            ("check-www-1.conf", "check-*-*.conf", true),
            ("a", "a", true),
            ("ab", "a", false),
            (".conf", "*.conf", false),
        ] {
            assert_eq!(fits(name, pattern), want, "{name} {pattern}");
        }
    }
}
