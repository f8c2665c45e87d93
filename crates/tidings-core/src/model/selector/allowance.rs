//! What one request or token may spend on compiling its templates and URL patterns.
//!
//! The time it takes to compile a pattern grows with the memory that is needed meanwhile, so both
//! are bounded by the same number of bytes, which is the same on every machine.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::InvalidSelectors;
use crate::limits::PATTERN_BYTES;

/// Bytes that may still be taken while patterns are compiled, and the account that what they
/// compile to is charged to.
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

/// Bytes of an [`Account`], given back when dropped.
pub struct Charge(
    #[expect(dead_code, reason = "it is held for its drop")] Box<dyn Any + Send + Sync>,
);

impl Charge {
    /// Gives back what `permit` gives back when it is dropped.
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

    /// So many bytes for patterns that are charged to `account`, if there is one.
    pub fn charged(bytes: usize, account: Option<Arc<dyn Account>>) -> Self {
        Self { total: bytes, left: bytes, is_spent: false, is_refused: false, account }
    }

    /// Whether a pattern was refused because others took so much.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Whose patterns they are.
    pub fn account(&self) -> Option<&dyn Account> {
        self.account.as_deref()
    }

    /// Whether the account had no room for what a pattern compiles to.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// What the next pattern may take while it is compiled.
    pub(super) fn next_max(&self) -> usize {
        self.left.min(PATTERN_BYTES)
    }

    /// Spends what compiling a pattern took.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Why a pattern is refused that needs more than [`Allowance::next_max`].
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
    /// What the URL pattern that this thread compiles may still take, and has taken. The library
    /// gives an expression nothing but its text.
    static COMPILING: Cell<(usize, usize)> = const { Cell::new((PATTERN_BYTES, 0)) };
}

/// Runs `compile`, whose expressions may take so many bytes together, and says how many they took.
pub(super) fn bounded<T>(max: usize, compile: impl FnOnce() -> T) -> (T, usize) {
    COMPILING.set((max, 0));
    let compiled = compile();
    let (_, taken) = COMPILING.replace((PATTERN_BYTES, 0));
    (compiled, taken)
}

/// What the next expression within [`bounded`] may take.
pub(super) fn left() -> usize {
    COMPILING.get().0
}

/// Notes within [`bounded`] what an expression took.
pub(super) fn take(bytes: usize) {
    let (left, taken) = COMPILING.get();
    COMPILING.set((left.saturating_sub(bytes), taken.saturating_add(bytes)));
}
