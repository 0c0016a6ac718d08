//! The words of other programs for what announcer has under another name, or does not have.
//!
//! Pure. ExaBGP, BIRD, FRR, MetalLB, anycast_healthchecker, keepalived, HAProxy and the probes of Kubernetes have other words than
//! announcer. Each row says in which tables its words make sense, and what to write there instead. `-`, `_` and the case of letters
//! do not matter: `remote-as`, `remote_as` and `remoteAS` are one word.

use super::keys::Section;

/// What some words mean in one table or in several.
#[derive(Debug)]
pub(super) struct Synonym {
    /// The headers of the tables in which the words are led on; empty for the file itself.
    places: &'static [&'static str],
    /// The words.
    words: &'static [&'static str],
    /// The keys that they lead to, as (header of the table, name). A word that announcer has nothing for leads to none.
    pub(super) keys: &'static [(&'static str, &'static str)],
    /// What to write instead; empty: the one key is written in the same way.
    pub(super) help: &'static str,
}

const fn to(
    places: &'static [&'static str],
    words: &'static [&'static str],
    keys: &'static [(&'static str, &'static str)],
    help: &'static str,
) -> Synonym {
    Synonym { places, words, keys, help }
}

const FILE: &str = "";
const BGP: &str = "[bgp]";
const PEER: &str = "[[peer]]";
const SERVICE: &str = "[[service]]";
const DEPREFER: &str = "[service.deprefer]";
const BFD: &str = "[peer.bfd]";
const CHECK: &str = "[[service.check]]";
const HOOKS: &str = "[hooks]";
const SERVICE_HOOKS: &str = "[service.hooks]";
const PEER_HOOKS: &str = "[peer.hooks]";
const METRICS: &str = "[metrics]";
const STATUS: &str = "[status]";
const DRAIN: &str = "[drain]";
const LOG: &str = "[log]";

/// Every word that is led on, by the table in which it was written.
#[rustfmt::skip]
pub(super) const SYNONYMS: &[Synonym] = &[
    // Tables.
    to(&[FILE], &["neighbor", "neighbors", "neighbour", "neighbours", "peers", "router", "routers"], &[(FILE, "peer")],
        "write a `[[peer]]` for each router"),
    to(&[FILE], &["services", "virtual_server", "virtual_servers", "virtual_ipaddress", "vrrp_instance", "frontend", "backend", "vip", "vips"],
        &[(FILE, "service")], "write a `[[service]]`, with its addresses in `vips`"),
    to(&[FILE, SERVICE], &["checks", "healthcheck", "healthchecks", "monitor", "probe", "real_server"], &[(SERVICE, "check")],
        "write a `[[service.check]]` below its `[[service]]`"),
    to(&[FILE], &["router_bgp", "speaker", "global", "global_defs"], &[(FILE, "bgp")], "write `[bgp]`"),
    to(&[FILE], &["prometheus", "exporter"], &[(FILE, "metrics")], "write `[metrics]`"),
    to(&[FILE], &["notify", "hook", "scripts"], &[(FILE, "hooks")], "write `[hooks]`, and the program in `on_change`"),
    to(&[FILE], &["vrrp_script"], &[(CHECK, "exec")], "write a `[[service.check]]` with `exec`"),
    // The session.
    to(&[BGP], &["local_as", "as", "as_number", "local_asn", "my_asn"], &[(BGP, "asn")], ""),
    to(&[PEER], &["local_as", "local_asn", "my_asn"], &[(BGP, "asn")], "write our own AS once, as `asn` in `[bgp]`"),
    to(&[PEER], &["remote_as", "peer_as", "peer_asn", "remote_asn", "neighbor_as", "as", "as_number"], &[(PEER, "asn")], ""),
    to(&[PEER], &["host", "hostname", "ip", "neighbor", "neighbour", "peer_address", "peer_ip", "remote_address", "remote_ip"], &[(PEER, "address")],
        "write `address = \"10.0.1.1\"`: the router's IP address, no name"),
    to(&[BGP], &["neighbor", "neighbors", "neighbour", "neighbours", "peers"], &[(FILE, "peer")], "write a `[[peer]]` for each router, with its `address` and `asn`"),
    to(&[BGP, PEER], &["local_address", "local_ip", "update_source", "source", "bind_address"], &[(PEER, "source_address")],
        "write `source_address = \"10.0.1.11\"` in `[[peer]]`: an address of this host"),
    to(&[PEER], &["dev", "device", "nic", "bind_interface", "source_interface"], &[(PEER, "interface")], ""),
    to(&[BGP, PEER], &["hold", "hold_timer", "timers"], &[(PEER, "hold_time")], "write `hold_time = \"9s\"` in `[[peer]]`"),
    to(&[BGP, PEER], &["keepalive", "keepalive_time", "keepalive_interval"], &[(PEER, "hold_time")],
        "remove it: a KEEPALIVE is sent every third of the hold time, which is `hold_time` of `[[peer]]`"),
    to(&[BGP, SERVICE, CHECK, FILE], &["bfd", "bfd_profile"], &[(PEER, "bfd")], "write `bfd = true` in `[[peer]]`"),
    to(&[PEER], &["bfd_profile", "bfd_interval", "bfd_multiplier", "fall_over"], &[(PEER, "bfd")],
        "write `bfd = true`, or `[peer.bfd]` with `interval` and `multiplier`"),
    to(&[BFD], &["min_interval", "minimum_interval", "min_tx", "min_rx", "tx_interval", "rx_interval", "transmit_interval", "receive_interval", "idle_tx_interval"],
        &[(BFD, "interval")], "write it as in `interval = \"300ms\"`: it is for both directions"),
    to(&[BFD], &["detect_multiplier", "detection_multiplier", "detect_mult", "mult"], &[(BFD, "multiplier")], "write it as in `multiplier = 3`"),
    to(&[BFD], &["multihop", "min_ttl", "minimum_ttl"], &[(PEER, "multihop")], "write how many hops away the router is in `multihop` of `[[peer]]`"),
    to(&[BFD], &["echo", "echo_mode", "passive", "passive_mode", "authentication", "password"], &[], "remove it: both sides send, without echo packets and without authentication"),
    to(&[BGP, PEER], &["passive", "listen", "listen_range", "listen_port"], &[(PEER, "address")],
        "remove it: announcer always connects to the router's `address`, and the router has to accept that"),
    to(&[PEER], &["md5", "md5_password", "password", "tcp_md5", "auth_password", "authentication"], &[(PEER, "password_file")],
        "write the key into a file that only announcer can read, and `password_file = \"/etc/announcer/r1.key\"`"),
    to(&[PEER], &["ebgp_multihop"], &[(PEER, "multihop"), (PEER, "ttl_security")],
        "remove it unless `ttl_security = true`: a router may be any number of hops away; with `ttl_security`, write how many in `multihop`"),
    to(&[PEER], &["ttl", "gtsm", "ttl_sec"], &[(PEER, "ttl_security"), (PEER, "multihop")], "write `ttl_security = true`, and how many hops away the router is in `multihop`"),
    to(&[PEER], &["family", "afi", "afi_safi", "address_family", "address_families"], &[(PEER, "families")], "write `families = [\"ipv4\", \"ipv6\"]`"),
    to(&[PEER], &["next_hop", "next_hop_self"], &[(PEER, "next_hop_v4"), (PEER, "next_hop_v6")],
        "write `next_hop_v4` or `next_hop_v6`; without them, it is our own address of the session"),
    to(&[PEER], &["graceful", "restart_time", "graceful_restart_time"], &[(BGP, "graceful_restart")], "write `graceful_restart = \"2m\"` in `[bgp]`"),
    to(&[PEER], &["disable", "disabled", "enable", "enabled", "shutdown"], &[],
        "remove it: a router has a session while its `[[peer]]` is in the configuration"),
    to(&[PEER], &["maximum_prefix", "max_prefix", "maximum_prefixes", "max_prefixes", "prefix_limit"], &[], "remove it: announcer takes no routes from routers"),
    // Attributes.
    to(&[PEER, SERVICE, DEPREFER], &["as_path", "as_path_prepend", "path_prepend", "prepends"], &[(SERVICE, "prepend")],
        "write how many more times our AS is prepended, as in `prepend = 2`"),
    to(&[PEER, SERVICE, DEPREFER], &["metric", "multi_exit_disc"], &[(SERVICE, "med")], "write it as in `med = 100`"),
    to(&[PEER, SERVICE, DEPREFER], &["local_preference", "pref"], &[(SERVICE, "local_pref")], "write it as in `local_pref = 100`"),
    to(&[PEER, SERVICE], &["community"], &[(SERVICE, "communities")], "write it as in `communities = [\"65001:80\"]`"),
    to(&[DEPREFER], &["community"], &[(DEPREFER, "communities")], ""),
    to(&[PEER], &["weight", "cost", "priority", "preference"], &[(PEER, "prepend"), (PEER, "med"), (PEER, "local_pref")],
        "announcer has no weights: `prepend`, `med` or `local_pref` make a router's routes less preferred"),
    to(&[DEPREFER], &["weight"], &[(SERVICE, "weight"), (DEPREFER, "prepend")], "write `weight` in `[[service]]`, and in this table what routers compare"),
    to(&[SERVICE], &["bandwidth", "link_bandwidth"], &[(SERVICE, "weight")], ""),
    to(&[SERVICE, DEPREFER], &["cost", "priority", "preference"], &[(SERVICE, "prepend"), (SERVICE, "med"), (SERVICE, "local_pref"), (SERVICE, "backup")],
        "announcer has no weights: `backup = true` makes this host the last choice; `prepend`, `med` or `local_pref` make its routes less preferred"),
    to(&[SERVICE], &["state", "nopreempt"], &[(SERVICE, "backup")],
        "hosts do not elect a master: each announces its healthy VIPs; `backup = true` makes this host the last choice"),
    to(&[SERVICE], &["up_metric", "base_metric"], &[(SERVICE, "med")], ""),
    to(&[SERVICE], &["down_metric", "disabled_metric", "down_as_path", "disabled_as_path"], &[(SERVICE, "on_failure"), (SERVICE, "deprefer")],
        "write `on_failure = \"deprefer\"`, and the values in `[service.deprefer]`"),
    to(&[SERVICE], &["withdraw_on_down", "no_withdraw"], &[(SERVICE, "on_failure")], "write `on_failure = \"withdraw\"` or `\"deprefer\"`"),
    // The service.
    to(&[SERVICE], &["ip", "ips", "vip", "address", "addresses", "virtual_ipaddress", "virtual_address", "ip_prefix", "bind", "frontend"], &[(SERVICE, "vips")], ""),
    to(&[SERVICE], &["network", "networks", "subnet", "route", "routes", "aggregate", "announce"], &[(SERVICE, "prefix")],
        "write the addresses in `vips`; to announce a larger prefix for them, add it as in `prefix = \"192.0.2.0/24\"`"),
    to(&[SERVICE], &["neighbor", "neighbors", "neighbour", "neighbours", "peer", "router", "routers"], &[(SERVICE, "peers")], ""),
    to(&[SERVICE], &["quorum"], &[(SERVICE, "require")], "write how many checks have to pass, as in `require = 2`"),
    to(&[SERVICE], &["delay", "warmup", "delay_before_up", "hold_down", "start_delay"], &[(SERVICE, "announce_delay")], ""),
    to(&[SERVICE], &["damping", "dampening", "flap"], &[(SERVICE, "flap_damping")], ""),
    to(&[SERVICE], &["disable", "disabled", "enable", "enabled", "shutdown", "on_disabled", "check_disabled", "ip_check_disabled"], &[],
        "remove it: `announcer drain` withdraws a service, and `announcer undrain` announces it again"),
    to(&[SERVICE], &["interface", "dev", "device", "label", "ip_setup"], &[(SERVICE, "vrf")],
        "remove it: announcer puts the VIPs on lo, or with `vrf = \"edge\"` on the device of that VRF"),
    to(&[PEER], &["vrf_name", "routing_instance", "network_instance", "instance", "l3vrf"], &[(PEER, "vrf")], ""),
    to(&[SERVICE, CHECK], &["vrf_name", "routing_instance", "network_instance", "instance", "l3vrf"], &[(SERVICE, "vrf")], "write `vrf` in `[[service]]`: it holds for its VIPs and its checks"),
    to(&[SERVICE, CHECK], &["port", "connect_port", "tcp_port"], &[(CHECK, "http"), (CHECK, "tcp"), (CHECK, "target")],
        "write the port in the first key of a `[[service.check]]`, as in `tcp = 25` or `http = \"http://www.example.com:8080/\"`"),
    to(&[SERVICE], &["url", "uri", "script", "command", "cmd", "check_cmd", "host", "hostname"], &[(CHECK, "http"), (CHECK, "exec")],
        "write a `[[service.check]]` below this table, with `http = \"http://www.example.com/healthz\"` or `exec = [\"/usr/local/bin/check-www\"]`"),
    to(&[SERVICE], &["check_interval", "check_timeout", "check_rise", "check_fail", "delay_loop"], &[(CHECK, "interval"), (CHECK, "timeout"), (CHECK, "rise"), (CHECK, "fall")],
        "write `interval`, `timeout`, `rise` and `fall` in the `[[service.check]]` below this table"),
    to(&[SERVICE], &["notify", "notify_up", "notify_down", "notify_master", "notify_backup", "notify_fault", "on_change", "on_up", "on_down", "up_execute", "down_execute", "hook"],
        &[(SERVICE_HOOKS, "on_change")], "write `on_change = [\"/usr/local/bin/hook\"]` in `[service.hooks]`: one program for every change"),
    to(&[PEER], &["notify", "notify_up", "notify_down", "on_change", "on_up", "on_down", "up_execute", "down_execute", "hook"],
        &[(PEER_HOOKS, "on_change")], "write `on_change = [\"/usr/local/bin/hook\"]` in `[peer.hooks]`: one program for every change"),
    to(&[SERVICE, DRAIN], &["on_drain"], &[(HOOKS, "on_drain"), (SERVICE_HOOKS, "on_drain")],
        "write `on_drain = [\"/usr/local/bin/drained\"]` in `[hooks]` or `[service.hooks]`"),
    to(&[CHECK, BGP], &["notify", "notify_up", "notify_down", "notify_master", "notify_backup", "notify_fault", "on_change", "on_up", "on_down", "up_execute", "down_execute"],
        &[(HOOKS, "on_change")], "write `on_change = [\"/usr/local/bin/hook\"]` in `[hooks]`: one program for every change"),
    // Checks.
    to(&[CHECK], &["url", "uri", "https", "http_get", "ssl_get"], &[(CHECK, "http")], "write `http = \"http://www.example.com/healthz\"`, or `https://` in it"),
    to(&[CHECK], &["script", "command", "cmd", "check_cmd", "program", "misc_check", "misc_path", "args", "external_check"], &[(CHECK, "exec")],
        "write the program and its arguments, as in `exec = [\"/usr/local/bin/check-www\"]`"),
    to(&[CHECK], &["tcp_check", "connect"], &[(CHECK, "tcp")], ""),
    to(&[CHECK], &["ping", "ping_check", "echo"], &[(CHECK, "icmp")], "write how many octets are sent, as in `icmp = 56`, and the address in `target`"),
    to(&[CHECK], &["udp_check", "datagram"], &[(CHECK, "udp")], "write the port, as in `udp = 5060`, and what is sent in `send` or `send_hex`"),
    to(&[CHECK], &["ntp_check", "chrony", "time_server"], &[(CHECK, "ntp")], "write the port of the time server, as in `ntp = 123`"),
    to(&[CHECK], &["dns_check", "dig", "resolve"], &[(CHECK, "dns")], "write the name that is asked for, as in `dns = \"www.example.com\"`"),
    to(&[CHECK], &["grpc_health", "grpc_check", "grpc_health_probe"], &[(CHECK, "grpc")], "write the server, as in `grpc = \"http://www.example.com:50051\"`"),
    to(&[CHECK], &["type", "kind", "protocol", "check_type"], &[(CHECK, "http"), (CHECK, "tls"), (CHECK, "tcp"), (CHECK, "exec"), (CHECK, "file")],
        "remove it: a key such as `http`, `tcp` or `exec` says what kind of check it is"),
    to(&[CHECK], &["path", "request", "httpchk"], &[(CHECK, "http")], "write the path in the URL, as in `http = \"http://www.example.com/healthz\"`"),
    to(&[CHECK], &["host", "hostname", "virtualhost", "server_name", "sni"], &[(CHECK, "http"), (CHECK, "tls")],
        "write the name in the URL, as in `http = \"https://www.example.com/healthz\"`, or in `tls`"),
    to(&[CHECK], &["address", "addr", "ip", "connect_ip", "server", "backend"], &[(CHECK, "target")],
        "remove it, so that each VIP is probed; to probe another address, write it as in `target = \"127.0.0.1:8080\"`"),
    to(&[CHECK], &["verify_tls", "insecure", "tls_verify", "ssl_verify", "verify_ssl", "skip_verify", "tls_skip_verify", "insecure_skip_verify", "check_ssl", "ssl"],
        &[(CHECK, "verify")], "write `verify = \"off\"` to ignore a wrong certificate, `\"warn\"` or `\"require\"`"),
    to(&[CHECK], &["ca", "ca_cert", "ca_path"], &[(CHECK, "ca_file")], ""),
    to(&[CHECK], &["client_cert", "cert", "cert_file", "certificate", "crt"], &[(CHECK, "client_certificate")], ""),
    to(&[CHECK], &["key", "key_file", "private_key"], &[(CHECK, "client_key")], ""),
    to(&[CHECK], &["proxy_protocol", "check_send_proxy", "accept_proxy"], &[(CHECK, "send_proxy")], ""),
    to(&[CHECK], &["status", "code", "status_code", "expected_status", "http_status", "http_expect"], &[(CHECK, "expect_status")], ""),
    to(&[CHECK], &["match", "regex", "response", "expected_body", "string"], &[(CHECK, "expect_body"), (CHECK, "expect")],
        "write a regular expression in `expect_body` (for `http`) or `expect` (for `tcp`)"),
    to(&[CHECK], &["digest"], &[(CHECK, "expect_digest")], ""),
    to(&[CHECK], &["verb", "http_method"], &[(CHECK, "method")], ""),
    to(&[CHECK], &["http_header", "http_headers"], &[(CHECK, "headers")], ""),
    to(&[CHECK], &["inter", "period", "period_seconds", "every", "frequency", "check_interval", "delay_loop"], &[(CHECK, "interval")], ""),
    to(&[CHECK], &["fastinter"], &[(CHECK, "fast_interval")], ""),
    to(&[CHECK], &["connect_timeout", "check_timeout", "misc_timeout", "timeout_seconds"], &[(CHECK, "timeout")], ""),
    to(&[CHECK], &["retry", "retries", "failures", "max_failures", "check_fail", "failure_threshold"], &[(CHECK, "fall")], ""),
    to(&[CHECK], &["success_threshold", "check_rise"], &[(CHECK, "rise")], ""),
    to(&[CHECK], &["weight", "priority", "preference"], &[(SERVICE, "require"), (CHECK, "on_failure")],
        "a check has no weight: `require` of `[[service]]` says how many have to pass, `on_failure` what a failure does"),
    to(&[CHECK], &["disable", "disabled", "enable", "enabled", "shutdown"], &[],
        "remove it, or remove the check; `on_failure = \"warn\"` keeps a check that withdraws nothing"),
    // The rest.
    to(&[FILE], &["log_level", "logging", "logger", "syslog"], &[(LOG, "level")], "write `level = \"info\"` in `[log]`"),
    to(&[FILE], &["include", "includes", "import", "imports", "conf_d"], &[],
        "remove it: announcer also reads each `*.toml` in the folder `conf.d` beside the main file"),
    to(&[LOG], &["log_level", "severity", "verbosity"], &[(LOG, "level")], ""),
    to(&[HOOKS, SERVICE_HOOKS, PEER_HOOKS], &["notify", "notify_up", "notify_down", "notify_fault", "command", "script", "exec", "execute", "run", "on_up", "on_down"], &[(HOOKS, "on_change")], ""),
    to(&[PEER_HOOKS], &["on_drain"], &[(HOOKS, "on_drain")], "write `on_drain` in `[hooks]`: drains of routers are reported there"),
    to(&[METRICS, STATUS], &["port", "address", "bind", "host", "listen_address", "bind_address", "listen_port"], &[(METRICS, "listen")],
        "write address and port, as in `listen = \"127.0.0.1:9179\"`"),
    to(&[DRAIN], &["timeout", "wait", "grace", "max_wait", "grace_period"], &[(DRAIN, "deadline")], ""),
    to(&[DRAIN], &["delay", "pre_stop"], &[(DRAIN, "prepare")], ""),
    to(&[FILE, BGP, PEER, SERVICE, CHECK, HOOKS], &["description", "comment", "desc", "note"], &[], "write it as a comment, behind `#`"),
];

/// The row of a word in a table.
pub(super) fn find(section: &Section, name: &str) -> Option<&'static Synonym> {
    let name = plain(name);
    let is_here = |row: &&Synonym| {
        row.places.contains(&section.header) && row.words.iter().any(|word| plain(word) == name)
    };
    SYNONYMS.iter().find(is_here)
}

/// A word without `-`, `_` and capitals.
pub(super) fn plain(word: &str) -> String {
    word.chars().filter(|c| !['-', '_'].contains(c)).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::FILE as WHOLE;

    fn section(header: &str) -> &'static Section {
        let all = WHOLE.all();
        let found = all.into_iter().find(|section| section.header == header);
        found.unwrap_or_else(|| panic!("no table `{header}`"))
    }

    #[test]
    fn every_synonym_leads_to_a_key_that_exists() {
        for row in SYNONYMS {
            for (header, key) in row.keys {
                assert!(section(header).key(key).is_some(), "{:?}: `{key}` in `{header}`", row.words);
            }
            match (row.help, row.keys) {
                ("", [(header, key)]) => {
                    assert!(row.places.contains(header), "{:?}: help without a table", row.words);
                    assert!(section(header).key(key).is_some_and(|key| key.example().is_some()));
                }
                ("", _) => panic!("{:?} needs a help", row.words),
                (help, keys) => {
                    let named = |key: &str| help.contains(&format!("`{key}")) || help.contains(key);
                    assert!(keys.is_empty() || keys.iter().any(|(_, key)| named(key)), "{help}");
                }
            }
        }
    }

    #[test]
    fn no_key_is_a_synonym_and_no_word_has_two_meanings_in_a_table() {
        for row in SYNONYMS {
            for place in row.places {
                let mut here = HashSet::new();
                for key in section(place).keys() {
                    assert!(
                        !row.words.iter().any(|word| plain(word) == plain(key.name)),
                        "{place} {}",
                        key.name
                    );
                }
                let rows = SYNONYMS.iter().filter(|row| row.places.contains(place));
                for word in rows.flat_map(|row| row.words) {
                    assert!(here.insert(plain(word)), "`{word}` is twice in `{place}`");
                }
            }
        }
    }
}
