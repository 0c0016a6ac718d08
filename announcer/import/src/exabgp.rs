//! ExaBGP: its configuration, versions 3.4 to 5, and the options of its healthcheck.
//!
//! <https://github.com/Exa-Networks/exabgp>, `src/exabgp/configuration` and `src/exabgp/application/healthcheck.py`.

mod attributes;
mod healthcheck;
mod neighbor;
mod options;
mod route;
mod rows;

use std::collections::BTreeMap;

use self::healthcheck::Around;
use self::neighbor::Neighbor;
use crate::blocks::{self, End};
use crate::draft::{Draft, Table, Value};
use crate::node::{Node, Place};
use crate::report::Report;
use crate::row::{Block, read};
use crate::values;
use crate::{Files, Given, ImportError, Imported, Input};

/// The tables of options.
pub const BLOCKS: &[&Block] = &[
    &options::HEALTHCHECK,
    &rows::FILE,
    &rows::TEMPLATE,
    &rows::NEIGHBOR,
    &rows::CAPABILITY,
    &rows::API,
    &rows::PROCESS,
    &rows::ROUTE,
];

/// How deep templates may inherit from each other.
const DEEPEST: usize = 8;

/// What the files say, before it is translated.
#[derive(Default)]
struct Parsed {
    neighbors: Vec<(Node, Vec<Node>)>,
    processes: Vec<Node>,
    templates: BTreeMap<String, Vec<Node>>,
}

/// Translates ExaBGP's files, in any order: configurations and files of healthcheck options.
///
/// # Errors
/// When the syntax of a file is wrong, when a file of healthcheck options cannot be read, and when there is nothing to translate.
pub fn import(inputs: &[Input], files: &dyn Files, given: &Given) -> Result<Imported, ImportError> {
    let mut report = Report::default();
    let mut draft = Draft::new();
    let (mains, checks): (Vec<&Input>, Vec<&Input>) = inputs.iter().partition(|input| is_main(&input.text));
    let mut parsed = Parsed::default();
    for main in &mains {
        let nodes = blocks::parse(main, End::Semicolon)?;
        collect(&nodes, &mut parsed, &mut report);
    }
    let mut neighbors = Vec::new();
    let expanded: Vec<(Node, Vec<Node>)> = (parsed.neighbors.iter())
        .map(|(node, options)| (node.clone(), expand(options, &parsed.templates, DEEPEST, &mut report)))
        .collect();
    for (node, options) in &expanded {
        neighbors.push(neighbor::translate(node, options, &mut draft, &mut report));
    }
    let asn = match (given.asn, draft.bgp.get("asn")) {
        (Some(asn), _) => Some(u64::from(asn)),
        (None, Some(Value::Number(asn))) => Some(*asn),
        (None, _) => None,
    };
    let mut processes: Vec<&Node> = parsed.processes.iter().collect();
    for process in neighbors.iter().flat_map(|neighbor| &neighbor.processes) {
        // A reference has no block, and a template gives the same process to several neighbors.
        if process.children.is_some() && !processes.iter().any(|known| known.place == process.place) {
            processes.push(process);
        }
    }
    let context = Context { files, checks: &checks, given, asn };
    let mut used: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for process in processes {
        let before = draft.services.len();
        names.extend(self::process(process, &context, &mut used, &mut draft, &mut report)?);
        let listing = neighbors.iter().map(|neighbor| (neighbor, neighbor.lists(&process.text())));
        let added = draft.services.get_mut(before..).unwrap_or_default();
        let nowhere =
            || report.dropped(process, "no neighbor lists it; the service is announced to all routers here");
        only_to(added, listing, nowhere);
    }
    for input in checks.iter().filter(|input| !used.contains(&input.name)) {
        let place = Place { file: input.name.as_str().into(), line: 1 };
        let nodes = options::file(input);
        if !options::has_known(&nodes) {
            return Err(ImportError::Nothing(
                input.name.clone(),
                "it has no option of ExaBGP's configuration or of its healthcheck",
            ));
        }
        let name = input.name.rsplit('/').next().unwrap_or_default();
        let name = name.trim_end_matches(".conf").to_owned();
        let origin = "a file of healthcheck options".to_owned();
        let around = Around { name: &name, place: &place, origin, given, asn };
        names.push(healthcheck::translate(&nodes, &around, &mut draft, &mut report));
    }
    routes(&neighbors, asn, &mut draft, &mut report);
    if draft.services.is_empty() && draft.peers.is_empty() {
        let name = inputs.first().map(|input| input.name.clone()).unwrap_or_default();
        return Err(ImportError::Nothing(name, "no neighbor, no healthcheck and no route was found"));
    }
    let first = mains.first().or(checks.first()).map_or("", |input| input.name.as_str());
    let place = Place { file: first.into(), line: 1 };
    for (service, _) in &given.vips {
        if !names.iter().any(|known| values::name(known) == values::name(service)) {
            let known = names.join(", ");
            report.missing(&place, "--vips", format!("there is no healthcheck `{service}`, only: {known}"));
        }
    }
    Ok(draft.finish("exabgp", &place, given, report))
}

/// Whether a text is a configuration of ExaBGP; else it has options of its healthcheck.
fn is_main(text: &str) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == '{')).next();
    first.is_some_and(|word| rows::FILE.rows.iter().any(|row| row.names.contains(&word)))
}

/// Sorts the options of a file.
fn collect(nodes: &[Node], parsed: &mut Parsed, report: &mut Report) {
    read(&rows::FILE, nodes, report, |reader, report| {
        for template in reader.all("template") {
            read(&rows::TEMPLATE, template.block(), report, |reader, _| {
                for neighbor in reader.all("neighbor") {
                    parsed.templates.insert(neighbor.text(), neighbor.block().to_vec());
                }
            });
        }
        for neighbor in reader.all("neighbor") {
            parsed.neighbors.push((neighbor.clone(), neighbor.block().to_vec()));
        }
        for group in reader.all("group") {
            let (inner, shared): (Vec<&Node>, Vec<&Node>) =
                group.block().iter().partition(|node| node.name == "neighbor");
            for neighbor in inner {
                let all = shared.iter().copied().chain(neighbor.block()).cloned().collect();
                parsed.neighbors.push((neighbor.clone(), all));
            }
        }
        parsed.processes.extend(reader.all("process").into_iter().cloned());
    });
}

/// The options of a neighbor, after those that it inherits.
fn expand(
    options: &[Node],
    templates: &BTreeMap<String, Vec<Node>>,
    depth: usize,
    report: &mut Report,
) -> Vec<Node> {
    let mut all = Vec::new();
    for node in options.iter().filter(|node| node.name == "inherit") {
        for name in node.list() {
            match templates.get(&name) {
                Some(inherited) if depth > 0 => {
                    let inherited = expand(inherited, templates, depth - 1, report);
                    // What the neighbor itself has replaces what it inherits; blocks are added to each other.
                    let own = |node: &Node| {
                        node.children.is_none() && options.iter().any(|own| own.name == node.name)
                    };
                    all.extend(inherited.into_iter().filter(|node| !own(node)));
                }
                Some(_) => report.dropped(node, "templates inherit from each other too often"),
                None => report.dropped(node, format!("there is no template `{name}`")),
            }
        }
    }
    all.extend(options.iter().cloned());
    all
}

/// Sets `peers` of services that not all neighbors get. `nowhere` is called if none of the routers gets them.
fn only_to<'n>(
    services: &mut [Table],
    neighbors: impl Iterator<Item = (&'n Neighbor<'n>, bool)>,
    nowhere: impl FnOnce(),
) {
    let (with, without): (Vec<_>, Vec<_>) = neighbors.partition(|(_, gets)| *gets);
    let names: Vec<String> = with.iter().filter_map(|(neighbor, _)| neighbor.peer.clone()).collect();
    if services.is_empty() || without.is_empty() {
        return;
    }
    if names.is_empty() {
        return nowhere();
    }
    for service in services {
        // `--neighbor` of the healthcheck may have chosen some of them already.
        let chosen = service.texts("peers").to_vec();
        let both = names.iter().filter(|name| chosen.is_empty() || chosen.contains(name)).cloned();
        service.set("peers", both.collect::<Vec<_>>());
    }
}

/// What the translation of each process needs.
struct Context<'a> {
    files: &'a dyn Files,
    /// The given files with options of the healthcheck.
    checks: &'a [&'a Input],
    given: &'a Given,
    asn: Option<u64>,
}

/// Adds the services of a process. Returns the name of its healthcheck.
fn process(
    node: &Node,
    context: &Context<'_>,
    used: &mut Vec<String>,
    draft: &mut Draft,
    report: &mut Report,
) -> Result<Option<String>, ImportError> {
    let run = read(&rows::PROCESS, node.block(), report, |reader, report| reader.one("run", report));
    let Some(run) = run else {
        report.dropped(node, "it has no `run`");
        return Ok(None);
    };
    let Some(words) = options::healthcheck(&run.words) else {
        report.dropped(
            run,
            format!(
                "`{}` is not ExaBGP's healthcheck: announcer's own checks decide what is announced",
                run.words.iter().take(3).cloned().collect::<Vec<_>>().join(" ")
            ),
        );
        return Ok(None);
    };
    let own = options::arguments(&words, &run.place);
    let mut all = Vec::new();
    for option in own.iter().filter(|option| option.name == "config") {
        let path = option.word();
        let given = context.checks.iter().find(|input| input.name == path || same_name(&input.name, path));
        let read =
            match given {
                Some(input) => vec![(*input).clone()],
                None => context.files.read(path, &run.place.file).map_err(|error| {
                    ImportError::Unreadable { place: run.place.clone(), path: path.to_owned(), error }
                })?,
            };
        for input in &read {
            used.push(input.name.clone());
            all.extend(options::file(input));
        }
    }
    all.extend(own);
    let name = node.text();
    let around = Around {
        name: &name,
        place: &run.place,
        origin: format!("`process {name}`"),
        given: context.given,
        asn: context.asn,
    };
    Ok(Some(healthcheck::translate(&all, &around, draft, report)))
}

/// Whether two paths have the same last name.
fn same_name(one: &str, other: &str) -> bool {
    one.rsplit('/').next() == other.rsplit('/').next()
}

/// Adds the services of the routes, each once.
fn routes(neighbors: &[Neighbor<'_>], asn: Option<u64>, draft: &mut Draft, report: &mut Report) {
    let of_each: Vec<Vec<&Node>> =
        neighbors.iter().map(|neighbor| route::routes(&neighbor.routes, report)).collect();
    let mut done: Vec<&Place> = Vec::new();
    for node in of_each.iter().flatten() {
        if done.contains(&&node.place) {
            continue;
        }
        done.push(&node.place);
        let prefix = route::prefix_of(node);
        let has = |routes: &&Vec<&Node>| routes.iter().any(|other| route::prefix_of(other) == prefix);
        let having = neighbors.iter().zip(of_each.iter().map(|routes| has(&routes)));
        let before = draft.services.len();
        route::translate(node, asn, draft, report);
        let nowhere =
            || report.dropped(node, "its router is left out; the service is announced to all routers here");
        only_to(draft.services.get_mut(before..).unwrap_or_default(), having, nowhere);
    }
}
