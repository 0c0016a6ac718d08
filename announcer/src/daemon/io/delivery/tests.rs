use tokio::time::timeout;

use super::*;
use crate::bgp::fsm::StateName;
use crate::bgp::io::session::SessionReport;
use crate::config;
use crate::config::tests::with_services;
use crate::director::{Director, Fact};
use crate::drain::Drains;
use crate::health::ProbeFact;
use crate::health::outcome::Outcome;
use crate::vip::Presence;

const CONFIG: &str = with_services!(
    "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\nrise = 1\n"
);

/// A director with one healthy VIP, which answers requests. Returns the Loc-RIB too.
fn announcing() -> (mpsc::Sender<Ask>, Arc<LocRib>, Arc<config::Config>) {
    let config = Arc::new(config::parse("x", CONFIG).unwrap_or_else(|errors| panic!("{errors}")));
    let now = std::time::Instant::now();
    let (mut director, vip) =
        (Director::new(config.clone(), Drains::default(), now), "192.0.2.80".parse().unwrap());
    let outcome = Outcome::Pass {
        answer: crate::config::kind::tcp::Answer::Connected.into(),
        took: Duration::ZERO,
        warning: None,
    };
    let service = "www".parse().unwrap();
    let probed = ProbeFact { service, vip, check: 0, sequence: 1, outcome, at: now };
    let _ = director.handle(Fact::Vip(vip, Presence::Present), now);
    let _ = director.handle(Fact::Probed(probed), now);
    let rib = director.rib();
    assert_eq!(rib.routes.len(), 1);
    let (asks, mut asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(ask) = asked.recv().await {
            if let Ask::Figures(reply) = ask {
                let _ = reply.send(director.figures(std::time::Instant::now()));
            }
        }
    });
    (asks, rib, config)
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_last_session_is_a_warning_until_the_next_acknowledges_the_route() {
    let (asks, rib, config) = announcing();
    let (_rib, ribs) = watch::channel(rib.clone());
    let up =
        SessionReport { state: StateName::Established, acknowledged: rib.generation, ..SessionReport::new() };
    let (session, status) = watch::channel(up.clone());
    let (_peers, peers) = watch::channel(Peers::new(vec![(config.peers[0].clone(), status)]));
    let (warnings, mut warned) = watch::channel(Vec::new());
    let task = tokio::spawn(watch(DeliveryChannels { asks, ribs, peers, warnings }));
    sleep(Duration::from_secs(60)).await;
    assert!(warned.borrow_and_update().is_empty());

    session.send_replace(SessionReport::new());
    timeout(Duration::from_secs(1), warned.changed()).await.unwrap().unwrap();
    assert_eq!(*warned.borrow_and_update(), ["www 192.0.2.80 is ready, but was sent to no router"]);
    session.send_replace(SessionReport { acknowledged: 0, ..up.clone() });
    sleep(Duration::from_secs(1)).await;
    assert!(!warned.borrow().is_empty(), "it is being sent");
    session.send_replace(up);
    timeout(Duration::from_secs(1), warned.changed()).await.unwrap().unwrap();
    assert!(warned.borrow_and_update().is_empty() && !task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn without_a_session_the_warning_comes_after_ten_seconds() {
    let (asks, rib, config) = announcing();
    let (_rib, ribs) = watch::channel(rib);
    let (_session, status) = watch::channel(SessionReport::new());
    let (_peers, peers) = watch::channel(Peers::new(vec![(config.peers[0].clone(), status)]));
    let (warnings, warned) = watch::channel(Vec::new());
    tokio::spawn(watch(DeliveryChannels { asks, ribs, peers, warnings }));
    sleep(Duration::from_secs(9)).await;
    assert!(warned.borrow().is_empty());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(warned.borrow().len(), 1);
}
