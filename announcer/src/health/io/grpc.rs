//! The gRPC probe: one call of `grpc.health.v1.Health/Check` over HTTP/2.
//!
//! Touches the network. Each probe has its own connection: without TLS HTTP/2 by prior knowledge, over TLS by ALPN, as the protocol of
//! gRPC says. The connection is closed after the answer.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::{Reason as ErrorCode, RecvStream, client};
use http::{HeaderMap, Method, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::connect;
use super::prober::Prober;
use super::result::{self, ProbeError, ProbeSuccess};
use super::tls::{self, Handshake};
use crate::config::endpoint::Endpoint;
use crate::config::kind::grpc::{Answer, Failure, GrpcConfig};
use crate::config::kind::handshake;
use crate::health::Target;
use crate::health::grpc::{self, GrpcParts};
use crate::health::outcome::{Outcome, Reason, TimeoutPhase};
use crate::time_limit::io::within;

#[cfg(test)]
mod tests;

/// The largest header of an answer, in octets.
const MOST_HEADER: u32 = 16 * 1024;

/// A prepared probe of one address and port, which can be repeated.
#[derive(Debug)]
pub struct GrpcProbe {
    endpoint: Endpoint,
    config: GrpcConfig,
    /// For TLS; or the reason why there is no handshake.
    handshake: Option<Result<Handshake, handshake::Failure>>,
    timeout: Duration,
}

impl GrpcProbe {
    /// A probe of `grpc` at a target.
    pub fn of(prober: &Prober, target: &Target, grpc: &GrpcConfig) -> Self {
        let (timeout, host) = (target.config.timeout, &grpc.server.host);
        let endpoint = target.endpoint(grpc.server.port, Some(host.clone()));
        let handshake = grpc.certificate().map(|certificate| {
            Handshake::new(host, vec![b"h2".to_vec()], certificate, prober.trust(), timeout)
        });
        GrpcProbe { endpoint, config: grpc.clone(), handshake, timeout }
    }

    /// Makes one probe. If the future is dropped, the connection is closed.
    pub async fn probe(&self) -> Outcome {
        if let Some(Ok(handshake)) = &self.handshake {
            handshake.prepare().await;
        }
        let start = Instant::now();
        let mut waiting = TimeoutPhase::Connection;
        let ended = within(self.timeout, self.ask(&mut waiting)).await;
        result::outcome(ended, waiting, self.timeout, start.elapsed())
    }

    async fn ask(&self, waiting: &mut TimeoutPhase) -> Result<ProbeSuccess, ProbeError> {
        let Some(handshake) = &self.handshake else {
            let stream = connect(&self.endpoint).await?;
            return Ok(self.call(stream, waiting).await?.into());
        };
        let handshake = handshake.as_ref().map_err(|failure| ProbeError::of(failure.clone()))?;
        let connection = handshake.open(&self.endpoint, waiting).await?;
        if connection.stream.get_ref().1.alpn_protocol().is_none() {
            return Err(ProbeError::of(handshake::Failure::NoProtocol));
        }
        let answer = self.call(connection.stream, waiting).await?;
        Ok(ProbeSuccess { answer: answer.into(), warning: connection.warning.map(Into::into) })
    }

    async fn call(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        waiting: &mut TimeoutPhase,
    ) -> Result<Answer, ProbeError> {
        *waiting = TimeoutPhase::Answer;
        let mut builder = client::Builder::new();
        builder.enable_push(false).max_header_list_size(MOST_HEADER).initial_window_size(MOST_HEADER);
        let (sender, connection) =
            builder.handshake::<_, Bytes>(stream).await.map_err(|error| self.failed(&error))?;
        let answer = pin!(self.exchange(sender, waiting));
        beside(answer, connection).await
    }

    async fn exchange(
        &self,
        sender: client::SendRequest<Bytes>,
        waiting: &mut TimeoutPhase,
    ) -> Result<Answer, ProbeError> {
        let failed = |error: h2::Error| self.failed(&error);
        let mut sender = sender.ready().await.map_err(failed)?;
        let (response, mut body) = sender.send_request(self.request()?, false).map_err(failed)?;
        let message = grpc::request(self.config.service.as_deref());
        body.send_data(message.into(), true).map_err(failed)?;
        let (head, mut body) = response.await.map_err(failed)?.into_parts();
        *waiting = TimeoutPhase::Body;
        let (octets, trailers) = read(&mut body).await.map_err(failed)?;
        // An answer without data may have everything in its header.
        let fields = trailers.as_ref().unwrap_or(&head.headers);
        let field = |name: &str| fields.get(name).map(http::HeaderValue::as_bytes);
        grpc::judge(GrpcParts {
            http_status: head.status.as_u16(),
            status: field("grpc-status"),
            text: field("grpc-message"),
            body: &octets,
        })
        .map_err(ProbeError::of)
    }

    fn request(&self) -> Result<Request<()>, ProbeError> {
        let server = &self.config.server;
        let scheme = if server.tls { "https" } else { "http" };
        Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("{scheme}://{}{}", server.authority(), grpc::PATH))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("user-agent", concat!("announcer/", env!("CARGO_PKG_VERSION")))
            .body(())
            .map_err(|_| ProbeError::Fail(Reason::Other("the server's name cannot be used in a request")))
    }

    /// The meaning of an error of the library.
    fn failed(&self, error: &h2::Error) -> ProbeError {
        if let Some(error) = error.get_io() {
            return tls::stream_error(&self.endpoint, error);
        }
        if error.is_remote() {
            return match error.reason() {
                Some(ErrorCode::NO_ERROR) => ProbeError::Fail(Reason::Closed),
                Some(_) | None => ProbeError::of(Failure::Ended),
            };
        }
        match error.reason() {
            // The connection has ended in the middle of nothing.
            None | Some(ErrorCode::NO_ERROR) => ProbeError::Fail(Reason::Closed),
            Some(_) => ProbeError::of(Failure::NotHttp2),
        }
    }
}

/// Runs the exchange, and the connection beside it until the exchange has ended.
async fn beside<T>(
    exchange: impl Future<Output = T> + Unpin,
    connection: impl Future<Output = Result<(), h2::Error>>,
) -> T {
    match select(exchange, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // The exchange gets what has arrived, and then the error of the connection.
        Either::Right((_, exchange)) => exchange.await,
    }
}

/// The data, up to [`grpc::MOST`] octets, and the trailers.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut octets = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        octets.extend_from_slice(&data);
        if octets.len() > grpc::MOST {
            return Ok((octets, None));
        }
    }
    Ok((octets, body.trailers().await?))
}
