//! The keys of the chain, which are read again and again, so that they can be changed without a reload.
//!
//! Touches the clock, and the key file through the door to the disk.

use std::time::{Duration, Instant};

use tracing::warn;

use super::ChainChannels;
use crate::chain::heartbeat::Keys;
use crate::chain::io::key;
use crate::config::ChainConfig;

/// How often the key file is read again.
const TURN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct KeyKeeper {
    /// The keys that were read last.
    pub(super) keys: Option<Keys>,
    /// Why they could not be read now.
    pub(super) problem: Option<String>,
    /// How often the content of the file has changed.
    pub(super) number: u64,
    text: String,
    last: Option<Instant>,
}

impl KeyKeeper {
    /// The file is read in the next turn.
    pub(super) fn read_again(&mut self) {
        self.last = None;
    }

    /// Reads the key file, if it is due. Keys that were read before stay in use if it cannot be read.
    pub(super) async fn read(&mut self, chain: &ChainConfig, channels: &ChainChannels) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + TURN) {
            return;
        }
        self.last = Some(now);
        // The door gives an error of its own if the file system hangs.
        let read = match channels.files.run(&chain.key_file, |path| Ok(key::read(path))).await {
            Ok(read) => read.map_err(|why| why.to_string()),
            Err(why) => Err(format!("the key file `{}` cannot be read: {why}", chain.key_file.display())),
        };
        match read {
            Ok((keys, text)) => {
                (self.keys, self.problem) = (Some(keys), None);
                if text != self.text {
                    self.text = text;
                    self.number += 1;
                }
            }
            Err(why) => self.failed(why),
        }
    }

    fn failed(&mut self, why: String) {
        if self.problem.as_ref() != Some(&why) {
            warn!(reason = why, "key of the chain cannot be read");
        }
        self.problem = Some(why);
    }
}
