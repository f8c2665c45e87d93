//! The hash of all that happened in a run. The same seed gives the same hash.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The hash of all that happened so far. Its copies share one hash.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hash: Rc<Cell<u64>>,
    numbers: Option<Rc<RefCell<Vec<u64>>>>,
}

impl Trace {
    /// A trace that keeps its numbers, so that the first difference between two runs is found.
    pub fn recording() -> Self {
        Self { hash: Rc::default(), numbers: Some(Rc::default()) }
    }

    /// The numbers of a recording.
    pub fn numbers(&self) -> Vec<u64> {
        self.numbers.as_ref().map_or_else(Vec::new, |numbers| numbers.borrow().clone())
    }

    /// Adds a number.
    pub fn note(&self, number: u64) {
        if let Some(numbers) = &self.numbers {
            numbers.borrow_mut().push(number);
        }
        let mixed = (self.hash.get().rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash.set(mixed ^ (mixed >> 29));
    }

    /// Adds bytes.
    pub fn note_bytes(&self, bytes: &[u8]) {
        self.note(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        // Four sums at once, so that none waits for the product of another.
        let mut sums = [1_u64, 2, 3, 4];
        let (fours, few) = words.as_chunks::<4>();
        for four in fours {
            for (sum, word) in sums.iter_mut().zip(four) {
                *sum = (*sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95);
                *sum ^= *sum >> 32;
            }
        }
        sums.into_iter().for_each(|sum| self.note(sum));
        few.iter().for_each(|word| self.note(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.note(u64::from(*byte)));
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash.get()
    }
}
