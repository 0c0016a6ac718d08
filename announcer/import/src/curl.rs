//! A check by a command that announcer could do itself, without a program.

use std::net::{IpAddr, Ipv4Addr};

use crate::draft::quoted;

/// The keys of a check that asks what `curl`, `wget` or `nc` asks in this shell line, as a text for a comment. None for any other
/// command.
///
/// It is only proposed, because it does not mean the same in all cases: announcer withdraws at once when nothing listens at the port.
pub(crate) fn proposal(line: &str) -> Option<String> {
    let mut line = line.trim();
    while let Some(shorter) = ["2>&1", ">/dev/null", "> /dev/null", "2", "1", "&"]
        .iter()
        .filter(|end| !end.chars().all(char::is_alphanumeric))
        .find_map(|end| line.strip_suffix(end))
    {
        line = shorter.trim_end();
    }
    if line.contains(['|', '&', ';', '<', '>', '$', '`', '(', ')', '\n']) {
        return None;
    }
    let words = shlex::split(line)?;
    let (program, arguments) = words.split_first()?;
    match program.rsplit('/').next()? {
        "curl" => curl(arguments),
        "wget" => wget(arguments),
        "nc" | "ncat" | "netcat" => nc(arguments),
        _ => None,
    }
}

fn curl(arguments: &[String]) -> Option<String> {
    let mut url = None;
    let mut more = String::new();
    let mut fails = false;
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--fail" => fails = true,
            "--silent" | "--show-error" | "--verbose" | "--no-progress-meter" => {}
            "-m" | "--max-time" | "--connect-timeout" | "-o" | "--output" | "-A" | "--user-agent" => {
                rest.next()?;
            }
            "-H" | "--header" => more.push_str(&format!(", headers = [{}]", quoted(rest.next()?))),
            "-k" | "--insecure" => more.push_str(", verify = \"off\""),
            "-I" | "--head" => more.push_str(", method = \"HEAD\""),
            short if short.starts_with('-') && !short.starts_with("--") && short.len() > 1 => {
                for c in short.chars().skip(1) {
                    match c {
                        'f' => fails = true,
                        's' | 'S' | 'v' | 'q' => {}
                        'k' => more.push_str(", verify = \"off\""),
                        'I' => more.push_str(", method = \"HEAD\""),
                        _ => return None,
                    }
                }
            }
            option if option.starts_with('-') => return None,
            word if url.is_none() => url = Some(word),
            _ => return None,
        }
    }
    let status = if fails { ", expect_status = \"200-399\"" } else { ", expect_status = \"200-599\"" };
    Some(format!("{}{status}{more}", http(url?)?))
}

fn wget(arguments: &[String]) -> Option<String> {
    let mut url = None;
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-q" | "--quiet" | "--spider" | "-qO-" | "-O-" | "-nv" => {}
            "-O" | "-T" | "-t" | "-qO" => {
                rest.next()?;
            }
            option if option.starts_with("--timeout=") || option.starts_with("--tries=") => {}
            option if option.starts_with('-') => return None,
            word if url.is_none() => url = Some(word),
            _ => return None,
        }
    }
    http(url?)
}

fn nc(arguments: &[String]) -> Option<String> {
    let mut places = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-w" => {
                rest.next()?;
            }
            option if option.starts_with('-') => {
                option.chars().skip(1).all(|c| "zvn46".contains(c) || c.is_ascii_digit()).then_some(())?;
            }
            place => places.push(place),
        }
    }
    let [host, port] = places.as_slice() else { return None };
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    Some(match target(host, port) {
        Some(target) => format!("tcp = {port}, target = \"{target}\""),
        None => format!("tcp = {port}"),
    })
}

/// The keys for a URL.
fn http(url: &str) -> Option<String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    if authority.contains('@') || url.contains(['"', '\\', '#']) {
        return None;
    }
    let (host, port) = host_and_port(authority, default)?;
    Some(match target(host, port) {
        Some(target) => format!("http = \"{url}\", target = \"{target}\""),
        None => format!("http = \"{url}\""),
    })
}

/// The host and the port of `host:port`, with a default for the port.
pub(crate) fn host_and_port(authority: &str, default: u16) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { default } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host, port));
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, port.parse().ok()?)),
        Some(_) => Some((authority, default)),
        None => Some((authority, default)),
    }
}

/// The `target` that asks this host; none for a name, which announcer would not look up.
pub(crate) fn target(host: &str, port: u16) -> Option<String> {
    let host: IpAddr = match host {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().ok()?,
    };
    Some(std::net::SocketAddr::new(host, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_command_is_proposed_as_a_check() {
        for (line, want) in [
            (
                "curl -sf http://127.0.0.1/healthz",
                Some(
                    "http = \"http://127.0.0.1/healthz\", target = \"127.0.0.1:80\", expect_status = \"200-399\"",
                ),
            ),
            (
                "/usr/bin/curl --fail -o /dev/null -m 2 https://www.example.com:8443/ >/dev/null 2>&1",
                Some("http = \"https://www.example.com:8443/\", expect_status = \"200-399\""),
            ),
            (
                "curl -k -s http://localhost:8080",
                Some(
                    "http = \"http://localhost:8080\", target = \"127.0.0.1:8080\", expect_status = \"200-599\", verify = \"off\"",
                ),
            ),
            (
                "wget -q --spider http://[2001:db8::1]:81/",
                Some("http = \"http://[2001:db8::1]:81/\", target = \"[2001:db8::1]:81\""),
            ),
            ("nc -z -w 1 127.0.0.1 25", Some("tcp = 25, target = \"127.0.0.1:25\"")),
            ("curl -L http://127.0.0.1/", None),
            ("curl -s http://127.0.0.1/ | grep -q ok", None),
            ("curl", None),
            ("mysql -e 'SELECT 1'", None),
        ] {
            assert_eq!(proposal(line).as_deref(), want, "{line}");
        }
    }
}
