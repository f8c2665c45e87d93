//! `cargo run --release -- [ROUNDS] [WORD]`: a table, of the scenarios with WORD in their name, of
//! what an event and a stream cost, for each way to answer with an event stream.
//!
//! Each server is a process of its own with one thread for its streams, on core 0 where there
//! is `taskset`; this process reads. The servers take turns within each round, so that what
//! else the machine does meets all of them alike.

mod client;
mod scenario;
mod server;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::client::{Measured, measure};
use crate::scenario::SCENARIOS;
use crate::server::{KINDS, Kind};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => {
            let kind = arguments.next().as_deref().and_then(Kind::named).context("a kind")?;
            let scenario = arguments.next().and_then(|name| scenario::named(&name));
            server::serve(kind, scenario.context("a scenario")?).await
        }
        rounds => {
            let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(3);
            compare(rounds, &arguments.next().unwrap_or_default()).await
        }
    }
}

/// One of the figures of a measurement, where it has that.
type Figure = fn(&Measured) -> Option<f64>;

async fn compare(rounds: usize, word: &str) -> Result<()> {
    let mut all: BTreeMap<(usize, usize), Vec<Measured>> = BTreeMap::new();
    for _ in 0..rounds {
        let asked = SCENARIOS.iter().enumerate().filter(|(_, one)| one.name.contains(word));
        for (row, scenario) in asked {
            for (column, kind) in KINDS.iter().enumerate() {
                let measured = measure(*kind, scenario).await?;
                all.entry((row, column)).or_default().push(measured);
            }
        }
    }
    println!("| median of {rounds} | {} |", KINDS.map(Kind::name).join(" | "));
    println!("|---|{}", "---|".repeat(KINDS.len()));
    let table: [(&str, Figure); 3] = [
        ("user-space µs per event", |one| one.user_micros),
        ("µs of all CPU per event", |one| one.cpu_micros),
        ("bytes of memory per stream", |one| one.stream_bytes),
    ];
    for (what, value) in table {
        for (row, scenario) in SCENARIOS.iter().enumerate() {
            let median = |column: usize| {
                let measured = all.get(&(row, column)).into_iter().flatten();
                let mut values: Vec<f64> = measured.filter_map(value).collect();
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied()
            };
            let Some(axum) = median(0) else { continue };
            print!("| {}, {what} |", scenario.title);
            for column in 0..KINDS.len() {
                let value = median(column).unwrap_or(f64::NAN);
                print!(" {value:.2} ({:.2}) |", value / axum);
            }
            println!();
        }
    }
    Ok(())
}
