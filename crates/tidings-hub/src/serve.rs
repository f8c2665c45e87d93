//! Serving: listeners, connections and TLS, and the hand-over of a socket to the stream that it
//! carries.

mod accept;
mod bad_head;
#[cfg(feature = "tls")]
mod body_lane;
mod date;
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
mod tls;
mod unread;
mod waiting;

use std::io;
#[cfg(feature = "tls")]
use std::net::TcpListener as StdListener;
use std::sync::Arc;

use axum::Router;

use crate::http::Routes;
use crate::hub::Hub;
use accept::ListenerProtocol;
#[cfg(feature = "tls")]
use handshake::Handshakes;
#[cfg(feature = "simulation")]
pub use listen::SimulatedListener;
pub use listen::{Listener, is_ipv6_only, listen, listen_ipv6_only};
#[cfg(feature = "tls")]
pub use tls::{Reload, Tls, TlsError};

/// Serves the hub on a listener, of TCP or a Unix socket, with the direct lane: an event stream
/// over HTTP/1 has its socket to itself. `fallback` answers requests for paths that the hub does
/// not have. Ends with the hub, or with its first shard, which accepts the connections: then
/// [`Hub::failed`] says so.
///
/// Dropping the future stops accepting; open streams continue.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(listener: impl Into<Listener>, hub: Hub, fallback: Router) -> io::Result<()> {
    let routes = Arc::new(Routes::new(&hub, fallback));
    accept::run(listener.into(), &hub, ListenerProtocol::Plain { hub: hub.clone(), routes }).await
}

/// Serves the hub on a listener, over TLS: HTTP/2 and HTTP/1.1, as the client chooses. `fallback`
/// answers requests for paths that the hub does not have. Ends with the hub.
///
/// Dropping the future stops accepting; open streams continue.
///
/// # Errors
/// If the listener cannot be used, or the system has no threads for the handshakes.
#[cfg(feature = "tls")]
pub async fn serve_tls(
    listener: StdListener,
    hub: Hub,
    fallback: Router,
    tls: &Tls,
) -> io::Result<()> {
    let routes = Arc::new(Routes::new(&hub, fallback));
    let handshakes = Handshakes::new(tls, hub.clone(), routes)?;
    accept::run(listener.into(), &hub, ListenerProtocol::Tls(handshakes)).await
}
