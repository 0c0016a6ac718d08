//! Converts a request to a job for the daemon's tasks, or to a refusal.
//!
//! Pure.

use std::net::IpAddr;
use std::time::Duration;

use super::api::{ApiError, ErrorCode, Request, Scope};
use super::orders::{DrainJob, OrderError, OrderFacts};
use super::{chain, names};
use crate::chain::status::OffOrder;
use crate::config::Config;
use crate::drain::Drains;
use crate::log::level::LevelOrder;
use crate::takeover::successor::Successor;

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
    /// The waits for drains.
    Waits,
    /// The chain.
    Chain,
    /// The VIPs of the whole site.
    Site,
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
    Drain(Box<DrainJob>),
    /// Forward nothing from this host, or with `None` forward again.
    Chain(Option<OffOrder>),
    /// Use another level of the log for some time.
    Log(LevelOrder),
    /// Replace the running program.
    Upgrade {
        /// By which file.
        successor: Successor,
        /// Also if a router may take the pause for a failure.
        force: bool,
    },
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

/// The job of a request. `facts` are of the client, for a drain file.
///
/// # Errors
/// The refusal, if the request contains an unknown name or a wrong value.
pub fn job(request: Request, facts: OrderFacts, config: &Config, drains: &Drains) -> Result<Job, ApiError> {
    let unknown = |text: String| ApiError::new(ErrorCode::UnknownName, text);
    let meaningless = |error: OrderError| match error {
        OrderError::Unknown(text) => ApiError::new(ErrorCode::UnknownName, text),
        OrderError::Wrong(text) => ApiError::new(ErrorCode::BadRequest, text),
    };
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
        Request::Upgrade { successor, force } => Job::Command(Command::Upgrade { successor, force }),
        Request::Waits => Job::Query(Query::Waits),
        Request::Chain | Request::Site | Request::SwitchChain(_) if config.chain.is_none() => {
            return Err(ApiError::new(ErrorCode::NotConfigured, chain::NOT_CONFIGURED));
        }
        Request::Chain => Job::Query(Query::Chain),
        Request::Site => Job::Query(Query::Site),
        Request::SwitchChain(order) => Job::Command(Command::Chain(chain::off_order(&order, &facts)?)),
        Request::Drain(order) => {
            let targets = order.find(config, drains).map_err(meaningless)?;
            let job = order.job(targets, facts, config.drain.as_ref()).map_err(meaningless)?;
            Job::Command(Command::Drain(Box::new(job)))
        }
        Request::Undrain(order) => {
            let targets = order.targets.find(config, Some(drains)).map_err(meaningless)?;
            Job::Command(Command::Drain(Box::new(order.job(targets, facts.operator))))
        }
        Request::Recheck { what } => {
            known_services(&what, config).map_err(unknown)?;
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

/// Checks that the configuration has these services.
///
/// # Errors
/// A sentence, if it does not have one, or if there is no name.
fn known_services(what: &Scope, config: &Config) -> Result<(), String> {
    let names = match what {
        Scope::All => return Ok(()),
        Scope::Services(names) if names.is_empty() => return Err("error: name a service, or `--all`".into()),
        Scope::Services(names) => names,
    };
    match names.iter().find(|name| !config.names(name)) {
        Some(name) => Err(names::unknown("service", name, service_names(config))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
