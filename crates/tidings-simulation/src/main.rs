//! `cargo xtask simulate`: runs simulations of many seeds, and prints what they found.

use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidings_simulation::{
    Counts, JournalKind, Script, Violation, shrink, simulate, simulate_aloud,
};

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

/// Runs one script.
fn run_script(path: &std::path::Path) -> ExitCode {
    let script = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let script = script.and_then(|text| Script::read(&text).map_err(|error| error.to_string()));
    let script = match script {
        Ok(script) => script,
        Err(error) => {
            eprintln!("error: cannot read the script {}: {error}", path.display());
            return ExitCode::from(2);
        }
    };
    let outcome = tracing::subscriber::with_default(Log, || simulate_aloud(&script));
    println!("{}trace: {:016x}", outcome.counts, outcome.trace);
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some((violation, boot, step)) => {
            println!("\ninvariant: {}", violation.invariant.name());
            println!("in boot {boot}, step {step}: {}", violation.what);
            ExitCode::FAILURE
        }
    }
}

/// Prints what the hub logs.
struct Log;

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = format!("log: {} {}:", event.metadata().level(), event.metadata().target());
        event.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
            line += &match field.name() {
                "message" => format!(" {value:?}"),
                name => format!(" {name}={value:?}"),
            };
        });
        println!("{line}");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Runs the simulations, and returns the first broken invariant.
fn run(options: &Options) -> Option<(u64, Violation)> {
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let counts = Mutex::new(Counts::default());
    let found = Mutex::new(None);
    let begun = Instant::now();
    let end = options.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    let is_over = || stop.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                let mut own = Counts::default();
                while !is_over() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= options.seeds {
                        break;
                    }
                    let seed = options.first + index;
                    let script = Script::of(seed, options.steps, options.boots, options.journal);
                    let outcome = simulate(&script);
                    own.add(&outcome.counts);
                    if options.trace {
                        println!("trace of {seed}: {:016x}", outcome.trace);
                    }
                    if let Some((violation, ..)) = outcome.violation {
                        stop.store(true, Ordering::Relaxed);
                        let mut found = found.lock().expect("no thread panics");
                        let earlier = found.as_ref().is_none_or(|(other, _)| seed < *other);
                        if earlier {
                            *found = Some((seed, violation));
                        }
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done % 100 == 0 && std::io::stderr().is_terminal() {
                        eprint!("\r{done} seeds, {} s", begun.elapsed().as_secs());
                    }
                }
                counts.lock().expect("no thread panics").add(&own);
            });
        }
    });
    let counts = counts.into_inner().expect("no thread panics");
    let (done, time) = (done.into_inner(), begun.elapsed());
    if !options.quiet {
        println!("{counts}");
    }
    let hours = time.as_secs_f64() / 3600.0;
    println!(
        "{done} seeds from {} on, {} steps and {} boots each, in {:.0} s on {} threads: {:.0} seeds \
         and {:.0} h of simulated time per hour",
        options.first,
        options.steps,
        options.boots,
        time.as_secs_f64(),
        options.threads,
        done as f64 / hours,
        counts.time().as_secs_f64() / 3600.0 / hours,
    );
    found.into_inner().expect("no thread panics")
}

fn report(options: &Options, seed: u64, violation: &Violation) {
    println!("\ninvariant: {}", violation.invariant.name());
    println!("seed: {seed}");
    println!("{}", violation.what);
    println!("promise: {} ({})", violation.invariant.statement(), violation.invariant.source());
    let script = Script::of(seed, options.steps, options.boots, options.journal);
    let (short, violation) = shrink(&script, violation);
    println!("\nof {} acts {} are needed: {}", script.steps(), short.steps(), violation.what);
    for line in short.lines() {
        println!("  {line}");
    }
    let journal = options.journal.map_or(String::new(), |one| format!(" --journal {}", one.name()));
    println!(
        "\nagain: cargo xtask simulate --seed {seed} --steps {} --boots {}{journal}",
        options.steps, options.boots
    );
    let path = PathBuf::from("target/simulate");
    let file = path.join(format!("{}-{seed}.json", violation.invariant.name()));
    let written = std::fs::create_dir_all(&path).and_then(|()| std::fs::write(&file, short.text()));
    match written {
        Ok(()) => println!("or: cargo xtask simulate --script {}", file.display()),
        Err(error) => eprintln!("cannot write {}: {error}", file.display()),
    }
}
