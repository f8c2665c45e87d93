//! The path of a subscription, read in either dialect.

use percent_encoding::percent_decode_str;
use tidings_core::model::presence::SubscriberId;
use tidings_core::model::{HUB_PATH, Selector};

use super::subscription::ActiveSubscription;
use crate::access::Dialect;

/// A path under `/subscriptions`, read in one of the dialects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionPath {
    form: Dialect,
    /// The selector's type (1.0) and text, for each way to read the text.
    selector: Option<(Option<&'static str>, Vec<String>)>,
    subscriber: Option<SubscriberId>,
}

impl SubscriptionPath {
    /// A path of two segments is ambiguous. It belongs to 1.0 if the first segment is a type of
    /// matcher. `otherwise` is the dialect of a path that exists in both.
    pub(crate) fn read(path: &str, otherwise: Dialect) -> Option<Self> {
        let rest = path.strip_prefix(HUB_PATH)?.strip_prefix("/subscriptions")?;
        let segments: Vec<_> = match rest {
            "" => Vec::new(),
            rest => rest.strip_prefix('/')?.split('/').collect(),
        };
        let kind = |segment: &str| match segment {
            "exact" => Some("exact"),
            "urlpattern" => Some("urlpattern"),
            _ => None,
        };
        let coming = |kind, selector, subscriber| {
            let selector = Some((Some(kind), vec![decoded(selector)?]));
            Some(Self { form: Dialect::Coming, selector, subscriber })
        };
        let deployed = |selector: &str, subscriber| {
            // Some clients write a space as "+" here.
            let mut readings = vec![decoded(selector)?];
            readings.extend(
                selector.contains('+').then(|| decoded(&selector.replace('+', "%20"))).flatten(),
            );
            Some(Self { form: Dialect::Deployed, selector: Some((None, readings)), subscriber })
        };
        let subscriber = |segment: &str| decoded(segment)?.parse().ok();
        match segments.as_slice() {
            [] => Some(Self { form: otherwise, selector: None, subscriber: None }),
            [selector] => deployed(selector, None),
            [first, second] => match kind(first) {
                Some(kind) => coming(kind, second, None),
                None => deployed(first, Some(subscriber(second)?)),
            },
            [first, second, third] => coming(kind(first)?, second, Some(subscriber(third)?)),
            _ => None,
        }
    }

    pub(crate) fn form(&self) -> Dialect {
        self.form
    }

    pub(crate) fn subscriber(&self) -> Option<SubscriberId> {
        self.subscriber
    }

    pub(crate) fn selects(&self, selector: &Selector) -> bool {
        ActiveSubscription::has_form(selector, self.form)
            && self.selector.as_ref().is_none_or(|(kind, readings)| {
                let is_kind = kind.is_none() || ActiveSubscription::match_type(selector) == *kind;
                is_kind && readings.iter().any(|text| text == selector.text())
            })
    }
}

/// A segment of a path as text; `None` if that is not UTF-8.
pub(crate) fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "urn:uuid:01234567-89ab-4def-8123-456789abcdef";

    fn check(path: &str, form: Dialect, kind: Option<&str>, text: Option<&str>, one: bool) {
        let named =
            SubscriptionPath::read(&format!("{HUB_PATH}/subscriptions{path}"), Dialect::Coming);
        let named = named.unwrap_or_else(|| panic!("{path} names nothing"));
        assert_eq!(named.form, form, "{path}");
        assert_eq!(named.subscriber.is_some(), one, "{path}");
        let selector = named.selector.as_ref();
        assert_eq!(selector.and_then(|(kind, _)| *kind), kind, "{path}");
        assert_eq!(selector.map(|(_, texts)| texts[0].as_str()), text, "{path}");
    }

    #[test]
    fn paths_are_read_in_the_dialect_that_they_are_in() {
        let id = ID.replace(':', "%3A");
        check("", Dialect::Coming, None, None, false);
        check("/a%2Fb%20c", Dialect::Deployed, None, Some("a/b c"), false);
        check("/exact", Dialect::Deployed, None, Some("exact"), false);
        check("/exact/a%2Fb", Dialect::Coming, Some("exact"), Some("a/b"), false);
        check("/urlpattern/%3Aa", Dialect::Coming, Some("urlpattern"), Some(":a"), false);
        check(&format!("/a/{id}"), Dialect::Deployed, None, Some("a"), true);
        check(&format!("/exact/a/{id}"), Dialect::Coming, Some("exact"), Some("a"), true);
        check(&format!("/exact/%25/{ID}"), Dialect::Coming, Some("exact"), Some("%"), true);
        for path in ["x", "/a/b", "/other/a/urn:uuid:1", "/exact/a/b", "/%ff", "/a/b/c/d"] {
            let path = format!("{HUB_PATH}/subscriptions{path}");
            assert_eq!(SubscriptionPath::read(&path, Dialect::Coming), None, "{path}");
        }
    }

    #[test]
    fn a_plus_may_be_a_space_in_the_paths_of_0_x() {
        let named =
            SubscriptionPath::read(&format!("{HUB_PATH}/subscriptions/a+b"), Dialect::Coming)
                .unwrap();
        for text in ["a b", "a+b"] {
            assert!(named.selects(&Selector::new(text).unwrap()), "{text}");
        }
    }
}
