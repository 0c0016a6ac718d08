use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use expect_test::expect;

use super::*;
use crate::bfd::packet::DropReason;
use crate::bfd::status::{self as bfd, BfdReport};
use crate::chain::heartbeat::{
    AboutReceiver, Facts, Families, HeartbeatDropReason, ListDigest, MemberPresence, NextHops,
};
use crate::chain::member::{MemberState, Said};
use crate::chain::ring::{MemberObservation, Own, Ring};
use crate::chain::rules::counters::ChainCounters;
use crate::chain::status::{ChainStatus, member_status};
use crate::config::kind::certificate::{Date, Flaw};
use crate::config::kind::http;
use crate::config::tests::with_services;
use crate::config::{self, Config};
use crate::delivery::SessionProgress;
use crate::director::figures::{CertificateFigures, Figures, ServiceFigures, VipFigures};
use crate::director::{
    LastChoiceReason, NextHopSource, NotAnnouncedReason, Standing, StandingChange, VipRoute,
};
use crate::drain::Drain;
use crate::health::ProbeFact;
use crate::health::outcome::{Outcome, Reason as Why, Shortage};
use crate::health::shortages::Shortages;
use crate::model::{Family, Recipients};
use crate::realtime::Scheduling;

mod chain;
mod names;
mod reload;

fn config(services: &[(&str, &[&str])]) -> Config {
    let mut text = with_services!("").to_owned();
    for (name, vips) in services {
        text += &format!(
            "[[service]]\nname = \"{name}\"\nvips = {vips:?}\n[[service.check]]\nhttp = \"http://x/\"\n\
             [[service.check]]\nhttp = \"http://x/two\"\n"
        );
    }
    config::parse("test", &text).unwrap_or_else(|e| panic!("{e}"))
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn passed(millis: u32) -> Outcome {
    Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took: MILLISECOND * millis }
}

fn probed(service: &str, vip: &str, check: usize, outcome: Outcome) -> ProbeFact {
    ProbeFact {
        service: service.parse().unwrap(),
        vip: vip.parse().unwrap(),
        check,
        sequence: 1,
        outcome,
        at: Instant::now(),
    }
}

fn router(name: &str, progress: SessionProgress) -> RouterSession {
    RouterSession { name: name.parse().unwrap(), families: [Family::V4].into(), progress }
}

/// A chain of three members: 10.0.1.12 lives and has another list of members, 10.0.1.13 was not heard.
fn chain() -> ChainStatus {
    let addresses = [11, 12, 13].map(|last| IpAddr::from([10, 0, 1, last]));
    let [own, second, third] = addresses;
    let v4 = Families { v4: true, v6: false };
    let facts = |members| Facts {
        interval: MILLISECOND * 100,
        rules: v4,
        presence: MemberPresence::Here,
        switched_off: false,
        next_hops: NextHops { v4: Some([10, 0, 1, 12].into()), v6: None },
        members: ListDigest([members; 8]),
        services: ListDigest([2; 8]),
    };
    let about_us = AboutReceiver { in_ring: v4, believed: v4, known: true };
    let since = Instant::now() + Duration::from_secs(60); // later than the scrape, so that it has lasted for 0 s
    let observation = |state, said| MemberObservation::in_state(state, since, said);
    let said = Said { facts: facts(9), about_us };
    let observed: BTreeMap<IpAddr, MemberObservation> = [
        (second, observation(MemberState::Alive, Some(said))),
        (third, observation(MemberState::Unknown, None)),
    ]
    .into();
    let ours = Own {
        address: own,
        wanted: v4,
        switched_off: false,
        presence: MemberPresence::Here,
        members: ListDigest::default(),
    };
    let members = observed.iter();
    ChainStatus {
        configured: true,
        forward: true,
        own: Some(own),
        ring: Ring::new(&addresses, &ours, &observed),
        installed: true,
        members: members
            .map(|(address, one)| (*address, member_status(one, one.said.map(|_| since), Arc::default())))
            .collect(),
        facts: Some(facts(1)),
        counters: [Some(ChainCounters { forwarded: 12, over_budget: 3, ..ChainCounters::default() }), None],
        drops: [(HeartbeatDropReason::Hmac, 5)].into(),
        send_errors: 2,
        ..ChainStatus::default()
    }
}

/// A scrape with a value for every metric.
fn scrape() -> Scrape {
    let mut tally = Tally::new(&config(&[("www", &["192.0.2.80", "2001:db8::80"])]));
    let refused = Outcome::Fail { reason: Why::Refused, took: Duration::from_micros(500) };
    for outcome in [passed(1), passed(2), refused, Outcome::Skipped(Shortage::Files)] {
        tally.probed(&probed("www", "192.0.2.80", 0, outcome));
    }
    let vip = |address: &str, standing: Standing| VipFigures {
        address: address.parse().unwrap(),
        standing: standing.word(),
        reason: standing.label(),
        route: standing.is_advertised().then_some(VipRoute {
            generation: 3,
            next_hop: NextHopSource::Session,
            recipients: Recipients::All,
        }),
    };
    let certificate = |vip: &str, ends, flaw: Option<Flaw>| CertificateFigures {
        vip: vip.parse().unwrap(),
        check: "http".into(),
        ends,
        flaw: flaw.map(|flaw| flaw.label()),
    };
    let mut shortages = Shortages::default();
    shortages.note(&Outcome::Skipped(Shortage::Files), Instant::now());
    let starting = Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into()));
    tally.changed(&StandingChange {
        service: "www".parse().unwrap(),
        vip: "192.0.2.80".parse().unwrap(),
        standing: Standing::Announced,
        before: Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into())),
    });
    let mut wire = crate::bgp::io::session::SessionReport::new().wire;
    wire.add(MILLISECOND);
    let messages = [("OPEN", 1), ("UPDATE", 2), ("NOTIFICATION", 0), ("KEEPALIVE", 3), ("ROUTE-REFRESH", 0)];
    Scrape {
        figures: Figures {
            services: vec![ServiceFigures {
                name: "www".parse().unwrap(),
                drained: true,
                vips: vec![vip("192.0.2.80", Standing::Announced), vip("2001:db8::80", starting)],
                weight: crate::model::Weight::new(70),
                certificates: vec![
                    certificate("192.0.2.80", Some(Date::of_unix(1_900_000_000)), None),
                    certificate("2001:db8::80", None, Some(Flaw::Untrusted)),
                ],
            }],
            shortages,
            lapses: 4,
            warnings: 1,
        },
        listeners: ListenerMetrics { period: MILLISECOND * 6, targets: 2, disarmed: 1, blind: false },
        tally,
        peers: vec![PeerMetrics {
            name: "r1".parse().unwrap(),
            address: "10.0.1.1".into(),
            asn: Asn::try_from(65000).ok(),
            router_id: None,
            state: StateName::Established,
            lasts: Duration::from_millis(1500),
            established: 2,
            downs: [("hold_expired", 1)].into(),
            prefixes: 1,
            not_sent: vec![NotSent::NoNextHop(Family::V6)],
            sent: messages,
            received: messages,
            wire,
        }],
        bfd: Arc::new(BfdReport {
            scheduling: Some(Scheduling::RealTime),
            drops: [(DropReason::Ttl, 7)].into(),
            peers: [(
                "r1".parse().unwrap(),
                bfd::BfdPeerReport {
                    strict: false,
                    too_far: false,
                    session: Ok(bfd::tests::up(Instant::now())),
                },
            )]
            .into(),
            ..BfdReport::default()
        }),
        chain: ChainMetrics { status: Arc::new(chain()), now: Instant::now() },
        routers: vec![
            router("r1", SessionProgress::Established { acknowledged: 3, not_sent: [].into() }),
            router("r2", SessionProgress::Down),
        ],
        drains: Drains::from_files([
            ("_all".to_owned(), Ok(String::new())),
            ("www@alice".to_owned(), Ok("by: alice\nuntil: 2026-01-31T14:00:00Z".to_owned())),
        ]),
        program: DiskProgram::Other,
        rolled_back: true,
        start: crate::takeover::Start::Crash,
        takeover_failed: true,
        findings: crate::vip::findings::HostFindings {
            codes: [("no-return-route", true), ("vip-missing", false)].into(),
            queues: [(
                "192.0.2.80".parse().unwrap(),
                dsr_setup::doctor::server::AcceptQueue { waiting: 7, limit: 128 },
            )]
            .into(),
            warnings: vec![],
        },
        warnings: 2,
        fallback: true,
        reloads: Reloads {
            applied: 1,
            refused: 2,
            last_applied: false,
            applied_at: 1_700_000_000.25,
            config: ConfigDigest::of(b"abc"),
        },
        hooks: HookRuns { ok: 3, failed: 1, timeout: 0, not_started: 0, replaced: 7, pending: 0 },
        lost_lines: 5,
        process: ProcessMetrics { open_files: Some(12), cpu: Some(0.25), ..ProcessMetrics::default() },
    }
}

fn text(scrape: Scrape) -> String {
    let mut text = String::new();
    write(scrape, &mut text).unwrap();
    text
}

#[test]
fn a_scrape_reads_as_prometheus_wants_it() {
    let text = text(scrape());
    let lines: String = (text.lines())
        .filter(|line| !line.starts_with("# HELP") && !line.starts_with("announcer_build_info"))
        .filter(|line| !line.contains("_messages_received_") && !line.contains("check=\"http-2\""))
        .map(|line| format!("{line}\n"))
        .collect();
    expect![[r##"
        # TYPE announcer_build_info gauge
        # TYPE announcer_vip_standing gauge
        announcer_vip_standing{service="www",vip="192.0.2.80",standing="announced"} 1
        announcer_vip_standing{service="www",vip="192.0.2.80",standing="last_choice"} 0
        announcer_vip_standing{service="www",vip="192.0.2.80",standing="drained"} 0
        announcer_vip_standing{service="www",vip="192.0.2.80",standing="not_announced"} 0
        announcer_vip_standing{service="www",vip="192.0.2.80",standing="starting"} 0
        announcer_vip_standing{service="www",vip="2001:db8::80",standing="announced"} 0
        announcer_vip_standing{service="www",vip="2001:db8::80",standing="last_choice"} 0
        announcer_vip_standing{service="www",vip="2001:db8::80",standing="drained"} 0
        announcer_vip_standing{service="www",vip="2001:db8::80",standing="not_announced"} 0
        announcer_vip_standing{service="www",vip="2001:db8::80",standing="starting"} 1
        # TYPE announcer_vip_reason gauge
        announcer_vip_reason{service="www",vip="192.0.2.80",reason="healthy"} 1
        announcer_vip_reason{service="www",vip="2001:db8::80",reason="addresses_not_read"} 1
        # TYPE announcer_vip_routers gauge
        announcer_vip_routers{service="www",vip="192.0.2.80"} 1
        announcer_vip_routers{service="www",vip="2001:db8::80"} 0
        # TYPE announcer_vip_routers_wanted gauge
        announcer_vip_routers_wanted{service="www",vip="192.0.2.80"} 2
        announcer_vip_routers_wanted{service="www",vip="2001:db8::80"} 0
        # TYPE announcer_vip_changes_total counter
        announcer_vip_changes_total{service="www",vip="192.0.2.80"} 1
        announcer_vip_changes_total{service="www",vip="2001:db8::80"} 0
        # TYPE announcer_service_drained gauge
        announcer_service_drained{service="www"} 1
        # TYPE announcer_service_weight gauge
        announcer_service_weight{service="www"} 70
        # TYPE announcer_drain_info gauge
        announcer_drain_info{drain="www@alice",by="alice",until="2026-01-31T14:00:00Z"} 1
        announcer_drain_info{drain="_all",by="",until=""} 1
        # TYPE announcer_drain_end_timestamp_seconds gauge
        announcer_drain_end_timestamp_seconds{drain="www@alice"} 1769868000
        # TYPE announcer_probes_total counter
        announcer_probes_total{service="www",vip="192.0.2.80",check="http",result="pass",reason=""} 2
        announcer_probes_total{service="www",vip="192.0.2.80",check="http",result="fail",reason="refused"} 1
        announcer_probes_total{service="www",vip="192.0.2.80",check="http",result="skipped",reason="files"} 1
        announcer_probes_total{service="www",vip="2001:db8::80",check="http",result="pass",reason=""} 0
        # TYPE announcer_probe_duration_seconds histogram
        announcer_probe_duration_seconds_sum{service="www",check="http"} 0.0035
        announcer_probe_duration_seconds_count{service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="0.001",service="www",check="http"} 2
        announcer_probe_duration_seconds_bucket{le="0.003",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="0.01",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="0.03",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="0.1",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="0.3",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="1.0",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="3.0",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="10.0",service="www",check="http"} 3
        announcer_probe_duration_seconds_bucket{le="+Inf",service="www",check="http"} 3
        # TYPE announcer_probes_skipped_total counter
        announcer_probes_skipped_total{reason="files"} 1
        announcer_probes_skipped_total{reason="memory"} 0
        announcer_probes_skipped_total{reason="ports"} 0
        announcer_probes_skipped_total{reason="processes"} 0
        announcer_probes_skipped_total{reason="stood_still"} 0
        # TYPE announcer_probe_loops_hung_total counter
        announcer_probe_loops_hung_total 4
        # TYPE announcer_certificate_expiry_timestamp_seconds gauge
        announcer_certificate_expiry_timestamp_seconds{service="www",vip="192.0.2.80",check="http"} 1900000000
        # TYPE announcer_certificate_flaw gauge
        announcer_certificate_flaw{service="www",vip="2001:db8::80",check="http",reason="untrusted"} 1
        # TYPE announcer_listener_watch_period_seconds gauge
        announcer_listener_watch_period_seconds 0.006
        # TYPE announcer_listener_watch_targets gauge
        announcer_listener_watch_targets 2
        # TYPE announcer_listener_watch_disarmed gauge
        announcer_listener_watch_disarmed 1
        # TYPE announcer_listener_watch_blind gauge
        announcer_listener_watch_blind 0
        # TYPE announcer_peer_info gauge
        announcer_peer_info{peer="r1",address="10.0.1.1",asn="65000",router_id=""} 1
        # TYPE announcer_peer_state gauge
        announcer_peer_state{peer="r1",state="Idle"} 0
        announcer_peer_state{peer="r1",state="Connect"} 0
        announcer_peer_state{peer="r1",state="OpenSent"} 0
        announcer_peer_state{peer="r1",state="OpenConfirm"} 0
        announcer_peer_state{peer="r1",state="Established"} 1
        # TYPE announcer_peer_uptime_seconds gauge
        announcer_peer_uptime_seconds{peer="r1"} 1.5
        # TYPE announcer_peer_established_total counter
        announcer_peer_established_total{peer="r1"} 2
        # TYPE announcer_peer_down_total counter
        announcer_peer_down_total{peer="r1",reason="hold_expired"} 1
        # TYPE announcer_peer_prefixes gauge
        announcer_peer_prefixes{peer="r1"} 1
        # TYPE announcer_peer_routes_not_sent gauge
        announcer_peer_routes_not_sent{peer="r1",family="ipv6",reason="no_next_hop"} 1
        # TYPE announcer_peer_messages_sent_total counter
        announcer_peer_messages_sent_total{peer="r1",type="OPEN"} 1
        announcer_peer_messages_sent_total{peer="r1",type="UPDATE"} 2
        announcer_peer_messages_sent_total{peer="r1",type="NOTIFICATION"} 0
        announcer_peer_messages_sent_total{peer="r1",type="KEEPALIVE"} 3
        announcer_peer_messages_sent_total{peer="r1",type="ROUTE-REFRESH"} 0
        # TYPE announcer_update_delay_seconds histogram
        announcer_update_delay_seconds_sum{peer="r1"} 0.001
        announcer_update_delay_seconds_count{peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.0001",peer="r1"} 0
        announcer_update_delay_seconds_bucket{le="0.0002",peer="r1"} 0
        announcer_update_delay_seconds_bucket{le="0.0005",peer="r1"} 0
        announcer_update_delay_seconds_bucket{le="0.001",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.002",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.005",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.01",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.02",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.05",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.1",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.2",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="0.5",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="1.0",peer="r1"} 1
        announcer_update_delay_seconds_bucket{le="+Inf",peer="r1"} 1
        # TYPE announcer_bfd_state gauge
        announcer_bfd_state{peer="r1",state="AdminDown"} 0
        announcer_bfd_state{peer="r1",state="Down"} 0
        announcer_bfd_state{peer="r1",state="Init"} 0
        announcer_bfd_state{peer="r1",state="Up"} 1
        # TYPE announcer_bfd_detection_seconds gauge
        announcer_bfd_detection_seconds{peer="r1",of="router"} 3.0
        announcer_bfd_detection_seconds{peer="r1",of="host"} 3.0
        # TYPE announcer_bfd_flaps_total counter
        announcer_bfd_flaps_total{peer="r1"} 0
        # TYPE announcer_bfd_losses_total counter
        announcer_bfd_losses_total{peer="r1"} 0
        # TYPE announcer_bfd_packets_total counter
        announcer_bfd_packets_total{peer="r1",direction="sent"} 9
        announcer_bfd_packets_total{peer="r1",direction="received"} 9
        announcer_bfd_packets_total{peer="r1",direction="unsent"} 0
        # TYPE announcer_bfd_packets_dropped_total counter
        announcer_bfd_packets_dropped_total{reason="ttl"} 7
        announcer_bfd_packets_dropped_total{reason="version"} 0
        announcer_bfd_packets_dropped_total{reason="length"} 0
        announcer_bfd_packets_dropped_total{reason="multiplier"} 0
        announcer_bfd_packets_dropped_total{reason="multipoint"} 0
        announcer_bfd_packets_dropped_total{reason="my_discriminator"} 0
        announcer_bfd_packets_dropped_total{reason="your_discriminator"} 0
        announcer_bfd_packets_dropped_total{reason="no_session"} 0
        announcer_bfd_packets_dropped_total{reason="authentication"} 0
        # TYPE announcer_bfd_real_time gauge
        announcer_bfd_real_time 1
        # TYPE announcer_chain_members gauge
        announcer_chain_members 3
        # TYPE announcer_chain_ring_members gauge
        announcer_chain_ring_members{family="ipv4"} 2
        # TYPE announcer_chain_rules_installed gauge
        announcer_chain_rules_installed 1
        # TYPE announcer_chain_switched_off gauge
        announcer_chain_switched_off 0
        # TYPE announcer_chain_member_state gauge
        announcer_chain_member_state{member="10.0.1.12",state="unknown"} 0
        announcer_chain_member_state{member="10.0.1.12",state="alive"} 1
        announcer_chain_member_state{member="10.0.1.12",state="asked"} 0
        announcer_chain_member_state{member="10.0.1.12",state="silent"} 0
        announcer_chain_member_state{member="10.0.1.12",state="dead"} 0
        announcer_chain_member_state{member="10.0.1.12",state="left"} 0
        announcer_chain_member_state{member="10.0.1.13",state="unknown"} 1
        announcer_chain_member_state{member="10.0.1.13",state="alive"} 0
        announcer_chain_member_state{member="10.0.1.13",state="asked"} 0
        announcer_chain_member_state{member="10.0.1.13",state="silent"} 0
        announcer_chain_member_state{member="10.0.1.13",state="dead"} 0
        announcer_chain_member_state{member="10.0.1.13",state="left"} 0
        # TYPE announcer_chain_member_state_duration_seconds gauge
        announcer_chain_member_state_duration_seconds{member="10.0.1.12"} 0.0
        announcer_chain_member_state_duration_seconds{member="10.0.1.13"} 0.0
        # TYPE announcer_chain_member_differs gauge
        announcer_chain_member_differs{member="10.0.1.12",what="members"} 1
        announcer_chain_member_differs{member="10.0.1.12",what="services"} 0
        # TYPE announcer_chain_packets_total counter
        announcer_chain_packets_total{family="ipv4",what="forwarded"} 12
        announcer_chain_packets_total{family="ipv4",what="started"} 0
        announcer_chain_packets_total{family="ipv4",what="accepted"} 0
        announcer_chain_packets_total{family="ipv4",what="returned"} 0
        announcer_chain_packets_total{family="ipv4",what="over_budget"} 3
        announcer_chain_packets_total{family="ipv4",what="flood"} 0
        announcer_chain_packets_total{family="ipv4",what="not_started"} 0
        announcer_chain_packets_total{family="ipv4",what="foreign_mark"} 0
        announcer_chain_packets_total{family="ipv4",what="expired"} 0
        # TYPE announcer_chain_test_packets gauge
        announcer_chain_test_packets{family="ipv4",state="unknown"} 1
        announcer_chain_test_packets{family="ipv4",state="good"} 0
        announcer_chain_test_packets{family="ipv4",state="changed"} 0
        announcer_chain_test_packets{family="ipv4",state="stopped"} 0
        announcer_chain_test_packets{family="ipv4",state="lost"} 0
        # TYPE announcer_chain_heartbeats_dropped_total counter
        announcer_chain_heartbeats_dropped_total{reason="length"} 0
        announcer_chain_heartbeats_dropped_total{reason="magic"} 0
        announcer_chain_heartbeats_dropped_total{reason="version"} 0
        announcer_chain_heartbeats_dropped_total{reason="hmac"} 5
        announcer_chain_heartbeats_dropped_total{reason="sender"} 0
        announcer_chain_heartbeats_dropped_total{reason="receiver"} 0
        announcer_chain_heartbeats_dropped_total{reason="value"} 0
        announcer_chain_heartbeats_dropped_total{reason="not_member"} 0
        announcer_chain_heartbeats_dropped_total{reason="not_returned"} 0
        announcer_chain_heartbeats_dropped_total{reason="counter"} 0
        announcer_chain_heartbeats_dropped_total{reason="earlier_start"} 0
        # TYPE announcer_chain_heartbeats_unsent_total counter
        announcer_chain_heartbeats_unsent_total 2
        # TYPE announcer_finding gauge
        announcer_finding{code="no-return-route"} 1
        announcer_finding{code="vip-missing"} 0
        # TYPE announcer_listener_queue gauge
        announcer_listener_queue{vip="192.0.2.80"} 7
        # TYPE announcer_listener_queue_limit gauge
        announcer_listener_queue_limit{vip="192.0.2.80"} 128
        # TYPE announcer_warnings gauge
        announcer_warnings 2
        # TYPE announcer_config_info gauge
        announcer_config_info{sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"} 1
        # TYPE announcer_program_outdated gauge
        announcer_program_outdated 1
        # TYPE announcer_program_rolled_back gauge
        announcer_program_rolled_back 1
        # TYPE announcer_takeover_failed gauge
        announcer_takeover_failed 1
        # TYPE announcer_start_info gauge
        announcer_start_info{how="crash"} 1
        # TYPE announcer_config_last_reload_successful gauge
        announcer_config_last_reload_successful 0
        # TYPE announcer_config_last_reload_success_timestamp_seconds gauge
        announcer_config_last_reload_success_timestamp_seconds 1700000000.25
        # TYPE announcer_config_reloads_total counter
        announcer_config_reloads_total{result="applied"} 1
        announcer_config_reloads_total{result="refused"} 2
        # TYPE announcer_fallback_config gauge
        announcer_fallback_config 1
        # TYPE announcer_hook_runs_total counter
        announcer_hook_runs_total{result="ok"} 3
        announcer_hook_runs_total{result="failed"} 1
        announcer_hook_runs_total{result="timeout"} 0
        announcer_hook_runs_total{result="not_started"} 0
        # TYPE announcer_hook_replaced_total counter
        announcer_hook_replaced_total 7
        # TYPE announcer_log_lines_lost_total counter
        announcer_log_lines_lost_total 5
        # TYPE process_cpu_seconds_total counter
        process_cpu_seconds_total 0.25
        # TYPE process_open_fds gauge
        process_open_fds 12
    "##]]
    .assert_eq(&lines);
}
