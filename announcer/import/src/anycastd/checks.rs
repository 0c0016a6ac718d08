//! The checks of anycastd.

use std::net::IpAddr;

use crate::curl;
use crate::draft::{Draft, Table};
use crate::node::Node;
use crate::report::Report;
use crate::row::{Block, Reader, dropped, read, translated, unneeded};
use crate::values::{FALL, INTERVAL, MAX_OFFSET, TIMEOUT, fast_interval, go_duration, parsed, shell, time};

pub(super) const HTTP: Block = Block {
    title: "`http_2xx`",
    rows: &[
        translated(&["url"], "`http`, and `target` for an address; a redirect is not followed"),
        translated(&["address", "path"], "as `url`, in versions before `url`"),
        translated(&["method"], "`method`"),
        translated(&["headers"], "`headers`; `Host` is in `http`"),
        translated(&["payload"], "`body`"),
        translated(&["tries"], "`fall`"),
        translated(&["interval"], "`fast_interval`"),
        translated(&["timeout"], "`timeout`, at most `1m`"),
    ],
};

pub(super) const DNS: Block = Block {
    title: "`dns_lookup`",
    rows: &[
        translated(
            &["query", "resolver"],
            "`dns` and `target`; `exec` with `dig` if the resolver has a name",
        ),
        translated(&["tries"], "`fall`"),
        translated(&["interval"], "`fast_interval`"),
        translated(&["timeout"], "`timeout`, at most `1m`"),
    ],
};

pub(super) const PING: Block = Block {
    title: "`icmp_ping`",
    rows: &[
        translated(&["static"], "`icmp` and `target`; `exec` with `ping` if the host has a name"),
        translated(&["tries"], "`fall`"),
        translated(&["interval"], "`fast_interval`"),
        translated(&["timeout"], "`timeout`, at most `1m`"),
    ],
};

pub(super) const TFTP: Block = Block {
    title: "`tftp_rrq`",
    rows: &[
        translated(&["url", "expected_sha256"], "`exec` with `curl`"),
        translated(&["tries"], "`fall`"),
        translated(&["interval"], "`fast_interval`"),
        translated(&["timeout"], "`timeout`, at most `1m`"),
    ],
};

pub(super) const NTP: Block = Block {
    title: "`ntpq`",
    rows: &[
        translated(&["server"], "`ntp` and `target`"),
        translated(&["offset_threshold"], "`max_offset`"),
        translated(&["tries"], "`fall`"),
        translated(&["interval"], "`fast_interval`"),
        translated(&["timeout"], "`timeout`, at most `1m`"),
        unneeded(&["src_addr"], "the kernel chooses the source of a check with a `target`"),
    ],
};

pub(super) const TLS: Block = Block {
    title: "`tls_certificate`",
    rows: &[
        translated(&["remote"], "`tls`, with `verify`"),
        dropped(&["local"], "announcer checks the certificate that the server sends, not a file"),
        dropped(
            &["common_name", "dns_names", "ip_addresses", "issuer"],
            "announcer checks the name that `tls` has, and the chain to `ca_file`",
        ),
    ],
};

pub(super) const REMOTE: Block = Block {
    title: "`remote` of `tls_certificate`",
    rows: &[translated(&["host"], "`tls`"), translated(&["insecure"], "`verify = \"off\"`")],
};

pub(super) const ADDRESS: Block = Block {
    title: "`assigned_address`",
    rows: &[
        translated(&["ipv4"], "nothing for a VIP, which announcer looks for on lo; else `exec` with `ip`"),
        unneeded(&["interface"], "announcer has the VIPs on lo"),
    ],
};

/// What a check has to know of its service.
pub(super) struct Context<'a> {
    /// The kind.
    pub(super) kind: &'a Node,
    /// The interval of the service, in milliseconds.
    pub(super) interval: u64,
    /// The VIPs.
    pub(super) assigned: &'a [IpAddr],
    /// Whether all VIPs are in one service.
    pub(super) is_whole: bool,
    /// The name of the service.
    pub(super) service: &'a str,
}

/// What became of a check.
pub(super) enum Translated {
    /// A check.
    Check(Table),
    /// Nothing, because announcer does it by itself.
    Own,
    /// Nothing.
    Dropped,
}

/// The duration of an option, in milliseconds.
pub(super) fn time_of(node: Option<&Node>, default: u64, report: &mut Report) -> u64 {
    let Some(node) = node else { return default };
    go_duration(node.word()).unwrap_or_else(|| {
        report.dropped(node, format!("`{}` is not a duration such as `10s`", node.text()));
        default
    })
}

/// Translates a check.
pub(super) fn translate(
    spec: &[Node],
    context: &Context<'_>,
    _draft: &Draft,
    report: &mut Report,
) -> Translated {
    let mut check = Table::new("[[service.check]]");
    check.comment(format!(
        "From {}, `{}` of `{}`.",
        context.kind.place,
        context.kind.word(),
        context.service
    ));
    let is_kept = match context.kind.word() {
        "http_2xx" => http(spec, &mut check, context, report),
        "dns_lookup" => dns(spec, &mut check, context, report),
        "icmp_ping" => ping(spec, &mut check, context, report),
        "tftp_rrq" => tftp(spec, &mut check, context, report),
        "tls_certificate" => tls(spec, &mut check, context, report),
        "assigned_address" => return address(spec, check, context, report),
        "ntpq" => ntp(spec, &mut check, context, report),
        other => {
            report.dropped(
                context.kind,
                format!("`{other}` is not a kind of check that `announcer import` knows"),
            );
            false
        }
    };
    if is_kept { Translated::Check(check) } else { Translated::Dropped }
}

/// Sets the times of a check. Several tries in a row are one check of anycastd.
fn times(reader: &mut Reader<'_>, check: &mut Table, context: &Context<'_>, report: &mut Report) -> u64 {
    let tries = reader.one("tries", report);
    let fall = tries.and_then(|node| parsed::<u64>(node, "a number", report)).unwrap_or(1);
    let fast_node = reader.one("interval", report);
    let fast = time_of(fast_node, 0, report);
    let timeout_node = reader.one("timeout", report);
    let timeout = TIMEOUT.fit(time_of(timeout_node, 1000, report), timeout_node, report);
    check.set("interval", time(INTERVAL.fit(context.interval, Some(context.kind), report)));
    if fall > 1 {
        check.set(
            "fast_interval",
            time(fast_interval(fast, INTERVAL.fit(context.interval, None, report), fast_node, report)),
        );
    }
    check.set("timeout", time(timeout));
    check.set("rise", 1);
    check.set("fall", FALL.fit(fall, tries, report));
    timeout
}

fn http(spec: &[Node], check: &mut Table, context: &Context<'_>, report: &mut Report) -> bool {
    read(&HTTP, spec, report, |reader, report| {
        let url = reader.one("url", report);
        let (old, path) = (reader.one("address", report), reader.one("path", report));
        let text = match (url, old) {
            (Some(url), _) => url.text(),
            (None, Some(old)) => format!("http://{}{}", old.word(), path.map_or("/", |path| path.word())),
            (None, None) => {
                report.dropped(context.kind, "it has no `url`");
                reader.rest();
                return false;
            }
        };
        let node = url.or(old).unwrap_or(context.kind);
        let split = text.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme));
        let Some((scheme, rest)) = split else {
            report.dropped(node, format!("`{text}` is not a URL of HTTP"));
            reader.rest();
            return false;
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let default = if scheme == "https" { 443 } else { 80 };
        let Some((host, port)) = curl::host_and_port(authority, default) else {
            report.dropped(node, format!("`{text}` has no host"));
            reader.rest();
            return false;
        };
        let is_vip = host.parse().is_ok_and(|host: IpAddr| context.assigned.contains(&host));
        let mut host_header = None;
        let mut headers = Vec::new();
        for node in reader.all("headers").iter().flat_map(|node| node.block()) {
            match node.name.eq_ignore_ascii_case("host") {
                true => host_header = Some(node.text()),
                false => headers.push(format!("{}: {}", node.name, node.text())),
            }
        }
        let authority = host_header.unwrap_or_else(|| authority.to_owned());
        check.set("http", format!("{scheme}://{authority}{path}"));
        match curl::target(host, port) {
            Some(target) if !is_vip || !context.is_whole => check.set("target", target),
            Some(_) => {}
            None => report.differs(
                node,
                "announcer asks each VIP for this name, and does not look the name up; write `target` to ask another address",
            ),
        }
        if let Some(method) = reader.one("method", report)
            && !method.word().is_empty()
            && method.word() != "GET"
        {
            check.set("method", method.word());
        }
        if !headers.is_empty() {
            check.set("headers", headers);
        }
        if let Some(payload) = reader.one("payload", report) {
            check.set("body", payload.text());
        }
        if scheme == "https" {
            check.set("verify", "require");
        }
        times(reader, check, context, report);
        true
    })
}

fn dns(spec: &[Node], check: &mut Table, context: &Context<'_>, report: &mut Report) -> bool {
    read(&DNS, spec, report, |reader, report| {
        let (query, resolver) = (reader.one("query", report), reader.one("resolver", report));
        let (Some(query), Some(resolver)) = (query, resolver) else {
            report.dropped(context.kind, "it has no `query` or no `resolver`");
            reader.rest();
            return false;
        };
        let Some(server) = curl::host_and_port(resolver.word(), 53) else {
            report.dropped(resolver, "it is not an address");
            reader.rest();
            return false;
        };
        if let Some(target) = curl::target(server.0, server.1) {
            check.set("dns", query.word());
            check.set("target", target);
            times(reader, check, context, report);
            return true;
        }
        // The line is set after the times, of which it needs one, and is the first key nevertheless.
        check.set("exec", Vec::new());
        let timeout = times(reader, check, context, report);
        check.set("exec", dig(server, query.word(), "A", timeout));
        check.comment("It needs `dig`; on Debian: apt-get install bind9-dnsutils.");
        true
    })
}

/// A command that asks a name server. It passes if the server answers with a record.
pub(crate) fn dig((host, port): (&str, u16), name: &str, kind: &str, timeout: u64) -> Vec<String> {
    let seconds = timeout.div_ceil(1000).max(1);
    let quote =
        |text: &str| shlex::try_quote(text).map_or_else(|_| "''".to_owned(), |text| text.into_owned());
    shell(&format!(
        "dig +short +tries=1 +time={seconds} -p {port} {} {} {} | grep -q '^[^;]'",
        quote(&format!("@{host}")),
        quote(name),
        quote(kind)
    ))
}

fn ping(spec: &[Node], check: &mut Table, context: &Context<'_>, report: &mut Report) -> bool {
    read(&PING, spec, report, |reader, report| {
        let host = reader.one("static", report);
        let host = host.and_then(|node| node.block().iter().find(|node| node.name == "host")).map(Node::text);
        let Some(host) = host else {
            report.dropped(context.kind, "it has no `host`");
            reader.rest();
            return false;
        };
        if let Ok(target) = host.parse::<IpAddr>() {
            check.set("icmp", 56);
            check.set("target", target.to_string());
            check.comment("The group `announcer` has to be in net.ipv4.ping_group_range.");
            times(reader, check, context, report);
            return true;
        }
        check.set("exec", Vec::new());
        let timeout = times(reader, check, context, report);
        let seconds = timeout.div_ceil(1000).max(1).to_string();
        let words = ["/usr/bin/env", "ping", "-n", "-c", "1", "-W", &seconds, &host];
        check.set("exec", words.map(str::to_owned).to_vec());
        check.comment("It needs a `ping` that works without rights: net.ipv4.ping_group_range.");
        true
    })
}

fn ntp(spec: &[Node], check: &mut Table, context: &Context<'_>, report: &mut Report) -> bool {
    read(&NTP, spec, report, |reader, report| {
        let server = reader.one("server", report);
        let place = server.and_then(|node| curl::host_and_port(node.word(), 123));
        let Some(((host, port), server)) = place.zip(server) else {
            report.dropped(context.kind, "it has no `server`");
            reader.rest();
            return false;
        };
        let Some(target) = curl::target(host, port) else {
            report.dropped(
                server,
                "announcer does not look names up: write the address of the server in `target`",
            );
            reader.rest();
            return false;
        };
        check.set("ntp", u64::from(port));
        check.set("target", target);
        if let Some(node) = reader.one("offset_threshold", report) {
            match go_duration(node.word()).filter(|offset| *offset > 0) {
                Some(offset) => check.set("max_offset", time(MAX_OFFSET.fit(offset, Some(node), report))),
                None => report.dropped(node, format!("`{}` is not a duration such as `10ms`", node.text())),
            }
        }
        times(reader, check, context, report);
        true
    })
}

fn tftp(spec: &[Node], check: &mut Table, context: &Context<'_>, report: &mut Report) -> bool {
    read(&TFTP, spec, report, |reader, report| {
        let (url, digest) = (reader.one("url", report), reader.one("expected_sha256", report));
        let Some(quoted) = url.and_then(|url| shlex::try_quote(url.word()).ok()) else {
            report.dropped(context.kind, "it has no `url`");
            reader.rest();
            return false;
        };
        check.set("exec", Vec::new());
        let timeout = times(reader, check, context, report);
        let seconds = timeout.div_ceil(1000).max(1);
        let digest = digest.map(Node::text).filter(|digest| digest.chars().all(|c| c.is_ascii_hexdigit()));
        let line = match digest.filter(|digest| !digest.is_empty()) {
            Some(digest) => {
                let digest = digest.to_lowercase();
                format!("curl -sf -m {seconds} {quoted} | sha256sum | grep -q '^{digest}'")
            }
            None => format!("curl -sf -m {seconds} -o /dev/null {quoted}"),
        };
        check.set("exec", shell(&line));
        true
    })
}

fn tls(spec: &[Node], check: &mut Table, context: &Context<'_>, report: &mut Report) -> bool {
    read(&TLS, spec, report, |reader, report| {
        let Some(remote) = reader.one("remote", report) else {
            report.dropped(
                context.kind,
                "it checks a file: announcer checks the certificate that the server sends",
            );
            return false;
        };
        read(&REMOTE, remote.block(), report, |reader, report| {
            let host = reader.one("host", report);
            let place = host.and_then(|node| curl::host_and_port(node.word(), 443));
            let Some((host, port)) = place else {
                report.dropped(remote, "it has no `host`");
                reader.rest();
                return false;
            };
            let shown =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            check.set("tls", shown);
            if let Some(target) = curl::target(host, port) {
                check.set("target", target);
            } else {
                report.differs(
                    remote,
                    "announcer asks each VIP for this name, and does not look the name up; write `target` to ask another address",
                );
            }
            let insecure = reader.one("insecure", report).is_some_and(|node| node.word() == "true");
            check.set("verify", if insecure { "off" } else { "require" });
            check.set("interval", time(INTERVAL.fit(context.interval, Some(context.kind), report)));
            check.set("rise", 1);
            check.set("fall", 1);
            true
        })
    })
}

fn address(spec: &[Node], mut check: Table, context: &Context<'_>, report: &mut Report) -> Translated {
    read(&ADDRESS, spec, report, |reader, report| {
        let Some(node) = reader.one("ipv4", report) else {
            report.dropped(context.kind, "it has no `ipv4`");
            return Translated::Dropped;
        };
        let Some(address) = parsed::<IpAddr>(node, "an address", report) else { return Translated::Dropped };
        if context.assigned.contains(&address) {
            report.unneeded(node, "announcer announces a VIP only while it is on lo, and puts it there");
            return Translated::Own;
        }
        check.set("exec", shell(&format!("ip -o address show to {address} | grep -q .")));
        check.set("interval", time(INTERVAL.fit(context.interval, Some(context.kind), report)));
        check.set("rise", 1);
        check.set("fall", 1);
        Translated::Check(check)
    })
}
