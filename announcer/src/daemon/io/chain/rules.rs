//! Keeps the rules in the kernel, and knows which ones are there.
//!
//! Touches nft, the neighbour table, sock_diag and files.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{ChainChannels, Place};
use crate::chain::heartbeat::{AboutReceiver, Families, MemberPresence};
use crate::chain::io::neighbours::Neighbours;
use crate::chain::io::nft;
use crate::chain::member::Said;
use crate::chain::plan::{self, Installed, PlanInput, Service, StoredMember};
use crate::chain::ring::{Believed, MemberObservation, Ring, remembered};
use crate::chain::rules::counters::{self, ChainCounters, TestPacketCounters};
use crate::chain::rules::{self, ForwardingSwitch, ListenOn, RuleSet};
use crate::chain::test_packets::TestPacketReport;
use crate::config::ChainConfig;
use crate::files::io::{self as files, Files};
use crate::health::io::listener;

/// How often the neighbour table and the listeners are read.
const LOOK: Duration = Duration::from_secs(1);
/// How often the counters are read, which takes a run of nft.
const COUNT: Duration = Duration::from_secs(5);
/// Whether the kernel gives connections the mark of the packet that has opened them; for IPv6 too.
const ACCEPTS_MARKS: &str = "/proc/sys/net/ipv4/tcp_fwmark_accept";
/// How often the neighbour table is read while the Ethernet address of a member is not known.
const FAST_LOOK: Duration = Duration::from_millis(50);
/// The wait before rules that nft refused are tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The file in the state directory that says which rules are in the kernel.
const INSTALLED: &str = "chain-rules";
/// The most octets of that file: the rules of 5,000 VIPs are a tenth of it.
const LONGEST: u64 = 16 << 20;

/// What the rules depend on.
pub(super) struct RuleWish<'a> {
    pub(super) chain: &'a ChainConfig,
    pub(super) place: &'a Place,
    /// The VIPs with the ports of their flows.
    pub(super) services: &'a BTreeMap<IpAddr, BTreeSet<u16>>,
    pub(super) ring: &'a Ring,
    /// What is known of the other members.
    pub(super) observations: &'a BTreeMap<IpAddr, MemberObservation>,
    /// The families in which this host takes part.
    pub(super) wanted: Families,
    /// Whether an operator has switched the forwarding off.
    pub(super) off: bool,
    /// What heartbeats say of this host.
    pub(super) presence: MemberPresence,
}

pub(super) struct RuleKeeper {
    installed: Option<Installed>,
    /// Whether the kernel may have other rules than `installed`: a run of nft has failed, and perhaps not before they were replaced.
    unknown: bool,
    last: Option<RuleSet>,
    neighbours: Option<Neighbours>,
    ethernet: BTreeMap<IpAddr, [u8; 6]>,
    believed: Believed,
    listens: BTreeMap<Service, ListenOn>,
    counters: [Option<ChainCounters>; 2],
    test_packets: [Option<TestPacketCounters>; 2],
    /// How often the counters were read.
    readings: u32,
    looked: Option<Instant>,
    /// Why the rules are not as they should be, and when they are tried again.
    error: Option<(String, Instant)>,
    /// Whether the Ethernet address of a member is not known.
    lacks: bool,
    /// Whether the kernel gives connections the mark of the packet that has opened them.
    accepts_marks: bool,
    counted: Option<Instant>,
}

impl RuleKeeper {
    /// With the rules that a former process has left in the kernel.
    pub(super) async fn start(door: &Files, state_dir: &Path) -> RuleKeeper {
        let stored = door.read_text(&state_dir.join(INSTALLED), LONGEST).await.ok();
        let stored: Option<Installed> = stored.and_then(|text| serde_json::from_str(&text).ok());
        let mut keeper = RuleKeeper {
            installed: None,
            unknown: false,
            last: None,
            neighbours: None,
            ethernet: BTreeMap::new(),
            believed: Believed::default(),
            listens: BTreeMap::new(),
            counters: [None, None],
            test_packets: [None, None],
            readings: 0,
            looked: None,
            error: None,
            lacks: false,
            accepts_marks: true,
            counted: None,
        };
        // The tables are gone after a boot, and whoever flushes the rule set removes them too.
        if let Some(stored) = stored
            && keeper.count().await.is_ok()
            && keeper.counters.iter().all(Option::is_some)
        {
            // The former process may have died between a run of nft and the file about it, so other rules may be in the kernel.
            match apply(&stored.text).await {
                Ok(()) => {
                    info!("rules of the former process are in the kernel");
                    keeper.installed = Some(stored);
                }
                Err(error) => warn!(%error, "rules of the former process could not be installed again"),
            }
        }
        keeper
    }

    pub(super) fn is_installed(&self) -> bool {
        self.installed.is_some()
    }

    /// Whether nothing is expected soon.
    pub(super) fn is_settled(&self) -> bool {
        !self.lacks
    }

    pub(super) fn counters(&self) -> [Option<ChainCounters>; 2] {
        self.counters
    }

    /// The test packets that the rules have counted.
    pub(super) fn test_packets(&self) -> [Option<TestPacketCounters>; 2] {
        self.test_packets
    }

    /// The same, as heartbeats say it.
    pub(super) fn test_packet_report(&self) -> TestPacketReport {
        let [v4, v6] = self.test_packets.map(|counted| counted.unwrap_or_default().into());
        TestPacketReport { readings: self.readings, v4, v6 }
    }

    /// The families whose rules are in the kernel.
    pub(super) fn families(&self) -> Families {
        self.installed.as_ref().map_or(Families::NONE, |installed| installed.families)
    }

    /// What heartbeats say to a member about itself; `known`: it lives.
    pub(super) fn about(&self, member: IpAddr, known: bool) -> AboutReceiver {
        let about = self.installed.as_ref().map(|installed| installed.about(member));
        AboutReceiver { known, ..about.unwrap_or_default() }
    }

    /// The other members that lived, and what they said last.
    pub(super) fn former(&self) -> BTreeMap<IpAddr, Said> {
        let members = self.installed.iter().flat_map(|installed| &installed.members);
        members.map(|(member, stored)| (*member, stored.said())).collect()
    }

    /// The members that the rules in the kernel know, and our address among them; `None`: there are no rules.
    pub(super) fn former_list(&self) -> Option<(Option<IpAddr>, BTreeSet<IpAddr>)> {
        let installed = self.installed.as_ref()?;
        Some((installed.own, installed.in_ring.keys().copied().chain(installed.own).collect()))
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.error.iter().map(|(why, _)| why.clone()).collect();
        if self.listens.values().any(|listens| *listens == ListenOn::Address) && !self.accepts_marks {
            problems.push(
                "a server listens on its VIP itself, which needs `net.ipv4.tcp_fwmark_accept = 1`: `dsr-setup apply` sets it; until then, packets of its flows make a round of the ring"
                    .to_owned(),
            );
        }
        problems
    }

    /// Makes the rules of the kernel those that follow from the ring.
    pub(super) async fn follow(&mut self, wish: RuleWish<'_>, channels: &ChainChannels) {
        let RuleWish { chain, place, services, ring, observations, wanted, off, presence } = wish;
        let now = Instant::now();
        self.believed.update(place.others.iter().copied(), now);
        self.believed.expire(now);
        let pairs: Vec<Service> =
            services.iter().flat_map(|(vip, ports)| ports.iter().map(|port| (*vip, *port))).collect();
        let due = self.looked.is_none_or(|looked| now >= looked + if self.lacks { FAST_LOOK } else { LOOK });
        if due || pairs.iter().any(|pair| !self.listens.contains_key(pair)) {
            self.look(place, &pairs, now, channels).await;
        }
        self.listens.retain(|pair, _| services.get(&pair.0).is_some_and(|ports| ports.contains(&pair.1)));
        self.lacks = chain.vxlan.is_none()
            && observations
                .iter()
                .any(|(member, observed)| observed.state.lives() && !self.ethernet.contains_key(member));
        let input = PlanInput {
            config: chain,
            device: &place.device,
            services: &self.listens,
            ring,
            ethernet: &self.ethernet,
            off,
        };
        let set = match plan::rules(&input) {
            Ok(set) => set,
            Err(why) => return self.error = Some((why.to_string(), now + RETRY)),
        };
        let believed = match chain.vxlan {
            Some(_) => place.others.iter().copied().collect(),
            None => self.ethernet.keys().copied().collect(),
        };
        let others = ring.entries.iter().map(|entry| entry.member).filter(|member| *member != place.own);
        let waits = |member: &IpAddr| observations.get(member).is_some_and(|observed| observed.added);
        let in_ring =
            others.filter(|member| !waits(member)).map(|member| (member, ring.has(member))).collect();
        let text = match (&self.last, &self.installed) {
            (Some(last), Some(installed)) if *last == set => installed.text.clone(),
            (_, _) => rules::install(&set),
        };
        let installed = Installed {
            text,
            own: Some(place.own),
            families: wanted,
            in_ring,
            believed,
            members: stored_members(observations, presence),
        };
        self.install(set, installed, channels).await;
    }

    /// Switches the forwarding off or on in the rules that are in the kernel.
    ///
    /// # Errors
    /// When nft refuses them.
    pub(super) async fn switch(&mut self, off: bool, channels: &ChainChannels) -> Result<(), String> {
        let (Some(last), Some(installed)) = (self.last.clone(), self.installed.clone()) else {
            return Ok(());
        };
        let set =
            RuleSet { forwarding: if off { ForwardingSwitch::Off } else { ForwardingSwitch::On }, ..last };
        let installed = Installed { text: rules::install(&set), ..installed };
        self.error = None;
        self.install(set, installed, channels).await;
        self.error.as_ref().map_or(Ok(()), |(why, _)| Err(why.clone()))
    }

    async fn install(&mut self, set: RuleSet, installed: Installed, channels: &ChainChannels) {
        if self.installed.as_ref() == Some(&installed) && !self.unknown {
            self.error = None;
            self.last = Some(set);
            return;
        }
        let now = Instant::now();
        if self.error.as_ref().is_some_and(|(_, again)| now < *again) {
            return;
        }
        // The same text needs no run of nft, but what the heartbeats say of it has changed.
        if self.unknown || self.installed.as_ref().is_none_or(|known| known.text != installed.text) {
            if let Err(why) = apply(&installed.text).await {
                if !matches!(why, nft::NftError::Refused(_) | nft::NftError::Missing) {
                    self.unknown = true; // a run that did not end in time may have been carried out
                }
                let why = why.to_string();
                if self.error.as_ref().is_none_or(|(known, _)| *known != why) {
                    warn!(reason = why, "rules of the chain were not installed");
                }
                return self.error = Some((why, now + RETRY));
            }
            info!(
                v4 = describe(&set.v4.next.map(|next| next.address)),
                v6 = describe(&set.v6.next.map(|next| next.address)),
                "rules of the chain were installed"
            );
        }
        (self.error, self.unknown) = (None, false);
        self.last = Some(set);
        self.store(installed, channels).await;
    }

    /// Stores what the next process has to know of the other members, while the rules stay those of the former process.
    pub(super) async fn remember(
        &mut self,
        observations: &BTreeMap<IpAddr, MemberObservation>,
        presence: MemberPresence,
        channels: &ChainChannels,
    ) {
        let Some(installed) = &self.installed else { return };
        let members = stored_members(observations, presence);
        if installed.members != members {
            self.store(Installed { members, ..installed.clone() }, channels).await;
        }
    }

    async fn store(&mut self, installed: Installed, channels: &ChainChannels) {
        let text = serde_json::to_string(&installed).unwrap_or_default();
        self.installed = Some(installed);
        let stored =
            channels.files.run(&channels.state_dir, move |folder| files::replace(folder, INSTALLED, &text));
        if let Err(error) = stored.await {
            warn!(%error, "next process will not know which rules of the chain are in the kernel");
        }
    }

    /// Removes the rules, if there are any of ours.
    pub(super) async fn remove(&mut self, channels: &ChainChannels) {
        let Some(_) = self.installed.take() else { return };
        self.last = None;
        self.counters = [None, None];
        self.test_packets = [None, None];
        match nft::apply(rules::remove()).await {
            Ok(()) => info!("rules of the chain were removed"),
            Err(error) => warn!(%error, "rules of the chain were not removed"),
        }
        let _ = channels.files.run(&state_file(channels), |path| files::remove(path).map(drop)).await; // the tables decide
    }

    async fn look(&mut self, place: &Place, pairs: &[Service], now: Instant, channels: &ChainChannels) {
        self.looked = Some(now);
        let accepts = channels.files.read_text(Path::new(ACCEPTS_MARKS), 16).await;
        self.accepts_marks = accepts.is_ok_and(|text| text.trim() == "1");
        for (pair, wildcard) in listener::on_wildcard(pairs) {
            self.listens.insert(pair, if wildcard { ListenOn::Wildcard } else { ListenOn::Address });
        }
        // Until a server has listened once.
        for pair in pairs {
            self.listens.entry(*pair).or_insert(ListenOn::Wildcard);
        }
        if self.neighbours.is_none() {
            self.neighbours = Neighbours::open().ok();
        }
        if let Some(neighbours) = &self.neighbours {
            match neighbours.ethernet(place.index).await {
                Ok(found) => {
                    for member in self.believed.iter() {
                        if let Some(mac) = found.get(&member) {
                            self.ethernet.insert(member, *mac);
                        }
                    }
                    let believed: BTreeSet<IpAddr> = self.believed.iter().collect();
                    self.ethernet.retain(|member, _| believed.contains(member));
                }
                Err(error) => {
                    warn!(%error, "neighbour table cannot be read");
                    self.neighbours = None;
                }
            }
        }
        if self.counted.is_some_and(|counted| now < counted + COUNT) {
            return;
        }
        self.counted = Some(now);
        if self.installed.is_some() && self.count().await.is_ok() && self.counters.iter().any(Option::is_none)
        {
            warn!("rules of the chain are gone from the kernel, installing them again");
            self.installed = None;
        }
    }

    /// Reads the counters.
    async fn count(&mut self) -> Result<(), ()> {
        let printed = nft::counters().await.map_err(drop)?;
        self.counters = counters::parse(&printed).map_err(drop)?;
        self.test_packets = counters::test_packets(&printed).map_err(drop)?;
        self.readings = self.readings.wrapping_add(1);
        Ok(())
    }
}

/// Makes the rules of the kernel those of a text.
async fn apply(text: &str) -> Result<(), nft::NftError> {
    let applied = nft::apply(text.to_owned()).await;
    if let Err(nft::NftError::Refused(_)) = applied {
        // A table of another version can have other parts.
        return nft::apply(rules::remove() + text).await;
    }
    applied
}

fn state_file(channels: &ChainChannels) -> PathBuf {
    channels.state_dir.join(INSTALLED)
}

fn describe(next: &Option<impl ToString>) -> String {
    next.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string)
}

fn stored_members(
    observations: &BTreeMap<IpAddr, MemberObservation>,
    presence: MemberPresence,
) -> BTreeMap<IpAddr, StoredMember> {
    let members = observations.iter();
    members
        .filter_map(|(member, observed)| Some((*member, StoredMember::of(&remembered(observed, presence)?))))
        .collect()
}
