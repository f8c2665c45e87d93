//! Every random test takes its randomness from `TIDINGS_SEED`, through the crate `tidings-seed`.
//!
//! A test that draws from anything else cannot be repeated. Generators with a seed of their own
//! (`fastrand::Rng::with_seed`) are allowed, and so is a constant seed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::tree;

/// Files that use a generator which another file has seeded: `power_cut.rs` and `checker.rs`.
const SEEDED_BY_OTHERS: [&str; 3] = [
    "crates/tidings-hub/tests/suite/power_cut/disk.rs",
    "crates/tidings/tests/suite/cluster.rs",
    "crates/tidings/tests/suite/durability.rs",
];

/// The crate that has the seed, and this file, which has the forbidden names.
const EXCEPT: [&str; 2] = ["crates/tidings-seed/", "xtask/src/seeds.rs"];

/// Looks at all tests in Rust and JavaScript.
///
/// # Errors
/// If one is random in another way, with every finding in the text.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let Some(files) = tree::files(root)? else {
        return Ok(Outcome::Skipped("this is not a git checkout".to_owned()));
    };
    let mut findings = Vec::new();
    for name in files.iter().filter(|name| !EXCEPT.iter().any(|one| name.starts_with(one))) {
        if name.ends_with(".rs") || name.ends_with(".js") {
            let text = fs::read_to_string(root.join(name)).with_context(|| name.clone())?;
            findings.extend(of_file(name, &text));
        }
    }
    if findings.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!(
        "tests that TIDINGS_SEED does not repeat (crates/tidings-seed has what to use):\n  {}",
        findings.join("\n  ")
    )
}

fn of_file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let is_seeded = text.contains("tidings_seed::begin()") || SEEDED_BY_OTHERS.contains(&name);
    let mut is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    for (index, line) in lines.iter().enumerate() {
        // The tests of a file are its last module.
        let next = lines.get(index + 1).map_or("", |next| next.trim());
        is_test |= line.trim() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{');
        let number = index + 1;
        let mut found = |what: &str| findings.push(format!("{name}:{number}: {what}"));
        if name.ends_with(".js") {
            if name.ends_with(".test.js") && line.contains("Math.random") {
                found("Math.random has no seed");
            }
            continue;
        }
        if line.contains("bolero::check!") {
            found("use tidings_seed::fuzz!");
        }
        if line.trim_start().starts_with("proptest! {") {
            let is_configured = lines[index..].iter().take(3).any(|line| {
                line.contains("#![proptest_config(") && line.contains("tidings_seed::proptest()")
            });
            if !is_configured {
                found("begin with #![proptest_config(tidings_seed::proptest())]");
            }
        }
        if is_test && !is_seeded && draws(line) {
            found("call tidings_seed::begin() first, or make a fastrand::Rng with a seed");
        }
    }
    findings
}

/// Whether a line draws from the thread's generator, or makes one from it.
fn draws(line: &str) -> bool {
    let global = line.match_indices("fastrand::").any(|(at, path)| {
        let name = &line[at + path.len()..];
        let is_function = name.starts_with(|c: char| c.is_ascii_lowercase());
        is_function && !name.starts_with("seed(")
    });
    global || line.contains("Rng::new()")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, findings: usize) {
        assert_eq!(of_file(name, text).len(), findings, "{name}: {text}");
    }

    #[test]
    fn a_test_that_draws_without_a_seed_is_found() {
        let draw = "fn a() { fastrand::u64(..); }";
        check("crates/a/tests/suite/b.rs", draw, 1);
        check("crates/a/src/tests.rs", "fastrand::Rng::new()", 1);
        check("crates/a/src/b.rs", &format!("#[cfg(test)]\nmod tests {{\n{draw}\n}}"), 1);
        check("crates/a/src/b.rs", draw, 0);
        check("crates/a/src/b.rs", &format!("#[cfg(test)]\nmod tests;\n{draw}"), 0);
    }

    #[test]
    fn a_seeded_test_passes() {
        check("crates/a/src/tests.rs", "tidings_seed::begin();\nfastrand::bool();", 0);
        check("crates/a/src/tests.rs", "fastrand::Rng::with_seed(7); fastrand::seed(7);", 0);
        check("crates/a/src/tests.rs", "// fastrand::u8(..)", 0);
    }

    #[test]
    fn property_tests_and_fuzz_targets_need_the_seed() {
        check("crates/a/src/b.rs", "proptest! {\n    #[test]\n", 1);
        check(
            "crates/a/src/b.rs",
            "proptest! {\n    #![proptest_config(tidings_seed::proptest())]\n",
            0,
        );
        check("crates/a/src/b.rs", "proptest! {\n    #![proptest_config(Config::default())]\n", 1);
        check("fuzz/tests/a.rs", "bolero::check!()", 1);
    }

    #[test]
    fn a_random_test_in_javascript_is_found() {
        check("e2e/a.test.js", "const a = Math.random();", 1);
        check("e2e/port.js", "const a = Math.random();", 0);
    }
}
