//! What finding the patterns of an update costs, in steps.
//!
//! A step is about what an automaton takes for one byte of a topic. The number does not depend on
//! the machine, and is the most that a test can take: most end at their first bytes.

/// Steps that may still be taken.
#[derive(Debug)]
pub(super) struct Meter {
    left: usize,
}

/// They are used up.
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

    /// Takes one look for what `text` begins with, among many: some comparisons of texts.
    pub(super) fn take_look(&mut self, text: &str) -> Result<(), OutOfSteps> {
        self.take(LOOK_STEPS + text.len())
    }
}

/// A look for the beginnings of a text, beside the text itself.
const LOOK_STEPS: usize = 64;
/// Reading a topic as a URL, for each of its bytes.
pub(super) const LOCATION_STEPS: usize = 16;
/// A pattern that is noted and not tried.
pub(super) const NOTE_STEPS: usize = 16;
