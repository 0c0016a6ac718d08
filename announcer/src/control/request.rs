//! Converts a request to a job for the daemon's tasks, or to a refusal.
//!
//! Pure.

use std::net::IpAddr;
use std::time::Duration;

use super::api::{ApiError, ErrorCode, Request, Response, Scope};
use super::names;
use crate::config::Config;
use crate::drain::{self, Drain, DrainChange, Drains};
use crate::log::level::LevelOrder;

/// The job of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A job that is answered at once.
    Query(Query),
    /// A job that waits for files or routers.
    Command(Command),
    /// The changes from now on, until the client ends.
    Events,
}

/// A job that is answered at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The state of the daemon.
    Status,
    /// Explain the state of a VIP, for one router or for all.
    Explain {
        /// The VIP.
        vip: IpAddr,
        /// The router; `None`: all.
        peer: Option<String>,
    },
    /// Explain the state of a router and its session.
    ExplainPeer {
        /// The router.
        peer: String,
    },
    /// The last changes.
    History {
        /// How many at most; `None`: all.
        limit: Option<usize>,
    },
    /// The description of the API.
    OpenApi,
    /// Probe services at once.
    Recheck {
        /// The services; `None`: all.
        services: Option<Vec<String>>,
        /// The text of the answer.
        note: String,
    },
}

/// A job that waits for files or routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Change the drains.
    Drain {
        /// The change.
        change: DrainChange,
        /// How long to wait for the routers; `None`: not at all.
        wait: Option<Duration>,
    },
    /// Use another level of the log for some time.
    Log(LevelOrder),
    /// Read the configuration again.
    Reload {
        /// Whether it is made, and under which condition.
        mode: ReloadMode,
    },
}

/// Whether a reload is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadMode {
    /// Unless it withdraws every VIP or ends every session.
    Careful,
    /// In any case.
    Forced,
    /// It is not made: the answer says what it would change.
    DryRun,
}

/// The job of a request. `by` and `at` are the operator and the time, for a drain file.
///
/// # Errors
/// The refusal, if the request contains an unknown name or a wrong value.
pub fn job(
    request: Request,
    by: String,
    at: String,
    config: &Config,
    drains: &Drains,
) -> Result<Job, ApiError> {
    let unknown = |text: String| ApiError::new(ErrorCode::UnknownName, text);
    Ok(match request {
        Request::Status => Job::Query(Query::Status),
        Request::History { limit } => Job::Query(Query::History { limit }),
        Request::OpenApi => Job::Query(Query::OpenApi),
        Request::Events => Job::Events,
        Request::Explain { vip, peer } => Job::Query(Query::Explain { vip, peer }),
        Request::ExplainPeer { peer } => Job::Query(Query::ExplainPeer { peer }),
        Request::Log { filter, seconds } => {
            let order = LevelOrder::new(&filter, Duration::from_secs(seconds));
            let order = order.map_err(|text| ApiError::new(ErrorCode::BadRequest, text))?;
            Job::Command(Command::Log(order))
        }
        Request::Reload { dry_run: true, .. } => Job::Command(Command::Reload { mode: ReloadMode::DryRun }),
        Request::Reload { force: true, .. } => Job::Command(Command::Reload { mode: ReloadMode::Forced }),
        Request::Reload { .. } => Job::Command(Command::Reload { mode: ReloadMode::Careful }),
        Request::Drain { what, reason, by: _, wait_ms } => {
            let names = drain_names(&what, &service_names(config)).map_err(unknown)?;
            let reason = reason.map(|reason| drain::reason(&reason)).transpose();
            let reason = reason.map_err(|text| ApiError::new(ErrorCode::BadRequest, text))?;
            let change = DrainChange::Drain { names, drain: Drain { reason, by: Some(by), at: Some(at) } };
            Job::Command(Command::Drain { change, wait: wait_ms.map(Duration::from_millis) })
        }
        Request::Undrain { what } => {
            // A service that the configuration no longer names may still have its drain file.
            let mut known = service_names(config);
            known.extend(drains.named.keys().map(String::as_str).filter(|name| !config.names(name)));
            let names = drain_names(&what, &known).map_err(unknown)?;
            Job::Command(Command::Drain { change: DrainChange::Undrain { names }, wait: None })
        }
        Request::Recheck { what } => {
            drain_names(&what, &service_names(config)).map_err(unknown)?;
            Job::Query(match what {
                Scope::All => Query::Recheck { services: None, note: "every service is probed now".into() },
                Scope::Services(names) => {
                    let note = format!("probed now: {}", names.join(", "));
                    Query::Recheck { services: Some(names), note }
                }
            })
        }
    })
}

/// The names of the services, in the order of the configuration.
pub fn service_names(config: &Config) -> Vec<&str> {
    config.services.iter().map(|service| service.name.as_str()).collect()
}

/// The drain files of a scope.
///
/// # Errors
/// A sentence, if a name is not one of `known`, or if there is no name.
pub fn drain_names(what: &Scope, known: &[impl AsRef<str>]) -> Result<Vec<String>, String> {
    match what {
        Scope::All => Ok(vec![drain::ALL.to_owned()]),
        Scope::Services(names) if names.is_empty() => Err("error: name a service, or `--all`".into()),
        Scope::Services(names) => {
            match names.iter().find(|name| known.iter().all(|one| one.as_ref() != name.as_str())) {
                None => {
                    let mut once: Vec<String> = Vec::new();
                    for name in names {
                        if !once.contains(name) {
                            once.push(name.clone());
                        }
                    }
                    Ok(once)
                }
                Some(name) => Err(names::unknown("service", name, known.iter().map(AsRef::as_ref))),
            }
        }
    }
}

/// The operator: the user of the socket's client, as `user` or as its number, and the name that sudo has kept.
pub fn who(uid: u32, user: Option<String>, claimed: Option<String>) -> String {
    let name = user.unwrap_or_else(|| format!("uid {uid}"));
    match claimed {
        Some(claimed) if uid == 0 && claimed != name => format!("{claimed} (sudo)"),
        Some(_) | None => name,
    }
}

/// The notes of an undrain: the names that had no drain file (`absent`), and the services that stay drained.
pub fn undrain_notes(
    names: &[String],
    absent: &[String],
    drains: &Drains,
    services: &[crate::model::ServiceName],
) -> Vec<String> {
    let mut notes: Vec<String> = absent
        .iter()
        .map(|name| match name.as_str() {
            drain::ALL => "there was no drain of all services".to_owned(),
            name => format!("{name} was not drained by name"),
        })
        .collect();
    let is_named = |service: &str| names.iter().any(|name| [drain::ALL, service].contains(&name.as_str()));
    for service in services.iter().filter(|service| is_named(service.as_str())) {
        if let Some(drain) = drains.of(service) {
            let command = if drains.named.contains_key(service.as_str()) {
                format!("announcer undrain {service}")
            } else {
                "announcer undrain --all".to_owned()
            };
            notes.push(format!("{service} stays drained{drain}; `{command}` ends that"));
        }
    }
    notes
}

/// How a wait for the routers ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitResult {
    /// Every established peer's kernel has acknowledged the change, and `settle` has passed for its FIB.
    Settled,
    /// The time limit was reached; these established peers have not acknowledged. Empty: all have, but `settle` had not passed.
    TimeIsUp(Vec<String>),
}

/// The answer of a `drain --wait`.
pub fn wait_response(waited: &WaitResult, settle: Duration) -> Response {
    let settle = humantime::format_duration(settle);
    match waited {
        WaitResult::Settled => Response::Done { notes: Vec::new() },
        WaitResult::TimeIsUp(peers) if peers.is_empty() => Response::error(
            ErrorCode::Timeout,
            format!(
                "drained and acknowledged by the routers' kernels, but their forwarding tables had no time to follow; set \
                 `--timeout` to more than `settle`, {settle}"
            ),
        ),
        WaitResult::TimeIsUp(peers) => Response::error(
            ErrorCode::Timeout,
            format!("drained, but not acknowledged by {} in time", peers.join(", ")),
        ),
    }
}

#[cfg(test)]
mod tests;
