//! `cargo xtask simulate`: runs simulations of many seeds, and prints what they found.

mod hub_log;
mod runner;

use std::path::PathBuf;
use std::process::ExitCode;

use tidings_simulation::JournalKind;

use runner::{report, run, run_script};

const HELP: &str = "\
Usage: simulate [--seed FIRST] [--seeds COUNT] [--minutes M] [--steps N] [--boots B]
                [--journal memory|disk|jetstream] [--threads T] [--trace] [--quiet]
       simulate --script FILE

  --seed FIRST   the first seed; by default one drawn at random
  --seeds COUNT  how many seeds; by default 1 with --seed, 1000 without
  --minutes M    starts no further seed after M minutes
  --steps N      acts in each simulation, over all its boots; 2000 by default
  --boots B      how often the hub starts in each simulation; 2 by default
  --journal J    only this journal; by default the seed decides
  --threads T    simulations at the same time; by default one for each core
  --trace        prints a hash of each run; equal hashes mean equal runs
  --quiet        prints no counts
  --script FILE  replays a script that a failure wrote, and prints every step

The exit code is 1 if an invariant broke. Then the invariant, the seed and a short script that
breaks it are printed, and the script is written to target/simulate.";

struct Options {
    first: u64,
    seeds: u64,
    minutes: Option<u64>,
    steps: usize,
    boots: usize,
    journal: Option<JournalKind>,
    threads: usize,
    trace: bool,
    quiet: bool,
    script: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &options.script {
        return run_script(path);
    }
    match run(&options) {
        None => ExitCode::SUCCESS,
        Some((seed, violation)) => {
            report(&options, seed, &violation);
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        first: fastrand::u64(..1 << 48),
        seeds: 0,
        minutes: None,
        steps: 2000,
        boots: 2,
        journal: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        trace: false,
        quiet: false,
        script: None,
    };
    let mut default_seeds = 1000;
    if let Ok(seed) = std::env::var("TIDINGS_SEED") {
        options.first =
            seed.parse().map_err(|_| format!("TIDINGS_SEED is {seed:?}, not a number"))?;
        default_seeds = 1;
    }
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {text:?}"))
        };
        match arg.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seed" => {
                options.first = number(value()?)?;
                default_seeds = 1;
            }
            "--seeds" => options.seeds = number(value()?)?,
            "--minutes" => {
                options.minutes = Some(number(value()?)?);
                default_seeds = u64::MAX >> 1;
            }
            "--steps" => options.steps = number(value()?)? as usize,
            "--boots" => options.boots = number(value()?)? as usize,
            "--threads" => options.threads = number(value()?)?.max(1) as usize,
            "--trace" => options.trace = true,
            "--quiet" => options.quiet = true,
            "--script" => options.script = Some(value()?.into()),
            "--journal" => {
                let name = value()?;
                let kind = JournalKind::ALL.into_iter().find(|kind| kind.name() == name);
                options.journal = Some(kind.ok_or_else(|| {
                    format!("{name:?} is no journal; it is one of memory, disk, jetstream")
                })?);
            }
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    if options.seeds == 0 {
        options.seeds = default_seeds;
    }
    Ok(Some(options))
}
