//! The simulator of the whole hub, optimised.

use anyhow::Result;

use crate::command::{cargo, run as run_command};
use crate::workspace::Workspace;

/// With it, portions of work and caches are so small that simulations reach their ends often. The
/// simulations of `cargo xtask test` are built without it.
pub(crate) const FLAGS: &str = "--cfg small_portions";

/// Builds the simulator and runs it with these options.
///
/// # Errors
/// If it does not build, or finds a broken invariant.
pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Result<()> {
    run_command(
        cargo()
            .args(["run", "--quiet", "--release", "--package", "tidings-simulation", "--"])
            .args(options)
            .env("RUSTFLAGS", FLAGS)
            // Other flags would build all crates again.
            .env("CARGO_TARGET_DIR", workspace.target.join("simulator")),
    )
}
