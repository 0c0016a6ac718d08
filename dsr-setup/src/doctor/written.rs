//! What announcer's configuration says about the services: routers, and the ports and names of the checks of each VIP.
//!
//! Pure. What is not understood is left out; `announcer validate` reports it. A check with `target` asks another address than the VIP, and
//! says nothing about the VIP's ports.

use std::net::IpAddr;

use toml::{Table, Value};

use super::observations::Question;
use crate::substitution::{Variables, expand};
use crate::{config, range};

/// The ports of the schemes, and of a check of `tls` without a port.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Adds what a file of the configuration says to the question: the routers of its VRF, or those in none, and the ports of each VIP.
pub fn add(question: &mut Question, text: &str, variables: &Variables) {
    let Ok(file) = toml::from_str::<Table>(text) else { return };
    let vrf_of = |of: &Table| of.get("vrf").and_then(Value::as_str).map(|text| expanded(text, variables));
    let vrf = question.vrf.clone();
    for peer in tables(&file, "peer").filter(|peer| vrf_of(peer) == vrf) {
        let address = peer.get("address").and_then(Value::as_str).map(|text| expanded(text, variables));
        question.routers.extend(address.and_then(|text| text.parse::<IpAddr>().ok()));
    }
    for service in tables(&file, "service") {
        let written = service.get("vips").and_then(Value::as_array).into_iter().flatten();
        let vips: Vec<IpAddr> =
            written.filter_map(Value::as_str).flat_map(|text| vips_of(&expanded(text, variables))).collect();
        for check in tables(service, "check").filter(|check| !check.contains_key("target")) {
            if let Some((port, name)) = endpoint(check, variables) {
                for vip in &vips {
                    question.ports.entry(*vip).or_default().insert(port);
                    if let Some(name) = &name {
                        question.names.insert((*vip, port), name.clone());
                    }
                }
            }
        }
    }
}

fn tables<'a>(of: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    of.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn expanded(text: &str, variables: &Variables) -> String {
    match expand(text, variables) {
        Ok(Some(expansion)) => expansion.text,
        Ok(None) | Err(_) => text.to_owned(),
    }
}

fn vips_of(text: &str) -> Vec<IpAddr> {
    match range::addresses(text) {
        Some(all) => all.unwrap_or_default(),
        None => config::vip(text).into_iter().collect(),
    }
}

/// The port of a check, and the name that its TLS asks for.
fn endpoint(check: &Table, variables: &Variables) -> Option<(u16, Option<String>)> {
    let text = |key: &str| check.get(key).and_then(Value::as_str).map(|text| expanded(text, variables));
    if let Some(port) = check.get("tcp").and_then(Value::as_integer) {
        return Some((u16::try_from(port).ok()?, None));
    }
    if let Some(server) = text("tls") {
        let (host, port) = host_and_port(&server);
        return Some((port.unwrap_or(HTTPS), Some(host)));
    }
    let url = text("http")?;
    let (rest, usual, is_tls) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, HTTPS, true),
        (None, Some(rest)) => (rest, HTTP, false),
        (None, None) => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (host, port) = host_and_port(authority);
    Some((port.unwrap_or(usual), is_tls.then_some(host)))
}

/// `name:port`, `[::1]:port`, or either without a port.
fn host_and_port(text: &str) -> (String, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host.trim_matches(['[', ']']).to_owned(), port.parse().ok())
        }
        Some(_) | None => (text.trim_matches(['[', ']']).to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_ports_are_those_of_the_checks_that_ask_the_vip() {
        for (check, want) in [
            ("tcp = 25", vec![(25, None)]),
            ("tls = \"mail.example.com:465\"", vec![(465, Some("mail.example.com"))]),
            ("tls = \"mail.example.com\"", vec![(443, Some("mail.example.com"))]),
            ("http = \"http://www.example.com/healthz\"", vec![(80, None)]),
            ("http = \"http://www.example.com:8080/healthz\"", vec![(8080, None)]),
            ("http = \"https://www.example.com?x=1:2\"", vec![(443, Some("www.example.com"))]),
            ("http = \"https://[2001:db8::1]:8443/\"", vec![(8443, Some("2001:db8::1"))]),
            ("http = \"https://[2001:db8::1]/\"", vec![(443, Some("2001:db8::1"))]),
            ("tcp = 25\ntarget = \"127.0.0.1\"", vec![]),
            ("tcp = 70000", vec![]),
            ("file = \"/run/x\"", vec![]),
        ] {
            let text = format!("[[service]]\nvips = [\"192.0.2.80\"]\n[[service.check]]\n{check}\n");
            let mut question = Question::default();
            add(&mut question, &text, &Variables::new());
            let ports: Vec<(u16, Option<&str>)> = question
                .ports
                .get(&ip("192.0.2.80"))
                .into_iter()
                .flatten()
                .map(|port| (*port, question.names.get(&(ip("192.0.2.80"), *port)).map(String::as_str)))
                .collect();
            assert_eq!(ports, want, "{check}");
        }
    }

    #[test]
    fn the_routers_are_those_of_the_same_vrf() {
        let text = "[[peer]]\naddress = \"10.0.1.1\"\n[[peer]]\naddress = \"10.0.2.1\"\nvrf = \"edge\"\n";
        for (vrf, want) in [(None, vec!["10.0.1.1"]), (Some("edge"), vec!["10.0.2.1"]), (Some("red"), vec![])]
        {
            let mut question = Question { vrf: vrf.map(Into::into), ..Question::default() };
            add(&mut question, text, &Variables::new());
            assert_eq!(question.routers, want.into_iter().map(ip).collect(), "{vrf:?}");
        }
    }

    #[test]
    fn routers_and_ranges_are_read_and_mistakes_are_left_out() {
        let text = "[[peer]]\naddress = \"10.0.1.1\"\n[[peer]]\naddress = \"default-gateway\"\n[[peer]]\n\
                    [[service]]\nvips = [\"192.0.2.80-192.0.2.81\", \"x\", 7]\n[[service.check]]\ntcp = 80\n";
        let mut question = Question::default();
        add(&mut question, text, &Variables::new());
        assert_eq!(question.routers, [ip("10.0.1.1")].into());
        assert_eq!(question.ports.keys().copied().collect::<Vec<_>>(), [ip("192.0.2.80"), ip("192.0.2.81")]);
        let mut question = Question::default();
        add(&mut question, "[[service", &Variables::new());
        assert_eq!(question, Question::default());
    }
}
