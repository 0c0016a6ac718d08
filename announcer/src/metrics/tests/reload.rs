//! Counts over a reload.

use super::*;

#[test]
fn counts_go_on_over_a_reload_and_what_is_gone_is_forgotten() {
    let (v4, v6) = ("192.0.2.80", "2001:db8::80");
    let mut tally = Tally::new(&config(&[("www", &[v4, v6]), ("mail", &["192.0.2.25"])]));
    tally.probed(&probed("www", v4, 0, passed(1)));
    tally.probed(&probed("www", v4, 1, passed(4)));
    tally.probed(&probed("mail", v4, 0, passed(1)));
    tally.probed(&probed("www", v4, 2, passed(1)));
    let count = |tally: &Tally, vip: &str, check| {
        tally.probes.get(&(vip.parse::<IpAddr>().unwrap(), check)).map(|probes| probes.results[0].1)
    };
    assert_eq!(count(&tally, v4, 0), Some(1), "a probe of another service's time counts nowhere");
    tally.reload(&config(&[("mail", &[v6]), ("www", &[v4])]));
    assert_eq!([count(&tally, v4, 0), count(&tally, v4, 1)], [Some(1), Some(1)]);
    assert_eq!(count(&tally, v6, 0), Some(0), "it is another service's now");
    assert_eq!(count(&tally, "192.0.2.25", 0), None);
    let took =
        |tally: &Tally, service: &str, check: usize| tally.took[&service.parse().unwrap()][check].1.count();
    assert_eq!([took(&tally, "www", 0), took(&tally, "www", 1), took(&tally, "mail", 0)], [1, 1, 0]);
}

#[test]
fn a_reload_counts_by_what_became_of_it() {
    let mut reloads = Reloads::new(1.0, ConfigDigest::of(b"abc"));
    reloads.count(true, 2.0);
    reloads.count(false, 3.0);
    assert_eq!(
        reloads,
        Reloads {
            applied: 1,
            refused: 1,
            last_applied: false,
            applied_at: 2.0,
            config: ConfigDigest::of(b"abc")
        }
    );
}
