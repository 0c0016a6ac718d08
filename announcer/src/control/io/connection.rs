//! One client of the control API, from its connection to the end of its answer.
//!
//! Touches the unix socket and the clock.

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::net::UnixStream;
use tokio::net::unix::UCred;
use tokio::sync::{mpsc, oneshot};

use super::events::stream;
use super::serving::{AnswerBody, RequestStep, serve_client};
use super::{ControlContext, RequestSlots, STREAMS, answer};
use crate::control::admission::{self, OWN_PROGRAM};
use crate::control::api::{ApiError, ErrorCode, Request, Response};
use crate::control::http;
use crate::program::io::started_by_daemon;

/// A longer body of a request is refused.
const LONGEST_BODY: usize = 64 * 1024;
/// After an answer with more octets than this, memory is returned to the system.
const LARGE_ANSWER: usize = 64 * 1024;

/// Serves one client. It may be disconnected for another as long as its request is not there as a whole, be it half a head or half
/// a body.
pub(super) async fn serve_one(
    stream: UnixStream,
    let_go: oneshot::Receiver<()>,
    context: ControlContext,
    places: Arc<RequestSlots>,
) -> io::Result<()> {
    let caller = stream.peer_cred()?;
    serve_client(stream, let_go, &places.slow_readers, |request, steps| {
        let (context, places) = (context.clone(), places.clone());
        async move { respond(request, caller, &context, &places, &steps).await }
    })
    .await
}

/// Answers a request of a client.
async fn respond(
    request: hyper::Request<Incoming>,
    caller: UCred,
    context: &ControlContext,
    places: &RequestSlots,
    steps: &mpsc::Sender<RequestStep>,
) -> hyper::Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await;
    // The receiver exists as long as the connection, here and below.
    let _ = steps.send(RequestStep::Received).await;
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    // This reads `/proc`, so a client that sends only half a request does not cause it.
    let own_program = is_own_program(caller).await;
    let request = match (own_program, body) {
        (true, _) => Err(ApiError::new(ErrorCode::Forbidden, OWN_PROGRAM)),
        (false, Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let text = format!("the body is longer than {LONGEST_BODY} octets");
            Err(ApiError::new(ErrorCode::TooLarge, text))
        }
        (false, Err(error)) => {
            Err(ApiError::new(ErrorCode::BadRequest, format!("the body cannot be read: {error}")))
        }
        (false, Ok(body)) => http::route(head.method.as_str(), target, &body.to_bytes())
            .and_then(|request| admission::permitted(&request, caller.uid()).map(|()| request)),
    };
    let response = match request {
        Ok(Request::Events) => match places.streams.clone().try_acquire_owned() {
            Ok(place) => {
                let (body, stuck) = stream(context.history.clone(), place);
                let _ = steps.send(RequestStep::Streaming(stuck)).await;
                return with(200, "text/event-stream", body);
            }
            Err(_) => {
                let text = format!("{STREAMS} clients already follow the events; try again later");
                Response::error(ErrorCode::Busy, text)
            }
        },
        Ok(request) => answer(request, caller.uid(), context, places).await,
        Err(error) => Response::Error(error),
    };
    let (status, text) = http::encode(&response).unwrap_or((500, Vec::new()));
    drop(response);
    if text.len() > LARGE_ANSWER {
        context.trimmer.soon();
    }
    let _ = steps.send(RequestStep::Answered).await;
    with(status, "application/json", AnswerBody::whole(Bytes::from(text)))
}

fn with(status: u16, kind: &'static str, body: AnswerBody) -> hyper::Response<AnswerBody> {
    let mut response = hyper::Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the caller is a program of a check or a hook. If the daemon runs as root, it has the same user as operators, so the
/// parents of the caller's process decide.
async fn is_own_program(caller: UCred) -> bool {
    let daemon = nix::unistd::Uid::effective();
    let descends = match caller.pid() {
        Some(pid) if daemon.is_root() && caller.uid() == daemon.as_raw() => started_by_daemon(pid).await,
        Some(_) | None => false,
    };
    admission::is_own_program(caller.uid(), daemon.as_raw(), descends)
}
