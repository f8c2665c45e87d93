//! Random numbers that must not be guessable. They come from the system's generator, because that
//! of a thread is seeded by time, and a client could compute its numbers from a few that it has
//! seen.

/// A secret of 64 bits.
pub fn secret() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// A secret of 128 bits, which is also unique.
pub fn unique() -> u128 {
    u128::from_ne_bytes(bytes())
}

/// The number of this thread's simulation. Threads that are in none share the number 0.
pub(crate) fn scope() -> u64 {
    #[cfg(feature = "simulation")]
    return seeded::number();
    #[cfg(not(feature = "simulation"))]
    0
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[cfg(feature = "simulation")]
    if seeded::fill(&mut bytes) {
        return bytes;
    }
    // There is no fallback: a secret that can be guessed would not be noticed.
    getrandom::fill(&mut bytes).expect("the system has a generator of random numbers");
    bytes
}

#[cfg(feature = "simulation")]
mod seeded {
    //! The random numbers of a simulation, which can all be guessed.

    use std::cell::Cell;
    use std::marker::PhantomData;
    use std::sync::atomic::{AtomicU64, Ordering};

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    static LAST: AtomicU64 = AtomicU64::new(0);

    /// The random numbers of this thread come from a seed until the guard is dropped.
    #[derive(Debug)]
    pub struct Seeded(PhantomData<*const ()>);

    /// Makes the random numbers of this thread those of `seed`.
    pub fn seed(seed: u64) -> Seeded {
        STATE.set(Some(seed));
        NUMBER.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        Seeded(PhantomData)
    }

    impl Drop for Seeded {
        fn drop(&mut self) {
            STATE.set(None);
            NUMBER.set(0);
        }
    }

    /// Differs for each simulation of the process.
    pub(super) fn number() -> u64 {
        NUMBER.get()
    }

    /// Fills `bytes`, if this thread has a seed.
    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        let Some(mut state) = STATE.get() else { return false };
        for piece in bytes.chunks_mut(8) {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            piece.copy_from_slice(&mixed.to_le_bytes()[..piece.len()]);
        }
        STATE.set(Some(state));
        true
    }
}

#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use seeded::{Seeded, seed};

#[cfg(test)]
mod tests {
    use crate::journal::IdempotencyKey;
    use crate::model::Epoch;

    #[test]
    fn the_threads_generator_decides_nothing_that_is_secret() {
        let drawn = || {
            fastrand::seed(7);
            (
                super::secret(),
                super::unique(),
                Epoch::random().number(),
                format!("{:?}", IdempotencyKey::random()),
            )
        };
        let (one, other) = (drawn(), drawn());
        assert_ne!(one.0, other.0);
        assert_ne!(one.1, other.1);
        assert_ne!(one.2, other.2);
        assert_ne!(one.3, other.3);
    }
}
