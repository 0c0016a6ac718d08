//! The files of a configuration: the main file, and those of the folder `conf.d` beside it.
//!
//! Pure. A place in the configuration is one number, as if all files were one text: so a fault of a rule that concerns two files has
//! two places, and no rule has to know about files. Each file begins one octet behind the end of the file before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use dsr_setup::encoding::{self, EncodingError, EncodingFault};
pub use dsr_setup::folder::{files_of_folder, folder_of};
pub use dsr_setup::substitution::{self, Variable, Variables};

/// A file.
#[derive(Debug)]
pub(super) struct Source {
    /// Its name in messages.
    pub(super) name: String,
    /// Its text; where it is not UTF-8, it has replacement characters.
    pub(super) text: String,
    /// The place of its first octet.
    pub(super) start: usize,
    /// Where it is not UTF-8, with places in the file; then it is not parsed.
    pub(super) undecoded: Vec<EncodingFault>,
}

/// All files, the main file first. Clones share the texts.
#[derive(Debug, Clone)]
pub struct Sources {
    files: Arc<Vec<Source>>,
    /// The values of the variables that they name.
    variables: Arc<Variables>,
}

impl Sources {
    /// Only a main file. `name` is its name in messages: its path, or `<stdin>`.
    pub fn one(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let main = Source { name: name.to_owned(), text, start: 0, undecoded: Vec::new() };
        Sources { files: Arc::new(vec![main]), variables: Arc::default() }
    }

    /// The main file and then the others, each with its name in messages and its octets.
    pub fn of_octets(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut sources: Vec<Source> = Vec::new();
        for (name, octets) in files {
            let start = sources.last().map_or(0, |before| before.start + before.text.len() + 1);
            let (text, undecoded) = match encoding::decode(octets) {
                Ok(text) => match text.strip_prefix('\u{feff}') {
                    Some(rest) => (rest.to_owned(), Vec::new()),
                    None => (text, Vec::new()),
                },
                Err(EncodingError { text, faults }) => (text, faults),
            };
            sources.push(Source { name, text, start, undecoded });
        }
        Sources { files: Arc::new(sources), variables: Arc::default() }
    }

    /// The same files, with these values of variables.
    pub fn with_variables(self, variables: Variables) -> Self {
        Sources { variables: Arc::new(variables), ..self }
    }

    /// The names of the variables in the files.
    pub fn variable_names(&self) -> BTreeSet<String> {
        self.texts().flat_map(substitution::names).collect()
    }

    /// The values of the variables.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Source> {
        self.files.iter()
    }

    /// The name of the main file in messages.
    pub fn main_name(&self) -> &str {
        self.files.first().map_or("", |main| &main.name)
    }

    /// The names of the other files.
    pub fn other_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().skip(1).map(|source| source.name.as_str())
    }

    /// The text of each file; where it is not UTF-8, it has replacement characters.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|source| source.text.as_str())
    }

    /// The text, if there is only the main file, and if it says the same without variables.
    pub fn single(&self) -> Option<&str> {
        match self.files.as_slice() {
            [main] if !main.text.contains("${") => Some(&main.text),
            _ => None,
        }
    }

    /// The index of the file with this place.
    pub(super) fn index_of(&self, at: usize) -> usize {
        self.files.partition_point(|source| source.start <= at).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_belongs_to_one_file() {
        let files =
            [("a".to_owned(), b"12".to_vec()), ("b".to_owned(), Vec::new()), ("c".to_owned(), b"1".to_vec())];
        let sources = Sources::of_octets(files);
        let starts: Vec<usize> = sources.iter().map(|source| source.start).collect();
        assert_eq!(starts, [0, 3, 4]);
        assert_eq!([0, 2, 3, 4, 5, 9].map(|at| sources.index_of(at)), [0, 0, 1, 2, 2, 2]);
    }
}
