//! The tests of faults with counts that no run of `cargo xtask test` has time for.

use anyhow::Result;

use crate::command::{cargo, run};

/// What each of them reads from its environment; they have small counts without.
const COUNTS: [(&str, &str); 4] = [
    ("TIDINGS_POWER_CUTS", "10000"),
    ("TIDINGS_KILLS", "100"),
    // Longer than three heartbeats of the default 15 s, after which the kernel gives up.
    ("TIDINGS_STILL_SECONDS", "50"),
    ("TIDINGS_JOINS", "10000"),
];

/// Runs them all, optimised, with what they count shown.
///
/// # Errors
/// If one of them fails.
pub(crate) fn run_all() -> Result<()> {
    for (package, tests) in
        [("tidings-hub", "power_cut"), ("tidings-hub", "presence"), ("tidings", "durability")]
    {
        run(cargo()
            .args(["test", "--release", "--package", package, "--test", "suite", tests])
            .args(["--", "--nocapture"])
            .envs(COUNTS))?;
    }
    Ok(())
}
