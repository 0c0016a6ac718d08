//! INI files as Python's `configparser` reads them, with its interpolation.
//!
//! <https://docs.python.org/3/library/configparser.html>: names of options are in lower case, a value may continue on indented
//! lines, `[DEFAULT]` holds values for all sections, and `%(name)s` in a value is replaced by the value of another option.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::node::{Node, Place};
use crate::{ImportError, Input};

/// The deepest `%(name)s` in values that replace `%(name)s`, as in Python.
const DEEPEST: usize = 10;
/// The longest value after interpolation, in octets.
const LONGEST: usize = 65_536;

/// What files say together.
pub(crate) struct Ini {
    /// A node for each section besides `DEFAULT`. Its options include those of `DEFAULT` that the section does not have, with their
    /// own places.
    pub(crate) sections: Vec<Node>,
    /// Where the options of `DEFAULT` are.
    pub(crate) defaults: Vec<Place>,
    /// The names of the options that stand in values.
    pub(crate) variables: BTreeSet<String>,
}

/// Reads files one after the other, as one configuration.
pub(crate) fn parse(inputs: &[Input]) -> Result<Ini, ImportError> {
    let mut variables = BTreeSet::new();
    let mut sections: Vec<Node> = Vec::new();
    for input in inputs {
        file(input, &mut sections)?;
    }
    let defaults = match sections.iter().position(|section| section.name == "DEFAULT") {
        Some(place) => sections.remove(place).children.unwrap_or_default(),
        None => Vec::new(),
    };
    for section in &mut sections {
        let mut options = section.children.take().unwrap_or_default();
        let absent = |default: &&Node| !options.iter().any(|option| option.name == default.name);
        let inherited: Vec<Node> = defaults.iter().filter(absent).cloned().collect();
        options.extend(inherited);
        let raw = options.clone();
        for option in &mut options {
            let value = interpolate(option.word(), &raw, DEEPEST, &mut variables)
                .map_err(|text| ImportError::Syntax { place: option.place.clone(), text })?;
            option.words = vec![value];
        }
        section.children = Some(options);
    }
    let defaults = defaults.into_iter().map(|option| option.place).collect();
    Ok(Ini { sections, defaults, variables })
}

/// Adds the sections of a file to those that were read before.
fn file(input: &Input, sections: &mut Vec<Node>) -> Result<(), ImportError> {
    let file: Rc<str> = input.name.as_str().into();
    let mut here: Option<usize> = None;
    let mut before: Vec<(usize, String)> = Vec::new();
    // The indentation of the option that may continue.
    let mut continues: Option<usize> = None;
    for (number, line) in (1..).zip(input.text.lines()) {
        let place = Place { file: file.clone(), line: number };
        let wrong = |text: String| Err(ImportError::Syntax { place: place.clone(), text });
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let section = here.and_then(|at| sections.get_mut(at));
        if let Some(section) = section {
            let options = section.children.get_or_insert_default();
            if let (true, Some(option)) = (continues.is_some_and(|than| indent > than), options.last_mut()) {
                option.words = vec![format!("{}\n{trimmed}", option.word())];
                continue;
            }
            if !trimmed.starts_with('[') {
                let Some((name, value)) = trimmed.split_once(['=', ':']) else {
                    return wrong(format!("`{trimmed}` is neither `name = value` nor a section"));
                };
                let name = name.trim().to_lowercase();
                if let Some((line, _)) = before.iter().find(|(_, known)| *known == name) {
                    return wrong(format!("`{name}` is in line {line} too"));
                }
                before.push((number, name.clone()));
                // A later file replaces what an earlier one says.
                options.retain(|option| option.name != name);
                options.push(Node { name, words: vec![value.trim().to_owned()], place, children: None });
                continues = Some(indent);
                continue;
            }
        }
        let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
            return wrong(format!("`{trimmed}` is before the first section"));
        };
        before.clear();
        continues = None;
        let name = name.0.to_owned();
        let known = sections.iter().position(|section| section.name == name);
        here = Some(known.unwrap_or(sections.len()));
        if known.is_none() {
            sections.push(Node { name, words: vec![], place, children: Some(Vec::new()) });
        }
    }
    Ok(())
}

/// A value with other options in the place of `%(name)s`, and `%` in the place of `%%`.
fn interpolate(
    value: &str,
    options: &[Node],
    depth: usize,
    variables: &mut BTreeSet<String>,
) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let Some((name, after)) = after.strip_prefix('(').and_then(|inside| inside.split_once(")s")) else {
            return Err(format!("`{value}` has `%` without `(name)s`: write `%%`"));
        };
        let name = name.to_lowercase();
        let Some(option) = options.iter().find(|option| option.name == name) else {
            return Err(format!("`%({name})s` is not an option"));
        };
        variables.insert(name.clone());
        if depth == 0 {
            return Err(format!("`%({name})s` refers to itself"));
        }
        text.push_str(&interpolate(option.word(), options, depth - 1, variables)?);
        if text.len() > LONGEST {
            return Err("the value is too long".to_owned());
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(texts: &[&str]) -> String {
        let inputs: Vec<Input> = (texts.iter().enumerate())
            .map(|(n, text)| Input { name: format!("f{n}"), text: (*text).into() })
            .collect();
        match parse(&inputs) {
            Ok(Ini { sections, .. }) => {
                let option = |node: &Node| format!(" {}={:?}@{}", node.name, node.word(), node.place);
                let section = |node: &Node| {
                    format!("[{}]{}", node.name, node.block().iter().map(option).collect::<String>())
                };
                sections.iter().map(section).collect()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn files_are_read_as_python_reads_them() {
        for (texts, want) in [
            (&["[a]\nX = 1\ny: 2\n"][..], "[a] x=\"1\"@f0:2 y=\"2\"@f0:3"),
            (&["[DEFAULT]\nx = 1\n[a]\ny = %(x)s%%\n"], "[a] y=\"1%\"@f0:4 x=\"1\"@f0:2"),
            (&["[a]\nx = 1\n  2\n# no\n  3\ny=\n"], "[a] x=\"1\\n2\\n3\"@f0:2 y=\"\"@f0:6"),
            (&["[a]\nx = 1\n", "[b]\nx = 2 ; 3\n[a]\nx = 4\n"], "[a] x=\"4\"@f1:4[b] x=\"2 ; 3\"@f1:2"),
            (&["x = 1"], "f0:1: `x = 1` is before the first section"),
            (&["[a]\nx"], "f0:2: `x` is neither `name = value` nor a section"),
            (&["[a]\nx=1\nX=2"], "f0:3: `x` is in line 2 too"),
            (&["[a]\nx=50%"], "f0:2: `50%` has `%` without `(name)s`: write `%%`"),
            (&["[a]\nx=%(y)s"], "f0:2: `%(y)s` is not an option"),
            (&["[a]\nx=%(x)s"], "f0:2: `%(x)s` refers to itself"),
        ] {
            assert_eq!(shown(texts), want, "{texts:?}");
        }
    }
}
