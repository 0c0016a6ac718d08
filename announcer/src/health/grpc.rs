//! The messages of `grpc.health.v1.Health/Check`: the request, and what the answer says.
//!
//! Pure. The two messages of Protocol Buffers have one field each, so they are written and read here.
//!
//! ```text
//! message HealthCheckRequest  { string service = 1; }
//! message HealthCheckResponse { ServingStatus status = 1; }   0 UNKNOWN  1 SERVING  2 NOT_SERVING  3 SERVICE_UNKNOWN
//! ```

use crate::config::kind::grpc::{Answer, Failure};
use crate::model::text::PrintableText;

#[cfg(test)]
mod tests;

/// The path of the call.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// The longest body that is read, in octets. An answer has 7.
pub const MOST: usize = 4096;

/// The parts of an answer.
#[derive(Debug, Clone, Copy)]
pub struct GrpcParts<'a> {
    /// The status of HTTP.
    pub http_status: u16,
    /// The field `grpc-status`, of the trailers or, if there are none, of the header.
    pub status: Option<&'a [u8]>,
    /// The field `grpc-message`, from the same place.
    pub text: Option<&'a [u8]>,
    /// All data.
    pub body: &'a [u8],
}

/// The data of the request: one message behind its length.
pub fn request(service: Option<&str>) -> Vec<u8> {
    let mut message = Vec::new();
    if let Some(service) = service.filter(|service| !service.is_empty()) {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length > 0x7f {
            message.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
            length >>= 7;
        }
        message.push(u8::try_from(length).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &message].concat()
}

/// Whether an answer says SERVING.
///
/// # Errors
///
/// It says something else.
pub fn judge(parts: GrpcParts<'_>) -> Result<Answer, Failure> {
    if parts.http_status != 200 {
        return Err(Failure::Http(parts.http_status));
    }
    let status = parts.status.and_then(|status| std::str::from_utf8(status).ok()?.parse::<u32>().ok());
    match status {
        None => return Err(Failure::NotGrpc),
        Some(0) => {}
        Some(code) => {
            let text = percent_encoding::percent_decode(parts.text.unwrap_or_default());
            return Err(Failure::CallFailed { code, text: PrintableText::new(&text.decode_utf8_lossy()) });
        }
    }
    match message(parts.body).and_then(state) {
        None => Err(Failure::NotGrpc),
        Some(1) => Ok(Answer::Serving),
        Some(other) => Err(Failure::NotServing(PrintableText::new(&match other {
            0 => "UNKNOWN".to_owned(),
            2 => "NOT_SERVING".to_owned(),
            3 => "SERVICE_UNKNOWN".to_owned(),
            number => number.to_string(),
        }))),
    }
}

/// The message of a body: behind a zero (not compressed) and its length; `None`: there is not exactly one.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (&[compressed, a, b, c, d], message) = body.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    (compressed == 0 && message.len() == length).then_some(message)
}

/// The field 1 of a message, which is 0 if it is not there; `None`: the message cannot be read. Other fields are skipped.
fn state(mut message: &[u8]) -> Option<u64> {
    let mut state = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let skipped = match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == 1 {
                    state = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(state)
}

/// A number in groups of 7 bits, the lowest first, 10 octets at most.
fn varint(octets: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (first, rest) = octets.split_first()?;
        *octets = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
