//! Where a node's keys stand: in `defaults`, in its kind, in its group, or at the node itself, which is the strongest.
//!
//! Pure. The rules are containerlab's: a single value of a stronger level replaces that of a weaker one, lists are joined (each
//! element once), and maps are joined by their keys.

use super::tree::{Tree, Value};

/// One level, as a message calls it.
#[derive(Clone)]
pub(super) struct Level<'a> {
    pub(super) name: String,
    pub(super) tree: &'a Tree,
}

/// The levels of one node, the weakest first.
pub(super) struct Levels<'a>(pub(super) Vec<Level<'a>>);

impl<'a> Levels<'a> {
    /// The levels of the node `name`, whose own settings are `own`, below `topology`.
    pub(super) fn of(topology: &'a Tree, name: &str, own: &'a Tree) -> Levels<'a> {
        let text =
            |tree: Option<&Tree>, key: &str| tree.and_then(|tree| tree.get(key)).and_then(Tree::scalar);
        let defaults = topology.get("defaults");
        let in_group = |group: &Option<String>| {
            let tree = group.as_ref().and_then(|group| topology.get("groups")?.get(group));
            text(tree, "kind")
        };
        let kind = text(Some(own), "kind")
            .or_else(|| in_group(&text(Some(own), "group")))
            .or_else(|| in_group(&text(defaults, "group")))
            .or_else(|| text(defaults, "kind"));
        let of_kind = kind.as_ref().and_then(|kind| topology.get("kinds")?.get(kind));
        let group =
            text(Some(own), "group").or_else(|| text(of_kind, "group")).or_else(|| text(defaults, "group"));
        let of_group = group.as_ref().and_then(|group| topology.get("groups")?.get(group));
        let levels = [
            ("`defaults`".to_string(), defaults),
            (format!("kind `{}`", kind.unwrap_or_default()), of_kind),
            (format!("group `{}`", group.unwrap_or_default()), of_group),
            (format!("node `{name}`"), Some(own)),
        ];
        Levels(levels.into_iter().filter_map(|(name, tree)| Some(Level { name, tree: tree? })).collect())
    }

    /// The strongest value of a key.
    pub(super) fn strongest(&self, key: &str) -> Option<&'a Tree> {
        self.all(key).last()
    }

    /// The values of a key, the weakest first.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &'a Tree> {
        let found = self.0.iter().filter_map(move |level| level.tree.get(key));
        found.filter(|tree| !matches!(tree.value, Value::Null)).collect::<Vec<_>>().into_iter()
    }

    /// The strongest value of `kind`, with a kind that comes from a group.
    pub(super) fn kind(&self) -> Option<&'a Tree> {
        // A kind's own settings cannot name another kind.
        let found = self.0.iter().filter(|level| !level.name.starts_with("kind "));
        found.filter_map(|level| level.tree.get("kind")).next_back()
    }
}
