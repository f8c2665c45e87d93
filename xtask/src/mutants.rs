//! Mutants: builds of the simulator with one fault each, which an invariant must catch.
//!
//! The sources are copied under the target folder, and all mutants share one target folder of their
//! own. So only the changed crate, and those that depend on it, are built again.

mod copy;
mod list;

use std::ops::ControlFlow;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use self::copy::SourceCopy;
use self::list::{Mutant, Mutants};
use crate::command::{cargo, command, each_line, run as run_command};
use crate::simulate;
use crate::workspace::Workspace;

/// Seeds after which a mutant counts as not caught.
const SEEDS_MAX: u64 = 20_000;
/// Seeds that the sources without a fault must pass first.
const SEEDS_SOUND: u64 = 300;
/// The time limit of one run of the simulator.
const TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MutantOptions {
    /// The names of the mutants, or none for all.
    names: Vec<String>,
    seeds: u64,
    /// Further options of the simulator.
    simulator: Vec<String>,
}

impl MutantOptions {
    /// Reads the arguments after `simulate --mutants`: names, `--seeds COUNT`, and after `--` options
    /// of the simulator.
    ///
    /// # Errors
    /// If an argument is unknown.
    pub(crate) fn of(args: &[String]) -> Result<Self, String> {
        let (own, simulator) = match args.iter().position(|arg| arg == "--") {
            Some(at) => (&args[..at], &args[at + 1..]),
            None => (args, &[][..]),
        };
        let mut options =
            Self { names: Vec::new(), seeds: SEEDS_MAX, simulator: simulator.to_vec() };
        let mut own = own.iter();
        while let Some(arg) = own.next() {
            match arg.as_str() {
                "--seeds" => {
                    let count = own.next().and_then(|text| text.parse().ok());
                    options.seeds = count.ok_or("--seeds needs a number")?;
                }
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag:?}")),
                name => options.names.push(name.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Builds and runs the mutants, notes in the list which invariant caught each and how many seeds that
/// took, and prints a table.
///
/// # Errors
/// If the sources without a fault break an invariant, or if a mutant does not build or is not caught
/// by its invariant.
pub(crate) fn run(workspace: &Workspace, options: &MutantOptions) -> Result<()> {
    let mut mutants = Mutants::read(&workspace.root)?;
    let chosen = mutants.chosen(&options.names)?;
    let copy = SourceCopy::new(&workspace.root, workspace.target.join("mutants"))?;
    let simulator = Simulator { copy: &copy, options: &options.simulator };
    println!("the sources without a fault:");
    simulator.build()?;
    if let Some(found) = simulator.find(first_seed()?, SEEDS_SOUND, None)? {
        bail!("without a mutant {} breaks with seed {}", found.invariant, found.seed);
    }
    let mut rows = Vec::new();
    for index in chosen {
        let mutant = &mutants.all[index];
        println!("\n{} ({}):", mutant.name, mutant.file);
        copy.apply(mutant)?;
        let outcome = simulator
            .build()
            .and_then(|()| simulator.hunt(mutant, options.seeds))
            .unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        copy.restore(mutant)?;
        println!("{}: {}", mutant.name, outcome.text());
        if let Outcome::Caught { seeds, invariant, .. } = &outcome {
            let mutant = &mut mutants.all[index];
            (mutant.seeds, mutant.caught_by) = (Some(*seeds), Some(invariant.clone()));
            mutants.write(&workspace.root)?;
        }
        let mutant = &mutants.all[index];
        let invariant = outcome.caught_by().unwrap_or(&mutant.invariant);
        let row = format!("| {} | {invariant} | {} |", mutant.name, outcome.text());
        rows.push((row, outcome.caught_by().is_some()));
    }
    println!("\n| mutant | invariant | seeds |\n|---|---|---|");
    rows.iter().for_each(|(row, _)| println!("{row}"));
    let missed = rows.iter().filter(|(_, is_caught)| !is_caught).count();
    if missed > 0 {
        bail!("{missed} of {} mutants are not caught by their invariants", rows.len());
    }
    Ok(())
}

/// A seed that earlier runs did not have.
fn first_seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_millis() as u64 & ((1 << 44) - 1))
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    invariant: String,
    seed: u64,
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its invariant, or another one that may, caught it with this many seeds. Before that, others
    /// broke.
    Caught {
        seeds: u64,
        invariant: String,
        others: Vec<String>,
    },
    /// It was not caught by its invariant, perhaps by others.
    Missed {
        seeds: u64,
        others: Vec<String>,
    },
    Failed(String),
}

impl Outcome {
    fn caught_by(&self) -> Option<&String> {
        match self {
            Self::Caught { invariant, .. } => Some(invariant),
            Self::Missed { .. } | Self::Failed(_) => None,
        }
    }

    fn text(&self) -> String {
        let others = |others: &[String]| match others {
            [] => String::new(),
            others => format!(" (also {})", others.join(", ")),
        };
        match self {
            Self::Caught { seeds, others: found, .. } => format!("{seeds}{}", others(found)),
            Self::Missed { seeds, others: found } => {
                format!("not caught in {seeds}{}", others(found))
            }
            Self::Failed(error) => format!("failed: {error}"),
        }
    }
}

/// Runs seeds until the mutant's invariant breaks. `find` runs at most so many seeds after so many,
/// and returns the first that breaks any, counted from the first of all.
fn hunt(
    mutant: &Mutant,
    seeds: u64,
    mut find: impl FnMut(u64, u64) -> Result<Option<Found>>,
) -> Result<Outcome> {
    let mut others: Vec<String> = Vec::new();
    let mut done = 0;
    while done < seeds {
        let Some(found) = find(done, seeds - done)? else { break };
        done = found.seed + 1;
        if mutant.is_caught_by(&found.invariant) {
            return Ok(Outcome::Caught { seeds: done, invariant: found.invariant, others });
        }
        if !others.contains(&found.invariant) {
            others.push(found.invariant);
        }
        // Where each seed breaks another invariant, this one will not be found either.
        if others.len() > 3 {
            break;
        }
    }
    Ok(Outcome::Missed { seeds: done.max(if others.is_empty() { seeds } else { done }), others })
}

/// The simulator of the copied sources.
struct Simulator<'a> {
    copy: &'a SourceCopy,
    options: &'a [String],
}

impl Simulator<'_> {
    fn build(&self) -> Result<()> {
        run_command(
            cargo()
                .args(["build", "--quiet", "--release", "--package", "tidings-simulation"])
                .current_dir(&self.copy.sources)
                .env("CARGO_TARGET_DIR", &self.copy.target)
                .env("RUSTFLAGS", simulate::FLAGS)
                // After a change of one line, small parts of the changed crates are built again.
                .env("CARGO_INCREMENTAL", "1")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64"),
        )
    }

    /// Runs seeds that no earlier run had until the mutant's invariant breaks.
    fn hunt(&self, mutant: &Mutant, seeds: u64) -> Result<Outcome> {
        let first = first_seed()?;
        hunt(mutant, seeds, |skipped, count| {
            let found = self.find(first + skipped, count, mutant.journal.as_deref())?;
            Ok(found.map(|found| Found { seed: found.seed - first, ..found }))
        })
    }

    /// Runs seeds until an invariant breaks.
    fn find(&self, first: u64, seeds: u64, journal: Option<&str>) -> Result<Option<Found>> {
        let mut command = command(simulate::program_in(&self.copy.target));
        command.args(["--quiet", "--seed", &first.to_string(), "--seeds", &seeds.to_string()]);
        if let Some(journal) = journal {
            command.args(["--journal", journal]);
        }
        find_with(command.args(self.options).current_dir(&self.copy.sources), TIME_MAX)
    }
}

/// Runs a simulator that prints `invariant: NAME` and `seed: N` if an invariant breaks, and then
/// exits with 1. A fault may also make it run forever, so it has a time limit.
fn find_with(command: &mut Command, time: Duration) -> Result<Option<Found>> {
    let (mut invariant, mut seed) = (None, None);
    let status = each_line(command, time, |line| {
        if let Some(name) = line.strip_prefix("invariant: ") {
            invariant = Some(name.trim().to_owned());
        } else if let Some(number) = line.strip_prefix("seed: ") {
            seed = number.trim().parse().ok();
        }
        // It would continue in order to find a shorter script, which is not needed here.
        let is_found = invariant.is_some() && seed.is_some();
        if is_found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let (Some(invariant), Some(seed)) = (invariant, seed) {
        return Ok(Some(Found { invariant, seed }));
    }
    match status {
        Some(status) if !status.success() => {
            bail!("the simulator ended with {status} and named no invariant and seed")
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
