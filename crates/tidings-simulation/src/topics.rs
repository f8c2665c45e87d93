//! The topics and selectors of the simulation, with a naive idea of what each selects.

use tidings_core::model::{Base, Selector, Selectors};

use crate::http::escape;
use crate::script::Choice;

/// The topic of this number.
pub(crate) fn topic(number: u8) -> String {
    let group = ["a", "b", "c"][usize::from(number / 3) % 3];
    format!("https://t.test/{group}/{}", number % 3)
}

const TEMPLATE: &str = "https://t.test/a/{n}";
const PATTERN: &str = "https://t.test/b/:n";

impl Choice {
    /// Whether it selects this topic.
    pub(crate) fn selects(self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => text == topic(one),
            Self::Two(one, other) => text == topic(one) || text == topic(other),
            Self::Template => is_in_group(text, "a"),
            Self::Pattern => is_in_group(text, "b"),
            Self::Mixed(one) => text == topic(one) || is_in_group(text, "a"),
        }
    }

    /// Whether it selects any of these topics.
    pub(crate) fn selects_any(self, topics: &[String]) -> bool {
        topics.iter().any(|topic| self.selects(topic))
    }

    /// Whether it has a template or a URL pattern.
    pub(crate) fn has_pattern(self) -> bool {
        matches!(self, Self::Template | Self::Pattern | Self::Mixed(_))
    }

    /// The parameters of a stream's request.
    pub(crate) fn query(self) -> String {
        let of = |number| format!("topic={}", escape(&topic(number)));
        match self {
            Self::All => "topic=*".to_owned(),
            Self::One(one) => of(one),
            Self::Two(one, other) => format!("{}&match={}", of(one), escape(&topic(other))),
            Self::Template => format!("topic={}", escape(TEMPLATE)),
            Self::Pattern => format!("match_urlpattern={}", escape(PATTERN)),
            Self::Mixed(one) => format!("{}&topic={}", of(one), escape(TEMPLATE)),
        }
    }

    /// The texts of a token's grants.
    pub(crate) fn grants(self) -> Vec<String> {
        match self {
            Self::All => vec!["*".to_owned()],
            Self::One(one) => vec![topic(one)],
            Self::Two(one, other) => vec![topic(one), topic(other)],
            Self::Template => vec![TEMPLATE.to_owned()],
            // Tokens of Mercure 0.x have templates only.
            Self::Pattern => vec!["https://t.test/b/{n}".to_owned()],
            Self::Mixed(one) => vec![topic(one), TEMPLATE.to_owned()],
        }
    }

    /// The selectors of a rule of retention.
    pub(crate) fn selectors(self) -> Selectors {
        let exact = |number| Selector::Exact(topic(number).into());
        let base = Base::of_host("http", "hub.test").expect("a host");
        let template = || Selector::template(TEMPLATE).expect("a template");
        let pattern = || Selector::pattern(PATTERN, &base).expect("a pattern");
        let selectors = match self {
            Self::All => return Selectors::all(),
            Self::One(one) => vec![exact(one)],
            Self::Two(one, other) => vec![exact(one), exact(other)],
            Self::Template => vec![template()],
            Self::Pattern => vec![pattern()],
            Self::Mixed(one) => vec![exact(one), template()],
        };
        Selectors::new(selectors).expect("few selectors")
    }
}

fn is_in_group(text: &str, group: &str) -> bool {
    let start = format!("https://t.test/{group}/");
    text.strip_prefix(&start).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
}
