//! Instruction counts of small workloads, which a busy machine does not change, and the committed
//! figures that they are compared with.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{cargo, output, run};
use crate::outcome::Outcome;
use crate::setup::{self, Need};
use crate::workspace::Workspace;

/// A workload of `benches/instructions`.
struct Workload {
    name: &'static str,
    /// How often it runs in the shorter of the two measurements.
    count: u64,
    /// How often it is measured: the least counts. Where two threads wake each other, it depends on
    /// the system how often they do, by 1 to 4 %.
    repeat: usize,
    /// By how much of the figure a count may exceed it.
    percent: f64,
    /// What one of them is.
    what: &'static str,
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "decode",
        count: 10,
        repeat: 1,
        percent: 1.0,
        what: "decode 64 chunks of 1,400 bytes",
    },
    Workload {
        name: "route",
        count: 40_000,
        repeat: 1,
        percent: 2.0,
        what: "find the feeds of two topics among 1,021",
    },
    Workload {
        name: "append",
        count: 10_000,
        repeat: 1,
        percent: 2.0,
        what: "append to the journal in memory",
    },
    Workload { name: "flush", count: 400, repeat: 2, percent: 3.0, what: "publish to 256 streams" },
    Workload {
        name: "connect",
        count: 1500,
        repeat: 2,
        percent: 6.0,
        what: "open a stream and close it",
    },
];

/// What the figures were measured with. Another compiler makes other code.
fn measured_with() -> Result<String> {
    let compiler = output(Command::new("rustc").arg("--version"))?;
    Ok(format!("{}, {}", compiler.trim(), std::env::consts::ARCH))
}

/// Counts and prints a table; with `--accept` the counts become the figures.
///
/// # Errors
/// If something does not build or run, or an option is unknown.
pub(crate) fn bench(workspace: &Workspace, options: &[String]) -> Result<()> {
    let is_accepted = match options {
        [] => false,
        [only] if only == "--accept" => true,
        _ => bail!("bench instructions takes no option, or `--accept`, not {options:?}"),
    };
    setup::install(&[Need::Valgrind], workspace)?;
    let figures = Figures::load(workspace)?;
    let counts = count_all(workspace)?;
    print!("{}", table(&counts, &figures));
    if is_accepted {
        fs::write(path(workspace), text(&counts, &measured_with()?))?;
        println!("{} has these counts now", path(workspace).display());
    }
    Ok(())
}

/// Compares the counts with the figures.
///
/// # Errors
/// If a workload takes more instructions than its figure allows, or has no figure.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let figures = Figures::load(workspace)?;
    let with = measured_with()?;
    if figures.with != with {
        return Ok(Outcome::Skipped(format!(
            "the figures were measured with {}, and this is {with}; \
             `cargo xtask bench instructions -- --accept` measures anew",
            figures.with
        )));
    }
    let counts = count_all(workspace)?;
    print!("{}", table(&counts, &figures));
    let faults = faults(&counts, &figures);
    if !faults.is_empty() {
        bail!(
            "{}. If that is meant, run `cargo xtask bench instructions -- --accept`, and say why in \
             the commit",
            faults.join("; ")
        );
    }
    Ok(Outcome::Passed)
}

/// Builds the workloads, and counts the instructions of each.
fn count_all(workspace: &Workspace) -> Result<Vec<u64>> {
    run(cargo()
        .args(["build", "--release", "--locked"])
        .current_dir(workspace.root.join("benches").join("instructions"))
        .env("CARGO_TARGET_DIR", &workspace.target))?;
    let program = workspace.target.join("release").join("instructions-bench");
    let count = |name: &str, count: u64| -> Result<u64> {
        let told = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .args([name, &count.to_string()])
            .output()
            .context("cannot start valgrind")?;
        let text = String::from_utf8_lossy(&told.stderr);
        ensure!(told.status.success(), "the workload {name} failed:\n{text}");
        collected(&text).with_context(|| format!("callgrind counted nothing for {name}:\n{text}"))
    };
    WORKLOADS
        .iter()
        .map(|one| {
            let mut least = u64::MAX;
            for _ in 0..one.repeat {
                // The start of the process is in both.
                let [short, long] = [count(one.name, one.count)?, count(one.name, 2 * one.count)?];
                ensure!(long > short, "{}: twice the work took no more instructions", one.name);
                least = least.min((long - short) / one.count);
            }
            Ok(least)
        })
        .collect()
}

/// The number of instructions in what callgrind printed.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

/// The committed figures.
struct Figures {
    with: String,
    counts: Vec<(String, u64)>,
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.root.join("benches").join("instructions").join("figures.txt")
}

impl Figures {
    fn load(workspace: &Workspace) -> Result<Self> {
        let path = path(workspace);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::read(&text).with_context(|| format!("{} has other lines", path.display()))
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let with = lines.next()?.strip_prefix("measured with ")?.to_owned();
        let counts = lines
            .map(|line| {
                let (name, count) = line.split_once(' ')?;
                Some((name.to_owned(), count.parse().ok()?))
            })
            .collect::<Option<_>>()?;
        Some(Self { with, counts })
    }

    fn of(&self, name: &str) -> Option<u64> {
        self.counts.iter().find(|(of, _)| of == name).map(|(_, count)| *count)
    }
}

/// The file of figures with these counts.
fn text(counts: &[u64], with: &str) -> String {
    let mut text = "# Instructions of each workload of this folder, one of its iterations. Written by\n\
                    # `cargo xtask bench instructions -- --accept`, checked by `cargo xtask test instructions`.\n"
        .to_owned();
    // Writing to a string can't fail.
    let _ = writeln!(text, "measured with {with}");
    for (workload, count) in WORKLOADS.iter().zip(counts) {
        let _ = writeln!(text, "{} {count}", workload.name);
    }
    text
}

/// By how much a count exceeds its figure, in percent.
fn excess(count: u64, figure: u64) -> f64 {
    (count as f64 / figure as f64 - 1.0) * 100.0
}

fn table(counts: &[u64], figures: &Figures) -> String {
    let mut table = String::new();
    for (workload, count) in WORKLOADS.iter().zip(counts) {
        let figure = figures.of(workload.name);
        let change = figure.map_or("no figure".to_owned(), |figure| {
            format!("{:+.2} % of {figure}", excess(*count, figure))
        });
        let _ =
            writeln!(table, "{:<12} {count:>10}  {change:<24} {}", workload.name, workload.what);
    }
    table
}

/// What is wrong with the counts.
fn faults(counts: &[u64], figures: &Figures) -> Vec<String> {
    let fault = |(workload, count): (&Workload, &u64)| {
        let Workload { name, percent, .. } = workload;
        let Some(figure) = figures.of(name) else { return Some(format!("{name} has no figure")) };
        let excess = excess(*count, figure);
        (excess > *percent).then(|| {
            format!("{name} takes {count} instructions, {excess:.1} % more than {figure}; {percent} % is allowed")
        })
    };
    WORKLOADS.iter().zip(counts).filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_callgrind_prints() {
        let text = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(collected(text), Some(123_456));
        assert_eq!(collected("==7== \n"), None);
    }

    #[test]
    fn a_count_above_its_bound_is_a_fault_and_one_below_is_none() {
        let counts: Vec<u64> = WORKLOADS.iter().map(|_| 1000).collect();
        let mut figures = Figures::read(&text(&counts, "rustc, here")).unwrap();
        assert_eq!(figures.with, "rustc, here");
        assert!(faults(&counts, &figures).is_empty());
        figures.counts[0].1 = 2000;
        assert!(faults(&counts, &figures).is_empty());
        figures.counts[0].1 = 960;
        assert_eq!(faults(&counts, &figures).len(), 1);
        figures.counts.remove(0);
        assert_eq!(faults(&counts, &figures), ["decode has no figure"]);
    }
}
