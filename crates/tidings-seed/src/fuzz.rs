//! Runs fuzz targets as plain tests, with inputs of the seed; under a fuzzer, with its inputs.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bolero::generator::TypeGenerator;
use bolero::generator::bolero_generator::driver::{ByteSliceDriver, Options};

/// Random bytes that an input is made of, at most.
const BYTES_MAX: usize = 4096;
/// Attempts to make a failing input smaller.
const SHRINKS_MAX: usize = 500;

/// Checks many inputs of a type: `fuzz!(Type, count, |input: &Type| …)`. `count` is how many a plain
/// test tries.
#[macro_export]
macro_rules! fuzz {
    ($type:ty, $count:expr, $check:expr) => {
        if cfg!(fuzzing) || std::env::var_os("CARGO_BOLERO_SELECT").is_some() {
            $crate::bolero::check!().with_type::<$type>().for_each($check);
        } else {
            $crate::fuzz::each::<$type>($count, $check);
        }
    };
}

/// Checks `count` inputs. Of a failing one, prints the smallest that was found.
pub fn each<T: TypeGenerator + Debug>(count: usize, check: impl Fn(&T)) {
    let mut random = fastrand::Rng::with_seed(crate::seed());
    for _ in 0..count {
        // Short inputs are more likely to be accepted whole, long ones to reach a limit.
        let most = [8, 64, 512, BYTES_MAX][random.usize(..4)];
        let mut bytes = vec![0; random.usize(..=most)];
        random.fill(&mut bytes);
        let fails = |bytes: &[u8]| {
            let input = input::<T>(bytes)?;
            catch_unwind(AssertUnwindSafe(|| check(&input))).err()
        };
        let Some(mut panic) = fails(&bytes) else { continue };
        let mut attempts = 0..SHRINKS_MAX;
        let mut length = bytes.len().div_ceil(2);
        while length > 0 {
            let mut at = 0;
            while at < bytes.len() && attempts.next().is_some() {
                let shorter = [&bytes[..at], &bytes[bytes.len().min(at + length)..]].concat();
                match fails(&shorter) {
                    Some(smaller) => (bytes, panic) = (shorter, smaller),
                    None => at += length,
                }
            }
            length /= 2;
        }
        // Lengths of lists are bytes too.
        let mut at = 0;
        while at < bytes.len() && attempts.next().is_some() {
            let mut lower = bytes.clone();
            lower[at] /= 2;
            match (bytes[at] > 0).then(|| fails(&lower)).flatten() {
                Some(smaller) => (bytes, panic) = (lower, smaller),
                None => at += 1,
            }
        }
        println!("the smallest failing input: {:?}", input::<T>(&bytes));
        resume_unwind(panic);
    }
}

fn input<T: TypeGenerator>(bytes: &[u8]) -> Option<T> {
    T::generate(&mut ByteSliceDriver::new(bytes, &Options::default()))
}

/// An input made of pieces, since few random bytes have a meaning. A byte below 64 selects a piece,
/// one below 96 an example as a whole; others stand for themselves.
pub fn pieces(choices: &[u8], pieces: &[&[u8]], examples: &[&[u8]]) -> Vec<u8> {
    let mut made = Vec::new();
    for choice in choices {
        let all = match choice {
            ..64 => pieces,
            64..96 => examples,
            _ => &[],
        };
        match all.get(usize::from(choice % 32) % all.len().max(1)) {
            Some(piece) => made.extend_from_slice(piece),
            None => made.push(*choice),
        }
    }
    made
}

/// One change of an example: where, what is done there, and with which byte.
pub type Change = (u16, u8, u8);

/// One of the examples, with up to four changes: bytes and ranges that are replaced, inserted, removed,
/// repeated, or exchanged for one of `pieces`.
pub fn changed(
    (example, changes): &(u8, Vec<Change>),
    examples: &[&[u8]],
    pieces: &[&[u8]],
) -> Vec<u8> {
    let mut made = examples[usize::from(*example) % examples.len()].to_vec();
    // Of many changes little would be left.
    for (at, act, byte) in changes.iter().take(changes.len() % 5) {
        let at = usize::from(*at) % (made.len() + 1);
        let until = made.len().min(at + usize::from(*byte) % 32);
        match act % 8 {
            0 if at < made.len() => made[at] = *byte,
            1 if at < made.len() => made[at] ^= 1 << (byte % 8),
            2 => made.insert(at, *byte),
            3 => drop(made.drain(at..until)),
            4 => {
                let copy = made[at..until].to_vec();
                made.splice(at..at, copy);
            }
            5 | 6 if !pieces.is_empty() => {
                let piece = pieces[usize::from(*byte) % pieces.len()];
                let until = if act % 8 == 5 { at } else { until };
                made.splice(at..until, piece.iter().copied());
            }
            7 => made.truncate(at),
            _ => {}
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_input_is_found_and_made_smaller() {
        let smallest = std::cell::Cell::new(usize::MAX);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            each::<Vec<u8>>(1000, |input| {
                if input.contains(&7) {
                    smallest.set(input.len());
                    panic!("a seven");
                }
            });
        }));
        assert!(panic.is_err(), "not found");
        assert!(smallest.get() < 5, "{}", smallest.get());
    }

    #[test]
    fn examples_are_tried_whole_and_changed() {
        let (whole, differs) = (std::cell::Cell::new(false), std::cell::Cell::new(false));
        each::<(u8, Vec<Change>)>(10_000, |input| match changed(input, &[b"abc"], &[b"xyz"]) {
            made if made == b"abc" => whole.set(true),
            made if made == b"abxyzc" => differs.set(true),
            _ => {}
        });
        assert!(whole.get() && differs.get());
    }
}
