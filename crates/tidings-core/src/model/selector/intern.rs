//! Shares compiled patterns: equal patterns are compiled once, as long as they are in use.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::random;

/// Shared values by their text, each kept by its users. A value that is dropped calls
/// [`Interner::forget`].
#[derive(Debug)]
pub(super) struct Interner<K, V>(Mutex<BTreeMap<u64, InternedValues<K, V>>>);

/// The values of one scope: all of them, except that each simulation has its own. Another thread
/// must not decide what it has to compile.
type InternedValues<K, V> = HashMap<K, Weak<V>>;

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Eq + Hash, V> Interner<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().get(&random::scope())?.get(key)?.upgrade()
    }

    /// Adds `value`, unless another thread has added one meanwhile.
    pub(super) fn add(&self, key: K, value: V) -> Arc<V> {
        let mut scopes = self.0.lock();
        let known = scopes.entry(random::scope()).or_default();
        if let Some(there) = known.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        let value = Arc::new(value);
        known.insert(key, Arc::downgrade(&value));
        value
    }

    /// Removes a value that is being dropped, so that unused values use no memory.
    pub(super) fn forget(&self, key: &K) {
        let mut scopes = self.0.lock();
        let scope = random::scope();
        let Some(known) = scopes.get_mut(&scope) else { return };
        if known.get(key).is_some_and(|value| value.strong_count() == 0) {
            known.remove(key);
        }
        if known.is_empty() {
            scopes.remove(&scope);
        } else if known.capacity() > 64 && known.len() < known.capacity() / 8 {
            known.shrink_to(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let interner = Interner::default();
        let kept = interner.add("kept".to_owned(), 0);
        for number in 0..1000 {
            drop(interner.add(number.to_string(), number));
            interner.forget(&number.to_string());
        }
        interner.forget(&"kept".to_owned());
        assert_eq!(interner.0.lock()[&0].len(), 1);
        assert!(interner.0.lock()[&0].capacity() <= 128);
        assert!(Arc::ptr_eq(&kept, &interner.add("kept".to_owned(), 1)));
        assert!(interner.get(&"7".to_owned()).is_none());
    }
}
