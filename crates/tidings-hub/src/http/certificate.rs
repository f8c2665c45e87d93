//! The names in the certificate of a request's connection.

use std::sync::Arc;

use axum::http::Extensions;

/// The certificate that the hub presented on a connection.
pub(crate) trait Certificate: Send + Sync {
    /// Whether the certificate is for this host.
    fn is_for(&self, host: &str) -> bool;
}

/// The certificate of a request's connection, among the extensions of the request.
#[derive(Clone)]
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(crate) struct ConnectionCertificate(pub(crate) Arc<dyn Certificate>);

/// Whether the certificate of the request's connection is for this host; `None` if the hub has no
/// certificate there. A browser sends no request to a host that the certificate is not for.
pub(super) fn certifies(extensions: &Extensions, host: &str) -> Option<bool> {
    let ConnectionCertificate(certificate) = extensions.get()?;
    Some(certificate.is_for(host))
}
