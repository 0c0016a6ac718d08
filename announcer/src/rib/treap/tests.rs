use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Checks that children are on the correct side of a key and have lower priorities.
fn assert_shape<K: TreapKey + fmt::Debug, V: Clone>(link: &Subtree<K, V>) {
    let Some(node) = link else { return };
    for (child, order) in [(&node.left, Ordering::Less), (&node.right, Ordering::Greater)] {
        if let Some(child) = child {
            assert_eq!(child.key.cmp(&node.key), order);
            assert!(node.is_above(child), "{:?} lies below {:?}", node.key, child.key);
        }
        assert_shape(child);
    }
}

fn depth<K, V>(link: &Subtree<K, V>) -> usize {
    link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
}

fn check(map: &Treap<u16, u8>, model: &BTreeMap<u16, u8>) {
    assert_shape(&map.root);
    assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    assert!(map.iter().eq(model), "{map:?} is not {model:?}");
}

proptest! {
    #[test]
    fn it_is_an_ordered_map_and_its_copies_stay_as_they_were(
        steps in proptest::collection::vec((0_u16..40, proptest::option::weighted(0.6, 0_u8..3), any::<bool>()), 0..120)
    ) {
        let (mut map, mut model) = (Treap::default(), BTreeMap::new());
        let mut copies = Vec::new();
        for (key, value, copy) in steps {
            let (ours, theirs) = match value {
                Some(value) => (map.insert(key, value), model.insert(key, value)),
                None => (map.remove(&key), model.remove(&key)),
            };
            prop_assert_eq!(ours, theirs);
            prop_assert_eq!(map.get(&key), model.get(&key));
            if copy {
                copies.push((map.clone(), model.clone()));
            }
        }
        copies.push((map, model));
        for (map, model) in &copies {
            check(map, model);
            prop_assert_eq!(map, &model.iter().map(|(key, value)| (*key, *value)).collect());
        }
        for ((old, was), (new, is)) in copies.iter().zip(copies.iter().rev()) {
            let keys: BTreeSet<&u16> = was.keys().chain(is.keys()).collect();
            let pair = |key: &u16| TreapDifference { key: *key, old: was.get(key).copied(), new: is.get(key).copied() };
            let all: Vec<TreapDifference<u16, u8>> = keys.into_iter().map(pair).collect();
            prop_assert_eq!(old.beside(new), all.clone());
            let different: Vec<TreapDifference<u16, u8>> = all.into_iter().filter(|pair| pair.old != pair.new).collect();
            prop_assert_eq!(old == new, different.is_empty());
            prop_assert_eq!(old.diff(new), different);
        }
    }
}

thread_local! {
    static COMPARED: Cell<usize> = const { Cell::new(0) };
}

/// Counts how often it is compared.
#[derive(Debug, Clone)]
struct ComparedKey(u32);

impl PartialEq for ComparedKey {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

#[test]
fn one_change_among_many_is_found_without_looking_at_the_others() {
    let whole: Treap<u32, ComparedKey> = (0..5000).map(|n| (n, ComparedKey(n))).collect();
    assert!(depth(&whole.root) < 50, "{}", depth(&whole.root));
    let mut worst = 0;
    for key in 0..5000 {
        let (mut changed, mut gone) = (whole.clone(), whole.clone());
        changed.insert(key, ComparedKey(9999));
        gone.remove(&key);
        for (new, value) in [(changed, Some(ComparedKey(9999))), (gone, None)] {
            COMPARED.set(0);
            let pairs = whole.diff(&new);
            worst = worst.max(COMPARED.get());
            assert_eq!(pairs, [TreapDifference { key, old: Some(ComparedKey(key)), new: value }]);
            assert_eq!(new.diff(&whole).len(), 1);
        }
    }
    assert!(worst < 100, "{worst} of 5,000 were compared");
}

#[test]
fn the_shape_follows_from_the_keys_alone() {
    let up: Treap<u16, u8> = (0..500).map(|n| (n, 0)).collect();
    let mut down: Treap<u16, u8> = (0..1000).rev().map(|n| (n, 0)).collect();
    (500..1000).for_each(|n| assert_eq!(down.remove(&n), Some(0)));
    fn same(a: &Subtree<u16, u8>, b: &Subtree<u16, u8>) -> bool {
        match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => a.key == b.key && same(&a.left, &b.left) && same(&a.right, &b.right),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
    assert!(same(&up.root, &down.root));
}
