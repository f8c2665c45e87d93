//! Event streams (server-sent events) as responses of your own axum or hyper service.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "json"))] mod example {
//! use futures_util::{Stream, stream};
//! use tidings_server::{Event, EventStream, InvalidEventId, LastEventId, json};
//!
//! /// A handler for axum that continues counting after the client's last event ID.
//! async fn count(last: LastEventId) -> EventStream {
//!     let from = last.as_deref().and_then(|id| id.parse().ok()).map_or(1, |id: u64| id + 1);
//!     EventStream::new(stream::iter((from..).map(event)))
//! }
//!
//! /// An id that a stream cannot carry is an error here, not a panic.
//! fn event(n: u64) -> Result<Event, Box<dyn std::error::Error + Send + Sync>> {
//!     Ok(json(&serde_json::json!({ "n": n }))?.with_id(&n.to_string())?)
//! }
//! # pub fn router() -> axum::Router { axum::Router::new().route("/", axum::routing::get(count)) }
//! # }
//! ```
//!
//! An [`EventStream`] sets the headers that event streams need to pass through proxies and caches.
//! It sends each event as soon as it is available, and comments while there are none. It is
//! dropped, together with its source stream, as soon as its client disconnects. While the client
//! does not read, the source stream is not polled.
//!
//! A client can see how a stream ended: if the source stream ended, the response ends cleanly; after
//! an error, the connection is cut. A browser reconnects in both cases, unless the stream
//! [ends for good](EventStream::ends_for_good).
//!
//! Without axum, [`EventStream::into_http`] returns an [`http::Response`] for hyper, and so for any
//! tower service.
//!
//! # Features
//! - `axum` (default): [`EventStream`] is a response of axum 0.8, [`LastEventId`] an extractor.
//! - `json` (default): [`json()`], an event whose data is a serialized value.

mod response;

mod body;
mod heartbeat;
mod source;

pub mod head;
mod last_event_id;
pub mod place;
mod query;

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "json")]
mod json;

pub use body::EventBody;
#[cfg(feature = "json")]
pub use json::json;
pub use last_event_id::LastEventId;
pub use response::EventStream;
pub use source::{BoxError, Encoded, IntoEvent};

pub use tidings_sse::{Event, EventId, EventType, InvalidEventId, InvalidEventType};
