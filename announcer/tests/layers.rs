//! The architecture as a test: imports only point to the same or a lower layer, and only edge files use sockets, files, clocks and
//! processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of the outside world. They may only be used in `io.rs`, below `io/`, and in [`EDGES`].
const WORLD: &[&str] = &[
    "tokio::",
    "rtnetlink",
    "netlink_dump",
    "netlink_packet",
    "reqwest::",
    "socket2",
    "libc::",
    "nix::sys",
    "nix::unistd",
    "rustix::",
    "crossterm",
    "inotify::",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::process::Command",
    "std::os::",
    "std::env",
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "UdpSocket",
    "println!",
    "fastrand::",
];

/// Other files that may use these names, beside those of the commands below `cli/`.
const EDGES: &[&str] = &["daemon.rs", "main.rs", "cli.rs", "own_process.rs"];

/// The layer of each module, longest prefix first; see the module doc of `lib.rs`.
const LAYERS: &[(&str, u8)] = &[
    ("control::io::client", 4),
    ("cli", 4),
    ("main", 4),
    ("top", 4),
    ("control::io", 3),
    ("metrics::io", 3),
    ("page::io", 3),
    ("daemon", 3),
    ("bgp::io", 2),
    ("bfd::io", 2),
    ("chain::io", 2),
    ("health::io", 2),
    ("drain::io", 2),
    ("vip::io", 2),
    ("hook::io", 2),
    ("weight::io", 2),
    ("program::io", 2),
    ("files::io", 2),
    ("memory::io", 2),
    ("time_limit::io", 2),
    ("time_limit", 0),
    ("monotonic::io", 2),
    ("capabilities::io", 2),
    ("capabilities", 0),
    ("realtime::io", 2),
    ("realtime", 0),
    ("monotonic", 0),
    ("own_process", 0),
    ("log::io", 2),
    ("log::filter", 0),
    ("log::format", 0),
    ("log::record", 0),
    ("systemd::io", 2),
    ("takeover::io", 2),
    ("takeover", 1),
    ("fallback::io", 2),
    ("config::io", 2),
    ("control::api", 1),
    ("control::changes", 1),
    ("control::admission", 1),
    ("control::explain", 1),
    ("control::names", 1),
    ("control::orders", 1),
    ("control::http", 1),
    ("history::io", 2),
    ("history", 1),
    ("control::request", 1),
    ("control::chain", 1),
    ("control::status", 1),
    ("control", 4),
    ("metrics", 1),
    ("page", 1),
    ("hook", 1),
    ("weight", 1),
    ("bgp", 1),
    ("bfd", 1),
    ("chain", 1),
    ("health", 1),
    ("drain", 1),
    ("vip", 1),
    ("damping", 1),
    ("delivery", 1),
    ("director", 1),
    ("rib", 1),
    ("router_side", 1),
    ("program", 1),
    ("files", 1),
    ("memory", 1),
    ("log", 1),
    ("config", 0),
    ("model", 0),
    ("systemd", 1),
    ("fallback", 1),
    ("watchdog", 0),
];

/// Modules that must not import each other, although their layers would allow it.
const FORBIDDEN: &[(&str, &str)] = &[
    ("bgp", "chain"),
    ("bfd", "chain"),
    ("chain", "bgp"),
    ("chain", "bfd"),
    ("chain", "health"),
    ("chain", "director"),
    ("chain", "control"),
    ("chain", "metrics"),
    ("health", "chain"),
    ("director", "chain"),
    ("bgp", "health"),
    ("bgp", "bfd"),
    ("bfd", "bgp"),
    ("bfd", "health"),
    ("bfd", "director"),
    ("bfd", "control"),
    ("bfd", "metrics"),
    ("health", "bfd"),
    ("bgp", "director"),
    ("bgp", "drain"),
    ("bgp", "vip"),
    ("bgp", "control"),
    ("bgp", "metrics"),
    ("bgp", "hook"),
    ("health", "bgp"),
    ("health", "director"),
    ("health", "drain"),
    ("health", "vip"),
    ("health", "control"),
    ("health", "metrics"),
    ("drain", "bgp"),
    ("drain", "health"),
    ("drain", "director"),
    ("vip", "bgp"),
    ("vip", "director"),
    ("vip", "health"),
    ("director", "bgp"),
    ("director", "control"),
    ("director", "metrics"),
    ("director", "delivery"),
    ("delivery", "bgp"),
    ("delivery", "control"),
    ("delivery", "metrics"),
    ("director", "hook"),
    ("rib", "bgp"),
    ("rib", "director"),
    ("config", "bgp"),
    ("model", "config"),
    ("control::io", "daemon"),
    ("control", "top"),
];

/// A source file: its path below `src/`, its module, its lines without comments and without its tests.
struct SourceFile {
    path: String,
    module: String,
    lines: Vec<(usize, String)>,
}

fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let mut sources = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if path.ends_with("tests.rs") || path.contains("/tests/") || path == "lib.rs" {
            continue;
        }
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        let text = fs::read_to_string(&file).unwrap();
        let lines = (text.lines().enumerate())
            .take_while(|(_, line)| !line.trim_start().starts_with("mod tests {"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line.split(" // ").next().unwrap().to_owned()))
            .collect();
        sources.push(SourceFile { path, module, lines });
    }
    assert!(sources.len() > 10, "the sources were not found");
    sources
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_edge(path: &str) -> bool {
    EDGES.contains(&path) || path.starts_with("cli/") || path.ends_with("/io.rs") || path.contains("/io/")
}

fn below(module: &str, of: &str) -> bool {
    module == of || module.strip_prefix(of).is_some_and(|rest| rest.starts_with("::"))
}

fn layer(module: &str) -> u8 {
    let found = LAYERS.iter().filter(|(of, _)| below(module, of)).max_by_key(|(of, _)| of.len());
    found
        .unwrap_or_else(|| {
            panic!("module `{module}` has no layer: add it to LAYERS and to the module doc of lib.rs")
        })
        .1
}

/// The modules of this crate that a line names, as full paths.
fn named(source: &SourceFile, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) =
        ["crate::", "announcer::"].iter().filter_map(|head| rest.find(head).map(|i| i + head.len())).min()
    {
        rest = &rest[at..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap_or(group);
                found.extend(group.split(',').map(|item| path(item.trim())));
            }
            None => found.push(path(rest)),
        }
    }
    let mut rest = line;
    while let Some(at) = rest.find("super::") {
        let mut parent = source.module.as_str();
        rest = &rest[at..];
        while let Some(after) = rest.strip_prefix("super::") {
            parent = parent.rsplit_once("::").map_or("", |(parent, _)| parent);
            rest = after;
        }
        let items = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or(group).split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        if !parent.is_empty() {
            let full = |item: &str| format!("{parent}::{}", path(item)).trim_end_matches(':').to_owned();
            found.extend(items.into_iter().map(full));
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

/// The leading module path of an import, as in `config::file` of `config::file::{File, Key}`.
fn path(text: &str) -> String {
    let end = text
        .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':'))
        .unwrap_or(text.len());
    text[..end].trim_end_matches("::").trim_end_matches(':').to_owned()
}

#[test]
fn only_edge_files_touch_the_world() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_edge(&source.path)) {
        for (number, line) in &source.lines {
            // Channels only connect tasks; they are allowed everywhere.
            let line = &line.replace("tokio::sync::", "");
            for word in WORLD.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("src/{}:{number}: `{word}`: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "the world belongs into io.rs and io/:\n{}", wrong.join("\n"));
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for source in &sources() {
        let own = layer(&source.module);
        for (number, line) in &source.lines {
            for module in named(source, line) {
                let Some(root) = module
                    .split("::")
                    .next()
                    .filter(|root| LAYERS.iter().any(|(of, _)| of.split("::").next() == Some(root)))
                else {
                    continue;
                };
                let same_room = source.module.split("::").next() == Some(root) && !is_edge_module(&module);
                let up = layer(&module) > own && !same_room;
                let sideways =
                    FORBIDDEN.iter().any(|(from, to)| below(&source.module, from) && below(&module, to));
                if up || sideways {
                    wrong.push(format!("src/{}:{number}: names `{module}`: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports point down only:\n{}", wrong.join("\n"));
}

fn is_edge_module(module: &str) -> bool {
    module.ends_with("::io") || module.contains("::io::")
}

/// The files with `unsafe`, which docs/architecture.md names.
const UNSAFE: [&str; 6] = [
    "bgp/io/sockopt.rs",
    "realtime/io/scheduling.rs",
    "program/io/landlock.rs",
    "memory/io.rs",
    "drain/io/clock.rs",
    "takeover/io/adopt.rs",
];

#[test]
fn the_architecture_page_names_the_files_with_unsafe() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architecture.md");
    let page = fs::read_to_string(page).unwrap();
    for file in UNSAFE {
        assert!(page.contains(&format!("`{file}`")), "docs/architecture.md does not name {file}");
    }
}

#[test]
fn only_the_wall_names_zettabgp_and_only_the_listed_files_are_unsafe() {
    for source in &sources() {
        for (number, line) in &source.lines {
            let wall = source.path == "bgp/wire.rs" || source.path.starts_with("bgp/wire/");
            assert!(
                wall || !line.contains("zettabgp"),
                "src/{}:{number}: zettabgp belongs into bgp/wire.rs",
                source.path
            );
            let may = UNSAFE.contains(&source.path.as_str());
            let unsafe_code =
                line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("allow(unsafe_code");
            assert!(
                may || !unsafe_code,
                "src/{}:{number}: unsafe belongs into one of {UNSAFE:?}",
                source.path
            );
        }
    }
}

/// Names of the file API. Only the door to the disk may use them, and the runner of programs: it reads a program's file, /proc and
/// /etc/passwd on the blocking thread that starts the program, within the time limit of its run.
const DISK: &[&str] = &["std::fs", "tokio::fs", "File::open", "File::create", "File::options", " fs::"];

#[test]
fn files_are_touched_by_the_door_alone() {
    let mut wrong = Vec::new();
    let may = |module: &str| below(module, "files::io") || below(module, "program::io");
    for source in sources().iter().filter(|source| !may(&source.module)) {
        for (number, line) in &source.lines {
            for word in DISK.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("src/{}:{number}: `{word}`: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "files are read and written by files/io.rs alone:\n{}", wrong.join("\n"));
}

/// One function makes text from outside safe for a terminal; the configuration refuses such characters.
#[test]
fn text_is_made_safe_in_one_place() {
    for source in sources().iter().filter(|source| !below(&source.module, "model::text")) {
        for (number, line) in source.lines.iter().filter(|_| !below(&source.module, "config")) {
            assert!(
                !line.contains("is_control"),
                "src/{}:{number}: text is made safe by model/text.rs: {}",
                source.path,
                line.trim()
            );
        }
    }
}

/// Modules that import each other in a circle cannot be read one after the other. A module and its submodules may import each
/// other, as is usual in Rust.
#[test]
fn imports_have_no_circles() {
    let sources = sources();
    let modules: Vec<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let edges: Vec<Vec<usize>> = sources
        .iter()
        .map(|source| {
            let named = source.lines.iter().flat_map(|(_, line)| named(source, line));
            let found = named.filter_map(|name| place(&modules, &name)).filter(|to| {
                let (own, other) = (source.module.as_str(), modules[*to]);
                !below(own, other) && !below(other, own)
            });
            found.collect()
        })
        .collect();
    let circles = circles(&edges);
    let shown: Vec<String> = circles
        .iter()
        .map(|circle| circle.iter().map(|place| modules[*place]).collect::<Vec<_>>().join(" -> "))
        .collect();
    assert!(circles.is_empty(), "imports go in a circle:\n{}", shown.join("\n"));
}

/// The module that an import names: the longest that is a file.
fn place(modules: &[&str], name: &str) -> Option<usize> {
    let fits = |(place, module): (usize, &&str)| below(name, module).then_some((module.len(), place));
    modules.iter().enumerate().filter_map(fits).max().map(|(_, place)| place)
}

/// For each module that can be reached from itself, a shortest circle; each circle once.
fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    for start in 0..edges.len() {
        let mut ways = vec![vec![start]];
        let mut seen = vec![false; edges.len()];
        while let Some(way) = (!ways.is_empty()).then(|| ways.remove(0)) {
            let Some(last) = way.last() else { continue };
            for next in &edges[*last] {
                if *next == start {
                    let mut members = way.clone();
                    members.sort_unstable();
                    let known = |circle: &Vec<usize>| {
                        let mut sorted = circle.clone();
                        sorted.sort_unstable();
                        sorted == members
                    };
                    if !found.iter().any(known) {
                        found.push(way.clone());
                    }
                    ways.clear();
                    break;
                }
                if !std::mem::replace(&mut seen[*next], true) {
                    ways.push([way.clone(), vec![*next]].concat());
                }
            }
        }
    }
    found
}

#[test]
fn a_circle_is_seen() {
    assert!(circles(&[vec![1], vec![2], vec![]]).is_empty());
    assert_eq!(circles(&[vec![1], vec![2], vec![0]]), [[0, 1, 2]]);
    assert_eq!(place(&["config", "config::check", "rib"], "config::check::rules::look"), Some(1));
}

/// Names of types that several modules share, below which module they may, and why.
const SHARED_NAMES: &[(&str, &str, &str)] = &[
    ("Answer", "config::kind", "each kind of check has one, named by its module: `http::Answer`"),
    ("Failure", "config::kind", "as `Answer`"),
    ("Warning", "config::kind", "as `Answer`"),
    (
        "Written",
        "config",
        "each table has one, as it stands in the file, named by its module: `peer::Written`",
    ),
];

/// The types that a file declares. What an `impl` or a trait calls a type, as in `type Err`, has the trait's name for it.
fn declared(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut block = None;
    for line in text.lines() {
        let item = line.trim_start();
        let indent = line.len() - item.len();
        if item == "}" && block == Some(indent) {
            block = None;
        }
        let item = item.strip_prefix("pub").map_or(item, |item| match item.strip_prefix('(') {
            Some(scope) => scope.split_once(") ").map_or("", |(_, item)| item),
            None => item.trim_start(),
        });
        let mut words = item.split(|c: char| !c.is_ascii_alphanumeric());
        let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_type =
            matches!(kind, "struct" | "enum" | "trait" | "union") || kind == "type" && block.is_none();
        if is_type && name.starts_with(|c: char| c.is_ascii_uppercase()) {
            names.push(name);
        }
        if block.is_none() && matches!(kind, "impl" | "trait") && !item.ends_with('}') {
            block = Some(indent);
        }
    }
    names
}

/// A reader who meets a type's name anywhere in the crate has to know which type it is.
#[test]
fn each_name_is_of_one_type() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let module = path.trim_end_matches(".rs").replace('/', "::");
        for name in declared(&fs::read_to_string(&file).unwrap()) {
            homes.entry(name.to_owned()).or_default().push(module.clone());
        }
    }
    homes.retain(|_, modules| modules.len() > 1);
    let mut wrong: Vec<String> = SHARED_NAMES
        .iter()
        .filter(|(name, ..)| !homes.contains_key(*name))
        .map(|(name, ..)| format!("no types share `{name}`: take it out of SHARED_NAMES"))
        .collect();
    for (name, modules) in &homes {
        let may =
            |module: &String| SHARED_NAMES.iter().any(|(of, room, _)| of == name && below(module, room));
        if !modules.iter().all(may) {
            wrong.push(format!("`{name}` is the name of types in {}", modules.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "give each type its own name (docs/glossary.md):\n{}", wrong.join("\n"));
}

#[test]
fn a_declaration_is_seen() {
    let text = "pub struct A;\n    pub(in crate::config) enum B {\n    }\ntype C = u8;\n// struct D;\nuse E;\n\
                impl F {\n    type G = u8;\n}\ntype H = u8;\npub trait I {}\ntype J = u8;\n";
    assert_eq!(declared(text), ["A", "B", "C", "H", "I", "J"]);
}

/// Tests the checks themselves, which have to be able to fail.
#[test]
fn a_forbidden_import_is_seen() {
    let source = |path: &str| SourceFile {
        path: path.into(),
        module: path.trim_end_matches(".rs").replace('/', "::"),
        lines: vec![],
    };
    assert_eq!(named(&source("rib.rs"), "use crate::daemon::Options;"), ["daemon"]);
    assert_eq!(named(&source("rib.rs"), "use crate::{config, bgp::io};"), ["config", "bgp::io"]);
    assert_eq!(named(&source("bgp/fsm.rs"), "use super::io::session;"), ["bgp::io::session"]);
    assert_eq!(
        named(&source("rib.rs"), "    crate::health::check::run(x, crate::director::Fact::Stop)"),
        ["health::check::run", "director"]
    );
    assert!(layer("bgp::io::session") > layer("director") && layer("daemon") > layer("vip::io"));
    assert!(!is_edge("bgp/fsm.rs") && is_edge("bgp/io/session.rs") && is_edge("vip/io.rs"));
}
