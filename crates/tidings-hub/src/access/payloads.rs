//! The payload of a subscriber, which the list of subscriptions and presence events show.

use std::sync::Arc;

use serde_json::Value;

use tidings_core::model::{Selectors, Topic};

/// The payloads of a token.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payloads {
    #[default]
    None,
    /// The same for every subscription (0.x).
    Same(Payload),
    /// That of the first detail that grants the subscription's own text as a topic (1.0).
    #[cfg_attr(not(feature = "tokens"), expect(dead_code, reason = "only tokens have details"))]
    First(Vec<(Selectors, Option<Payload>)>),
}

/// A payload as JSON text, shared by everything that shows it. As a value it could take a hundred
/// times the memory.
#[derive(Clone, Debug)]
pub(crate) struct Payload(Arc<str>);

impl From<&Value> for Payload {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Payloads {
    /// The memory that they take, roughly, without patterns, which are shared.
    pub(crate) fn bytes(&self) -> usize {
        let payload = |payload: &Option<Payload>| payload.as_ref().map_or(0, |one| one.0.len());
        match self {
            Self::None => 0,
            Self::Same(payload) => payload.0.len(),
            Self::First(details) => {
                details.iter().map(|(topics, of)| topics.list_bytes() + payload(of)).sum()
            }
        }
    }

    /// The payload of a subscription to `selector`, as JSON text.
    pub(crate) fn of(&self, selector: &str) -> Option<&Arc<str>> {
        match self {
            Self::None => None,
            Self::Same(payload) => Some(&payload.0),
            Self::First(details) => {
                let topic = Topic::from(selector);
                let found = details.iter().find(|(topics, _)| topics.matches(&topic));
                found.and_then(|(_, payload)| Some(&payload.as_ref()?.0))
            }
        }
    }
}
