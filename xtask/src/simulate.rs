//! The simulator of the whole hub, optimised.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

/// Builds the simulator and runs it with these options.
///
/// # Errors
/// If it does not build, or finds a broken invariant.
pub(crate) fn run(options: &[String]) -> Result<()> {
    run_command(
        cargo()
            .args(["run", "--quiet", "--release", "--package", "tidings-simulation", "--"])
            .args(options),
    )
}
