//! Tests each hint with a real router in that state: FRR, BIRD, GoBGP, OpenBGPD and ExaBGP from Debian, in network namespaces.
//!
//! It needs root, the routers, nftables and iproute2, and takes minutes: `make interop` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod routers {
    pub(crate) mod bench;
    pub(crate) mod cases;
}

use routers::bench::Bench;
use routers::cases::CASES;

#[test]
fn a_case_that_expects_a_session_expects_no_hint() {
    for case in CASES.iter().copied().flatten().filter(|case| case.reason.is_empty()) {
        assert!(case.hint.is_empty(), "{}: a hint without a reason", case.name);
    }
}

/// `ROUTER_HINTS=words` runs the cases whose name contains these words.
#[test]
#[ignore = "needs root and routers; `make interop` runs it"]
fn each_hint_is_seen_at_a_router_in_that_state() {
    let only = std::env::var("ROUTER_HINTS").unwrap_or_default();
    let bench = Bench::up();
    let mut wrong = Vec::new();
    println!("| state of the router | reason | hint |\n|---|---|---|");
    for case in CASES.iter().copied().flatten().filter(|case| case.name.contains(&only)) {
        match bench.run(case) {
            Ok((reason, hint)) => println!("| {} | {reason} | {hint} |", case.name),
            Err(seen) => {
                println!("| {} | FAILED: {seen} | |", case.name);
                wrong.push(case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "not as it should be: {wrong:#?}");
}
