//! All drains in force: which of them withdraw a VIP or a router, and what an operator may change.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::order::Drain;
use super::target::DrainTarget;
use crate::model::{Family, ServiceName};

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainPhase {
    /// Its VIPs are announced as the last choice, so that routers move connections away. After a restart of the daemon, a drain is
    /// no longer in this phase.
    Prepare,
    /// Its VIPs are withdrawn.
    Withdraw,
}

/// A drain with its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The name of its file.
    pub file: String,
    /// What it withdraws.
    pub target: DrainTarget,
    /// The contents of the file.
    pub drain: Drain,
    /// How far it is.
    pub phase: DrainPhase,
}

/// The drains in force: the contents of the drain folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drains(BTreeMap<DrainTarget, Vec<Order>>);

impl Drains {
    /// From the folder's files: their names, and their texts or why they could not be read. Names that begin with a dot are
    /// temporary files of an editor or of ourselves.
    pub fn from_files(files: impl IntoIterator<Item = (String, Result<String, String>)>) -> Drains {
        let mut drains = Drains::default();
        for (file, text) in files.into_iter().filter(|(name, _)| !name.starts_with('.')) {
            let drain = match text {
                Ok(text) => Drain::parse(&text),
                Err(why) => Drain::unreadable(&why),
            };
            let target = DrainTarget::of_file(&file);
            drains.0.entry(target.clone()).or_default().push(Order {
                file,
                target,
                drain,
                phase: DrainPhase::Withdraw,
            });
        }
        drains.0.values_mut().for_each(|orders| orders.sort_by(|one, other| one.file.cmp(&other.file)));
        drains
    }

    /// The same, where the orders of these files are still prepared.
    pub fn preparing(mut self, files: &BTreeSet<&str>) -> Drains {
        for order in self.0.values_mut().flatten().filter(|order| files.contains(order.file.as_str())) {
            order.phase = DrainPhase::Prepare;
        }
        self
    }

    /// Every order.
    pub fn iter(&self) -> impl Iterator<Item = &Order> {
        self.0.values().flatten()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The orders of one target.
    pub fn of(&self, target: &DrainTarget) -> &[Order] {
        self.0.get(target).map(Vec::as_slice).unwrap_or_default()
    }

    /// The orders that withdraw a VIP of a service: its own, those of the service, of its family, and of all.
    pub fn of_vip(&self, service: &ServiceName, vip: IpAddr) -> Vec<&Order> {
        if self.is_empty() {
            return Vec::new(); // this is asked after each probe
        }
        let service = DrainTarget::Service(service.as_str().to_owned());
        let targets =
            [DrainTarget::Vip(vip), service, DrainTarget::Family(Family::of(vip)), DrainTarget::All];
        targets.iter().flat_map(|target| self.of(target)).collect()
    }

    /// The orders that withdraw a whole service: its own, and those of all.
    pub fn of_service(&self, service: &ServiceName) -> Vec<&Order> {
        let service = DrainTarget::Service(service.as_str().to_owned());
        [service, DrainTarget::All].iter().flat_map(|target| self.of(target)).collect()
    }

    /// The names of the drained routers; the configuration may not have all of them.
    pub fn peers(&self) -> BTreeSet<&str> {
        fn peer(target: &DrainTarget) -> Option<&str> {
            match target {
                DrainTarget::Peer(name) => Some(name.as_str()),
                DrainTarget::Vip(_) | DrainTarget::Service(_) | DrainTarget::Family(_) | DrainTarget::All => {
                    None
                }
            }
        }
        self.0.keys().filter_map(peer).collect()
    }
}

/// The orders that withdraw a VIP; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainedBy(Vec<Drain>);

impl DrainedBy {
    /// Of these orders; `None`: there are none.
    pub fn of(orders: &[&Order]) -> Option<DrainedBy> {
        (!orders.is_empty()).then(|| DrainedBy(orders.iter().map(|order| order.drain.clone()).collect()))
    }
}

impl DrainedBy {
    /// The same sentence without times of the orders.
    pub fn brief(&self) -> DrainedBy {
        DrainedBy(self.0.iter().map(|drain| Drain { at: None, ..drain.clone() }).collect())
    }
}

impl From<Drain> for DrainedBy {
    fn from(drain: Drain) -> Self {
        DrainedBy(vec![drain])
    }
}

impl fmt::Display for DrainedBy {
    /// The rest of a sentence that begins "drained": the first order, and the number of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(1).try_for_each(|first| first.fmt(f))?;
        match self.0.len() {
            0 | 1 => Ok(()),
            2 => f.write_str("; and 1 more drain"),
            many => write!(f, "; and {} more drains", many - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drains(names: &[&str]) -> Drains {
        Drains::from_files(names.iter().map(|name| ((*name).to_owned(), Ok((*name).to_owned()))))
    }

    #[test]
    fn a_vip_is_drained_by_itself_its_service_its_family_or_all() {
        let www: ServiceName = "www".parse().unwrap();
        let vip = "2001:db8::80".parse().unwrap();
        for (files, of_vip, of_service) in [
            (&[][..], &[][..], &[][..]),
            (&["mail", ".www.new", "_vip-192.0.2.80", "_family-ipv4", "_peer-r1"], &[], &[]),
            (&["_all"], &["_all"], &["_all"]),
            (&["_all", "www"], &["www", "_all"], &["www", "_all"]),
            (&["www@bob", "www", "www@ann"], &["www", "www@ann", "www@bob"], &["www", "www@ann", "www@bob"]),
            (&["_family-ipv6@ann", "_vip-2001:db8::80"], &["_vip-2001:db8::80", "_family-ipv6@ann"], &[]),
        ] {
            let drains = drains(files);
            let names =
                |orders: Vec<&Order>| orders.iter().map(|order| order.file.clone()).collect::<Vec<_>>();
            assert_eq!(names(drains.of_vip(&www, vip)), of_vip, "{files:?}");
            assert_eq!(names(drains.of_service(&www)), of_service, "{files:?}");
        }
        assert_eq!(drains(&["_peer-r1@ann", "_peer-r1", "_peer-r2", "www"]).peers(), ["r1", "r2"].into());
        let unreadable = Drains::from_files([("www".to_owned(), Err("permission denied".to_owned()))]);
        let reason = unreadable.of_vip(&www, vip)[0].drain.reason.clone();
        assert_eq!(reason.as_deref(), Some("its drain file cannot be read: permission denied"));
    }

    #[test]
    fn the_first_order_is_named_and_the_others_are_counted() {
        let www: ServiceName = "www".parse().unwrap();
        for (files, want) in [
            (&["www"][..], ": www"),
            (&["www", "_all"], ": www; and 1 more drain"),
            (&["www", "_all", "_vip-192.0.2.80"], ": _vip-192.0.2.80; and 2 more drains"),
        ] {
            let drains = drains(files);
            let by = DrainedBy::of(&drains.of_vip(&www, "192.0.2.80".parse().unwrap())).unwrap();
            assert_eq!(by.to_string(), want);
        }
        assert_eq!(DrainedBy::of(&[]), None);
    }
}
