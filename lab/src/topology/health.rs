//! The health check of a node, and what its stages wait for.
//!
//! Pure.

use super::levels::Levels;
use super::reader::Reader;
use super::tree::{Key, Tree};
use super::{Healthcheck, Stage, Wait};

/// How long one try of a health check may take if the file does not say it, in seconds, as in Docker.
const TIMEOUT: u64 = 30;

impl Reader<'_> {
    pub(super) fn healthcheck(&mut self, levels: &Levels<'_>) -> Option<Healthcheck> {
        let written = levels.strongest("healthcheck")?;
        let test = written.get("test").and_then(Tree::list).unwrap_or_default();
        let words: Vec<String> = test.iter().filter_map(Tree::scalar).collect();
        let test = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["CMD", command @ ..] if !command.is_empty() => command.iter().map(ToString::to_string).collect(),
            ["CMD-SHELL", script] => ["/bin/sh", "-c", script].map(String::from).to_vec(),
            _ => {
                let message = "this health check has no test: write `test: [CMD, PROGRAM, ARGUMENT]` or `test: [CMD-SHELL, SCRIPT]`";
                self.refuse(written.at, message.to_string());
                return None;
            }
        };
        Some(Healthcheck { test, timeout: self.number(written.get("timeout")).unwrap_or(TIMEOUT) })
    }

    pub(super) fn waits(&mut self, levels: &Levels<'_>) -> Vec<Wait> {
        let mut waits = Vec::new();
        for (Key { at, name }, stage) in self.entries(levels, "stages") {
            let Some(named) = Stage::named(name) else {
                self.unsupported(*at, &format!("stage `{name}`"), &one_of());
                continue;
            };
            for (Key { at, name }, list) in stage.map().unwrap_or_default() {
                if name != "wait-for" {
                    self.unsupported(
                        *at,
                        &format!("`{name}` of a stage"),
                        "write the command in the node's `exec`",
                    );
                    continue;
                }
                for entry in list.list().unwrap_or_default() {
                    waits.extend(self.wait(named, entry));
                }
            }
        }
        waits
    }

    fn wait(&mut self, stage: Stage, entry: &Tree) -> Option<Wait> {
        let text = |key: &str| entry.get(key).and_then(Tree::scalar);
        let (Some(node), Some(until)) = (text("node"), text("stage")) else {
            self.refuse(entry.at, "write `wait-for: [{ node: NODE, stage: STAGE }]`".to_string());
            return None;
        };
        let Some(until) = Stage::named(&until) else {
            self.unsupported(entry.at, &format!("stage `{until}`"), &one_of());
            return None;
        };
        Some(Wait { stage, node, until })
    }
}

fn one_of() -> String {
    let names: Vec<&str> = Stage::ALL.into_iter().map(Stage::name).collect();
    format!("write one of {}", names.join(", "))
}
