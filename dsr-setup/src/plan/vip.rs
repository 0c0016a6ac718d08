//! What is done about one VIP.
//!
//! Pure.
//!
//! | on the device is | ours | of another program |
//! |---|---|---|
//! | nothing | add it | |
//! | it, with our flags, lifetimes, scope and label | nothing | nothing |
//! | it, with other flags or lifetimes | correct it | nothing: a warning says what to do |
//! | it, with another scope or label (IPv4) | replace it | nothing: a warning, if it harms |
//! | it, with another prefix length | replace it | nothing: a warning says what to do |

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Difference, LoAddress, Loopback, Owner, Step};

/// The steps that put a VIP on the device of the VIPs, as it has to be there.
pub(super) fn put(lo: &Loopback, vip: IpAddr) -> Vec<Step> {
    let found: Vec<&LoAddress> = lo.addresses.iter().filter(|on_lo| on_lo.net.addr() == vip).collect();
    let is_whole = |on_lo: &&&LoAddress| on_lo.net.prefix_len() == on_lo.net.max_prefix_len();
    let is_ours = |on_lo: &&LoAddress| on_lo.owner == Owner::Ours;
    let Some(whole) = found.iter().find(is_whole) else {
        return match found.iter().find(|on_lo| is_ours(on_lo)) {
            Some(ours) => vec![replace(ours)],
            None if found.is_empty() => vec![Step::Add(vip)],
            None => Vec::new(),
        };
    };
    // The kernel may have an IPv4 address with several prefix lengths.
    let wrong = found.iter().filter(|on_lo| is_ours(on_lo) && !is_whole(on_lo));
    let mut steps: Vec<Step> = of_whole(whole).into_iter().collect();
    steps.extend(wrong.map(|on_lo| Step::Remove(on_lo.net)));
    steps
}

/// The step about a VIP that is there with its prefix length.
fn of_whole(on_lo: &LoAddress) -> Option<Step> {
    if on_lo.owner == Owner::Foreign || on_lo.differences.is_empty() {
        return None;
    }
    let is_fixed = |difference: &Difference| match difference {
        Difference::Source => on_lo.net.addr().is_ipv4(),
        Difference::Label => true,
        Difference::Flags | Difference::Ends | Difference::Mark => false,
    };
    Some(if on_lo.differences.iter().any(is_fixed) {
        replace(on_lo)
    } else {
        Step::Mend { vip: on_lo.net.addr(), differences: on_lo.differences.clone() }
    })
}

fn replace(on_lo: &LoAddress) -> Step {
    let differences: BTreeSet<Difference> = on_lo.differences.clone();
    Step::Replace { net: on_lo.net, differences }
}

/// The steps that remove addresses of ours from other interfaces than that of the VIPs.
pub(super) fn ours_elsewhere(lo: &Loopback, is_named: impl Fn(IpAddr) -> bool) -> impl Iterator<Item = Step> {
    lo.elsewhere.iter().filter(move |other| other.owner == Owner::Ours && is_named(other.net.addr())).map(
        |other| Step::RemoveElsewhere {
            net: other.net,
            interface: other.interface.clone(),
            index: other.index,
        },
    )
}
