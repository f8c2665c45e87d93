//! Events from any server, across lost connections.
//!
//! ```no_run
//! use tidings_client::{EventSource, Incoming};
//!
//! # async fn example() {
//! let mut stream = EventSource::get("https://example.com/prices").header("x-api-key", "…").open();
//! while let Some(incoming) = stream.next().await {
//!     match incoming {
//!         Incoming::Event(event) => println!("{}: {}", event.event_type(), event.data()),
//!         Incoming::Lost(lost) => eprintln!("{lost}; trying again in {:?}", lost.retry_in),
//!         Incoming::Closed(reason) => eprintln!("{reason}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! A GET reconnects and resumes, in the manner of the standard's `EventSource`. An answer to a
//! POST is one stream, never asked for twice, and it is known whether it is complete:
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
//! Where an answer is there already, [`ByteStreamExt::events`] reads it. Without async there is
//! [`blocking`]. Without reqwest there is [`transport::Transport`]. Without tokio there is
//! [`reconnect::Reconnect`].
//!
//! # Features
//! - `rustls` (default): https, by rustls on aws-lc-rs with the system's certificates.
//! - `reqwest`: the transport over reqwest; without `rustls` it speaks http only.

pub mod end;
pub mod reconnect;
pub mod transport;

mod connect;
mod events;
mod incoming;
mod notice;
mod publish;
mod subscribe;

pub mod blocking;

pub use connect::{
    ConnectError, JSON_BYTES_MAX, JsonAnswer, Opened, REDIRECTS_MAX, REFUSAL_BYTES_MAX,
    RedirectError, Refusal, Request,
};
pub use events::{ByteStreamExt, Events, ReadError};
pub use incoming::{CloseReason, Incoming, LossError, Lost, ReceivedEvent};
pub use notice::{Notice, NoticeKind};
pub use publish::{PublishError, Publisher, Update};
pub use subscribe::{EventSource, Subscription};

#[cfg(feature = "reqwest")]
pub use events::ResponseExt;

pub use tidings_sse::{Event, EventId, EventType, Limits};
