//! Encodes and decodes event streams (`text/event-stream`, HTML standard, section 9.2).
//!
//! This crate does no I/O, reads no clock and starts no task.
//!
//! ```
//! use tidings_sse::{Decoder, Event, Item, Limits, encode};
//!
//! let event = Event::new("19.5 °C\nfalling").with_type("weather")?.with_id("7")?;
//! let mut bytes = Vec::new();
//! encode::event(event.as_ref(), &mut bytes);
//! assert_eq!(
//!     String::from_utf8_lossy(&bytes),
//!     "event: weather\ndata: 19.5 °C\ndata: falling\nid: 7\n\n"
//! );
//!
//! let mut decoder = Decoder::new(Limits::default());
//! decoder.push(&bytes);
//! while let Some(item) = decoder.next() {
//!     if let Item::Event(received) = item {
//!         assert_eq!(received.to_event(), event);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `std` (default): finds line ends faster, with the instructions that the processor supports.
//!   Without it the crate is `no_std` and needs `alloc`; its results are the same.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod event;

pub mod decode;
pub mod encode;

pub use decode::{DecodedEvent, Decoder, Item, Limits};
pub use event::{Event, EventId, EventRef, EventType, InvalidEventId, InvalidEventType};
