//! Reads the user's files, and writes those of the lab.
//!
//! Touches files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use announcer::config::io::ConfigText;

use crate::named::{NamedFile, named, refusal};
use crate::plan::{ConfigFile, Plan, RouterInput, plan};
use crate::topology::{self, Sources};
use crate::{router_file, web};

/// What the user gave, read and found possible.
pub(crate) struct Inputs {
    /// The lab that it describes.
    pub(crate) plan: Plan,
    /// In the order of the frontends.
    pub(crate) configs: Vec<ConfigFile>,
    /// What the nodes get.
    pub(crate) sources: Sources,
    /// Whether nginx.conf is the user's own.
    pub(crate) own_web: bool,
}

/// Reads the user's files. `name` is the lab's name.
///
/// # Errors
/// Everything that is wrong with the files, or that the lab cannot do with them: one sentence each.
pub(crate) fn read(
    name: String,
    configs: &[PathBuf],
    routers: &[PathBuf],
    web: Option<&Path>,
) -> Result<Inputs, Vec<String>> {
    let mut refused = Vec::new();
    let (mut config_files, mut config_texts) = (Vec::new(), Vec::new());
    for path in configs {
        let text = match ConfigText::read(path) {
            Ok(text) => text,
            Err(error) => {
                refused.push(error.to_string());
                continue;
            }
        };
        match text.parse() {
            Ok(config) => {
                config_texts.push(text.as_one_file(&config));
                config_files.push(ConfigFile { file: path.display().to_string(), config });
            }
            Err(errors) => refused.push(errors.to_string()),
        }
    }
    let (mut router_inputs, mut router_texts) = (Vec::new(), Vec::new());
    for path in routers {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("{file}: cannot be read: {error}"));
        let read = text.and_then(|text| {
            let read = router_file::read(&text).map_err(|why| format!("{file} {why}"))?;
            Ok((text, read))
        });
        match read {
            Ok((text, read)) => {
                router_texts.push(text);
                router_inputs.push(RouterInput { file, read });
            }
            Err(why) => refused.push(why),
        }
    }
    let own = match web.map(|path| (path, fs::read_to_string(path))) {
        None => None,
        Some((_, Ok(text))) => Some(text),
        Some((path, Err(error))) => {
            refused.push(format!("{}: cannot be read: {error}", path.display()));
            None
        }
    };
    if !refused.is_empty() {
        return Err(refused);
    }
    let (mut files, mut webs) = (Vec::new(), Vec::new());
    for (index, ConfigFile { file, config }) in config_files.iter().enumerate() {
        let mut found = named(config);
        match &own {
            Some(text) => {
                let shown = web.map(|path| path.display().to_string()).unwrap_or_default();
                refused.extend(web::impossible(&shown, text));
                found.extend(
                    web::named_files(text)
                        .into_iter()
                        .map(|path| NamedFile { place: format!("{shown}: `{path}`"), path: path.into() }),
                );
                webs.push(text.clone());
            }
            None => match web::nginx(&format!("fe{}", index + 1), file, config) {
                Ok(text) => webs.push(text),
                Err(why) => refused.extend(why),
            },
        }
        refused.extend(found.iter().filter_map(|named| refusal(file, named, named.path.exists())));
        let mut paths: Vec<PathBuf> = found.into_iter().map(|named| named.path).collect();
        paths.sort();
        paths.dedup();
        files.push(paths);
    }
    match plan(&config_files, &router_inputs) {
        Ok(plan) if refused.is_empty() => {
            let sources = Sources { name, named: files, configs: config_texts, webs, routers: router_texts };
            Ok(Inputs { plan, configs: config_files, sources, own_web: own.is_some() })
        }
        Ok(_) => Err(refused),
        Err(why) => Err(refused.into_iter().chain(why).collect()),
    }
}

/// Writes the topology and the files of its nodes into a folder; returns the topology's path.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(folder: &Path, plan: &Plan, sources: &Sources) -> Result<PathBuf> {
    for (name, text) in topology::files(plan, sources) {
        let path = folder.join(&name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        let mode = if name.contains("/scripts/") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| path.display().to_string())?;
    }
    let path = folder.join("own.clab.yml");
    fs::write(&path, topology::yaml(plan, sources)).with_context(|| path.display().to_string())?;
    Ok(path)
}
