//! Runs the simulations of many seeds or of one script, and prints what they found.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidings_simulation::{Counts, Script, Violation, shrink, simulate, simulate_aloud};

use crate::Options;
use crate::hub_log::HubLog;

/// Runs the simulations, and returns the first broken invariant.
pub(crate) fn run(options: &Options) -> Option<(u64, Violation)> {
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

/// Prints a broken invariant, its seed, and a short script that breaks it.
pub(crate) fn report(options: &Options, seed: u64, violation: &Violation) {
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

/// Runs one script, and prints every step.
pub(crate) fn run_script(path: &Path) -> ExitCode {
    let script = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let script = script.and_then(|text| Script::read(&text).map_err(|error| error.to_string()));
    let script = match script {
        Ok(script) => script,
        Err(error) => {
            eprintln!("error: cannot read the script {}: {error}", path.display());
            return ExitCode::from(2);
        }
    };
    let outcome = tracing::subscriber::with_default(HubLog, || simulate_aloud(&script));
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
