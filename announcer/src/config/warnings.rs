//! What is allowed and yet seldom meant, a sentence each.
//!
//! Pure.

use super::io::ReadError;
use super::{Config, OnFailure, Service};
use crate::model::PeerAsn;

impl Config {
    /// What an operator should look at though it is no error.
    pub fn warnings(&self) -> Vec<String> {
        let internal = |asn: &PeerAsn| match asn {
            PeerAsn::Internal => true,
            PeerAsn::External => false,
            PeerAsn::Is(asn) => *asn == self.bgp.asn,
        };
        let (inside, outside): (Vec<bool>, Vec<bool>) =
            self.peers.iter().map(|peer| internal(&peer.asn)).partition(|internal| *internal);
        let mut warnings = Vec::new();
        for service in self.services.iter().filter(|service| service.may_be_depreferred()) {
            let (name, deprefer) = (&service.name, &service.deprefer);
            if !outside.is_empty() && deprefer.prepend == 0 {
                let why = match deprefer.med {
                    Some(_) => {
                        "MED alone takes no frontend out: routers do not compare it between different ASes"
                    }
                    None => "routers outside our AS cannot tell that it is depreferred",
                };
                warnings.push(format!("service `{name}`: {why}; write a `prepend` in `[service.deprefer]`"));
            }
            let preference = service.attributes.local_pref.unwrap_or(100);
            if !inside.is_empty() && deprefer.local_pref.is_some_and(|deprefered| deprefered >= preference) {
                warnings.push(format!(
                    "service `{name}`: `local_pref` of `[service.deprefer]` is not below the {preference} that it replaces"
                ));
            }
        }
        warnings
    }
}

impl Service {
    /// Whether its VIPs are ever the last choice.
    fn may_be_depreferred(&self) -> bool {
        let of = |check: &super::Check| check.on_failure.unwrap_or(self.on_failure);
        self.backup || self.checks.iter().any(|check| of(check) == OnFailure::Deprefer)
    }
}

/// What an operator should know of the configuration's file, called `name`, while `running` is the configuration that runs.
pub(super) fn of_file(name: &str, found: &Result<Config, ReadError>, running: &Config) -> Option<String> {
    match found {
        Err(ReadError::Unreadable(_, error)) => {
            Some(format!("`{name}` cannot be read: {error}; what it said before runs on"))
        }
        Err(ReadError::Wrong(errors)) => {
            let count = match errors.len() {
                1 => "1 error".to_owned(),
                many => format!("{many} errors"),
            };
            Some(format!("`{name}` has {count} and does not run; `announcer validate {name}` says which"))
        }
        Ok(config) if config != running => {
            Some(format!("`{name}` differs from the configuration that runs; `announcer reload` applies it"))
        }
        Ok(_) => None,
    }
}
