//! docs/migrate.md lists what happens to each option of the other systems. `UPDATE_EXPECT=1` writes the tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::path::Path;

use import::{Block, SYSTEMS};

/// The tables of a system, as the document has them.
fn tables(blocks: &[&Block]) -> String {
    let mut text = String::new();
    for block in blocks {
        text += &format!("\nIn {}:\n\n| option | | |\n|---|---|---|\n", block.title);
        for row in block.rows {
            let names: Vec<String> = row.names.iter().map(|name| format!("`{name}`")).collect();
            text += &format!(
                "| {} | {} | {} |\n",
                names.join(", "),
                row.treatment.word(),
                row.text.replace('|', "\\|")
            );
        }
    }
    text
}

#[test]
fn migrate_md_has_every_option_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/migrate.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (system, blocks) in SYSTEMS {
        let heading = format!("\n### Every option of {system}\n");
        let start = text.find(&heading).unwrap_or_else(|| panic!("no heading for {system}")) + heading.len();
        let end = text[start..].find("\n## ").map_or(text.len(), |end| start + end);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            text.replace_range(start..end, &tables(blocks));
            std::fs::write(&path, &text).unwrap();
            continue;
        }
        assert_eq!(text[start..end], tables(blocks), "docs/migrate.md, {system}: UPDATE_EXPECT=1 writes it");
    }
}

#[test]
fn an_option_is_in_one_row() {
    for (system, blocks) in SYSTEMS {
        for block in blocks {
            let mut seen = BTreeSet::new();
            for name in block.rows.iter().flat_map(|row| row.names) {
                assert!(seen.insert(name), "{system}, {}: `{name}` is in two rows", block.title);
            }
        }
    }
}
