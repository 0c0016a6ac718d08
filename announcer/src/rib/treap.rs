//! An ordered map whose copies share their common parts: cloning is cheap, and two similar copies are compared without reading the
//! shared parts.
//!
//! Pure. A treap whose priorities are hashes of the keys. Its shape depends only on its keys, so that equal parts of two maps have
//! equal places, whatever the order of the changes was. A change is O(log n), a difference of d entries O(d · log n).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A key of a [`Treap`].
pub trait TreapKey: Ord + Hash + Clone {}

impl<K: Ord + Hash + Clone> TreapKey for K {}

/// The map.
#[derive(Clone)]
pub struct Treap<K, V> {
    root: Subtree<K, V>,
    len: usize,
}

/// The values of one key in an old map and in a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreapDifference<K, V> {
    /// The key.
    pub key: K,
    /// In the old map.
    pub old: Option<V>,
    /// In the new map.
    pub new: Option<V>,
}

type Subtree<K, V> = Option<Arc<Node<K, V>>>;

struct Node<K, V> {
    /// The priority, which is higher than that of both children.
    priority: u64,
    key: K,
    value: V,
    /// The entries before the key.
    left: Subtree<K, V>,
    /// The entries after the key.
    right: Subtree<K, V>,
}

impl<K: TreapKey, V: Clone> Node<K, V> {
    fn with(&self, left: Subtree<K, V>, right: Subtree<K, V>) -> Subtree<K, V> {
        let (key, value) = (self.key.clone(), self.value.clone());
        Some(Arc::new(Node { priority: self.priority, key, value, left, right }))
    }

    fn is_above(&self, other: &Self) -> bool {
        (self.priority, &self.key) > (other.priority, &other.key)
    }
}

/// The entries before a key, the value of the key, and the entries after it.
type Split<K, V> = (Subtree<K, V>, Option<V>, Subtree<K, V>);

fn split<K: TreapKey, V: Clone>(link: &Subtree<K, V>, key: &K) -> Split<K, V> {
    let Some(node) = link else { return (None, None, None) };
    match key.cmp(&node.key) {
        Ordering::Less => {
            let (left, found, right) = split(&node.left, key);
            (left, found, node.with(right, node.right.clone()))
        }
        Ordering::Equal => (node.left.clone(), Some(node.value.clone()), node.right.clone()),
        Ordering::Greater => {
            let (left, found, right) = split(&node.right, key);
            (node.with(node.left.clone(), left), found, right)
        }
    }
}

/// Each key on the left comes before each on the right.
fn merge<K: TreapKey, V: Clone>(left: Subtree<K, V>, right: Subtree<K, V>) -> Subtree<K, V> {
    match (left, right) {
        (None, other) | (other, None) => other,
        (Some(l), Some(r)) if l.is_above(&r) => l.with(l.left.clone(), merge(l.right.clone(), Some(r))),
        (Some(l), Some(r)) => r.with(merge(Some(l), r.left.clone()), r.right.clone()),
    }
}

/// The keys that a comparison of two maps returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeySelection {
    /// The keys whose values differ.
    Different,
    /// At all.
    All,
}

/// In the order of the keys.
fn compare<K: TreapKey, V: Clone + PartialEq>(
    old: &Subtree<K, V>,
    new: &Subtree<K, V>,
    which: KeySelection,
    out: &mut Vec<TreapDifference<K, V>>,
) {
    let node = match (old, new) {
        (None, None) => return,
        (Some(o), Some(n)) if which == KeySelection::Different && Arc::ptr_eq(o, n) => return,
        (Some(o), Some(n)) => {
            if n.is_above(o) {
                n
            } else {
                o
            }
        }
        (Some(node), None) | (None, Some(node)) => node,
    };
    // The node with the higher priority can only be the root of the other side, if it is there.
    let ((old_left, was, old_right), (new_left, is, new_right)) =
        (split(old, &node.key), split(new, &node.key));
    compare(&old_left, &new_left, which, out);
    if which == KeySelection::All || was != is {
        out.push(TreapDifference { key: node.key.clone(), old: was, new: is });
    }
    compare(&old_right, &new_right, which, out);
}

impl<K: TreapKey, V: Clone> Treap<K, V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let mut link = &self.root;
        while let Some(node) = link {
            link = match key.cmp(&node.key) {
                Ordering::Less => &node.left,
                Ordering::Equal => return Some(&node.value),
                Ordering::Greater => &node.right,
            };
        }
        None
    }

    /// Whether a key is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of a key; returns the old value.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let (left, before, right) = split(&self.root, &key);
        let node = Node { priority: hasher.finish(), key, value, left: None, right: None };
        self.root = merge(merge(left, Some(Arc::new(node))), right);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes a key; returns the old value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        if !self.contains_key(key) {
            return None;
        }
        let (left, before, right) = split(&self.root, key);
        self.root = merge(left, right);
        self.len -= 1;
        before
    }

    /// In the order of the keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { path: Vec::new() };
        iter.descend(&self.root);
        iter
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: TreapKey, V: Clone + PartialEq> Treap<K, V> {
    /// The changes from this map to `new`, in the order of the keys.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<TreapDifference<K, V>> {
        let mut pairs = Vec::new();
        compare(&self.root, &new.root, KeySelection::Different, &mut pairs);
        pairs
    }

    /// Each key of this map and of `new`, in order.
    #[must_use]
    pub fn beside(&self, new: &Self) -> Vec<TreapDifference<K, V>> {
        let mut pairs = Vec::with_capacity(self.len.max(new.len));
        compare(&self.root, &new.root, KeySelection::All, &mut pairs);
        pairs
    }
}

/// An iterator over a [`Treap`], in the order of the keys.
pub struct Iter<'a, K, V> {
    /// The next entry is the last one; before it are its ancestors that come later in the order.
    path: Vec<&'a Node<K, V>>,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut link: &'a Subtree<K, V>) {
        while let Some(node) = link {
            self.path.push(node);
            link = &node.left;
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.path.pop()?;
        self.descend(&node.right);
        Some((&node.key, &node.value))
    }
}

impl<'a, K: TreapKey, V: Clone> IntoIterator for &'a Treap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K, V> Default for Treap<K, V> {
    fn default() -> Self {
        Treap { root: None, len: 0 }
    }
}

impl<K: TreapKey, V: Clone> Extend<(K, V)> for Treap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: TreapKey, V: Clone> FromIterator<(K, V)> for Treap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Treap::default();
        map.extend(entries);
        map
    }
}

impl<K: TreapKey, V: Clone, const N: usize> From<[(K, V); N]> for Treap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: TreapKey, V: Clone + PartialEq> PartialEq for Treap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.diff(other).is_empty()
    }
}

impl<K: TreapKey, V: Clone + Eq> Eq for Treap<K, V> {}

impl<K: TreapKey + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Treap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests;
