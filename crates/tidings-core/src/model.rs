//! The values of the hub: updates and their topics, selectors and rights, positions and ids.

mod cursor;
mod id;
mod options;
mod position;
pub mod presence;
mod record;
mod rights;
mod selector;
mod token;
mod update;

pub use cursor::{Cursor, EARLIEST, LAST};
pub use id::{Epoch, HubId, NotAHubId};
pub use options::StreamOptions;
pub use position::Position;
pub use record::Record;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub use rights::CHECKS;
pub use rights::Rights;
#[cfg(test)]
pub(crate) use selector::WALKED;
pub use selector::{
    Account, Allowance, Base, Charge, InvalidSelectors, Location, Pattern, Selector, Selectors,
    Spelled, Template,
};
pub use token::{RevokedToken, TokenId};
pub use update::{
    HUB_PATH, InvalidUpdate, PRESENCE_PATH, Topic, Update, check_characters, matching_steps,
};
