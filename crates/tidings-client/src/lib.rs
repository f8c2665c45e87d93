//! A client for event streams (server-sent events) that reconnects and resumes.
//!
//! ```no_run
//! use tidings_client::{EventSource, Incoming};
//!
//! # async fn example() {
//! let mut stream = EventSource::get("https://example.com/prices").header("x-api-key", "…").open();
//! while let Some(incoming) = stream.next().await {
//!     match incoming {
//!         Incoming::Event(event) => println!("{}: {}", event.event_type(), event.data()),
//!         Incoming::Lost(lost) => eprintln!("{lost}; reconnecting in {:?}", lost.retry_in),
//!         Incoming::Closed(reason) => eprintln!("{reason}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! A GET reconnects and resumes, like the standard's `EventSource`. A POST is sent once, and its
//! stream is known to be complete or truncated:
//!
//! ```no_run
//! use tidings_client::{EventSource, end};
//!
//! # async fn example() -> Result<(), tidings_client::CloseReason> {
//! let mut answer = EventSource::post("https://api.example.com/v1/chat/completions")
//!     .bearer("…")
//!     .json(&serde_json::json!({ "stream": true, "messages": [] }))
//!     .ends_with(end::openai_chat)
//!     .open();
//! while let Some(event) = answer.next_event().await? {
//!     print!("{}", event.data());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! For a response that you already have, use [`ByteStreamExt::events`]; without async,
//! [`blocking`]; without reqwest, [`transport::Transport`]; without tokio,
//! [`reconnect::Reconnect`].
//!
//! Lost connections, and streams that are closed by an error, are also logged with `tracing`, as
//! warnings.
//!
//! # Features
//! - `rustls` (default): https, with rustls on aws-lc-rs and the system's certificates.
//! - `reqwest`: the transport over reqwest. Without `rustls` it supports http only.

pub mod end;
pub mod reconnect;
pub mod transport;

mod coding;
mod connect;
mod content_type;
mod events;
mod hub;
mod incoming;
mod instead;
mod login;
mod notice;
mod publish;
mod received;
mod subscribe;
mod subscription;

pub mod blocking;

pub use connect::{
    Answer, ConnectError, JSON_BYTES_MAX, JsonAnswer, LAST_EVENT_ID_BYTES_MAX, Opened,
    REDIRECTS_MAX, REFUSAL_BYTES_MAX, RedirectError, Refusal, Request,
};
pub use content_type::ContentType;
pub use events::{ByteStreamExt, Events, ReadError};
pub use incoming::{CloseReason, Incoming, LossError, Lost};
pub use login::hide_login;
pub use notice::{Notice, NoticeKind};
pub use publish::{PublishError, Publisher, Update};
pub use received::ReceivedEvent;
pub use subscribe::EventSource;
pub use subscription::Subscription;

#[cfg(feature = "reqwest")]
pub use events::ResponseExt;

pub use tidings_sse::{Event, EventId, EventType, Limits};
