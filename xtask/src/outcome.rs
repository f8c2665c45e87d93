//! How a step ended.

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    /// It could not be done or there was nothing to do, for this reason.
    Skipped(String),
}
