//! The grants of a request: what it may publish and read, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidings_core::model::{Charge, Rights, Selectors, TokenId, Topic};

use super::dialect::Dialect;
use super::payloads::Payloads;

/// The rights of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    /// Topics that may be published to.
    pub(crate) publish: Option<Selectors>,
    pub(crate) subscribe: Rights,
    pub(crate) payloads: Payloads,
    /// The part of the hub's budget that large payloads take.
    #[expect(dead_code, reason = "it is held for its drop")]
    pub(crate) charge: Option<Arc<Charge>>,
    /// When the grants end.
    pub(crate) expires: Option<SystemTime>,
    /// The token; `None` for the grants of anonymous clients.
    pub(crate) token: Option<TokenId>,
    pub(crate) dialect: Option<Dialect>,
}

impl Grants {
    pub(super) fn anonymous(may_publish: bool) -> Self {
        Self { publish: may_publish.then(Selectors::all), ..Self::default() }
    }

    /// Whether these are the grants of anonymous clients.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.token.is_none()
    }

    /// Whether every one of these topics may be published to.
    pub(crate) fn may_publish(&self, topics: &[Topic]) -> bool {
        self.publish
            .as_ref()
            .is_some_and(|granted| topics.iter().all(|topic| granted.matches(topic)))
    }

    /// Their memory, including parts that are shared.
    #[cfg(feature = "tokens")]
    pub(crate) fn memory_bytes(&self) -> usize {
        const AROUND: usize = 512;
        let lists =
            self.publish.iter().chain(self.subscribe.granted()).map(Selectors::memory_bytes);
        AROUND + lists.sum::<usize>() + self.payloads.bytes()
    }

    /// The payload of a subscription to this selector, as JSON text.
    pub(crate) fn payload(&self, selector: &str) -> Option<&Arc<str>> {
        self.payloads.of(selector)
    }

    /// How long ago the grants ended.
    pub(super) fn expired(&self, now: SystemTime) -> Option<Duration> {
        self.expires.and_then(|end| now.duration_since(end).ok())
    }
}

/// The use of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Publish,
    Subscribe,
}

impl Role {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}
