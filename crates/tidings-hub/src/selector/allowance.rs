//! What one request or token may spend on compiling its templates and URL patterns.
//!
//! The time it takes to compile a pattern grows with the memory that is needed meanwhile, so both
//! are bounded by the same number of bytes, which is the same on every machine.

use std::cell::Cell;
use std::sync::Arc;

use super::InvalidSelectors;
use crate::admission::Client;
use crate::budget::{Budget, Permit, Standing};
use crate::limits::PATTERN_BYTES;

/// Bytes that may still be taken while patterns are compiled, and the account that what they
/// compile to is charged to.
#[derive(Debug)]
pub(crate) struct Allowance {
    total: usize,
    left: usize,
    is_spent: bool,
    is_refused: bool,
    account: Option<Account>,
}

/// Whose compiled patterns count, and in which budget.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) budget: Arc<Budget>,
    pub(crate) client: Option<Client>,
    pub(crate) standing: Standing,
}

impl Account {
    /// # Errors
    /// If the budget has no room for them now.
    pub(crate) fn take(&self, bytes: usize) -> Result<Permit, InvalidSelectors> {
        let Self { budget, client, standing } = self;
        budget.try_take(*client, *standing, bytes).map_err(|_| InvalidSelectors::NoRoom)
    }
}

impl Allowance {
    /// For patterns of the operator and of services: bounded one by one, and not counted.
    pub(crate) fn unlimited() -> Self {
        Self {
            total: usize::MAX,
            left: usize::MAX,
            is_spent: false,
            is_refused: false,
            account: None,
        }
    }

    /// So many bytes for patterns that are charged to `account`, if there is one.
    pub(crate) fn charged(bytes: usize, account: Option<Account>) -> Self {
        Self { total: bytes, left: bytes, is_spent: false, is_refused: false, account }
    }

    /// Whether a pattern was refused because others took so much.
    #[cfg_attr(not(feature = "tokens"), expect(dead_code, reason = "tokens are read twice"))]
    pub(crate) fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Whose patterns they are.
    #[cfg(feature = "tokens")]
    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Whether the account had no room for what a pattern compiles to.
    #[cfg(feature = "tokens")]
    pub(crate) fn is_refused(&self) -> bool {
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
    pub(super) fn charge(&mut self, bytes: usize) -> Result<Option<Permit>, InvalidSelectors> {
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
