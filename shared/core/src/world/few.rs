//! Maps that are only looked up; among them one from a key to a few values, mostly to one, without a set of one for each key.
//!
//! Must not: list their keys (their order is nobody's), or keep a key without a value.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash};

/// A map that is never listed. Its hasher has no keys of the day, so that two runs do the same.
#[expect(clippy::disallowed_types, reason = "it is never listed, so its order shows nowhere")]
pub(super) type Lookup<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// One value, or several in order.
#[derive(Clone, Debug)]
enum Few<V> {
    One(V),
    More(Vec<V>),
}

impl<V> Few<V> {
    fn as_slice(&self) -> &[V] {
        match self {
            Few::One(one) => std::slice::from_ref(one),
            Few::More(all) => all,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Multi<K, V>(Lookup<K, Few<V>>);

impl<K, V> Default for Multi<K, V> {
    fn default() -> Self {
        Multi(Lookup::default())
    }
}

impl<K: Eq + Hash, V: Ord> Multi<K, V> {
    /// The values of a key, in order.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> &[V]
    where
        K: Borrow<Q>,
    {
        self.0.get(key).map_or(&[], Few::as_slice)
    }

    /// Adds a value.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let values = match self.0.remove(&key) {
            None => Few::One(value),
            Some(Few::One(one)) if one == value => Few::One(one),
            Some(Few::One(one)) => Few::More(if one < value { vec![one, value] } else { vec![value, one] }),
            Some(Few::More(mut all)) => {
                if let Err(at) = all.binary_search(&value) {
                    all.insert(at, value);
                }
                Few::More(all)
            }
        };
        self.0.insert(key, values);
    }

    /// Takes a value away, and the key with its last.
    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, value: &V)
    where
        K: Borrow<Q>,
    {
        let empty = match self.0.get_mut(key) {
            None => false,
            Some(Few::One(one)) => one == value,
            Some(Few::More(all)) => {
                if let Ok(at) = all.binary_search(value) {
                    all.remove(at);
                }
                all.is_empty()
            }
        };
        if empty {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_values_in_order_each_once_and_goes_with_the_last() {
        let mut map: Multi<String, u8> = Multi::default();
        for value in [5, 3, 5, 9, 3] {
            map.insert("a".to_owned(), value);
        }
        map.insert("b".to_owned(), 1);
        map.insert("b".to_owned(), 1);
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (&[3, 5, 9][..], &[1][..], &[][..]));
        for value in [5, 4, 9, 3] {
            map.remove("a", &value);
        }
        map.remove("b", &2);
        assert_eq!((map.get("a"), map.get("b")), (&[][..], &[1][..]));
        map.remove("b", &1);
        map.remove("b", &1);
        assert!(map.0.is_empty());
    }
}
