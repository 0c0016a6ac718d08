//! A configuration as text: every default written out, and it parses again to the same [`Config`].
//!
//! Pure.

use std::fmt::Display;

use toml::Value;

use super::value::span;
use super::{Bgp, Check, Config, Peer, Probe, Service};

/// Writes a configuration as it is understood; `parse` of that gives the equal [`Config`].
pub fn canonical(config: &Config) -> String {
    let mut out = Out::default();
    bgp(&config.bgp, &mut out);
    for each in &config.peers {
        peer(each, &mut out);
    }
    for each in &config.services {
        service(each, &mut out);
    }
    out.0
}

fn bgp(bgp: &Bgp, out: &mut Out) {
    let Bgp { asn, router_id, settle } = bgp;
    out.header("[bgp]");
    out.line("asn", asn);
    out.maybe("router_id", router_id.as_ref().map(text));
    out.line("settle", text(span(*settle)));
}

fn peer(peer: &Peer, out: &mut Out) {
    let Peer { name, address, port, asn, hold_time, next_hop_v6 } = peer;
    out.header("[[peer]]");
    out.line("name", text(name));
    out.line("address", text(address));
    out.line("port", port);
    out.line("asn", asn);
    out.line("hold_time", text(span(*hold_time)));
    out.maybe("next_hop_v6", next_hop_v6.as_ref().map(text));
}

fn service(service: &Service, out: &mut Out) {
    let Service { name, vips, communities, med, announce_delay, flap_damping, checks } = service;
    out.header("[[service]]");
    out.line("name", text(name));
    out.line("vips", array(vips));
    out.line("communities", array(communities));
    out.maybe("med", *med);
    out.line("announce_delay", text(span(*announce_delay)));
    out.line("flap_damping", flap_damping);
    for each in checks {
        check(each, out);
    }
}

fn check(check: &Check, out: &mut Out) {
    let Check { probe, interval, timeout, rise, fall } = check;
    out.header("[[service.check]]");
    match probe {
        Probe::Http(url) => out.line("http", text(url)),
    }
    out.line("interval", text(span(*interval)));
    out.line("timeout", text(span(*timeout)));
    out.line("rise", rise);
    out.line("fall", fall);
}

/// The text so far.
#[derive(Default)]
struct Out(String);

impl Out {
    fn header(&mut self, header: &str) {
        let apart = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{apart}{header}\n"));
    }

    fn line(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }
}

/// As a string of TOML.
fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn array<'a, T: ToString + 'a>(values: impl IntoIterator<Item = &'a T>) -> Value {
    Value::Array(values.into_iter().map(|value| text(value.to_string())).collect())
}
