//! Warnings about values that are allowed but probably a mistake, one sentence each.
//!
//! Pure. [`effects`]: keys that have no effect; [`choices`]: what `validate` alone says.

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
                    Recipients::Only(_) | Recipients::SameVrf(_) => "each of its peers",
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

/// The state of the configuration's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// One of them cannot be read.
    Unreadable {
        /// Its name in messages.
        file: String,
        /// The reason.
        why: String,
    },
    /// Some of them are wrong.
    Wrong {
        /// Those with an error, by their names in messages.
        files: Vec<String>,
        /// The number of errors.
        errors: usize,
    },
    /// They are the running configuration.
    Running,
    /// They are another configuration.
    Different,
}

/// The warning about the configuration's files; `main` is the main file.
pub fn of_files(main: &str, state: &FileState) -> Option<String> {
    match state {
        FileState::Unreadable { file, why } => {
            Some(format!("`{file}` cannot be read: {why}; the configuration that was read last stays in use"))
        }
        FileState::Wrong { files, errors } => {
            let errors = if *errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
            let (have, are) = if files.len() == 1 { ("has", "is") } else { ("have", "are") };
            let files = named_together(files);
            Some(format!(
                "{files} {have} {errors} and {are} not used; `announcer validate {main}` prints them"
            ))
        }
        // A file of `conf.d` that was removed makes the difference too, so that it is not known which file it is.
        FileState::Different => Some(format!(
            "the configuration of `{main}` differs from the running configuration; `announcer reload` applies it"
        )),
        FileState::Running => None,
    }
}

/// The names of files in a sentence: at most two, and the number of the others.
pub fn named_together(files: &[String]) -> String {
    match files {
        [] => "the configuration".to_owned(), // an error has a file
        [one] => format!("`{one}`"),
        [one, two] => format!("`{one}` and `{two}`"),
        [first, others @ ..] => format!("`{first}` and {} other files", others.len()),
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
    fn what_is_wrong_with_the_files_says_which_command_helps() {
        let wrong = |files: &[&str], errors| {
            let files = files.iter().map(|file| (*file).to_owned()).collect();
            FileState::Wrong { files, errors }
        };
        for (state, want) in [
            (FileState::Running, None),
            (
                FileState::Unreadable { file: "conf.d/a".into(), why: "it is not a regular file".into() },
                Some(
                    "`conf.d/a` cannot be read: it is not a regular file; the configuration that was read last stays in use",
                ),
            ),
            (wrong(&["x"], 1), Some("`x` has 1 error and is not used; `announcer validate x` prints them")),
            (wrong(&["x"], 3), Some("`x` has 3 errors and is not used; `announcer validate x` prints them")),
            (
                wrong(&["conf.d/a"], 1),
                Some("`conf.d/a` has 1 error and is not used; `announcer validate x` prints them"),
            ),
            (
                wrong(&["x", "conf.d/a"], 2),
                Some("`x` and `conf.d/a` have 2 errors and are not used; `announcer validate x` prints them"),
            ),
            (
                wrong(&["conf.d/a", "conf.d/b", "conf.d/c"], 4),
                Some(
                    "`conf.d/a` and 2 other files have 4 errors and are not used; `announcer validate x` prints them",
                ),
            ),
            (
                FileState::Different,
                Some(
                    "the configuration of `x` differs from the running configuration; `announcer reload` applies it",
                ),
            ),
        ] {
            assert_eq!(of_files("x", &state).as_deref(), want);
        }
    }
}
