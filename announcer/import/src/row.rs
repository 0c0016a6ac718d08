//! The tables of options: what happens to each option of another system.
//!
//! A system has a [`Block`] for each place that has options of its own. [`read`] is the only way to the options of a block. It
//! reports what the table drops, what the table does not know, and what the translation did not use.

use crate::node::Node;
use crate::report::Report;

/// What happens to an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is translated, wholly or for those of its values that have an equivalent.
    Translated,
    /// announcer does not need it.
    Unneeded,
    /// It has no equivalent.
    Dropped,
}

impl Treatment {
    /// The word in the documents.
    pub fn word(self) -> &'static str {
        match self {
            Treatment::Translated => "translated",
            Treatment::Unneeded => "not needed",
            Treatment::Dropped => "dropped",
        }
    }
}

/// Options with the same treatment.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The names of the options.
    pub names: &'static [&'static str],
    /// What happens to them.
    pub treatment: Treatment,
    /// What they become, or why they are not needed or dropped.
    pub text: &'static str,
}

/// The options of one place of a configuration.
#[derive(Debug)]
pub struct Block {
    /// The place, for the documents.
    pub title: &'static str,
    /// The options.
    pub rows: &'static [Row],
}

/// A row of options that are translated.
pub(crate) const fn translated(names: &'static [&'static str], text: &'static str) -> Row {
    Row { names, treatment: Treatment::Translated, text }
}

/// A row of options that are not needed.
pub(crate) const fn unneeded(names: &'static [&'static str], text: &'static str) -> Row {
    Row { names, treatment: Treatment::Unneeded, text }
}

/// A row of options that are dropped.
pub(crate) const fn dropped(names: &'static [&'static str], text: &'static str) -> Row {
    Row { names, treatment: Treatment::Dropped, text }
}

/// The options of a block that have to be translated.
pub(crate) struct Reader<'n> {
    options: Vec<(&'n Node, bool)>,
}

impl<'n> Reader<'n> {
    /// All options with this name.
    pub(crate) fn all(&mut self, name: &str) -> Vec<&'n Node> {
        let named = self.options.iter_mut().filter(|(node, _)| node.name == name);
        named
            .map(|(node, used)| {
                *used = true;
                *node
            })
            .collect()
    }

    /// The last option with this name. Those before it have no effect, and are reported.
    pub(crate) fn one(&mut self, name: &str, report: &mut Report) -> Option<&'n Node> {
        let mut all = self.all(name);
        let last = all.pop();
        for node in all {
            report.unneeded(node, "a later line replaces it");
        }
        last
    }

    /// The names of the options that are not used yet, in order.
    pub(crate) fn rest(&mut self) -> Vec<&'n Node> {
        let unused = self.options.iter_mut().filter(|(_, used)| !*used);
        unused
            .map(|(node, used)| {
                *used = true;
                *node
            })
            .collect()
    }
}

/// Translates the options of a block.
pub(crate) fn read<'n, T>(
    block: &Block,
    nodes: &'n [Node],
    report: &mut Report,
    translate: impl FnOnce(&mut Reader<'n>, &mut Report) -> T,
) -> T {
    let mut options = Vec::new();
    for node in nodes {
        let row = block.rows.iter().find(|row| row.names.contains(&node.name.as_str()));
        match row.map(|row| (row.treatment, row.text)) {
            Some((Treatment::Translated, _)) => options.push((node, false)),
            Some((Treatment::Unneeded, text)) => report.unneeded(node, text),
            Some((Treatment::Dropped, text)) => report.dropped(node, text),
            None => report
                .dropped(node, format!("`announcer import` does not know this option of {}", block.title)),
        }
    }
    let mut reader = Reader { options };
    let done = translate(&mut reader, report);
    for (node, _) in reader.options.iter().filter(|(_, used)| !used) {
        report.dropped(node, "it has no effect together with the other options here, and was not translated");
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Place;

    const BLOCK: Block = Block {
        title: "`[test]`",
        rows: &[translated(&["a", "b"], "x"), unneeded(&["log"], "no log"), dropped(&["bfd"], "no BFD")],
    };

    #[test]
    fn no_option_is_ignored() {
        let node = |name: &str, line| Node {
            name: name.into(),
            words: vec![],
            place: Place { file: "f".into(), line },
            children: None,
        };
        let names = ["a", "a", "b", "log", "bfd", "c"];
        let nodes: Vec<Node> = names.iter().enumerate().map(|(line, name)| node(name, line + 1)).collect();
        let mut report = Report::default();
        let found = read(&BLOCK, &nodes, &mut report, |reader, report| {
            reader.one("a", report).map(|node| node.place.line)
        });
        assert_eq!(found, Some(2));
        let notes: Vec<String> = report.notes().iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "f:1: not needed `a`: a later line replaces it",
                "f:3: dropped `b`: it has no effect together with the other options here, and was not translated",
                "f:4: not needed `log`: no log",
                "f:5: dropped `bfd`: no BFD",
                "f:6: dropped `c`: `announcer import` does not know this option of `[test]`",
            ]
        );
    }
}
