//! An event hub as a library: many publishers, many subscribers, and a journal that remembers.
//!
//! ```
//! use tidings_hub::{Hub, Selectors, Since, Update};
//! use tidings_sse::Event;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = Hub::builder().build().await?;
//!
//! let prices = Selectors::topic("https://example.com/prices");
//! let mut subscription = hub.subscribe(prices.clone(), Since::Now).await?;
//!
//! let update = Update::new("https://example.com/prices", Event::new("19.5"));
//! let id = hub.publish(update).await?;
//!
//! let event = subscription.next().await.expect("the hub is there");
//! assert_eq!((event.data(), event.id()), ("19.5", Some(&id)));
//!
//! // Who goes on after an id gets what came since.
//! hub.publish(Update::new("https://example.com/prices", Event::new("20.0"))).await?;
//! let mut later = hub.subscribe(prices, Since::After(id)).await?;
//! assert_eq!(later.next().await.expect("the hub is there").data(), "20.0");
//! hub.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Over HTTP
//!
//! [`Hub::router`] is an axum router for a service that you serve yourself. [`serve`] serves the
//! hub, and your own router behind it, with the *direct lane*: over HTTP/1 an event stream has
//! its socket to itself, which takes a tenth of the memory. That holds for the hub's streams and
//! for each `tidings_server::EventStream` that a handler of yours returns.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tidings_hub::{Access, Hub};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let hub = Hub::builder().access(Access::development()).build().await?;
//! let app = Router::new().route("/hello", get(async || "hello"));
//! let listener = tidings_hub::listen(([127, 0, 0, 1], 8081).into())?;
//! tokio::select! {
//!     served = tidings_hub::serve(listener, hub.clone(), app) => served?,
//!     _ = tokio::signal::ctrl_c() => {
//!         // Each subscriber comes back at its own moment within three seconds.
//!         hub.drain(std::time::Duration::from_secs(3)).await;
//!         hub.idle().await;
//!     }
//! }
//! hub.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What requests may do says [`Access`], or a callback of yours: [`HubBuilder::authorize`].
//! What the hub answers is described in `docs/interfaces.md` of its repository.

mod limits;

mod access;
mod admission;
mod selector;
mod update;

mod journal;

mod feed;
mod notice;
mod presence;
mod replay;
mod resume;
mod router;
mod shard;
mod window;
mod wire;

mod http;
mod hub;
mod metrics;
mod nodes;
mod subscription;

pub use access::{
    Access, Algorithm, Authorize, Authorizing, Dialect, Dialects, InvalidKey, InvalidKeySetUrl,
    Issuer, IssuerKeys, Key, KeySetUrl, Permissions, Rights, SigningKey, TokenError, TokenReport,
    TokenUse, Tokens, inspect_token, sign_token, token_time,
};
pub use feed::StreamOptions;
#[cfg(feature = "tls")]
pub use http::{Reload, Tls, TlsError, serve_tls};
pub use http::{admin_router, listen, serve};
pub use hub::{Hub, HubBuilder, PublishError};
pub use journal::{
    AppendError, Appended, Batch, Before, DiskJournal, DiskOptions, Edges, Epoch, Follower, HubId,
    IdempotencyKey, InvalidIdempotencyKey, Journal, JournalFile, Keep, MemoryJournal, Missed, Node,
    Nodes, OpenError, Pending, Position, Promise, ReadError, Record, Retention, RetentionRule,
    Summary, Tail,
};
#[cfg(feature = "nats")]
pub use journal::{NatsError, NatsJournal, NatsLogin, NatsOptions, NatsRetention, NatsStorage};
pub use limits::{InvalidNetwork, Limits, Network};
pub use selector::{Base, InvalidSelectors, Pattern, Selector, Selectors, Template};
pub use shard::StreamBody;
pub use subscription::{Since, SubscribeError, Subscription};
pub use update::{HUB_PATH, InvalidUpdate, Topic, Update};
