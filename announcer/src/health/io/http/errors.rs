//! The meaning of the errors of the HTTP libraries, in our own words.
//!
//! Pure, except for the types of the errors.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;

use crate::config::kind::handshake;
use crate::config::kind::http::{Failure, MalformedField};
use crate::health::io::result::{ProbeError, causes, errno_of, find, of_kind};
use crate::health::io::tls::{self, HandshakeProgress};
use crate::health::outcome::{Reason, TimeoutPhase};

/// The sentence for an unknown error.
const UNKNOWN: &str =
    "the connection failed for a reason that announcer does not know; the server's log may say more";

/// Whether the server sent data before the request, so that no request was sent.
pub(super) fn came_too_early(error: &reqwest::Error) -> bool {
    errno_of(error).is_none()
        && find::<h2::Error>(error).is_none()
        && last_of_hyper(error).is_some_and(is_of_early)
}

/// Whether the server has ended the connection, or has sent data before the request, without an answer to it. On a kept connection this
/// says nothing about the server (RFC 9112 §9.3.1, RFC 9113 §8.7).
pub(super) fn is_stale(error: &(dyn Error + 'static)) -> bool {
    match find::<h2::Error>(error) {
        Some(two) => two.is_io() || is_unprocessed(error),
        None => {
            let ended = [ProbeError::Fail(Reason::Closed), ProbeError::Fail(Reason::Reset)];
            ended.contains(&before_answer(error, &HandshakeProgress::default()))
                || last_of_hyper(error).is_some_and(is_of_early)
        }
    }
}

/// Whether the server has ended a connection of HTTP/2 in order before it processed the request (RFC 9113 §8.7), or before the request
/// was sent.
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    match find::<h2::Error>(error) {
        Some(two) => {
            let unprocessed = [h2::Reason::NO_ERROR, h2::Reason::REFUSED_STREAM];
            two.reason().is_some_and(|reason| unprocessed.contains(&reason))
        }
        None => last_of_hyper(error).is_some_and(|hyper| hyper.is_canceled() || hyper.is_closed()),
    }
}

fn is_of_early(hyper: &hyper::Error) -> bool {
    let known = hyper.is_parse() || hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed();
    !known && !hyper.is_user() && hyper.source().is_none()
}

fn last_of_hyper<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a hyper::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).last()
}

/// The meaning of an error before the header was complete.
pub(super) fn before_answer(error: &(dyn Error + 'static), seen: &HandshakeProgress) -> ProbeError {
    if let Some(library) = find::<reqwest::Error>(error).filter(|library| library.is_connect()) {
        if library.is_timeout() {
            return ProbeError::TimedOut(if seen.begun {
                TimeoutPhase::Handshake
            } else {
                TimeoutPhase::Connection
            });
        }
        if seen.begun {
            return tls::failed(error, seen);
        }
    }
    if let Some(trouble) = errno_of(error) {
        return trouble;
    }
    if let Some(two) = find::<h2::Error>(error) {
        return of_two(two, Reason::Closed);
    }
    // In TLS 1.3, a server rejects the client after the handshake.
    if find::<rustls::Error>(error).is_some() {
        return tls::failed(error, seen);
    }
    // The HTTP/2 library keeps the kind of a kernel error, but not its number.
    if of_kind(error, io::ErrorKind::ConnectionReset) {
        return ProbeError::Fail(Reason::Reset);
    }
    // If a server ends TLS without an alert, the error is an unexpected end.
    if of_kind(error, io::ErrorKind::UnexpectedEof) || of_kind(error, io::ErrorKind::BrokenPipe) {
        return ProbeError::Fail(Reason::Closed);
    }
    let negotiated = find::<legacy::Error>(error).and_then(legacy::Error::connect_info);
    ProbeError::Fail(match last_of_hyper(error) {
        Some(hyper) if hyper.is_parse() => of_parse(hyper).into(),
        Some(hyper) if hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed() => {
            Reason::Closed
        }
        Some(hyper) if is_of_early(hyper) => Failure::NotHttp.into(),
        // The request was not sent, because it is an HTTP/2 request and the connection does not use HTTP/2.
        None if negotiated.is_some_and(|connected| !connected.is_negotiated_h2()) => {
            handshake::Failure::NoProtocol.into()
        }
        Some(_) | None => Reason::Other(UNKNOWN),
    })
}

/// What is wrong with the header of an answer. Only the text of the library's error distinguishes the cases.
fn of_parse(hyper: &hyper::Error) -> Failure {
    if hyper.is_parse_too_large() {
        return Failure::HeaderTooLong;
    }
    match hyper.to_string().as_str() {
        // The library has read `HTTP/1.0 ` or `HTTP/1.1 ` by then. All other first octets are of an invalid version.
        "invalid HTTP status-code parsed" => Failure::MalformedStatusLine,
        // All other mistakes are tolerated, so this is the only one left. The error does not have the name of the field.
        "invalid HTTP header parsed" => Failure::Malformed(MalformedField::Any),
        "invalid content-length parsed" => Failure::Malformed(MalformedField::ContentLength),
        "unexpected transfer-encoding parsed" => Failure::Malformed(MalformedField::TransferEncoding),
        _ => Failure::NotHttp,
    }
}

/// The meaning of an error after the header.
pub(super) fn within_answer(error: &reqwest::Error) -> ProbeError {
    if let Some(two) = find::<h2::Error>(error) {
        return of_two(two, Failure::CutShort.into());
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        // A malformed chunk.
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => ProbeError::of(Failure::NotHttp),
        Some(_) | None => ProbeError::of(Failure::CutShort),
    }
}

/// Whether the server reset the connection. The kernel also sends a reset when a server closes the connection without reading our
/// request.
pub(super) fn is_reset(error: &reqwest::Error) -> bool {
    errno_of(error) == Some(ProbeError::Fail(Reason::Reset))
}

/// The meaning of an HTTP/2 error; `ended` is the reason if the connection has ended.
fn of_two(error: &h2::Error, ended: Reason) -> ProbeError {
    ProbeError::Fail(if error.is_io() {
        ended
    } else if error.is_library() {
        // An error that the library reports itself, and not the server.
        Failure::NotHttp2.into()
    } else {
        Reason::Other(error.reason().map_or(UNKNOWN, of_server))
    })
}

/// Why a server ended a stream or connection of HTTP/2, by its names in RFC 9113.
fn of_server(reason: h2::Reason) -> &'static str {
    match reason {
        h2::Reason::NO_ERROR => {
            "the server ended HTTP/2 without an answer (NO_ERROR): perhaps it is stopping"
        }
        h2::Reason::PROTOCOL_ERROR => {
            "the server refused the request over HTTP/2 (PROTOCOL_ERROR): see its log"
        }
        h2::Reason::INTERNAL_ERROR => "the server failed over HTTP/2 (INTERNAL_ERROR): see its log",
        h2::Reason::REFUSED_STREAM => {
            "the server accepts no request now (REFUSED_STREAM): it has too many, or it is stopping"
        }
        h2::Reason::CANCEL => "the server cancelled the request (CANCEL): see its log",
        h2::Reason::ENHANCE_YOUR_CALM => {
            "the server received too many requests (ENHANCE_YOUR_CALM): see its limits"
        }
        h2::Reason::INADEQUATE_SECURITY => {
            "the server requires other ciphers for HTTP/2 (INADEQUATE_SECURITY)"
        }
        h2::Reason::HTTP_1_1_REQUIRED => {
            "the server requires HTTP/1.1 for this request (HTTP_1_1_REQUIRED): write `http_version = \"1.1\"`"
        }
        _ => "the server ended HTTP/2 by an error: see its log, or write `http_version = \"1.1\"`",
    }
}
