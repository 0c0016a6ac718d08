//! The YAML of a topology file as a tree in which every key and every value knows its place.
//!
//! Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) at: Location,
    pub(super) value: Value,
}

/// A value of YAML. Numbers are text too, because containerlab accepts both where one stands.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(Key, Tree)>),
}

/// A key of a map, with its place.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) at: Location,
    pub(super) name: String,
}

impl Tree {
    /// The text of a scalar; `None` for a list, a map and nothing.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(bool) => Some(bool.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The elements of a list; nothing is an empty list.
    pub(super) fn list(&self) -> Option<&[Tree]> {
        match &self.value {
            Value::List(elements) => Some(elements),
            Value::Null => Some(&[]),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a map; nothing is an empty map.
    pub(super) fn map(&self) -> Option<&[(Key, Tree)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// The value of a key of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Tree> {
        self.map()?.iter().find(|(key, _)| key.name == name).map(|(_, tree)| tree)
    }

    /// What a message calls it.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => "one value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Tree { at: referenced, value })
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
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_string()))
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
        while let Some((Spanned { value: name, referenced: at, .. }, tree)) =
            entries.next_entry::<Spanned<String>, Tree>()?
        {
            map.push((Key { at, name }, tree));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_places_also_behind_an_alias() {
        let text = "a: &x\n  b: 1\n  c: [true, 'two', 3.5]\nd: *x\ne:\n  <<: *x\n  f: ~\n";
        let tree: Tree = serde_saphyr::from_str(text).unwrap();
        let place = |at: Location| (at.line(), at.column());
        let (key, b) = &tree.get("a").unwrap().map().unwrap()[0];
        assert_eq!((key.name.as_str(), place(key.at), place(b.at)), ("b", (2, 3), (2, 6)));
        let list = tree.get("a").unwrap().get("c").unwrap().list().unwrap();
        let scalars: Vec<Option<String>> = list.iter().map(Tree::scalar).collect();
        assert_eq!(scalars, [Some("true".into()), Some("two".into()), Some("3.5".into())]);
        assert_eq!(tree.get("d").unwrap().get("b").unwrap().scalar().unwrap(), "1");
        let e = tree.get("e").unwrap();
        assert_eq!(e.get("b").unwrap().scalar().unwrap(), "1");
        assert_eq!((e.get("f").unwrap().kind(), e.get("f").unwrap().list().unwrap().len()), ("nothing", 0));
    }
}
