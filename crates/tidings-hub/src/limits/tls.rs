//! Bounds of TLS and HTTP/2.

use std::time::Duration;

use super::ARRIVING_BYTES_MAX;

/// The number of TLS handshakes that may always be under way at one time.
pub(crate) const HANDSHAKES_MIN: usize = 16;
/// The time until the first byte of a TLS handshake: a client has it ready when it connects.
pub(crate) const FIRST_BYTE_TIME: Duration = Duration::from_secs(3);
/// The maximum size of a client's handshake. The handshakes of clients without a certificate have
/// less than 4 KiB.
pub(crate) const HANDSHAKE_BYTES: usize = 32 << 10;
/// The maximum time for a TLS handshake.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a peer may send for each request before it must wait.
pub(crate) const HTTP2_RECEIVE_BYTES: u32 = 64 << 10;
/// The same for all requests of a connection, and so the memory of their unread bodies. HTTP/2
/// starts with this value, so a peer cannot have less.
pub(crate) const HTTP2_CONNECTION_BYTES: u32 = ARRIVING_BYTES_MAX as u32;
/// Bytes of a request's decoded head that count as part of the request.
pub(crate) const HTTP2_HEAD_BYTES_FREE: usize = 4 << 10;
/// Bytes of a stream that wait in its HTTP/2 connection.
pub(crate) const HTTP2_SEND_BYTES: usize = 16 << 10;
/// The number of requests that a peer may cancel before they are handled, and of streams that it
/// may make us reset, before its connection is closed ("rapid reset").
pub(crate) const HTTP2_RESETS: usize = 100;
/// How often an HTTP/2 connection is checked with a ping.
pub(crate) const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take before the connection counts as dead.
pub(crate) const HTTP2_PING_TIME: Duration = Duration::from_secs(20);
/// How long an HTTP/2 connection may have no request or stream.
pub(crate) const HTTP2_IDLE_TIME: Duration = Duration::from_secs(60);
/// How long an HTTP/2 stream stays before it is reset, if it was answered before its body was read.
pub(crate) const HTTP2_HOLD_TIME: Duration = Duration::from_millis(250);
