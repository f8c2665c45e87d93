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
//! // A subscriber that resumes from an id receives everything published after it.
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
//! [`Hub::router`] is an axum router for a service that you serve yourself. [`serve()`] serves the
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
//!         // Each subscriber reconnects at its own moment within three seconds.
//!         hub.drain(std::time::Duration::from_secs(3)).await;
//!         hub.idle().await;
//!     }
//! }
//! hub.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Access`], or your own callback ([`HubBuilder::authorize`]), decides what a request may do.
//! The repository's `docs/interfaces.md` describes what the hub answers.
//!
//! # Features
//!
//! No feature is on by default. A hub without features has its journal in memory, asks your own
//! login, and compiles no SQLite, TLS, JWT library, HTTP client or Prometheus client.
//!
//! | feature | adds | compiles |
//! |---|---|---|
//! | `disk` | `DiskJournal`: the journal on disk | SQLite |
//! | `tokens` | `Access::tokens`: tokens (JWT) of publishers and subscribers | aws-lc, a JWT library |
//! | `jwks` | `IssuerKeys::Url`: keys from an issuer's key set; implies `tokens` | an HTTP client |
//! | `metrics` | `/metrics`, for Prometheus | a Prometheus client |
//! | `tls` | `serve_tls`: TLS and HTTP/2, and key sets over https | rustls on aws-lc |
//! | `nats` | `NatsJournal`: the journal on NATS JetStream, for several hubs | a NATS client, rustls on aws-lc |
//!
//! Without `tokens` the hub refuses every token with 401, unless a callback of yours decides. Without
//! `metrics` the hub has no route `/metrics`: that path is free for the metrics of your service.

#[cfg(feature = "simulation")]
mod simulated;

mod clock;

mod beside;
mod task;

mod transport;

mod limits;

mod admission;
mod budget;

mod access;
mod journal;

mod compile;
mod metrics;
mod presence;
mod shard;
mod subscription;

mod operator;

mod hub;

mod http;

mod serve;

/// For the simulator of this repository only: hubs on the simulator's thread, clock and sockets.
/// Nothing here is stable.
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

pub use access::{
    Access, Authorize, Authorizing, CorsOrigins, Dialect, Dialects, InvalidOrigin, Origin,
    Permissions, TokenError,
};
#[cfg(feature = "tokens")]
pub use access::{
    Algorithm, InvalidKey, Issuer, IssuerKeys, Key, SigningKey, TokenGrant, TokenReport, TokenUse,
    Tokens, inspect_token, sign_token, token_time,
};
#[cfg(feature = "jwks")]
pub use access::{InvalidKeySetUrl, KeySetUrl};
pub use http::admin_router;
pub use hub::{Hub, HubBuilder, HubFailed, PublishError};
pub use journal::{MemoryJournal, SystemClock};
pub use limits::{ForwardedHeader, InvalidNetwork, Limits, Network};
pub use serve::{Listener, is_ipv6_only, listen, listen_ipv6_only, serve};
#[cfg(feature = "tls")]
pub use serve::{Reload, Tls, TlsError, serve_tls};
pub use shard::{StreamBody, StreamCut};
pub use subscription::{Since, SubscribeError, Subscription};
#[doc(inline)]
pub use tidings_core::journal::{
    AnswerRoom, AppendError, Appended, Batch, Before, Edges, Follower, Found, Health, History,
    IdempotencyKey, InvalidIdempotencyKey, Journal, Keep, Log, LossNumber, Missed, Node, Nodes,
    OtherHub, Pending, ReadError, Retention, RetentionRule, RevokedTokens, Room, Tail,
};
#[doc(inline)]
pub use tidings_core::model::{
    Base, Epoch, HUB_PATH, HubId, InvalidSelectors, InvalidUpdate, Pattern, Position, Record,
    RevokedToken, Rights, Selector, Selectors, StreamOptions, Template, Topic, Update,
};
#[cfg(feature = "disk")]
#[doc(inline)]
pub use tidings_disk::{
    DiskJournal, DiskOptions, Exported, JournalFile, OpenError, Promise, Summary,
};
#[cfg(feature = "nats")]
#[doc(inline)]
pub use tidings_nats::{
    NatsError, NatsJournal, NatsLogin, NatsOptions, NatsRetention, NatsStorage,
};
pub use url::Host;
