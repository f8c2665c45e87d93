//! Equal patterns are compiled once, for as long as anybody uses them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// What is known by its text, and kept by who uses it.
#[derive(Debug)]
pub(super) struct Interner<K, V>(Mutex<Known<K, V>>);

#[derive(Debug)]
struct Known<K, V> {
    values: HashMap<K, Weak<V>>,
    /// When there are so many, those that nobody uses any more are forgotten.
    sweep_at: usize,
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Known { values: HashMap::new(), sweep_at: 64 }))
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
        if known.values.len() >= known.sweep_at {
            known.values.retain(|_, value| value.strong_count() > 0);
            known.sweep_at = 2 * known.values.len() + 64;
        }
        let value = Arc::new(value);
        known.values.insert(key, Arc::downgrade(&value));
        value
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
            interner.add(number.to_string(), number);
        }
        assert!(interner.0.lock().values.len() <= 128);
        assert!(Arc::ptr_eq(&kept, &interner.add("kept".to_owned(), 1)));
        assert!(interner.get(&"7".to_owned()).is_none());
    }
}
