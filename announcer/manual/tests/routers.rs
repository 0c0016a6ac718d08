//! The pages of docs/routers have what `announcer router-config` prints for the example of their index. `UPDATE_EXPECT=1` writes it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::path::{Path, PathBuf};

use announcer::config::parse;
use announcer::router_side::facts;
use router_config::{Frontends, Question, System, Tried, commands, configuration};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/routers").join(name)
}

/// The text between the lines that begin and end the first block of code below a heading.
fn block<'a>(text: &'a str, heading: &str, kind: &str) -> &'a str {
    let below = &text[text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"))..];
    let fence = format!("\n```{kind}\n");
    let code =
        &below[below.find(&fence).unwrap_or_else(|| panic!("no block below `{heading}`")) + fence.len()..];
    &code[..code.find("```").unwrap()]
}

fn shown(system: System, facts: &router_config::Facts) -> String {
    let mut lines = Vec::new();
    let mut last: Option<Question> = None;
    for command in commands(system, facts) {
        if last != Some(command.question) {
            lines.push(format!("# {}", command.question));
        }
        last = Some(command.question);
        lines.push(command.text);
    }
    lines.join("\n") + "\n"
}

#[test]
fn each_page_has_what_is_printed_for_the_example() {
    let index = std::fs::read_to_string(page("README.md")).unwrap();
    let config = parse("README.md", block(&index, "## The example", "toml")).unwrap();
    let frontends = ["10.0.1.11", "10.0.1.12"].map(|address| address.parse().unwrap());
    let facts = facts(&config, &config.peers[0], Frontends::Addresses(frontends.to_vec())).unwrap();
    for system in System::ALL {
        let name = format!("{system}.md");
        assert!(
            index.contains(&format!("| {} | [{name}]({name}) |", system.title())),
            "README.md lacks {system}"
        );
        let mut text = std::fs::read_to_string(page(&name)).unwrap();
        let wanted = [
            ("## Configuration", configuration(system, &facts)),
            ("## Commands that show whether it works", shown(system, &facts)),
        ];
        for (heading, wanted) in wanted {
            let at = block(&text, heading, "text");
            if at == wanted {
                continue;
            }
            assert!(
                std::env::var_os("UPDATE_EXPECT").is_some(),
                "docs/routers/{name}, {heading}: UPDATE_EXPECT=1 writes it"
            );
            let start = at.as_ptr() as usize - text.as_ptr() as usize;
            text.replace_range(start..start + at.len(), &wanted);
            std::fs::write(page(&name), &text).unwrap();
        }
        let words = match system.tried() {
            Tried::With(version) => version.split(" on ").next().unwrap().to_owned(),
            Tried::After(manual) => format!("Not tried on a device; written after {manual}"),
        };
        let flat = text.replace('\n', " ");
        assert!(flat.contains(&words), "docs/routers/{name} does not say `{words}`");
    }
}
