//! Code in the documentation must be run by a test, or must say why not.
//!
//! The line above each fenced block is one of these marks. Blocks of `text`, which show output, need none.
//!
//! ```text
//! <!-- run: NAME -->         a test in e2e/ names the document and "NAME", and runs the block
//! <!-- checked by: FILE -->  this test reads the document, and checks the block
//! <!-- not run: REASON -->   why no test can run it
//! ```

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::tree;

/// Looks at the README, at every page in `docs/` and at the README of the browser package.
///
/// # Errors
/// If a block has no mark, or a mark that leads to no test. The text lists all such blocks.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let Some(files) = tree::files(root)? else {
        return Ok(Outcome::Skipped("this is not a git checkout".to_owned()));
    };
    let read = |name: &str| {
        let file = root.join(name);
        fs::read_to_string(&file).with_context(|| file.display().to_string())
    };
    let is_test = |name: &&String| name.starts_with("e2e/") && name.ends_with(".test.js");
    let tests: Vec<String> =
        files.iter().filter(is_test).map(|name| read(name)).collect::<Result<_>>()?;
    let mut wrong = Vec::new();
    for name in files.iter().filter(|name| is_page(name)) {
        let document = name.strip_prefix("docs/").unwrap_or(name);
        let quoted = format!("{document}\"");
        let is_run = |mark: &str| {
            let mark = format!("\"{mark}\"");
            tests.iter().any(|test| test.contains(&quoted) && test.contains(&mark))
        };
        let reads = |test: &str| {
            files.iter().any(|file| file == test)
                && read(test).is_ok_and(|text| text.contains(document))
        };
        for (line, fault) in faults(&read(name)?, is_run, reads) {
            wrong.push(format!("{name}:{line}: {fault}"));
        }
    }
    if wrong.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("code that no test runs (see xtask/src/snippets.rs):\n  {}", wrong.join("\n  "))
}

fn is_page(name: &str) -> bool {
    let is_in_docs = name.starts_with("docs/") && name.ends_with(".md");
    is_in_docs || name == "README.md" || name == "browser/README.md"
}

/// The faulty blocks of a page, each with the number of its line.
fn faults(
    text: &str,
    is_run: impl Fn(&str) -> bool,
    reads: impl Fn(&str) -> bool,
) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    let mut above = "";
    let mut in_code = false;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            in_code = !in_code;
            if in_code && language != "text" {
                let fault = match mark(above) {
                    Some(("run", name)) if !names.insert(name) => {
                        Some(format!("two blocks are named {name}"))
                    }
                    Some(("run", name)) if !is_run(name) => {
                        Some(format!("no test in e2e/ runs \"{name}\""))
                    }
                    Some(("checked by", test)) if !reads(test) => {
                        Some(format!("{test} does not read this page"))
                    }
                    Some(("run" | "checked by" | "not run", value)) if !value.is_empty() => None,
                    _ => Some("no mark".to_owned()),
                };
                found.extend(fault.map(|fault| (number, fault)));
            }
        }
        above = line;
    }
    found
}

/// The kind and the value of a mark.
fn mark(line: &str) -> Option<(&str, &str)> {
    let inner = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    inner.split_once(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str)]) {
        let found = faults(text, |name| name == "known", |test| test == "a.test.js");
        let found: Vec<_> = found.iter().map(|(line, fault)| (*line, fault.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_block_that_a_test_runs_or_reads_is_fine() {
        check("<!-- run: known -->\n```sh\nls\n```\n", &[]);
        check("<!-- checked by: a.test.js -->\n```toml\na = 1\n```\n", &[]);
        check("<!-- not run: it takes an hour -->\n```sh\nls\n```\n", &[]);
    }

    #[test]
    fn a_block_without_a_mark_is_a_fault_unless_it_is_text() {
        check("a\n```sh\nls\n```\n", &[(2, "no mark")]);
        check("<!-- run: known -->\n\n```sh\nls\n```\n", &[(3, "no mark")]);
        check("```text\noutput\n```\n", &[]);
    }

    #[test]
    fn a_mark_that_leads_to_no_test_is_a_fault() {
        check("<!-- run: other -->\n```sh\n```\n", &[(2, "no test in e2e/ runs \"other\"")]);
        check(
            "<!-- checked by: b.test.js -->\n```sh\n```\n",
            &[(2, "b.test.js does not read this page")],
        );
    }

    #[test]
    fn a_name_stands_for_one_block() {
        let block = "<!-- run: known -->\n```sh\n```\n";
        check(&block.repeat(2), &[(5, "two blocks are named known")]);
    }
}
