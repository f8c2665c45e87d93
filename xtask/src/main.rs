//! The commands for developers of Tidings: `cargo xtask test`, and a few others.
//!
//! Everything that the tests need beyond a Rust toolchain is installed from here, so that a
//! fresh machine, a developer's and CI's run the same thing.

mod allocators;
mod args;
mod bench;
mod command;
mod embedded;
mod instructions;
mod layers;
mod links;
mod minimum;
mod mutants;
mod nodes;
mod outcome;
mod packages;
mod report;
mod seeds;
mod setup;
mod simulate;
mod snippets;
mod soak;
mod steps;
mod systems;
mod tally;
mod tree;
mod workspace;
mod zoo;

use std::process::ExitCode;

use crate::args::Invocation;
use crate::workspace::Workspace;

fn main() -> ExitCode {
    let invocation = match args::parse(std::env::args().skip(1)) {
        Ok(invocation) => invocation,
        Err(usage) => {
            eprintln!("error: {usage} (cargo xtask help has the rest)");
            return ExitCode::from(2);
        }
    };
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: Invocation) -> anyhow::Result<()> {
    match invocation {
        Invocation::Help => println!("{}", args::HELP),
        Invocation::List => print!("{}", steps::list()),
        Invocation::Setup(steps) if steps.is_empty() => setup::everything(&Workspace::load()?)?,
        Invocation::Setup(steps) => {
            let needs: Vec<_> = steps.iter().flat_map(|step| step.needs).copied().collect();
            setup::install(&needs, &Workspace::load()?)?;
        }
        Invocation::BenchCrate { name, options } => {
            bench::of_crate(&Workspace::load()?, &name, &options)?;
        }
        Invocation::BenchHub { command, options } => {
            bench::hub(&Workspace::load()?, &command, &options)?;
        }
        Invocation::BenchAllocators { options } => {
            allocators::compare(&Workspace::load()?, &options)?;
        }
        Invocation::Simulate { options } => simulate::run(&Workspace::load()?, &options)?,
        Invocation::Mutants(options) => mutants::run(&Workspace::load()?, &options)?,
        Invocation::Minimum => minimum::build(&Workspace::load()?)?,
        Invocation::BenchInstructions { options } => {
            instructions::bench(&Workspace::load()?, &options)?;
        }
        Invocation::Soak { minutes } => soak::run_all(&Workspace::load()?, minutes)?,
        Invocation::SoakAttacks => soak::attacks()?,
        Invocation::Test(steps) => report::run(&steps, &Workspace::load()?)?,
        Invocation::Bench { bench_dir, options } => {
            bench::run(&Workspace::load()?, &bench_dir, &options)?;
        }
    }
    Ok(())
}
