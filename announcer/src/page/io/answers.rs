//! The answers to the requests of one page.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::state::state;
use super::stream::stream;
use super::{PATIENCE, PageContext, PageServer, STREAMS};
use crate::control::api::{self, ErrorCode};
use crate::control::http;
use crate::control::io as control;
use crate::control::io::serving::{AnswerBody, RequestStep};
use crate::director::ask::{Ask, ask};
use crate::metrics::io::is_for;
use crate::page::{self, HTML, PageRoute};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer to a request for a host that is not this listener's.
const OTHER_HOST: &str =
    "the Host of this request is neither an address nor `localhost` nor in `hosts` of `[status]`";

/// The policy of every answer.
pub(super) fn policy() -> HeaderValue {
    // It has no characters that a header cannot have.
    HeaderValue::try_from(page::policy()).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Answers one request.
pub(super) async fn respond(
    request: &Request<Incoming>,
    server: &PageServer,
    steps: &mpsc::Sender<RequestStep>,
) -> Response<AnswerBody> {
    // The receiver exists as long as the connection, here and below.
    let _ = steps.send(RequestStep::Received).await;
    let mut response = match admitted(request, &server.context) {
        Err(response) => *response,
        Ok(PageRoute::Events) if request.method() == Method::GET => {
            match server.streams.clone().try_acquire_owned() {
                Ok(place) => {
                    let (body, stuck) = stream(server, place);
                    let _ = steps.send(RequestStep::Streaming(stuck)).await;
                    with(StatusCode::OK, HeaderValue::from_static("text/event-stream"), body)
                }
                Err(_) => {
                    let text = format!(
                        "{STREAMS} pages already follow the events; this one may ask for `/api/status`"
                    );
                    error(ErrorCode::Busy, &text)
                }
            }
        }
        Ok(route) => match timeout(PATIENCE, answer(route, server)).await {
            Ok(response) => response,
            Err(_) => error(ErrorCode::Busy, "too many requests wait; try again"),
        },
    };
    secure(response.headers_mut(), &server.policy);
    let _ = steps.send(RequestStep::Answered).await;
    response
}

/// What is asked for, if it is answered.
fn admitted(
    request: &Request<Incoming>,
    context: &PageContext,
) -> Result<PageRoute, Box<Response<AnswerBody>>> {
    let names = context.control.configs.borrow().status.as_ref().map(|status| status.hosts.clone());
    if !is_for(request, &names.unwrap_or_default()) {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let body = AnswerBody::whole(Bytes::from_static(OTHER_HOST.as_bytes()));
        return Err(Box::new(with(StatusCode::MISDIRECTED_REQUEST, text, body)));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = error(ErrorCode::WrongMethod, "only GET and HEAD are supported");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Err(Box::new(response));
    }
    page::route(request.uri().path()).map_err(|(code, text)| Box::new(error(code, &text)))
}

async fn answer(route: PageRoute, server: &PageServer) -> Response<AnswerBody> {
    let Ok(_place) = server.answers.acquire().await else { return ending() };
    match route {
        PageRoute::Html => {
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            with(StatusCode::OK, html, AnswerBody::whole(Bytes::from_static(HTML.as_bytes())))
        }
        PageRoute::Events => {
            let kind = HeaderValue::from_static("text/event-stream");
            with(StatusCode::OK, kind, AnswerBody::whole(Bytes::new())) // of HEAD
        }
        PageRoute::Status => match state(&server.context).await {
            Some(text) => with(StatusCode::OK, JSON, AnswerBody::whole(text)),
            None => ending(),
        },
        PageRoute::Explain(vip) => match ask(&server.context.control.asks, Ask::Report).await {
            Some(report) => encoded(&control::explained(&server.context.control, &report, vip, None)),
            None => ending(),
        },
    }
}

fn encoded(response: &api::Response) -> Response<AnswerBody> {
    let (status, text) = http::encode(response).unwrap_or((500, Vec::new()));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with(status, JSON, AnswerBody::whole(text.into()))
}

fn error(code: ErrorCode, text: &str) -> Response<AnswerBody> {
    encoded(&api::Response::error(code, text))
}

fn ending() -> Response<AnswerBody> {
    error(ErrorCode::Ending, "announcer is ending")
}

fn with(status: StatusCode, kind: HeaderValue, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Forbids what the page does not need, and that it is kept, named to others, or shown within another page.
fn secure(headers: &mut HeaderMap, policy: &HeaderValue) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("content-security-policy"), policy.clone());
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
