use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::config;
use crate::config::kind::http;
use crate::config::tests::with_services;
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
        let took = Duration::from_millis(1);
        let outcome = Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took };
        let (service, at) = ("www".parse().unwrap(), Instant::now());
        facts.send(ProbeFact { service, vip, check: 0, sequence, outcome, at }).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_a_probe_task_does_not_renew_lapses_whether_it_hangs_or_dies() {
    let config = Arc::new(config::parse("test.toml", CONFIG).unwrap_or_else(|errors| panic!("{errors}")));
    let director = Director::new(config.clone(), drain::Drains::default(), Instant::now());
    let (_asks, asked) = mpsc::channel(1);
    let (facts, probed) = mpsc::channel(16);
    let (_listeners, listening) = mpsc::channel(1);
    let (vips_tx, vips) = mpsc::channel(16);
    let (_drains, drains) = mpsc::channel(1);
    let (rib, mut ribs) = watch::channel(Arc::new(LocRib::default()));
    let (watched, _watching) = watch::channel(Arc::default());
    let (hooks, mut changes) = mpsc::channel(16);
    tokio::spawn(async move { while changes.recv().await.is_some() {} });
    let (history, mut batches) = mpsc::channel(16);
    tokio::spawn(async move { while batches.recv().await.is_some() {} });
    let observers = ChangeObservers {
        tally: watch::Sender::new(Tally::new(&config)),
        samples: watch::Sender::new(crate::page::samples::Samples::new(&config)),
        hooks,
        history,
        numbers: watch::Sender::default(),
        turns: Turns::new(Instant::now()),
    };
    let inputs = DirectorInputs { asked, probed, listening, vips, drains };
    let _directing = tokio::spawn(direct(
        director,
        ProbeLoops::new(Prober::new(Files::new()), facts.clone()),
        inputs,
        rib,
        watched,
        observers,
    ));

    let all: Vec<IpAddr> = config.vips().map(|(vip, _)| vip).collect();
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
