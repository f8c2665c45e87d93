//! How many tests ran, by the closing lines of the test runners.

use std::ops::AddAssign;

/// Tests counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored, skipped, or marked as to do.
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Adds the counts of `line`, if it is a closing line of `cargo test` or of Node's test runner.
    pub(crate) fn read_line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(result) = line.strip_prefix("test result: ") {
            for part in result.split(['.', ';']) {
                self.count_phrase(part.trim());
            }
        } else if let Some(count) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) {
            self.count_node(count);
        }
    }

    /// `12 passed`, as cargo writes it.
    fn count_phrase(&mut self, phrase: &str) {
        let Some((number, word)) = phrase.split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match word {
            "passed" => self.passed += number,
            "failed" => self.failed += number,
            "ignored" => self.skipped += number,
            _ => (),
        }
    }

    /// `pass 12`, as Node writes it. A cancelled test did not finish.
    fn count_node(&mut self, count: &str) {
        let Some((word, number)) = count.split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        match word {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            "skipped" | "todo" => self.skipped += number,
            _ => (),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, passed: u64, failed: u64, skipped: u64) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read_line(line));
        assert_eq!(tally, Tally { passed, failed, skipped });
    }

    #[test]
    fn the_closing_lines_of_several_cargo_test_binaries_add_up() {
        check(
            "test a ... ok\n\
             test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
             test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            15,
            2,
            1,
        );
    }

    #[test]
    fn nodes_closing_lines_count_in_both_of_its_formats() {
        check("ℹ tests 4\nℹ pass 2\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1\nℹ todo 0\n", 2, 1, 1);
        check(
            "1..3\n# tests 3\n# pass 2\n# fail 0\n# cancelled 1\n# skipped 0\n# todo 0\n",
            2,
            1,
            0,
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        check("# Subtest: pass 5\n    # pass 5\nrunning 3 tests\ntest result\nℹ pass\n", 0, 0, 0);
    }
}
