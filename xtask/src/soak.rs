//! The tests of faults with counts that no run of `cargo xtask test` has time for.

use anyhow::Result;

use crate::command::{cargo, command, run};
use crate::packages;
use crate::setup::{self, Need};
use crate::simulate;
use crate::workspace::Workspace;

/// The environment variables that they read; without them their counts are small.
const COUNTS: [(&str, &str); 8] = [
    ("TIDINGS_POWER_CUTS", "10000"),
    ("TIDINGS_FLIPS", "1000"),
    ("TIDINGS_KILLS", "100"),
    // Longer than three heartbeats of the default 15 s, after which the kernel closes connections.
    ("TIDINGS_STILL_SECONDS", "50"),
    ("TIDINGS_CLUSTER_ROUNDS", "10"),
    // Longer than publishes wait by default, connections live without an answer, and elections
    // take.
    ("TIDINGS_CLUSTER_STILL_SECONDS", "15"),
    ("TIDINGS_MUST_PARTITION", "1"),
    ("TIDINGS_JOINS", "10000"),
];

/// How long the simulator of the whole hub runs, unless the caller says otherwise.
pub(crate) const MINUTES: u32 = 30;

/// Runs all of them, optimised, and shows their counts. Only simulations have no end of their own:
/// they run for `minutes`.
///
/// # Errors
/// If one of them fails.
pub(crate) fn run_all(workspace: &Workspace, minutes: u32) -> Result<()> {
    let needs =
        [Need::NatsServers, Need::Chromium, Need::Firefox, Need::Packages, Need::Java, Need::Zoo];
    setup::install(&needs, workspace)?;
    let suite: &[&str] = &["--test", "suite"];
    let all = [
        ("tidings-disk", &["--lib"][..], "a_flipped_bit"),
        ("tidings-hub", suite, "power_cut"),
        ("tidings-hub", suite, "presence"),
        ("tidings", suite, "durability"),
        ("tidings", suite, "cluster"),
    ];
    for (package, target, tests) in all {
        run(cargo()
            .args(["test", "--release", "--all-features", "--package", package])
            .args(target)
            .arg(tests)
            .args(["--", "--nocapture"])
            .envs(COUNTS)
            .envs(setup::nats_servers(workspace)))?;
    }
    simulate::run(workspace, &["--minutes".to_owned(), minutes.to_string()])?;
    attacks()?;
    tab_faults(workspace)?;
    clients_of_others(workspace)
}

/// Attacks the hub, one attack after the other, so that measurements belong to a single attack.
///
/// # Errors
/// If an attack exceeds its limits, or delays other clients.
pub(crate) fn attacks() -> Result<()> {
    run(cargo()
        .args(["test", "--release", "--package", "tidings", "--test", "suite", "--no-fail-fast"])
        .args(["attack::", "--", "--nocapture", "--include-ignored", "--test-threads", "1"])
        .env("TIDINGS_ATTACK", "full"))
}

/// How often each third-party client goes through each fault.
const ZOO_ROUNDS: usize = 5;

fn clients_of_others(workspace: &Workspace) -> Result<()> {
    let binary = workspace.binary()?;
    for _ in 0..ZOO_ROUNDS {
        run(command("node")
            .args(["--test", "zoo/zoo.test.js"])
            .current_dir(workspace.root.join("e2e"))
            .env("TIDINGS", &binary)
            .env("CHROMIUM", setup::chromium()?)
            .env("FIREFOX", setup::firefox()?)
            .env("PYTHON", packages::python(workspace)))?;
    }
    Ok(())
}

/// The faults of the tab that holds the shared connection, 20 times each.
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
