//! `[[service.check]]`: what is probed, where, and how often.
//!
//! Pure. This file has the keys of every check; the keys of each kind are in [`kind`].

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::{Spanned, Value as Toml};

use super::endpoint::{self, ProbeTarget};
use super::error::{Fault, unique};
use super::keys::Section;
use super::kind::certificate::LookAtFiles;
use super::kind::{self, ProbeConfig};
use super::reader::{PresentKeys, Table};
use super::table::table;
use super::value::{HOUR, MILLISECOND, MINUTE, Value, ValueError, count, span, text, within, word};
use super::writer::{self, ToToml, TomlWriter};
use super::written::{nowhere, one};
use crate::model::{InvalidValue, ServiceName};

pub(super) const SECTION: Section = Section {
    header: "[[service.check]]",
    doc: "A check of each VIP of the service.",
    keys: &[kind::HEADS, &[CheckKeys::KEYS, endpoint::Written::KEYS], kind::RESTS],
};

table! {
    struct CheckKeys {
        name: one String, derived "\"site\"", name,
            "the name in logs, status and metrics: letters, digits, `.`, `_`, `-`; without it, its kind, and `http-2` where `http` is taken",
            own "each check of a service has its own name; write it in its `[[service.check]]`";
        interval: one Duration, default "\"1s\"", within(MILLISECOND * 50..=HOUR),
            "the time from the start of one probe to the start of the next; 50ms to 1h";
        fast_interval: one Duration, derived "\"250ms\"", within(MILLISECOND * 50..=HOUR),
            "the interval while the verdict may be about to change; without it, `interval`; 50ms to 1h";
        timeout: one Duration, default "\"1s\"", within(MILLISECOND..=MINUTE), "the time limit of a whole probe; 1ms to 1m";
        rise: one u32, default "2", count, "passes in a row that make a VIP healthy; 1 to 100";
        fall: one u32, default "3", count, "failures in a row that make a VIP unhealthy; 1 to 100";
        start_period: one Duration, default "\"0s\"", within(Duration::ZERO..=HOUR),
            "how long failures do not count after the start of the check, until the first pass: for a server that needs time to start; 0s to 1h";
        on_failure: one OnFailure, optional "\"deprefer\"", word,
            "the effect of a failure; without it, the service's `on_failure`";
        on_timeout: one OnFailure, optional "\"deprefer\"", word,
            "the effect of failures that are timeouts; without it, the `on_failure` of the check, otherwise the `on_timeout` of the service";
        slow: one Duration, optional "\"300ms\"", within(MILLISECOND..=MINUTE),
            "a right answer that takes longer is slow; shorter than `timeout`; 1ms to 1m";
        on_slow: one OnSlow, optional "\"deprefer\"", word,
            "the effect of slow answers, by `rise` and `fall`: `warn`, a warning; `deprefer`, announced with the attributes of `[service.deprefer]`; without it, `warn`";
    }
    with {
        target: Option<ProbeTarget> as endpoint::Written;
    }
}

/// `[[service.check]]`: it probes each VIP of its service, or a fixed target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckConfig {
    /// `name`, default its kind: unique in its service.
    pub name: String,
    /// The kind of the check, with its keys.
    pub probe: ProbeConfig,
    /// `target`: what is probed instead of each VIP.
    pub target: Option<ProbeTarget>,
    /// `interval`, default 1s, at least 50ms: from the start of one probe to the start of the next.
    pub interval: Duration,
    /// `fast_interval`, default `interval`, at least 50ms, never above `interval`: the same while the verdict may be about to
    /// change.
    pub fast_interval: Duration,
    /// `timeout`, default 1s: for a whole probe.
    pub timeout: Duration,
    /// `rise`, default 2, at least 1: passes in a row that make a VIP healthy.
    pub rise: u32,
    /// `fall`, default 3, at least 1: failures in a row that make it unhealthy.
    pub fall: u32,
    /// `start_period`, default 0s: how long failures do not count after the start of the check, until the first pass.
    pub start_period: Duration,
    /// `on_failure`: the effect of a failure; `None`: the value of the service.
    pub on_failure: Option<OnFailure>,
    /// `on_timeout`: the effect of failures that are timeouts; `None`: [`CheckConfig::on_timeout`] says which other key holds.
    pub on_timeout: Option<OnFailure>,
    /// `slow` and `on_slow`; `None`: no answer is slow.
    pub slow: Option<SlowLimit>,
}

/// When a right answer is slow, and the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowLimit {
    /// `slow`: answers that take longer are slow. It is below the check's `timeout`.
    pub after: Duration,
    /// `on_slow`, default `warn`.
    pub effect: OnSlow,
}

impl CheckConfig {
    /// Its kind, as its first key: `http`, `tls`.
    pub fn kind(&self) -> &'static str {
        self.probe.kind()
    }

    /// The TCP port of the VIP that is probed; `None`: no TCP port of the VIP is probed.
    pub fn port(&self) -> Option<u16> {
        if self.target.is_some() || self.probe.is_over_udp() { None } else { self.probe.port() }
    }
}

/// The effect of a failed check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnFailure {
    /// There is only a warning.
    Warn,
    /// The VIP is announced as the last choice.
    Deprefer,
    /// The VIP is withdrawn.
    Withdraw,
}

impl FromStr for OnFailure {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "withdraw" => Ok(OnFailure::Withdraw),
            "deprefer" => Ok(OnFailure::Deprefer),
            "warn" => Ok(OnFailure::Warn),
            other => Err(InvalidValue(format!(
                "`{}` is no effect of a failure; write `withdraw`, `deprefer` or `warn`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnFailure::Withdraw => "withdraw",
            OnFailure::Deprefer => "deprefer",
            OnFailure::Warn => "warn",
        })
    }
}

impl ToToml for OnFailure {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// The effect of slow answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSlow {
    /// There is only a warning.
    Warn,
    /// The VIP is announced as the last choice.
    Deprefer,
}

impl FromStr for OnSlow {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "warn" => Ok(OnSlow::Warn),
            "deprefer" => Ok(OnSlow::Deprefer),
            other => Err(InvalidValue(format!(
                "`{}` is no effect of slow answers; write `deprefer` or `warn`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for OnSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OnSlow::Warn => "warn",
            OnSlow::Deprefer => "deprefer",
        })
    }
}

impl ToToml for OnSlow {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// The name of a check.
fn name(value: &Value<'_>) -> Result<String, ValueError> {
    let name: ServiceName = text(value)?.parse()?;
    Ok(name.as_str().to_owned())
}

/// A check as written.
#[derive(Debug)]
pub(super) struct Written {
    present: PresentKeys,
    keys: CheckKeys,
    /// The keys of each kind whose first key is present.
    kinds: Vec<kind::Written>,
}

impl Written {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let present = table.present();
        let mut keys = CheckKeys::read(table);
        if !table.has("fast_interval") {
            keys.fast_interval = keys.interval.clone();
        }
        let mut check = Written { keys, kinds: kind::Written::read_all(table, &present), present };
        let name = endpoint::Written::KEYS.first().map_or("", |key| key.name);
        if check.kind().is_some_and(|kind| !kind::homes(name).contains(&kind.name()))
            && !check.present.has(name)
        {
            check.keys.target.target = None; // a default is not for kinds without the key
        }
        check
    }

    /// Its kind, if it is of one.
    fn kind(&self) -> Option<&kind::Written> {
        self.kinds.first().filter(|_| self.kinds.len() == 1)
    }

    fn used(&self) -> Option<CheckConfig> {
        let CheckKeys { name, interval, fast_interval, timeout, rise, fall, on_failure, .. } = &self.keys;
        let CheckKeys { start_period, on_timeout, slow, on_slow, target, .. } = &self.keys;
        let slow_limit = |after| SlowLimit { after, effect: one(on_slow).unwrap_or(OnSlow::Warn) };
        Some(CheckConfig {
            name: one(name)?,
            probe: self.kind()?.used()?,
            target: one(&target.target),
            interval: one(interval)?,
            fast_interval: one(fast_interval)?,
            timeout: one(timeout)?,
            rise: one(rise)?,
            fall: one(fall)?,
            start_period: one(start_period)?,
            on_failure: one(on_failure),
            on_timeout: one(on_timeout),
            slow: one(slow).map(slow_limit),
        })
    }
}

/// The checks of one service as written.
#[derive(Debug)]
pub(super) struct Checks(pub(super) Vec<Written>);

impl Checks {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let mut checks = table.tables("check", Written::read);
        let mut taken: BTreeSet<String> = checks.iter().filter_map(|check| one(&check.keys.name)).collect();
        for check in checks.iter_mut().filter(|check| !check.present.has("name")) {
            let Some(kind) = check.kind() else { continue };
            let name = free(kind.name(), &taken);
            taken.insert(name.clone());
            check.keys.name = Some(Spanned::new(check.present.header.clone(), name));
        }
        Checks(checks)
    }

    pub(super) fn used(&self) -> Option<Vec<CheckConfig>> {
        self.0.iter().map(Written::used).collect()
    }

    pub(super) fn write(&self, out: &mut TomlWriter) {
        for check in &self.0 {
            out.header(SECTION.header);
            check.kinds.iter().for_each(|kind| kind.write(out));
            check.keys.write(out);
        }
    }
}

impl From<&Vec<CheckConfig>> for Checks {
    fn from(used: &Vec<CheckConfig>) -> Self {
        let written = |check: &CheckConfig| {
            let CheckConfig { name, probe, target, interval, fast_interval, timeout, rise, fall, .. } = check;
            let CheckConfig { start_period, on_failure, on_timeout, slow, .. } = check;
            Written {
                present: PresentKeys::default(),
                keys: CheckKeys {
                    name: Some(nowhere(name.clone())),
                    interval: Some(nowhere(*interval)),
                    fast_interval: Some(nowhere(*fast_interval)),
                    timeout: Some(nowhere(*timeout)),
                    rise: Some(nowhere(*rise)),
                    fall: Some(nowhere(*fall)),
                    start_period: Some(nowhere(*start_period)),
                    on_failure: on_failure.map(nowhere),
                    on_timeout: on_timeout.map(nowhere),
                    slow: slow.map(|slow| nowhere(slow.after)),
                    on_slow: slow.map(|slow| nowhere(slow.effect)),
                    target: endpoint::Written { target: target.clone().map(nowhere) },
                },
                kinds: vec![probe.into()],
            }
        };
        Checks(used.iter().map(written).collect())
    }
}

/// The first of `http`, `http-2`, `http-3` … that is not taken.
fn free(kind: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2..=taken.len() + 1).map(|number| format!("{kind}-{number}"));
    let mut names = std::iter::once(kind.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or_else(|| kind.to_owned())
}

/// Checks the checks of one service.
pub(super) fn judge(Checks(checks): &Checks, faults: &mut Vec<Fault>) {
    unique(
        checks.iter().filter_map(|check| check.keys.name.as_ref()),
        "give each check its own name",
        faults,
    );
    for check in checks {
        if let Some(at) = one_kind(check, faults)
            && let Some(kind) = check.kind()
        {
            strangers(check, kind, at, faults);
        }
        check.kinds.iter().for_each(|kind| kind.judge(&check.present, faults));
        kind_of_target(check, faults);
        intervals(check, faults);
        slowness(check, faults);
    }
}

/// Checks the files without which a check always fails.
pub(super) fn look(Checks(checks): &Checks, look: LookAtFiles<'_>, faults: &mut Vec<Fault>) {
    let kinds = checks.iter().flat_map(|check| &check.kinds);
    kinds.for_each(|kind| kind.look(look, faults));
}

/// The place of the key of its kind; records an error if it has no kind or two.
fn one_kind(check: &Written, faults: &mut Vec<Fault>) -> Option<Range<usize>> {
    let is_kind = |name: &&str| kind::NAMES.contains(name);
    let mut kinds = check.present.keys.iter().filter(|(name, _)| is_kind(name));
    let Some((first, at)) = kinds.next() else {
        if !check.present.meant.iter().any(is_kind) {
            let all: Vec<String> = kind::NAMES.iter().map(|kind| format!("`{kind}`")).collect();
            let message = format!("this `[[service.check]]` has none of {}", all.join(", "));
            let help = "add a line such as `http = \"http://www.example.com/healthz\"`";
            faults.push(Fault::new(check.present.header.clone(), message, help).absence());
        }
        return None;
    };
    let mut alone = true;
    for (other, place) in kinds {
        alone = false;
        let message = format!("a check has one kind, and `{first}` and `{other}` are two");
        let help = "write a `[[service.check]]` for each";
        faults.push(Fault::new(place.clone(), message, help).beside(at.clone(), "the first kind"));
    }
    alone.then(|| at.clone())
}

/// Records an error for each key of another kind.
fn strangers(check: &Written, kind: &kind::Written, at: Range<usize>, faults: &mut Vec<Fault>) {
    for (key, place) in &check.present.keys {
        let homes = kind::homes(key);
        if !homes.is_empty() && !homes.contains(&kind.name()) {
            let homes: Vec<String> = homes.iter().map(|home| format!("`{home}`")).collect();
            let message = format!("`{key}` is not allowed with `{}`", kind.name());
            let help = format!("`{key}` is only for {}", homes.join(" and "));
            faults
                .push(Fault::new(place.clone(), message, help).beside(at.clone(), "the kind of this check"));
        }
    }
}

/// Records an error for a target with a port, if the kind has no ports, and for a unix socket, if the kind cannot use one.
fn kind_of_target(check: &Written, faults: &mut Vec<Fault>) {
    let (Some(kind), Some(target)) = (check.kind(), &check.keys.target.target) else { return };
    match target.get_ref() {
        ProbeTarget::Address(address) => {
            let is_echo = kind.used().is_some_and(|probe| probe.has_target_without_port());
            if is_echo && address.port.is_some() {
                let help = format!("write `target = \"{}\"`", address.ip);
                faults.push(Fault::new(target.span(), "ICMP has no ports", help));
            }
        }
        ProbeTarget::Socket(_) if !kind.takes_socket() => {
            let message = format!("the target of `{}` cannot be a unix socket", kind.name());
            let help = "write an address; a unix socket is for `http`, `tls`, `tcp` and `grpc`";
            faults.push(Fault::new(target.span(), message, help));
        }
        ProbeTarget::Socket(_) => {}
    }
}

/// Records an error if `interval` is shorter than `fast_interval`.
fn intervals(check: &Written, faults: &mut Vec<Fault>) {
    if let (Some(fast), Some(interval)) = (&check.keys.fast_interval, &check.keys.interval)
        && fast.get_ref() > interval.get_ref()
    {
        let message = "`fast_interval` must be at most `interval`";
        let help = format!("write `{}` or less", span(*interval.get_ref()));
        faults.push(Fault::new(fast.span(), message, help));
    }
}

/// Records an error if `slow` is not below `timeout`, and for `on_slow` without `slow`.
fn slowness(check: &Written, faults: &mut Vec<Fault>) {
    if let (Some(slow), Some(timeout)) = (&check.keys.slow, &check.keys.timeout)
        && slow.get_ref() >= timeout.get_ref()
    {
        let message = format!("`slow` must be shorter than `timeout`, which is {}", span(*timeout.get_ref()));
        let help = "write a shorter time: an answer that takes longer than `timeout` is a failure";
        faults.push(Fault::new(slow.span(), message, help));
    }
    if let (Some(at), None) = (check.present.place("on_slow"), &check.keys.slow)
        && !check.present.has("slow")
    {
        let message = "`on_slow` needs `slow`, the time after which an answer is slow";
        faults.push(Fault::new(at, message, "add a line such as `slow = \"300ms\"`").absence());
    }
}
