//! Every command in a message, a comment or a document is a valid command (case W20).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};

/// A command, and the place where it is used.
struct CommandMention {
    place: String,
    command: String,
}

fn files(dir: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() {
            files(&path, extensions, found);
        } else if extensions.contains(&extension) {
            found.push(path);
        }
    }
}

/// Whether it begins with a program of ours, and not with a process of that name, as in `announcer (process 4711)`.
fn is_ours(text: &str) -> bool {
    let rest = ["announcer ", "dsr-setup "].iter().find_map(|program| text.strip_prefix(program));
    rest.is_some_and(|rest| !rest.starts_with('('))
}

/// The texts between backticks that begin with one of our programs. In sources, a literal may continue in the next line.
fn between_backticks(text: &str) -> Vec<String> {
    let mut joined = String::new();
    for line in text.lines() {
        match line.strip_suffix('\\') {
            Some(begin) => joined.push_str(begin.trim_start()),
            None => {
                joined.push_str(line.trim_start());
                joined.push('\n');
            }
        }
    }
    let spans = joined.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    // The documents quote the daemon's own messages between backticks too.
    let is_message = |span: &str| span.starts_with("announcer may not ") || span.starts_with("announcer is ");
    spans.filter(|span| is_ours(span) && !is_message(span)).map(str::to_owned).collect()
}

/// The lines of a document's code blocks that run a program of ours.
fn in_code_blocks(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let line = line.trim().trim_start_matches("sudo ");
            let line = line.split(" #").next().unwrap_or(line).trim();
            let commands =
                line.split(&[';', '|', '&']).map(|command| command.trim().trim_start_matches("sudo "));
            found.extend(commands.filter(|command| is_ours(command)).map(str::to_owned));
        }
    }
    found
}

fn all() -> Vec<CommandMention> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = Vec::new();
    files(&root.join("announcer/src"), &["rs"], &mut paths);
    files(&root.join("dsr-setup/src"), &["rs"], &mut paths);
    files(&root.join("docs"), &["md", "toml"], &mut paths);
    files(&root.join("announcer/etc"), &["toml"], &mut paths);
    paths.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| root.join(page)));
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let is_document = path.extension().is_some_and(|extension| extension == "md");
        let commands = between_backticks(&text).into_iter();
        let blocks = if is_document { in_code_blocks(&text) } else { Vec::new() };
        let place = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        all.extend(commands.chain(blocks).map(|command| CommandMention { place: place.clone(), command }));
    }
    all
}

/// The words of a command, split as in a shell, as far as this is needed here. The file of its output is none of them.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" >").next().unwrap_or(command);
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in command.chars() {
        match character {
            '"' | '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Replaces `{name}`, `NAME` and `…` by a sample.
fn filled_in(words: &[String], sample: &str) -> Vec<String> {
    let is_name =
        |word: &String| word.len() > 1 && word.chars().all(|character| character.is_ascii_uppercase());
    let fill = |word: &String| {
        let is_placeholder = word.contains('{') || word.contains('…') || is_name(word);
        if is_placeholder { sample.to_owned() } else { word.trim_matches(['[', ']']).to_owned() }
    };
    words.iter().map(fill).collect()
}

/// Checks that a command of that name exists; a command with arguments has to be valid as a whole.
fn parses(command: &str) -> Result<(), String> {
    let words = words(command);
    let is_bare = words.iter().skip(2).all(|word| word.starts_with("--"));
    let name = words.get(1).map(String::as_str).unwrap_or_default();
    let commands = [announcer::cli::Arguments::command(), dsr_setup::cli::Cli::command()];
    let program =
        commands.iter().find(|program| words.first().is_some_and(|word| word == program.get_name()));
    let found = program.and_then(|program| program.find_subcommand(name));
    // A text may name a command without its arguments, as in "a wait that `announcer undrain` ends".
    let has_flags = |found: &clap::Command| {
        let flags = words.iter().skip(2).filter_map(|word| word.strip_prefix("--"));
        flags.into_iter().all(|flag| found.get_arguments().any(|argument| argument.get_long() == Some(flag)))
    };
    if is_bare && found.is_some_and(has_flags) {
        return Ok(());
    }
    let mut error = String::new();
    for sample in ["www", "192.0.2.80", "10s", "frr", "ipip"] {
        let words = filled_in(&words, sample);
        let parsed = if words.first().is_some_and(|program| program == "announcer") {
            announcer::cli::Arguments::try_parse_from(&words).map(drop)
        } else {
            dsr_setup::cli::Cli::try_parse_from(&words).map(drop)
        };
        match parsed {
            Ok(()) => return Ok(()),
            Err(e) => error = e.to_string(),
        }
    }
    Err(error.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn every_command_that_is_named_can_be_typed() {
    let all = all();
    let count = |program: &str| all.iter().filter(|named| named.command.starts_with(program)).count();
    assert!(count("announcer ") > 20 && count("dsr-setup ") > 3, "the commands were not found");
    let wrong = all.iter().filter_map(|CommandMention { place, command }| {
        parses(command).err().map(|error| format!("{place}: `{command}`: {error}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "no such commands:\n{}", wrong.join("\n"));
}

/// Tests the check itself, which has to be able to fail.
#[test]
fn a_command_that_does_not_exist_is_seen() {
    assert_eq!(
        between_backticks("a `dsr-setup add` and\n \"`announcer reload \\\n   --force` b\""),
        ["dsr-setup add", "announcer reload --force"]
    );
    assert!(between_backticks("`announcer (process 4711)` keeps them").is_empty());
    assert!(parses("dsr-setup add").is_err());
    assert!(parses("announcer explain {vip}").is_ok());
    assert_eq!(in_code_blocks("```sh\nsudo announcer status # all\n```\nannouncer no"), ["announcer status"]);
}
