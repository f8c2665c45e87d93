//! What the bytes of an event stream mean (`text/event-stream`, HTML standard, section 9.2).
//!
//! This crate does no I/O, reads no clock and starts no task: bytes in, values out, and back.
//!
//! ```
//! use tidings_sse::{Event, encode};
//!
//! let event = Event::new("19.5 °C\nfalling").with_type("weather")?.with_id("7")?;
//! let mut bytes = Vec::new();
//! encode::event(event.as_ref(), &mut bytes);
//! assert_eq!(
//!     String::from_utf8_lossy(&bytes),
//!     "event: weather\nid: 7\ndata: 19.5 °C\ndata: falling\n\n"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;

pub mod encode;

pub use event::{Event, EventId, EventRef, EventType, InvalidEventId, InvalidEventType};
