//! The tests of faults with counts that no run of `cargo xtask test` has time for.

use anyhow::Result;

use crate::command::{cargo, command, run};
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// What each of them reads from its environment; they have small counts without.
const COUNTS: [(&str, &str); 7] = [
    ("TIDINGS_POWER_CUTS", "10000"),
    ("TIDINGS_KILLS", "100"),
    // Longer than three heartbeats of the default 15 s, after which the kernel gives up.
    ("TIDINGS_STILL_SECONDS", "50"),
    ("TIDINGS_CLUSTER_ROUNDS", "10"),
    // Longer than publishes wait by default, connections live without an answer, and elections take.
    ("TIDINGS_CLUSTER_STILL_SECONDS", "15"),
    ("TIDINGS_MUST_PARTITION", "1"),
    ("TIDINGS_JOINS", "10000"),
];

/// Runs them all, optimised, with what they count shown.
///
/// # Errors
/// If one of them fails.
pub(crate) fn run_all(workspace: &Workspace) -> Result<()> {
    setup::install(&[Need::NatsServers, Need::Chromium, Need::Packages], workspace)?;
    let all = [
        ("tidings-hub", "power_cut"),
        ("tidings-hub", "presence"),
        ("tidings", "durability"),
        ("tidings", "cluster"),
    ];
    for (package, tests) in all {
        run(cargo()
            .args(["test", "--release", "--package", package, "--test", "suite", tests])
            .args(["--", "--nocapture"])
            .envs(COUNTS)
            .envs(setup::nats_servers(workspace)))?;
    }
    tab_faults(workspace)
}

/// What can happen to the tab that holds the connection of all, 20 times each.
fn tab_faults(workspace: &Workspace) -> Result<()> {
    let binary = workspace.binary()?;
    let browser = workspace.npm_packages.iter().filter(|package| package.name == "browser");
    for package in browser {
        run(command("node")
            .args(["--test", "test/share-faults.test.js"])
            .current_dir(&package.folder)
            .env("TIDINGS", &binary)
            .env("CHROMIUM", setup::chromium()?)
            .env("TIDINGS_TAB_FAULTS", "20"))?;
    }
    Ok(())
}
