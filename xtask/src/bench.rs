//! The fan-out benchmark. Its load generator is outside this workspace.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{self, cargo};
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// A run of about a minute: the hub compared with the kernel's own cost.
const SHORT_RUN: [&str; 6] = [
    "--servers",
    "floor-epoll,tidings",
    "--scenarios",
    "fan1k-64,burst1k-64,idle10k",
    "--repeat",
    "3",
];

/// Builds the release binary and the load generator, and runs `bench.py` with `options`.
///
/// # Errors
/// If `bench_dir` has no `bench.py`, or something does not build or run.
pub(crate) fn run(workspace: &Workspace, bench_dir: &Path, options: &[String]) -> Result<()> {
    let bench_dir = bench_dir.canonicalize().with_context(|| bench_dir.display().to_string())?;
    if !bench_dir.join("bench.py").is_file() {
        bail!("there is no bench.py in {}", bench_dir.display());
    }
    let binary = workspace.binary()?;
    // bench.py looks for the load generator in the target folder beside it.
    command::run(
        cargo().args(["build", "--release"]).current_dir(&bench_dir).env_remove("CARGO_TARGET_DIR"),
    )?;

    let results = workspace.target.join("bench");
    std::fs::create_dir_all(&results).with_context(|| results.display().to_string())?;
    // bench.py appends, and would take its medians over earlier runs too.
    let results = results.join("run.jsonl");
    if results.exists() {
        std::fs::remove_file(&results).with_context(|| results.display().to_string())?;
    }
    let mut bench = command::command("python3");
    bench.arg(bench_dir.join("bench.py")).arg("--out").arg(&results);
    if options.is_empty() {
        bench.args(SHORT_RUN);
    } else {
        bench.args(options);
    }
    command::run(bench.env("TIDINGS", binary))
}

/// Builds the release binary, and measures one of its journals.
///
/// # Errors
/// If something does not build or run.
pub(crate) fn of_crate(workspace: &Workspace, name: &str, options: &[String]) -> Result<()> {
    if name == "nats" {
        setup::install(&[Need::NatsServers], workspace)?;
    }
    let binary = workspace.binary()?;
    command::run(
        cargo()
            .args(["bench", "--package", "tidings-hub", "--all-features", "--bench", name, "--"])
            .args(options)
            .envs(setup::nats_servers(workspace))
            .env("TIDINGS", binary),
    )
}

/// Builds the release binary, and runs a command of `benches/hub` against it.
///
/// # Errors
/// If something does not build or run, or updates are lost.
pub(crate) fn hub(workspace: &Workspace, command: &str, options: &[String]) -> Result<()> {
    let binary = workspace.binary()?;
    command::run(
        cargo()
            .args(["run", "--release", "--locked", "--quiet", "--", command])
            .args(options)
            .current_dir(workspace.root.join("benches").join("hub"))
            .env_remove("CARGO_TARGET_DIR")
            .env("TIDINGS", binary),
    )
}
