//! A scrape as text: Prometheus' format, version 0.0.4.
//!
//! Pure. prometheus-client writes it. By default it writes OpenMetrics, in which the family of a counter has its name without
//! `_total`. Here a family has the same name as its samples, so that every reader of the older format, for example promtool, finds
//! the type and the meaning.

mod chain;

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::*;
use crate::bfd::packet::{BfdState, DropReason};
use crate::bgp::fsm::StateName;
use crate::delivery::{Delivery, deliveries};
use crate::director::Standing;
use crate::drain::Order;
use crate::health::outcome::Shortage;
use crate::model::Histogram;
use crate::realtime::Scheduling;

/// Writes a scrape.
///
/// # Errors
/// Those of the writer.
pub fn write(scrape: Scrape, writer: &mut impl fmt::Write) -> fmt::Result {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    text::encode_registry(writer, &registry)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = MetricsWriter(encoder);
        out.family(&BUILD, |rows| rows.row(&[env!("CARGO_PKG_VERSION")], 1_u64))?;
        self.vips(&mut out)?;
        self.probes(&mut out)?;
        self.certificates(&mut out)?;
        let ListenerMetrics { period, targets, disarmed, blind } = self.listeners;
        out.one(&WATCH_PERIOD, Some(period.as_secs_f64()))?;
        out.one(&WATCH_TARGETS, Some(targets as u64))?;
        out.one(&WATCH_DISARMED, Some(disarmed as u64))?;
        out.one(&WATCH_BLIND, Some(u64::from(blind)))?;
        self.peers(&mut out)?;
        self.bfd(&mut out)?;
        self.chain(&mut out)?;
        out.family(&FINDING, |rows| {
            let codes = &self.findings.codes;
            codes.iter().try_for_each(|(code, is_found)| rows.row(&[code], u64::from(*is_found)))
        })?;
        let queues = &self.findings.queues;
        out.family(&LISTENER_QUEUE, |rows| {
            queues.iter().try_for_each(|(vip, queue)| rows.row(&[&vip.to_string()], u64::from(queue.waiting)))
        })?;
        out.family(&LISTENER_QUEUE_LIMIT, |rows| {
            queues.iter().try_for_each(|(vip, queue)| rows.row(&[&vip.to_string()], u64::from(queue.limit)))
        })?;
        out.one(&WARNINGS, Some(self.warnings as u64))?;
        out.family(&CONFIG_INFO, |rows| rows.row(&[&self.reloads.config.to_string()], 1_u64))?;
        let outdated = match self.program {
            DiskProgram::Same => 0_u64,
            DiskProgram::Other => 1,
        };
        out.one(&PROGRAM_OUTDATED, Some(outdated))?;
        out.one(&PROGRAM_ROLLED_BACK, Some(u64::from(self.rolled_back)))?;
        out.one(&TAKEOVER_FAILED, Some(u64::from(self.takeover_failed)))?;
        out.family(&START_INFO, |rows| rows.row(&[self.start.as_str()], 1_u64))?;
        out.one(&RELOADED, Some(u64::from(self.reloads.last_applied)))?;
        out.one(&RELOADED_AT, Some(self.reloads.applied_at))?;
        out.family(&RELOADS, |rows| {
            rows.row(&["applied"], self.reloads.applied)?;
            rows.row(&["refused"], self.reloads.refused)
        })?;
        out.one(&FALLBACK, Some(u64::from(self.fallback)))?;
        out.family(&HOOKS, |rows| {
            let HookRuns { ok, failed, timeout, not_started, replaced: _, pending: _ } = self.hooks;
            for (result, count) in
                [("ok", ok), ("failed", failed), ("timeout", timeout), ("not_started", not_started)]
            {
                rows.row(&[result], count)?;
            }
            Ok(())
        })?;
        out.one(&HOOKS_REPLACED, Some(self.hooks.replaced))?;
        out.one(&LOST_LINES, Some(self.lost_lines))?;
        let ProcessMetrics { started, cpu, resident, virtual_size, open_files, max_files } = self.process;
        out.one(&START, started)?;
        out.one(&CPU, cpu)?;
        out.one(&RESIDENT, resident)?;
        out.one(&VIRTUAL, virtual_size)?;
        out.one(&FILES, open_files)?;
        out.one(&MAX_FILES, max_files)
    }
}

impl Scrape {
    fn vips(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let services = &self.figures.services;
        let vips = || services.iter().flat_map(|service| service.vips.iter().map(move |vip| (service, vip)));
        out.family(&STANDING, |rows| {
            for (service, vip) in vips() {
                let address = vip.address.to_string();
                for word in Standing::WORDS {
                    let holds = u64::from(word == vip.standing);
                    rows.row(&[service.name.as_str(), &address, word], holds)?;
                }
            }
            Ok(())
        })?;
        out.family(&REASON, |rows| {
            for (service, vip) in vips() {
                rows.row(&[service.name.as_str(), &vip.address.to_string(), vip.reason], 1_u64)?;
            }
            Ok(())
        })?;
        type DeliveryCount = fn(&Delivery<'_>) -> usize;
        let counts: [(_, DeliveryCount); 2] =
            [(&VIP_ROUTERS, |one| one.acknowledged()), (&VIP_ROUTERS_WANTED, |one| one.wanted())];
        for (metric, count) in counts {
            out.family(metric, |rows| {
                for (service, vip, delivery) in deliveries(&self.figures, &self.routers) {
                    rows.row(&[service.as_str(), &vip.to_string()], count(&delivery) as u64)?;
                }
                Ok(())
            })?;
        }
        out.family(&CHANGES, |rows| {
            for (service, vip) in vips() {
                let count = self.tally.changes.get(&vip.address).copied().unwrap_or_default();
                rows.row(&[service.name.as_str(), &vip.address.to_string()], count)?;
            }
            Ok(())
        })?;
        out.family(&DRAINED, |rows| {
            services
                .iter()
                .try_for_each(|service| rows.row(&[service.name.as_str()], u64::from(service.drained)))
        })?;
        out.family(&WEIGHT, |rows| {
            let weights = services.iter().filter_map(|service| Some((service, service.weight?)));
            weights
                .into_iter()
                .try_for_each(|(service, weight)| rows.row(&[service.name.as_str()], u64::from(weight.get())))
        })?;
        out.family(&DRAIN_INFO, |rows| {
            self.drains.iter().try_for_each(|Order { file, drain, .. }| {
                let until = drain.until.as_ref().map(ToString::to_string).unwrap_or_default();
                rows.row(&[file, drain.by.as_deref().unwrap_or(""), &until], 1_u64)
            })
        })?;
        out.family(&DRAIN_END, |rows| {
            let ends = self.drains.iter().filter_map(|order| Some((order, order.end()?)));
            ends.filter_map(|(order, end)| Some((order, end.duration_since(UNIX_EPOCH).ok()?)))
                .try_for_each(|(order, end)| rows.row(&[&order.file], end.as_secs()))
        })
    }

    fn probes(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        out.family(&PROBES, |rows| {
            for ((vip, _), probes) in &self.tally.probes {
                let vip = vip.to_string();
                for ((result, reason), count) in &probes.results {
                    rows.row(&[probes.service.as_str(), &vip, &probes.check, result, reason], *count)?;
                }
            }
            Ok(())
        })?;
        out.family(&PROBE_TIME, |rows| {
            for (service, checks) in &self.tally.took {
                for (check, took) in checks {
                    rows.histogram(&[service.as_str(), check], took)?;
                }
            }
            Ok(())
        })?;
        out.family(&PROBES_SKIPPED, |rows| {
            let shortages = &self.figures.shortages;
            let mut all = Shortage::ALL.into_iter();
            all.try_for_each(|shortage| rows.row(&[shortage.label()], shortages.count(shortage)))
        })?;
        out.one(&LAPSES, Some(self.figures.lapses))
    }

    fn certificates(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let services = &self.figures.services;
        let seen =
            || services.iter().flat_map(|service| service.certificates.iter().map(move |one| (service, one)));
        out.family(&CERTIFICATE_ENDS, |rows| {
            for (service, one) in seen() {
                let (vip, check) = (one.vip.to_string(), one.check.as_str());
                if let Some(date) = one.ends {
                    rows.row(&[service.name.as_str(), &vip, check], date.unix())?;
                }
            }
            Ok(())
        })?;
        out.family(&CERTIFICATE_FLAW, |rows| {
            for (service, one) in seen() {
                let (vip, check) = (one.vip.to_string(), one.check.as_str());
                if let Some(flaw) = one.flaw {
                    rows.row(&[service.name.as_str(), &vip, check, flaw], 1_u64)?;
                }
            }
            Ok(())
        })
    }

    fn peers(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let mut each = |metric, row: &dyn Fn(&mut Rows<'_>, &PeerMetrics) -> fmt::Result| {
            out.family(metric, |rows| self.peers.iter().try_for_each(|peer| row(rows, peer)))
        };
        each(&PEER_INFO, &|rows, peer| {
            let asn = peer.asn.map(|asn| asn.to_string()).unwrap_or_default();
            let router_id = peer.router_id.map(|id| id.to_string()).unwrap_or_default();
            rows.row(&[peer.name.as_str(), &peer.address, &asn, &router_id], 1_u64)
        })?;
        each(&PEER_STATE, &|rows, peer| {
            StateName::ALL.iter().try_for_each(|state| {
                rows.row(&[peer.name.as_str(), &state.to_string()], u64::from(*state == peer.state))
            })
        })?;
        each(&PEER_UPTIME, &|rows, peer| {
            let up = if peer.state == StateName::Established { peer.lasts } else { Duration::ZERO };
            rows.row(&[peer.name.as_str()], up.as_secs_f64())
        })?;
        each(&PEER_UPS, &|rows, peer| rows.row(&[peer.name.as_str()], peer.established))?;
        each(&PEER_DOWNS, &|rows, peer| {
            let mut downs = peer.downs.iter();
            downs.try_for_each(|(reason, count)| rows.row(&[peer.name.as_str(), reason], *count))
        })?;
        each(&PEER_PREFIXES, &|rows, peer| rows.row(&[peer.name.as_str()], peer.prefixes as u64))?;
        each(&PEER_ROUTES_NOT_SENT, &|rows, peer| {
            peer.not_sent.iter().try_for_each(|why| {
                let (NotSent::FamilyNotNegotiated(family) | NotSent::NoNextHop(family)) = why;
                let family = family.to_string().to_lowercase();
                rows.row(&[peer.name.as_str(), &family, why.label()], 1_u64)
            })
        })?;
        each(&SENT, &|rows, peer| {
            peer.sent.iter().try_for_each(|(kind, count)| rows.row(&[peer.name.as_str(), kind], *count))
        })?;
        each(&RECEIVED, &|rows, peer| {
            peer.received.iter().try_for_each(|(kind, count)| rows.row(&[peer.name.as_str(), kind], *count))
        })?;
        each(&super::WIRE, &|rows, peer| rows.histogram(&[peer.name.as_str()], &peer.wire))
    }
}

impl Scrape {
    fn bfd(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let sessions = || {
            let peers = self.bfd.peers.iter();
            peers.filter_map(|(name, peer)| Some((name.as_str(), peer.session.as_ref().ok()?)))
        };
        out.family(&BFD_STATE, |rows| {
            self.bfd.peers.iter().try_for_each(|(name, peer)| {
                let now = peer.session.as_ref().map_or(BfdState::Down, |session| session.state);
                BfdState::ALL.iter().try_for_each(|state| {
                    rows.row(&[name.as_str(), &state.to_string()], u64::from(*state == now))
                })
            })
        })?;
        out.family(&BFD_DETECTION, |rows| {
            sessions().try_for_each(|(name, session)| {
                for (of, time) in
                    [("router", session.detection_time), ("host", session.remote_detection_time)]
                {
                    time.map_or(Ok(()), |time| rows.row(&[name, of], time.as_secs_f64()))?;
                }
                Ok(())
            })
        })?;
        out.family(&BFD_FLAPS, |rows| {
            sessions().try_for_each(|(name, session)| rows.row(&[name], session.flaps))
        })?;
        out.family(&BFD_LOSSES, |rows| {
            sessions().try_for_each(|(name, session)| rows.row(&[name], session.losses))
        })?;
        out.family(&BFD_PACKETS, |rows| {
            sessions().try_for_each(|(name, session)| {
                rows.row(&[name, "sent"], session.sent)?;
                rows.row(&[name, "received"], session.received)?;
                rows.row(&[name, "unsent"], session.unsent)
            })
        })?;
        out.family(&BFD_DROPS, |rows| {
            if self.bfd.scheduling.is_none() {
                return Ok(());
            }
            DropReason::ALL.iter().try_for_each(|reason| {
                rows.row(&[reason.label()], self.bfd.drops.get(reason).copied().unwrap_or_default())
            })
        })?;
        let real_time = self.bfd.scheduling.as_ref().map(|scheduling| match scheduling {
            Scheduling::RealTime => 1_u64,
            Scheduling::Ordinary(_) => 0,
        });
        out.one(&BFD_REAL_TIME, real_time)
    }
}

/// The text so far.
struct MetricsWriter<'a>(DescriptorEncoder<'a>);

impl MetricsWriter<'_> {
    /// A metric with all its samples.
    fn family(&mut self, metric: &Metric, samples: impl FnOnce(&mut Rows<'_>) -> fmt::Result) -> fmt::Result {
        let kind = match metric.kind {
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram => MetricType::Histogram,
        };
        let encoder = self.0.encode_descriptor(metric.name, metric.help, None, kind)?;
        samples(&mut Rows { encoder, labels: metric.labels })
    }

    /// A metric without labels, if there is a value.
    fn one(&mut self, metric: &Metric, value: Option<impl EncodeGaugeValue>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.family(metric, |rows| rows.row(&[], value)))
    }
}

/// The samples of a metric.
struct Rows<'a> {
    encoder: MetricEncoder<'a>,
    labels: &'static [&'static str],
}

impl Rows<'_> {
    /// One sample; its labels' values are in the order of their names.
    fn row(&mut self, values: &[&str], value: impl EncodeGaugeValue) -> fmt::Result {
        // This also writes the value of a counter, because its name already has the suffix.
        if values.is_empty() {
            return self.encoder.encode_gauge(&value);
        }
        let labels = self.labels(values);
        self.encoder.encode_family(&labels)?.encode_gauge(&value)
    }

    fn histogram<const N: usize>(&mut self, values: &[&str], histogram: &Histogram<N>) -> fmt::Result {
        let labels = self.labels(values);
        let bound = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets: Vec<(f64, u64)> =
            histogram.buckets().map(|(most, count)| (bound(most), count)).collect();
        let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
        self.encoder.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn labels<'v>(&self, values: &[&'v str]) -> Vec<(&'static str, &'v str)> {
        debug_assert_eq!(self.labels.len(), values.len(), "each label has a value");
        self.labels.iter().copied().zip(values.iter().copied()).collect()
    }
}
