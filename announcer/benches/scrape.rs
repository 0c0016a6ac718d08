//! Measures a scrape of 1,000 VIPs with two checks each: its cost on the main thread, and the cost of writing it on another thread.
//! It prints numbers and does not judge them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use announcer::config;
use announcer::config::kind::certificate::Date;
use announcer::config::kind::{Warning, handshake, http};
use announcer::director::{Director, Fact};
use announcer::drain::Drains;
use announcer::health::ProbeFact;
use announcer::health::outcome::Outcome;
use announcer::metrics::Tally;
use announcer::vip::Presence;

const SERVICES: u32 = 50;
const VIPS: u32 = 1000;
const TIMES: usize = 200;

fn text() -> String {
    let mut text = "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n\
                    [[peer]]\nname = \"r1\"\naddress = \"10.0.1.1\"\nasn = 65000\n"
        .to_owned();
    let each = VIPS / SERVICES;
    for service in 0..SERVICES {
        let vips: Vec<String> = (service * each..(service + 1) * each)
            .map(|n| format!("\"{}\"", Ipv4Addr::from(0x0a14_0000 + n)))
            .collect();
        write!(
            text,
            "[[service]]\nname = \"s{service}\"\nvips = [{}]\n\
             [[service.check]]\nhttp = \"https://www.example.com/\"\n[[service.check]]\ntcp = 25\n",
            vips.join(", ")
        )
        .unwrap();
    }
    text
}

fn main() {
    for (name, warning) in [
        ("all is well", None),
        (
            "each certificate ends soon",
            Some(Warning::from(handshake::Warning::Expires(Date::of_unix(1_900_000_000)))),
        ),
    ] {
        let config = Arc::new(config::parse("scrape", &text()).unwrap_or_else(|e| panic!("{e}")));
        let mut director = Director::new(Arc::clone(&config), Drains::default(), Instant::now());
        let mut tally = Tally::new(&config);
        let vips: Vec<(IpAddr, _)> =
            config.vips().map(|(vip, service)| (vip, service.name.clone())).collect();
        for sequence in 1..=6 {
            for (vip, service) in &vips {
                for check in 0..2 {
                    let warning = warning.clone().filter(|_| check == 0);
                    let outcome = Outcome::Pass {
                        answer: http::Answer::Status(200).into(),
                        warning,
                        took: Duration::from_millis(1),
                    };
                    let (service, now) = (service.clone(), Instant::now());
                    let probed = ProbeFact { service, vip: *vip, check, sequence, outcome, at: now };
                    tally.probed(&probed);
                    let _ = director.handle(Fact::Probed(probed), now);
                }
                let _ = director.handle(Fact::Vip(*vip, Presence::Present), Instant::now());
            }
        }
        println!("{VIPS} VIPs, {name}:");
        say("Report, for `status` and `explain`", || director.report());
        say("its warnings", || director.report().warnings(Instant::now()));
        say("Figures, for metrics", || director.figures(Instant::now()));
        say("Tally, for metrics too", || tally.clone());
    }
}

/// Prints the median, without the time to free the result, because another thread does that.
fn say<T>(name: &str, made: impl Fn() -> T) {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = Instant::now();
        let result = black_box(made());
        times.push(began.elapsed());
        drop(result);
    }
    times.sort();
    println!("  {name}: {:.0?}, of {TIMES} times {:.0?} at most", times[TIMES / 2], times[TIMES - 1]);
}
