//! The transport of requests: a trait, and its implementation with reqwest.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;

use crate::reconnect::Failure;

/// A boxed future, for methods of trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The body of a response, as it arrives.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>;

/// Sends one request and returns its response.
///
/// A transport follows no redirects and repeats no requests: its caller does.
pub trait Transport: Send + Sync {
    /// The response, with a body that is read as it arrives. Dropping the future or the body
    /// cancels the request.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>>;
}

/// The proxy that a response came through. A [`Transport`] adds it to the extensions of the
/// response, so that errors can name the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThroughProxy(String);

impl ThroughProxy {
    /// The text that errors show for the proxy, without its password.
    pub fn new(shown: impl Into<String>) -> Self {
        Self(shown.into())
    }

    pub(crate) fn into_shown(self) -> String {
        self.0
    }
}

/// Why a request or the body of its response failed.
#[derive(Debug)]
pub struct TransportError {
    failure: Failure,
    proxy: Option<String>,
    cause: Box<dyn StdError + Send + Sync>,
}

impl TransportError {
    /// A failure that may be temporary: no route, an unknown name, a lost connection.
    pub fn passing(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { failure: Failure::Passing, proxy: None, cause: cause.into() }
    }

    /// A permanent failure, such as an untrusted certificate.
    pub fn lasting(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { failure: Failure::Final, proxy: None, cause: cause.into() }
    }

    /// The same failure, through this proxy. The server itself may be working. `shown` is the text
    /// that errors show, without the proxy's password.
    #[must_use]
    pub fn through_proxy(mut self, shown: impl Into<String>) -> Self {
        self.proxy = Some(shown.into());
        self
    }

    /// The proxy that the request went through, if there was one.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    /// Whether another attempt may succeed.
    pub fn failure(&self) -> Failure {
        self.failure
    }
}

impl fmt::Display for TransportError {
    /// The whole chain of causes: the last one usually has the information that a user needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(proxy) = &self.proxy {
            write!(f, "through the proxy {proxy}: ")?;
        }
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
    use std::net::IpAddr;
    use std::pin::Pin;
    use std::sync::{Arc, OnceLock};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_core::Stream;
    use http::{Method, Uri};
    use http_body::Body as _;
    use hyper_util::client::proxy::matcher::Matcher;

    use super::{Body, BoxFuture, ThroughProxy, Transport, TransportError};

    /// The maximum time to connect, including the TLS handshake.
    const CONNECT_TIME: Duration = Duration::from_secs(30);
    /// How long an idle connection is kept, if connections are kept. It is shorter than the time
    /// after which servers close them (hubs: 20 s), because a request at that moment would get no
    /// response.
    const IDLE_TIME: Duration = Duration::from_secs(10);

    /// [`Transport`] over reqwest: HTTP/1.1, and https with the feature `rustls`.
    ///
    /// It uses the proxies named in the environment (`http_proxy`, `https_proxy`, `all_proxy`),
    /// except for the hosts in `no_proxy` and for this machine (`localhost`, 127.0.0.0/8, `::1`).
    #[derive(Clone, Debug)]
    pub struct ReqwestTransport {
        client: reqwest::Client,
        /// `None` for a client of the caller's own.
        proxies: Option<Arc<Proxies>>,
    }

    /// The proxies of the environment, and a client for them, which is created when first needed.
    #[derive(Debug)]
    struct Proxies {
        matcher: Matcher,
        client: OnceLock<reqwest::Client>,
        connections: Connections,
    }

    /// What happens to a connection after its response.
    #[derive(Clone, Copy, Debug)]
    enum Connections {
        Closed,
        Kept,
    }

    impl Connections {
        fn client(self) -> reqwest::ClientBuilder {
            let builder = reqwest::Client::builder()
                .connect_timeout(CONNECT_TIME)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false);
            match self {
                Self::Closed => builder.pool_max_idle_per_host(0),
                Self::Kept => builder.pool_idle_timeout(IDLE_TIME),
            }
        }
    }

    impl ReqwestTransport {
        /// A transport for event streams: without a limit on the time of a response, and with a
        /// new connection for each request. The server may have closed a kept connection, which
        /// the client notices only after it has sent a request on it.
        ///
        /// # Errors
        /// If the system's certificates are missing or cannot be read.
        pub fn new() -> Result<Self, TransportError> {
            Self::with(Connections::Closed)
        }

        /// A transport for publishers: it keeps a connection for the next request, for 10 s.
        ///
        /// # Errors
        /// As [`new`](Self::new).
        pub fn pooled() -> Result<Self, TransportError> {
            Self::with(Connections::Kept)
        }

        fn with(connections: Connections) -> Result<Self, TransportError> {
            let client =
                connections.client().no_proxy().build().map_err(TransportError::lasting)?;
            let matcher = Matcher::from_system();
            let proxies = Proxies { matcher, client: OnceLock::new(), connections };
            Ok(Self { client, proxies: Some(Arc::new(proxies)) })
        }

        /// A transport with your own client and its proxies. Set the client's redirect policy to
        /// none, or it follows redirects by its own rules. Set no `timeout`, which would end each
        /// stream. A GET is repeated once if its connection ends without a response, because the
        /// server may have closed a kept connection; it is not repeated after a timeout.
        pub fn with_client(client: reqwest::Client) -> Self {
            Self { client, proxies: None }
        }

        async fn exchange(
            self,
            request: http::Request<Bytes>,
        ) -> Result<http::Response<Body>, TransportError> {
            if !cfg!(feature = "rustls") && request.uri().scheme_str() == Some("https") {
                return Err(TransportError::lasting(
                    "cannot use https: tidings-client was built without its feature \"rustls\"",
                ));
            }
            let Some((proxies, proxy)) =
                self.proxies.as_ref().and_then(|one| Some((one, one.proxy_of(request.uri())?)))
            else {
                // After a timeout the connection is still open, so it was not a stale one.
                let is_stale = |error: &reqwest::Error| {
                    let is_cut = error.is_request() && !error.is_connect() && !error.is_timeout();
                    self.proxies.is_none() && is_cut
                };
                let again = (request.method() == Method::GET).then(|| request.clone());
                return match (execute(&self.client, request).await, again) {
                    // The server had closed the kept connection.
                    (Err(error), Some(again)) if is_stale(&error) => {
                        execute(&self.client, again).await.map_err(classed)
                    }
                    (answer, _) => answer.map_err(classed),
                };
            };
            match execute(proxies.client()?, request).await {
                Ok(mut answer) => {
                    answer.extensions_mut().insert(ThroughProxy::new(proxy));
                    Ok(answer)
                }
                Err(error) => Err(classed(error).through_proxy(proxy)),
            }
        }
    }

    impl Proxies {
        /// The proxy for this URI, if there is one, without its password.
        fn proxy_of(&self, uri: &Uri) -> Option<String> {
            if is_this_machine(uri.host()?) {
                return None;
            }
            let proxy = self.matcher.intercept(uri)?;
            let (scheme, host) = (proxy.uri().scheme_str()?, proxy.uri().host()?);
            Some(match proxy.uri().port() {
                Some(port) => format!("{scheme}://{host}:{port}"),
                None => format!("{scheme}://{host}"),
            })
        }

        fn client(&self) -> Result<&reqwest::Client, TransportError> {
            if let Some(client) = self.client.get() {
                return Ok(client);
            }
            let made = self.connections.client().build().map_err(TransportError::lasting)?;
            Ok(self.client.get_or_init(|| made))
        }
    }

    /// Whether a host name always means this machine.
    fn is_this_machine(host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        match host.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                address.is_loopback() || address.is_unspecified()
            }
            Err(_) => {
                let name = host.to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }

    async fn execute(
        client: &reqwest::Client,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Body>, reqwest::Error> {
        let response = client.execute(reqwest::Request::try_from(request)?).await?;
        Ok(http::Response::from(response).map(body_of))
    }

    impl Transport for ReqwestTransport {
        fn send(
            &self,
            request: http::Request<Bytes>,
        ) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>> {
            Box::pin(self.clone().exchange(request))
        }
    }

    /// The body of a response as a stream of bytes.
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
                // Trailers contain no events.
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
        use rustls::AlertDescription::{CloseNotify, InternalError, UserCanceled};
        match error.downcast_ref::<rustls::Error>() {
            // An error of the server, which may be temporary.
            Some(rustls::Error::AlertReceived(CloseNotify | InternalError | UserCanceled)) => {
                return false;
            }
            Some(_) => return true,
            None => {}
        }
        // The source of an I/O error is not the wrapped error but that error's source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.is_some_and(|wrapped| is_about_trust(wrapped))
            || error.source().is_some_and(is_about_trust)
    }

    #[cfg(not(feature = "rustls"))]
    fn is_about_trust(_: &(dyn std::error::Error + 'static)) -> bool {
        false
    }
}
