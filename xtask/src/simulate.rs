//! The simulator of the whole hub, optimised.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, command, each_line, run as run_command};
use crate::workspace::Workspace;

/// With it, portions of work and caches are so small that simulations reach their ends often. The
/// simulations of `cargo xtask test` are built without it.
pub(crate) const FLAGS: &str = "--cfg small_portions";

/// The scripts that broke an invariant before a fault was fixed.
const REGRESSIONS: &str = "crates/tidings-simulation/regressions";

/// The time limit of one of these scripts. They have fewer than a hundred steps, but a fault may make
/// one run forever.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(120);

/// Builds the simulator and runs it with these options. If these ask for seeds, the scripts of fixed
/// faults come first.
///
/// # Errors
/// If it does not build, or finds a broken invariant.
pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Result<()> {
    // Other flags would build all crates again.
    let target = workspace.target.join("simulator");
    run_command(
        cargo()
            .args(["build", "--quiet", "--release", "--package", "tidings-simulation"])
            .env("RUSTFLAGS", FLAGS)
            .env("CARGO_TARGET_DIR", &target),
    )?;
    let program = program_in(&target);
    if asks_for_seeds(options) {
        let scripts = scripts(&workspace.root)?;
        replay(&scripts, SCRIPT_TIME_MAX, |script| {
            let mut command = command(&program);
            command.args(["--script", script]).current_dir(&workspace.root);
            command
        })?;
        println!("{} scripts of fixed faults: none breaks an invariant", scripts.len());
    }
    run_command(command(program).args(options))
}

/// The simulator that cargo builds in this target folder.
pub(crate) fn program_in(target: &Path) -> PathBuf {
    let name = format!("tidings-simulation{}", std::env::consts::EXE_SUFFIX);
    target.join("release").join(name)
}

fn asks_for_seeds(options: &[String]) -> bool {
    !options.iter().any(|option| ["--help", "-h", "--script"].contains(&option.as_str()))
}

/// The scripts of fixed faults, as paths below the root.
fn scripts(root: &Path) -> Result<Vec<String>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(root.join(REGRESSIONS)).context(REGRESSIONS)? {
        let name = entry.context(REGRESSIONS)?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".json") {
            scripts.push(format!("{REGRESSIONS}/{name}"));
        }
    }
    scripts.sort_unstable();
    Ok(scripts)
}

/// Runs the simulator with each script.
///
/// `cargo xtask test unit` does so too, but without [`FLAGS`]. There a script that was found with
/// them may not reach its fault.
///
/// # Errors
/// If a script breaks an invariant, cannot be read, or does not end within `time`. All scripts are
/// run before.
fn replay(scripts: &[String], time: Duration, simulator: impl Fn(&str) -> Command) -> Result<()> {
    let mut findings = Vec::new();
    for script in scripts {
        let mut broken = Vec::new();
        // On the standard error the simulator tells every step.
        let status = each_line(simulator(script).stderr(Stdio::null()), time, |line| {
            if line.starts_with("invariant: ") || !broken.is_empty() {
                broken.push(line.to_owned());
            }
            ControlFlow::Continue(())
        });
        match status {
            Ok(Some(status)) if !status.success() && broken.is_empty() => {
                findings.push(format!("{script}: the simulator ended with {status}"));
            }
            Ok(Some(status)) if !status.success() => {
                findings.push(format!("{script}: {}", broken.join("\n    ")));
            }
            Ok(_) => {}
            Err(error) => findings.push(format!("{error:#}")),
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} scripts of fixed faults fail (cargo xtask simulate --script FILE tells what \
         happens):\n  {}",
        findings.len(),
        scripts.len(),
        findings.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(line: &str) -> bool {
        asks_for_seeds(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn scripts_of_fixed_faults_come_before_seeds_only() {
        assert!(asks("") && asks("--minutes 60") && asks("--seed 7 --journal disk"));
        assert!(!asks("--help") && !asks("-h") && !asks("--script a.json"));
    }

    #[test]
    fn the_committed_scripts_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let scripts = scripts(root).unwrap();
        assert!(!scripts.is_empty());
        assert!(scripts.iter().all(|script| root.join(script).is_file()), "{scripts:?}");
    }

    /// Replays scripts that a shell runs.
    #[cfg(unix)]
    fn replayed(scripts: &[&str], time: Duration) -> Result<(), String> {
        let scripts: Vec<_> = scripts.iter().map(|script| (*script).to_owned()).collect();
        let shell = |script: &str| {
            let mut shell = command("sh");
            shell.args(["-c", script]);
            shell
        };
        replay(&scripts, time, shell).map_err(|error| error.to_string())
    }

    #[cfg(unix)]
    #[test]
    fn each_script_that_fails_is_named_with_its_reason() {
        let (minute, broken) = (Duration::from_secs(60), "echo invariant: no-loss; exit 1");
        assert_eq!(replayed(&["echo 1", "echo log; echo 2 >&2"], minute), Ok(()));
        let error = replayed(&["true", broken, "exit 2"], minute).unwrap_err();
        assert!(error.starts_with("2 of 3 scripts"), "{error}");
        assert!(error.contains(&format!("{broken}: invariant: no-loss")), "{error}");
        assert!(error.contains("exit 2: the simulator ended with"), "{error}");
        let error = replayed(&["exec tail -f /dev/null"], Duration::ZERO).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
    }
}
