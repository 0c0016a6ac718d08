//! The text of each man page.
//!
//! Pure.

use std::io;

use announcer::config::FILE;
use announcer::config::keys::{Key, Need, Section};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// The exit codes of both programs.
const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Done, or the answer is yes."),
    ("1", "The command failed, was refused, or was not finished in time."),
    ("2", "Wrong usage or wrong configuration; nothing was done."),
];

/// The files of announcer and dsr-setup together, the same list on each page: dsr-setup does not use the drains.
const FILES: &[(&str, &str)] = &[
    ("/etc/announcer/announcer.toml", "The configuration, announcer.toml(5)."),
    ("/run/announcer/control.sock", "The control socket of the daemon, for root and group announcer."),
    ("/var/lib/announcer/drain/", "The drains: a file for each, named after its service, or _all."),
    ("/var/lib/announcer/dsr-setup.json", "The changes on the host, so that they can be undone."),
];

/// The file name of the page, such as `announcer-run.8`.
pub(crate) fn file_name(command: &Command) -> String {
    format!("{}.8", name(command))
}

/// The name of a command with the program before it, such as `announcer-run`; for a program its own name.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of a program or of one of its subcommands, in roff. `program` is the name of the program. `subcommands` are the
/// subcommands of `command` that have their own page; none for a subcommand.
pub(crate) fn command(command: Command, program: &str, subcommands: &[Command]) -> io::Result<Vec<u8>> {
    let source = format!("announcer {}", env!("CARGO_PKG_VERSION"));
    let own = name(&command).to_owned();
    let man = Man::new(command).section("8").source(source).manual("announcer");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if !subcommands.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::default();
    table(&mut roff, "EXIT STATUS", EXIT_STATUS);
    table(&mut roff, "FILES", FILES);
    let pages = [program, "announcer", "dsr-setup"].map(|page| format!("{page}(8)"));
    let others = subcommands.iter().map(|one| format!("{}(8)", name(one)));
    let mut see: Vec<String> = pages.into_iter().chain(others).collect();
    see.push("announcer.toml(5)".to_owned());
    see.retain(|page| *page != format!("{own}(8)"));
    let mut listed = std::collections::BTreeSet::new();
    see.retain(|page| listed.insert(page.clone())); // each page once, in this order
    roff.control("SH", ["SEE ALSO"]).text([roman(see.join(", "))]);
    roff.to_writer(&mut text)?;
    Ok(text)
}

/// Adds a section with a paragraph for each row: the term in bold, its meaning below it.
fn table(roff: &mut Roff, title: &str, rows: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, meaning) in rows {
        roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
    }
}

/// The page announcer.toml(5), in roff: a section for each table of the configuration, with its keys.
pub(crate) fn configuration() -> io::Result<Vec<u8>> {
    let mut roff = Roff::default();
    let source = format!("announcer {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["announcer.toml", "5", "", source.as_str(), "announcer"]);
    roff.control("SH", ["NAME"]).text([roman(
        "announcer.toml - what announcer announces from this host, to which routers, and with which checks",
    )]);
    roff.control("SH", ["SYNOPSIS"]).text([bold("/etc/announcer/announcer.toml")]);
    roff.control("SH", ["DESCRIPTION"]).text([roman(
        "The file is TOML. Times are strings with a unit, as in \"250ms\", \"9s\" or \"1m\". A key or table that is not \
         listed here is refused. announcer-validate(8) prints all mistakes in a file, and changes nothing.",
    )]);
    // The file itself is a section without a header. It has only tables, which are sections of their own.
    for section in FILE.all().into_iter().filter(|section| !section.header.is_empty()) {
        roff.control("SH", [section.header]).text([roman(section.doc)]);
        for key in section.keys().filter(|key| key.section().is_none()) {
            self::key(&mut roff, key);
        }
    }
    roff.control("SH", ["EXAMPLE"]).control("nf", []);
    for line in example().lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]).text([roman("announcer(8), announcer-validate(8), dsr-setup(8)")]);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(text)
}

/// Adds a paragraph for a key: its name, its default or an example, and its meaning. Nothing for a table.
fn key(roff: &mut Roff, key: &Key) {
    let (value, what) = match key.need {
        Need::Required(example) => (example, "required; for example"),
        Need::Optional(example) => (example, "optional; for example"),
        Need::OneOf(example) => (example, "one of these is required; for example"),
        Need::Default(value) => (value, "default"),
        Need::Defaults(_) => {
            roff.control("TP", []).text([bold(key.name)]);
            roff.text([roman(key.doc.replace('`', ""))]);
            return;
        }
        Need::Table(_) | Need::OptionalTable(_) | Need::Tables(_) | Need::OptionalTables(_) => return,
    };
    roff.control("TP", []).text([
        bold(key.name),
        roman(" ("),
        roman(what),
        roman(" "),
        italic(value),
        roman(")"),
    ]);
    roff.text([roman(key.doc.replace('`', ""))]);
}

/// A short valid file: each table with its required keys, and the first key of those of which one is required. Only tables that may
/// occur at most once and are optional are left out. `[[service]]` is included, although a file without it is valid.
fn example() -> String {
    let table = |section: &&Section| {
        let mut one_of = false;
        let line = |key: &Key| match key.need {
            Need::Required(value) => Some(format!("{} = {value}\n", key.name)),
            Need::OneOf(value) => {
                (!std::mem::replace(&mut one_of, true)).then(|| format!("{} = {value}\n", key.name))
            }
            Need::Optional(_)
            | Need::Default(_)
            | Need::Table(_)
            | Need::OptionalTable(_)
            | Need::Tables(_)
            | Need::OptionalTables(_)
            | Need::Defaults(_) => None,
        };
        format!("{}\n{}", section.header, section.keys().filter_map(line).collect::<String>())
    };
    let tables = FILE.all();
    // Whether the table is optional and may occur at most once.
    let optional = |section: &Section| {
        let mut keys = tables.iter().flat_map(|table| table.keys());
        keys.any(|key| matches!(key.need, Need::OptionalTable(table) if table.header == section.header))
    };
    tables
        .iter()
        .filter(|section| !section.header.is_empty() && !optional(section))
        .map(table)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_in_the_page_is_a_good_configuration() {
        if let Err(e) = announcer::config::parse("example", &super::example()) {
            panic!("{e}");
        }
    }
}
