//! Every program here prints through this crate alone: its sources use no macro that panics when the output is closed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The sources of the programs.
const SOURCES: [&str; 6] =
    ["announcer/src", "announcer/manual/src", "dsr-setup/src", "lab/src", "lab/demo/src", "lab/scene/src"];

/// What prints. A question about the terminal, as in `io::stdout().is_terminal()`, does not.
const PRINTS: [&str; 4] = ["print!(", "println!(", "stdout()", "stderr()"];

/// The log has its own writer, on its own thread; it loses lines rather than to wait.
/// `top` draws a whole screen, and ends when the terminal is gone.
const OWN_WRITERS: [&str; 3] =
    ["announcer/src/log/io.rs", "announcer/src/log/io/output.rs", "announcer/src/top/io.rs"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of a source that print, with their numbers, without its tests and comments.
fn printing(source: &str) -> Vec<(usize, &str)> {
    let prints = |line: &str| {
        let line = line.replace("stdout().is_terminal()", "").replace("stderr().is_terminal()", "");
        PRINTS.iter().any(|print| line.contains(print))
    };
    let lines = source.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .take_while(|(_, line)| !line.starts_with("mod tests {"))
        .filter(|(_, line)| !line.starts_with("//") && prints(line))
        .collect()
}

#[test]
fn programs_print_through_one_writer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = Vec::new();
    SOURCES.iter().for_each(|folder| files(&root.join(folder), &mut paths));
    assert!(paths.len() > 200, "the sources were not found");
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        if name.contains("/tests/") || name.ends_with("tests.rs") || OWN_WRITERS.contains(&name.as_str()) {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        wrong.extend(printing(&source).iter().map(|(number, line)| format!("{name}:{number}: {line}")));
    }
    assert!(wrong.is_empty(), "print by `output::line` or `output::note`:\n{}", wrong.join("\n"));
}

/// Tests the check itself, which has to be able to fail.
#[test]
fn a_line_that_prints_is_seen() {
    let source =
        "// println!()\nio::stdout().is_terminal()\neprintln!(\"x\");\nmod tests {\nprintln!(\"x\");\n";
    assert_eq!(printing(source), [(3, "eprintln!(\"x\");")]);
}
