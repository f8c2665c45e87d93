//! Events to a hub.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use tidings_sse::{Event, EventId};
use url::Url;

use crate::connect::{ConnectError, Refusal, read_all};
use crate::transport::Transport;
#[cfg(feature = "reqwest")]
use crate::transport::{ReqwestTransport, TransportError};

/// Where a hub's protocol lives.
pub(crate) const HUB_PATH: &str = "/.well-known/mercure";
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is published: an event, what it is about, and who may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    topics: Vec<String>,
    event: Event,
    private: bool,
}

impl Update {
    /// An update about this topic.
    pub fn new(topic: impl Into<String>, event: Event) -> Self {
        Self { topics: vec![topic.into()], event, private: false }
    }

    /// The same update, about a further topic too.
    #[must_use]
    pub fn also_about(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// The same update, for those alone who were granted one of its topics.
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
    /// A publisher to the hub at this URL: of its protocol, or only its origin.
    pub fn new(mut hub: Url, transport: Arc<dyn Transport>) -> Self {
        if hub.path() == "/" {
            hub.set_path(HUB_PATH);
        }
        let answer_within = Duration::from_secs(30);
        Self { url: hub, headers: HeaderMap::new(), answer_within, transport }
    }

    /// A publisher to the hub at this URL, over reqwest: of its protocol, or only its origin.
    ///
    /// # Errors
    /// If the URL is none, or the system has no certificates.
    #[cfg(feature = "reqwest")]
    pub fn to(hub: &str) -> Result<Self, TransportError> {
        let url = Url::parse(hub)
            .map_err(|error| TransportError::lasting(format!("{hub:?} is no URL: {error}")))?;
        Ok(Self::new(url, Arc::new(ReqwestTransport::new()?)))
    }

    /// Headers for every publish.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// The token that lets it publish.
    ///
    /// # Errors
    /// If it has characters that no header can have.
    pub fn token(mut self, token: &str) -> Result<Self, http::Error> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// How long the hub's answer is waited for. Default: 30 s.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// Publishes an update, and gives its id back once the hub has it safe. It is sent once:
    /// if there is no answer, it may or may not have been published, and sending it again
    /// under an id of its own is up to the caller.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, update: &Update) -> Result<EventId, PublishError> {
        #[derive(Deserialize)]
        struct Answer {
            id: String,
        }
        let mut request = http::Request::post(self.url.as_str())
            .body(Bytes::from(update.to_json().to_string()))
            .map_err(|error| PublishError::NotSent(ConnectError::Request(error)))?;
        *request.headers_mut() = self.headers.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let exchange = async {
            let sent = self.transport.send(request).await;
            let response = sent.map_err(ConnectError::Transport)?;
            let (head, body) = response.into_parts();
            Ok((head, read_all(body, ANSWER_BYTES_MAX).await?))
        };
        let (head, body) = match tokio::time::timeout(self.answer_within, exchange).await {
            Ok(done) => done.map_err(PublishError::NotSent)?,
            Err(_) => {
                let waited = self.answer_within;
                return Err(PublishError::NotSent(ConnectError::NoAnswer { waited }));
            }
        };
        if !head.status.is_success() {
            let (status, headers, retry_after) = (head.status, head.headers, None);
            return Err(PublishError::Refused(Refusal { status, headers, retry_after, body }));
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| PublishError::Answer { body })?;
        let body = Bytes::from(answer.id.clone());
        EventId::new(&answer.id).map_err(|_| PublishError::Answer { body })
    }
}

/// Why an update was not published, as far as is known.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The hub refused it.
    Refused(Refusal),
    /// It did not reach the hub, or the answer did not come back.
    NotSent(ConnectError),
    /// The answer is not what a hub answers.
    Answer {
        /// What it is.
        body: Bytes,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                write!(f, "the hub refused ({}): {}", refusal.status, refusal.text())
            }
            Self::NotSent(error) => error.fmt(f),
            Self::Answer { .. } => f.write_str("the hub's answer is not what a hub answers"),
        }
    }
}

impl StdError for PublishError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::NotSent(error) => error.source(),
            Self::Refused(_) | Self::Answer { .. } => None,
        }
    }
}
