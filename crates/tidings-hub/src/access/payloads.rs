//! The payload of a subscriber, which the list of subscriptions and presence events show.

use std::sync::Arc;

use serde_json::{Map, Value};

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

/// A payload, shared by everything that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    value: Arc<Value>,
    bytes: usize,
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        let bytes = value.to_string().len().max(memory_bytes(&value));
        Self { value: Arc::new(value), bytes }
    }
}

/// The memory of a value, which is much larger than its text if it has many small parts.
fn memory_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(memory_bytes).sum(),
            Value::Object(members) => members_bytes(members),
        }
}

/// The same of the members of an object.
pub(super) fn members_bytes(members: &Map<String, Value>) -> usize {
    /// The memory of a map with room for a few members.
    const TABLE: usize = 640;
    const MEMBER: usize = 64;
    let member = |(name, value): (&String, &Value)| MEMBER + name.len() + memory_bytes(value);
    TABLE + members.iter().map(member).sum::<usize>()
}

impl Payloads {
    /// The memory that they take, roughly, without patterns, which are shared.
    pub(crate) fn bytes(&self) -> usize {
        let payload = |payload: &Option<Payload>| payload.as_ref().map_or(0, |one| one.bytes);
        match self {
            Self::None => 0,
            Self::Same(payload) => payload.bytes,
            Self::First(details) => {
                details.iter().map(|(topics, of)| topics.list_bytes() + payload(of)).sum()
            }
        }
    }

    /// The payload of a subscription to `selector`.
    pub(crate) fn of(&self, selector: &str) -> Option<&Arc<Value>> {
        match self {
            Self::None => None,
            Self::Same(payload) => Some(&payload.value),
            Self::First(details) => {
                let topic = Topic::from(selector);
                let found = details.iter().find(|(topics, _)| topics.matches(&topic));
                found.and_then(|(_, payload)| Some(&payload.as_ref()?.value))
            }
        }
    }
}
