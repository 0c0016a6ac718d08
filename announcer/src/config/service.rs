//! `[[service]]`.
//!
//! Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::Value as Toml;
use toml::de::DeValue;

use super::address::prefix;
use super::check::{CheckConfig, OnFailure};
use super::error::Fault;
use super::hooks::{self, HooksConfig};
use super::keys::{Key, Section, optional_table, tables};
use super::overrides::MOST_EXTENDED;
use super::range::vips;
use super::table::table;
use super::value::{
    HOUR, SECOND, Value, ValueError, absolute, boolean, number, port, vrf, weight, within, word, wrong,
};
use super::writer::{ToToml, text};
use super::{attributes, check, deprefer, recipients};
use crate::model::device::LOOPBACK;
use crate::model::{Attributes, Deprefer, Family, Recipients, ServiceName, Weight};

pub(super) const SECTION: Section = Section {
    header: "[[service]]",
    doc: "VIPs with the same checks.",
    keys: &[&[
        Written::KEYS,
        recipients::Written::KEYS,
        attributes::Written::KEYS,
        &[
            optional_table("deprefer", &deprefer::SECTION),
            optional_table("hooks", &hooks::OF_SERVICE),
            CHECKS,
        ],
    ]],
};

const CHECKS: Key = Key {
    own: Some(
        "write each check below its `[[service]]`; the keys that checks share are written in `[defaults.check]`",
    ),
    ..tables("check", &check::SECTION)
};

table! {
    /// `[[service]]`: VIPs with the same checks.
    pub struct ServiceConfig as Written {
        /// Unique.
        name: one ServiceName, required "\"www\"", word,
            "the name in logs, status and drains: letters, digits, `.`, `_`, `-`",
            own "each service has its own name; write it in its `[[service]]`";
        /// At least one; each global unicast, and in no other service.
        vips: ranges IpAddr, required "[\"192.0.2.80\"]", vips,
            "the addresses that are announced, IPv4 or IPv6, also as ranges of at most 256, such as `\"192.0.2.80-192.0.2.89\"`; at least one",
            own "a VIP belongs to one service; write it in its `[[service]]`";
        /// `prefix`: the prefix that is announced for all VIPs of a family, instead of the VIPs. At most one per family; it
        /// contains all VIPs of its family.
        prefixes("prefix"): one_or_set IpNet, optional "[\"192.0.2.0/24\"]", prefix,
            "the prefixes that are announced for the VIPs, at most one for each family, while all VIPs of the family are healthy; without it, the VIPs themselves are announced",
            own "a prefix belongs to one service; write it in its `[[service]]`";
        /// Its VIPs are on the device of the VRF, and its checks are made in it.
        vrf: one String, optional "\"edge\"", vrf,
            "the VRF of the service, by the name of its device: its VIPs are put there instead of on lo, its checks connect inside the VRF, and its routes go to the peers of the same VRF unless `peers` names others",
            own "dsr-setup reads it too; write it in each `[[service]]` of the VRF";
        /// How long a VIP has to be healthy before it is announced.
        announce_delay: one Duration, default "\"0s\"", within(Duration::ZERO..=HOUR),
            "how long a VIP has to be healthy before it is announced; 0s to 1h";
        /// The damping of a VIP that comes and goes.
        flap_damping: one FlapDamping, default "true", flap_damping,
            "the effect on a VIP that returns for the third time within a minute, for 10s, and at each further return for twice as long, up to 5m: `true`, announced with the attributes of `[service.deprefer]`; `\"withhold\"`, not announced; `false`, announced in the usual way";
        /// How long there may be no listener before the VIP is withdrawn.
        listener_grace: one Duration, default "\"0s\"", within(Duration::ZERO..=SECOND * 10),
            "how long there may be no listener before the VIP is withdrawn; `50ms` for servers that stop listening for a moment when they are reloaded (haproxy with `noreuseport`); 0s to 10s";
        /// How many checks have to pass; at most as many as there are.
        require: one Require, default "\"all\"", require,
            "how many of the checks have to pass: `all`, `any`, or a number of 1 to as many as there are";
        /// The effect while fewer checks pass.
        on_failure: one OnFailure, default "\"withdraw\"", word,
            "the effect when too few pass: `withdraw`; `deprefer`, announced with the attributes of `[service.deprefer]`; `warn`, announced, with a warning";
        /// The same for failures that are timeouts; `None`: there is no difference.
        on_timeout: one OnFailure, optional "\"deprefer\"", word,
            "the effect of failures that are timeouts: the server is overloaded or hangs; without it, `on_failure`";
        /// Whether it is announced as the last choice while it is healthy.
        backup: one bool, default "false", boolean,
            "whether its VIPs are announced as the last choice while they are healthy, so that routers prefer other hosts";
        /// The ports of its flows for `[chain]`; empty: those of its checks.
        ports: one_or_set u16, optional "[80, 443]", port,
            "the TCP ports of the flows that `[chain]` keeps; without it, those that the checks probe at the VIPs";
        /// The weight of this host's routes; `None`: they have none.
        weight: one Weight, optional "70", weight,
            "how many flows this host gets in proportion to the other frontends, as link bandwidth: FRR follows it if every frontend has a weight, BIRD ignores it; every change of a weight breaks established flows, except with `[chain]`; 1 to 100";
        /// The file that has the weight; `None`: only `weight` counts.
        weight_file: one PathBuf, optional "\"/run/announcer/weight\"", absolute,
            "a file with the weight, a number of 1 to 100, read every 5s: it is announced in the steps 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, after it has moved by a whole step, and changes at most once a minute; until the file has a weight, `weight`";
        /// How many members of the chain have to announce each VIP.
        min_announcers: one u32, optional "3", least,
            "how many frontends have to announce each VIP: a drain, a reload or an upgrade that would leave fewer needs `--force`, and a VIP whose probes fail is announced as the last choice instead of withdrawn while its server listens; needs `[chain]`; 1 to 32";
    }
    with {
        /// `peers`: the routers that get its routes.
        recipients: Recipients as recipients::Written;
        /// `med`, `communities`, `next_hop` and so on.
        attributes: Attributes as attributes::Written;
        /// `[service.deprefer]`: the attributes of a route that is the last choice.
        deprefer: Deprefer as deprefer::Written;
        /// `[service.hooks]`: the commands for the changes of this service; `None`: there are none.
        hooks: Option<HooksConfig> as hooks::Written;
        /// `[[service.check]]`: at least one.
        checks: Vec<CheckConfig> as check::Checks;
    }
}

impl ServiceConfig {
    /// The device that has its VIPs.
    pub fn device(&self) -> &str {
        self.vrf.as_deref().unwrap_or(LOOPBACK)
    }

    /// The ports of its flows: `ports`, or those of its checks that probe the VIPs themselves.
    pub fn flow_ports(&self) -> BTreeSet<u16> {
        if !self.ports.is_empty() {
            return self.ports.clone();
        }
        self.checks.iter().filter_map(CheckConfig::port).collect()
    }

    /// The prefix that is announced for a VIP: itself, or the prefix that covers it and its siblings.
    pub fn prefix_of(&self, vip: IpAddr) -> IpNet {
        self.prefixes.iter().find(|prefix| prefix.contains(&vip)).copied().unwrap_or_else(|| vip.into())
    }
}

impl CheckConfig {
    /// The effect of a failure, in this service.
    pub fn on_failure(&self, service: &ServiceConfig) -> OnFailure {
        self.on_failure.unwrap_or(service.on_failure)
    }

    /// The effect of failures that are timeouts, in this service. What the check writes for all its failures holds before what the
    /// service writes for timeouts.
    pub fn on_timeout(&self, service: &ServiceConfig) -> OnFailure {
        self.on_timeout.or(self.on_failure).or(service.on_timeout).unwrap_or(service.on_failure)
    }
}

/// The damping of a VIP that comes and goes, until it has been healthy for a time that grows with each return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlapDamping {
    /// `false`: there is no damping.
    Off,
    /// `true`: it is announced as the last choice, so that it is reachable if no other host announces it.
    Deprefer,
    /// `withhold`: it is not announced.
    Withhold,
}

impl ToToml for FlapDamping {
    fn to_toml(&self) -> Toml {
        match self {
            FlapDamping::Off => false.to_toml(),
            FlapDamping::Deprefer => true.to_toml(),
            FlapDamping::Withhold => text("withhold"),
        }
    }
}

/// `true`, `false` or `"withhold"`.
fn flap_damping(value: &Value<'_>) -> Result<FlapDamping, ValueError> {
    const HELP: &str = "write `true` (the last choice of the routers), `\"withhold\"` or `false`";
    match (value.found, value.found.as_str()) {
        (DeValue::Boolean(true), _) => Ok(FlapDamping::Deprefer),
        (DeValue::Boolean(false), _) => Ok(FlapDamping::Off),
        (_, Some("withhold")) => Ok(FlapDamping::Withhold),
        (_, Some(text)) => wrong(format!("`{}` is not a value of `flap_damping`", text.escape_debug()), HELP),
        (_, None) => Err(ValueError { help: HELP.into(), ..value.not("`true`, `false` or `\"withhold\"`") }),
    }
}

/// How many checks of a service have to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Require {
    /// Each of them.
    All,
    /// This many, at least 1.
    AtLeast(u32),
}

impl Require {
    /// The number of checks out of `count` that have to pass.
    pub fn of(self, count: usize) -> usize {
        match self {
            Require::All => count,
            Require::AtLeast(least) => usize::try_from(least).unwrap_or(count).min(count),
        }
    }
}

impl ToToml for Require {
    fn to_toml(&self) -> Toml {
        match self {
            Require::All => text("all"),
            Require::AtLeast(least) => least.to_toml(),
        }
    }
}

/// `all`, `any`, or a number from 1.
fn require(value: &Value<'_>) -> Result<Require, ValueError> {
    const HELP: &str = "write `\"all\"`, `\"any\"`, or how many of the checks have to pass, as in `2`";
    match (value.found, value.found.as_str()) {
        (_, Some("all")) => Ok(Require::All),
        (_, Some("any")) => Ok(Require::AtLeast(1)),
        (DeValue::Integer(_), _) => Ok(Require::AtLeast(number(value, 1..=1000)?)),
        (_, Some(text)) => wrong(format!("`{}` is not a number of checks", text.escape_debug()), HELP),
        (_, None) => Err(ValueError { help: HELP.into(), ..value.not("`\"all\"`, `\"any\"` or a number") }),
    }
}

/// How many members of the chain have to announce a VIP.
fn least(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 1..=MOST_ANNOUNCERS)
}

/// As many members as a chain may have.
pub(super) const MOST_ANNOUNCERS: u32 = 32;

/// Checks the keys of a service together.
pub(super) fn judge(service: &Written, faults: &mut Vec<Fault>) {
    covered(service, faults);
    attributes::judge(&service.attributes, faults);
    check::judge(&service.checks, faults);
    enough(service, faults);
    one_bandwidth(service, faults);
    deprefer::judge(&service.deprefer, faults);
}

/// Checks `min_announcers` together with `[chain]`, which has this many members; `None`: there is no `[chain]`.
pub(super) fn judge_announcers(service: &Written, members: Option<usize>, faults: &mut Vec<Fault>) {
    let Some(least) = &service.min_announcers else { return };
    let Some(count) = members else {
        let message = "`min_announcers` needs `[chain]`, by which the frontends hear of each other";
        let help = "add `[chain]`, with `forward = false` for the heartbeats alone, or remove the key";
        return faults.push(Fault::new(least.span(), message, help).absence());
    };
    if usize::try_from(*least.get_ref()).unwrap_or(usize::MAX) > count {
        let message = format!("`min_announcers` is {}, and the chain has {count} members", least.get_ref());
        let help = format!("write 1 to {count}; with {count}, no host could be drained");
        faults.push(Fault::new(least.span(), message, help));
    }
}

/// Checks that the weight is the only link bandwidth of the routes, and that there is room for it.
fn one_bandwidth(service: &Written, faults: &mut Vec<Fault>) {
    let weight = service.weight.as_ref().map(|weight| weight.span());
    let file = || service.weight_file.as_ref().map(|file| file.span());
    let (Some(weight), Some(all)) = (weight.or_else(file), &service.attributes.extended_communities) else {
        return;
    };
    if let Some(other) = all.get_ref().iter().find(|one| one.get_ref().is_link_bandwidth()) {
        let message = "the weight and this community are both a link bandwidth";
        let help = "remove one of them: the weight is sent as link bandwidth";
        faults.push(Fault::new(other.span(), message, help).beside(weight, "the weight"));
    } else if all.get_ref().len() == MOST_EXTENDED {
        let message = format!("with a weight, {MOST_EXTENDED} extended communities are too many");
        let help = format!("write at most {}: the weight is sent as one", MOST_EXTENDED - 1);
        faults.push(Fault::new(all.span(), message, help));
    }
}

/// Checks that the prefixes cover their VIPs.
fn covered(service: &Written, faults: &mut Vec<Fault>) {
    let (Some(prefixes), Some(vips)) = (&service.prefixes, &service.vips) else { return };
    let mut seen: HashMap<Family, Range<usize>> = HashMap::new();
    for prefix in prefixes.get_ref() {
        let (net, family) = (prefix.get_ref(), Family::of(prefix.get_ref().addr()));
        if let Some(first) = seen.get(&family) {
            let message = format!("a service has one {family} prefix at most");
            let help = "write another service for the VIPs of the other prefix";
            faults.push(Fault::new(prefix.span(), message, help).beside(first.clone(), "the first one"));
            continue;
        }
        seen.insert(family, prefix.span());
        let mut ours = vips.get_ref().iter().filter(|vip| Family::of(*vip.get_ref()) == family).peekable();
        if ours.peek().is_none() && !vips.get_ref().is_empty() {
            let message = format!("`{net}` covers no VIP of this service");
            faults.push(Fault::new(
                prefix.span(),
                message,
                "write a prefix that contains its VIPs, or remove it",
            ));
        }
        let mut marked = None;
        for vip in ours.filter(|vip| !net.contains(vip.get_ref())) {
            // Of a range, the first such address is named.
            if marked.replace(vip.span()) == Some(vip.span()) {
                continue;
            }
            let message = format!("the VIP `{}` is not in `{net}`, which is announced for it", vip.get_ref());
            let help = "write a prefix that contains all VIPs of its family";
            faults.push(Fault::new(vip.span(), message, help).beside(prefix.span(), "the prefix"));
        }
    }
}

/// Checks that there are enough checks for `require`.
fn enough(service: &Written, faults: &mut Vec<Fault>) {
    let count = service.checks.0.len();
    if let Some(require) = &service.require
        && let Require::AtLeast(least) = require.get_ref()
        && count > 0
        && count < usize::try_from(*least).unwrap_or(usize::MAX)
    {
        let message = format!("{least} checks have to pass, but the service has {count}");
        faults.push(Fault::new(require.span(), message, format!("write `\"all\"`, or 1 to {count}")));
    }
}
