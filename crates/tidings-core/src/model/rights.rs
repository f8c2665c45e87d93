//! The updates that a subscriber may read.

use super::selector::{Account, InvalidSelectors, Selectors};
use super::update::{Topic, Update};

/// The private updates that a subscriber may read, in addition to all public ones.
///
/// Rights are part of a feed's source: subscribers share a feed only if they may read the same
/// updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rights {
    /// Public updates and no others.
    #[default]
    Public,
    /// Public updates, and private ones about these topics.
    Granted(Selectors),
}

impl Rights {
    /// Whether this subscriber may read `update`, whatever it selected.
    #[inline]
    pub fn may_read(&self, update: &Update) -> bool {
        if !update.is_private() {
            return true;
        }
        #[cfg(debug_assertions)]
        CHECKS.with(|checks| checks.set(checks.get() + 1));
        match self {
            Self::Public => false,
            Self::Granted(granted) => granted.match_any(update.topics()),
        }
    }

    /// The topics whose private updates they allow; `None` for public updates only.
    #[inline]
    pub fn granted(&self) -> Option<&Selectors> {
        match self {
            Self::Public => None,
            Self::Granted(granted) => Some(granted),
        }
    }

    /// Charges the granted selectors to the budget, as [`Selectors::charge_to`].
    pub fn charge_to(&mut self, account: &dyn Account) -> Result<(), InvalidSelectors> {
        match self {
            Self::Public => Ok(()),
            Self::Granted(granted) => granted.charge_to(account),
        }
    }

    /// The number of tests to compare a topic with them.
    #[inline]
    pub fn tests(&self) -> usize {
        match self {
            Self::Public => 0,
            Self::Granted(granted) => granted.tests(),
        }
    }

    /// Whether private updates about `topic` may be read.
    #[inline]
    pub fn grant(&self, topic: &Topic) -> bool {
        match self {
            Self::Public => false,
            Self::Granted(granted) => granted.matches(topic),
        }
    }
}

#[cfg(debug_assertions)]
thread_local! {
    /// How often grants were compared with a private update on this thread, for tests.
    #[doc(hidden)]
    pub static CHECKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
