//! Every interleaving of the threads that share Tidings' hand-made concurrent parts.
//!
//! The parts are the production sources, copied at build time with stand-ins for their locks,
//! atomics and wake-ups. Loom runs each scenario in every order of the threads' steps, up to a
//! number of preemptions, and with every value that the orderings of the atomics allow a load to
//! return. A thread that nothing wakes is a deadlock, which loom reports.
//!
//! `interleavings PART VARIANT SCENARIO` checks one scenario; without arguments it lists them.

// Scenarios use only a part of the production sources, and twins are changed ones.
#![allow(dead_code, unused_imports, unused_mut, unfulfilled_lint_expectations)]
#![allow(clippy::duplicate_mod)]

mod sync;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use loom::model::Builder;

/// A scenario: its name, the bound of preemptions, and what its threads do.
type Scenario = (&'static str, usize, fn());

include!(concat!(env!("OUT_DIR"), "/variants.rs"));

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [part, variant, name] = arguments.as_slice() else {
        for (part, variant, scenarios) in VARIANTS {
            for (name, ..) in *scenarios {
                println!("{part} {variant} {name}");
            }
        }
        return ExitCode::SUCCESS;
    };
    let found = VARIANTS.iter().find(|(of, is, _)| of == part && is == variant);
    let scenario = found.and_then(|(.., all)| all.iter().find(|(is, ..)| is == name));
    let Some((_, preemptions, run)) = scenario else {
        eprintln!("error: there is no scenario {name} of {part} {variant}");
        return ExitCode::from(2);
    };
    let count = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut checker = Builder::new();
    checker.preemption_bound = Some(*preemptions);
    checker.check({
        let (count, run) = (Arc::clone(&count), *run);
        move || {
            count.fetch_add(1, Ordering::Relaxed);
            run();
        }
    });
    println!("{} interleavings in {:.1?}", count.load(Ordering::Relaxed), begun.elapsed());
    ExitCode::SUCCESS
}
