use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::bfd::io::MainTurns;
use crate::config;
use crate::config::kind::http;
use crate::config::tests::with_services;
use crate::director;
use crate::files::io::Files;
use crate::health::outcome::Outcome;

const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "www"
vips = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]

[[service.check]]
http = "http://www.example.com/"
interval = "50ms"
timeout = "50ms"
rise = 1
"#
);

/// How a probe loop ends.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Lives,
    Hangs,
    Dies,
}

/// A probe loop that passes ten times and then ends as `fate` says.
async fn probing(vip: IpAddr, fate: Fate, facts: mpsc::Sender<ProbeFact>) {
    for sequence in 0.. {
        match fate {
            Fate::Hangs if sequence == 10 => std::future::pending().await,
            Fate::Dies if sequence == 10 => panic!("as a test"),
            Fate::Lives | Fate::Hangs | Fate::Dies => {}
        }
        facts.send(passed(vip, sequence)).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
}

/// A director's task, and its channels.
struct Running {
    asks: mpsc::Sender<Ask>,
    facts: mpsc::Sender<ProbeFact>,
    vips: mpsc::Sender<(IpAddr, Presence)>,
    ribs: watch::Receiver<Arc<LocRib>>,
    /// The VIPs of the configuration.
    all: Vec<IpAddr>,
    /// Inputs that are not used, and the task.
    _kept: Box<dyn std::any::Any>,
}

fn running() -> Running {
    let config = Arc::new(config::parse("test.toml", CONFIG).unwrap_or_else(|errors| panic!("{errors}")));
    let director = Director::new(config.clone(), drain::Drains::default(), Instant::now());
    let (asks, asked) = mpsc::channel(1);
    let (facts, probed) = mpsc::channel(16);
    let (listeners, listening) = mpsc::channel(1);
    let (vips_tx, vips) = mpsc::channel(16);
    let (drain_facts, drains) = mpsc::channel(1);
    let (rib, ribs) = watch::channel(Arc::new(LocRib::default()));
    let (watched, watching) = watch::channel(Arc::default());
    let (hooks, mut changes) = mpsc::channel(16);
    tokio::spawn(async move { while changes.recv().await.is_some() {} });
    let (history, mut batches) = mpsc::channel(16);
    tokio::spawn(async move { while batches.recv().await.is_some() {} });
    let observers = ChangeObservers {
        tally: watch::Sender::new(Tally::new(&config)),
        samples: watch::Sender::new(crate::page::samples::Samples::new(&config)),
        hooks,
        drains: watch::Sender::default(),
        history,
        states: watch::Sender::default(),
        numbers: watch::Sender::default(),
        turns: Turns::new(Instant::now()),
        main_turns: MainTurns::new(),
    };
    let enough_others = watch::Sender::default().subscribe();
    let weights = watch::Sender::default().subscribe();
    let inputs = DirectorInputs { asked, probed, listening, vips, drains, enough_others, weights };
    let probes = ProbeLoops::new(Prober::new(Files::new()), facts.clone());
    let directing = tokio::spawn(direct(director, probes, inputs, rib, watched, observers, Box::new(|_| ())));
    let all = config.vips().map(|(vip, _)| vip).collect();
    let kept = Box::new((listeners, drain_facts, watching, directing));
    Running { asks, facts, vips: vips_tx, ribs, all, _kept: kept }
}

/// A passed probe.
fn passed(vip: IpAddr, sequence: u64) -> ProbeFact {
    let took = Duration::from_millis(1);
    let outcome = Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took };
    let (service, at) = ("www".parse().unwrap(), Instant::now());
    ProbeFact { service, vip, check: 0, sequence, outcome, at }
}

// VIPs that come up one after the other are published together, a moment later. What waits for an acknowledgement, such as
// `undrain --wait`, takes the generation from the report.
#[tokio::test]
async fn the_generation_of_a_report_has_its_decisions_while_many_vips_come_up() {
    let Running { asks, facts, vips, ribs, all, _kept } = running();
    for vip in &all {
        vips.send((*vip, Presence::Present)).await.unwrap();
    }
    for (count, vip) in (1..).zip(&all) {
        facts.send(passed(*vip, 0)).await.unwrap();
        let report = loop {
            let report = director::ask::ask(&asks, Ask::Report).await.unwrap();
            let is_up =
                |vip: &&crate::director::VipReport| vip.standing == director::standing::Standing::Announced;
            if report.services[0].vips.iter().filter(is_up).count() == count {
                break report;
            }
        };
        let published = ribs.borrow().clone();
        assert_eq!((published.generation, published.routes.len()), (report.generation, count));
    }
}

#[tokio::test]
async fn what_a_probe_task_does_not_renew_lapses_whether_it_hangs_or_dies() {
    let Running { asks: _asks, facts, vips: vips_tx, mut ribs, all, _kept } = running();
    for (vip, fate) in all.iter().zip([Fate::Lives, Fate::Hangs, Fate::Dies]) {
        vips_tx.send((*vip, Presence::Present)).await.unwrap();
        tokio::spawn(probing(*vip, fate, facts.clone()));
    }
    let long = Duration::from_secs(20);
    timeout(long, ribs.wait_for(|rib| rib.routes.len() == 3)).await.unwrap().unwrap();
    let began = Instant::now();
    let left = timeout(long, ribs.wait_for(|rib| rib.routes.len() == 1)).await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_secs(3), "a lease is no shorter");
    assert!(left.routes.contains_key(&all[0].into()), "who renews it keeps it");
}
