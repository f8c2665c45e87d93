//! The arguments of the command line.

use std::path::PathBuf;

use crate::mutants::MutantOptions;
use crate::soak;
use crate::steps::{self, Step};

pub(crate) const HELP: &str = "\
Usage: cargo xtask COMMAND

  test [STEP|GROUP]…   install what is missing, then run all steps, or only those named
  test --list          the steps and their groups
  setup [STEP|GROUP]…  only install what the steps need, or those named
  bench --bench-dir PATH [-- OPTIONS]
                       build the release binary and run PATH/bench.py against it;
                       OPTIONS go to bench.py, in place of a short default run
  bench journal [-- OPTIONS]
                       build the release binary and measure its journal on disk beside a bare
                       store; `-- --help` has the options
  bench nats [-- OPTIONS]
                       the same for its journal on NATS JetStream, beside JetStream itself
  bench tls [-- ROUNDS]
                       the same of TLS and HTTP/2, beside nginx before a plain hub of axum
  bench allocators [-- ROUNDS]
                       build the last commit with glibc's malloc, mimalloc and jemalloc, and measure
                       builds, deliveries, idle streams, and the memory after each attack
  bench instructions [-- --accept]
                       count the instructions of decode, route, flush, append and connect beside the
                       committed figures; `--accept` makes the counts the figures
  bench storm [-- STREAMS DRAIN]
                       the same of 10000 streams that come back after `kill -9`, and after a drain
  simulate [OPTIONS]   build the simulator of the whole hub, and run the scripts of fixed faults and
                       then seeds; --seed N repeats a simulation, and `simulate --help` has all
                       options
  simulate --mutants [NAME]… [--seeds COUNT] [-- OPTIONS]
                       build the simulator with one fault after the other, each of which an
                       invariant must catch; OPTIONS go to the simulator
  soak [--minutes M]   the tests of faults again, with power cut 10,000 times, the hub killed 100
                       times and held for longer than every limit, ten rounds of what may happen to a
                       cluster, and M minutes of simulations, by default 30
  soak attack          only the attacks: peers that make the hub keep, compile or wait for much,
                       while others are measured
  minimum              install the oldest version of Rust that Cargo.toml declares, and build
                       everything with it
  help                 this text

Nothing is installed outside the target folder, e2e/node_modules and the like, but for Debian
packages that are missing (apt-get, as root or through sudo).
  TIDINGS_SEED=NUMBER  the seed of all random tests; each prints its own
  CHROMIUM=PATH        the browser to test with, instead of chromium from the PATH
  CARGO_TARGET_DIR     is respected";

/// One command line, understood.
#[derive(Debug)]
pub(crate) enum Invocation {
    Help,
    List,
    /// Everything, where no step is named.
    Setup(Vec<&'static Step>),
    /// The steps in the order they run in, whatever order they were named in.
    Test(Vec<&'static Step>),
    Bench {
        bench_dir: PathBuf,
        options: Vec<String>,
    },
    /// One of the benchmarks of the hub's crate, by its name.
    BenchCrate {
        name: String,
        options: Vec<String>,
    },
    /// A command of `benches/hub`.
    BenchHub {
        command: String,
        options: Vec<String>,
    },
    /// The hub with other allocators.
    BenchAllocators {
        options: Vec<String>,
    },
    /// The simulator of the whole hub.
    Simulate {
        options: Vec<String>,
    },
    /// Builds of the simulator with a fault.
    Mutants(MutantOptions),
    /// Instructions of small workloads.
    BenchInstructions {
        options: Vec<String>,
    },
    Soak {
        /// How long simulations run.
        minutes: u32,
    },
    SoakAttacks,
    /// A build with the declared minimum of Rust.
    Minimum,
}

/// Reads the arguments after the program's name; the error names the fault.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Invocation, String> {
    let args: Vec<String> = args.collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => return Ok(Invocation::Help),
    };
    match command {
        "help" | "--help" | "-h" => Ok(Invocation::Help),
        "test" => test(rest),
        "setup" if rest.is_empty() => Ok(Invocation::Setup(Vec::new())),
        "setup" => chosen(rest).map(Invocation::Setup),
        "bench" => bench(rest),
        "simulate" if rest.first().is_some_and(|one| one == "--mutants") => {
            MutantOptions::of(&rest[1..]).map(Invocation::Mutants)
        }
        "simulate" => Ok(Invocation::Simulate { options: rest.to_vec() }),
        "soak" => soak(rest),
        "minimum" if rest.is_empty() => Ok(Invocation::Minimum),
        other => Err(format!("there is no command {other:?}")),
    }
}

fn test(names: &[String]) -> Result<Invocation, String> {
    if names.iter().any(|name| name == "--list") {
        return Ok(Invocation::List);
    }
    chosen(names).map(Invocation::Test)
}

/// The steps of these names, or all where there are none, in the order they run in.
fn chosen(names: &[String]) -> Result<Vec<&'static Step>, String> {
    if let Some(unknown) = names.iter().find(|name| !steps::ALL.iter().any(|step| step.is(name))) {
        return Err(format!(
            "there is no step or group {unknown:?}; cargo xtask test --list has them"
        ));
    }
    let chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| step.is(name));
    Ok(steps::ALL.iter().filter(chosen).collect())
}

fn soak(args: &[String]) -> Result<Invocation, String> {
    match args {
        [] => Ok(Invocation::Soak { minutes: soak::MINUTES }),
        [only] if only == "attack" => Ok(Invocation::SoakAttacks),
        [flag, minutes] if flag == "--minutes" => match minutes.parse() {
            Ok(minutes) if minutes > 0 => Ok(Invocation::Soak { minutes }),
            _ => Err(format!("--minutes needs a whole number of at least 1, not {minutes:?}")),
        },
        _ => Err(format!("soak needs --minutes M, `attack` or nothing, not {:?}", args.join(" "))),
    }
}

/// Benchmarks of the hub's crate.
const HUB_BENCHES: [&str; 2] = ["journal", "nats"];

fn bench(args: &[String]) -> Result<Invocation, String> {
    let (own, options) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    match own {
        [flag, path] if flag == "--bench-dir" => {
            Ok(Invocation::Bench { bench_dir: path.into(), options: options.to_vec() })
        }
        [what] if HUB_BENCHES.contains(&what.as_str()) => {
            Ok(Invocation::BenchCrate { name: what.clone(), options: options.to_vec() })
        }
        [what] if what == "instructions" => {
            Ok(Invocation::BenchInstructions { options: options.to_vec() })
        }
        [what] if what == "allocators" => {
            Ok(Invocation::BenchAllocators { options: options.to_vec() })
        }
        [what] if what == "tls" || what == "storm" => {
            Ok(Invocation::BenchHub { command: what.clone(), options: options.to_vec() })
        }
        _ => Err(
            "bench needs --bench-dir PATH, the folder of bench.py, or `journal`, `nats`, `tls`, \
                  `storm`, `instructions` or `allocators`"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Vec<&'static str>, String> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Invocation::Test(steps) => Ok(steps.iter().map(|step| step.name).collect()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn test_alone_means_every_step() {
        assert_eq!(check("test").map(|steps| steps.len()), Ok(steps::ALL.len()));
    }

    #[test]
    fn a_step_is_chosen_by_its_name_and_keeps_its_place_in_the_order() {
        assert_eq!(check("test clippy format"), Ok(vec!["format", "clippy"]));
    }

    #[test]
    fn a_group_stands_for_its_steps() {
        let lint = check("test lint").unwrap();
        assert!(lint.contains(&"clippy") && !lint.contains(&"unit"), "{lint:?}");
    }

    #[test]
    fn an_unknown_step_is_named_in_the_error() {
        assert!(check("test clipy").unwrap_err().contains("\"clipy\""));
    }

    #[test]
    fn simulations_of_a_soak_take_as_many_minutes_as_it_is_told() {
        let minutes = |line: &str| match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Invocation::Soak { minutes }) => Some(minutes),
            _ => None,
        };
        assert_eq!(minutes("soak"), Some(soak::MINUTES));
        assert_eq!(minutes("soak --minutes 600"), Some(600));
        for line in ["soak attack", "soak --minutes", "soak --minutes 0", "soak --minutes 1 2"] {
            assert_eq!(minutes(line), None, "{line}");
        }
    }

    #[test]
    fn arguments_after_two_dashes_are_for_the_benchmark() {
        let args = ["bench", "--bench-dir", "/b", "--", "--repeat", "5"].map(str::to_owned);
        match parse(args.into_iter()) {
            Ok(Invocation::Bench { bench_dir, options }) => {
                assert_eq!(bench_dir, PathBuf::from("/b"));
                assert_eq!(options, ["--repeat", "5"]);
            }
            other => panic!("{other:?}"),
        }
    }
}
