//! The whole file: its tables, as written and as used.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::bgp::BgpConfig;
use super::chain::ChainConfig;
use super::default_values::Defaults;
use super::defaults;
use super::document::Substituted;
use super::drain::DrainConfig;
use super::dsr::DsrConfig;
use super::error::Fault;
use super::health::HealthConfig;
use super::hooks::HooksConfig;
use super::keys::{Section, optional_table, optional_tables, table, tables};
use super::log::LogConfig;
use super::metrics::MetricsConfig;
use super::peer::PeerConfig;
use super::reader::{self, Context, Table};
use super::service::ServiceConfig;
use super::sources::Sources;
use super::status_page::StatusPageConfig;
use super::writer::TomlWriter;
use super::{bgp, chain, drain, dsr, health, hooks, log, metrics, peer, service, status_page};
use crate::model::Recipients;

/// The whole file.
pub const FILE: Section = Section {
    header: "",
    doc: "What announcer does on this host.",
    keys: &[&[&[
        table("bgp", &bgp::SECTION),
        tables("peer", &peer::SECTION),
        optional_tables("service", &service::SECTION),
        optional_table("health", &health::SECTION),
        optional_table("hooks", &hooks::SECTION),
        optional_table("metrics", &metrics::SECTION),
        optional_table("drain", &drain::SECTION),
        optional_table("chain", &chain::SECTION),
        optional_table("dsr", &dsr::SECTION),
        optional_table("status", &status_page::SECTION),
        optional_table("log", &log::SECTION),
        optional_table("defaults", &defaults::SECTION),
    ]]],
};

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This host, as a BGP speaker.
    pub bgp: BgpConfig,
    /// The routers to which we connect, in the order of the file. There is at least one; names and addresses are unique.
    pub peers: Vec<PeerConfig>,
    /// The services, in the order of the file; names and VIPs are unique. If there is none, nothing is announced.
    pub services: Vec<ServiceConfig>,
    /// How announcer watches the health of the VIPs.
    pub health: HealthConfig,
    /// The commands that run for the changes of all services and for drains; `None`: there are none.
    pub hooks: Option<HooksConfig>,
    /// The address where Prometheus reads metrics; `None`: there are no metrics.
    pub metrics: Option<MetricsConfig>,
    /// How long a stop and a drain wait for connections; `None`: a stop does not wait.
    pub drain: Option<DrainConfig>,
    /// The chain of the frontends; `None`: there is none.
    pub chain: Option<ChainConfig>,
    /// What `dsr-setup doctor` has to know; `None`: the table is absent.
    pub dsr: Option<DsrConfig>,
    /// The status page; `None`: there is none.
    pub status: Option<StatusPageConfig>,
    /// What the daemon logs, and how.
    pub log: LogConfig,
}

impl Config {
    /// Whether a service has this name.
    pub fn names(&self, service: &str) -> bool {
        self.services.iter().any(|one| one.name.as_str() == service)
    }

    /// Every VIP with its service, in the order of the file.
    pub fn vips(&self) -> impl Iterator<Item = (IpAddr, &ServiceConfig)> {
        self.services.iter().flat_map(|service| service.vips.iter().map(move |vip| (*vip, service)))
    }
}

impl Config {
    /// The files with keys, which the programs of checks and hooks must not read.
    pub fn key_files(&self) -> impl Iterator<Item = &Path> {
        let of_peers = self.peers.iter().filter_map(|peer| peer.password_file.as_deref());
        of_peers.chain(self.chain.iter().map(|chain| chain.key_file.as_path()))
    }

    /// The routers that get the routes of each VIP.
    pub fn recipients(&self) -> BTreeMap<IpAddr, &Recipients> {
        self.vips().map(|(vip, service)| (vip, &service.recipients)).collect()
    }

    /// A service without `peers` is announced only to routers in its VRF, because other routers have no route to its VIPs.
    fn limit_recipients_to_vrf(&mut self) {
        for service in self.services.iter_mut().filter(|service| service.recipients == Recipients::All) {
            let (same, others): (Vec<_>, Vec<_>) =
                self.peers.iter().partition(|peer| peer.vrf == service.vrf);
            if !others.is_empty() {
                let names = same.into_iter().map(|peer| peer.name.clone()).collect();
                service.recipients = Recipients::SameVrf(Arc::new(names));
            }
        }
    }

    /// The routers that get the routes of a service, in the order of the file.
    pub fn routers_of<'a>(
        &'a self,
        service: &'a ServiceConfig,
    ) -> impl Iterator<Item = &'a PeerConfig> + Clone {
        self.peers.iter().filter(|peer| service.recipients.include(&peer.name))
    }
}

/// The tables of the file as written.
#[derive(Debug)]
pub(super) struct WrittenFile {
    pub(super) bgp: Option<bgp::Written>,
    pub(super) peers: Vec<peer::Written>,
    pub(super) services: Vec<service::Written>,
    pub(super) health: Option<health::Written>,
    pub(super) hooks: hooks::Written,
    pub(super) metrics: Option<metrics::Written>,
    pub(super) drain: Option<drain::Written>,
    pub(super) chain: Option<chain::Written>,
    pub(super) dsr: Option<dsr::Written>,
    pub(super) status: Option<status_page::Written>,
    pub(super) log: Option<log::Written>,
}

/// Reads all files. If a table is missing, the error marks the last line of the main file.
pub(super) fn read(
    sources: &Sources,
    documents: &[DeTable<'_>],
    substituted: &Substituted,
    faults: &mut Vec<Fault>,
) -> WrittenFile {
    let empty = DeTable::new();
    let (main, others) = documents.split_first().unwrap_or((&empty, &[]));
    let end = sources.texts().next().map_or(0, |text| text.trim_end().len());
    let context =
        Context { whole: &FILE, defaults: Defaults::of_file(&defaults::SECTION, main), substituted };
    let mut file = reader::read(&context, main, end..end, faults, |table| {
        table.table("defaults", defaults::read); // their values are read with the tables that use them
        WrittenFile {
            bgp: table.table("bgp", bgp::Written::read),
            peers: table.tables("peer", peer::read),
            services: table.tables("service", service::Written::read),
            health: table.table("health", health::Written::read),
            hooks: hooks::Written::read(table),
            metrics: table.table("metrics", metrics::Written::read),
            drain: table.table("drain", drain::Written::read),
            chain: table.table("chain", chain::Written::read),
            dsr: table.table("dsr", dsr::Written::read),
            status: table.table("status", status_page::Written::read),
            log: table.table("log", log::Written::read),
        }
    });
    for other in others {
        let read = |table: &mut Table<'_>| table.tables("service", service::Written::read);
        file.services.extend(reader::read_part(
            &context,
            other,
            "service",
            sources.main_name(),
            faults,
            read,
        ));
    }
    file
}

impl WrittenFile {
    /// Every VIP, with its place.
    pub(super) fn vips(&self) -> impl Iterator<Item = &Spanned<IpAddr>> {
        self.services.iter().filter_map(|service| service.vips.as_ref()).flat_map(|vips| vips.get_ref())
    }

    /// As the program uses it; `None`: something is missing or wrong, and an error was recorded.
    pub(super) fn used(&self) -> Option<Config> {
        let mut config = Config {
            bgp: self.bgp.as_ref()?.used()?,
            peers: self.peers.iter().map(peer::Written::used).collect::<Option<_>>()?,
            services: self.services.iter().map(service::Written::used).collect::<Option<_>>()?,
            health: self.health.as_ref()?.used()?,
            hooks: self.hooks.used()?,
            metrics: absent_or_good(self.metrics.as_ref().map(metrics::Written::used))?,
            drain: absent_or_good(self.drain.as_ref().map(drain::Written::used))?,
            chain: absent_or_good(self.chain.as_ref().map(chain::Written::used))?,
            dsr: absent_or_good(self.dsr.as_ref().map(dsr::Written::used))?,
            status: absent_or_good(self.status.as_ref().map(status_page::Written::used))?,
            log: self.log.as_ref()?.used()?,
        };
        config.limit_recipients_to_vrf();
        Some(config)
    }
}

/// A table that may be absent; `None`: it is present and has a mistake.
fn absent_or_good<T>(table: Option<Option<T>>) -> Option<Option<T>> {
    table.map_or(Some(None), |found| found.map(Some))
}

/// Writes a configuration with all its defaults. `parse` of this text gives an equal [`Config`]. In place of a credential is its
/// `${NAME}`, so that the text can be shown, and is equal where the credential is the same.
pub fn canonical(config: &Config) -> String {
    write(config, TomlWriter::default())
}

/// The same, with values that are not shown: two texts are equal if the configurations are. It is never printed.
pub(super) fn comparable(config: &Config) -> String {
    write(config, TomlWriter { compares: true, ..TomlWriter::default() })
}

fn write(config: &Config, mut out: TomlWriter) -> String {
    let Config { bgp, peers, services, health, hooks, metrics, drain, chain, dsr, status, log } = config;
    out.header(bgp::SECTION.header);
    bgp::Written::from(bgp).write(&mut out);
    for peer in peers {
        out.header(peer::SECTION.header);
        peer::Written::from(peer).write(&mut out);
    }
    for service in services {
        out.header(service::SECTION.header);
        service::Written::from(service).write(&mut out);
    }
    out.header(health::SECTION.header);
    health::Written::from(health).write(&mut out);
    hooks::Written::from(hooks).write_as(&hooks::SECTION, &mut out);
    if let Some(metrics) = metrics {
        out.header(metrics::SECTION.header);
        metrics::Written::from(metrics).write(&mut out);
    }
    if let Some(drain) = drain {
        out.header(drain::SECTION.header);
        drain::Written::from(drain).write(&mut out);
    }
    if let Some(chain) = chain {
        out.header(chain::SECTION.header);
        chain::Written::from(chain).write(&mut out);
    }
    if let Some(dsr) = dsr {
        out.header(dsr::SECTION.header);
        dsr::Written::from(dsr).write(&mut out);
    }
    if let Some(status) = status {
        out.header(status_page::SECTION.header);
        status_page::Written::from(status).write(&mut out);
    }
    out.header(log::SECTION.header);
    log::Written::from(log).write(&mut out);
    out.text
}
