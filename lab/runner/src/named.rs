//! The files of the host that a configuration names: the lab gives them to the frontend under the same paths.
//!
//! Pure.

use std::path::{Path, PathBuf};

use announcer::config::{Config, ProbeConfig};

/// A file that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    /// Where it is named, as in "peer `r1`: `password_file`".
    pub(crate) place: String,
    /// Its path.
    pub(crate) path: PathBuf,
}

/// The files that a configuration names, in its order.
pub(crate) fn named(config: &Config) -> Vec<NamedFile> {
    let mut named = Vec::new();
    let mut add = |place: String, path: &Path| named.push(NamedFile { place, path: path.to_path_buf() });
    for peer in &config.peers {
        if let Some(path) = &peer.password_file {
            add(format!("peer `{}`: `password_file`", peer.name), path);
        }
    }
    for service in &config.services {
        for check in &service.checks {
            let place = |key: &str| format!("service `{}`, check `{}`: `{key}`", service.name, check.name);
            match &check.probe {
                ProbeConfig::Http(http) => {
                    if let Some(path) =
                        http.certificate().and_then(|certificate| certificate.ca_file.as_ref())
                    {
                        add(place("ca_file"), path);
                    }
                }
                ProbeConfig::Tls(tls) => {
                    if let Some(path) = &tls.certificate.ca_file {
                        add(place("ca_file"), path);
                    }
                }
                ProbeConfig::Exec(exec) => {
                    if let Some(program) = exec.command.first() {
                        add(place("exec"), Path::new(program.as_str()));
                    }
                }
                ProbeConfig::File(file) => add(place("file"), &file.path),
                ProbeConfig::Dns(dns) => {
                    if let Some(path) = dns.certificate().and_then(|certificate| certificate.ca_file.as_ref())
                    {
                        add(place("ca_file"), path);
                    }
                }
                ProbeConfig::Grpc(grpc) => {
                    if let Some(path) =
                        grpc.certificate().and_then(|certificate| certificate.ca_file.as_ref())
                    {
                        add(place("ca_file"), path);
                    }
                }
                ProbeConfig::Tcp(_) | ProbeConfig::Ntp(_) | ProbeConfig::Udp(_) | ProbeConfig::Icmp(_) => {}
            }
        }
    }
    if let Some(program) = config.hooks.as_ref().and_then(|hooks| hooks.on_change.first()) {
        add("`on_change`".to_owned(), Path::new(program.as_str()));
    }
    named
}

/// Why a file cannot be given to a node; `None`: it can. `exists` says whether the host has it.
pub(crate) fn refusal(file: &str, named: &NamedFile, exists: bool) -> Option<String> {
    let NamedFile { place, path } = named;
    let shown = path.display();
    if !path.is_absolute() {
        Some(format!(
            "{file}: {place}: the lab does not know the folder of `{shown}`: write its absolute path"
        ))
    } else if !exists {
        Some(format!(
            "{file}: {place}: {shown} does not exist on this host, so the lab cannot use it: put it there"
        ))
    } else if shown.to_string().contains([':', '\n']) {
        Some(format!(
            "{file}: {place}: the lab cannot use {shown}, because its path has a colon: write another one"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_configuration_names_is_found_and_has_to_be_there() {
        let text = "[bgp]\nasn = 65001\n[[peer]]\nname = \"r1\"\naddress = \"10.0.0.1\"\nasn = 65000\npassword_file = \"/etc/r1.key\"\n\
             [[peer]]\nname = \"r2\"\naddress = \"10.0.0.2\"\nasn = 65000\npassword_file = \"r2.key\"\n\
             [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
             [[service.check]]\nhttp = \"https://www.example.com/\"\nca_file = \"/etc/ca.pem\"\n\
             [[service.check]]\ntls = \"www.example.com\"\nca_file = \"/etc/ca:2.pem\"\n\
             [[service.check]]\nexec = [\"/usr/bin/check\", \"-w\"]\n[[service.check]]\nfile = \"/run/up\"\n\
             [[service.check]]\ntcp = 80\n[hooks]\non_change = [\"/usr/bin/hook\"]\n";
        let config = announcer::config::parse("test", text).unwrap_or_else(|errors| panic!("{errors}"));
        let said: Vec<String> = named(&config)
            .iter()
            .map(|named| match refusal("my.toml", named, !named.path.starts_with("/run")) {
                Some(refusal) => refusal,
                None => format!("{} {}", named.place, named.path.display()),
            })
            .collect();
        assert_eq!(
            said,
            [
                "peer `r1`: `password_file` /etc/r1.key",
                "my.toml: peer `r2`: `password_file`: the lab does not know the folder of `r2.key`: write its absolute path",
                "service `www`, check `http`: `ca_file` /etc/ca.pem",
                "my.toml: service `www`, check `tls`: `ca_file`: the lab cannot use /etc/ca:2.pem, because its path has a colon: write another one",
                "service `www`, check `exec`: `exec` /usr/bin/check",
                "my.toml: service `www`, check `file`: `file`: /run/up does not exist on this host, so the lab cannot use it: put it there",
                "`on_change` /usr/bin/hook",
            ]
        );
    }
}
