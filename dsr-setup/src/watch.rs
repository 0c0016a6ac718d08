//! What `dsr-setup watch` repairs, and when.
//!
//! Pure. It repairs what `apply` would do. While another program holds the [lock of the keeper](crate::io::lock), only the settings are
//! repaired. An address that was ours and has lost its mark, because another program has changed it, is still repaired, as the daemon does
//! it.
//!
//! A VIP that another program removes again and again is put back at most [`MOST`] times within [`SPAN`]; then it is left alone for
//! [`REST`]. Otherwise two programs would remove and add it all the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::plan::{DesiredState, Difference, Forwarding, HostState, Loopback, Owner, Step, plan};

/// The most repairs of one VIP within [`SPAN`].
pub const MOST: usize = 10;
/// The time in which repairs are counted.
pub const SPAN: Duration = Duration::from_secs(1);
/// The wait after [`MOST`] repairs.
pub const REST: Duration = Duration::from_secs(1);

/// What this process may repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// The VIPs and the settings.
    All,
    /// The settings: another program keeps the VIPs.
    Settings,
}

/// A repair: a step, and when the kernel reported that it is needed, if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What to do.
    pub step: Step,
    /// When the event was read that an address was removed.
    pub since: Option<Instant>,
}

/// The state of `watch`.
#[derive(Debug)]
pub struct Watcher {
    vips: BTreeSet<IpAddr>,
    forwarding: Forwarding,
    /// The VIPs that had our mark when they were last seen.
    ours: BTreeSet<IpAddr>,
    /// The VIPs of which the kernel has reported the removal, since when.
    removed: BTreeMap<IpAddr, Instant>,
    /// The times of the last repairs of each VIP.
    repairs: BTreeMap<IpAddr, VecDeque<Instant>>,
}

impl Watcher {
    /// Keeps these VIPs; with a chain that forwards packets, its setting too.
    #[must_use]
    pub fn new(vips: BTreeSet<IpAddr>, forwarding: Forwarding) -> Watcher {
        let (ours, removed, repairs) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Watcher { vips, forwarding, ours, removed, repairs }
    }

    /// The VIPs that it keeps.
    #[must_use]
    pub fn vips(&self) -> &BTreeSet<IpAddr> {
        &self.vips
    }

    /// The configuration has changed.
    pub fn set_vips(&mut self, vips: BTreeSet<IpAddr>, forwarding: Forwarding) {
        (self.vips, self.forwarding) = (vips, forwarding);
    }

    /// The daemon was stopped by order: what is not on the device now was removed by it, and is not put back.
    pub fn keep_what_is_there(&mut self, lo: &Loopback) {
        self.vips.retain(|vip| lo.holds(*vip));
    }

    /// The kernel reports that an address was removed from the device.
    pub fn removed(&mut self, vip: IpAddr, now: Instant) {
        if self.vips.contains(&vip) {
            self.removed.entry(vip).or_insert(now);
        }
    }

    /// The repairs that are due.
    #[must_use]
    pub fn repairs(&mut self, observed: &HostState, duty: Duty, now: Instant) -> Vec<Repair> {
        self.remember_owners(&observed.lo);
        let owned = self.with_owners(observed);
        let steps = plan(&owned, &DesiredState::Present(self.vips.clone(), self.forwarding));
        let is_of_duty = |step: &Step| duty == Duty::All || matches!(step, Step::Set { .. });
        let due = steps.into_iter().filter(is_of_duty);
        let due: Vec<Step> = due.filter(|step| step.vip().is_none_or(|vip| !self.rests(vip, now))).collect();
        due.into_iter()
            .map(|step| {
                let vip = step.vip();
                Repair { since: vip.and_then(|vip| self.removed.get(&vip).copied()), step }
            })
            .collect()
    }

    /// A repair was made.
    pub fn repaired(&mut self, step: &Step, now: Instant) {
        let Some(vip) = step.vip() else { return };
        self.removed.remove(&vip);
        self.ours.insert(vip);
        let repairs = self.repairs.entry(vip).or_default();
        repairs.push_back(now);
        while repairs.len() > MOST {
            repairs.pop_front();
        }
    }

    /// When a VIP that is left alone is repaired again, at the earliest.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.vips.iter().filter(|vip| self.rests(**vip, now)).filter_map(|vip| self.end_of_rest(*vip)).min()
    }

    /// Whether it was repaired too often.
    #[must_use]
    pub fn rests(&self, vip: IpAddr, now: Instant) -> bool {
        self.end_of_rest(vip).is_some_and(|end| now < end)
    }

    fn end_of_rest(&self, vip: IpAddr) -> Option<Instant> {
        let repairs = self.repairs.get(&vip)?;
        let (first, last) = (repairs.front()?, repairs.back()?);
        (repairs.len() == MOST && *last < *first + SPAN).then(|| *last + REST)
    }

    fn remember_owners(&mut self, lo: &Loopback) {
        for vip in &self.vips {
            let mut on_lo = lo.addresses.iter().filter(|on_lo| on_lo.net.addr() == *vip).peekable();
            if on_lo.peek().is_none() {
                // If it comes back without us, another program has added it.
                self.ours.remove(vip);
            } else if on_lo.any(|on_lo| on_lo.owner == Owner::Ours) {
                self.ours.insert(*vip);
                self.removed.remove(vip);
            }
        }
    }

    /// The host, in which an address that was ours and has lost only its mark is ours.
    fn with_owners(&self, observed: &HostState) -> HostState {
        let mut owned = observed.clone();
        for on_lo in &mut owned.lo.addresses {
            let is_whole = on_lo.net.prefix_len() == on_lo.net.max_prefix_len();
            if is_whole
                && self.ours.contains(&on_lo.net.addr())
                && on_lo.differences.contains(&Difference::Mark)
            {
                on_lo.owner = Owner::Ours;
            }
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ArpSetting, ChainRules, Link, LoAddress, MarkSupport, Sysctl};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `192.0.2.80` is ours; with `-` before it, it has lost its mark; `arp_ignore = 0` if `is_loud`.
    fn host(addresses: &str, is_loud: bool) -> HostState {
        let of = |text: &str| {
            let differences: BTreeSet<_> =
                text.starts_with('-').then_some(Difference::Mark).into_iter().collect();
            let owner = if differences.is_empty() { Owner::Ours } else { Owner::Foreign };
            LoAddress { net: ip(text.trim_start_matches('-')).into(), owner, differences }
        };
        HostState {
            lo: Loopback {
                device: "lo".into(),
                link: Link::Up,
                marks: MarkSupport::Kept,
                addresses: addresses.split_whitespace().map(of).collect(),
                elsewhere: Vec::new(),
            },
            sysctls: [
                (Sysctl::of_all(ArpSetting::ArpIgnore), i32::from(!is_loud)),
                (Sysctl::of_all(ArpSetting::ArpAnnounce), 2),
            ]
            .into(),
            changes: BTreeMap::new(),
            record_error: None,
            chain: ChainRules::default(),
            interfaces: Vec::new(),
        }
    }

    fn watcher() -> Watcher {
        Watcher::new([ip("192.0.2.80"), ip("192.0.2.81")].into(), Forwarding::No)
    }

    fn lines(watcher: &mut Watcher, host: &HostState, duty: Duty) -> Vec<String> {
        let repairs = watcher.repairs(host, duty, Instant::now());
        repairs.iter().map(|repair| repair.step.on("lo").to_string()).collect()
    }

    #[test]
    fn while_another_program_keeps_the_vips_only_settings_are_repaired() {
        let set = "set net.ipv4.conf.all.arp_ignore = 1 (was 0)".to_owned();
        let loud = host("192.0.2.80", true);
        assert_eq!(lines(&mut watcher(), &loud, Duty::Settings), std::slice::from_ref(&set));
        assert_eq!(lines(&mut watcher(), &loud, Duty::All), [set, "add 192.0.2.81/32 to lo".to_owned()]);
        let mut down = host("", false);
        down.lo.link = Link::Down;
        assert_eq!(lines(&mut watcher(), &down, Duty::Settings), [""; 0]);
    }

    #[test]
    fn after_a_stop_what_the_daemon_removed_is_not_put_back_and_after_a_crash_it_is() {
        let left = host("192.0.2.80", false);
        let mut crashed = watcher();
        assert_eq!(lines(&mut crashed, &left, Duty::All), ["add 192.0.2.81/32 to lo"]);
        let mut stopped = watcher();
        stopped.keep_what_is_there(&left.lo);
        assert_eq!(lines(&mut stopped, &left, Duty::All), [""; 0]);
        assert_eq!(lines(&mut stopped, &host("", false), Duty::All), ["add 192.0.2.80/32 to lo"]);
        // Nothing is ever taken away.
        stopped.set_vips(BTreeSet::new(), Forwarding::No);
        assert_eq!(lines(&mut stopped, &left, Duty::All), [""; 0]);
    }

    #[test]
    fn an_address_that_lost_its_mark_is_corrected_and_one_that_never_had_it_is_not() {
        let both = "192.0.2.80 192.0.2.81";
        let changed = host("-192.0.2.80 192.0.2.81", false);
        let mut watcher = watcher();
        assert_eq!(lines(&mut watcher, &changed, Duty::All), [""; 0]);
        assert_eq!(lines(&mut watcher, &host(both, false), Duty::All), [""; 0]);
        assert_eq!(lines(&mut watcher, &changed, Duty::All), ["correct 192.0.2.80/32 on lo"]);
        // It was removed, and another program has added it.
        assert_eq!(lines(&mut watcher, &host("192.0.2.81", false), Duty::All), ["add 192.0.2.80/32 to lo"]);
        assert_eq!(lines(&mut watcher, &changed, Duty::All), [""; 0]);
    }

    #[test]
    fn a_vip_that_is_removed_again_and_again_is_left_alone_for_some_time() {
        let (mut watcher, start) = (watcher(), Instant::now());
        let (gone, step) = (host("192.0.2.81", false), Step::Add(ip("192.0.2.80")));
        for n in 0..10u32 {
            let now = start + Duration::from_millis(20) * n;
            watcher.removed(ip("192.0.2.80"), now);
            assert_eq!(
                watcher.repairs(&gone, Duty::All, now),
                [Repair { step: step.clone(), since: Some(now) }],
                "{n}"
            );
            watcher.repaired(&step, now);
        }
        let last = start + Duration::from_millis(180);
        watcher.removed(ip("192.0.2.80"), last);
        assert_eq!(watcher.repairs(&gone, Duty::All, last), []);
        assert_eq!(watcher.deadline(last), Some(last + REST));
        let later = last + REST;
        assert_eq!(watcher.deadline(later), None);
        assert_eq!(watcher.repairs(&gone, Duty::All, later), [Repair { step, since: Some(last) }]);
        // Slower than that is no fight.
        for n in 0..50u32 {
            let now = later + Duration::from_millis(150) * n;
            assert_eq!(watcher.repairs(&gone, Duty::All, now).len(), 1, "{n}");
            watcher.repaired(&Step::Add(ip("192.0.2.80")), now);
        }
    }
}
