//! Why octets of ours stay unacknowledged: the peer does not read, or the network does not carry them.
//!
//! Pure. The two are not the same fault. A peer whose kernel answers while its window is closed lives, and the send hold
//! timer ends the session (RFC 9687); one whose kernel acknowledges nothing is gone, or the path to it is (RFC 5482). Linux'
//! TCP_USER_TIMEOUT ends a session for either, so it is not used.

use std::time::Duration;

/// What the kernel says of a connection (`struct tcp_info` of linux/tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// The largest segment that we send, in octets.
    pub mss: u32,
    /// Segments in flight.
    pub in_flight: u32,
    /// How often the oldest of them was sent again.
    pub retransmits: u8,
    /// Probes of a closed window that were not answered.
    pub probes: u8,
    /// When the peer last acknowledged anything: its kernel lives.
    pub last_ack: Duration,
    /// When the last data came from it.
    pub last_data: Duration,
    /// The window that the peer offers, in octets; `None`: this kernel does not say (before 5.4).
    pub window: Option<u32>,
}

/// What a wait for acknowledgements comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// It is waited on: for acknowledgements, or for the peer to read.
    Wait,
    /// The peer's kernel acknowledges nothing any more.
    Lost,
}

/// A closed window is probed ever more rarely, and one probe may be on its way.
const UNANSWERED: u8 = 2;
/// Sent again twice, a segment was not lost by chance.
const AGAIN: u8 = 2;

/// Judges octets that have waited for `waited` without a single one being acknowledged; `limit` is as long as the peer may
/// be silent.
pub fn judge(info: &TcpInfo, waited: Duration, limit: Duration) -> Stall {
    // Nothing in flight though octets wait: the window has no room.
    let closed = info.window == Some(0) || info.in_flight == 0;
    let lost = if closed { info.probes >= UNANSWERED && info.last_ack >= limit } else { waited >= limit };
    if lost { Stall::Lost } else { Stall::Wait }
}

/// Whether it looks as if large segments are lost on the way and small ones are not, so that the path's MTU is smaller than
/// both ends believe: a full segment was sent again and again in vain while the peer was heard.
pub fn large_segments_lost(info: &TcpInfo, waiting: u64, waited: Duration) -> bool {
    info.in_flight > 0
        && info.retransmits >= AGAIN
        && waiting >= u64::from(info.mss)
        && info.mss > 536
        && info.window != Some(0)
        && info.last_data <= waited.max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn in_flight() -> TcpInfo {
        TcpInfo {
            mss: 1448,
            in_flight: 3,
            retransmits: 4,
            last_ack: SECOND,
            last_data: SECOND,
            window: Some(60_000),
            ..TcpInfo::default()
        }
    }

    /// W10.
    #[test]
    fn a_peer_that_does_not_read_is_waited_for_and_one_that_acknowledges_nothing_is_lost() {
        let closed = TcpInfo { in_flight: 0, retransmits: 0, window: Some(0), ..in_flight() };
        for (info, waited, want) in [
            (in_flight(), 2, Stall::Wait),
            (in_flight(), 3, Stall::Lost),
            // Its window is closed, and it answers the probes.
            (closed, 300, Stall::Wait),
            (TcpInfo { probes: 1, last_ack: SECOND * 60, ..closed }, 300, Stall::Wait),
            (TcpInfo { probes: 2, last_ack: SECOND * 60, ..closed }, 300, Stall::Lost),
            // It took its window back with segments in flight.
            (TcpInfo { window: Some(0), ..in_flight() }, 300, Stall::Wait),
            // A window that is too small for a segment.
            (TcpInfo { window: Some(100), ..closed }, 300, Stall::Wait),
            // A kernel that does not tell the window.
            (TcpInfo { window: None, ..closed }, 300, Stall::Wait),
            (TcpInfo { window: None, ..in_flight() }, 3, Stall::Lost),
        ] {
            assert_eq!(judge(&info, SECOND * waited, SECOND * 3), want, "{info:?} after {waited} s");
        }
    }

    /// B4.
    #[test]
    fn a_full_segment_that_is_sent_again_in_vain_while_the_peer_is_heard_hints_at_the_path_mtu() {
        let waited = SECOND * 5;
        for (info, waiting, want) in [
            (in_flight(), 4000, true),
            (in_flight(), 19, false),
            (TcpInfo { retransmits: 1, ..in_flight() }, 4000, false),
            (TcpInfo { last_data: SECOND * 6, ..in_flight() }, 4000, false),
            (TcpInfo { window: Some(0), ..in_flight() }, 4000, false),
            (TcpInfo { mss: 536, ..in_flight() }, 4000, false),
            (TcpInfo { in_flight: 0, ..in_flight() }, 4000, false),
        ] {
            assert_eq!(large_segments_lost(&info, waiting, waited), want, "{info:?} {waiting}");
        }
    }
}
