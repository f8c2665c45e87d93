//! One subscription: its path and its document, in both dialects.

use std::sync::Arc;

use serde_json::{Value, json};
use tidings_core::model::presence::{SubscriberId, segment};
use tidings_core::model::{PRESENCE_PATH, Selector, Update};
use tidings_sse::Event;

use crate::access::{Dialect, Grants};

/// The JSON-LD context of 0.x.
pub(crate) const CONTEXT: &str = "https://mercure.rocks/";

/// One subscription of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct ActiveSubscription {
    pub(crate) subscriber: SubscriberId,
    pub(crate) selector: Selector,
    /// JSON text.
    payload: Option<Arc<str>>,
}

impl ActiveSubscription {
    pub(super) fn of(subscriber: SubscriberId, grants: &Grants, selector: &Selector) -> Self {
        let payload = grants.payload(selector.text()).cloned();
        Self { subscriber, selector: selector.clone(), payload }
    }

    /// The match type of 1.0; `None` for a selector that 1.0 does not have.
    pub(crate) fn match_type(selector: &Selector) -> Option<&'static str> {
        match selector {
            Selector::All | Selector::Exact(_) => Some("exact"),
            Selector::Pattern(_) => Some("urlpattern"),
            _ => None,
        }
    }

    /// Whether this dialect has such a selector.
    pub(crate) fn has_form(selector: &Selector, form: Dialect) -> bool {
        match form {
            Dialect::Deployed => !matches!(selector, Selector::Pattern(_)),
            Dialect::Coming => Self::match_type(selector).is_some(),
        }
    }

    /// The subscription's path, which is its topic too. Each part is encoded once, as a whole.
    pub(crate) fn path(&self, form: Dialect) -> String {
        let selector = segment(self.selector.text());
        let subscriber = segment(&self.subscriber.to_string());
        let kind = match (form, Self::match_type(&self.selector)) {
            (Dialect::Coming, Some(kind)) => format!("{kind}/"),
            _ => String::new(),
        };
        format!("{PRESENCE_PATH}{kind}{selector}/{subscriber}")
    }

    /// The subscription as JSON, without the context of JSON-LD that 0.x puts around it.
    pub(crate) fn document(&self, form: Dialect, active: bool) -> Value {
        let id = self.path(form);
        let subscriber = self.subscriber.to_string();
        let text = self.selector.text();
        let mut document = match form {
            Dialect::Deployed => json!({
                "id": id, "type": "Subscription", "topic": text, "subscriber": subscriber, "active": active,
            }),
            Dialect::Coming => json!({
                "id": id, "type": "subscription", "match_type": Self::match_type(&self.selector), "match": text,
                "subscriber": subscriber, "active": active,
            }),
        };
        // A callback may have given one with more levels than are read. It is left out.
        let payload = self.payload.as_deref().map(serde_json::from_str::<Value>);
        if let Some(Ok(payload)) = payload {
            document["payload"] = payload;
        }
        document
    }

    /// The announcement that it has begun or ended; `None` if the dialect has no such selector.
    pub(super) fn update(&self, form: Dialect, active: bool) -> Option<Update> {
        if !Self::has_form(&self.selector, form) {
            return None;
        }
        let mut document = self.document(form, active);
        if form == Dialect::Deployed {
            document["@context"] = CONTEXT.into();
        }
        let event = Event::new(document.to_string());
        let event = match form {
            Dialect::Deployed => event,
            Dialect::Coming => event.with_type("mercure").expect("the literal is a type"),
        };
        Some(Update::new(self.path(form), event).private().of_presence())
    }
}
