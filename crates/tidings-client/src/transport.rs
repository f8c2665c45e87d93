//! How requests reach a server: a thin trait, and reqwest behind it.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;

use crate::reconnect::Failure;

/// A future that is boxed, as a trait object's methods return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bytes of an answer, as they arrive.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>;

/// Sends one request and brings its answer.
///
/// It follows no redirect and tries nothing twice: that is decided above it.
pub trait Transport: Send + Sync {
    /// The answer's head, with a body that is read as it arrives. Dropping the future, or the
    /// body, ends the exchange.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>>;
}

/// Why there was no answer, or no rest of it.
#[derive(Debug)]
pub struct TransportError {
    failure: Failure,
    cause: Box<dyn StdError + Send + Sync>,
}

impl TransportError {
    /// A failure that may pass: no route, no name, a connection that broke.
    pub fn passing(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { failure: Failure::Passing, cause: cause.into() }
    }

    /// A failure that will not pass: a certificate that can't be trusted, say.
    pub fn lasting(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { failure: Failure::Final, cause: cause.into() }
    }

    /// Whether it is worth trying again.
    pub fn failure(&self) -> Failure {
        self.failure
    }
}

impl fmt::Display for TransportError {
    /// All that is known, down to the first cause: what a person needs is mostly at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.cause.to_string();
        f.write_str(&said)?;
        let mut cause = self.cause.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.cause.as_ref())
    }
}

#[cfg(feature = "reqwest")]
pub use over_reqwest::ReqwestTransport;
#[cfg(feature = "reqwest")]
pub(crate) use over_reqwest::body_of;

#[cfg(feature = "reqwest")]
mod over_reqwest {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_core::Stream;
    use http_body::Body as _;

    use super::{Body, BoxFuture, Transport, TransportError};

    /// How long a connection may take to be made, and a handshake after it.
    const CONNECT_TIME: Duration = Duration::from_secs(30);

    /// [`Transport`] over reqwest: HTTP/1.1, and https with the feature `rustls`.
    #[derive(Clone, Debug)]
    pub struct ReqwestTransport {
        client: reqwest::Client,
    }

    impl ReqwestTransport {
        /// A client as event streams need it: without a limit on the whole answer's time.
        ///
        /// # Errors
        /// If the system has no certificates, or none that can be read.
        pub fn new() -> Result<Self, TransportError> {
            let builder = reqwest::Client::builder()
                .connect_timeout(CONNECT_TIME)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false);
            match builder.build() {
                Ok(client) => Ok(Self { client }),
                Err(error) => Err(TransportError::lasting(error)),
            }
        }

        /// A client of your own. Its redirect policy should be none, or it follows redirects
        /// by its own rules; and it should have no `timeout`, which would end each stream.
        pub fn with_client(client: reqwest::Client) -> Self {
            Self { client }
        }
    }

    impl Transport for ReqwestTransport {
        fn send(
            &self,
            request: http::Request<Bytes>,
        ) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>> {
            let client = self.client.clone();
            Box::pin(async move {
                if !cfg!(feature = "rustls") && request.uri().scheme_str() == Some("https") {
                    return Err(TransportError::lasting(
                        "https needs the feature \"rustls\" of tidings-client",
                    ));
                }
                let request = reqwest::Request::try_from(request).map_err(classed)?;
                let response = client.execute(request).await.map_err(classed)?;
                Ok(http::Response::from(response).map(body_of))
            })
        }
    }

    /// The body of a response as a stream of its bytes.
    pub(crate) fn body_of(body: reqwest::Body) -> Body {
        Box::pin(Frames(body))
    }

    struct Frames(reqwest::Body);

    impl Stream for Frames {
        type Item = Result<Bytes, TransportError>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            loop {
                let frame = match Pin::new(&mut self.0).poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(classed(error)))),
                    Poll::Ready(Some(Ok(frame))) => frame,
                };
                // Trailers say nothing about events.
                if let Ok(bytes) = frame.into_data() {
                    return Poll::Ready(Some(Ok(bytes)));
                }
            }
        }
    }

    fn classed(error: reqwest::Error) -> TransportError {
        if error.is_builder() || is_about_trust(&error) {
            TransportError::lasting(error.without_url())
        } else {
            TransportError::passing(error.without_url())
        }
    }

    #[cfg(feature = "rustls")]
    fn is_about_trust(error: &(dyn std::error::Error + 'static)) -> bool {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An I/O error names as its source not what it wraps, but that one's source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.is_some_and(|wrapped| is_about_trust(wrapped))
            || error.source().is_some_and(is_about_trust)
    }

    #[cfg(not(feature = "rustls"))]
    fn is_about_trust(_: &(dyn std::error::Error + 'static)) -> bool {
        false
    }
}
