//! Answer a request with a stream of events: what every such answer has in common.
//!
//! ```
//! use http::HeaderMap;
//! use tidings_server::{LastEventId, head};
//!
//! let mut request = HeaderMap::new();
//! request.insert("last-event-id", "7".parse()?);
//! assert_eq!(LastEventId::of(&request).as_deref(), Some("7"));
//!
//! let mut response = HeaderMap::new();
//! head::insert(&mut response);
//! assert_eq!(response["content-type"], "text/event-stream");
//! # Ok::<(), http::header::InvalidHeaderValue>(())
//! ```

pub mod head;
mod last_event_id;

pub use last_event_id::LastEventId;
