//! Sends one HTTP request to a daemon's unix socket.
//!
//! Touches the socket. announcer's command line uses this too.

use std::io;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Sends a request on a connection, and returns the answer. `target` is the path, with its query; `body` is JSON, and may be empty.
/// A body of the answer with more than `longest` octets is an error. There is no time limit.
///
/// # Errors
/// When the connection fails, or the answer is not HTTP or too long.
pub async fn send(
    stream: UnixStream,
    method: Method,
    target: &str,
    body: Vec<u8>,
    longest: usize,
) -> io::Result<HttpReply> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| plain(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| plain(&error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), longest).collect().await.map_err(io::Error::other)?;
        Ok(HttpReply { status, body: body.to_bytes().to_vec() })
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        reply = &mut exchange => reply,
        // The connection may end before the rest of the answer was read from it.
        _ = connection => exchange.await,
    }
}

/// The error of the system, if there is one; else that of hyper.
fn plain(error: &hyper::Error) -> io::Error {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => cause
            .raw_os_error()
            .map_or_else(|| io::Error::new(cause.kind(), cause.to_string()), io::Error::from_raw_os_error),
        None if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            io::Error::from(io::ErrorKind::UnexpectedEof)
        }
        None => io::Error::other(error.to_string()),
    }
}
