//! A small ordered map: a sorted vector while it has few entries, a B-tree beyond. Most keys of a map state have a handful of
//! user keys, for which one allocation and a linear probe beat any tree.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, RangeBounds};

/// Entries up to which the vector is kept.
const SMALL: usize = 16;

#[derive(Debug, Clone)]
pub(crate) enum OrdMap<K, T> {
    Small(Vec<(K, T)>),
    Large(BTreeMap<K, T>),
}

impl<K, T> Default for OrdMap<K, T> {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl<K: Ord, T> OrdMap<K, T> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(entries) => entries.len(),
            Self::Large(tree) => tree.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(crate) fn get(&self, key: &K) -> Option<&T> {
        match self {
            Self::Small(entries) => entries.iter().find(|(held, _)| held == key).map(|(_, value)| value),
            Self::Large(tree) => tree.get(key),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        match self {
            Self::Small(entries) => entries.iter_mut().find(|(held, _)| held == key).map(|(_, value)| value),
            Self::Large(tree) => tree.get_mut(key),
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: T) -> Option<T> {
        match self {
            Self::Small(entries) => match entries.binary_search_by(|(held, _)| held.cmp(&key)) {
                Ok(at) => Some(std::mem::replace(&mut entries[at].1, value)),
                Err(at) if entries.len() < SMALL => {
                    entries.insert(at, (key, value));
                    None
                }
                Err(_) => {
                    let mut tree: BTreeMap<K, T> = std::mem::take(entries).into_iter().collect();
                    tree.insert(key, value);
                    *self = Self::Large(tree);
                    None
                }
            },
            Self::Large(tree) => tree.insert(key, value),
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<T> {
        match self {
            Self::Small(entries) => {
                let at = entries.iter().position(|(held, _)| held == key)?;
                Some(entries.remove(at).1)
            }
            Self::Large(tree) => tree.remove(key),
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut T) -> bool) {
        match self {
            Self::Small(entries) => entries.retain_mut(|(key, value)| keep(key, value)),
            Self::Large(tree) => tree.retain(keep),
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_, K, T> {
        match self {
            Self::Small(entries) => Iter::Small(entries.iter()),
            Self::Large(tree) => Iter::Large(tree.range::<K, _>(..)),
        }
    }

    /// The entries within bounds, in order. Bounds that exclude each other give nothing.
    pub(crate) fn range(&self, bounds: (Bound<&K>, Bound<&K>)) -> Iter<'_, K, T> {
        if is_empty_range(bounds) {
            return Iter::Small([].iter());
        }
        match self {
            Self::Small(entries) => {
                let start = entries.partition_point(|(key, _)| !after_start(bounds, key));
                let end = entries.partition_point(|(key, _)| before_end(bounds, key));
                Iter::Small(entries[start..end].iter())
            }
            Self::Large(tree) => Iter::Large(tree.range(bounds)),
        }
    }
}

fn after_start<K: Ord>(bounds: (Bound<&K>, Bound<&K>), key: &K) -> bool {
    (bounds.0, Bound::Unbounded).contains(key)
}

fn before_end<K: Ord>(bounds: (Bound<&K>, Bound<&K>), key: &K) -> bool {
    (Bound::Unbounded, bounds.1).contains(key)
}

/// True if no key can lie within the bounds; `BTreeMap::range` panics on those.
pub(crate) fn is_empty_range<K: Ord>(bounds: (Bound<&K>, Bound<&K>)) -> bool {
    match bounds {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// Entries in order, from either end.
pub(crate) enum Iter<'a, K, T> {
    Small(std::slice::Iter<'a, (K, T)>),
    Large(btree_map::Range<'a, K, T>),
}

impl<'a, K, T> Iterator for Iter<'a, K, T> {
    type Item = (&'a K, &'a T);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Small(entries) => entries.next().map(|(key, value)| (key, value)),
            Self::Large(tree) => tree.next(),
        }
    }
}

impl<K, T> DoubleEndedIterator for Iter<'_, K, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Small(entries) => entries.next_back().map(|(key, value)| (key, value)),
            Self::Large(tree) => tree.next_back(),
        }
    }
}

impl<K: Ord, T> IntoIterator for OrdMap<K, T> {
    type Item = (K, T);
    type IntoIter = IntoIter<K, T>;

    fn into_iter(self) -> IntoIter<K, T> {
        match self {
            Self::Small(entries) => IntoIter::Small(entries.into_iter()),
            Self::Large(tree) => IntoIter::Large(tree.into_iter()),
        }
    }
}

/// Owned entries in order.
pub(crate) enum IntoIter<K, T> {
    Small(std::vec::IntoIter<(K, T)>),
    Large(btree_map::IntoIter<K, T>),
}

impl<K, T> Iterator for IntoIter<K, T> {
    type Item = (K, T);

    fn next(&mut self) -> Option<(K, T)> {
        match self {
            Self::Small(entries) => entries.next(),
            Self::Large(tree) => tree.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bound() -> impl Strategy<Value = Bound<u8>> {
        prop_oneof![Just(Bound::Unbounded), (0u8..40).prop_map(Bound::Included), (0u8..40).prop_map(Bound::Excluded),]
    }

    proptest! {
        #[test]
        fn behaves_like_a_btree_at_every_size(ops in proptest::collection::vec((0u8..40, any::<bool>()), 0..80), low in bound(), high in bound()) {
            let (mut map, mut model) = (OrdMap::default(), BTreeMap::new());
            for (step, (key, insert)) in ops.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(map.insert(key, step), model.insert(key, step));
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.iter().eq(model.iter()));
            let bounds = (low.as_ref(), high.as_ref());
            let expected: Vec<_> = model.iter().filter(|(key, _)| bounds.contains(key)).collect();
            prop_assert_eq!(map.range(bounds).collect::<Vec<_>>(), expected.clone());
            let mut backwards: Vec<_> = map.range(bounds).rev().collect();
            backwards.reverse();
            prop_assert_eq!(backwards, expected);
        }
    }
}
