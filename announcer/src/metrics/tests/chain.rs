//! The metrics of the chain.

use super::*;

#[test]
fn without_a_chain_it_has_no_samples() {
    let none = ChainMetrics { status: Arc::default(), now: Instant::now() };
    let text = text(Scrape { chain: none, ..scrape() });
    assert!(!text.lines().any(|line| line.starts_with("announcer_chain_")), "{text}");
    let alone = ChainStatus { forward: false, installed: false, counters: [None, None], ..chain() };
    let alone = ChainMetrics { status: Arc::new(alone), now: Instant::now() };
    let text = self::text(Scrape { chain: alone, ..scrape() });
    assert!(!text.contains("\nannouncer_chain_rules_installed"), "{text}");
    assert!(text.contains("\nannouncer_chain_switched_off 0\n"), "{text}");
}
