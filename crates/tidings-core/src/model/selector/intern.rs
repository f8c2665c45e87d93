//! Shares compiled patterns: equal patterns are compiled once, as long as they are in use.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Shared values by their text, each kept by its users. A value that is dropped calls
/// [`Interner::forget`].
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

    /// Adds `value`, unless another thread has added one meanwhile.
    pub(super) fn add(&self, key: K, value: V) -> Arc<V> {
        let mut known = self.0.lock();
        if let Some(there) = known.values.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        let value = Arc::new(value);
        known.values.insert(key, Arc::downgrade(&value));
        value
    }

    /// Removes a value that is being dropped, so that unused values use no memory.
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
