//! YAML, and JSON, which is YAML too, in the form that all syntaxes have in common.

use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::node::{Node, Place};
use crate::{ImportError, Input};

/// The name of an element of a list that is a map.
pub(crate) const ELEMENT: &str = "-";

/// A value with its line.
struct Tree {
    line: usize,
    value: Value,
}

enum Value {
    Scalar(String),
    List(Vec<Tree>),
    Map(Vec<(usize, String, Tree)>),
}

/// Reads a file. A key with a scalar has it as its word. A key with a list of scalars has them as its words. The elements of a list
/// of maps are its children, with the name [`ELEMENT`].
pub(crate) fn parse(input: &Input) -> Result<Vec<Node>, ImportError> {
    let file: Rc<str> = input.name.as_str().into();
    // JSON may be indented by tabs, which YAML refuses. Neither has a tab inside a value that is not escaped.
    let text = input.text.replace('\t', " ");
    let options = serde_saphyr::options! { strict_booleans: true };
    let tree: Tree = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line().try_into().unwrap_or(1));
        let text = error.to_string().lines().next().unwrap_or_default().to_owned();
        ImportError::Syntax { place: Place { file: file.clone(), line }, text }
    })?;
    match tree.value {
        Value::Map(entries) => Ok(entries.into_iter().map(|entry| node(&file, entry)).collect()),
        Value::Scalar(_) | Value::List(_) => Err(ImportError::Syntax {
            place: Place { file, line: 1 },
            text: "it is not a map of options".to_owned(),
        }),
    }
}

fn node(file: &Rc<str>, (line, name, tree): (usize, String, Tree)) -> Node {
    let mut node =
        Node { name, words: Vec::new(), place: Place { file: file.clone(), line }, children: None };
    fill(file, &mut node, tree.value);
    node
}

fn fill(file: &Rc<str>, node: &mut Node, value: Value) {
    match value {
        Value::Scalar(text) => node.words.push(text),
        Value::Map(entries) => {
            let children = entries.into_iter().map(|entry| self::node(file, entry));
            node.children.get_or_insert_default().extend(children);
        }
        Value::List(elements) => {
            for element in elements {
                match element.value {
                    Value::Scalar(text) => node.words.push(text),
                    value @ (Value::List(_) | Value::Map(_)) => {
                        let tree = Tree { line: element.line, value };
                        let child = self::node(file, (element.line, ELEMENT.to_owned(), tree));
                        node.children.get_or_insert_default().push(child);
                    }
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Tree { line: referenced.line().try_into().unwrap_or(1), value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML or JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Scalar(String::new()))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Scalar(String::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Scalar(bool.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Scalar(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Scalar(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((Spanned { value: name, referenced, .. }, tree)) =
            entries.next_entry::<Spanned<String>, Tree>()?
        {
            map.push((referenced.line().try_into().unwrap_or(1), name, tree));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_are_read_with_their_lines() {
        let yaml = "a:\n  b: 1\n  c: [x, y]\nd:\n- e: true\n- e: 1.5\n";
        let json =
            "{\n\t\"a\": {\n\t\t\"b\": 1, \"c\": [\"x\", \"y\"]},\n\"d\": [{\"e\": true},\n{\"e\": 1.5}]}";
        for (text, lines) in [(yaml, [1, 4, 6]), (json, [2, 4, 5])] {
            let nodes = parse(&Input { name: "f".into(), text: text.into() }).unwrap();
            assert_eq!(nodes[0].block()[0].word(), "1", "{text}");
            assert_eq!(nodes[0].block()[1].words, ["x", "y"]);
            assert_eq!(nodes[1].block()[0].block()[0].word(), "true");
            assert_eq!(nodes[1].block()[1].block()[0].word(), "1.5");
            assert_eq!([nodes[0].place.line, nodes[1].place.line, nodes[1].block()[1].place.line], lines);
        }
        let error = parse(&Input { name: "f".into(), text: "a: 1\nb: [".into() }).unwrap_err().to_string();
        assert!(error.starts_with("f:"), "{error}");
    }
}
