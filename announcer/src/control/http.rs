//! The control API as HTTP: method, path and body become a [`Request`], and a [`Response`] becomes a status code and JSON. The
//! command line uses the same table in the other direction.
//!
//! Pure. `openapi.json` describes every operation; a test compares it with [`OPERATIONS`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::api::{
    ApiError, ChainOrder, ErrorBody, ErrorCode, Notes, Numbered, OPENAPI, Request, Response, Scope,
};
use super::orders::{DrainOrder, UndrainOrder};
use crate::takeover::successor::Successor;

/// What a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The state of the daemon.
    Status,
    /// The explanation of a VIP.
    ExplainVip,
    /// The explanation of a router.
    ExplainPeer,
    /// Drains services.
    Drain,
    /// Ends drains.
    Undrain,
    /// The waits for drains.
    Waits,
    /// Probes at once.
    Recheck,
    /// Reads the configuration again.
    Reload,
    /// Replaces the running program.
    Upgrade,
    /// Changes the level of the log.
    Log,
    /// The last changes.
    History,
    /// The chain.
    Chain,
    /// The VIPs of the whole site.
    Site,
    /// Switches the forwarding off or on.
    SwitchChain,
    /// The changes from now on.
    Events,
    /// The description of the API.
    OpenApi,
}

/// Each operation with its method and path. A part of a path in braces is a parameter.
pub const OPERATIONS: [(Operation, &str, &str); 16] = [
    (Operation::Status, "GET", "/v1/status"),
    (Operation::ExplainVip, "GET", "/v1/explain/vip/{address}"),
    (Operation::ExplainPeer, "GET", "/v1/explain/peer/{name}"),
    (Operation::Drain, "POST", "/v1/drains"),
    (Operation::Undrain, "POST", "/v1/undrains"),
    (Operation::Waits, "GET", "/v1/waits"),
    (Operation::Recheck, "POST", "/v1/recheck"),
    (Operation::Reload, "POST", "/v1/reload"),
    (Operation::Upgrade, "POST", "/v1/upgrade"),
    (Operation::Log, "POST", "/v1/log"),
    (Operation::History, "GET", "/v1/history"),
    (Operation::Chain, "GET", "/v1/chain"),
    (Operation::Site, "GET", "/v1/chain/vips"),
    (Operation::SwitchChain, "POST", "/v1/chain"),
    (Operation::Events, "GET", "/v1/events"),
    (Operation::OpenApi, "GET", "/v1/openapi.json"),
];

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// JSON; empty with `GET`.
    pub body: Vec<u8>,
}

/// The body of a request for services.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    services: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<bool>,
}

/// The body of an upgrade; it may be left out.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UpgradeBody {
    previous: bool,
    force: bool,
}

/// The body of a reload; it may be left out.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadBody {
    #[serde(default)]
    force: bool,
    #[serde(default)]
    dry_run: bool,
}

/// The body of a change of the log's level.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogBody {
    filter: String,
    seconds: u64,
}

impl ScopeBody {
    fn of(scope: &Scope) -> Self {
        match scope {
            Scope::All => ScopeBody { services: None, all: Some(true) },
            Scope::Services(names) => ScopeBody { services: Some(names.clone()), all: None },
        }
    }

    fn scope(self) -> Result<Scope, ApiError> {
        match (self.services, self.all.unwrap_or_default()) {
            (None, true) => Ok(Scope::All),
            (Some(names), false) if !names.is_empty() => Ok(Scope::Services(names)),
            (None | Some(_), _) => Err(bad("write either `\"services\": [\"NAME\"]` or `\"all\": true`")),
        }
    }
}

fn bad(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, text)
}

/// The request of a method, a target (path and query) and a body.
///
/// # Errors
/// The error to answer with: an unknown path, a wrong method, or a wrong parameter or body.
pub fn route(method: &str, target: &str, body: &[u8]) -> Result<Request, ApiError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fitting = || OPERATIONS.iter().filter(|(_, _, template)| fits(template, path));
    let Some((operation, ..)) = fitting().find(|(_, with, _)| *with == method) else {
        let methods: Vec<&str> = fitting().map(|(_, with, _)| *with).collect();
        return Err(match methods.as_slice() {
            [_, ..] => {
                let text = format!("`{}` is only for {}", shown(path), methods.join(" and "));
                ApiError::new(ErrorCode::WrongMethod, text)
            }
            [] => {
                let text = format!("there is no `{}`; `/v1/openapi.json` lists the paths", shown(path));
                ApiError::new(ErrorCode::UnknownPath, text)
            }
        });
    };
    let last = decoded(path.rsplit('/').next().unwrap_or_default())?;
    let mut query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        url::form_urlencoded::parse(query.as_bytes()).collect();
    let mut parameter = |name: &str| {
        let place = query.iter().position(|(known, _)| known == name)?;
        Some(query.remove(place).1.into_owned())
    };
    let request = match operation {
        Operation::Status => Request::Status,
        Operation::ExplainVip => {
            let vip = last.parse().map_err(|_| bad(format!("`{}` is not an address", shown(&last))))?;
            Request::Explain { vip, peer: parameter("peer") }
        }
        Operation::ExplainPeer => Request::ExplainPeer { peer: last },
        Operation::Drain => {
            only_fields(body, DrainOrder::has_field)?;
            Request::Drain(json(body)?)
        }
        Operation::Undrain => {
            only_fields(body, UndrainOrder::has_field)?;
            Request::Undrain(json(body)?)
        }
        Operation::Waits => Request::Waits,
        Operation::Recheck => Request::Recheck { what: json::<ScopeBody>(body)?.scope()? },
        Operation::Reload if body.is_empty() => Request::Reload { force: false, dry_run: false },
        Operation::Reload => {
            let ReloadBody { force, dry_run } = json(body)?;
            Request::Reload { force, dry_run }
        }
        Operation::Upgrade if body.is_empty() => {
            Request::Upgrade { successor: Successor::Installed, force: false }
        }
        Operation::Upgrade => {
            let UpgradeBody { previous, force } = json(body)?;
            let successor = if previous { Successor::Previous } else { Successor::Installed };
            Request::Upgrade { successor, force }
        }
        Operation::Log => {
            let LogBody { filter, seconds } = json(body)?;
            Request::Log { filter, seconds }
        }
        Operation::History => {
            let limit = parameter("limit").map(|limit| {
                limit.parse().map_err(|_| bad(format!("`limit` is not a number: `{}`", shown(&limit))))
            });
            Request::History { limit: limit.transpose()? }
        }
        Operation::Chain => Request::Chain,
        Operation::Site => Request::Site,
        Operation::SwitchChain => Request::SwitchChain(json::<ChainOrder>(body)?),
        Operation::Events => Request::Events,
        Operation::OpenApi => Request::OpenApi,
    };
    match query.first() {
        Some((name, _)) => Err(bad(format!("`{}` has no parameter `{}`", shown(path), shown(name)))),
        None => Ok(request),
    }
}

/// Text of a client for a message: short, on one line.
fn shown(text: &str) -> String {
    crate::model::text::one_line(text, crate::model::text::LINE)
}

fn decoded(part: &str) -> Result<String, ApiError> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| bad(format!("`{}` is not UTF-8", shown(part))))
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body is not as expected: {error}")))
}

/// Refuses an object with a field that has no meaning.
fn only_fields(body: &[u8], has_field: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    let object: BTreeMap<String, IgnoredAny> = json(body)?;
    match object.keys().find(|name| !has_field(name)) {
        Some(name) => Err(bad(format!("the body is not as expected: unknown field `{}`", shown(name)))),
        None => Ok(()),
    }
}

/// Whether a path fits a template.
fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(want, part)| want == part || (want.starts_with('{') && !part.is_empty()))
}

/// The method and path of a request; [`route`] leads back to it.
pub fn call(request: &Request) -> HttpCall {
    let text = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (operation, parameter, query, body) = match request {
        Request::Status => (Operation::Status, String::new(), String::new(), None),
        Request::Drain(order) => {
            (Operation::Drain, String::new(), String::new(), serde_json::to_vec(order).ok())
        }
        Request::Undrain(order) => {
            (Operation::Undrain, String::new(), String::new(), serde_json::to_vec(order).ok())
        }
        Request::Waits => (Operation::Waits, String::new(), String::new(), None),
        Request::Recheck { what } => {
            let body = serde_json::to_vec(&ScopeBody::of(what)).ok();
            (Operation::Recheck, String::new(), String::new(), body)
        }
        Request::Explain { vip, peer } => {
            let query = peer.as_ref().map(|peer| format!("?peer={}", text(peer))).unwrap_or_default();
            (Operation::ExplainVip, vip.to_string(), query, None)
        }
        Request::ExplainPeer { peer } => (Operation::ExplainPeer, text(peer), String::new(), None),
        Request::Reload { force, dry_run } => {
            let body = serde_json::to_vec(&ReloadBody { force: *force, dry_run: *dry_run }).ok();
            (Operation::Reload, String::new(), String::new(), body)
        }
        Request::Upgrade { successor, force } => {
            let body = UpgradeBody { previous: *successor == Successor::Previous, force: *force };
            (Operation::Upgrade, String::new(), String::new(), serde_json::to_vec(&body).ok())
        }
        Request::Log { filter, seconds } => {
            let body = serde_json::to_vec(&LogBody { filter: filter.clone(), seconds: *seconds }).ok();
            (Operation::Log, String::new(), String::new(), body)
        }
        Request::History { limit } => {
            let query = limit.map(|limit| format!("?limit={limit}")).unwrap_or_default();
            (Operation::History, String::new(), query, None)
        }
        Request::Chain => (Operation::Chain, String::new(), String::new(), None),
        Request::Site => (Operation::Site, String::new(), String::new(), None),
        Request::SwitchChain(order) => {
            (Operation::SwitchChain, String::new(), String::new(), serde_json::to_vec(order).ok())
        }
        Request::Events => (Operation::Events, String::new(), String::new(), None),
        Request::OpenApi => (Operation::OpenApi, String::new(), String::new(), None),
    };
    let known = OPERATIONS.iter().find(|(known, ..)| *known == operation);
    let (method, template) = known.map_or(("GET", "/"), |(_, method, template)| (*method, *template));
    let path = template.split_once('{').map_or(template, |(path, _)| path);
    HttpCall { method, target: format!("{path}{parameter}{query}"), body: body.unwrap_or_default() }
}

/// The status code and the body of an answer.
///
/// # Errors
/// When a number cannot be written as JSON, which does not happen.
pub fn encode(response: &Response) -> serde_json::Result<(u16, Vec<u8>)> {
    let body = match response {
        Response::Status { status } => serde_json::to_vec(&Numbered::new(status)),
        Response::Vip(details) => serde_json::to_vec(&Numbered::new(details)),
        Response::Peer(details) => serde_json::to_vec(&Numbered::new(details)),
        Response::History(changes) => serde_json::to_vec(&Numbered::new(changes)),
        Response::Waits(waits) => serde_json::to_vec(&Numbered::new(waits)),
        Response::Chain(chain) => serde_json::to_vec(&Numbered::new(chain)),
        Response::Site(site) => serde_json::to_vec(&Numbered::new(site)),
        Response::Done { notes } => serde_json::to_vec(&Numbered::new(Notes { notes: notes.clone() })),
        Response::OpenApi => Ok(OPENAPI.as_bytes().to_vec()),
        Response::Error(error) => serde_json::to_vec(&Numbered::new(ErrorBody { error: error.clone() })),
    };
    let status = match response {
        Response::Error(error) => error.code.status(),
        Response::Status { .. }
        | Response::Vip(_)
        | Response::Peer(_)
        | Response::History(_)
        | Response::Waits(_)
        | Response::Chain(_)
        | Response::Site(_)
        | Response::Done { .. }
        | Response::OpenApi => 200,
    };
    Ok((status, body?))
}

/// The answer to `request`, from its status code and body.
///
/// # Errors
/// When the body is not that of such an answer.
pub fn decode(request: &Request, status: u16, body: &[u8]) -> serde_json::Result<Response> {
    if status != 200 {
        return Ok(Response::Error(answer::<ErrorBody>(body)?.error));
    }
    Ok(match request {
        Request::Status => Response::Status { status: Box::new(answer(body)?) },
        Request::Explain { .. } => Response::Vip(Box::new(answer(body)?)),
        Request::ExplainPeer { .. } => Response::Peer(Box::new(answer(body)?)),
        Request::History { .. } => Response::History(answer(body)?),
        Request::Waits => Response::Waits(answer(body)?),
        Request::Chain => Response::Chain(Box::new(answer(body)?)),
        Request::Site => Response::Site(Box::new(answer(body)?)),
        Request::Drain { .. }
        | Request::Undrain { .. }
        | Request::Recheck { .. }
        | Request::SwitchChain(_)
        | Request::Log { .. }
        | Request::Upgrade { .. }
        | Request::Reload { .. } => Response::Done { notes: answer::<Notes>(body)?.notes },
        Request::Events | Request::OpenApi => Response::OpenApi,
    })
}

fn answer<'a, T: Deserialize<'a>>(body: &'a [u8]) -> serde_json::Result<T> {
    Ok(serde_json::from_slice::<Numbered<T>>(body)?.answer)
}

#[cfg(test)]
mod tests;
