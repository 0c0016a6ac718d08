//! The table of docs/dsr-doctor.md is that of the code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dsr_setup::doctor::code::{Code, table};

const BEGIN: &str = "<!-- findings: begin;";
const END: &str = "<!-- findings: end -->";

fn page() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dsr-doctor.md")
}

#[test]
fn the_page_has_the_table_of_the_code() {
    let text = std::fs::read_to_string(page()).unwrap();
    let begin = text.find(BEGIN).expect("the mark of the beginning");
    let begin = begin + text[begin..].find('\n').unwrap() + 1;
    let end = text.find(END).expect("the mark of the end");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(page(), [&text[..begin], &table(), &text[end..]].concat()).unwrap();
        return;
    }
    assert!(
        text[begin..end] == table(),
        "UPDATE_EXPECT=1 cargo test -p dsr-setup --test doctor_table writes the table"
    );
}

/// Every fault was made for real by a test, or has a note here why it was not.
#[test]
fn each_code_has_a_test_with_the_real_fault() {
    let modules = std::fs::read_dir("tests/doctor").unwrap().map(|module| module.unwrap().path());
    let files = modules.chain(["tests/doctor.rs".into()]);
    let tests: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let words: Vec<&str> = tests.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).collect();
    let missing: Vec<&str> =
        Code::ALL.iter().map(|code| code.name()).filter(|name| !words.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
