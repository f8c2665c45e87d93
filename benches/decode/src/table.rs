//! How fast each decoder is on an input, as a line of a table.

use crate::decoders;

/// The head of the table. `cell` says what stands in a decoder's cells.
pub fn head(cell: &str) -> String {
    let names: String = decoders::ALL.iter().map(|(name, _)| format!(" {name} |")).collect();
    let columns = "---|".repeat(decoders::ALL.len() + 2);
    format!("| {cell} |{names} lent × | owned × |\n|---|{columns}")
}

/// A line: each decoder's cell, then ours by the best of the others. A decoder without a speed
/// was too slow to be measured.
pub fn line(input: &str, cells: &[String], speeds: &[Option<f64>]) -> String {
    let cells: String = cells.iter().map(|cell| format!(" {cell} |")).collect();
    let others = speeds[decoders::OURS..].iter().flatten().copied().fold(0.0, f64::max);
    let ratios: String = speeds[..decoders::OURS]
        .iter()
        .map(|speed| format!(" {:.2} |", speed.unwrap_or_default() / others))
        .collect();
    format!("| {input} |{cells}{ratios}")
}
