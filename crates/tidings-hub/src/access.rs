//! Who may read what.

use crate::update::Update;

/// What a subscriber may read beside what everybody may.
///
/// Rights are part of what makes a feed: subscribers share one only if they may read the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rights {
    /// Public updates and no others.
    #[default]
    Public,
}

impl Rights {
    /// Whether this subscriber may read `update`, whatever it has asked for.
    pub fn may_read(&self, update: &Update) -> bool {
        match self {
            Self::Public => !update.is_private(),
        }
    }
}
