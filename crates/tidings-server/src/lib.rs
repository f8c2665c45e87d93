//! Answer a request with a stream of events, in your own service.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "json"))] mod example {
//! use futures_util::{Stream, stream};
//! use tidings_server::{Event, EventStream, InvalidEventId, LastEventId, json};
//!
//! /// A handler for axum, which counts on from where its client has been.
//! async fn count(last: LastEventId) -> EventStream {
//!     let from = last.as_deref().and_then(|id| id.parse().ok()).map_or(1, |id: u64| id + 1);
//!     EventStream::new(stream::iter((from..).map(event)))
//! }
//!
//! /// An id that a stream cannot carry is an error here, and no panic.
//! fn event(n: u64) -> Result<Event, Box<dyn std::error::Error + Send + Sync>> {
//!     Ok(json(&serde_json::json!({ "n": n }))?.with_id(&n.to_string())?)
//! }
//! # pub fn router() -> axum::Router { axum::Router::new().route("/", axum::routing::get(count)) }
//! # }
//! ```
//!
//! An [`EventStream`] has the head that event streams need on their way through proxies and
//! caches, sends events as soon as they are there, a comment where there are none, and is
//! dropped, with the stream that it was made of, as soon as its client has gone. While the
//! client takes nothing, the stream is not asked for more.
//!
//! How a stream ends is seen by its client: at the end of the stream it was made of, cleanly;
//! at the first error, by a cut connection. A browser reconnects after either, unless the
//! stream [ends for good](EventStream::ends_for_good).
//!
//! Without axum, [`EventStream::into_http`] gives a [`http::Response`] whose body any server on
//! hyper takes, and so any tower service.
//!
//! # Features
//! - `axum` (default): [`EventStream`] is a response of axum 0.8, [`LastEventId`] an extractor.
//! - `json` (default): [`json()`], an event of what serde can serialize.

mod response;

mod body;
mod heartbeat;
mod source;

pub mod head;
mod last_event_id;

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
