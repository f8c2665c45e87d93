//! Limits the work and memory of compiling the templates and URL patterns of a request or token.
//!
//! The time to compile a pattern grows with the memory that it needs meanwhile. So one number of
//! bytes, which is the same on every machine, limits both.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::InvalidSelectors;
use crate::limits::PATTERN_BYTES;

/// The remaining bytes for compiling patterns, and the account to which the compiled patterns are
/// charged.
#[derive(Debug)]
pub struct Allowance {
    total: usize,
    left: usize,
    is_spent: bool,
    is_refused: bool,
    account: Option<Arc<dyn Account>>,
}

/// A budget for compiled patterns and long lists, on behalf of one client.
pub trait Account: fmt::Debug + Send + Sync {
    /// Takes bytes for as long as the charge is kept.
    ///
    /// # Errors
    /// If the budget has no room for them now.
    fn take(&self, bytes: usize) -> Result<Charge, InvalidSelectors>;
}

/// Bytes of an [`Account`], which are returned when it is dropped.
pub struct Charge(
    #[expect(dead_code, reason = "it is held for its drop")] Box<dyn Any + Send + Sync>,
);

impl Charge {
    /// A charge that drops `permit` when it is dropped.
    pub fn new(permit: impl Send + Sync + 'static) -> Self {
        Self(Box::new(permit))
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Charge")
    }
}

impl Allowance {
    /// For patterns of the operator and of services: bounded one by one, and not counted.
    pub fn unlimited() -> Self {
        Self {
            total: usize::MAX,
            left: usize::MAX,
            is_spent: false,
            is_refused: false,
            account: None,
        }
    }

    /// `bytes` for compiling patterns, which are charged to `account`, if there is one.
    pub fn charged(bytes: usize, account: Option<Arc<dyn Account>>) -> Self {
        Self { total: bytes, left: bytes, is_spent: false, is_refused: false, account }
    }

    /// Whether a pattern was refused because the ones before it used too much.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// The account of the client.
    pub fn account(&self) -> Option<&dyn Account> {
        self.account.as_deref()
    }

    /// Whether the account had no room for a compiled pattern.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The bytes that the next pattern may use while it is compiled.
    pub(super) fn next_max(&self) -> usize {
        self.left.min(PATTERN_BYTES)
    }

    /// Spends the bytes that compiling a pattern used.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// The error for a pattern that needs more than [`Allowance::next_max`].
    pub(super) fn too_complex(&mut self) -> InvalidSelectors {
        if self.left < PATTERN_BYTES {
            self.is_spent = true;
            InvalidSelectors::TooComplexTogether { bytes_max: self.total }
        } else {
            InvalidSelectors::TooComplex { bytes_max: PATTERN_BYTES }
        }
    }

    /// Takes the bytes of a compiled pattern from the budget, for as long as it is kept.
    ///
    /// # Errors
    /// If the budget has no room for them now.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<Option<Charge>, InvalidSelectors> {
        let Some(account) = &self.account else { return Ok(None) };
        let taken = account.take(bytes);
        self.is_refused |= taken.is_err();
        taken.map(Some)
    }
}

thread_local! {
    /// The bytes that the URL pattern that this thread compiles may still use, and has used. The
    /// library passes only its text to an expression.
    static COMPILING: Cell<(usize, usize)> = const { Cell::new((PATTERN_BYTES, 0)) };
}

/// Runs `compile`, whose expressions may use `max` bytes together. Returns how many they used.
pub(super) fn bounded<T>(max: usize, compile: impl FnOnce() -> T) -> (T, usize) {
    COMPILING.set((max, 0));
    let compiled = compile();
    let (_, taken) = COMPILING.replace((PATTERN_BYTES, 0));
    (compiled, taken)
}

/// The bytes that the next expression within [`bounded`] may use.
pub(super) fn left() -> usize {
    COMPILING.get().0
}

/// Counts the bytes that an expression within [`bounded`] used.
pub(super) fn take(bytes: usize) {
    let (left, taken) = COMPILING.get();
    COMPILING.set((left.saturating_sub(bytes), taken.saturating_add(bytes)));
}
