//! The connections of drained VIPs: which of them still reach this host, and when a drain has waited for them long enough.
//!
//! Pure. After the withdraw, routers send the packets of most connections to another frontend. Such a connection stays open here
//! and is silent: it is not waited for. A connection that has received something after the routers had followed is still served
//! here, and is waited for until it ends. With a chain, the other members pass the packets of every connection on to this host, so
//! those that are idle are waited for too.

use std::net::IpAddr;
use std::time::Duration;

/// A connection that received something within this time before the routers had followed may have received it from its old way. It
/// also covers that the kernel measures in its own ticks.
const SLACK: Duration = Duration::from_millis(20);
/// How long every connection has to be silent, if there are connections: a request may be answered late, and only the
/// acknowledgement of the answer shows that the connection still reaches this host.
pub const QUIET: Duration = Duration::from_secs(3);

/// A TCP connection that is open or being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipConnection {
    /// Its address on this host.
    pub local: IpAddr,
    /// The client's address.
    pub remote: IpAddr,
    /// The time since it last received data or an acknowledgement.
    pub silent_for: Duration,
}

impl VipConnection {
    /// Whether it is one of a client: the probes of this host come from the VIP itself.
    pub fn is_of_client(&self) -> bool {
        self.local != self.remote && !self.remote.is_loopback()
    }
}

/// The connections of clients, by whether they still reach this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionCount {
    /// They have received something since the routers have followed.
    pub active: usize,
    /// They have received nothing since then.
    pub silent: usize,
}

impl ConnectionCount {
    /// Counts a connection; `followed` is the time since the routers have followed.
    pub fn add(&mut self, connection: VipConnection, followed: Duration) {
        if !connection.is_of_client() {
            return;
        }
        match connection.silent_for + SLACK < followed {
            true => self.active += 1,
            false => self.silent += 1,
        }
    }

    /// As in "3 connections are still served, 20 were moved or are idle".
    pub fn sentence(&self) -> String {
        let active = match self.active {
            1 => "1 connection is still served here".to_owned(),
            many => format!("{many} connections are still served here"),
        };
        match self.silent {
            0 => active,
            1 => format!("{active}, 1 has received nothing since the withdraw"),
            many => format!("{active}, {many} have received nothing since the withdraw"),
        }
    }
}

/// Where the packets of a connection arrive that has received nothing since the withdraw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilentConnections {
    /// Probably at another frontend, by plain ECMP.
    Moved,
    /// Here, whenever one comes: the chain passes them on.
    Kept,
}

/// Whether a drain waits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionWait {
    /// It does.
    Waits,
    /// No connection is served here any more.
    Drained,
    /// The deadline has come.
    Deadline,
}

/// Whether a drain waits on: `followed` is the time since the routers have followed, `left` the time to the deadline.
pub fn decide(
    count: ConnectionCount,
    silent: SilentConnections,
    followed: Duration,
    left: Duration,
) -> ConnectionWait {
    let may_end = match silent {
        SilentConnections::Moved => followed >= QUIET,
        SilentConnections::Kept => false,
    };
    let is_quiet = count.active == 0 && (count.silent == 0 || may_end);
    if is_quiet {
        ConnectionWait::Drained
    } else if left.is_zero() {
        ConnectionWait::Deadline
    } else {
        ConnectionWait::Waits
    }
}

/// The most VIPs of one [`filter`]; its jumps have 16 bits.
pub const MOST_FILTERED: usize = 1000;

/// `INET_DIAG_BC_JMP`, `INET_DIAG_BC_S_COND` of linux/inet_diag.h.
const JUMP: u8 = 1;
const SOURCE: u8 = 7;

/// The filter of a dump by sock_diag(7): the sockets whose local address is one of these, of which there are at most
/// [`MOST_FILTERED`]. An IPv4 address also matches an IPv6 socket that serves it.
///
/// ```text
/// source is VIP 1?  yes ─→ jump to the end (accept)      inet_diag_bc_op{ code, yes, no } and, for a source,
///   no ↓                                                 inet_diag_hostcond{ family, prefix length, port -1, address }
/// source is VIP 2?  yes ─→ the end (accept), no ─→ behind the end (refuse)
/// ```
pub fn filter(vips: &[IpAddr]) -> Vec<u8> {
    let octets = |vip: &IpAddr| match vip {
        IpAddr::V4(ip) => (libc_family::INET, 32, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc_family::INET6, 128, ip.octets().to_vec()),
    };
    let mut code: Vec<u8> = Vec::new();
    let operation = |code: u8, yes: usize, no: usize| {
        let (yes, no) = (u8::try_from(yes).unwrap_or(u8::MAX), u16::try_from(no).unwrap_or(u16::MAX));
        [&[code, yes][..], &no.to_ne_bytes()].concat()
    };
    // From the last to the first, because a jump needs the length of what follows.
    for (place, vip) in vips.iter().enumerate().rev() {
        let (family, bits, address) = octets(vip);
        let condition = [&[family, bits, 0, 0][..], &(-1_i32).to_ne_bytes(), &address].concat();
        let length = 4 + condition.len();
        let rest = std::mem::take(&mut code);
        let is_last = place + 1 == vips.len();
        code.extend(operation(SOURCE, length, length + 4));
        code.extend(condition);
        if !is_last {
            code.extend(operation(JUMP, 4, 4 + rest.len()));
        }
        code.extend(rest);
    }
    code
}

/// The kernel's numbers of address families.
mod libc_family {
    pub(super) const INET: u8 = 2;
    pub(super) const INET6: u8 = 10;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(remote: &str, silent_for: u64) -> VipConnection {
        let (local, remote) = ("192.0.2.80".parse().unwrap(), remote.parse().unwrap());
        VipConnection { local, remote, silent_for: Duration::from_millis(silent_for) }
    }

    #[test]
    fn what_was_heard_of_since_the_routers_have_followed_is_active_and_probes_do_not_count() {
        let followed = Duration::from_secs(5);
        let mut count = ConnectionCount::default();
        for (remote, silent_for, active, silent) in [
            ("198.51.100.1", 0, 1, 0),
            ("198.51.100.1", 4_900, 2, 0),
            ("198.51.100.1", 4_990, 2, 1),
            ("198.51.100.1", 5_000, 2, 2),
            ("198.51.100.1", 60_000, 2, 3),
            ("192.0.2.80", 0, 2, 3),
            ("127.0.0.1", 0, 2, 3),
        ] {
            count.add(connection(remote, silent_for), followed);
            assert_eq!((count.active, count.silent), (active, silent), "{remote} {silent_for}");
        }
        assert_eq!(
            count.sentence(),
            "2 connections are still served here, 3 have received nothing since the withdraw"
        );
        assert_eq!(ConnectionCount { active: 1, silent: 0 }.sentence(), "1 connection is still served here");
    }

    #[test]
    fn a_drain_waits_for_active_connections_until_its_deadline_and_shortly_for_silent_ones() {
        let seconds = Duration::from_secs;
        for (active, silent, followed, left, want) in [
            (0, 0, 0, 60, ConnectionWait::Drained),
            (0, 9, 0, 60, ConnectionWait::Waits),
            (0, 9, 2, 60, ConnectionWait::Waits),
            (0, 9, 3, 60, ConnectionWait::Drained),
            (0, 9, 1, 0, ConnectionWait::Deadline),
            (1, 9, 3, 60, ConnectionWait::Waits),
            (1, 0, 99, 1, ConnectionWait::Waits),
            (1, 0, 99, 0, ConnectionWait::Deadline),
            (0, 0, 0, 0, ConnectionWait::Drained),
        ] {
            let count = ConnectionCount { active, silent };
            let found = decide(count, SilentConnections::Moved, seconds(followed), seconds(left));
            assert_eq!(found, want, "{count:?} {followed} {left}");
        }
    }

    #[test]
    fn with_a_chain_a_drain_waits_for_silent_connections_until_its_deadline_too() {
        let seconds = Duration::from_secs;
        for (active, silent, followed, left, want) in [
            (0, 0, 0, 60, ConnectionWait::Drained),
            (0, 9, 3, 60, ConnectionWait::Waits),
            (0, 1, 59, 1, ConnectionWait::Waits),
            (0, 1, 60, 0, ConnectionWait::Deadline),
            (1, 0, 60, 0, ConnectionWait::Deadline),
        ] {
            let count = ConnectionCount { active, silent };
            let found = decide(count, SilentConnections::Kept, seconds(followed), seconds(left));
            assert_eq!(found, want, "{count:?} {followed} {left}");
        }
    }

    /// The kernel's `inet_diag_bc_audit` and `inet_diag_bc_run`, for the codes that are used here.
    fn accepts(code: &[u8], source: IpAddr) -> bool {
        let at = |place: usize| {
            (code[place], usize::from(code[place + 1]), {
                usize::from(u16::from_ne_bytes([code[place + 2], code[place + 3]]))
            })
        };
        let (mut place, mut starts) = (0, Vec::new());
        while place < code.len() {
            starts.push(place);
            place += at(place).1;
        }
        assert_eq!(place, code.len(), "the audit ends at the end");
        for start in &starts {
            let no = start + at(*start).2;
            assert!(no >= code.len() && no <= code.len() + 4 || starts.contains(&no), "{no}");
        }
        let mut place = 0;
        while place < code.len() {
            let (operation, yes, no) = at(place);
            let fits = operation == SOURCE && {
                let condition = &code[place + 4..place + yes];
                assert_eq!(condition[4..8], (-1_i32).to_ne_bytes());
                match source {
                    IpAddr::V4(ip) => (condition[0], &condition[8..]) == (2, &ip.octets()[..]),
                    IpAddr::V6(ip) => (condition[0], &condition[8..]) == (10, &ip.octets()[..]),
                }
            };
            place += if fits { yes } else { no };
        }
        place == code.len()
    }

    #[test]
    fn the_filter_lets_the_kernel_return_the_connections_of_these_vips_alone() {
        let all: Vec<IpAddr> =
            ["192.0.2.80", "2001:db8::80", "192.0.2.81"].map(|vip| vip.parse().unwrap()).into();
        for count in 1..=all.len() {
            let code = filter(&all[..count]);
            for (place, vip) in all.iter().enumerate() {
                assert_eq!(accepts(&code, *vip), place < count, "{vip} of {count}");
            }
            assert!(!accepts(&code, "192.0.2.90".parse().unwrap()));
        }
        let many: Vec<IpAddr> =
            (0..MOST_FILTERED as u128).map(|number| std::net::Ipv6Addr::from_bits(number).into()).collect();
        let code = filter(&many);
        assert!(accepts(&code, many[0]) && accepts(&code, many[MOST_FILTERED - 1]));
        assert!(!accepts(&code, "2001:db8::80".parse().unwrap()));
    }
}
