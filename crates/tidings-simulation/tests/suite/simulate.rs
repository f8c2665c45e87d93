//! Simulations of the whole hub: a fixed set of seeds, a few fresh ones, and the scripts of faults
//! that were found.

use std::fs;
use std::path::Path;

use tidings_simulation::{Counts, Invariant, JournalKind, Script, simulate};

const STEPS: usize = 400;
const BOOTS: usize = 2;

/// Runs the seeds from `first` on, and returns the counts of all.
fn check(journal: JournalKind, first: u64, seeds: u64) -> Counts {
    let mut counts = Counts::default();
    for seed in first..first + seeds {
        let script = Script::of(seed, STEPS, BOOTS, Some(journal));
        let outcome = simulate(&script);
        if let Some((violation, boot, step)) = outcome.violation {
            panic!(
                "{violation}\nin boot {boot}, step {step}; again: cargo xtask simulate --seed {seed} \
                 --steps {STEPS} --boots {BOOTS} --journal {}",
                journal.name()
            );
        }
        counts.add(&outcome.counts);
    }
    counts
}

/// Seeds that a run draws anew; `TIDINGS_SEED` repeats them.
fn fresh(journal: JournalKind) {
    let first = tidings_seed::begin() >> 16;
    println!("seeds from {first} on");
    check(journal, first, 8);
}

#[test]
fn the_hub_with_its_journal_in_memory_keeps_its_promises() {
    let counts = check(JournalKind::Memory, 0, 60);
    // Each invariant was checked against something that happened.
    let idle = Invariant::ALL.into_iter().filter(|one| counts.checks_of(*one) == 0);
    let idle: Vec<_> = idle.map(Invariant::name).collect();
    assert!(idle.is_empty(), "never checked: {idle:?}");
}

#[test]
fn the_hub_with_its_journal_on_disk_keeps_its_promises() {
    check(JournalKind::Disk, 0, 40);
}

#[test]
fn the_hub_with_its_journal_on_jetstream_keeps_its_promises() {
    check(JournalKind::JetStream, 0, 60);
}

#[test]
fn fresh_seeds_with_the_journal_in_memory() {
    fresh(JournalKind::Memory);
}

#[test]
fn fresh_seeds_with_the_journal_on_disk() {
    fresh(JournalKind::Disk);
}

#[test]
fn fresh_seeds_with_the_journal_on_jetstream() {
    fresh(JournalKind::JetStream);
}

#[test]
fn the_same_seed_does_the_same_twice() {
    for journal in JournalKind::ALL {
        for seed in 0..8 {
            let script = Script::of(seed, STEPS, BOOTS, Some(journal));
            let (one, other) = (simulate(&script), simulate(&script));
            assert_eq!(one.trace, other.trace, "seed {seed}, {}", journal.name());
        }
    }
}

/// Scripts that broke an invariant before a fault was fixed.
#[test]
fn the_scripts_of_fixed_faults_break_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut count = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let script = Script::read(&fs::read_to_string(&path).unwrap()).unwrap();
        let outcome = simulate(&script);
        assert_eq!(outcome.violation, None, "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "there are no scripts in {}", folder.display());
}
