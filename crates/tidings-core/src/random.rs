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

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // There is no fallback: a secret that can be guessed would not be noticed.
    getrandom::fill(&mut bytes).expect("the system has a generator of random numbers");
    bytes
}

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
