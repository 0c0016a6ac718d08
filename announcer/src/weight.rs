//! The weights that services read from files: what a file says, and when the announced weight follows it.
//!
//! Pure, except for [`io`], which reads the files. A router that hears another weight spreads its flows anew, and established flows
//! break on the other frontends as well. So the announced weight follows the file in steps, only when the file's number has moved
//! by a whole step, and at most once in [`REST`].

pub mod io;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{ServiceName, Weight, text};

#[cfg(test)]
mod tests;

/// The weights that are announced for files. Neighbours differ by 40 % or more, from 10 on.
pub const STEPS: [u8; 12] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100];

/// The shortest time between two changes of the announced weight.
pub const REST: Duration = Duration::from_secs(60);

/// The weights of the services that read them from files, as they are announced.
pub type FileWeights = BTreeMap<ServiceName, Weight>;

/// Reads the text of a file: a number of 1 to 100.
///
/// # Errors
/// The rest of a sentence that begins with the file's name.
pub fn parse(file: &str) -> Result<Weight, String> {
    let number = file.trim();
    let digits = (1..=3).contains(&number.len()) && number.bytes().all(|octet| octet.is_ascii_digit());
    let weight = digits.then(|| number.parse().ok()).flatten().and_then(Weight::new);
    weight.ok_or_else(|| {
        let shown = text::one_line(number, SHOWN);
        format!("`{shown}` is not a weight: write a number of 1 to 100")
    })
}

/// How many characters of a wrong file are quoted.
const SHOWN: usize = 20;

/// The announced weight of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Damped {
    announced: Option<Weight>,
    changed: Option<Instant>,
}

impl Damped {
    /// The former process has announced this weight; `None`: none.
    pub fn continued(announced: Option<Weight>) -> Self {
        Damped { announced, changed: None }
    }

    /// The announced weight; `None`: the file had none yet.
    pub fn announced(&self) -> Option<Weight> {
        self.announced
    }

    /// The file has this number. Whether the announced weight changes.
    pub fn read(&mut self, file: Weight, now: Instant) -> bool {
        let rests = self.changed.is_some_and(|changed| now.saturating_duration_since(changed) < REST);
        let moved = self.announced.is_none_or(|announced| has_moved(announced, file));
        if rests || !moved {
            return false;
        }
        let next = nearest(file);
        self.changed = Some(now);
        self.announced.replace(next) != Some(next)
    }
}

/// Whether a number is at the next step above or below the announced weight, or beyond it.
fn has_moved(announced: Weight, file: Weight) -> bool {
    let above = STEPS.into_iter().find(|step| *step > announced.get());
    let below = STEPS.into_iter().rev().find(|step| *step < announced.get());
    above.is_some_and(|above| file.get() >= above) || below.is_some_and(|below| file.get() <= below)
}

/// The nearest step, by the proportion.
fn nearest(file: Weight) -> Weight {
    let number = u32::from(file.get());
    let is_near = |pair: &&[u8]| match pair {
        [low, high] => number * number < u32::from(*low) * u32::from(*high),
        _ => false,
    };
    let step = STEPS.windows(2).find(is_near).and_then(|pair| pair.first().copied());
    step.or(STEPS.last().copied()).and_then(Weight::new).unwrap_or(file)
}
