//! The way of a packet over the hosts, by the rules that are installed on each of them.

use announcer::chain::ring::LAST_MARK;

use crate::host::{Host, HostSet, address, index};
use crate::network::Network;

/// How a packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its owner has it.
    Reached,
    /// The stack of a host answers.
    Answered,
    /// It was sent to a host that is dead or apart.
    Lost,
}

/// The way of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub end: End,
    pub hops: u32,
    /// The hosts that have had it.
    pub visited: HostSet,
    /// Whether a host has had it from one that is not in its list and that it has never known; or from one of which nothing has arrived
    /// since its daemon began without rules, because that one's daemon is dead, or because heartbeats are lost without a bound. (A real host
    /// learns the MAC address by the ARP or ND of its own heartbeats, which is not simulated.) It does not believe that mark, and begins
    /// another one: such a packet may only end by its TTL.
    pub stranger: bool,
}

/// The way of a packet that the routers give to `origin`, and that `owner` has a socket for; `None`: nobody. It gives up after 100 hops.
pub fn walk(hosts: &[Host], network: &Network, origin: usize, owner: Option<usize>) -> Way {
    let mut way = Way { end: End::Lost, hops: 0, visited: HostSet::default(), stranger: false };
    let mut at = origin;
    let mut came: Option<(usize, u8)> = None;
    while way.hops < 100 {
        way.visited.insert(at);
        if owner == Some(at) {
            return Way { end: End::Reached, ..way };
        }
        let answered = Way { end: End::Answered, ..way };
        let Some(rules) = &hosts[at].rules else { return answered };
        let Some(forwarding) = &rules.ring.v4 else { return answered };
        let believed = came.filter(|(from, _)| rules.believed.has(*from));
        way.stranger |= came.is_some_and(|(from, _)| {
            let unheard = (!network.bounded || hosts[from].down.is_some()) && !hosts[at].has_mac(from);
            !rules.believed.has(from) && (unheard || !hosts[at].list.contains(&address(from)))
        });
        let mark = match believed {
            Some((_, LAST_MARK)) => return answered,
            Some((_, mark)) => mark - 1,
            None => forwarding.first_mark(),
        };
        assert!((32..64).contains(&mark), "mark {mark} does not fit into six bits");
        let next = index(forwarding.next);
        way.hops += 1;
        if !hosts[next].powered || !network.connected(at, next) {
            return way;
        }
        came = Some((at, mark));
        at = next;
    }
    way
}
