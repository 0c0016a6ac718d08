//! The checks of real servers and the scripts of VRRP.

use std::net::{IpAddr, SocketAddr};

use super::rows::{CHECK, SCRIPT, URL};
use crate::anycastd::dig;
use crate::draft::Table;
use crate::node::Node;
use crate::report::Report;
use crate::row::{Reader, read};
use crate::values::{
    FALL, INTERVAL, RISE, TIMEOUT, command, fast_interval, parsed, parsed_seconds, shell, time,
};

/// The types of records that a `dns` check can ask for.
const RECORD_TYPES: [&str; 12] =
    ["A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT"];

/// How many octets keepalived sends in an echo request.
const ECHO_SIZE: u64 = 128;

/// Options that a check inherits from its real server, and that from its virtual server.
#[derive(Clone, Default)]
pub(super) struct Shared<'n> {
    delay_loop: Option<&'n Node>,
    retry: Option<&'n Node>,
    delay_before_retry: Option<&'n Node>,
    connect_timeout: Option<&'n Node>,
    virtualhost: Option<&'n Node>,
}

impl<'n> Shared<'n> {
    /// The options of a block, over those that it inherits.
    pub(super) fn read(&self, reader: &mut Reader<'n>, report: &mut Report) -> Shared<'n> {
        let retry = reader.one("retry", report).or(reader.one("nb_get_retry", report));
        Shared {
            delay_loop: reader.one("delay_loop", report).or(self.delay_loop),
            retry: retry.or(self.retry),
            delay_before_retry: reader.one("delay_before_retry", report).or(self.delay_before_retry),
            connect_timeout: reader.one("connect_timeout", report).or(self.connect_timeout),
            virtualhost: reader.one("virtualhost", report).or(self.virtualhost),
        }
    }
}

/// The server that is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// The address that keepalived asks.
    pub(super) address: IpAddr,
    /// Its port.
    pub(super) port: u16,
    /// The VIP that stands in URLs.
    pub(super) vip: IpAddr,
    /// Whether the VIP itself is asked at the same port.
    pub(super) by_vip: bool,
}

impl Server {
    /// The `target` of a check; none if the VIP is asked.
    fn target(&self, ip: Option<IpAddr>, port: Option<u16>) -> Option<String> {
        let asks_vip = self.by_vip && ip.is_none() && port.is_none() || ip == Some(self.vip);
        let address = ip.unwrap_or(self.address);
        (!asks_vip).then(|| SocketAddr::new(address, port.unwrap_or(self.port)).to_string())
    }
}

/// Translates a check of a real server: one for each URL.
pub(super) fn translate<'n>(
    node: &'n Node,
    server: Server,
    shared: &Shared<'n>,
    report: &mut Report,
) -> Vec<Table> {
    let own: Vec<&Node> = node.block().iter().filter(|child| child.name == "host").collect();
    read(&CHECK, node.block(), report, |reader, report| {
        let shared = shared.read(reader, report);
        reader.all("host");
        // A `host` block of SMTP_CHECK has the same options.
        let inner = |name: &str| own.iter().flat_map(|host| host.block()).find(|child| child.name == name);
        let ip = reader.one("connect_ip", report).or(inner("connect_ip"));
        let ip = ip.and_then(|node| parsed::<IpAddr>(node, "an address", report));
        let port = reader.one("connect_port", report).or(inner("connect_port"));
        let port = port.and_then(|node| parsed::<u16>(node, "a port", report)).filter(|port| *port > 0);
        let target = server.target(ip, port);
        let port = port.unwrap_or(server.port);
        let mut check = Table::new("[[service.check]]");
        check.comment(format!("From {}, `{}`.", node.place, node.name));
        let mut tables = Vec::new();
        // Retries and their distance, as keepalived has them by default; none: as `delay_loop`.
        let (mut retries, mut distance) = (1, Some(1_000));
        match node.name.as_str() {
            "HTTP_GET" | "SSL_GET" => {
                distance = Some(3_000);
                let scheme = if node.name == "SSL_GET" { "https" } else { "http" };
                if let Some(node) = reader.one("http_protocol", report)
                    && node.word() == "1.1"
                {
                    check.set("http_version", "1.1");
                }
                let sni = reader.one("sni_name", report);
                for url in reader.all("url") {
                    let host = shared.virtualhost;
                    let mut table = self::url(url, scheme, (server.vip, port, host), check.clone(), report);
                    if let Some(sni) = sni
                        && !table.text("http").contains(&format!("//{}", sni.word()))
                    {
                        report.dropped(sni, "announcer sends the host of `http` as SNI");
                    }
                    if scheme == "https" {
                        table.set_why("verify", "off", "keepalived does not check the certificate");
                    }
                    tables.push(table);
                }
                if tables.is_empty() {
                    report.dropped(node, "it has no `url`");
                }
            }
            "TCP_CHECK" => {
                check.set("tcp", u64::from(port));
                tables.push(check);
            }
            "SMTP_CHECK" => {
                check.set("tcp", u64::from(port));
                check.set("send", "QUIT\r\n");
                check.set("expect", "^220");
                tables.push(check);
            }
            "DNS_CHECK" => {
                (retries, distance) = (3, None);
                let name = reader.one("name", report).map_or(".", Node::word).to_owned();
                let kind = reader.one("type", report).map_or("SOA", Node::word).to_ascii_uppercase();
                if RECORD_TYPES.contains(&kind.as_str()) {
                    check.set("dns", name);
                    check.set("record_type", kind);
                    if target.is_none() && port != 53 {
                        check.set("dns_port", u64::from(port));
                    }
                } else {
                    let timeout = shared.connect_timeout.and_then(|node| parsed_seconds(node, report));
                    let address = ip.unwrap_or(if server.by_vip { server.vip } else { server.address });
                    let dig = dig((&address.to_string(), port), &name, &kind, timeout.unwrap_or(5_000));
                    check.set("exec", dig);
                    check.comment("It needs `dig`; on Debian: apt-get install bind9-dnsutils.");
                }
                tables.push(check);
            }
            "UDP_CHECK" => {
                if udp(node, port, reader, &mut check, report) {
                    tables.push(check);
                }
            }
            "PING_CHECK" => match ip.filter(|ip| ![server.address, server.vip].contains(ip)) {
                Some(ip) => {
                    check.set("icmp", ECHO_SIZE);
                    check.set("target", ip.to_string());
                    check.comment("The group `announcer` has to be in net.ipv4.ping_group_range.");
                    tables.push(check);
                }
                None => report.dropped(node, "a host does not need to ping itself"),
            },
            _ => {
                (retries, distance) = (0, Some(1_000));
                misc(node, reader, &mut check, report);
                if check.get("exec").is_some() {
                    tables.push(check);
                }
            }
        }
        let timeout = reader.one("misc_timeout", report).or(shared.connect_timeout);
        for table in &mut tables {
            if table.get("exec").is_none()
                && table.get("target").is_none()
                && let Some(target) = &target
            {
                table.set("target", target.as_str());
            }
            times(table, &shared, (retries, distance), timeout, report);
        }
        tables
    })
}

/// Sets the datagrams of a `udp` check; false: it has no equivalent.
fn udp(node: &Node, port: u16, reader: &mut Reader<'_>, check: &mut Table, report: &mut Report) -> bool {
    let (payload, reply) = (reader.one("payload", report), reader.one("require_reply", report));
    let Some(reply) = reply else {
        report.dropped(
            node,
            "without `require_reply` it passes if nothing answers, and a `udp` check needs an answer",
        );
        return false;
    };
    check.set("udp", u64::from(port));
    match payload {
        Some(payload) => match octets(payload) {
            Some(octets) => check.set("send_hex", octets),
            None => report.dropped(payload, "it is not hexadecimal"),
        },
        None => report
            .differs(node, "it sends random octets, and the `udp` check an empty datagram: write `send`"),
    }
    match octets(reply) {
        _ if reply.words.is_empty() => {}
        Some(octets) => check.set("expect_hex", octets),
        None => {
            report.dropped(reply, "`expect_hex` has octets in hexadecimal, and none that can be anything")
        }
    }
    true
}

/// The octets of an option in hexadecimal; `None`: it has other characters.
fn octets(node: &Node) -> Option<String> {
    let digits = node.words.concat().to_ascii_lowercase();
    let is_hex = !digits.is_empty()
        && digits.len().is_multiple_of(2)
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then_some(digits)
}

/// An `http` check for a URL.
fn url(
    node: &Node,
    scheme: &str,
    (vip, port, host): (IpAddr, u16, Option<&Node>),
    mut check: Table,
    report: &mut Report,
) -> Table {
    read(&URL, node.block(), report, |reader, report| {
        let host = reader.one("virtualhost", report).or(host);
        let path = reader.one("path", report).map_or("/", Node::word).to_owned();
        let host = host.map(Node::text).unwrap_or_else(|| match vip {
            IpAddr::V4(vip) => vip.to_string(),
            IpAddr::V6(vip) => format!("[{vip}]"),
        });
        let default = if scheme == "https" { 443 } else { 80 };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let shown = if port == default || has_port { String::new() } else { format!(":{port}") };
        check.set("http", format!("{scheme}://{host}{shown}{path}"));
        if let Some(node) = reader.one("status_code", report) {
            let (right, wrong): (Vec<String>, Vec<String>) = node.list().into_iter().partition(|code| {
                let ends: Vec<Option<u16>> = code.split('-').map(|end| end.parse().ok()).collect();
                let is_code = |end: &Option<u16>| end.is_some_and(|end| (200..=599).contains(&end));
                ends.len() <= 2 && ends.iter().all(is_code) && ends.first() <= ends.last()
            });
            for code in wrong {
                report.dropped(node, format!("`{code}` is not a status of 200 to 599"));
            }
            if !right.is_empty() {
                check.set("expect_status", right);
            }
        }
        let options = reader.one("regex_options", report);
        let caseless = options.is_some_and(|node| node.words == ["caseless"]);
        if let Some(node) = options.filter(|_| !caseless) {
            report.dropped(node, "announcer has `(?i)` and other flags inside of `expect_body`");
        }
        if let Some(node) = reader.one("regex", report) {
            let text = node.text();
            // These are of PCRE, and not of announcer's regular expressions.
            let is_foreign =
                ["(?=", "(?!", "(?<", "\\1", "\\2", "(?>", "(?P>", "\\K", "\\G", "++", "*+", "?+", "\\Q"]
                    .iter()
                    .any(|part| text.contains(part));
            if is_foreign {
                report.dropped(
                    node,
                    "`expect_body` has no look-around, back references or possessive quantifiers",
                );
            } else {
                check.set("expect_body", format!("{}{text}", if caseless { "(?i)" } else { "" }));
            }
        }
    });
    check
}

/// A program.
fn misc(node: &Node, reader: &mut Reader<'_>, check: &mut Table, report: &mut Report) {
    if let Some(user) = reader.one("user", report) {
        user_of(user, report);
    }
    match reader.one("misc_path", report) {
        Some(path) => program(path, check, report),
        None => report.dropped(node, "it has no `misc_path`"),
    }
}

/// Reports that a program runs as another user.
pub(super) fn user_of(node: &Node, report: &mut Report) {
    report.differs(
        node,
        "the program of a check runs as the daemon's user; `user` of the check is possible only if that is root",
    );
}

/// Sets the program of a check. keepalived uses a shell only if it has to.
fn program(node: &Node, check: &mut Table, report: &mut Report) {
    let line = node.text();
    let needs_shell =
        line.contains(['|', '&', ';', '<', '>', '$', '`', '(', ')', '*', '?', '~', '=', '\'', '"', '\\']);
    let words = shlex::split(&line).filter(|words| !words.is_empty() && !needs_shell);
    match words.as_deref() {
        Some([killall, signal, name])
            if killall.rsplit('/').next() == Some("killall") && ["-0", "-s0"].contains(&signal.as_str()) =>
        {
            report.differs(
                node,
                "it is `pgrep` now: a program without rights may not send a signal to processes of another user",
            );
            check.set("exec", command(vec!["pgrep".to_owned(), "-x".to_owned(), name.clone()]));
        }
        Some(words) => check.set("exec", command(words.to_vec())),
        None if line.is_empty() => report.dropped(node, "it is empty"),
        None => check.set("exec", shell(&line)),
    }
}

/// Sets the times of a check of a real server.
fn times(
    check: &mut Table,
    shared: &Shared<'_>,
    (retries, distance): (u64, Option<u64>),
    timeout: Option<&Node>,
    report: &mut Report,
) {
    let seconds =
        |node: Option<&Node>, report: &mut Report| node.and_then(|node| parsed_seconds(node, report));
    let interval = seconds(shared.delay_loop, report).unwrap_or(60_000);
    let retries = shared.retry.and_then(|node| parsed::<u64>(node, "a number", report)).unwrap_or(retries);
    check.set("interval", time(INTERVAL.fit(interval, shared.delay_loop, report)));
    let fast = seconds(shared.delay_before_retry, report).or(distance).unwrap_or(interval);
    let fast = fast_interval(fast, INTERVAL.fit(interval, None, report), shared.delay_before_retry, report);
    if retries > 0 && fast != interval {
        check.set("fast_interval", time(fast));
    }
    // A program may take as long as the interval, and all others 5 s.
    let default = if check.get("exec").is_some() { interval } else { 5_000 };
    let limit = seconds(timeout, report).filter(|limit| *limit > 0).unwrap_or(default);
    check.set("timeout", time(TIMEOUT.fit(limit, timeout.or(shared.delay_loop), report)));
    check.set("rise", 1);
    check.set("fall", FALL.fit(retries.saturating_add(1), shared.retry, report));
}

/// Translates a script that an instance tracks. `weight` is that of the instance.
pub(super) fn script(node: &Node, weight: Option<&str>, report: &mut Report) -> Option<Table> {
    read(&SCRIPT, node.block(), report, |reader, report| {
        let mut check = Table::new("[[service.check]]");
        check.comment(format!("From {}, `vrrp_script {}`.", node.place, node.text()));
        check.set("name", crate::values::name(&node.text()));
        match reader.one("script", report) {
            Some(line) => program(line, &mut check, report),
            None => report.dropped(node, "it has no `script`"),
        }
        let interval_node = reader.one("interval", report);
        let interval = interval_node.and_then(|node| parsed_seconds(node, report)).unwrap_or(1_000);
        check.set("interval", time(INTERVAL.fit(interval, interval_node, report)));
        let timeout_node = reader.one("timeout", report);
        let timeout = timeout_node.and_then(|node| parsed_seconds(node, report)).filter(|limit| *limit > 0);
        check.set(
            "timeout",
            time(TIMEOUT.fit(timeout.unwrap_or(interval), timeout_node.or(interval_node), report)),
        );
        for (name, range) in [("rise", RISE), ("fall", FALL)] {
            let node = reader.one(name, report);
            let number = node.and_then(|node| parsed::<u64>(node, "a number", report)).unwrap_or(1);
            let key = if name == "rise" { "rise" } else { "fall" };
            check.set(key, range.fit(number, node, report));
        }
        if let Some(user) = reader.one("user", report) {
            user_of(user, report);
        }
        let own = reader.one("weight", report);
        let weight = weight.or(own.map(Node::word)).unwrap_or("0");
        if weight.trim_matches(['+', '-', '0']).is_empty() {
            check.set("on_failure", "withdraw");
        } else {
            check.set_why("on_failure", "deprefer", format!("its weight is {weight}"));
        }
        check.get("exec").is_some().then_some(check)
    })
}
