//! The task that reads the files of weights.
//!
//! Touches the files, through [`Files`], and the clock. A file that cannot be read, or has no weight in it, is a warning, and the
//! announced weight stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Damped, FileWeights, parse};
use crate::config::Config;
use crate::files::io::Files;
use crate::model::{ServiceName, Weight};

#[cfg(test)]
mod tests;

/// How often the files are read.
pub const READ_AGAIN: Duration = Duration::from_secs(5);

/// The most octets of a file: a number and white space.
const MOST: u64 = 64;

/// The channels of the task.
#[derive(Debug, Clone)]
pub struct WeightChannels {
    /// The services and their files.
    pub configs: watch::Receiver<Arc<Config>>,
    /// The door to the disk.
    pub files: Files,
    /// The announced weights, which the task also begins with.
    pub weights: watch::Sender<Arc<FileWeights>>,
    /// The warnings, one sentence each.
    pub warnings: watch::Sender<Vec<String>>,
}

/// Reads the files every [`READ_AGAIN`], and at once after a reload; never returns.
pub async fn run(channels: WeightChannels) {
    let WeightChannels { mut configs, files, weights, warnings } = channels;
    let begins = |(name, weight): (&ServiceName, &Weight)| (name.clone(), Damped::continued(Some(*weight)));
    let mut damped: BTreeMap<ServiceName, Damped> = weights.borrow().iter().map(begins).collect();
    let mut known = BTreeMap::new();
    loop {
        let config = configs.borrow_and_update().clone();
        let paths = config.services.iter();
        let paths: BTreeMap<ServiceName, PathBuf> =
            paths.filter_map(|service| Some((service.name.clone(), service.weight_file.clone()?))).collect();
        damped.retain(|name, _| paths.contains_key(name));
        let mut wrong = BTreeMap::new();
        let mut contents = BTreeMap::new(); // many services may have one file, by `[defaults.service]`
        for (name, path) in &paths {
            if !contents.contains_key(path) {
                contents.insert(path, read(&files, path).await);
            }
            match contents.get(path) {
                Some(Ok(weight)) => follow(name, *weight, damped.entry(name.clone()).or_default()),
                Some(Err(why)) => {
                    drop(wrong.insert(name.clone(), warning(name, path, why, damped.get(name))))
                }
                None => {}
            }
        }
        for (name, text) in wrong.iter().filter(|(name, text)| known.get(*name) != Some(*text)) {
            warn!(service = name.as_str(), "{text}");
        }
        known = wrong;
        let now: FileWeights =
            damped.iter().filter_map(|(name, one)| Some((name.clone(), one.announced()?))).collect();
        weights.send_if_modified(|published| {
            let news = **published != now;
            *published = Arc::new(now);
            news
        });
        warnings.send_if_modified(|published| {
            let now: Vec<String> = known.values().cloned().collect();
            let news = *published != now;
            *published = now;
            news
        });
        let wait = if paths.is_empty() { Duration::MAX } else { READ_AGAIN };
        tokio::select! {
            () = sleep(wait) => {}
            changed = configs.changed() => if changed.is_err() { return },
        }
    }
}

async fn read(files: &Files, path: &Path) -> Result<Weight, String> {
    let text = files.read_text(path, MOST).await.map_err(|error| error.to_string())?;
    parse(&text)
}

fn follow(name: &ServiceName, file: Weight, damped: &mut Damped) {
    let before = damped.announced();
    if damped.read(file, Instant::now()) {
        let weight = damped.announced().unwrap_or(file);
        let before = before.map_or_else(|| "none".to_owned(), |before| before.to_string());
        info!(service = name.as_str(), %before, %weight, file = %file, "weight was changed");
    }
}

fn warning(name: &ServiceName, path: &Path, why: &str, damped: Option<&Damped>) -> String {
    let stays = match damped.and_then(Damped::announced) {
        Some(weight) => format!("the weight stays {weight}"),
        None => "`weight` counts in its place, if the service has it".to_owned(),
    };
    format!("`weight_file` of {name}: `{}`: {why}; {stays}", path.display())
}
