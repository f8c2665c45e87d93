//! The core of the Tidings event hub: the meaning of updates and selectors, the traits of a journal,
//! and the decision what each subscriber receives next.
//!
//! Start with `tidings-hub`, which re-exports everything that a service needs. The items of this crate
//! are public because the hub and the journals on disk and on NATS are separate crates. [`journal`]
//! describes how to write another journal.
//!
//! **Stable:** [`model`] and [`journal`]. The rest is for Tidings' own crates and may change in any
//! release.
//!
//! This crate starts no task, opens no file or socket, and reads no clock: the time is passed in.
//! Its only input besides the arguments is the system's random generator ([`random`]).
//!
//! Which topics a subscriber selects, and which private updates it may read:
//!
//! ```
//! use tidings_core::model::{Rights, Selector, Selectors, Update};
//! use tidings_sse::Event;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let books = Selectors::new([Selector::template("books/{id}")?])?;
//! let update = Update::new("books/1", Event::new("returned")).private();
//!
//! assert!(books.match_any(update.topics()));
//! assert!(!Rights::Public.may_read(&update));
//! assert!(Rights::Granted(books).may_read(&update));
//! # Ok(())
//! # }
//! ```

pub mod limits;
pub mod log_rate;
pub mod random;
mod setters;

pub mod model;

pub mod journal;

pub mod stream;
