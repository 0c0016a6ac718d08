//! The files of a configuration of keepalived, and the variables in them.

use std::collections::BTreeMap;

use crate::blocks::{self, End};
use crate::node::Node;
use crate::report::Report;
use crate::{Files, ImportError, Input};

/// How deep files may include each other.
pub(super) const DEEPEST: usize = 8;
/// The most files that are included.
pub(super) const MOST: usize = 1_000;
/// The options of a file, with those of the files that it includes in their place.
pub(super) fn included(
    input: &Input,
    files: &dyn Files,
    depth: usize,
    left: &mut usize,
) -> Result<Vec<Node>, ImportError> {
    fn fill(
        nodes: Vec<Node>,
        input: &Input,
        files: &dyn Files,
        depth: usize,
        left: &mut usize,
    ) -> Result<Vec<Node>, ImportError> {
        let mut all = Vec::new();
        for mut node in nodes {
            if node.name.starts_with("include") && node.name != "include_check" {
                let path = node.text();
                let unreadable = |error: String| ImportError::Unreadable {
                    place: node.place.clone(),
                    path: path.clone(),
                    error,
                };
                if depth == 0 {
                    return Err(unreadable("files include each other too often".to_owned()));
                }
                for inner in files.read(&path, &input.name).map_err(unreadable)? {
                    *left = left.checked_sub(1).ok_or_else(|| unreadable("too many files".to_owned()))?;
                    all.extend(included(&inner, files, depth - 1, left)?);
                }
                continue;
            }
            if let Some(children) = node.children.take() {
                node.children = Some(fill(children, input, files, depth, left)?);
            }
            all.push(node);
        }
        Ok(all)
    }
    fill(blocks::parse(input, End::Line)?, input, files, depth, left)
}

/// Replaces `$NAME` by what `$NAME=…` says, and removes what depends on the instance of keepalived.
pub(super) fn replace(nodes: &mut Vec<Node>, variables: &mut BTreeMap<String, String>, report: &mut Report) {
    let with = |text: &str, variables: &BTreeMap<String, String>| {
        let mut text = text.to_owned();
        // The longest names first: `$VIP1` is not `$VIP` and a 1.
        let mut all: Vec<(&String, &String)> = variables.iter().collect();
        all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, value) in all {
            text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
            if text.len() > 65_536 {
                return String::new();
            }
        }
        text
    };
    nodes.retain_mut(|node| {
        if let Some((name, value)) = node.name.strip_prefix('$').and_then(|name| name.split_once('='))
            && node.children.is_none()
        {
            let mut value = with(value, variables);
            for word in &node.words {
                value = format!("{value} {}", with(word, variables));
            }
            variables.insert(name.to_owned(), value.trim().to_owned());
            return false;
        }
        if node.name.starts_with('@') {
            report.dropped(node, "the line counts only for some instances of keepalived");
            return false;
        }
        let words: Vec<String> = std::mem::take(&mut node.words);
        // A value may be several words.
        let split = |word: String| -> Vec<String> {
            if !word.contains('$') {
                return vec![word];
            }
            with(&word, variables).split_whitespace().map(str::to_owned).collect()
        };
        node.words = words.into_iter().flat_map(split).collect();
        node.name = with(&node.name, variables);
        if let Some(children) = &mut node.children {
            replace(children, variables, report);
        }
        true
    });
}
