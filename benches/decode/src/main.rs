//! `cargo run --release -- [ROUNDS] [WORD]`: a table of all decoders on the
//! inputs whose name has WORD in it.
//!
//! The decoders take turns within each round, so that what else the machine does meets all of
//! them alike; a cell has the best and the median round.
//!
//! `cargo run --release -- criterion`: the table of what `cargo bench` has measured last.

use std::path::Path;
use std::time::Instant;

use decode_bench::inputs::Input;
use decode_bench::{decoders, inputs, table};

const INPUT_BYTES: usize = 16 << 20;
/// A decoder that takes longer than this for an input is measured once.
const TOO_SLOW_SECONDS: f64 = 0.5;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    let word = arguments.next().unwrap_or_default();
    let inputs = inputs::all(INPUT_BYTES);
    if first.as_deref() == Some("criterion") {
        println!("{}", table::head("MiB/s, median"));
        inputs.iter().for_each(|input| println!("{}", measured_by_criterion(input)));
        return;
    }
    let rounds = first.and_then(|text| text.parse().ok()).unwrap_or(15);
    println!("{}", table::head(&format!("MiB/s, best (median) of {rounds}")));
    for input in inputs.iter().filter(|input| input.name.contains(&word)) {
        println!("{}", measured_in_turns(input, rounds));
    }
}

fn measured_in_turns(input: &Input, rounds: usize) -> String {
    let mut speeds = vec![Vec::new(); decoders::ALL.len()];
    for _ in 0..rounds {
        for ((name, read), speeds) in decoders::ALL.iter().zip(&mut speeds) {
            if speeds.first().is_some_and(|speed| mib(input) / speed > TOO_SLOW_SECONDS) {
                continue;
            }
            let begun = Instant::now();
            let found = read(input);
            speeds.push(mib(input) / begun.elapsed().as_secs_f64());
            assert_eq!(found, input.expected, "{name} on {}", input.name);
        }
    }
    let mut cells = Vec::new();
    let mut medians = Vec::new();
    for mut speeds in speeds {
        speeds.sort_by(f64::total_cmp);
        let median = speeds[speeds.len() / 2];
        cells.push(format!("{:.0} ({median:.0})", speeds[speeds.len() - 1]));
        medians.push(Some(median));
    }
    table::line(input.name, &cells, &medians)
}

fn measured_by_criterion(input: &Input) -> String {
    let speeds: Vec<Option<f64>> = decoders::ALL
        .iter()
        .map(|(name, _)| Some(mib(input) / median_seconds(input, name)?))
        .collect();
    let cell = |speed: &Option<f64>| speed.map_or("–".to_owned(), |speed| format!("{speed:.0}"));
    let cells: Vec<String> = speeds.iter().map(cell).collect();
    table::line(input.name, &cells, &speeds)
}

/// What criterion keeps of a benchmark; nothing if it has not been run.
fn median_seconds(input: &Input, decoder: &str) -> Option<f64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/criterion").join(input.name);
    let text = std::fs::read_to_string(folder.join(decoder).join("new/estimates.json")).ok()?;
    let (_, median) = text.split_once("\"median\":")?;
    let (_, estimate) = median.split_once("\"point_estimate\":")?;
    let nanoseconds: f64 = estimate.split([',', '}']).next()?.trim().parse().ok()?;
    Some(nanoseconds / 1e9)
}

fn mib(input: &Input) -> f64 {
    input.bytes as f64 / f64::from(1 << 20)
}
