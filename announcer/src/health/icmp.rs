//! The messages of ping: an echo request, and its reply (RFC 792, RFC 4443 section 4).
//!
//! Pure. The kernel writes the checksum and the identifier of a ping socket, and gives it only replies with this identifier.

use crate::config::kind::icmp::Failure;
use crate::model::Family;

/// The octets before the data.
const HEADER: usize = 8;

/// The octets of a request.
pub fn request(family: Family, sequence: u16, data: &[u8]) -> Vec<u8> {
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let [high, low] = sequence.to_be_bytes();
    [&[kind, 0, 0, 0, 0, 0, high, low], data].concat()
}

/// Whether these octets are the reply to the request with this sequence number and these data.
///
/// # Errors
///
/// They are not.
pub fn judge(family: Family, sequence: u16, data: &[u8], octets: &[u8]) -> Result<(), Failure> {
    let kind = match family {
        Family::V4 => 0,
        Family::V6 => 129,
    };
    let is_reply = octets.starts_with(&[kind, 0])
        && octets.get(6..HEADER) == Some(&sequence.to_be_bytes()[..])
        && octets.get(HEADER..) == Some(data);
    is_reply.then_some(()).ok_or(Failure::NotEcho)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_number_and_the_data_of_the_request() {
        assert_eq!(request(Family::V4, 0x0102, b"ab"), [8, 0, 0, 0, 0, 0, 1, 2, b'a', b'b']);
        assert_eq!(request(Family::V6, 1, b""), [128, 0, 0, 0, 0, 0, 0, 1]);
        let reply = [0, 0, 9, 9, 7, 7, 1, 2, b'a', b'b'];
        for (family, sequence, data, octets, want) in [
            (Family::V4, 0x0102, &b"ab"[..], &reply[..], true),
            (Family::V4, 0x0103, b"ab", &reply, false),
            (Family::V4, 0x0102, b"ac", &reply, false),
            (Family::V4, 0x0102, b"abc", &reply, false),
            (Family::V4, 0x0102, b"", &reply[..8], true),
            (Family::V4, 0x0102, b"", &reply[..7], false),
            (Family::V6, 0x0102, b"ab", &reply, false),
            (Family::V6, 0x0102, b"", &[129, 0, 0, 0, 0, 0, 1, 2], true),
            (Family::V6, 0x0102, b"", &[129, 1, 0, 0, 0, 0, 1, 2], false),
            (Family::V4, 0x0102, b"", &[], false),
        ] {
            assert_eq!(judge(family, sequence, data, octets).is_ok(), want, "{octets:?}");
        }
    }
}
