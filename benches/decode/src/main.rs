//! `cargo run --release -- [ROUNDS] [WORD]`: a table of all decoders on the
//! inputs whose name has WORD in it.
//!
//! The decoders take turns within each round, so that what else the machine does meets all of
//! them alike; a cell has the best and the median round.

use std::time::Instant;

use decode_bench::{decoders, inputs};

const INPUT_BYTES: usize = 16 << 20;
/// A decoder that takes longer than this for an input is measured once.
const TOO_SLOW_SECONDS: f64 = 0.5;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(15);
    let word = arguments.next().unwrap_or_default();
    print!("| MiB/s, best (median) of {rounds} |");
    decoders::ALL.iter().for_each(|(name, _)| print!(" {name} |"));
    println!(" lent × | owned × |\n|---|{}", "---|".repeat(decoders::ALL.len() + 2));
    for input in inputs::all(INPUT_BYTES).iter().filter(|input| input.name.contains(&word)) {
        let mut speeds = vec![Vec::new(); decoders::ALL.len()];
        for _ in 0..rounds {
            for ((name, read), speeds) in decoders::ALL.iter().zip(&mut speeds) {
                let mib = input.bytes as f64 / f64::from(1 << 20);
                if speeds.first().is_some_and(|speed| mib / speed > TOO_SLOW_SECONDS) {
                    continue;
                }
                let begun = Instant::now();
                let found = read(input);
                speeds.push(mib / begun.elapsed().as_secs_f64());
                assert_eq!(found, input.expected, "{name} on {}", input.name);
            }
        }
        print!("| {} |", input.name);
        let mut medians = Vec::new();
        for mut speeds in speeds {
            speeds.sort_by(f64::total_cmp);
            let median = speeds[speeds.len() / 2];
            print!(" {:.0} ({median:.0}) |", speeds[speeds.len() - 1]);
            medians.push(median);
        }
        let others = medians[decoders::OURS..].iter().copied().fold(0.0, f64::max);
        println!(" {:.2} | {:.2} |", medians[0] / others, medians[1] / others);
    }
}
