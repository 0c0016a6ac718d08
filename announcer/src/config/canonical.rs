//! A configuration as text: every default written out, and it parses again to the same [`Config`].
//!
//! Pure.

use std::fmt::Display;

use toml::Value;

use super::value::span;
use super::{Bgp, Config, Health, Hooks, Metrics, Peer, Require, Service, check};
use crate::model::{Attributes, Deprefer, Overrides, PeerAsn};

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
    let Health { listener_watch } = config.health;
    out.header("[health]");
    out.line("listener_watch", text(span(listener_watch)));
    if let Some(Hooks { on_change, timeout }) = &config.hooks {
        out.header("[hooks]");
        out.line("on_change", array(on_change));
        out.line("timeout", text(span(*timeout)));
    }
    if let Some(Metrics { listen }) = &config.metrics {
        out.header("[metrics]");
        out.line("listen", text(listen));
    }
    out.0
}

fn bgp(bgp: &Bgp, out: &mut Out) {
    let Bgp { asn, router_id, settle, graceful_restart } = bgp;
    out.header("[bgp]");
    out.line("asn", asn);
    out.maybe("router_id", router_id.as_ref().map(text));
    out.line("settle", text(span(*settle)));
    out.maybe("graceful_restart", graceful_restart.map(|time| text(span(time))));
}

fn peer(peer: &Peer, out: &mut Out) {
    let Peer { name, address, port, asn, hold_time, send_hold_time, families, .. } = peer;
    let Peer { interface, source_address, multihop, ttl_security, password_file, overrides, .. } = peer;
    out.header("[[peer]]");
    out.line("name", text(name));
    out.line("address", text(address));
    out.line("port", port);
    match asn {
        PeerAsn::Is(asn) => out.line("asn", asn),
        PeerAsn::External | PeerAsn::Internal => out.line("asn", text(asn)),
    }
    out.line("hold_time", text(span(*hold_time)));
    out.line("send_hold_time", text(span(*send_hold_time)));
    let families = families.iter().map(|family| text(family.to_string().to_lowercase()));
    out.line("families", Value::Array(families.collect()));
    out.maybe("interface", interface.as_ref().map(text));
    out.maybe("source_address", source_address.as_ref().map(text));
    out.line("multihop", multihop);
    out.line("ttl_security", ttl_security);
    out.maybe("password_file", password_file.as_ref().map(|path| text(path.display())));
    let Overrides { origin, med, local_pref, prepend, next_hop_v4, next_hop_v6, .. } = overrides;
    let Overrides { communities, extended_communities, large_communities, .. } = overrides;
    out.maybe("next_hop_v4", next_hop_v4.as_ref().map(text));
    out.maybe("next_hop_v6", next_hop_v6.as_ref().map(text));
    out.maybe("origin", origin.as_ref().map(text));
    out.maybe("med", *med);
    out.maybe("local_pref", *local_pref);
    out.maybe("prepend", *prepend);
    out.maybe("communities", communities.as_ref().map(array));
    out.maybe("extended_communities", extended_communities.as_ref().map(array));
    out.maybe("large_communities", large_communities.as_ref().map(array));
}

fn service(service: &Service, out: &mut Out) {
    let Service { name, vips, prefixes, attributes, announce_delay, flap_damping, .. } = service;
    let Service { listener_grace, require, on_failure, backup, deprefer, checks, .. } = service;
    let Attributes { origin, med, local_pref, prepend, next_hop_v4, next_hop_v6, .. } = attributes;
    let Attributes { communities, extended_communities, large_communities, .. } = attributes;
    out.header("[[service]]");
    out.line("name", text(name));
    out.line("vips", array(vips));
    out.maybe("prefix", (!prefixes.is_empty()).then(|| array(prefixes)));
    let next_hops: Vec<Value> =
        next_hop_v4.as_ref().map(text).into_iter().chain(next_hop_v6.as_ref().map(text)).collect();
    out.line("next_hop", if next_hops.is_empty() { text("self") } else { Value::Array(next_hops) });
    out.line("origin", text(origin));
    out.maybe("med", *med);
    out.maybe("local_pref", *local_pref);
    out.line("prepend", prepend);
    out.line("communities", array(communities));
    out.line("extended_communities", array(extended_communities));
    out.line("large_communities", array(large_communities));
    out.line("announce_delay", text(span(*announce_delay)));
    out.line("flap_damping", flap_damping);
    out.line("listener_grace", text(span(*listener_grace)));
    match require {
        Require::All => out.line("require", text("all")),
        Require::AtLeast(least) => out.line("require", least),
    }
    out.line("on_failure", text(on_failure));
    out.line("backup", backup);
    let Deprefer { prepend, local_pref, med, communities } = deprefer;
    out.header("[service.deprefer]");
    out.line("prepend", prepend);
    out.maybe("local_pref", *local_pref);
    out.maybe("med", *med);
    out.line("communities", array(communities));
    for each in checks {
        check::canonical::check(each, out);
    }
}

/// The text so far.
#[derive(Default)]
pub(super) struct Out(String);

impl Out {
    pub(super) fn header(&mut self, header: &str) {
        let apart = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{apart}{header}\n"));
    }

    pub(super) fn line(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    pub(super) fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }
}

/// As a string of TOML.
pub(super) fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

pub(super) fn array<'a, T: ToString + 'a>(values: impl IntoIterator<Item = &'a T>) -> Value {
    Value::Array(values.into_iter().map(|value| text(value.to_string())).collect())
}
