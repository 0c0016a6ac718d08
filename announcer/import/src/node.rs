//! An option of a configuration, in the form that all syntaxes have in common.

use std::fmt;
use std::rc::Rc;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name of the file.
    pub file: Rc<str>,
    /// The number of the line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An option with its values, or a block of options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The name.
    pub(crate) name: String,
    /// The values after the name.
    pub(crate) words: Vec<String>,
    /// Where it is.
    pub(crate) place: Place,
    /// The options in its block; none if it has no block.
    pub(crate) children: Option<Vec<Node>>,
}

impl Node {
    /// The values as one text.
    pub(crate) fn text(&self) -> String {
        self.words.join(" ")
    }

    /// The values of a list, without its brackets and commas.
    pub(crate) fn list(&self) -> Vec<String> {
        let words = self.words.iter().flat_map(|word| word.split([',', '[', ']', '(', ')', ' ']));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// The options in the block.
    pub(crate) fn block(&self) -> &[Node] {
        self.children.as_deref().unwrap_or_default()
    }

    /// The first value.
    pub(crate) fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}
