//! Decides why our octets are not acknowledged: the peer does not read, or the network loses them.
//!
//! Pure. These are two different faults. If the peer's kernel answers while its window is closed, the peer is alive, and the send
//! hold timer ends the session (RFC 9687). If the peer's kernel acknowledges nothing, the peer or the path to it is lost (RFC
//! 5482). Linux's TCP_USER_TIMEOUT ends a session in both cases, so it is not used.

use std::time::Duration;

/// The kernel's data about a connection (`struct tcp_info` of linux/tcp.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Whether neither end has ended the connection.
    pub established: bool,
    /// The largest segment that we send, in octets.
    pub mss: u32,
    /// Segments in flight.
    pub in_flight: u32,
    /// How often the oldest of them was retransmitted.
    pub retransmits: u8,
    /// Probes of a closed window that were not answered.
    pub probes: u8,
    /// The time since the peer's kernel last acknowledged anything.
    pub last_ack: Duration,
    /// The time since the last data of the peer.
    pub last_data: Duration,
    /// The window that the peer offers, in octets; `None`: this kernel does not report it (before 5.4).
    pub window: Option<u32>,
}

/// The result for a wait for acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// Continue to wait for acknowledgements, or until the peer reads.
    Wait,
    /// The peer's kernel no longer acknowledges anything.
    Lost,
}

/// The most unanswered window probes of a live peer: the kernel sends them less and less often, and one may still be on its way.
const UNANSWERED: u8 = 2;
/// After two retransmissions, the loss of a segment was not by chance.
const AGAIN: u8 = 2;

/// Judges octets that wait: for the time `waited`, none of them was acknowledged. `limit` is the longest silence of the peer.
pub fn judge(info: &TcpInfo, waited: Duration, limit: Duration) -> Stall {
    // If octets wait but none is in flight, the window has no room.
    let closed = info.window == Some(0) || info.in_flight == 0;
    let lost = if closed { info.probes >= UNANSWERED && info.last_ack >= limit } else { waited >= limit };
    if lost { Stall::Lost } else { Stall::Wait }
}

/// Whether large segments seem to be lost on the way while small ones arrive. Then the path's MTU is smaller than both ends assume.
/// The sign is a full segment that was retransmitted repeatedly while the peer sent data.
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
            established: true,
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
            // The peer's window is closed, and it answers the probes.
            (closed, 300, Stall::Wait),
            (TcpInfo { probes: 1, last_ack: SECOND * 60, ..closed }, 300, Stall::Wait),
            (TcpInfo { probes: 2, last_ack: SECOND * 60, ..closed }, 300, Stall::Lost),
            (TcpInfo { probes: 2, last_ack: SECOND * 3, ..closed }, 300, Stall::Lost),
            (TcpInfo { probes: 2, last_ack: SECOND * 2, ..closed }, 300, Stall::Wait),
            // The peer closed its window while segments were in flight.
            (TcpInfo { window: Some(0), ..in_flight() }, 300, Stall::Wait),
            // A window that is too small for a segment.
            (TcpInfo { window: Some(100), ..closed }, 300, Stall::Wait),
            // A kernel that does not report the window.
            (TcpInfo { window: None, ..closed }, 300, Stall::Wait),
            (TcpInfo { window: None, ..in_flight() }, 3, Stall::Lost),
        ] {
            assert_eq!(judge(&info, SECOND * waited, SECOND * 3), want, "{info:?} after {waited} s");
        }
    }

    /// B4.
    #[test]
    fn a_full_segment_that_is_sent_again_in_vain_while_the_peer_is_heard_hints_at_the_path_mtu() {
        for (info, waiting, waited, want) in [
            (in_flight(), 4000, 5, true),
            (in_flight(), 1448, 5, true),
            (in_flight(), 1447, 5, false),
            (TcpInfo { retransmits: 2, ..in_flight() }, 4000, 5, true),
            (TcpInfo { retransmits: 1, ..in_flight() }, 4000, 5, false),
            (TcpInfo { last_data: SECOND * 5, ..in_flight() }, 4000, 5, true),
            (TcpInfo { last_data: SECOND * 6, ..in_flight() }, 4000, 5, false),
            // A peer that was heard within the last second is heard.
            (in_flight(), 4000, 0, true),
            (TcpInfo { window: Some(0), ..in_flight() }, 4000, 5, false),
            (TcpInfo { mss: 536, ..in_flight() }, 4000, 5, false),
            (TcpInfo { in_flight: 0, ..in_flight() }, 4000, 5, false),
        ] {
            let lost = large_segments_lost(&info, waiting, SECOND * waited);
            assert_eq!(lost, want, "{info:?} {waiting} after {waited} s");
        }
    }
}
