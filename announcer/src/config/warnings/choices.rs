//! What `validate` says of choices that are often a mistake. They may be as intended, so that `status` does not warn of them for
//! ever.
//!
//! Pure.

use std::net::IpAddr;
use std::path::Path;

use super::super::check::{CheckConfig, OnFailure};
use super::super::file::Config;
use super::super::kind::ProbeConfig;
use super::super::secret::SecretText;
use super::super::service::ServiceConfig;
use super::super::value::span;

impl Config {
    /// What `validate` says of the checks, one sentence each.
    pub fn choices(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for peer in &self.peers {
            let Some(bfd) = &peer.bfd else { continue };
            let (hold, detection) = (peer.hold_time, bfd.interval * u32::from(bfd.multiplier));
            if !hold.is_zero() && detection >= hold {
                let (name, detection, hold) = (&peer.name, span(detection), span(hold));
                sentences.push(format!(
                    "peer `{name}`: BFD notices a dead host after {detection}, no sooner than `hold_time` {hold}; write a shorter `interval` or a smaller `multiplier` in `[peer.bfd]`"
                ));
            }
        }
        for service in &self.services {
            for check in &service.checks {
                let at = format!("service `{}`, check `{}`", service.name, check.name);
                if check.timeout > check.interval {
                    let (timeout, interval) = (span(check.timeout), span(check.interval));
                    sentences.push(format!(
                        "{at}: `timeout` {timeout} is longer than `interval` {interval}: while the server hangs, it is asked only every {timeout}; write `timeout = \"{interval}\"`, or a longer `interval`"
                    ));
                }
                if let Some(folder) = hidden_folder(check) {
                    sentences.push(format!(
                        "{at}: `target` is below `{folder}`, which the unit of announcer hides from the daemon; let the server listen on a socket below `/run`"
                    ));
                }
                if let Some(host) = self.other_host(service, check) {
                    sentences.push(format!(
                        "{at}: `target` {host} is not known to be this host: if it is another one and fails, all frontends withdraw the VIPs at the same time; write `on_failure = \"deprefer\"`"
                    ));
                }
            }
            if !service.vips.iter().any(|vip| service.checks.iter().any(|check| asks(check, *vip))) {
                sentences.push(format!(
                    "service `{}`: no check asks the VIPs themselves, so that a server that does not answer there is not noticed; add a `[[service.check]]` without `target`, such as `tcp = 80`",
                    service.name
                ));
            }
        }
        sentences
    }

    /// What `validate` says of the programs of checks and hooks that this host cannot start, one sentence each. `look` returns the
    /// problem with a program, without its name; it may read the file system.
    pub fn missing_programs(&self, look: impl Fn(&Path) -> Result<(), String>) -> Vec<String> {
        let checks = self.services.iter().flat_map(|service| {
            service.checks.iter().filter_map(move |check| match &check.probe {
                ProbeConfig::Exec(exec) => {
                    let at = format!("service `{}`, check `{}`", service.name, check.name);
                    Some((at, "exec", exec.command.first()?))
                }
                ProbeConfig::Http(_)
                | ProbeConfig::Tls(_)
                | ProbeConfig::Tcp(_)
                | ProbeConfig::File(_)
                | ProbeConfig::Dns(_)
                | ProbeConfig::Icmp(_)
                | ProbeConfig::Udp(_)
                | ProbeConfig::Ntp(_)
                | ProbeConfig::Grpc(_) => None,
            })
        });
        let hooks = self.all_hooks().flat_map(|(owner, hooks)| {
            let commands = [("on_change", &hooks.on_change), ("on_drain", &hooks.on_drain)];
            commands
                .into_iter()
                .filter_map(move |(key, command)| Some((owner.to_string(), key, command.first()?)))
        });
        let sentence = |(at, key, program): (String, &str, &SecretText)| {
            let why = look(Path::new(program.as_str())).err()?;
            Some(format!(
                "{at}: `{program}` {why}; install it, or write the path of another program in `{key}`"
            ))
        };
        checks.chain(hooks).filter_map(sentence).collect()
    }

    /// The target of a check whose failure alone withdraws its VIPs, if nothing in the configuration says that it is on this host.
    fn other_host(&self, service: &ServiceConfig, check: &CheckConfig) -> Option<IpAddr> {
        let ip = check.target.as_ref()?.address()?.ip;
        let withdraws = check.on_failure.unwrap_or(service.on_failure) == OnFailure::Withdraw;
        let count = service.checks.len();
        let ours = self.vips().map(|(vip, _)| vip).chain(self.own_addresses());
        (withdraws
            && service.require.of(count) == count
            && !ip.is_loopback()
            && !ours.into_iter().any(|own| own == ip))
        .then_some(ip)
    }

    /// The addresses of this host that the configuration names, besides the VIPs.
    fn own_addresses(&self) -> Vec<IpAddr> {
        let id = self.bgp.router_id.map(|id| IpAddr::V4(id.get()));
        let sources = self.peers.iter().filter_map(|peer| peer.source_address);
        let of_peers = self.peers.iter().map(|peer| (peer.overrides.next_hop_v4, peer.overrides.next_hop_v6));
        let of_services = self
            .services
            .iter()
            .map(|service| (service.attributes.next_hop_v4, service.attributes.next_hop_v6));
        let next_hops = of_peers
            .chain(of_services)
            .flat_map(|(v4, v6)| [v4.map(IpAddr::V4), v6.map(IpAddr::V6)].into_iter().flatten());
        id.into_iter().chain(sources).chain(next_hops).collect()
    }
}

/// The folder of a unix socket that the shipped unit hides by `PrivateTmp=` or `ProtectHome=`.
fn hidden_folder(check: &CheckConfig) -> Option<&'static str> {
    let path = check.target.as_ref()?.socket()?.path();
    ["/tmp", "/var/tmp", "/home", "/root", "/run/user"].into_iter().find(|folder| path.starts_with(folder))
}

/// Whether a check asks a VIP. A program is told the VIP.
fn asks(check: &CheckConfig, vip: IpAddr) -> bool {
    let kind = match check.probe {
        ProbeConfig::Http(_) | ProbeConfig::Tls(_) | ProbeConfig::Tcp(_) | ProbeConfig::Exec(_) => true,
        ProbeConfig::Dns(_) | ProbeConfig::Grpc(_) | ProbeConfig::Ntp(_) | ProbeConfig::Udp(_) => true,
        // The kernel answers, whatever the server does.
        ProbeConfig::File(_) | ProbeConfig::Icmp(_) => false,
    };
    kind && check
        .target
        .as_ref()
        .is_none_or(|target| target.address().is_some_and(|address| address.ip == vip))
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::config::tests::GOOD;

    /// The good configuration with these checks.
    fn with(service: &str, checks: &str) -> crate::config::Config {
        let (above, _) = GOOD.split_once("[[service.check]]").unwrap();
        parse("x", &format!("{above}{service}\n{checks}")).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn choices_that_are_often_a_mistake_are_named() {
        const HANGS: &str = "service `www`, check `tcp`: `timeout` 2s is longer than `interval` 1s: while the server hangs, it is asked only every 2s; write `timeout = \"1s\"`, or a longer `interval`";
        const NOT_ASKED: &str = "service `www`: no check asks the VIPs themselves";
        const OTHER: &str = "service `www`, check `db`: `target` 10.0.0.7 is not known to be this host";
        const HIDDEN: &str =
            "service `www`, check `db`: `target` is below `/tmp`, which the unit of announcer hides";
        const TCP: &str = "[[service.check]]\ntcp = 80\n";
        let db = |keys: &str| format!("{TCP}[[service.check]]\nname = \"db\"\ntcp = 5432\n{keys}\n");
        for (service, checks, want) in [
            ("", TCP.to_owned(), vec![]),
            ("", format!("{TCP}timeout = \"2s\"\n"), vec![HANGS]),
            ("", "[[service.check]]\nfile = \"/run/up\"\n".into(), vec![NOT_ASKED]),
            ("", format!("{TCP}target = \"127.0.0.1\"\n"), vec![NOT_ASKED]),
            ("", format!("{TCP}target = \"192.0.2.80\"\n"), vec![]),
            ("", db("target = \"unix:/run/db.sock\""), vec![]),
            ("", db("target = \"unix:/tmp/db.sock\""), vec![HIDDEN]),
            ("", db("target = \"unix:/tmpfs/db.sock\""), vec![]),
            ("", format!("{TCP}target = \"unix:/run/db.sock\"\n"), vec![NOT_ASKED]),
            ("", "[[service.check]]\nexec = [\"/bin/x\"]\n".into(), vec![]),
            ("", format!("{TCP}[[service.check]]\nfile = \"/run/up\"\n"), vec![]),
            ("", db("target = \"10.0.0.7\""), vec![OTHER]),
            ("", db("target = \"10.0.0.7\"\non_failure = \"deprefer\""), vec![]),
            ("on_failure = \"deprefer\"", db("target = \"10.0.0.7\""), vec![]),
            (
                "on_failure = \"deprefer\"",
                db("target = \"10.0.0.7\"\non_failure = \"withdraw\""),
                vec![OTHER],
            ),
            ("require = 1", db("target = \"10.0.0.7\""), vec![]),
            // The router id, a VIP, the next hop of a peer, loopback.
            ("", db("target = \"10.0.1.11:80\""), vec![]),
            ("", db("target = \"192.0.2.80\""), vec![]),
            ("", db("target = \"2001:db8:1::11\""), vec![]),
            ("", db("target = \"127.0.0.2\""), vec![]),
        ] {
            let found = with(service, &checks).choices();
            assert_eq!(found.len(), want.len(), "{service} {checks} {found:?}");
            for (found, want) in found.iter().zip(want) {
                assert!(found.starts_with(want), "{found}");
            }
        }
    }

    #[test]
    fn programs_that_cannot_be_started_are_named_with_their_place() {
        let config = with(
            "",
            "[[service.check]]\nexec = [\"/bin/a\", \"/bin/b\"]\n[[service.check]]\ntcp = 80\n[hooks]\non_change = [\"/bin/hook\"]\n",
        );
        let missing = config.missing_programs(|_| Err("does not exist".to_owned()));
        assert_eq!(
            missing,
            [
                "service `www`, check `exec`: `/bin/a` does not exist; install it, or write the path of another program in `exec`",
                "`[hooks]`: `/bin/hook` does not exist; install it, or write the path of another program in `on_change`",
            ]
        );
        assert_eq!(config.missing_programs(|_| Ok(())), [""; 0]);
    }
}
