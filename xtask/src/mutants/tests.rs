use std::path::PathBuf;

use super::*;

fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is in the workspace").to_owned()
}

#[test]
fn the_text_of_each_mutant_stands_in_its_file_once() {
    let mutants = Mutants::read(&root()).unwrap();
    for mutant in &mutants.all {
        let source = std::fs::read_to_string(root().join(&mutant.file)).unwrap();
        let mutated = mutant.mutated(&source).unwrap();
        assert_ne!(mutated, source, "{}", mutant.name);
        let namesakes = mutants.all.iter().filter(|one| one.name == mutant.name).count();
        assert_eq!(namesakes, 1, "{}", mutant.name);
        assert!(mutant.fault.ends_with('.'), "{}", mutant.name);
    }
}

#[test]
fn the_list_is_written_as_it_is_read() {
    let mutants = Mutants::read(&root()).unwrap();
    let file = std::fs::read_to_string(root().join("crates/tidings-simulation/mutants.json"));
    assert_eq!(mutants.text(), file.unwrap());
    assert_eq!(Mutants::parse(&mutants.text()).unwrap(), mutants);
}

/// The names of the invariants, as their source has them.
fn invariants() -> Vec<String> {
    let file = root().join("crates/tidings-simulation/src/invariants.rs");
    let source = std::fs::read_to_string(file).unwrap();
    let (_, names) = source.split_once("pub fn name(self)").unwrap();
    let (names, _) = names.split_once("\n    }\n").unwrap();
    let name = |line: &str| {
        let (_, name) = line.trim().split_once(" => \"")?;
        name.strip_suffix("\",").map(str::to_owned)
    };
    let names: Vec<_> = names.lines().filter_map(name).collect();
    let all = format!("pub const ALL: [Self; {}]", names.len());
    assert!(source.contains(&all), "the source has more or less than {names:?}");
    names
}

#[test]
fn each_invariant_has_a_mutant_that_it_must_catch() {
    let mutants = Mutants::read(&root()).unwrap().all;
    let names = invariants();
    let has_mutant = |name: &&String| mutants.iter().any(|one| one.invariant == **name);
    let without: Vec<_> = names.iter().filter(|name| !has_mutant(name)).collect();
    assert!(without.is_empty(), "no mutant is for {without:?}");
    for mutant in &mutants {
        let unknown = [&mutant.invariant].into_iter().chain(&mutant.or);
        let unknown: Vec<_> = unknown.filter(|name| !names.contains(name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", mutant.name);
    }
}

fn mutant() -> Mutant {
    let json = r#"[{
        "name": "a", "fault": "A fault.", "file": "x.rs",
        "text": ["one", "two"], "replacement": [], "invariant": "no-loss", "or": ["no-repeat"]
    }]"#;
    Mutants::parse(json).unwrap().all.remove(0)
}

#[test]
fn a_text_that_stands_elsewhere_too_makes_no_mutant() {
    assert_eq!(mutant().mutated("0\none\ntwo\n3").unwrap(), "0\n\n3");
    for source in ["", "one", "one\ntwo\none\ntwo"] {
        assert!(mutant().mutated(source).is_err(), "{source:?}");
    }
}

/// Hunts among seeds of which some break these invariants.
fn hunted(breaking: &[(u64, &str)], seeds: u64) -> Outcome {
    let find = |skipped: u64, count: u64| {
        let found = breaking.iter().find(|(seed, _)| (skipped..skipped + count).contains(seed));
        Ok(found.map(|(seed, name)| Found { seed: *seed, invariant: (*name).to_owned() }))
    };
    hunt(&mutant(), seeds, find).unwrap()
}

#[test]
fn a_mutant_is_caught_by_its_invariant_after_the_seeds_that_it_took() {
    let caught = |seeds, invariant: &str, others: &[&str]| Outcome::Caught {
        seeds,
        invariant: invariant.to_owned(),
        others: others.iter().map(|one| (*one).to_owned()).collect(),
    };
    assert_eq!(hunted(&[(0, "no-loss")], 10), caught(1, "no-loss", &[]));
    assert_eq!(hunted(&[(4, "no-repeat"), (5, "no-loss")], 10), caught(5, "no-repeat", &[]));
    let others = [(2, "in-order"), (3, "in-order"), (9, "no-loss")];
    assert_eq!(hunted(&others, 10), caught(10, "no-loss", &["in-order"]));
    assert_eq!(hunted(&[(10, "no-loss")], 10), Outcome::Missed { seeds: 10, others: Vec::new() });
    assert!(matches!(hunted(&others, 9), Outcome::Missed { .. }));
    assert_eq!(hunted(&others, 9).text(), "not caught in 4 (also in-order)");
}

#[test]
fn the_list_says_which_invariant_caught_a_mutant() {
    let mutant = Mutant { caught_by: Some("no-repeat".to_owned()), seeds: Some(5), ..mutant() };
    let text = Mutants { all: vec![mutant.clone()] }.text();
    assert_eq!(Mutants::parse(&text).unwrap().all, [mutant]);
    for mutant in Mutants::read(&root()).unwrap().all {
        if let Some(caught_by) = &mutant.caught_by {
            assert!(mutant.is_caught_by(caught_by) && mutant.seeds.is_some(), "{}", mutant.name);
        }
    }
}

/// A simulator that prints these lines.
#[cfg(unix)]
fn stub(script: &str) -> Result<Option<Found>> {
    find_with(command("sh").args(["-c", script]), Duration::from_secs(60))
}

#[cfg(unix)]
#[test]
fn the_output_of_a_simulator_names_the_invariant_and_the_seed() {
    assert_eq!(stub("echo 5 seeds").unwrap(), None);
    let found = stub("echo 5 seeds; echo invariant: no-loss; echo seed: 7; exit 1").unwrap();
    assert_eq!(found, Some(Found { invariant: "no-loss".to_owned(), seed: 7 }));
    // It is not awaited: it may take long to make its script shorter.
    let found = stub("echo seed: 8; echo invariant: in-order; exec tail -f /dev/null").unwrap();
    assert_eq!(found.map(|found| found.seed), Some(8));
    let hang = find_with(command("sh").args(["-c", "exec tail -f /dev/null"]), Duration::ZERO);
    assert!(hang.unwrap_err().to_string().contains("did not end"));
    assert!(stub("exit 1").is_err() && stub("echo seed: 8; exit 2").is_err());
}

#[test]
fn arguments_are_names_a_number_of_seeds_and_options_of_the_simulator() {
    let read = |line: &str| {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        MutantOptions::of(&args)
    };
    let options = read("a b --seeds 7 -- --steps 100").unwrap();
    assert_eq!(options.names, ["a", "b"]);
    assert_eq!((options.seeds, options.simulator.len()), (7, 2));
    assert_eq!(read("").unwrap().seeds, SEEDS_MAX);
    assert!(read("--seeds").is_err() && read("--seeds x").is_err() && read("--steps 1").is_err());
}
