//! What the errors of the HTTP library mean.
//!
//! Pure, but for the errors' types.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;

use super::other;
use crate::health::io::tls::{self, Seen};
use crate::health::io::trouble::{Trouble, causes, errno_of, find, innermost, of_kind};
use crate::health::outcome::{Reason, Waiting};

/// What an error means that came before a whole header did.
pub(super) fn before_answer(error: &reqwest::Error, seen: Seen) -> Trouble {
    if error.is_connect() && error.is_timeout() {
        return Trouble::TimedOut(if seen.begun { Waiting::Handshake } else { Waiting::Connection });
    }
    if error.is_connect() && seen.begun {
        return tls::failed(error, seen);
    }
    if let Some(trouble) = errno_of(error) {
        return trouble;
    }
    if let Some(two) = find::<h2::Error>(error) {
        return of_two(two, Reason::Closed);
    }
    // HTTP/2 keeps the kind of what the kernel says, and not its number.
    if of_kind(error, io::ErrorKind::ConnectionReset) {
        return Trouble::Fail(Reason::Reset);
    }
    // A server that ends TLS without a word does so by an end that was not expected.
    if of_kind(error, io::ErrorKind::UnexpectedEof) || of_kind(error, io::ErrorKind::BrokenPipe) {
        return Trouble::Fail(Reason::Closed);
    }
    let negotiated = find::<legacy::Error>(error).and_then(legacy::Error::connect_info);
    Trouble::Fail(match causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).last() {
        Some(hyper) if hyper.is_parse() => Reason::NotHttp,
        Some(hyper) if hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed() => {
            Reason::Closed
        }
        // It has spoken before it was asked.
        Some(hyper) if hyper.source().is_none() && !hyper.is_user() => Reason::NotHttp,
        // The request was not sent: it is one of HTTP/2, and the connection is not.
        None if negotiated.is_some_and(|connected| !connected.is_negotiated_h2()) => Reason::NoProtocol,
        Some(_) | None => other(&innermost(error)),
    })
}

/// What an error means that came after the header.
pub(super) fn within_answer(error: &reqwest::Error) -> Trouble {
    if let Some(two) = find::<h2::Error>(error) {
        return of_two(two, Reason::CutShort);
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        // A chunk that is none.
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Trouble::Fail(Reason::NotHttp),
        Some(_) | None => Trouble::Fail(Reason::CutShort),
    }
}

/// What an error of HTTP/2 means; `ended`: what it means that the connection is gone.
fn of_two(error: &h2::Error, ended: Reason) -> Trouble {
    Trouble::Fail(if error.is_io() {
        ended
    } else if error.is_library() {
        // What the library itself objects to, and not the server.
        Reason::NotHttp2
    } else {
        other(&error.to_string())
    })
}
