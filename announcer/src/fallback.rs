//! The last good configuration: a copy that a start of the unit runs when the configuration's file is wrong.
//!
//! Pure, except for [`io`]. A typo must not take a frontend out. But an operator who removes a VIP and makes a typo in the same
//! change must not see the VIP announced: a VIP of the copy that the wrong files do not mention is left out.
//! If a file of `conf.d` cannot be read, each VIP stays: it can be in that file.
//!
//! The copy is one file: it must not depend on which files a folder has at a later start. One file is copied as it was written;
//! several files are copied as the canonical text of what they say together.
//!
//! ```text
//! start or reload was successful ─→ its text ─→ the copy, in the state directory
//! start with a wrong file ─→ the copy, without the VIPs that the wrong files do not mention ─→ runs until a reload is successful
//! ```

pub mod io;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use dsr_setup::range::{self, RangeError};

use crate::config::Config;
use crate::config::sources::{Variable, Variables, substitution};
use crate::config::warnings::named_together;

/// The name of the copy, in the state directory.
pub const NAME: &str = "last-good.toml";

/// The begin of the copy's first line. It is a comment of TOML, so that the lines of the copy keep their numbers.
const HEAD: &str =
    "# The configuration that announcer applied last, written by announcer: do not change it. Length ";
const MACHINE: &str = ", machine ";

/// The number of a host, from /etc/machine-id (machine-id(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineId(String);

impl MachineId {
    /// From the text of the file; `None`: the host has no number, or not yet.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        let is_hex = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        is_hex.then(|| MachineId(text.to_ascii_lowercase()))
    }
}

/// Why a copy is not used. Each `Display` is the rest of a sentence that begins with the copy's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The first line is another one.
    #[error("its first line is not the one that announcer writes")]
    Head,
    /// The length in the first line is another one.
    #[error("it is not complete: it should have {wanted} octets after its first line, and has {found}")]
    Length {
        /// As the first line says.
        wanted: usize,
        /// As it is.
        found: usize,
    },
    /// It was written on another machine.
    #[error("it was written on another machine: its machine-id differs from /etc/machine-id")]
    Machine,
}

/// The text of the copy of a configuration.
pub fn write(text: &str, machine: &MachineId) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    format!("{HEAD}{}{MACHINE}{}\n{text}", text.len(), machine.0)
}

/// Checks the text of a copy before it is used on `machine`. The length is checked, because a program of a check could shorten the
/// copy on kernels before 6.2, whose Landlock does not restrict truncate(2).
///
/// # Errors
/// Why it is not used.
pub fn check(copy: &str, machine: &MachineId) -> Result<(), CopyError> {
    let (head, text) = copy.split_once('\n').ok_or(CopyError::Head)?;
    let (length, id) =
        head.strip_prefix(HEAD).and_then(|rest| rest.split_once(MACHINE)).ok_or(CopyError::Head)?;
    let wanted = length.parse().map_err(|_| CopyError::Head)?;
    if id != machine.0 {
        return Err(CopyError::Machine);
    }
    if text.len() != wanted {
        return Err(CopyError::Length { wanted, found: text.len() });
    }
    Ok(())
}

/// Which addresses a text mentions: sorted intervals that do not overlap, each with its first and its last address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentioned(Vec<(IpAddr, IpAddr)>);

impl Mentioned {
    /// The addresses that `texts` mention outside of comments. The texts may be wrong in any way. Ranges and
    /// `variables` are read as the configuration reads them.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>, variables: &Variables) -> Self {
        let lines = texts.into_iter().flat_map(str::lines);
        let mut all: Vec<_> = lines.flat_map(|line| of_line(line, variables)).collect();
        all.sort_unstable();
        let mut merged: Vec<(IpAddr, IpAddr)> = Vec::new();
        for (first, last) in all {
            match merged.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                Some(_) | None => merged.push((first, last)),
            }
        }
        Mentioned(merged)
    }

    /// Whether `vip` is mentioned.
    pub fn has(&self, vip: IpAddr) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= vip);
        let before = behind.checked_sub(1).and_then(|at| self.0.get(at));
        before.is_some_and(|(_, last)| vip <= *last)
    }
}

/// The addresses in a line, without its comment. What is between two quotes has its own substitution, because a variable that is not
/// set must not hide the other VIPs of the line.
fn of_line(line: &str, variables: &Variables) -> Vec<(IpAddr, IpAddr)> {
    let mut found = Vec::new();
    for part in without_comment(line).split(['"', '\'']) {
        match substitution::expand(part, variables) {
            Ok(None) => found.extend(of_value(part)),
            Ok(Some(expansion)) => found.extend(of_value(&expansion.text)),
            Err(_) => {
                found.extend(of_value(part));
                for name in substitution::names(part) {
                    if let Some(Variable::Environment(value)) = variables.get(&name) {
                        found.extend(of_value(value));
                    }
                }
            }
        }
    }
    found
}

/// The addresses in a value: it is a range, or it has ranges and addresses between other characters.
fn of_value(value: &str) -> Vec<(IpAddr, IpAddr)> {
    if let Some(range) = of_range(value) {
        return vec![range];
    }
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '_' | '-');
    let words = value.split(|c| !is_part(c)).map(|word| word.trim_matches('.'));
    let of_word = |word: &str| match of_range(word) {
        Some(range) => vec![range],
        None => word.split('-').filter_map(of_address).map(|address| (address, address)).collect(),
    };
    words.flat_map(of_word).collect()
}

/// An address, with a port or without one.
fn of_address(word: &str) -> Option<IpAddr> {
    let word = word.trim_matches('.');
    word.parse().or_else(|_| word.parse().map(|both: SocketAddr| both.ip())).ok()
}

/// The ends of a range. If the range breaks a rule, it is the one that was probably meant.
fn of_range(text: &str) -> Option<(IpAddr, IpAddr)> {
    let ends = |one: IpAddr, other: IpAddr| {
        (one.is_ipv4() == other.is_ipv4()).then(|| (one.min(other), one.max(other)))
    };
    match range::addresses(text)? {
        Ok(all) => ends(*all.first()?, *all.last()?),
        Err(RangeError::Descends(one, other) | RangeError::NoRange(Some((one, other)))) => ends(one, other),
        Err(RangeError::TooLong(_)) => {
            let (first, last) = text.split_once('-')?;
            ends(first.parse().ok()?, last.parse().ok()?)
        }
        Err(RangeError::Families | RangeError::NoRange(None)) => None,
    }
}

/// A line before its comment. A `#` in a string begins none. If a quote is missing in the line, it is not known which parts are
/// strings, and the first `#` counts: an address that is not announced is better than one that the operator has commented out.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in line.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' => return line.get(..at).unwrap_or_default(),
            None => {}
        }
    }
    if quote.is_some() { line.split('#').next().unwrap_or_default() } else { line }
}

/// The configuration without the VIPs that are not `mentioned`, and these VIPs. A service without a VIP is left out. If not `all_read`,
/// these VIPs stay, because they can be in a file that could not be read: nobody said that they shall go.
pub fn reduce(mut config: Config, mentioned: &Mentioned, all_read: bool) -> (Config, Vec<IpAddr>) {
    let mut unmentioned = Vec::new();
    for service in &mut config.services {
        service.vips.retain(|vip| {
            let is_mentioned = mentioned.has(*vip);
            if !is_mentioned {
                unmentioned.push(*vip);
            }
            is_mentioned || !all_read
        });
    }
    config.services.retain(|service| !service.vips.is_empty());
    (config, unmentioned)
}

/// The copy runs, because the configuration's files are wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The configuration's files with an error at the start.
    pub wrong: Vec<String>,
    /// Those of them that could not be read. The main file is none of them; the folder `conf.d` can be one.
    pub unreadable: Vec<String>,
    /// How many errors there were at the start; a file that could not be read is one.
    pub errors: usize,
    /// The copy.
    pub copy: String,
    /// The VIPs of the copy that no file mentions. They are left out, but stay if a file could not be read.
    pub unmentioned: Vec<IpAddr>,
}

impl Fallback {
    /// In a few words, for `STATUS=`.
    pub fn summary(&self) -> String {
        format!("fallback configuration: {} had {}", named_together(&self.wrong), errors(self.errors))
    }
}

impl fmt::Display for Fallback {
    /// The warning for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fallback { wrong, unreadable, errors: count, copy, unmentioned } = self;
        let (wrong, count) = (named_together(wrong), errors(*count));
        write!(f, "{wrong} had {count} at the start, so the last good configuration runs (`{copy}`)")?;
        let vips: Vec<String> = unmentioned.iter().map(ToString::to_string).collect();
        let one = vips.len() == 1;
        let vips = format!("its {} {}", if one { "VIP" } else { "VIPs" }, vips.join(", "));
        match (unmentioned.is_empty(), unreadable.is_empty()) {
            (true, _) => {}
            (false, true) => {
                let (are, them) = if one { ("is", "it") } else { ("are", "them") };
                write!(f, "; {vips} {are} left out: no file of the configuration mentioned {them}")?;
            }
            (false, false) => {
                let (stay, they) = if one { ("stays", "it") } else { ("stay", "they") };
                let files = named_together(unreadable);
                write!(f, "; {vips} {stay}, because {they} can be in {files}, which could not be read")?;
            }
        }
        write!(f, "; correct {wrong}, then run `announcer reload`")
    }
}

fn errors(count: usize) -> String {
    if count == 1 { "1 error".to_owned() } else { format!("{count} errors") }
}
