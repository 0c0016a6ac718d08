//! The messages of NTP: the request of a client, and what the answer says (RFC 5905).
//!
//! Pure. The request tells nothing about our clock: its transmit timestamp is a random number, which the answer has to return.
//!
//! ```text
//! octet  0  leap (2 bits), version (3), mode (3)   1  stratum   12  reference ID   24  origin   32  receive   40  transmit
//! ```

use std::time::Duration;

use crate::config::kind::ntp::{Answer, ClockOffset, Failure, NtpConfig};
use crate::model::text::PrintableText;

#[cfg(test)]
mod tests;

/// The octets of a request or an answer, without extensions.
const LENGTH: usize = 48;

/// A time in seconds since 1900 and parts of 2^-32 s, modulo 2^64 (RFC 5905 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtpTime(u64);

impl NtpTime {
    /// The time that is so long after 1970.
    pub fn of_unix(since_1970: Duration) -> Self {
        let seconds = since_1970.as_secs().wrapping_add(2_208_988_800);
        let part = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime(seconds.wrapping_shl(32) | part)
    }

    /// From `earlier` to this, in 2^-32 s; right if they are less than 68 years apart.
    fn since(self, earlier: NtpTime) -> i128 {
        i128::from(self.0.wrapping_sub(earlier.0).cast_signed())
    }
}

/// A request with this number in place of its transmit timestamp: version 4, mode 3 (client).
pub fn request(nonce: u64) -> [u8; LENGTH] {
    let mut octets = [0; LENGTH];
    octets[0] = 4 << 3 | 3;
    octets[40..].copy_from_slice(&nonce.to_be_bytes());
    octets
}

/// Whether this answer to the request with this number passes. The request was sent and the answer received at these times.
///
/// # Errors
///
/// Why it does not.
pub fn judge(
    ntp: &NtpConfig,
    nonce: u64,
    octets: &[u8],
    sent: NtpTime,
    received: NtpTime,
) -> Result<Answer, Failure> {
    let Some(octets) = octets.first_chunk::<LENGTH>() else { return Err(Failure::NotNtp) };
    let [first, stratum, ..] = *octets;
    let (leap, version, mode) = (first >> 6, first >> 3 & 7, first & 7);
    if mode != 4 || !(1..=4).contains(&version) {
        return Err(Failure::NotNtp);
    }
    let time = |at: usize| octets[at..].first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
    if time(24) != nonce {
        return Err(Failure::OtherRequest);
    }
    // Without a code, stratum 0 only says that the clock is not synchronised.
    let code = &octets[12..16];
    if stratum == 0 && code.iter().all(u8::is_ascii_alphanumeric) {
        return Err(Failure::Refuses(PrintableText::new(&String::from_utf8_lossy(code))));
    }
    if leap == 3 || stratum == 0 || stratum > 15 {
        return Err(Failure::Unsynchronised);
    }
    if stratum > ntp.max_stratum {
        return Err(Failure::Stratum(stratum));
    }
    let there = NtpTime(time(32)).since(sent) + NtpTime(time(40)).since(received);
    // Half of the sum, in microseconds, to the nearest. It fits: each term is below 2^31 s.
    let micros = i64::try_from((there * 1_000_000 + (1 << 32)) >> 33).unwrap_or(i64::MAX);
    let offset = ClockOffset { micros };
    match ntp.max_offset {
        Some(most) if offset.abs() > most => Err(Failure::Offset(offset)),
        Some(_) | None => Ok(Answer::Synchronised { stratum, offset }),
    }
}
