//! The seed of the random tests: `TIDINGS_SEED`, or a new number for each run.
//!
//! Every random test of the repository takes its randomness from here, and prints the seed. The
//! output of a failed test therefore begins with the line that repeats it:
//!
//! ```text
//! TIDINGS_SEED=13250672945862512033
//! ```
//!
//! - `fastrand::u64(..)` and the like: call [`begin`] first.
//! - `proptest!`: `#![proptest_config(tidings_seed::proptest())]`. Failed cases are also written to
//!   `proptest-regressions/`, whose files are committed.
//! - Fuzz targets: `tidings_seed::fuzz!`.
//!
//! `cargo xtask test seeds` refuses tests that take their randomness from elsewhere. The crates use
//! this one as a dev-dependency without a version, which cargo drops when it publishes them.

#[cfg(feature = "fuzz")]
pub mod fuzz;

use std::sync::LazyLock;

#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use bolero;

const NAME: &str = "TIDINGS_SEED";

/// The seed that `TIDINGS_SEED` sets.
///
/// # Panics
/// If it is no whole number below 2^64.
pub fn chosen() -> Option<u64> {
    let text = std::env::var(NAME).ok()?;
    match text.parse() {
        Ok(seed) => Some(seed),
        Err(_) => panic!("{NAME} is {text:?}; it must be a whole number below 2^64"),
    }
}

/// The seed of this run, which all tests of a process share. Prints it.
pub fn seed() -> u64 {
    static SEED: LazyLock<u64> =
        LazyLock::new(|| chosen().unwrap_or_else(|| fastrand::Rng::new().u64(..)));
    println!("{NAME}={}", *SEED);
    *SEED
}

/// Seeds this thread's `fastrand` with the seed of this run, and prints it.
pub fn begin() -> u64 {
    let seed = seed();
    fastrand::seed(seed);
    seed
}

/// Property tests that draw from the seed of this run, and write failed cases to
/// `proptest-regressions/` beside `src` or `suite`.
#[cfg(feature = "proptest")]
pub fn proptest() -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};

    Config { rng_seed: RngSeed::Fixed(seed()), ..Config::default() }
}
