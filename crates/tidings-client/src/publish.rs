//! Publishes updates to a hub.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT,
};
use serde::Deserialize;
use serde_json::json;
use tidings_sse::{Event, EventId};
use url::Url;

use crate::connect::{
    AGENT, ConnectError, REFUSAL_BYTES_MAX, Refusal, read_all, read_start, retry_after,
};
use crate::transport::ThroughProxy;
use crate::transport::Transport;
#[cfg(feature = "reqwest")]
use crate::transport::{ReqwestTransport, TransportError};
use crate::{coding, login};

/// The path of the protocol.
pub(crate) const HUB_PATH: &str = "/.well-known/mercure";
/// The maximum of bytes of a response.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// An update: an event, its topics, and whether it is private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    topics: Vec<String>,
    event: Event,
    private: bool,
}

impl Update {
    /// A public update with this topic.
    pub fn new(topic: impl Into<String>, event: Event) -> Self {
        Self { topics: vec![topic.into()], event, private: false }
    }

    /// Adds a topic.
    #[must_use]
    pub fn also_about(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Makes the update private: only subscribers whose token grants one of its topics receive it.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    fn to_json(&self) -> serde_json::Value {
        let mut update = json!({
            "topics": self.topics,
            "data": self.event.data(),
            "private": self.private,
        });
        if self.event.event_type() != "message" {
            update["type"] = self.event.event_type().into();
        }
        if let Some(id) = self.event.id() {
            update["id"] = id.as_str().into();
        }
        if let Some(retry) = self.event.retry() {
            update["retry"] = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX).into();
        }
        update
    }
}

/// Publishes to one hub.
#[derive(Clone)]
pub struct Publisher {
    url: Url,
    headers: HeaderMap,
    answer_within: Duration,
    transport: Arc<dyn Transport>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher for a hub, given by its origin or its protocol's URL. A login in the URL is sent
    /// as Basic authentication, unless there is a token.
    pub fn new(mut hub: Url, transport: Arc<dyn Transport>) -> Self {
        if hub.path() == "/" {
            hub.set_path(HUB_PATH);
        }
        let answer_within = Duration::from_secs(30);
        Self { url: hub, headers: HeaderMap::new(), answer_within, transport }
    }

    /// A publisher for a hub, given by its origin or its protocol's URL, with reqwest.
    ///
    /// # Errors
    /// If the URL is invalid, or the system has no certificates.
    #[cfg(feature = "reqwest")]
    pub fn to(hub: &str) -> Result<Self, TransportError> {
        let url = Url::parse(hub).map_err(|error| {
            let shown = login::hide_login(hub);
            TransportError::lasting(format!("invalid URL {shown:?}: {error}"))
        })?;
        Ok(Self::new(url, Arc::new(ReqwestTransport::pooled()?)))
    }

    /// Headers for every publish.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The token, sent as `Authorization: Bearer`.
    ///
    /// # Errors
    /// If it contains characters that a header cannot hold.
    pub fn token(mut self, token: &str) -> Result<Self, http::Error> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// How long to wait for the hub's response. Default: 30 s.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// Publishes an update, and returns its id when the hub has acknowledged it. The request is sent
    /// once: without a response, the update may or may not have been published. To be able to send
    /// it again safely, give the event an id.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, update: &Update) -> Result<EventId, PublishError> {
        #[derive(Deserialize)]
        struct Answer {
            id: String,
        }
        let (mut url, mut headers) = (self.url.clone(), self.headers.clone());
        login::move_to_header(&mut url, &mut headers);
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut request = http::Request::post(url.as_str())
            .body(Bytes::from(update.to_json().to_string()))
            .map_err(|error| PublishError::NotSent(ConnectError::Request(error)))?;
        *request.headers_mut() = headers;
        let exchange = async {
            let sent = self.transport.send(request).await;
            let response = sent.map_err(ConnectError::Transport)?;
            let (head, body) = response.into_parts();
            let body = if head.status.is_success() {
                read_all(body, ANSWER_BYTES_MAX).await?
            } else {
                read_start(body, REFUSAL_BYTES_MAX).await
            };
            Ok((head, body))
        };
        let (mut head, body) = match tokio::time::timeout(self.answer_within, exchange).await {
            Ok(done) => done.map_err(PublishError::NotSent)?,
            Err(_) => {
                let waited = self.answer_within;
                return Err(PublishError::NotSent(ConnectError::NoAnswer { waited }));
            }
        };
        if !head.status.is_success() {
            let proxy = head.extensions.remove::<ThroughProxy>().map(ThroughProxy::into_shown);
            let retry_after = retry_after(&head.headers, SystemTime::now());
            let (status, headers) = (head.status, head.headers);
            return Err(PublishError::Refused(Refusal {
                status,
                headers,
                retry_after,
                body,
                proxy,
            }));
        }
        if let Some(coding) = coding::of(&head.headers) {
            return Err(PublishError::Encoded { coding });
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| PublishError::Answer { body })?;
        let body = Bytes::from(answer.id.clone());
        EventId::new(&answer.id).map_err(|_| PublishError::Answer { body })
    }
}

/// Why publishing an update failed. The update may have been published nevertheless: see each
/// variant.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The hub refused the update.
    Refused(Refusal),
    /// The request did not reach the hub, or there was no response. In the second case the update
    /// may have been published.
    NotSent(ConnectError),
    /// The response has a status of success, but is not that of a hub.
    Answer {
        /// Its body.
        body: Bytes,
    },
    /// The response is compressed, although the request asked for none. Its status is one of
    /// success, so the update was probably published.
    Encoded {
        /// The coding in lower case, such as `gzip`.
        coding: String,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                write!(f, "the hub refused the update ({})", refusal.status)?;
                if let Some(proxy) = &refusal.proxy {
                    write!(f, " through the proxy {proxy}")?;
                }
                write!(f, ": {}", refusal.text())
            }
            Self::NotSent(error) => error.fmt(f),
            Self::Answer { .. } => {
                f.write_str("the response has no id of an update; is the URL that of a hub?")
            }
            Self::Encoded { coding } => write!(
                f,
                "the update was accepted, but its id cannot be read, because the response is \
                 compressed with {coding}"
            ),
        }
    }
}

impl StdError for PublishError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::NotSent(error) => error.source(),
            Self::Refused(_) | Self::Answer { .. } | Self::Encoded { .. } => None,
        }
    }
}
