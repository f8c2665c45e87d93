//! Makes a failing script short: acts are removed for as long as the same invariant breaks.

use crate::invariants::Violation;
use crate::script::{Boot, Script};
use crate::simulate;

/// Simulations that a shrink runs at most.
const RUNS_MAX: usize = 600;

/// A script with fewer acts that breaks the same invariant, and how it breaks it.
pub fn shrink(script: &Script, violation: &Violation) -> (Script, Violation) {
    let mut best = (script.clone(), violation.clone());
    let mut runs = 0;
    cut_after_failure(&mut best, &mut runs);
    for boot in 0..best.0.boots.len() {
        let mut size = best.0.boots[boot].steps.len().div_ceil(2);
        while size > 0 && runs < RUNS_MAX {
            let mut at = 0;
            while at < best.0.boots[boot].steps.len() && runs < RUNS_MAX {
                let mut candidate = best.0.clone();
                let steps = &mut candidate.boots[boot].steps;
                let end = (at + size).min(steps.len());
                steps.drain(at..end);
                if !try_it(candidate, &mut best, &mut runs) {
                    at += size;
                }
            }
            size /= 2;
        }
    }
    best
}

/// Removes the boots and acts after the failure.
fn cut_after_failure(best: &mut (Script, Violation), runs: &mut usize) {
    *runs += 1;
    let Some((_, boot, step)) = simulate(&best.0).violation else { return };
    let mut candidate = best.0.clone();
    candidate.boots.truncate(boot + 1);
    if let Some(Boot { steps, .. }) = candidate.boots.last_mut() {
        steps.truncate(step + 1);
    }
    try_it(candidate, best, runs);
}

/// Whether the candidate breaks the same invariant. Then it is the best so far.
fn try_it(candidate: Script, best: &mut (Script, Violation), runs: &mut usize) -> bool {
    *runs += 1;
    match simulate(&candidate).violation {
        Some((violation, ..)) if violation.invariant == best.1.invariant => {
            *best = (candidate, violation);
            true
        }
        _ => false,
    }
}
