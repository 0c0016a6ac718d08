//! The budget for packets of flows that a host does not know.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use announcer::chain::rules::ListenOn;
use announcer::chain::rules::counters::ChainCounters;
use until::until;

use crate::segment::packets::Raw;
use crate::segment::{Site, VIPS};
use crate::{ALL, broken, family, flows, stray, to_one, with_root};

#[test]
fn the_budget_bounds_what_strangers_can_start() {
    const BUDGET: u32 = 200;
    const FLOOD: u16 = 3000;
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring_with(&ALL, |rules| rules.budget = NonZeroU32::new(BUDGET).unwrap());
        to_one(&site, 2);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let start = Instant::now();
            for number in 0..FLOOD {
                raw.send(stray(10_000 + number));
                if number % 100 == 99 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            let passed =
                |total: &ChainCounters| total.started + total.over_budget + total.flood == u64::from(FLOOD);
            let total = until(Duration::from_secs(2), || {
                let total = site.total()[family(vip)];
                if passed(&total) && total.returned == total.started { Ok(total) } else { Err(total) }
            });
            let total = total.unwrap_or_else(|total| panic!("{total:?}"));
            let most = f64::from(BUDGET) * (start.elapsed().as_secs_f64() + 1.0) + 1.0;
            let number = |packets: u64| f64::from(u32::try_from(packets).unwrap());
            assert!(number(total.started) <= most && total.started >= u64::from(BUDGET), "{most} {total:?}");
            // Three times as many are dropped, and only what is more gets a RST here.
            let dropped = total.over_budget;
            assert!(number(dropped) <= most * 3.0 && dropped >= u64::from(BUDGET * 3), "{most} {total:?}");
            assert!(total.flood > 0, "{total:?}");
            // The members that only pass the packets on have no budget for that.
            assert_eq!(total.forwarded, total.started * 4, "{total:?}");
        }
    });
}

#[test]
fn flows_that_need_more_than_the_budget_wait_and_do_not_break() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring_with(&ALL, |rules| rules.budget = NonZeroU32::new(10).unwrap());
        to_one(&site, 0);
        let mut at_first = flows(&site);
        // All flows are with this frontend now, and send at once.
        to_one(&site, 1);
        assert_eq!(broken(&mut at_first), [0, 0]);
        for (index, total) in site.total().iter().enumerate() {
            assert!(total.over_budget > 0 && total.flood == 0, "family {index}: {total:?}");
        }
    });
}
