//! Every link of every document leads somewhere: a relative link to an existing file, and an anchor to a heading of that file. Links
//! to other sites are only checked for their form, because the tests need no network.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The root folder of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Adds the path of each Markdown file below the folder to `found`, except in hidden folders and in folders named `target`.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                documents(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines outside of fenced blocks of code, each with its number, counted from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let start = line.trim_start();
        let ticks = &start[..start.bytes().take_while(|octet| *octet == b'`').count()];
        match fence {
            Some(open) if ticks.len() >= open.len() && start.trim_end() == ticks => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => lines.push((number, line)),
        }
    }
    lines
}

/// The line without the text of its spans of code: "see `a](b)`" becomes "see ``".
fn without_code(line: &str) -> String {
    let mut rest = line;
    let mut text = String::new();
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..].bytes().take_while(|octet| *octet == b'`').count();
        let (before, code) = rest.split_at(start + ticks);
        text.push_str(before);
        rest = code;
        let end = "`".repeat(ticks);
        let Some(close) = code.find(&end) else { break };
        text.push_str(&end);
        rest = &code[close + ticks..];
    }
    text + rest
}

/// The name and the target of a line that defines a link for the rest of the page: `[E1]: https://example.com/`.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
    (!name.contains([' ', ']'])).then_some((name, target.trim()))
}

/// The targets of the links and images in a line: `[text](target)`, `[text](target "title")`, `href="target"`, `src="target"`.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut found = Vec::new();
    for rest in line.split("](").skip(1) {
        let mut depth = 0;
        let end = rest.find(|character| {
            depth += i32::from(character == '(') - i32::from(character == ')');
            depth < 0
        });
        let target = end.map_or(rest, |end| &rest[..end]);
        found.push(target.split_whitespace().next().unwrap_or("").trim_matches(['<', '>']).to_owned());
    }
    found.extend(definition(&line).map(|(_, target)| target.to_owned()));
    for attribute in ["href=\"", "src=\""] {
        found.extend(
            line.split(attribute).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())),
        );
    }
    found
}

/// The text of a heading as a reader sees it: without the marks of code and emphasis, and of a link only its text.
fn visible(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some(close) = rest.find("](") {
        text.push_str(&rest[..close]);
        rest = rest[close..].split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.chars().filter(|character| !matches!(character, '`' | '*' | '[' | ']')).collect()
}

/// The anchors of the headings of a document, as GitHub makes them: lower case, blanks become `-`, punctuation goes, and the second
/// heading with the same text gets `-1`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let level = line.bytes().take_while(|octet| *octet == b'#').count();
        if !(1..=6).contains(&level) || line.as_bytes().get(level) != Some(&b' ') {
            continue;
        }
        let anchor: String = visible(line[level..].trim())
            .to_lowercase()
            .chars()
            .filter_map(|character| match character {
                ' ' => Some('-'),
                '-' | '_' => Some(character),
                _ => character.is_alphanumeric().then_some(character),
            })
            .collect();
        let count = uses.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// What is wrong with the form of a link to another site, if anything is.
fn flaw_of_external(target: &str) -> Option<&'static str> {
    let (scheme, rest) = target.split_once(':')?;
    match scheme {
        "https" | "http" => {
            let host = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
            let host = host.unwrap_or("").split(':').next().unwrap_or("");
            let is_name = host.contains('.') && !host.starts_with('.') && !host.ends_with('.');
            let is_host = host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet));
            (!(is_name && is_host)).then_some("its host is not a name")
        }
        "mailto" => (!rest.contains('@')).then_some("it has no address"),
        _ => Some("its scheme is neither https, http nor mailto"),
    }
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => normal.push(component),
        }
    }
    normal
}

/// What is wrong with a link of a page, if anything is.
fn flaw(root: &Path, page: &Path, target: &str) -> Option<String> {
    if target
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.bytes().all(|octet| octet.is_ascii_alphabetic()))
    {
        return flaw_of_external(target).map(str::to_owned);
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { page.to_owned() } else { normal(&page.parent().unwrap().join(path)) };
    if path.starts_with('/') || !file.starts_with(root) {
        return Some("a link inside the repository is relative, and stays in the repository".to_owned());
    }
    if !file.exists() {
        return Some("there is no such file".to_owned());
    }
    let anchor = anchor?;
    if file.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let text = std::fs::read_to_string(&file).unwrap();
    (!anchors(&text).contains(anchor)).then(|| format!("no heading has the anchor `#{anchor}`"))
}

#[test]
fn every_link_leads_somewhere() {
    let root = repository();
    let mut pages = Vec::new();
    documents(&root, &mut pages);
    let (mut links, mut with_anchor, mut flaws) = (0, 0, Vec::new());
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        let lines = prose(&text);
        for (name, _) in lines.iter().filter_map(|(_, line)| definition(line)) {
            if lines.iter().filter(|(_, line)| line.contains(&format!("[{name}]"))).count() < 2 {
                flaws.push(format!("{}: nothing uses [{name}]", page.display()));
            }
        }
        for (number, line) in lines {
            for target in targets(line) {
                links += 1;
                with_anchor += usize::from(target.contains('#'));
                if let Some(flaw) = flaw(&root, page, &target) {
                    let page = page.strip_prefix(&root).unwrap().display();
                    flaws.push(format!("{page}:{number}: {target}: {flaw}"));
                }
            }
        }
    }
    assert!(pages.len() > 40 && links > 300 && with_anchor > 60, "{} pages, {links} links", pages.len());
    assert!(flaws.is_empty(), "{} of {links} links lead nowhere:\n{}", flaws.len(), flaws.join("\n"));
}

#[test]
fn a_heading_has_the_anchor_that_github_gives_it() {
    let table = [
        ("# Put it on a host", "put-it-on-a-host"),
        ("## `[[peer]]`", "peer"),
        ("### What it replaces, and when not to use it", "what-it-replaces-and-when-not-to-use-it"),
        ("## A [link](x.md) inside, and **bold**", "a-link-inside-and-bold"),
        ("## `bird -p`: the file's syntax", "bird--p-the-files-syntax"),
        ("## under_score 2.0", "under_score-20"),
    ];
    for (heading, anchor) in table {
        assert_eq!(anchors(heading), BTreeSet::from([anchor.to_owned()]), "{heading}");
    }
    let twice = anchors("# A\n## A\n```sh\n# not a heading\n```\n#no heading\n");
    assert_eq!(twice, BTreeSet::from(["a".to_owned(), "a-1".to_owned()]));
}

#[test]
fn links_are_found_in_prose_and_not_in_code() {
    let table: [(&str, &[&str]); 7] = [
        ("see [a](a.md) and ![b](b.png \"title\")", &["a.md", "b.png"]),
        ("[w](https://example.com/a_(b)) and `[c](c.md)`", &["https://example.com/a_(b)"]),
        ("``a ` [c](c.md)`` [d](#d)", &["#d"]),
        ("<a href=\"e.md\"><img src=\"f.svg\"></a>", &["e.md", "f.svg"]),
        ("[`code`](g.md#h)", &["g.md#h"]),
        ("[E1]: https://example.com/", &["https://example.com/"]),
        ("[E 1]: no definition", &[]),
    ];
    for (line, found) in table {
        assert_eq!(targets(line), found, "{line}");
    }
    let lines = prose("a\n```\n[b](b)\n```\n````sh\n```\n[c](c)\n````\nd");
    assert_eq!(lines, [(1, "a"), (9, "d")]);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let root = repository();
    let page = root.join("docs/operations.md");
    for target in [
        "../README.md",
        "#install",
        "configuration.md#peer",
        "examples/",
        "https://example.com/x#y",
        "mailto:a@example.com",
    ] {
        assert_eq!(flaw(&root, &page, target), None, "{target}");
    }
    let wrong = [
        "missing.md",
        "#no-such-heading",
        "configuration.md#pear",
        "/etc/hosts",
        "../../x.md",
        "https://example/",
        "https:example.com",
        "ftp://example.com/",
    ];
    for target in wrong {
        assert!(flaw(&root, &page, target).is_some(), "{target}");
    }
}
