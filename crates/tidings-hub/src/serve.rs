//! Serving: listeners, connections and TLS, and the hand-over of a socket to the stream that it
//! carries.

mod accept;
mod bad_head;
#[cfg(feature = "tls")]
mod body_lane;
mod direct_lane;
mod exchange;
#[cfg(feature = "tls")]
mod handshake;
#[cfg(feature = "tls")]
mod handshake_turns;
mod head_room;
#[cfg(feature = "tls")]
mod header_blocks;
mod linger;
mod listen;
#[cfg(feature = "tls")]
mod movable;
mod service_stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod unread;
mod waiting;

pub use accept::serve;
#[cfg(feature = "tls")]
pub use accept::serve_tls;
pub use listen::{Listener, is_ipv6_only, listen, listen_ipv6_only};
#[cfg(feature = "tls")]
pub use tls::{Reload, Tls, TlsError};
