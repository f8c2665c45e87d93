//! Running the steps: each announced, the first failure the last, a table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::outcome::Outcome;
use crate::setup::{self, Need};
use crate::steps::Step;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// One line of the table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    result: String,
    tally: Tally,
    took: Duration,
}

/// Installs the needs of `steps`, then runs them in order.
///
/// If every step passed and one of them was a test runner, the last printed line is
/// `N passed, N failed`, summed over all runners.
///
/// # Errors
/// If a step failed; those after it did not run.
pub(crate) fn run(steps: &[&'static Step], workspace: &Workspace) -> Result<()> {
    let needs: Vec<Need> = steps.iter().flat_map(|step| step.needs).copied().collect();
    let mut rows = Vec::new();
    let mut failure = None;

    let set_up = |_: &mut Tally| setup::install(&needs, workspace).map(|()| Outcome::Passed);
    if let Err(error) =
        timed("set-up", "the programs of the steps are installed", &mut rows, set_up)
    {
        failure = Some(error.context("step set-up failed"));
    }
    for step in steps {
        if failure.is_some() {
            let result = "not run".to_owned();
            rows.push(Row {
                name: step.name,
                result,
                tally: Tally::default(),
                took: Duration::ZERO,
            });
            continue;
        }
        let run = |tally: &mut Tally| (step.run)(workspace, tally);
        if let Err(error) = timed(step.name, step.what, &mut rows, run) {
            let again = format!("step {0} failed (again: cargo xtask test {0})", step.name);
            failure = Some(error.context(again));
        }
    }

    let mut total = Tally::default();
    rows.iter().for_each(|row| total += row.tally);
    print!("\n{}", table(&rows));
    // No count if no runner ran, and no count of passes below a table with failures.
    if total.failed > 0 || (failure.is_none() && !total.is_empty()) {
        println!("\n{} passed, {} failed", total.passed, total.failed);
    }
    match failure {
        Some(error) => Err(error),
        // The runner's exit code was 0, but its closing line counts failures.
        None if total.failed > 0 => Err(anyhow!("tests failed")),
        None => Ok(()),
    }
}

fn timed(
    name: &'static str,
    what: &str,
    rows: &mut Vec<Row>,
    run: impl FnOnce(&mut Tally) -> Result<Outcome>,
) -> Result<()> {
    println!("\n==> {name}: {what}");
    let started = Instant::now();
    let mut tally = Tally::default();
    let outcome = run(&mut tally);
    let took = started.elapsed();
    let result = match &outcome {
        Ok(Outcome::Passed) => "ok".to_owned(),
        Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
        Err(_) => "FAILED".to_owned(),
    };
    println!("<== {name}: {result} ({:.1} s)", took.as_secs_f64());
    rows.push(Row { name, result, tally, took });
    outcome.map(|_| ())
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<11} {:>8} {:>7} {:>7} {:>8}  result\n",
        "step", "seconds", "passed", "failed", "skipped"
    );
    for Row { name, result, tally, took } in rows {
        let count = |number: u64| match tally.is_empty() {
            true => String::new(),
            false => number.to_string(),
        };
        let seconds = took.as_secs_f64();
        let [passed, failed, skipped] = [tally.passed, tally.failed, tally.skipped].map(count);
        text +=
            &format!("{name:<11} {seconds:>8.1} {passed:>7} {failed:>7} {skipped:>8}  {result}\n");
    }
    let total: Duration = rows.iter().map(|row| row.took).sum();
    text += &format!("{:<11} {:>8.1}\n", "all", total.as_secs_f64());
    text
}
