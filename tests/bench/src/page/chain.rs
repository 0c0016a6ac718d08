//! The section about the chain.
//!
//! Pure.

use super::spread;
use crate::results::Spread;
use crate::results::chain::{ChainFlows, ChainLoad, ChainMode, ChainResults, FloodRate};

/// The heading of the section.
pub(super) const HEADING: &str = "\n## The chain\n";

/// Flows, cost and flood; nothing if there are no results.
pub(crate) fn section(all: &ChainResults, machine: &[String]) -> String {
    if all.loads.is_empty() {
        return String::new();
    }
    let turns = all.turns();
    let mut text = format!(
        "{HEADING}\n[The chain](chain.md) beside plain ECMP, in turns: four frontends in one LAN (`lab/lan`), two routers with FRR, one client. All of \
         it is on one machine, so that the client, the routers, the flood and the frontends share its processors. Figures are medians, with \
         minimum and maximum; turns: {turns}. `make bench-chain` measures this section alone; `make chain` has more changes, eight frontends and IPv6. Measured on: \
         {}.\n",
        machine.join("; ")
    );
    text += &flows(all);
    text += &cost(all);
    text += &flood(all);
    text
}

fn flows(all: &ChainResults) -> String {
    let Some(first) = all.flows.first() else { return String::new() };
    let mut text = format!(
        "\n**One of four frontends leaves (a drain) and returns**, each time another one, under {} flows with two requests a second each and 500 new \
         connections a second. The flows are opened again before it returns.\n\n\
         | | flows broken when it leaves | when it returns | new connections lost | runs |\n|---|---|---|---|---|\n",
        first.flows
    );
    for mode in ChainMode::ALL {
        let of = |figure: fn(&ChainFlows) -> u64| {
            #[allow(clippy::cast_precision_loss)] // counts of flows
            Spread::of(all.flows.iter().filter(|one| one.mode == mode).map(|one| figure(one) as f64))
        };
        if let (Some(leaves), Some(returns), Some(lost)) =
            (of(|one| one.leaves), of(|one| one.returns), of(|one| one.new_lost))
        {
            let cells = [leaves, returns, lost].map(spread).join(" | ");
            text += &format!("| {} | {cells} | {} |\n", mode.title(), leaves.runs);
        }
    }
    text
}

fn cost(all: &ChainResults) -> String {
    let mut text = "\n**Cost**: as many requests as are answered over 64 connections (wrk). All frontends announce, so that hardly a packet is \
                    forwarded: what costs is that each packet passes the rules. The last column is the median of chain / plain ECMP turn by turn.\n\n\
                    | requests a second | plain ECMP | chain | chain / plain ECMP |\n|---|---|---|---|\n"
        .to_owned();
    type LoadFigure = fn(&ChainLoad) -> Option<f64>;
    let figures: [(&str, LoadFigure); 2] = [
        ("a new connection each", |load| Some(load.requests.per_s)),
        ("connections kept open", |load| load.kept.map(|kept| kept.per_s)),
    ];
    for (name, figure) in figures {
        if let Some([plain, chain, part]) = all.cost(figure) {
            let Spread { median, min, max, .. } = part;
            text += &format!(
                "| {name} | {} | {} | {median:.3} ({min:.3} to {max:.3}) |\n",
                spread(plain),
                spread(chain)
            );
        }
    }
    text
}

fn flood(all: &ChainResults) -> String {
    let mut text = "\n**A flood of bogus ACKs** at the VIP, of connections that no host has, while honest clients open a new connection for each request \
                    (wrk, 64 at a time). The flood is from one thread of the same machine with real-time priority, so that it takes one processor \
                    if it is as fast as possible; the kernel handles most of the way of a packet on the processor that has sent it. \
                    Each frontend has the budget by itself. A packet that nobody knows is forwarded four times until it is back. Processors: how \
                    busy those of the machine were, all together; processes with a nice value are not counted.\n\n\
                    | bogus ACKs | | sent a second | forwarded a second | processors | honest requests a second | errors |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for rate in FloodRate::ALL {
        for mode in ChainMode::ALL {
            let of = |figure: fn(&ChainLoad) -> f64| {
                Spread::of(all.of(mode, rate).map(figure))
                    .map_or_else(String::new, |found| format!("{:.0}", found.median))
            };
            let requests = Spread::of(all.of(mode, rate).map(|load| load.requests.per_s));
            let Some(requests) = requests else { continue };
            let errors: u64 = all.of(mode, rate).map(|load| load.requests.errors).sum();
            text += &format!(
                "| {} | {} | {} | {} | {} % | {} | {errors} |\n",
                rate.title(),
                mode.title(),
                of(|load| load.sent_per_s),
                of(|load| load.forwarded_per_s),
                of(|load| load.busy_percent),
                spread(requests)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::chain::Requests;

    #[test]
    fn the_section_has_flows_cost_and_flood() {
        assert_eq!(section(&ChainResults::default(), &[]), "");
        let mut all = ChainResults::default();
        // The second turn is half as fast, with and without the chain.
        for speed in [1.0, 0.5] {
            for mode in ChainMode::ALL {
                for flood in FloodRate::ALL {
                    let fast = speed * if mode == ChainMode::Plain { 10_000.0 } else { 9000.0 };
                    all.loads.push(ChainLoad {
                        mode,
                        flood,
                        sent_per_s: if flood == FloodRate::None { 0.0 } else { 20_000.4 },
                        forwarded_per_s: if mode == ChainMode::NoBudget { 80_000.0 } else { 4000.0 },
                        busy_percent: 99.6,
                        requests: Requests { per_s: fast, errors: 3 },
                        kept: (flood == FloodRate::None).then_some(Requests { per_s: 5.0 * fast, errors: 0 }),
                    });
                }
            }
        }
        for (mode, leaves) in [(ChainMode::Plain, 280), (ChainMode::Plain, 290), (ChainMode::Budget, 0)] {
            all.flows.push(ChainFlows { mode, flows: 600, leaves, returns: leaves / 2, new_lost: 1 });
        }
        let text = section(&all, &["2 cores".to_owned()]);
        for line in [
            "| plain ECMP | 285 (280 to 290) | 142.5 (140.0 to 145.0) | 1 (1 to 1) | 2 |",
            "| chain, `budget = 1000` | 0 (0 to 0) | 0 (0 to 0) | 1 (1 to 1) | 1 |",
            "| a new connection each | 7500 (5000 to 10000) | 6750 (4500 to 9000) | 0.900 (0.900 to 0.900) |",
            "| connections kept open | 37500 (25000 to 50000) | 33750 (22500 to 45000) | 0.900 (0.900 to 0.900) |",
            "| none | plain ECMP | 0 | 4000 | 100 % | 7500 (5000 to 10000) | 6 |",
            "| 20,000/s | chain, `budget = 1000000` | 20000 | 80000 | 100 % | 6750 (4500 to 9000) | 6 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n\n{text}");
        }
        assert!(text.contains("turns: 2.") && text.contains("under 600 flows"), "{text}");
    }
}
