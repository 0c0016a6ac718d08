//! The documents list exactly what the code has, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use announcer::bgp::notification::{self, Notification};
use announcer::bgp::open::OpenError;
use announcer::bgp::reason::{DownReason, TcpFailure};
use announcer::chain::heartbeat::HeartbeatDropReason;
use announcer::chain::rules::counters::ChainCounter;
use announcer::config::FILE;
use announcer::config::keys::{Key, Need, Section};
use announcer::config::kind::certificate::Flaw;
use announcer::config::kind::{self, exec, http};
use announcer::damping::{DampingWait, Flapping};
use announcer::director::{LastChoiceReason, NotAnnouncedReason, Standing};
use announcer::drain::Drain;
use announcer::health::check::{Evidence, Streak};
use announcer::health::outcome::{self, Outcome, Shortage, TimeoutPhase};
use announcer::metrics::{self, Metric};
use announcer::model::text::PrintableText;
use announcer::model::{Asn, Family, PeerAsn};
use announcer::program::StartError;
use announcer::rib::NotSent;
use announcer::vip::DeviceProblem;
use dsr_setup::doctor::code::{Code, Watcher};

/// The root folder of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a file in docs/.
fn document(name: &str) -> String {
    std::fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// The text below a heading, up to the next heading of the same or a higher level.
fn below<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let rest = &text[start + heading.len() + 2..];
    let is_end = |line: &str| {
        let hashes = line.bytes().take_while(|b| *b == b'#').count();
        hashes > 0 && hashes <= level.len() && line.as_bytes().get(hashes) == Some(&b' ')
    };
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if is_end(line) {
            break;
        }
        end += line.len();
    }
    &rest[..end]
}

/// The table of a section of the configuration, as docs/configuration.md has it.
fn table(section: &Section) -> String {
    let row = |key: &Key| {
        let value = match key.need {
            Need::Required(example) => format!("required, as in `{example}`"),
            Need::OneOf(example) => format!("one of these; as in `{example}`"),
            Need::Optional(example) => format!("none; as in `{example}`"),
            Need::Default(value) => format!("`{value}`"),
            Need::Defaults(_) => "none".to_owned(),
            Need::Table(_) | Need::OptionalTable(_) | Need::Tables(_) | Need::OptionalTables(_) => {
                return None;
            }
        };
        Some(format!("| `{}` | {value} | {} |\n", key.name, key.doc))
    };
    format!("| key | default | |\n|---|---|---|\n{}", section.keys().filter_map(row).collect::<String>())
}

#[test]
fn configuration_md_has_every_key_with_its_default_and_no_other() {
    let mut text = document("configuration.md");
    let sections: Vec<_> = FILE.all().into_iter().filter(|section| !section.header.is_empty()).collect();
    for section in &sections {
        let here = below(&text, &format!("## `{}`", section.header));
        assert!(here.contains(section.doc), "{}: write `{}`", section.header, section.doc);
        let rows: String =
            here.lines().filter(|line| line.starts_with('|')).map(|l| format!("{l}\n")).collect();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let written = text.replacen(here, &here.replacen(&rows, &table(section), 1), 1);
            text = written;
            std::fs::write(repository().join("docs/configuration.md"), &text).unwrap();
            continue;
        }
        assert_eq!(
            rows,
            table(section),
            "docs/configuration.md, {}: UPDATE_EXPECT=1 writes it",
            section.header
        );
    }
    let headings: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    assert_eq!(headings, sections.iter().map(|section| section.header).collect::<Vec<_>>());
}

/// The table of docs/metrics.md.
fn metrics_table() -> String {
    let row = |metric: &&Metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.word(), metric.help);
        format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
    };
    format!(
        "| name | type | labels | |\n|---|---|---|---|\n{}",
        metrics::ALL.iter().map(row).collect::<String>()
    )
}

#[test]
fn metrics_md_has_every_metric_and_no_other() {
    let text = document("metrics.md");
    let here = below(&text, "## The metrics");
    let rows: String = here.lines().filter(|line| line.starts_with('|')).map(|l| format!("{l}\n")).collect();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = text.replacen(&rows, &metrics_table(), 1);
        return std::fs::write(repository().join("docs/metrics.md"), text).unwrap();
    }
    assert_eq!(rows, metrics_table(), "docs/metrics.md: UPDATE_EXPECT=1 writes it");
}

/// Checks that the list below the heading in docs/metrics.md has these values of a metric's label in backticks, and no other text
/// in backticks.
fn words_are_listed(heading: &str, words: impl IntoIterator<Item = &'static str>) {
    let text = document("metrics.md");
    let listed = below(&text, heading).lines().skip_while(|line| !line.starts_with("- "));
    let listed: BTreeSet<String> = listed
        .flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(listed, set_of(words.into_iter().map(str::to_owned)), "docs/metrics.md, {heading}");
}

#[test]
fn the_examples_in_the_documents_are_good_configurations() {
    for name in ["configuration.md", "../README.md"] {
        let text = document(name);
        let mut examples =
            text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).peekable();
        assert!(examples.peek().is_some(), "{name} has no example");
        for example in examples {
            if let Err(e) = announcer::config::parse(name, example) {
                panic!("{e}");
            }
        }
    }
}

/// The ConfigMap of the Kubernetes manifest holds a configuration, which is good.
#[test]
fn the_configuration_for_kubernetes_is_good() {
    let manifest = document("kubernetes/announcer.yaml");
    let (_, block) = manifest.split_once("  announcer.toml: |\n").unwrap();
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let configuration: Vec<&str> = lines.map(str::trim_start).collect();
    assert!(configuration.len() > 10, "{configuration:?}");
    if let Err(e) = announcer::config::parse("announcer.toml", &configuration.join("\n")) {
        panic!("{e}");
    }
}

/// The texts in backticks in the first cells of the tables below a heading of docs/operations.md.
fn listed(heading: &str) -> BTreeSet<String> {
    let text = document("operations.md");
    let between =
        |line: &str, open: &str, close: &str| Some(line.strip_prefix(open)?.split(close).next()?.to_owned());
    let cell = |line: &str| between(line, "| `` ", " `` |").or_else(|| between(line, "| `", "` |"));
    below(&text, heading).lines().filter_map(cell).collect()
}

/// The texts as a set, for the comparison with a document.
fn set_of(all: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    all.into_iter().collect()
}

// Each of the lists below has a `match` without `_`. A new variant does not compile until it is added there, and the test fails
// until it is in the list and in the document.

/// How long a probe has taken, or how long a VIP has to wait, in the examples.
const TOOK: Duration = Duration::from_millis(12);
const LATE: Duration = Duration::from_millis(412);

#[test]
fn every_standing_of_a_vip_is_explained() {
    let failure = || Outcome::Fail { reason: http::Failure::Status(503).into(), took: TOOK };
    let evidence = |streak| Evidence { check: None, streak, last: Some(failure()) };
    let drain = Drain {
        by: Some("ann".into()),
        at: Some("2026-01-31T12:00:00Z".into()),
        reason: Some("new kernel".into()),
        ..Drain::default()
    };
    let failed = evidence(Streak::Failed { run: 3, fall: 3 });
    let of_several = Evidence { check: Some("backend".into()), ..failed.clone() };
    let sibling = "192.0.2.81".parse().unwrap();
    let flapping = Flapping { returns: 3, penalty: Duration::from_secs(10) };
    let problem =
        || DeviceProblem { device: "lo".into(), reason: "needs CAP_NET_ADMIN: run it with sudo".into() };
    let all = [
        Standing::Announced,
        Standing::LastChoice(LastChoiceReason::Backup),
        Standing::LastChoice(LastChoiceReason::Unhealthy(of_several)),
        Standing::LastChoice(LastChoiceReason::Slow(Evidence {
            check: None,
            streak: Streak::Slow { run: 3, fall: 3 },
            last: Some(Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took: LATE }),
        })),
        Standing::LastChoice(LastChoiceReason::TooFewOthers(failed.clone())),
        Standing::LastChoice(LastChoiceReason::Flapping(flapping)),
        Standing::LastChoice(LastChoiceReason::Sibling(sibling)),
        Standing::LastChoice(LastChoiceReason::Leaving),
        Standing::Drained(drain.into()),
        Standing::NotAnnounced(NotAnnouncedReason::Stopping),
        Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into())),
        Standing::NotAnnounced(NotAnnouncedReason::VipMissing(problem())),
        Standing::NotAnnounced(NotAnnouncedReason::DeviceDown(problem())),
        Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(Evidence {
            check: None,
            streak: Streak::None,
            last: None,
        })),
        Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(evidence(Streak::Starting))),
        Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(evidence(Streak::Lapsed(Duration::from_secs(
            4,
        ))))),
        Standing::NotAnnounced(NotAnnouncedReason::Unhealthy(evidence(Streak::Gone))),
        Standing::NotAnnounced(NotAnnouncedReason::Unhealthy(failed)),
        Standing::NotAnnounced(NotAnnouncedReason::Sibling(sibling)),
        Standing::NotAnnounced(NotAnnouncedReason::Waiting(DampingWait::Delay(TOOK))),
        Standing::NotAnnounced(NotAnnouncedReason::Waiting(DampingWait::Flapping(flapping))),
    ];
    // The streaks of the evidence are not in this `match`: a new streak has to be added to the list by hand.
    for standing in &all {
        match standing {
            Standing::Announced | Standing::Drained(_) => {}
            Standing::LastChoice(
                LastChoiceReason::Backup
                | LastChoiceReason::Unhealthy(_)
                | LastChoiceReason::Slow(_)
                | LastChoiceReason::TooFewOthers(_)
                | LastChoiceReason::Flapping(_)
                | LastChoiceReason::Sibling(_)
                | LastChoiceReason::Leaving,
            ) => {}
            Standing::NotAnnounced(
                NotAnnouncedReason::Stopping
                | NotAnnouncedReason::NotLookedFor(_)
                | NotAnnouncedReason::VipMissing(_)
                | NotAnnouncedReason::DeviceDown(_)
                | NotAnnouncedReason::NoVerdict(_)
                | NotAnnouncedReason::Unhealthy(_)
                | NotAnnouncedReason::Sibling(_)
                | NotAnnouncedReason::Waiting(DampingWait::Delay(_) | DampingWait::Flapping(_)),
            ) => {}
        }
    }
    words_are_listed("## Why a VIP has its standing", all.iter().map(Standing::label));
    assert_eq!(listed("### Of a VIP"), set_of(all.iter().map(Standing::to_string)));
}

#[test]
fn every_outcome_of_a_probe_is_explained() {
    use outcome::Reason as Why;
    let timed_out = |waiting| Why::TimedOut { waiting, after: Duration::from_secs(1) };
    let not_run = |error: StartError| {
        match error {
            StartError::Kernel(_) | StartError::NotExecutable | StartError::NoInterpreter(_) => {}
            StartError::CarriageReturn(_) | StartError::InterpreterDenied(_) | StartError::NoLoader(_) => {}
            StartError::NoProgram => {}
            // `NoProcess` is a shortage, `NoUser` and `MayNotSwitch` have their own variants of `exec::Failure`, and `Other` can
            // have any text.
            StartError::NoProcess
            | StartError::NoUser(_)
            | StartError::MayNotSwitch
            | StartError::Other(_) => {}
        }
        Why::from(exec::Failure::NotRun(PrintableText::new(&error.to_string())))
    };
    let of_any_kind = [
        Why::Refused,
        Why::VipMissing,
        Why::VrfMissing("edge".into()),
        timed_out(TimeoutPhase::Connection),
        timed_out(TimeoutPhase::Handshake),
        timed_out(TimeoutPhase::Answer),
        timed_out(TimeoutPhase::Body),
        timed_out(TimeoutPhase::Files),
        timed_out(TimeoutPhase::Start),
        timed_out(TimeoutPhase::Exit),
        Why::Reset,
        Why::Closed,
        Why::Os(nix::errno::Errno::EPERM),
        Why::Other("another sentence that says why"),
    ];
    for failure in &of_any_kind {
        match failure {
            Why::TimedOut { waiting: TimeoutPhase::Connection | TimeoutPhase::Handshake, .. } => {}
            Why::TimedOut { waiting: TimeoutPhase::Answer | TimeoutPhase::Body, .. } => {}
            Why::TimedOut {
                waiting: TimeoutPhase::Files | TimeoutPhase::Start | TimeoutPhase::Exit, ..
            } => {}
            Why::Refused | Why::VipMissing | Why::VrfMissing(_) => {}
            Why::Reset | Why::Closed | Why::Os(_) | Why::Other(_) => {}
            // Each kind has its own list below, and a test with such a `match`.
            Why::Kind(_) => {}
        }
    }
    let programs = [
        not_run(StartError::Kernel(nix::errno::Errno::ENOENT)),
        not_run(StartError::NotExecutable),
        not_run(StartError::NoInterpreter("/usr/bin/python9".into())),
        not_run(StartError::CarriageReturn("/bin/sh".into())),
        not_run(StartError::InterpreterDenied("/mnt/bin/sh".into())),
        not_run(StartError::NoLoader("/lib/ld-musl-x86_64.so.1".into())),
        not_run(StartError::NoProgram),
    ];
    let failures: Vec<Why> = (of_any_kind.into_iter())
        .chain(kind::Failure::examples().into_iter().map(Why::Kind))
        .chain(programs)
        .collect();
    let shortages = Shortage::ALL;
    for shortage in shortages {
        match shortage {
            Shortage::Files
            | Shortage::Memory
            | Shortage::Ports
            | Shortage::Processes
            | Shortage::Processor => {}
        }
    }
    words_are_listed(
        "## Why a probe failed or was skipped",
        failures.iter().map(Why::label).chain(shortages.map(Shortage::label)),
    );
    let all = failures.iter().map(Why::to_string);
    let all = all.chain(shortages.into_iter().map(|shortage| Outcome::Skipped(shortage).to_string()));
    let all = all.chain(kind::Answer::examples().into_iter().map(|answer| answer.to_string()));
    let flaws = Flaw::examples();
    words_are_listed("## What is wrong with a certificate", flaws.iter().map(Flaw::label));
    let all = all.chain(kind::Warning::examples().into_iter().map(|warning| warning.to_string()));
    assert_eq!(listed("### Of a probe"), set_of(all));
}

#[test]
fn every_reason_of_a_session_that_is_down_is_explained() {
    let seconds = Duration::from_secs;
    let asn = Asn::try_from(65000).unwrap();
    let all = [
        DownReason::Stopped(Notification::bare(notification::PEER_DECONFIGURED)),
        DownReason::Notified(Notification::shutdown("new cable")),
        DownReason::HoldExpired(seconds(9)),
        DownReason::NoOpen(seconds(9)),
        DownReason::NoKeepalive(seconds(9)),
        DownReason::SendHoldExpired(seconds(9)),
        DownReason::Open(OpenError::Malformed),
        DownReason::Open(OpenError::Version(3)),
        DownReason::Open(OpenError::WrongAs { got: 65002, want: PeerAsn::Is(asn) }),
        DownReason::Open(OpenError::Identifier(Ipv4Addr::UNSPECIFIED)),
        DownReason::Open(OpenError::Parameter(1)),
        DownReason::Open(OpenError::HoldTime(2)),
        DownReason::Open(OpenError::ShortHoldTime { got: 0, least: 3 }),
        DownReason::Malformed(Notification::bare(notification::BAD_LENGTH)),
        DownReason::OutOfTurn(Notification::bare(notification::UNEXPECTED_IN_OPEN_SENT)),
        DownReason::Collision,
        DownReason::LivenessLost,
        DownReason::Tcp(TcpFailure::Refused),
        DownReason::Tcp(TcpFailure::NoAnswer(seconds(10))),
        DownReason::Tcp(TcpFailure::NoRoute),
        DownReason::Tcp(TcpFailure::Unreachable),
        DownReason::Tcp(TcpFailure::NoSource(Ipv4Addr::new(192, 0, 2, 80).into())),
        DownReason::Tcp(TcpFailure::NoAddress),
        DownReason::Tcp(TcpFailure::SourceMissing(Ipv4Addr::new(10, 0, 1, 99).into())),
        DownReason::Tcp(TcpFailure::Forbidden),
        DownReason::Tcp(TcpFailure::NoGateway),
        DownReason::Tcp(TcpFailure::NoRouter("swp1".into())),
        DownReason::Tcp(TcpFailure::NotLearnt(
            "routers cannot be learnt from their advertisements: Too many open files (os error 24)".into(),
        )),
        DownReason::Tcp(TcpFailure::RouterGone),
        DownReason::Tcp(TcpFailure::LinkDown("eth0".into())),
        DownReason::Tcp(TcpFailure::InterfaceGone),
        DownReason::Tcp(TcpFailure::AddressGone(Ipv4Addr::new(10, 0, 1, 11).into())),
        DownReason::Tcp(TcpFailure::NoInterface("eth7".into())),
        DownReason::Tcp(TcpFailure::NoVrf("edge".into())),
        DownReason::Tcp(TcpFailure::NotInVrf { interface: "eth1".into(), vrf: "edge".into() }),
        DownReason::Tcp(TcpFailure::NotAVrf("eth1".into())),
        DownReason::Tcp(TcpFailure::Password(
            "`/etc/announcer/key` is readable by others: chmod 0640".into(),
        )),
        DownReason::Tcp(TcpFailure::Closed),
        DownReason::Tcp(TcpFailure::Reset),
        DownReason::Tcp(TcpFailure::TimedOut),
        DownReason::Tcp(TcpFailure::Unheard(seconds(4))),
        DownReason::Tcp(TcpFailure::Other("anything else, in the words of the kernel".into())),
    ];
    for reason in &all {
        match reason {
            DownReason::Open(open) => match open {
                OpenError::Malformed | OpenError::Version(_) | OpenError::WrongAs { .. } => {}
                OpenError::Identifier(_) | OpenError::Parameter(_) | OpenError::HoldTime(_) => {}
                OpenError::ShortHoldTime { .. } => {}
            },
            DownReason::Tcp(failure) => match failure {
                TcpFailure::Refused | TcpFailure::NoAnswer(_) | TcpFailure::NoRoute => {}
                TcpFailure::Unreachable | TcpFailure::NoSource(_) | TcpFailure::Closed => {}
                TcpFailure::NoGateway | TcpFailure::NoInterface(_) | TcpFailure::Password(_) => {}
                TcpFailure::Reset | TcpFailure::TimedOut | TcpFailure::Other(_) => {}
                TcpFailure::LinkDown(_) | TcpFailure::InterfaceGone | TcpFailure::AddressGone(_) => {}
                TcpFailure::Unheard(_) | TcpFailure::NoAddress => {}
                TcpFailure::SourceMissing(_) | TcpFailure::Forbidden => {}
                TcpFailure::NoRouter(_) | TcpFailure::NotLearnt(_) | TcpFailure::RouterGone => {}
                TcpFailure::NoVrf(_) | TcpFailure::NotInVrf { .. } | TcpFailure::NotAVrf(_) => {}
            },
            DownReason::Stopped(_) | DownReason::Notified(_) | DownReason::HoldExpired(_) => {}
            DownReason::NoOpen(_) | DownReason::NoKeepalive(_) => {}
            DownReason::SendHoldExpired(_) | DownReason::Malformed(_) => {}
            DownReason::OutOfTurn(_) | DownReason::Collision | DownReason::LivenessLost => {}
        }
    }
    words_are_listed("## Why a session is down", all.iter().map(DownReason::label));
    assert_eq!(listed("### Of a peer"), set_of(all.iter().map(DownReason::to_string)));
}

#[test]
fn every_code_that_the_daemon_watches_is_listed() {
    let watched = Code::ALL.iter().filter(|code| code.watcher() == Watcher::Daemon);
    words_are_listed("## What the daemon has found on the host", watched.map(|code| code.name()));
}

#[test]
fn every_label_of_the_chain_is_explained() {
    let listed = below(&document("metrics.md"), "## What became of a packet of the chain").to_owned();
    let words = listed.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next());
    let words: BTreeSet<String> = words.map(str::to_owned).collect();
    assert_eq!(words, set_of(ChainCounter::ALL.iter().map(|counter| counter.label().to_owned())));
    words_are_listed(
        "## Why a heartbeat did not count",
        HeartbeatDropReason::ALL.iter().map(|reason| reason.label()),
    );
}

#[test]
fn every_reason_to_withhold_a_family_is_explained() {
    let all = [
        NotSent::FamilyNotNegotiated(Family::V6),
        NotSent::NoNextHop(Family::V4),
        NotSent::NoNextHop(Family::V6),
    ];
    for not_sent in all {
        match not_sent {
            NotSent::FamilyNotNegotiated(Family::V4 | Family::V6)
            | NotSent::NoNextHop(Family::V4 | Family::V6) => {}
        }
    }
    assert_eq!(listed("### Of a family at one peer"), set_of(all.iter().map(NotSent::to_string)));
}

/// Adds the path of each Rust file below the folder to `found`, except in folders named `target`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// CONTRIBUTING.md names each environment variable that the sources read, and its table has no variable that is not read.
#[test]
fn contributing_md_has_the_variables_that_are_read() {
    let root = repository();
    let mut paths = Vec::new();
    for folder in ["announcer", "dsr-setup", "lab", "tests"] {
        sources(&root.join(folder), &mut paths);
    }
    paths.retain(|path| !path.ends_with("documents.rs"));
    let all: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let text = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'_')
    };
    let read = ["env::var(\"", "env::var_os(\""].into_iter().flat_map(|call| all.split(call).skip(1));
    let read: BTreeSet<&str> = read.filter_map(|rest| rest.split('"').next()).filter(is_name).collect();
    assert!(read.contains("UPDATE_EXPECT") && read.contains("LAB_ENGINE"), "{read:?}");
    for name in read {
        assert!(text.contains(&format!("`{name}")), "CONTRIBUTING.md does not name {name}");
    }
    // Variables of libraries, scripts and cargo are not in our sources.
    let others = ["TRYCMD", "PROPTEST_CASES", "LAB_MIRROR", "PROGRAM", "CONTAINERLAB", "VM_LIMIT"];
    let rows = below(&text, "## Variables").lines().filter(|line| line.starts_with("| `"));
    for name in rows.filter_map(|row| row.split(['`', '=']).nth(1)) {
        let is_read = all.contains(&format!("\"{name}\"")) || others.contains(&name);
        assert!(is_read || name.starts_with("CARGO_"), "nothing reads {name}, which CONTRIBUTING.md has");
    }
}
