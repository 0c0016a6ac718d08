//! The answers of `status` and `explain`, and the warnings.
//!
//! Touches the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use super::ControlContext;
use crate::bfd::packet::BfdState;
use crate::bfd::status::BfdReport;
use crate::bgp::fsm::StateName;
use crate::bgp::io::session;
use crate::bgp::open::{AsWidth, RefreshKind};
use crate::config;
use crate::control::api::{
    self, ErrorCode, PeerDetails, ReasonStatus, Response, RouterCommandStatus, VipDetails,
};
use crate::control::explain::changes::last_changes;
use crate::control::explain::{self, RouterExplanation, SessionExplanation, VipExplanation};
use crate::control::{chain, names};
use crate::delivery::{RouteProgress, RouterSession, delivery};
use crate::director::{NextHopSource, Report, VipReport, VipRoute};
use crate::drain::{self, Drain, DrainTarget, DrainedBy};
use crate::files::io as files;
use crate::health::io::listener;
use crate::model::{Asn, Family, PeerAsn, PeerName, ServiceName, Weight};
use crate::realtime::Scheduling;
use crate::router_side;
use crate::takeover::{StartReport, crash_outlook};

/// The explanation of a VIP, in sentences.
pub(crate) fn explained(
    context: &ControlContext,
    report: &Report,
    address: IpAddr,
    peer: Option<&str>,
) -> Response {
    let config = context.configs.borrow().clone();
    let found = config.vips().find(|(vip, _)| *vip == address);
    let known = report.vips().find(|(_, vip)| vip.address == address);
    let (Some((_, service)), Some((_, vip))) = (found, known) else {
        let all: Vec<String> = config.vips().map(|(vip, _)| vip.to_string()).collect();
        let text = names::unknown("VIP", &address.to_string(), all.iter().map(String::as_str));
        return Response::error(ErrorCode::UnknownName, text);
    };
    if let Some(name) = peer.filter(|name| config.peers.iter().all(|peer| peer.name.as_str() != *name)) {
        let text = names::unknown("peer", name, config.peers.iter().map(|peer| peer.name.as_str()));
        return Response::error(ErrorCode::UnknownName, text);
    }
    let peers = context.peers.borrow().clone();
    let sessions = peers.routers();
    // Of a VIP that is not announced, the withdraw counts. It is part of the newest generation at the latest.
    let withdrawn = VipRoute {
        generation: report.generation,
        next_hop: NextHopSource::Session,
        recipients: service.recipients.clone(),
    };
    let route = vip.vip_route.as_ref().unwrap_or(&withdrawn);
    let routers = peers.iter().zip(&sessions).map(|((peer, status), router)| {
        let drained = drained_router(context, peer);
        let session = match (router.progress(Family::of(address), route), drained) {
            (RouteProgress::Down, _) => {
                let down = status.trouble().map(|(reason, _)| reason);
                SessionExplanation::Down(status.state.to_string(), down)
            }
            (_, Some(why)) => SessionExplanation::DoesNotSend(why.text),
            (RouteProgress::NotSent(why), None) => SessionExplanation::DoesNotSend(why.to_string()),
            (RouteProgress::NotWanted, None) => {
                SessionExplanation::DoesNotSend(explain::not_wanted(service, peer, Family::of(address)))
            }
            (RouteProgress::Sending, None) => SessionExplanation::Sending,
            (RouteProgress::Acknowledged, None) => {
                SessionExplanation::Acknowledged(status.ack_times.of(route.generation))
            }
        };
        let internal = match peer.asn {
            PeerAsn::Internal => true,
            PeerAsn::External => false,
            PeerAsn::Is(asn) => asn == config.bgp.asn,
        };
        RouterExplanation {
            name: peer.name.to_string(),
            overrides: peer.overrides.clone(),
            internal,
            asn: config.bgp.asn,
            next_hop: status.next_hops.get(&Family::of(address)).copied(),
            session,
        }
    });
    let routers = routers.filter(|router| peer.is_none_or(|name| router.name == name)).collect();
    let delivered = delivered(vip, &sessions);
    let delivery = delivery(address, vip.vip_route.as_ref(), &sessions);
    let drains = report.drains.of_vip(&service.name, address);
    let weight = report.services.iter().find(|one| one.name == service.name).and_then(|one| one.weight);
    let story = VipExplanation { vip, service, weight, drains, delivery, routers };
    let mut lines = explain::explain(&story, Instant::now());
    lines.extend(chain::explain(&context.chain.borrow(), address, &service.flow_ports()));
    let changes = context.history.borrow().newest(usize::MAX);
    lines.extend(last_changes(&changes, |change| change.vip == Some(address)));
    Response::Vip(Box::new(VipDetails {
        service: service.name.to_string(),
        vip: self::vip(vip, delivered),
        lines,
    }))
}

/// The warnings besides those of the director, one sentence each. No file is read for them.
pub(crate) fn warnings_beside(context: &ControlContext) -> Vec<String> {
    let mut warnings = context.configs.borrow().warnings();
    warnings.extend(differences(context));
    for others in &context.warnings {
        warnings.extend(others.borrow().iter().cloned());
    }
    warnings.extend(context.drains.borrow().warnings(drain::io::clock()));
    warnings.extend(context.router_id.borrow().waits.clone());
    warnings.extend(context.peers.borrow().warnings());
    warnings.extend(context.bfd.borrow().warnings(&context.peers.borrow().hold_times(), Instant::now()));
    warnings.extend(context.chain.borrow().warnings(Instant::now()));
    warnings.extend(context.programs.warning());
    warnings.extend(context.start.borrow().warnings());
    warnings.extend(context.log.lost().warning(Instant::now()));
    warnings.extend(files::warnings(&context.files.hanging().borrow(), Instant::now()));
    warnings
}

/// How what runs differs from what is on disk, one sentence each.
fn differences(context: &ControlContext) -> Vec<String> {
    let mut sentences = context.file_warning.borrow().clone();
    sentences.extend(context.fallback.borrow().as_ref().map(ToString::to_string));
    sentences
}

pub(crate) fn status(context: &ControlContext, report: &Report) -> api::Status {
    let mut warnings = report.warnings(Instant::now());
    warnings.extend(warnings_beside(context));
    let drain = |drain: &Drain| api::DrainStatus {
        reason: drain.reason.clone(),
        by: drain.by.clone(),
        at: drain.at.clone(),
        until: drain.until.as_ref().map(ToString::to_string),
        until_reboot: drain.boot.is_some(),
    };
    let drains = report.drains.iter().map(|order| (order.file.clone(), drain(&order.drain))).collect();
    let routers = context.peers.borrow().routers();
    let vip = |vip: &VipReport| self::vip(vip, delivered(vip, &routers));
    let config = context.configs.borrow().clone();
    let vrf_of = |name: &ServiceName| config.services.iter().find(|one| one.name == *name)?.vrf.clone();
    api::Status {
        host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime: context.started.elapsed().as_secs_f64(),
        started: time_of(context.started),
        start: start(context),
        asn: context.configs.borrow().bgp.asn.get(),
        router_id: context.router_id.borrow().id.map(|id| id.to_string()),
        peers: context
            .peers
            .borrow()
            .iter()
            .map(|(peer, status)| self::peer(context, peer, &status))
            .collect(),
        services: (report.services.iter())
            .map(|service| api::ServiceStatus {
                vrf: vrf_of(&service.name),
                name: service.name.to_string(),
                vips: service.vips.iter().map(vip).collect(),
                weight: service.weight.map(Weight::get),
            })
            .collect(),
        drains,
        chain: chain::summary(&context.chain.borrow()),
        listener_watch: listener_watch(&context.listener_watch.borrow()),
        warnings,
        differs: differences(context),
    }
}

fn start(context: &ControlContext) -> api::StartStatus {
    let StartReport { how, gap, bfd_pause, installed, rolled_back, not_continued } =
        context.start.borrow().clone();
    api::StartStatus {
        how: how.as_str().to_owned(),
        gap_ms: gap.map(|gap| gap.as_secs_f64() * 1000.0),
        bfd_pause_ms: bfd_pause.map(|pause| pause.as_secs_f64() * 1000.0),
        installed: installed.map(|path| path.display().to_string()),
        rolled_back,
        not_continued,
        crash: crash_outlook(
            context.descriptors.crash_store(),
            (context.state_usable.0)(),
            context.bfd.borrow().shortest_remote_detection(),
        ),
    }
}

fn delivered(vip: &VipReport, routers: &[RouterSession]) -> api::DeliveryStatus {
    let delivery = delivery(vip.address, vip.vip_route.as_ref(), routers);
    api::DeliveryStatus {
        wanted: delivery.wanted(),
        acknowledged: delivery.acknowledged(),
        missing: delivery.missing().map(ToString::to_string).collect(),
        text: delivery.beside(&vip.standing),
    }
}

fn vip(vip: &VipReport, routers: api::DeliveryStatus) -> api::VipStatus {
    api::VipStatus {
        routers,
        address: vip.address,
        standing: vip.standing.word().to_owned(),
        reason: ReasonStatus { code: vip.standing.label().to_owned(), text: vip.standing.to_string() },
        brief: vip.standing.brief(),
        lasts: vip.since.elapsed().as_secs_f64(),
        since: time_of(vip.since),
    }
}

/// The time of an event on the wall clock, which may have been set since.
pub(super) fn time_of(at: Instant) -> String {
    let now = SystemTime::now();
    humantime::format_rfc3339_millis(now.checked_sub(at.elapsed()).unwrap_or(now)).to_string()
}

fn listener_watch(report: &listener::ListenerReport) -> Option<api::ListenerWatchStatus> {
    Some(api::ListenerWatchStatus {
        period_ms: report.period.as_secs_f64() * 1000.0,
        targets: report.pairs,
        by: report.how?.word().to_owned(),
        disarmed: (report.disarmed.iter())
            .map(|((vip, port), why)| format!("{}: {}", SocketAddr::new(*vip, *port), why.sentence()))
            .collect(),
        blind: report.blind.clone(),
    })
}

fn peer(
    context: &ControlContext,
    peer: &config::PeerConfig,
    status: &session::SessionReport,
) -> api::PeerStatus {
    let ours = context.configs.borrow().bgp.asn;
    let asn = match (peer.asn, &status.negotiated) {
        (PeerAsn::Is(asn), _) => Some(asn),
        (PeerAsn::Internal, _) => Some(ours),
        (PeerAsn::External, agreed) => agreed.as_ref().map(|agreed| agreed.peer_asn),
    };
    let address = address_of(peer, status);
    let peers = context.peers.borrow();
    let mut others = peers.iter().filter(|(other, _)| other.name != peer.name && other.same_place(peer));
    let same = others.find(|(other, status)| address.is_some() && address_of(other, status) == address);
    let same_router = same.map(|(other, _)| other.name.to_string());
    let (reason, hint) = status.trouble().unzip();
    let code = status.last_down.as_ref().map_or("unknown", |down| down.why.label()).to_owned();
    let reason = reason.map(|text| ReasonStatus { code, text });
    let twin = same_router.as_ref().filter(|_| reason.is_some());
    let twin = twin.map(|other| format!("the peer `{other}` is the same router: remove one of the two"));
    let families = |families: &BTreeSet<Family>| families.iter().map(ToString::to_string).collect();
    api::PeerStatus {
        name: peer.name.to_string(),
        address: peer.shown_address(status.peer_address),
        vrf: peer.vrf.clone(),
        asn: asn.map(Asn::get),
        state: status.state.to_string(),
        lasts: status.since.elapsed().as_secs_f64(),
        since: time_of(status.since),
        down: status.down_since().map(|since| since.elapsed().as_secs_f64()),
        last_up: status.ended.filter(|_| status.state != StateName::Established).map(time_of),
        announced: status.announced,
        advertised: status.advertised,
        reason,
        hint: twin.or(hint.flatten()),
        not_sent: drained_router(context, peer)
            .into_iter()
            .chain(
                status
                    .not_sent
                    .values()
                    .map(|why| ReasonStatus { code: why.label().to_owned(), text: why.to_string() }),
            )
            .collect(),
        families: families(&peer.families),
        session: status.negotiated.as_ref().map(|agreed| api::SessionStatus {
            local_address: status.local_address.map(|local| local.to_string()),
            router_id: agreed.peer_id.to_string(),
            hold_time: agreed.hold_time.map_or(0, |time| time.as_secs()),
            families: families(&agreed.families),
            asn_octets: match agreed.as_width {
                AsWidth::Two => 2,
                AsWidth::Four => 4,
            },
            route_refresh: match agreed.refresh {
                RefreshKind::Plain => "plain".to_owned(),
                RefreshKind::Enhanced => "enhanced".to_owned(),
            },
            extended_next_hop: agreed.extended_next_hop,
            next_hops: (status.next_hops.iter())
                .map(|(family, next_hop)| (family.to_string(), next_hop.to_string()))
                .collect(),
        }),
        bfd: peer.bfd.as_ref().map(|_| bfd(&context.bfd.borrow(), &peer.name)),
        established: status.established,
        last_end: (status.last_down.as_ref())
            .map(|down| ReasonStatus { code: down.why.label().to_owned(), text: down.text(Instant::now()) }),
        same_router,
        received: messages(&status.received),
        sent: messages(&status.sent),
    }
}

/// BFD with a peer that is configured for it.
fn bfd(status: &BfdReport, name: &PeerName) -> api::PeerBfdStatus {
    let now = Instant::now();
    let known = status.peers.get(name);
    let session = known.and_then(|peer| peer.session.as_ref().ok());
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    api::PeerBfdStatus {
        state: session.map_or(BfdState::Down, |session| session.state).to_string(),
        lasts: session.map(|session| session.since.elapsed().as_secs_f64()),
        since: session.map(|session| time_of(session.since)),
        remote_state: session
            .filter(|session| session.received > 0)
            .map(|session| session.remote_state.to_string()),
        reason: known.map_or_else(|| Some("it starts".to_owned()), |peer| status.why_not_up(peer, now)),
        strict: known.is_some_and(|peer| peer.strict),
        multihop: session.is_some_and(|session| session.ends.hops > 1),
        local_address: session.map(|session| session.ends.local.to_string()),
        interval_ms: session.map(|session| millis(session.interval)),
        remote_interval_ms: session.and_then(|session| session.remote_interval).map(millis),
        detection_ms: session.and_then(|session| session.detection_time).map(millis),
        remote_detection_ms: session.and_then(|session| session.remote_detection_time).map(millis),
        diagnostic: session.map(|session| session.diag.to_string()),
        remote_diagnostic: session
            .filter(|session| session.received > 0)
            .map(|session| session.remote_diag.to_string()),
        last_down: session.and_then(|session| session.last_down(now)),
        flaps: session.map_or(0, |session| session.flaps),
        sent: session.map_or(0, |session| session.sent),
        received: session.map_or(0, |session| session.received),
        scheduling: status.scheduling.as_ref().map(|scheduling| match scheduling {
            Scheduling::RealTime => "real-time".to_owned(),
            Scheduling::Ordinary(why) => format!("ordinary: {why}"),
        }),
    }
}

/// Why no route is sent to a router that is drained.
fn drained_router(context: &ControlContext, peer: &config::PeerConfig) -> Option<ReasonStatus> {
    let target = DrainTarget::Peer(peer.name.to_string());
    let drains = context.drains.borrow();
    let orders: Vec<_> = drains.drains.of(&target).iter().collect();
    let by = DrainedBy::of(&orders)?;
    let text = format!("no route is sent, drained{by}; `announcer undrain {}` ends that", target.arguments());
    Some(ReasonStatus { code: "drained".to_owned(), text })
}

/// The address of a peer, if it is known.
fn address_of(peer: &config::PeerConfig, status: &session::SessionReport) -> Option<IpAddr> {
    match peer.address {
        config::PeerAddress::Ip(address) => Some(address),
        config::PeerAddress::DefaultGateway | config::PeerAddress::RouterAdvertisement => status.peer_address,
    }
}

fn messages(counters: &session::MessageCounters) -> BTreeMap<String, u64> {
    let session::MessageCounters { open, update, notification, keepalive, refresh } = *counters;
    let all = [
        ("OPEN", open),
        ("UPDATE", update),
        ("NOTIFICATION", notification),
        ("KEEPALIVE", keepalive),
        ("ROUTE-REFRESH", refresh),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| (kind.to_owned(), count)).collect()
}

/// The explanation of a router, in sentences.
pub(super) fn explained_peer(context: &ControlContext, name: &str) -> Response {
    let peers = context.peers.borrow().clone();
    match peers.iter().find(|(peer, _)| peer.name.as_str() == name) {
        Some((found, status)) => {
            let peer = self::peer(context, found, &status);
            let mut lines = explain::peer::peer(&peer);
            lines.extend(explain::peer::services(&context.configs.borrow(), &found.name));
            let changes = context.history.borrow().newest(usize::MAX);
            lines.extend(last_changes(&changes, |change| change.peer.as_deref() == Some(name)));
            let ours = status.local_address.map(|local| local.ip());
            let commands = router_side::commands(&context.configs.borrow(), found, ours);
            lines.extend(router_side::command_lines(found.os, &commands));
            let router_commands = commands.into_iter().map(|one| RouterCommandStatus {
                shows: one.question.name().to_owned(),
                command: one.command,
            });
            Response::Peer(Box::new(PeerDetails { peer, router_commands: router_commands.collect(), lines }))
        }
        None => {
            let all: Vec<&str> = peers.iter().map(|(peer, _)| peer.name.as_str()).collect();
            Response::error(ErrorCode::UnknownName, names::unknown("peer", name, all))
        }
    }
}
