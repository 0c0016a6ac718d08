//! The web server of a frontend: the configuration of nginx that answers the checks.
//!
//! Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use announcer::config::endpoint::ProbeTarget;
use announcer::config::kind::http::{HttpConfig, HttpVersion};
use announcer::config::{CheckConfig, Config, ProbeConfig};

/// What our answer has in its body.
const BODY: &str = "ok\n";

/// The requests that the load sends, or the reason why it sends none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoadTarget {
    /// An `http://` URL with a VIP as its host.
    pub(crate) url: String,
    /// The server's name in the requests; `None`: the VIP.
    pub(crate) host: Option<String>,
}

/// Which statuses the checks want, by path; of each port.
type Ports = BTreeMap<u16, BTreeMap<String, Vec<HttpConfig>>>;

/// The text of nginx.conf for the frontend called `name`: it answers every plain `http` and `tcp` check of the configuration.
///
/// # Errors
/// The checks that this web server cannot answer, in whole sentences that begin with the file.
pub(crate) fn nginx(name: &str, file: &str, config: &Config) -> Result<String, Vec<String>> {
    let (mut ports, mut refused) = (Ports::new(), Vec::new());
    for service in &config.services {
        for check in &service.checks {
            let mut no = |why: &str| {
                let (service, check) = (&service.name, &check.name);
                refused.push(format!(
                    "{file}: service `{service}`, check `{check}`: the web server of the lab {why}; give the nginx.conf of yours with --web"
                ));
            };
            let own = check.target.as_ref().and_then(ProbeTarget::address).and_then(|target| target.port);
            let Some(port) = own.or(check.probe.port()) else { continue };
            let paths = ports.entry(port).or_default();
            match &check.probe {
                ProbeConfig::Http(http) => match cannot(http) {
                    Some(why) => no(why),
                    None => {
                        let wanted = paths.entry(http.url.path().to_owned()).or_default();
                        wanted.push(http.clone());
                        if status(wanted).is_none() {
                            no("cannot answer two checks of the same path with different statuses");
                        }
                    }
                },
                ProbeConfig::Tls(_) => no("has no certificate"),
                ProbeConfig::Tcp(tcp) if tcp.talk.expect.is_some() => {
                    no("speaks HTTP alone, and `expect` wants another text")
                }
                ProbeConfig::Dns(_) | ProbeConfig::Grpc(_) | ProbeConfig::Ntp(_) | ProbeConfig::Udp(_) => {
                    no("speaks HTTP alone")
                }
                ProbeConfig::Tcp(_) | ProbeConfig::Exec(_) | ProbeConfig::File(_) | ProbeConfig::Icmp(_) => {}
            }
        }
    }
    if refused.is_empty() { Ok(text(name, &ports)) } else { Err(refused) }
}

/// Why our answer never passes.
fn cannot(http: &HttpConfig) -> Option<&'static str> {
    if http.url.scheme() != "http" {
        Some("has no certificate")
    } else if http.version == HttpVersion::Http2 {
        Some("has no HTTP/2 without TLS")
    } else if http.expect_digest.is_some() {
        Some("does not have the body of `expect_digest`")
    } else if http.expect_body.as_ref().is_some_and(|pattern| !pattern.found_in(BODY)) {
        Some("answers `ok`, which `expect_body` does not find")
    } else {
        None
    }
}

/// The status that passes all checks of one path; 200 if it does.
fn status(wanted: &[HttpConfig]) -> Option<u16> {
    let passes = |status: &u16| {
        wanted.iter().all(|http| http.expect_status.iter().any(|statuses| statuses.contains(*status)))
    };
    std::iter::once(200).chain(200..=599).find(passes)
}

fn text(name: &str, ports: &Ports) -> String {
    let mut text = format!(
        "# Written for the checks of {name}.\nuser www-data;\nworker_processes 1;\npid /run/nginx.pid;\n\
         error_log /var/log/nginx/error.log;\n\nevents {{\n\tworker_connections 8192;\n}}\n\nhttp {{\n\taccess_log off;\n\t\
         default_type text/plain;\n"
    );
    for (port, paths) in ports {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n\tserver {{\n\t\tlisten {port} default_server backlog=4096;\n\t\tlisten [::]:{port} default_server backlog=4096;\n\t\t\
             add_header X-Frontend {name} always;\n\n"
        );
        let mut everything = true;
        for (path, wanted) in paths {
            let answer = match status(wanted) {
                Some(200) | None => "200 \"ok\\n\"".to_owned(),
                Some(status @ (301 | 302 | 303 | 307 | 308)) => format!("{status} /elsewhere"),
                Some(status) => status.to_string(),
            };
            let place = if path == "/" { "/".to_owned() } else { format!("= \"{}\"", escaped(path)) };
            everything &= path != "/";
            let _ = write!(text, "\t\tlocation {place} {{\n\t\t\treturn {answer};\n\t\t}}\n");
        }
        if everything {
            text.push_str("\t\tlocation / {\n\t\t\treturn 200 \"ok\\n\";\n\t\t}\n");
        }
        text.push_str("\t}\n");
    }
    text + "}\n"
}

/// The path as nginx compares it: decoded, in a quoted word.
fn escaped(path: &str) -> String {
    let decoded = percent(path);
    decoded.replace('\\', "\\\\").replace('"', "\\\"")
}

fn percent(path: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                rest = &tail[2..];
            }
            None => {
                octets.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

/// The requests of the load: as the first plain `http` check at a VIP that a 2xx passes; otherwise, with the web server of the lab,
/// to the port of the first `tcp` check. `None`: nothing of this kind is served.
pub(crate) fn load(config: &Config, own_web: bool) -> Option<LoadTarget> {
    let checks = || {
        config.services.iter().flat_map(|service| {
            let vip = service.vips.first().copied();
            service.checks.iter().filter_map(move |check| Some((vip?, check)))
        })
    };
    let url = |vip: IpAddr, port: u16, rest: &str| match vip {
        IpAddr::V4(vip) => format!("http://{vip}:{port}{rest}"),
        IpAddr::V6(vip) => format!("http://[{vip}]:{port}{rest}"),
    };
    let at_vip = |(vip, check): &(IpAddr, &CheckConfig)| Some((*vip, check.port()?));
    let http = checks().find_map(|found| match &found.1.probe {
        ProbeConfig::Http(http) if http.url.scheme() == "http" && http.version != HttpVersion::Http2 => {
            let (vip, port) = at_vip(&found)?;
            let passes = http.expect_status.iter().any(|statuses| statuses.contains(200));
            let rest = &http.url[url::Position::BeforePath..url::Position::AfterQuery];
            passes.then(|| LoadTarget {
                url: url(vip, port, rest),
                host: http.url.host_str().map(str::to_owned),
            })
        }
        ProbeConfig::Http(_)
        | ProbeConfig::Tls(_)
        | ProbeConfig::Tcp(_)
        | ProbeConfig::Exec(_)
        | ProbeConfig::File(_)
        | ProbeConfig::Dns(_)
        | ProbeConfig::Icmp(_)
        | ProbeConfig::Udp(_)
        | ProbeConfig::Ntp(_)
        | ProbeConfig::Grpc(_) => None,
    });
    let tcp = checks().find_map(|found| match &found.1.probe {
        ProbeConfig::Tcp(_) if !own_web => {
            let (vip, port) = at_vip(&found)?;
            Some(LoadTarget { url: url(vip, port, "/"), host: None })
        }
        ProbeConfig::Http(_)
        | ProbeConfig::Tls(_)
        | ProbeConfig::Tcp(_)
        | ProbeConfig::Exec(_)
        | ProbeConfig::File(_)
        | ProbeConfig::Dns(_)
        | ProbeConfig::Icmp(_)
        | ProbeConfig::Udp(_)
        | ProbeConfig::Ntp(_)
        | ProbeConfig::Grpc(_) => None,
    });
    http.or(tcp)
}

/// The files that an nginx.conf names by their absolute paths.
pub(crate) fn named_files(nginx_conf: &str) -> BTreeSet<String> {
    const DIRECTIVES: [&str; 4] =
        ["ssl_certificate", "ssl_certificate_key", "ssl_dhparam", "ssl_trusted_certificate"];
    let lines = nginx_conf.lines().map(|line| line.split('#').next().unwrap_or_default());
    let statements = lines.flat_map(|line| line.split([';', '{', '}']));
    statements
        .filter_map(|statement| {
            let mut words = statement.split_whitespace();
            let directive = words.next()?;
            let path = words.next()?.trim_matches(['"', '\'']);
            (DIRECTIVES.contains(&directive) && path.starts_with('/')).then(|| path.to_owned())
        })
        .collect()
}

/// Why the lab cannot start nginx with the user's own nginx.conf, in whole sentences that begin with the file.
pub(crate) fn impossible(file: &str, nginx_conf: &str) -> Option<String> {
    let lines = nginx_conf.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut statements = lines.flat_map(|line| line.split([';', '{', '}']));
    let in_front = statements.any(|statement| statement.split_whitespace().eq(["daemon", "off"]));
    in_front.then(|| format!("{file}: `daemon off;` keeps nginx in the foreground, which the lab does not wait for: leave it out"))
}

#[cfg(test)]
mod tests;
