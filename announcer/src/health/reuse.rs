//! How long an `http` check with `reuse` keeps a connection.
//!
//! Pure. A kept connection proves that the server answers, and says nothing about its listener. So each connection serves at most
//! [`PROBES`] probes, and the next probe opens a new one.

/// The most probes over one connection. A listener that is gone while the server still answers over old connections is noticed by
/// the check after at most this many intervals; `docs/configuration.md` has the number.
pub const PROBES: u32 = 10;

/// How the previous connection of a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It had served as many probes as it should.
    Planned,
    /// In another way, or there was no connection yet.
    Other,
}

/// How many probes a new connection serves: 1 to [`PROBES`]. `random` is in `[0, 1)`.
///
/// After a start of the daemon or of the server, all checks open their connections at the same time. The random length of the first
/// one spreads the following ones, so that their handshakes are not at the same time again.
pub fn life(previous: ConnectionEnd, random: f64) -> u32 {
    match previous {
        ConnectionEnd::Planned => PROBES,
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to 10, and a cast of a float ends at the limits of the type"
        )]
        ConnectionEnd::Other => ((f64::from(PROBES) * random) as u32 + 1).min(PROBES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connection_has_a_random_length_and_the_following_have_the_full_one() {
        for (previous, random, want) in [
            (ConnectionEnd::Planned, 0.0, PROBES),
            (ConnectionEnd::Planned, 0.5, PROBES),
            (ConnectionEnd::Other, 0.0, 1),
            (ConnectionEnd::Other, 0.09, 1),
            (ConnectionEnd::Other, 0.1, 2),
            (ConnectionEnd::Other, 0.55, 6),
            (ConnectionEnd::Other, 0.999, PROBES),
            (ConnectionEnd::Other, 1.0, PROBES),
        ] {
            assert_eq!(life(previous, random), want, "{previous:?} {random}");
        }
    }
}
