//! One request to a server that answers before it gets the request, as small scripts behind inetd do.
//!
//! Touches the network. hyper accepts no answer on a connection on which it has not sent a request yet, and reqwest has no setting
//! for this. So the result depended on whether the answer or the request came first. The request to such a server is therefore
//! repeated over our own connection, which passes the answer to hyper only after the request was sent. The first connection has
//! sent nothing. See docs/decisions/0014.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::Uri;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::header::HOST;
use reqwest::{Body, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{authority, errors};
use crate::config::endpoint::Endpoint;
use crate::config::kind;
use crate::config::kind::handshake::Warning;
use crate::health::io::connect::connect;
use crate::health::io::result::ProbeError;
use crate::health::io::tls::{Handshake, HandshakeProgress};
use crate::health::io::trust::TrustStore;
use crate::health::outcome::{Reason, TimeoutPhase};

/// The second try for a server that answers early.
#[derive(Debug)]
pub(super) struct EarlyProbe {
    endpoint: Endpoint,
    /// None without TLS.
    handshake: Option<Handshake>,
}

impl EarlyProbe {
    /// It uses the same endpoint as the library, and the same rules for certificates.
    pub(super) fn new(
        http: &kind::http::HttpConfig,
        endpoint: &Endpoint,
        timeout: Duration,
        store: &TrustStore,
    ) -> Result<Self, Reason> {
        let handshake = match (http.certificate(), &endpoint.host) {
            (Some(certificate), Some(host)) => {
                let one = vec![b"http/1.1".to_vec()];
                Some(Handshake::new(host, one, certificate, store, timeout)?)
            }
            (Some(_) | None, _) => None,
        };
        Ok(EarlyProbe { endpoint: endpoint.clone(), handshake })
    }

    /// Sends the request, and accepts the answer at any time.
    pub(super) async fn ask(
        &self,
        request: Request,
        waiting: &mut TimeoutPhase,
    ) -> Result<(Response, Option<Warning>), ProbeError> {
        let Some(handshake) = &self.handshake else {
            *waiting = TimeoutPhase::Connection;
            let tcp = connect(&self.endpoint).await?;
            *waiting = TimeoutPhase::Answer;
            return Ok((send(tcp, request).await?, None));
        };
        let shaken = handshake.open(&self.endpoint, waiting).await?;
        *waiting = TimeoutPhase::Answer;
        Ok((send(shaken.stream, request).await?, shaken.warning))
    }
}

async fn send(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request,
) -> Result<Response, ProbeError> {
    let host = authority(request.url()).map_err(ProbeError::Fail)?;
    request.headers_mut().entry(HOST).or_insert(host);
    let mut request = http::Request::<Body>::try_from(request)
        .map_err(|_| ProbeError::Fail(Reason::Other("the URL cannot be requested over HTTP")))?;
    // A request to the server itself has only the path of the URL (RFC 9112 §3.2.1).
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let failed = |error: hyper::Error| errors::before_answer(&error, &HandshakeProgress::default());
    let (mut sender, connection) = http1::Builder::new()
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(TokioIo::new(SendFirstStream::new(io)))
        .await
        .map_err(failed)?;
    tokio::spawn(connection); // it ends with the answer and its body, or when they are dropped
    let answer = sender.send_request(request).await.map_err(failed)?;
    Ok(answer.map(Body::wrap).into())
}

/// A connection that returns no data until something was written. When nothing more can be written, the rest is read, because it
/// may contain the answer.
pub(super) struct SendFirstStream<T> {
    io: T,
    progress: SendProgress,
    /// Whether data was read since the request began.
    received: bool,
    /// The task that waits for data.
    waker: Option<Waker>,
}

/// What was written to the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SendProgress {
    Nothing,
    Something,
    /// The server accepts no more data.
    InVain,
}

impl<T> SendFirstStream<T> {
    pub(super) fn new(io: T) -> Self {
        SendFirstStream { io, progress: SendProgress::Nothing, received: false, waker: None }
    }

    /// Whether something was written, so that a request was sent before.
    pub(super) fn is_sent(&self) -> bool {
        self.progress != SendProgress::Nothing
    }

    /// Whether a part of what was written was lost.
    pub(super) fn is_in_vain(&self) -> bool {
        self.progress == SendProgress::InVain
    }

    /// Whether data was read since the request began.
    pub(super) fn has_received(&self) -> bool {
        self.received
    }

    /// Another request begins.
    pub(super) fn begin_request(&mut self) {
        self.received = false;
    }

    fn record(&mut self, progress: SendProgress) {
        self.progress = progress;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for SendFirstStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.progress == SendProgress::Nothing {
            self.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        self.received |= buffer.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for SendFirstStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.progress == SendProgress::InVain {
            return Poll::Ready(Ok(data.len()));
        }
        match ready!(Pin::new(&mut self.io).poll_write(context, data)) {
            Ok(written) => {
                self.record(SendProgress::Something);
                Poll::Ready(Ok(written))
            }
            Err(_) => {
                self.record(SendProgress::InVain);
                Poll::Ready(Ok(data.len()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.progress != SendProgress::InVain
            && ready!(Pin::new(&mut self.io).poll_flush(context)).is_err()
        {
            self.record(SendProgress::InVain);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A connection with an answer, whose flush works or fails.
    struct Answered {
        flushes: bool,
        flushed: usize,
    }

    impl AsyncRead for Answered {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(b"x");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Answered {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed += 1;
            Poll::Ready(if self.flushes { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) })
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_flush_that_fails_lets_the_answer_be_read_and_one_that_works_does_not() {
        for (flushes, flushed, is_read) in [(true, 2, false), (false, 1, true)] {
            let mut stream = SendFirstStream::new(Answered { flushes, flushed: 0 });
            for _ in 0..2 {
                stream.flush().await.unwrap();
            }
            assert_eq!(stream.io.flushed, flushed, "nothing is flushed in vain twice");
            let mut octet = [0];
            let read = tokio::time::timeout(Duration::ZERO, stream.read(&mut octet)).await;
            assert_eq!(read.is_ok(), is_read);
        }
    }
}
