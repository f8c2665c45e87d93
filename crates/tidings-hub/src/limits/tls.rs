//! Bounds of TLS and HTTP/2.

use std::time::Duration;

use super::ARRIVING_BYTES_MAX;

/// TLS handshakes that may always be under way at one time.
pub(crate) const HANDSHAKES_MIN: usize = 16;
/// Time until the first byte of a TLS handshake: a client has it ready when it connects.
pub(crate) const FIRST_BYTE_TIME: Duration = Duration::from_secs(3);
/// Bytes that a client may send in its handshake. Those of clients without a certificate have
/// less than 4 KiB.
pub(crate) const HANDSHAKE_BYTES: usize = 32 << 10;
/// Time for a TLS handshake.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a peer may send before it has to wait, for each request.
pub(crate) const HTTP2_RECEIVE_BYTES: u32 = 64 << 10;
/// The same for all requests of a connection, and so what their bodies take while they wait to be
/// read. HTTP/2 begins with as much, so a peer can't have less.
pub(crate) const HTTP2_CONNECTION_BYTES: u32 = ARRIVING_BYTES_MAX as u32;
/// Bytes of a request's head, decoded, that count as the request's own.
pub(crate) const HTTP2_HEAD_BYTES_FREE: usize = 4 << 10;
/// Bytes of a stream that wait in its HTTP/2 connection.
pub(crate) const HTTP2_SEND_BYTES: usize = 16 << 10;
/// Requests that a peer may take back before they are looked at, and streams that it may make
/// us reset, before its connection is closed ("rapid reset").
pub(crate) const HTTP2_RESETS: usize = 100;
/// How often an HTTP/2 connection is asked whether it still lives.
pub(crate) const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take before the connection counts as dead.
pub(crate) const HTTP2_PING_TIME: Duration = Duration::from_secs(20);
/// How long an HTTP/2 connection may stay without a request or a stream.
pub(crate) const HTTP2_IDLE_TIME: Duration = Duration::from_secs(60);
/// How long an HTTP/2 stream that was answered before its body was read is kept before it is
/// reset.
pub(crate) const HTTP2_HOLD_TIME: Duration = Duration::from_millis(250);
