//! Equal patterns are compiled once, for as long as anybody uses them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// What is known by its text, and kept by who uses it. A value says when it goes
/// ([`Interner::forget`]).
#[derive(Debug)]
pub(super) struct Interner<K, V>(Mutex<InternedValues<K, V>>);

#[derive(Debug)]
struct InternedValues<K, V> {
    values: HashMap<K, Weak<V>>,
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self(Mutex::new(InternedValues { values: HashMap::new() }))
    }
}

impl<K: Eq + Hash, V> Interner<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().values.get(key)?.upgrade()
    }

    /// Adds `value`, unless somebody else was faster.
    pub(super) fn add(&self, key: K, value: V) -> Arc<V> {
        let mut known = self.0.lock();
        if let Some(there) = known.values.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        let value = Arc::new(value);
        known.values.insert(key, Arc::downgrade(&value));
        value
    }

    /// Forgets a value that is being dropped: what nobody uses any more is not to take memory
    /// until as many others have come.
    pub(super) fn forget(&self, key: &K) {
        let mut known = self.0.lock();
        if known.values.get(key).is_some_and(|value| value.strong_count() == 0) {
            known.values.remove(key);
        }
        if known.values.capacity() > 64 && known.values.len() < known.values.capacity() / 8 {
            known.values.shrink_to(64);
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
        assert_eq!(interner.0.lock().values.len(), 1);
        assert!(interner.0.lock().values.capacity() <= 128);
        assert!(Arc::ptr_eq(&kept, &interner.add("kept".to_owned(), 1)));
        assert!(interner.get(&"7".to_owned()).is_none());
    }
}
