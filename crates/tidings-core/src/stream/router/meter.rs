//! The cost, in steps, of finding the patterns of an update.
//!
//! A step is about the work of an automaton for one byte of a topic. The number does not depend on
//! the machine, and is the maximum for a test: most tests end at their first bytes.

/// The remaining steps.
#[derive(Debug)]
pub(super) struct Meter {
    left: usize,
}

/// All steps are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfSteps;

impl Meter {
    pub(super) fn of(steps: usize) -> Self {
        Self { left: steps }
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }

    pub(super) fn take(&mut self, steps: usize) -> Result<(), OutOfSteps> {
        self.left = self.left.checked_sub(steps).ok_or(OutOfSteps)?;
        Ok(())
    }

    /// Counts one search, among many entries, for the beginning of `text`: some comparisons of
    /// texts.
    pub(super) fn take_look(&mut self, text: &str) -> Result<(), OutOfSteps> {
        self.take(LOOK_STEPS + text.len())
    }
}

/// A search for the beginnings of a text, besides the length of the text.
const LOOK_STEPS: usize = 64;
/// Reading a topic as a URL, for each of its bytes.
pub(super) const LOCATION_STEPS: usize = 16;
/// Noting a pattern without trying it.
pub(super) const NOTE_STEPS: usize = 16;
