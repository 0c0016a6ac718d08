//! Writes `docs/benchmarks.md`; every figure in it was measured.
//!
//! Pure.

pub(crate) mod chain;

use crate::candidate::Candidate;
use crate::death::{INTERVAL, WAYS};
use crate::results::{
    AfterBfd, Death, Event, Figure, Rank, Reaction, Results, RouterSoftware, Spread, Usage,
};
use crate::stage::{CALM, FALL, FAST, RISE};
use crate::turn::RATE;

/// The numbers of services; a candidate that does not keep up is not tried with more.
pub(crate) const SERVICES: [usize; 4] = [1, 10, 100, 1000];
/// The mark of a row that the router decides.
const MARK: &str = " †";

/// The page, in Markdown.
pub(crate) fn page(results: &Results) -> String {
    let candidates: Vec<Candidate> = Candidate::ALL
        .into_iter()
        .filter(|one| results.versions.iter().any(|(known, _)| known == one))
        .collect();
    let mut page = head(results, &candidates);
    page += "\n## To the FIB\n\nMilliseconds from the event until the slower router's FIB has followed.\n\n";
    page += &times(results, &candidates, |reaction| Some(reaction.fib_ms));
    if let Some(floor) = Spread::of(results.floor_ms.iter().copied()) {
        page += &format!(
            "\nThe floor of this table{MARK}: from a withdraw at the router's end of the link to the same router's FIB it took \
             {} ms, for every sender ({} withdraws). This is the router's own time, and no candidate can be below it.\n",
            spread(floor),
            floor.runs
        );
    }
    page += "\n## To the wire\n\nMilliseconds from the event until the first BGP message about it is at the slower router's end \
             of the link: the time of the candidate itself. *none*: it ended its session without a message.\n\n";
    page += &times(results, &candidates, |reaction| reaction.wire_ms);
    page += &format!(
        "\n## Requests lost\n\nOf {RATE} new connections a second over three frontends, the candidate on one of them.\n\n"
    );
    page += &losses(results, &candidates);
    page += &deaths(&results.deaths, &results.machine);
    page += &chain::section(&results.chain, &results.machine);
    page += &costs(results, &candidates);
    page += &failures(results);
    page
}

fn head(results: &Results, candidates: &[Candidate]) -> String {
    type SpreadOf<'a> = &'a dyn Fn(Candidate) -> Option<Spread>;
    let most = |of: SpreadOf<'_>| {
        candidates.iter().filter_map(|one| of(*one)).map(|found| found.runs).max().unwrap_or(0)
    };
    let mut head = format!(
        "# Benchmarks\n\n\
         `make bench` wrote this page: announcer and the other ways to announce a VIP while its server is healthy, in the lab of\n\
         `lab/ecmp/ecmp.clab.yml`, on the same frontend, taking turns. Each is configured as its own documents advise, with the same\n\
         check (a GET of `/healthz` at the VIP), interval {} ms, timeout {} ms, rise {RISE}, fall {FALL}, and a hold time of 3 s; their configurations are in\n\
         [tests/bench/peers](../tests/bench/peers/README.md). Figures are medians, with minimum and maximum; the last column compares announcer with the\n\
         best of the others: *even* if one's median is within the middle half of the other's runs. †: the router decides this row. {} runs of\n\
         each; {} of the requests lost, except for the host's death.\n\n",
        FAST.interval_ms,
        FAST.timeout_ms,
        most(&|one| results.spread(one, Event::Crash, |reaction| Some(reaction.fib_ms))),
        most(&|one| results.lost(one, Event::Crash)),
    );
    head += "| event | from |\n|---|---|\n\
             | crash | the clock just before SIGKILL to every process of the web server |\n\
             | hang | the same with SIGSTOP: connections are accepted, and never answered |\n\
             | return | just before the crashed web server is started |\n\
             | start | just before the candidate is started, its BGP daemon too, beside a healthy web server |\n\
             | stop | just before it is stopped, its BGP daemon too |\n\
             | drain | just before the command that its documents have for taking a host out |\n\
             | host death | just before every packet from and to the host is dropped, its links staying up |\n\n";
    head += "| on | |\n|---|---|\n";
    for line in &results.machine {
        head += &format!("| | {line} |\n");
    }
    for candidate in candidates {
        let version = results.versions.iter().find(|(known, _)| known == candidate);
        let version = version.map_or("", |(_, version)| version.as_str());
        head += &format!(
            "| [{}](../tests/bench/peers/{}) | {version} |\n",
            candidate.title(),
            candidate.folder()
        );
    }
    head + ABSENT
}

/// Why a known program is not compared.
const ABSENT: &str = "\nanycastd (github.com/runityru/anycastd) is not in the tables: the public proxy of Go modules does not offer its \
     module, so `go install` cannot build it.\n";

/// The header of a table: the kind of the rows, the candidates, the comparison.
fn columns(first: &str, candidates: &[Candidate]) -> String {
    let titles: Vec<&str> = candidates.iter().map(|one| one.title()).collect();
    format!("| {first} | {} | announcer |\n|---|{}---|\n", titles.join(" | "), "---|".repeat(titles.len()))
}

fn times(results: &Results, candidates: &[Candidate], of: fn(&Reaction) -> Option<f64>) -> String {
    rows(results, candidates, Figure::Time, |candidate, event| results.spread(candidate, event, of))
}

fn losses(results: &Results, candidates: &[Candidate]) -> String {
    rows(results, candidates, Figure::Loss, |candidate, event| results.lost(candidate, event))
        + "\nAfter a drain and a stop, the web server is ended gracefully, as soon as the command has returned.\n"
}

fn rows(
    results: &Results,
    candidates: &[Candidate],
    figure: Figure,
    of: impl Fn(Candidate, Event) -> Option<Spread>,
) -> String {
    let (mut table, mut notes) = (columns("event", candidates), String::new());
    for event in Event::ALL {
        let found: Vec<Option<Spread>> = candidates.iter().map(|one| of(*one, event)).collect();
        if found.iter().all(Option::is_none) {
            continue;
        }
        let mark = if event.of_the_router() { MARK } else { "" };
        let cells = candidates.iter().zip(&found).map(|(candidate, found)| {
            match (found, results.failed(*candidate, event, figure)) {
                (Some(found), 0) => spread(*found),
                (Some(found), failed) => format!("{}; failed {failed} ×", spread(*found)),
                (None, 0) => "none".to_owned(),
                (None, failed) => format!("failed {failed} ×"),
            }
        });
        let cells: Vec<String> = cells.collect();
        let place = place(candidates, &found);
        table += &format!("| {}{mark} | {} | {} |\n", event.title(), cells.join(" | "), said(place));
        match place {
            Some(Rank::Even | Rank::Behind(_)) => {
                notes += &format!("- Not ahead in *{}*: {}.\n", event.title(), why(event, figure));
            }
            Some(Rank::Ahead(_)) | None => {}
        }
    }
    if notes.is_empty() { table } else { format!("{table}\n{notes}") }
}

/// Why the candidates are equal in a row, if announcer is not ahead in it.
fn why(event: Event, figure: Figure) -> &'static str {
    match (event, figure) {
        (Event::Crash, Figure::Time) => "the rest is the time of the routers, which is the same for all",
        (Event::Crash, Figure::Loss) => {
            "until the FIBs have followed, the routers send requests to the dead server, and these are lost with every program"
        }
        (Event::Hang, Figure::Time) => {
            "as many probes at the same interval have to fail first, with every program"
        }
        (Event::Hang, Figure::Loss) => {
            "requests that were accepted while as many probes had to fail are lost with every program"
        }
        (Event::Return, Figure::Time) => {
            "as many probes at the same interval have to pass first, with every program"
        }
        (Event::Start, Figure::Time) => "as many probes have to pass first, with every program",
        (Event::Return | Event::Start, Figure::Loss) => {
            "requests are lost here only while the routers add the next hop to their groups"
        }
        (Event::Stop | Event::Drain, Figure::Time) => {
            "the rest is the time of the routers, which is the same for all"
        }
        (Event::Stop | Event::Drain, Figure::Loss) => {
            "requests are lost here only while the routers remove the next hop from their groups"
        }
        (Event::Death, Figure::Time | Figure::Loss) => {
            "the routers' hold timer decides, which is the same for all"
        }
    }
}

fn place(candidates: &[Candidate], found: &[Option<Spread>]) -> Option<Rank> {
    let of = |ours: bool| {
        let all = candidates.iter().zip(found);
        all.filter(move |(one, _)| (**one == Candidate::Announcer) == ours).filter_map(|(_, found)| *found)
    };
    of(true).next().and_then(|ours| Rank::of(ours, of(false)))
}

fn said(place: Option<Rank>) -> String {
    match place {
        Some(Rank::Ahead(times)) if times.is_finite() => format!("**{times:.1} × ahead**"),
        Some(Rank::Ahead(_)) => "**ahead**".to_owned(),
        Some(Rank::Even) => "even".to_owned(),
        Some(Rank::Behind(times)) if times.is_finite() => format!("{times:.1} × behind"),
        Some(Rank::Behind(_)) => "behind".to_owned(),
        None => String::new(),
    }
}

/// The heading of the section of memory and CPU.
const COSTS: &str = "\n## Memory and CPU\n";

fn costs(results: &Results, candidates: &[Candidate]) -> String {
    if results.costs.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{COSTS}\nWith so many VIPs, a check each, every {} ms; all processes of a candidate are counted, also \
         its BGP daemon and the programs that it starts for a check. One that does not keep up is not tried with more \
         services.\n",
        CALM.interval_ms
    );
    type UsageFigure = fn(&Usage) -> f64;
    let waking = results.waking_percent.map_or(String::new(), |percent| {
        format!("; on this machine, waking up that often alone takes {percent:.1} % of a core")
    });
    let parts: [(&str, UsageFigure, String); 2] = [
        (
            "services: PSS, MiB",
            |usage| usage.pss_mib,
            "its data for the services needs more memory than their daemons and loops".to_owned(),
        ),
        (
            "services: CPU, % of a core",
            |usage| usage.cpu_percent,
            format!(
                "announcer asks the kernel every 5 ms whether a socket listens, for few and for many services, so that it \
                 notices a crash at once{waking}"
            ),
        ),
    ];
    for (first, of, why) in parts {
        text += "\n";
        text += &columns(first, candidates);
        let mut level = false;
        for services in SERVICES {
            let costs: Vec<_> = candidates.iter().map(|one| results.cost(*one, services)).collect();
            if costs.iter().all(Option::is_none) {
                continue;
            }
            let cells = costs.iter().map(|cost| match cost {
                Some(Ok(usage)) => format!("{:.1}", of(usage)),
                Some(Err(why)) => why.clone(),
                None => "not tried".to_owned(),
            });
            let cells: Vec<String> = cells.collect();
            let found: Vec<Option<Spread>> = costs
                .iter()
                .map(|cost| Spread::of([of(cost.and_then(|cost| cost.as_ref().ok())?)]))
                .collect();
            let place = place(candidates, &found);
            text += &format!("| {services} | {} | {} |\n", cells.join(" | "), said(place));
            level |= matches!(place, Some(Rank::Even | Rank::Behind(_)));
        }
        if level {
            text += &format!("\nWhere announcer is not ahead here: {why}.\n");
        }
    }
    text
}

/// The heading of the section that [`deaths`] writes.
const DEATHS: &str = "\n## Host death with BFD\n";

/// The deaths with and without BFD; nothing if there are none.
pub(crate) fn deaths(all: &[Death], machine: &[String]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let detection = INTERVAL * 3;
    let mut text = format!(
        "{DEATHS}\nEvery packet from and to the host is dropped, while its links stay up, under {RATE} new connections a second over three \
         frontends. BFD has an interval of {INTERVAL} ms and a multiplier of 3 at both ends; the hold time is 3 s. The processes that send BFD run \
         with SCHED_RR (`chrt -r 10`; announcer's thread asks for it itself), and so do the threads of the benchmark that read rtnetlink's events. \
         `make bench-death` measures this section alone. Measured on: {}.\n\n\
         Milliseconds from the last packet of the host that a router got until a router has no next hop of this host in its FIB: the slower of \
         the two routers, and each of them. The routers decide these rows: they wait for BFD's detection time, {detection} ms since the last BFD packet, \
         or for the hold time. That packet is up to {INTERVAL} ms old when the host dies, at each router by itself.\n\n\
         | routers | announced by | BFD | slower router | r1 | r2 | requests lost | runs |\n|---|---|---|---|---|---|---|---|\n",
        machine.join("; ")
    );
    let ways = || {
        RouterSoftware::ALL
            .into_iter()
            .flat_map(|router| WAYS.map(|(candidate, bfd)| (router, candidate, bfd)))
    };
    let of = |way: (RouterSoftware, Candidate, bool)| {
        all.iter().filter(move |one| (one.router, one.candidate, one.bfd) == way)
    };
    for way in ways() {
        let Some(slower) = Spread::of(of(way).map(Death::slower_ms)) else { continue };
        let each = [0, 1].map(|index| {
            let figures = of(way).filter_map(|one| one.routers.get(index)).map(|one| one.fib_ms);
            Spread::of(figures).map_or_else(String::new, spread)
        });
        #[allow(clippy::cast_precision_loss)] // counts of requests
        let lost = Spread::of(of(way).map(|one| one.lost as f64)).map_or_else(String::new, spread);
        let (router, candidate, bfd) = way;
        text += &format!(
            "| {} | {} | {} | {} | {} | {lost} | {} |\n",
            router.title(),
            candidate.title(),
            if bfd { "yes" } else { "no" },
            spread(slower),
            each.join(" | "),
            slower.runs
        );
    }
    text += &format!(
        "\nThe detection alone, of both routers: milliseconds from the last BFD packet that a router got from the host until its first BFD packet \
         with the state Down was on the wire, and until its FIB. What is above {detection} ms in the first column is the time of its BFD; the rest \
         is that of its BGP and its FIB.\n\n\
         | routers | announced by | to Down | to the FIB | from Down to the FIB |\n|---|---|---|---|---|\n"
    );
    for way in ways() {
        let found = || of(way).flat_map(|one| &one.routers).filter_map(|one| one.after_bfd);
        let columns: [fn(AfterBfd) -> f64; 3] =
            [|one| one.down_ms, |one| one.fib_ms, |one| one.fib_ms - one.down_ms];
        let cells: Option<Vec<String>> =
            columns.iter().map(|column| Spread::of(found().map(column)).map(spread)).collect();
        if let Some(cells) = cells {
            text += &format!("| {} | {} | {} |\n", way.0.title(), way.1.title(), cells.join(" | "));
        }
    }
    text
}

/// A page with another section of deaths, which is before that of the chain, or of memory and CPU, if there was none.
pub(crate) fn with_deaths(page: &str, section: &str) -> String {
    with_section(page, section, &[DEATHS, chain::HEADING, COSTS])
}

/// A page with another section about the chain, which is before that of memory and CPU if there was none.
pub(crate) fn with_chain(page: &str, section: &str) -> String {
    with_section(page, section, &[chain::HEADING, COSTS])
}

/// The heading of the section about probes, which `make bench-probes` measures.
const PROBES: &str = "\n## New and kept connections\n";

/// A new page with the section about probes that the page before has, which `make bench` does not measure.
pub(crate) fn with_probes_of(page: &str, before: &str) -> String {
    let Some(start) = before.find(PROBES) else { return page.to_owned() };
    let behind = &before[start + PROBES.len()..];
    let end = start + PROBES.len() + behind.find("\n## ").unwrap_or(behind.len());
    with_section(page, &before[start..end], &[PROBES, COSTS])
}

/// A page with another section of the first of these headings, or with one more, before the first of the others that the page has.
fn with_section(page: &str, section: &str, headings: &[&str]) -> String {
    let start = headings.iter().find_map(|heading| page.find(heading)).unwrap_or(page.len());
    let rest = &page[start..];
    let old = headings.first().and_then(|heading| rest.strip_prefix(heading));
    let rest = old.map_or(rest, |old| &old[old.find("\n## ").unwrap_or(old.len())..]);
    format!("{}{section}{rest}", &page[..start])
}

fn failures(results: &Results) -> String {
    if results.failures.is_empty() {
        return String::new();
    }
    let mut text = "\n## What failed\n\n".to_owned();
    for failure in &results.failures {
        let seen = failure.seen.replace('\n', " ");
        text += &format!("- {}, {}: {seen}\n", failure.candidate.title(), failure.event.title());
    }
    text
}

/// `71.3 (64.0 to 90.2)`: whole numbers if they are large or counts.
fn spread(spread: Spread) -> String {
    let Spread { median, min, max, .. } = spread;
    let whole = [median, min, max].iter().all(|one| one.fract() == 0.0) || median >= 1000.0;
    if whole {
        format!("{median:.0} ({min:.0} to {max:.0})")
    } else {
        format!("{median:.1} ({min:.1} to {max:.1})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::chain::{ChainLoad, ChainMode, ChainResults, FloodRate, Requests};
    use crate::results::{Cost, Failure, Loss, RouterDeath};

    fn results() -> Results {
        let reaction =
            |candidate, wire_ms, fib_ms| Reaction { candidate, event: Event::Crash, wire_ms, fib_ms };
        let (ours, theirs) = (Candidate::Announcer, Candidate::Exabgp);
        Results {
            versions: vec![(ours, "announcer 1".to_owned()), (theirs, "ExaBGP 2".to_owned())],
            reactions: vec![
                reaction(ours, Some(2.0), 63.0),
                reaction(ours, Some(4.5), 65.25),
                reaction(theirs, Some(250.0), 310.5),
                reaction(theirs, None, 1310.0),
            ],
            losses: vec![
                Loss { candidate: ours, event: Event::Stop, lost: 0 },
                Loss { candidate: theirs, event: Event::Stop, lost: 12 },
            ],
            failures: vec![Failure {
                candidate: theirs,
                event: Event::Crash,
                figure: Figure::Time,
                seen: "no\nFIB".to_owned(),
            }],
            costs: vec![
                Cost {
                    candidate: ours,
                    services: 1,
                    measured: Ok(Usage { pss_mib: 8.0, cpu_percent: 1.6, probes: 1.0 }),
                },
                Cost {
                    candidate: theirs,
                    services: 1,
                    measured: Ok(Usage { pss_mib: 47.0, cpu_percent: 1.28, probes: 1.0 }),
                },
                Cost {
                    candidate: ours,
                    services: 1000,
                    measured: Ok(Usage { pss_mib: 9.04, cpu_percent: 12.0, probes: 1.0 }),
                },
                Cost {
                    candidate: theirs,
                    services: 1000,
                    measured: Err("did not keep up: 41 % of the probes".to_owned()),
                },
            ],
            floor_ms: vec![61.0],
            waking_percent: Some(0.71),
            machine: vec!["2 cores".to_owned()],
            deaths: [(150.0, 20), (170.0, 22)]
                .map(|(fib_ms, lost)| {
                    let after_bfd = Some(AfterBfd { down_ms: 151.5, fib_ms: 155.0 });
                    let routers =
                        [fib_ms, fib_ms - 25.0].map(|fib_ms| RouterDeath { fib_ms, after_bfd }).to_vec();
                    Death { router: RouterSoftware::Bird, candidate: ours, bfd: true, routers, lost }
                })
                .to_vec(),
            chain: ChainResults {
                loads: vec![ChainLoad {
                    mode: ChainMode::Plain,
                    flood: FloodRate::None,
                    sent_per_s: 0.0,
                    forwarded_per_s: 0.0,
                    busy_percent: 100.0,
                    requests: Requests { per_s: 15_000.0, errors: 0 },
                    kept: None,
                }],
                flows: Vec::new(),
            },
        }
    }

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let results = results();
        let machine = &results.machine;
        let whole = page(&results);
        for row in [
            "| BIRD | announcer | yes | 160 (150 to 170) | 160 (150 to 170) | 135 (125 to 145) | 21 (20 to 22) | 2 |",
            "| BIRD | announcer | 151.5 (151.5 to 151.5) | 155 (155 to 155) | 3.5 (3.5 to 3.5) |",
        ] {
            assert!(whole.lines().any(|line| line == row), "{whole}");
        }
        let no_deaths = page(&Results { deaths: Vec::new(), ..self::results() });
        let no_chain = page(&Results { chain: ChainResults::default(), ..self::results() });
        let neither =
            page(&Results { deaths: Vec::new(), chain: ChainResults::default(), ..self::results() });
        assert!(!no_deaths.contains(DEATHS) && !no_chain.contains(chain::HEADING));
        let of_deaths = deaths(&results.deaths, machine);
        let of_chain = chain::section(&results.chain, machine);
        for (replaced, wanted) in [
            (with_deaths(&no_deaths, &of_deaths), &whole),
            (with_deaths(&whole, &of_deaths), &whole),
            (with_deaths(&whole, ""), &no_deaths),
            (with_deaths(&neither, &of_deaths), &no_chain),
            (with_chain(&no_chain, &of_chain), &whole),
            (with_chain(&whole, &of_chain), &whole),
            (with_chain(&whole, ""), &no_chain),
            (with_chain(&neither, &of_chain), &no_deaths),
        ] {
            assert_eq!(&replaced, wanted);
        }
        let probes = format!("{PROBES}\nFigures.\n");
        let with_probes = with_section(&whole, &probes, &[PROBES, COSTS]);
        assert_eq!(with_probes_of(&whole, &with_probes), with_probes);
        assert_eq!(with_probes_of(&whole, &whole), whole);
        assert_eq!(with_chain(&with_deaths(&with_probes, &of_deaths), &of_chain), with_probes);
        assert_eq!(with_probes_of("no costs\n", &probes), format!("no costs\n{probes}"));
        assert_eq!(with_chain("no sections\n", &of_chain), format!("no sections\n{of_chain}"));
    }

    #[test]
    fn a_row_says_the_medians_what_failed_and_who_is_ahead() {
        let page = page(&results());
        for line in [
            "| event | announcer | ExaBGP healthcheck | announcer |",
            "| crash | 64.1 (63.0 to 65.2) | 810.2 (310.5 to 1310.0); failed 1 × | **12.6 × ahead** |",
            "| crash | 3.2 (2.0 to 4.5) | 250 (250 to 250); failed 1 × | **76.9 × ahead** |",
            "| stop | 0 (0 to 0) | 12 (12 to 12) | **ahead** |",
            "| 1 | 1.6 | 1.3 | 1.2 × behind |",
            "| 1000 | 9.0 | did not keep up: 41 % of the probes |  |",
            "- ExaBGP healthcheck, crash: no FIB",
            "| [ExaBGP healthcheck](../tests/bench/peers/exabgp) | ExaBGP 2 |",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n\n{page}");
        }
        assert!(page.contains("waking up that often alone takes 0.7 % of a core"), "{page}");
        assert!(page.contains("it took 61 (61 to 61) ms"), "{page}");
        assert!(!page.contains("| drain | none"), "what was not measured is no row\n{page}");
    }
}
