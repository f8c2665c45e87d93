//! The names in the certificate of a request's connection.

use axum::http::Extensions;

/// Whether the certificate of the request's connection is for this host; `None` if the hub has no
/// certificate there. A browser sends no request to a host that the certificate is not for.
#[cfg(feature = "tls")]
pub(super) fn certifies(extensions: &Extensions, host: &str) -> Option<bool> {
    extensions.get::<crate::serve::Tls>().map(|tls| tls.is_for(host))
}

/// Without TLS there is no certificate.
#[cfg(not(feature = "tls"))]
pub(super) fn certifies(_: &Extensions, _: &str) -> Option<bool> {
    None
}
