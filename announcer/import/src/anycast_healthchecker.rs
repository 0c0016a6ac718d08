//! anycast_healthchecker: its INI files, and the sessions of the BIRD that it drives.
//!
//! <https://github.com/unixsurfer/anycast_healthchecker>, `anycast_healthchecker/__init__.py` and `utils.py`.

mod bird;

use crate::draft::{Draft, Table, quoted};
use crate::ini::{self, Ini};
use crate::node::{Node, Place};
use crate::report::Report;
use crate::row::{Block, dropped, read, translated, unneeded};
use crate::values::{
    FALL, INTERVAL, RISE, TIMEOUT, command, is_host, parsed, parsed_seconds, prefix, python_words, time,
};

use crate::{Given, ImportError, Imported, Input};

/// The tables of options.
pub const BLOCKS: &[&Block] = &[&SERVICE, &DAEMON, &bird::FILE, &bird::PROTOCOL, &bird::CHANNEL];

const SERVICE: Block = Block {
    title: "a section of a service",
    rows: &[
        translated(&["check_cmd"], "`exec`, without a shell"),
        translated(&["check_interval"], "`interval`"),
        translated(&["check_timeout"], "`timeout`, at most `1m`"),
        translated(&["check_rise"], "`rise`"),
        translated(&["check_fail"], "`fall`"),
        translated(&["ip_prefix"], "`vips`; a network also `prefix`"),
        translated(&["check_disabled", "on_disabled"], "a drain, or a check that always passes"),
        translated(&["interface"], "nothing if it is lo, where announcer has the VIPs"),
        translated(
            &["ip_check_disabled"],
            "nothing if it is false: announcer never announces a VIP that is not on lo",
        ),
        unneeded(
            &["custom_bird_reconfigure_cmd", "custom_bird_reconfigure_cmd_timeout"],
            "announcer speaks BGP by itself, without BIRD",
        ),
    ],
};

const DAEMON: Block = Block {
    title: "`[daemon]`",
    rows: &[
        translated(&["ipv4", "ipv6"], "nothing: a service of a family that is off is left out"),
        translated(&["prometheus_exporter"], "`[metrics]`, over HTTP instead of a file"),
        unneeded(
            &["prometheus_collector_textfile_dir", "prometheus_exporter_interval"],
            "Prometheus reads announcer's metrics over HTTP",
        ),
        unneeded(
            &[
                "bird_conf",
                "bird6_conf",
                "bird_variable",
                "bird6_variable",
                "bird_reconfigure_cmd",
                "bird6_reconfigure_cmd",
                "bird_keep_changes",
                "bird6_keep_changes",
                "bird_changes_counter",
                "bird6_changes_counter",
                "dummy_ip_prefix",
                "dummy_ip6_prefix",
                "purge_ip_prefixes",
            ],
            "announcer speaks BGP by itself, without BIRD",
        ),
        unneeded(&["pidfile"], "systemd knows the process"),
        unneeded(
            &[
                "loglevel",
                "log_file",
                "log_maxbytes",
                "log_backups",
                "log_server",
                "log_server_port",
                "log_format",
                "log_format_journalctl",
                "json_stdout",
                "json_log_server",
                "json_log_file",
                "stderr_file",
                "stderr_log_server",
            ],
            "announcer logs to the journal: `announcer run --log` and `--log-format`",
        ),
        unneeded(&["splay_startup"], "announcer spreads its checks by itself"),
        dropped(
            &["http_server", "http_server_host", "http_server_port"],
            "announcer's status page is `[status]`",
        ),
    ],
};

/// Translates the files of anycast_healthchecker, in the order in which it reads them, and the configurations of BIRD.
///
/// # Errors
/// When the syntax of a file is wrong, and when there is no service.
pub fn import(inputs: &[Input], birds: &[Input], given: &Given) -> Result<Imported, ImportError> {
    let mut report = Report::default();
    let mut draft = Draft::new();
    let ini = ini::parse(inputs)?;
    let sections = &ini.sections;
    for input in birds {
        bird::translate(input, &mut draft, &mut report)?;
    }
    let (daemon, services): (Vec<&Node>, Vec<&Node>) =
        sections.iter().partition(|section| section.name == "daemon");
    let mut families = Families { v4: true, v6: false };
    for section in daemon {
        self::daemon(section, &ini, &mut families, &mut draft, &mut report);
    }
    let mut left_out = 0;
    for section in &services {
        let before = draft.services.len();
        service(section, &ini, families, &mut draft, &mut report);
        left_out += usize::from(draft.services.len() == before);
    }
    if services.len() == left_out {
        let name = inputs.first().map(|input| input.name.clone()).unwrap_or_default();
        return Err(ImportError::Nothing(name, "no section with `check_cmd` and `ip_prefix` was found"));
    }
    let place = Place { file: inputs.first().map_or("", |input| input.name.as_str()).into(), line: 1 };
    Ok(draft.finish("anycast-healthchecker", &place, given, report))
}

/// The families that anycast_healthchecker announces.
#[derive(Clone, Copy)]
struct Families {
    v4: bool,
    v6: bool,
}

/// Whether a table has an option.
fn is_known(block: &Block, node: &Node) -> bool {
    block.rows.iter().any(|row| row.names.contains(&node.name.as_str()))
}

/// The options of a section, without those that only stand in the values of others.
fn options(section: &Node, block: &Block, ini: &Ini, report: &mut Report) -> Vec<Node> {
    let (variables, options): (Vec<&Node>, Vec<&Node>) =
        section.block().iter().partition(|node| !is_known(block, node) && ini.variables.contains(&node.name));
    variables.iter().for_each(|node| report.unneeded(node, "its value is in the options that name it"));
    options.into_iter().cloned().collect()
}

/// The value of a boolean of `configparser`.
fn flag(node: &Node, report: &mut Report) -> Option<bool> {
    match node.word().to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => {
            report.dropped(node, format!("`{}` is neither true nor false", node.text()));
            None
        }
    }
}

fn daemon(section: &Node, ini: &Ini, families: &mut Families, draft: &mut Draft, report: &mut Report) {
    // The values of `[DEFAULT]` are in each section, and most of them are for services.
    let mut options = options(section, &DAEMON, ini, report);
    options.retain(|node| is_known(&DAEMON, node) || !ini.defaults.contains(&node.place));
    read(&DAEMON, &options, report, |reader, report| {
        if let Some(on) = reader.one("ipv4", report).and_then(|node| flag(node, report)) {
            families.v4 = on;
        }
        if let Some(on) = reader.one("ipv6", report).and_then(|node| flag(node, report)) {
            families.v6 = on;
        }
        if let Some(node) = reader.one("prometheus_exporter", report)
            && flag(node, report) == Some(true)
        {
            let mut metrics = Table::new("[metrics]");
            metrics.comment(format!("From {}.", node.place));
            metrics.set("listen", "127.0.0.1:9179");
            draft.others.push(metrics);
            report.differs(
                node,
                "the metrics have other names, and Prometheus reads them over HTTP: docs/metrics.md",
            );
        }
    });
}

fn service(section: &Node, ini: &Ini, families: Families, draft: &mut Draft, report: &mut Report) {
    let options = options(section, &SERVICE, ini, report);
    read(&SERVICE, &options, report, |reader, report| {
        let Some(net) = reader.one("ip_prefix", report) else {
            report.dropped(section, "the section has no `ip_prefix`");
            reader.rest();
            return;
        };
        let Some(prefix) = prefix(net.word()) else {
            report.dropped(net, format!("`{}` is not a prefix", net.text()));
            reader.rest();
            return;
        };
        let is_v4 = prefix.addr().is_ipv4();
        if !(if is_v4 { families.v4 } else { families.v6 }) {
            let option = if is_v4 { "ipv4" } else { "ipv6" };
            report.dropped(
                section,
                format!("`{option}` of `[daemon]` is off: anycast_healthchecker does not announce it"),
            );
            reader.rest();
            return;
        }
        let vip = if is_host(prefix) { Some(prefix.addr()) } else { prefix.hosts().next() };
        let Some(vip) = vip.filter(|vip| !draft.vips().contains(vip)) else {
            report
                .dropped(net, format!("{prefix} is announced by a service above, and a VIP has one service"));
            reader.rest();
            return;
        };
        let mut service = Table::new("[[service]]");
        service.comment(format!("From {}, section `[{}]`.", section.place, section.name));
        let name = draft.service_name(&section.name);
        service.set("name", name.as_str());
        service.set("vips", vec![vip.to_string()]);
        if !is_host(prefix) {
            service.set("prefix", vec![prefix.trunc().to_string()]);
            report.missing(
                &net.place,
                &net.name,
                format!(
                    "the VIPs in {prefix}: `vips` has only the first address; write those that clients use"
                ),
            );
        }
        if let Some(node) = reader.one("interface", report)
            && node.word() != "lo"
        {
            report.differs(
                node,
                format!("announcer has the VIP on lo: take it from {} after the change", node.word()),
            );
        }
        if let Some(node) = reader.one("ip_check_disabled", report)
            && flag(node, report) == Some(true)
        {
            report.dropped(node, "announcer never announces a VIP that is not on lo, where it puts the VIP");
        }
        let disabled = reader.one("check_disabled", report);
        // The default is true.
        let is_disabled = disabled.is_none_or(|node| flag(node, report) != Some(false));
        let on_disabled = reader.one("on_disabled", report);
        let advertises = on_disabled.is_some_and(|node| node.word() == "advertise");
        if let Some(node) = on_disabled.filter(|node| !["advertise", "withdraw"].contains(&node.word())) {
            report.dropped(node, "it is neither `withdraw`, which stands here, nor `advertise`");
        }
        let check = check(reader, is_disabled && advertises, report);
        match (check, is_disabled) {
            (Some(check), false) => service.tables.push(check),
            (Some(check), true) => {
                let place = disabled.map_or(&section.place, |node| &node.place);
                if advertises {
                    let mut always = Table::new("[[service.check]]");
                    let exec =
                        check.texts("exec").iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
                    always.comment(format!(
                        "The check is disabled, and the VIP is announced ({place}). The check is: exec = [{exec}]"
                    ));
                    always.set("exec", vec!["/bin/true".to_owned()]);
                    service.tables.push(always);
                } else {
                    service.comment(format!("It is disabled, and not announced: `announcer drain {name}`."));
                    report.missing(
                        place,
                        "check_disabled",
                        format!("the service is not announced: run `announcer drain {name}` before the daemon starts"),
                    );
                    service.tables.push(check);
                }
            }
            (None, _) => {
                report.missing(
                    &section.place,
                    "check_cmd",
                    "the check of this service; here it always passes",
                );
                let mut check = Table::new("[[service.check]]");
                check.set("exec", vec!["/bin/true".to_owned()]);
                service.tables.push(check);
            }
        }
        draft.services.push(service);
    });
}

/// The check of a service.
fn check(reader: &mut crate::row::Reader<'_>, is_only_shown: bool, report: &mut Report) -> Option<Table> {
    let mut check = Table::new("[[service.check]]");
    let line = reader.one("check_cmd", report);
    let words = line.and_then(|node| {
        let words = python_words(&node.text()).filter(|words| !words.is_empty());
        if words.is_none() {
            report.dropped(node, "it is not a command line: a quote has no end, or it is empty");
        }
        words
    });
    if let Some(proposal) =
        line.filter(|_| !is_only_shown).and_then(|node| crate::curl::proposal(&node.text()))
    {
        check.comment(format!(
            "announcer can ask by itself, without a program, and then notices at once that the server no longer listens, and \
             withdraws: {proposal}"
        ));
    }
    if let Some(words) = &words {
        check.set("exec", command(words.clone()));
    }
    let node = reader.one("check_interval", report);
    let interval = node.and_then(|node| parsed_seconds(node, report)).unwrap_or(10_000);
    check.set("interval", time(INTERVAL.fit(interval, node, report)));
    let node = reader.one("check_timeout", report);
    let timeout = node.and_then(|node| parsed_seconds(node, report)).unwrap_or(2_000);
    check.set("timeout", time(TIMEOUT.fit(timeout, node, report)));
    for (name, key, range) in [("check_rise", "rise", RISE), ("check_fail", "fall", FALL)] {
        let node = reader.one(name, report);
        let number = node.and_then(|node| parsed::<u64>(node, "a number", report)).unwrap_or(2);
        check.set(key, range.fit(number, node, report));
    }
    words.map(|_| check)
}
