//! Warnings about values that are allowed but probably a mistake, one sentence each.
//!
//! Pure. [`effects`](self::effects): keys that have no effect; [`choices`](self::choices): what `validate` alone says.

mod choices;
mod effects;

use std::net::{IpAddr, SocketAddr};

use url::Host;

use super::check::{CheckConfig, OnFailure};
use super::file::Config;
use super::service::ServiceConfig;
use crate::model::{Family, Recipients};

impl Config {
    /// The warnings about this configuration.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.services.is_empty() {
            warnings.push("no service is configured: nothing is announced; add a `[[service]]`".to_owned());
        }
        self.services.iter().for_each(|service| service.asked_elsewhere(&mut warnings));
        for family in [Family::V4, Family::V6] {
            for service in &self.services {
                if self.routers_of(service).any(|peer| peer.families.contains(&family)) {
                    continue;
                }
                let each = match service.recipients {
                    Recipients::All => "each peer",
                    Recipients::Only(_) => "each of its peers",
                };
                let mut vips = service.vips.iter().filter(|vip| Family::of(**vip) == family);
                warnings.extend(vips.next().map(|vip| {
                    format!(
                        "service `{}`: no router gets a route to {vip}: `families` of {each} lacks {family}",
                        service.name
                    )
                }));
            }
        }
        for service in self.services.iter().filter(|service| service.may_be_the_last_choice()) {
            let (name, deprefer) = (&service.name, &service.deprefer);
            let outside = self.routers_of(service).any(|peer| !self.is_internal(peer));
            let inside = self.routers_of(service).any(|peer| self.is_internal(peer));
            if outside && deprefer.prepend == 0 {
                let why = match deprefer.med {
                    Some(_) => {
                        "a MED alone does not make a VIP the last choice: routers do not compare the MEDs of different ASes"
                    }
                    None => "routers outside our AS cannot see that it is the last choice",
                };
                warnings.push(format!("service `{name}`: {why}; write a `prepend` in `[service.deprefer]`"));
            }
            let preference = service.attributes.local_pref.unwrap_or(100);
            if inside && deprefer.local_pref.is_some_and(|deprefered| deprefered >= preference) {
                warnings.push(format!(
                    "service `{name}`: `local_pref` of `[service.deprefer]` is not below the {preference} that it replaces"
                ));
            }
        }
        self.without_effect(&mut warnings);
        warnings
    }

    /// What `validate` says of listeners that others can reach. This may be as intended, so that `status` does not warn of it for ever.
    pub fn exposures(&self) -> Vec<String> {
        let metrics = self.metrics.iter().map(|metrics| ("[metrics]", metrics.listen));
        let status = self.status.iter().map(|status| ("[status]", status.listen));
        let exposed = metrics.chain(status).filter(|(_, listen)| !listen.ip().is_loopback());
        exposed
            .map(|(table, listen)| {
                let at = match listen.ip().is_unspecified() {
                    true => ", also at each VIP,",
                    false => "",
                };
                format!(
                    "`listen = \"{listen}\"` of `{table}`: whoever can connect{at} can read names, addresses and reasons"
                )
            })
            .collect()
    }
}

impl ServiceConfig {
    /// Warns about an address in the URL if no probe connects to it.
    fn asked_elsewhere(&self, warnings: &mut Vec<String>) {
        for check in self.checks.iter().filter(|check| check.target.is_none()) {
            let (Some(host), Some(port)) = (check.probe.host(), check.probe.port()) else { continue };
            let elsewhere = match &host {
                Host::Ipv4(ip) if !self.vips.contains(&IpAddr::V4(*ip)) => {
                    SocketAddr::new((*ip).into(), port).to_string()
                }
                Host::Ipv6(ip) if !self.vips.contains(&IpAddr::V6(*ip)) => {
                    SocketAddr::new((*ip).into(), port).to_string()
                }
                Host::Domain(name) if name == "localhost" => format!("127.0.0.1:{port}"),
                Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_) => continue,
            };
            let (service, name) = (&self.name, &check.name);
            warnings.push(format!(
                "service `{service}`, check `{name}`: `{host}` is not probed: each VIP is, at port {port}; to probe it, write `target = \"{elsewhere}\"`"
            ));
        }
    }

    /// Whether its VIPs are ever the last choice.
    fn may_be_the_last_choice(&self) -> bool {
        let of = |check: &CheckConfig| check.on_failure.unwrap_or(self.on_failure);
        self.backup || self.checks.iter().any(|check| of(check) == OnFailure::Deprefer)
    }
}

/// The state of the configuration's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// It has this number of errors.
    Wrong(usize),
    /// It is the running configuration.
    Running,
    /// It is another configuration.
    Different,
}

/// The warning about the configuration's file, which messages call `name`.
pub fn of_file(name: &str, state: &FileState) -> Option<String> {
    match state {
        FileState::Unreadable(why) => {
            Some(format!("`{name}` cannot be read: {why}; the configuration that was read last stays in use"))
        }
        FileState::Wrong(count) => {
            let errors = if *count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
            Some(format!("`{name}` has {errors} and is not used; `announcer validate {name}` prints them"))
        }
        FileState::Different => {
            Some(format!("`{name}` differs from the running configuration; `announcer reload` applies it"))
        }
        FileState::Running => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_others_can_reach_is_named_by_validate_alone() {
        let text = crate::config::tests::with_services!(
            "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n"
        );
        for (listen, want) in [
            ("127.0.0.1:9179", None),
            ("[::1]:9179", None),
            (
                "10.0.1.11:9179",
                Some(
                    "`listen = \"10.0.1.11:9179\"` of `[metrics]`: whoever can connect can read names, addresses and reasons",
                ),
            ),
            (
                "0.0.0.0:9179",
                Some(
                    "`listen = \"0.0.0.0:9179\"` of `[metrics]`: whoever can connect, also at each VIP, can read names, addresses and reasons",
                ),
            ),
        ] {
            for table in ["[metrics]", "[status]"] {
                let config = crate::config::parse("x", &format!("{text}{table}\nlisten = \"{listen}\"\n"));
                let config = config.unwrap_or_else(|errors| panic!("{errors}"));
                let want = want.map(|want| want.replace("[metrics]", table));
                assert_eq!(config.exposures(), want.into_iter().collect::<Vec<_>>());
                assert!(config.warnings().is_empty());
            }
        }
    }

    #[test]
    fn what_is_wrong_with_the_file_says_which_command_helps() {
        for (state, want) in [
            (FileState::Running, None),
            (
                FileState::Unreadable("it is not a regular file".into()),
                Some(
                    "`x` cannot be read: it is not a regular file; the configuration that was read last stays in use",
                ),
            ),
            (
                FileState::Wrong(1),
                Some("`x` has 1 error and is not used; `announcer validate x` prints them"),
            ),
            (
                FileState::Wrong(3),
                Some("`x` has 3 errors and is not used; `announcer validate x` prints them"),
            ),
            (
                FileState::Different,
                Some("`x` differs from the running configuration; `announcer reload` applies it"),
            ),
        ] {
            assert_eq!(of_file("x", &state).as_deref(), want);
        }
    }
}
