//! keepalived: virtual servers whose real server is this host, and instances of VRRP.
//!
//! <https://www.keepalived.org/manpage.html>, and `keepalived/check/*.c`, `keepalived/vrrp/vrrp_parser.c` of
//! <https://github.com/acassen/keepalived>.

mod checks;
mod files;
mod rows;
mod vrrp;

use std::collections::BTreeMap;
use std::net::IpAddr;

use self::checks::{Server, Shared};
use self::files::{DEEPEST, MOST, included, replace};
use self::vrrp::{instance, sync_groups};
use crate::draft::{Draft, Table};
use crate::node::{Node, Place};
use crate::report::Report;
use crate::row::{Block, read};
use crate::values::parsed;
use crate::{Files, Given, ImportError, Imported, Input};

/// The tables of options.
pub const BLOCKS: &[&Block] = &[
    &rows::FILE,
    &rows::GLOBAL,
    &rows::VIRTUAL_SERVER,
    &rows::REAL_SERVER,
    &rows::CHECK,
    &rows::URL,
    &rows::INSTANCE,
    &rows::SYNC_GROUP,
    &rows::SCRIPT,
];

/// The most addresses of a range.
const RANGE: u32 = 256;

/// VIPs that belong together, with what is known about them.
struct Found {
    name: String,
    comments: Vec<String>,
    vips: Vec<IpAddr>,
    checks: Vec<Table>,
    require: Option<u64>,
    backup: bool,
}

/// Translates a configuration, with the files that it includes.
///
/// # Errors
/// When the syntax of a file is wrong, when a file that is included cannot be read, and when no VIP of this host is found.
pub fn import(input: &Input, files: &dyn Files, given: &Given) -> Result<Imported, ImportError> {
    let mut report = Report::default();
    let mut draft = Draft::new();
    let mut left = MOST;
    let mut nodes = included(input, files, DEEPEST, &mut left)?;
    let mut variables = BTreeMap::new();
    replace(&mut nodes, &mut variables, &mut report);
    let mut found: Vec<Found> = Vec::new();
    read(&rows::FILE, &nodes, &mut report, |reader, report| {
        for node in reader.all("global_defs") {
            read(&rows::GLOBAL, node.block(), report, |reader, report| {
                if let Some(user) = reader.one("script_user", report) {
                    checks::user_of(user, report);
                }
            });
        }
        let groups: BTreeMap<String, &Node> =
            reader.all("virtual_server_group").into_iter().map(|node| (node.text(), node)).collect();
        for node in reader.all("virtual_server") {
            if let Some(one) = virtual_server(node, &groups, given, report) {
                merge(&mut found, one, node, report);
            }
        }
        let scripts: BTreeMap<String, &Node> =
            reader.all("vrrp_script").into_iter().map(|node| (node.text(), node)).collect();
        let shared = sync_groups(&reader.all("vrrp_sync_group"), report);
        let mut used: Vec<String> = Vec::new();
        for node in reader.all("vrrp_instance") {
            let tracked = shared.get(&node.text()).cloned().unwrap_or_default();
            if let Some(one) = instance(node, &scripts, &tracked, &mut used, report) {
                merge(&mut found, one, node, report);
            }
        }
        for (name, node) in scripts.iter().filter(|(name, _)| !used.contains(name)) {
            report.unneeded(node, format!("no instance tracks `{name}`"));
        }
        for name in ["include", "includer", "includem", "includew", "includeb", "includea"] {
            // They were replaced by what the files have.
            reader.all(name);
        }
    });
    if found.is_empty() {
        return Err(ImportError::Nothing(
            input.name.clone(),
            "no virtual server has a real server on this host, and no instance has a VIP; if a real server is this host, give its \
             address by `--local`",
        ));
    }
    for one in found {
        draft.services.push(service(one, &draft));
    }
    let place = Place { file: input.name.as_str().into(), line: 1 };
    Ok(draft.finish("keepalived", &place, given, report))
}

/// The addresses of a line of a group: an address, or a range such as `192.0.2.1-10`.
fn addresses(text: &str) -> Option<Vec<IpAddr>> {
    let text = text.split('/').next().unwrap_or_default();
    if let Ok(address) = text.parse() {
        return Some(vec![address]);
    }
    let (first, last) = text.rsplit_once('-')?;
    let first: std::net::Ipv4Addr = first.parse().ok()?;
    let last: u32 = last.parse().ok().filter(|last| *last <= 255)?;
    let octets = first.octets();
    let last = u32::from(std::net::Ipv4Addr::new(octets[0], octets[1], octets[2], 0)) + last;
    let count = last.checked_sub(first.into()).filter(|count| *count < RANGE)?;
    Some((0..=count).map(|step| IpAddr::V4((u32::from(first) + step).into())).collect())
}

/// The VIPs and the port of a virtual server.
fn vips(node: &Node, groups: &BTreeMap<String, &Node>, report: &mut Report) -> Option<(Vec<IpAddr>, u16)> {
    let port = |text: Option<&String>| text.and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    match node.word() {
        "group" => {
            let name = node.words.get(1)?;
            let Some(group) = groups.get(name) else {
                report.dropped(node, format!("there is no group `{name}`"));
                return None;
            };
            let mut all = Vec::new();
            let mut first = 0;
            for line in group.block() {
                match addresses(&line.name) {
                    Some(addresses) => {
                        all.extend(addresses);
                        first = if first == 0 { port(line.words.first()) } else { first };
                    }
                    None => report.dropped(line, "it is not an address or a range of addresses"),
                }
            }
            Some((all, first))
        }
        "fwmark" => {
            report.dropped(node, "the firewall chooses its addresses: write a `[[service]]` with them");
            None
        }
        address => match addresses(address) {
            Some(all) => Some((all, port(node.words.get(1)))),
            None => {
                report.dropped(node, format!("`{address}` is not an address"));
                None
            }
        },
    }
}

fn virtual_server(
    node: &Node,
    groups: &BTreeMap<String, &Node>,
    given: &Given,
    report: &mut Report,
) -> Option<Found> {
    let (vips, port) = vips(node, groups, report)?;
    let vip = *vips.first()?;
    read(&rows::VIRTUAL_SERVER, node.block(), report, |reader, report| {
        let shared = Shared::default().read(reader, report);
        let kind = [reader.one("lb_kind", report), reader.one("lvs_method", report)];
        let is_direct = kind.into_iter().flatten().any(|node| ["DR", "TUN"].contains(&node.word()));
        let quorum = reader.one("quorum", report);
        let mut checks = Vec::new();
        let mut per_server = Vec::new();
        for server in reader.all("real_server") {
            let Ok(address) = server.word().parse::<IpAddr>() else {
                report.dropped(server, format!("`{}` is not an address", server.word()));
                continue;
            };
            let is_local = address.is_loopback() || vips.contains(&address) || given.local.contains(&address);
            if !is_local {
                report.dropped(
                    server,
                    format!(
                        "{address} is another host: announcer runs on each frontend, for itself; if it is this host, give \
                         `--local {address}`"
                    ),
                );
                continue;
            }
            let its_port = server.words.get(1).and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
            let its_port = if its_port == 0 { port } else { its_port };
            let by_vip = its_port == port && (vips.contains(&address) || is_direct && !address.is_loopback());
            let place = Server { address, port: its_port, vip, by_vip };
            let of_server = real_server(server, place, &shared, report);
            per_server.push(of_server.len());
            checks.extend(of_server);
        }
        if per_server.is_empty() {
            report.dropped(node, "none of its real servers is this host");
            return None;
        }
        let mut require = None;
        if per_server.len() > 1 {
            let least = quorum.and_then(|node| parsed::<u64>(node, "a number", report)).unwrap_or(1);
            let all = u64::try_from(per_server.len()).unwrap_or(u64::MAX);
            if per_server.iter().all(|count| *count == 1) {
                require = Some(least.clamp(1, all)).filter(|least| *least < all);
            } else {
                report.missing(
                    &node.place,
                    "quorum",
                    "which checks have to pass: `require` cannot count servers with several checks; all have to pass as it stands",
                );
            }
        } else if let Some(quorum) = quorum {
            report.unneeded(quorum, "one real server is on this host");
        }
        let title = node.text();
        let name = if node.word() == "group" {
            node.words.get(1).cloned().unwrap_or_default()
        } else {
            vip.to_string()
        };
        let comments = vec![format!("From {}, `virtual_server {title}`.", node.place)];
        Some(Found { name, comments, vips: vips.clone(), checks, require, backup: false })
    })
}

fn real_server<'n>(node: &'n Node, server: Server, shared: &Shared<'n>, report: &mut Report) -> Vec<Table> {
    read(&rows::REAL_SERVER, node.block(), report, |reader, report| {
        let shared = shared.read(reader, report);
        if let Some(weight) = reader.one("weight", report)
            && weight.word() != "1"
        {
            report.dropped(weight, "routers spread equally (ECMP)");
        }
        let mut checks = Vec::new();
        for name in [
            "HTTP_GET",
            "SSL_GET",
            "TCP_CHECK",
            "SMTP_CHECK",
            "DNS_CHECK",
            "UDP_CHECK",
            "PING_CHECK",
            "MISC_CHECK",
        ] {
            for check in reader.all(name) {
                checks.extend(checks::translate(check, server, &shared, report));
            }
        }
        checks
    })
}

/// Adds a service, or adds it to one with the same VIP.
fn merge(found: &mut Vec<Found>, one: Found, node: &Node, report: &mut Report) {
    let shares = |other: &&mut Found| other.vips.iter().any(|vip| one.vips.contains(vip));
    let Some(other) = found.iter_mut().find(shares) else {
        found.push(one);
        return;
    };
    if !other.checks.is_empty() && !one.checks.is_empty() {
        report.differs(
            node,
            "its VIP is in a service above: the VIP is withdrawn when a check of either fails",
        );
    }
    if other.require.is_some() || one.require.is_some() {
        report.missing(
            &node.place,
            "quorum",
            "which checks have to pass: the service has the checks of several virtual servers; all have to pass as it stands",
        );
        other.require = None;
    }
    other.comments.extend(one.comments);
    other.vips.extend(one.vips.iter().copied().filter(|vip| !other.vips.contains(vip)).collect::<Vec<_>>());
    for check in one.checks {
        if !other.checks.contains(&check) {
            other.checks.push(check);
        }
    }
    other.backup |= one.backup;
}

fn service(found: Found, draft: &Draft) -> Table {
    let mut service = Table::new("[[service]]");
    found.comments.into_iter().for_each(|comment| service.comment(comment));
    service.set("name", draft.service_name(&found.name));
    // A VIP of an earlier service stays there.
    let taken = draft.vips();
    let mut vips: Vec<IpAddr> = Vec::new();
    for vip in found.vips {
        if !taken.contains(&vip) && !vips.contains(&vip) {
            vips.push(vip);
        }
    }
    service.set("vips", vips.iter().map(ToString::to_string).collect::<Vec<_>>());
    if found.backup {
        service.set("backup", true);
    }
    match found.require {
        Some(1) => service.set("require", "any"),
        Some(least) => service.set("require", least),
        None => {}
    }
    let mut names: Vec<String> = Vec::new();
    for mut check in found.checks {
        // Two scripts may have names that differ only in characters that announcer's names do not have.
        let name = check.text("name").to_owned();
        if !name.is_empty() {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let own = std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name));
            let own = own.unwrap_or(name);
            check.set("name", own.as_str());
            names.push(own);
        }
        service.tables.push(check);
    }
    if service.tables.is_empty() {
        let mut check = Table::new("[[service.check]]");
        check.comment("Nothing is checked, as with keepalived: write a check of the server.");
        check.set("exec", vec!["/bin/true".to_owned()]);
        service.tables.push(check);
    }
    service
}
