use super::*;

#[test]
fn the_first_mark_says_how_many_hops_may_follow() {
    let forwarding = |length| {
        let address = IpAddr::from([10, 0, 0, 1]);
        Forwarding { next: address, via: address, length }
    };
    assert_eq!(forwarding(2).first_mark(), 33);
    assert_eq!(forwarding(32).first_mark(), 63);
}
