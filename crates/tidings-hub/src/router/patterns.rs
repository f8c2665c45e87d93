//! Templates and URL patterns by what the topics that match them begin with.
//!
//! Each distinct pattern is held once, however many feeds select it, and is only tried for
//! topics that begin as it does and have its longest literal in what follows. What matched a
//! topic is remembered until a pattern comes or goes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use indexmap::IndexSet;

use crate::feed::FeedKey;
use crate::limits::{REMEMBERED_FEEDS, REMEMBERED_TOPICS};
use crate::selector::{Base, Location, Pattern, Selector, Template};
use crate::update::Topic;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    templates: Prefixes<Template>,
    /// A hub that does not know its own URL resolves relative topics as its subscribers see it.
    by_base: BTreeMap<Base, Prefixes<Pattern>>,
    /// The feeds of the patterns that match a topic, as they were when it was last routed.
    remembered: HashMap<Topic, Arc<[FeedKey]>>,
    /// How many feeds are remembered, each time that one is.
    remembered_feeds: usize,
}

impl Patterns {
    pub(super) fn is_empty(&self) -> bool {
        self.templates.0.is_empty() && self.by_base.is_empty()
    }

    pub(super) fn join(&mut self, feed: FeedKey, selector: &Selector) {
        match selector {
            Selector::Template(template) => self.templates.join(feed, template),
            Selector::Pattern(pattern) => {
                let prefixes = self.by_base.entry(pattern.base().clone()).or_default();
                prefixes.join(feed, pattern);
            }
            _ => return,
        }
        self.forget();
    }

    pub(super) fn leave(&mut self, feed: FeedKey, selector: &Selector) {
        match selector {
            Selector::Template(template) => self.templates.leave(feed, template),
            Selector::Pattern(pattern) => {
                if let Some(prefixes) = self.by_base.get_mut(pattern.base()) {
                    prefixes.leave(feed, pattern);
                    if prefixes.0.is_empty() {
                        self.by_base.remove(pattern.base());
                    }
                }
            }
            _ => return,
        }
        self.forget();
    }

    /// Appends to `feeds` those of all patterns that match `topic`.
    pub(super) fn find(&mut self, topic: &Topic, feeds: &mut Vec<FeedKey>) {
        if let Some(known) = self.remembered.get(topic) {
            return feeds.extend_from_slice(known);
        }
        let before = feeds.len();
        self.templates.find(topic.as_str(), |template| template.matches(topic.as_str()), feeds);
        for (base, prefixes) in &self.by_base {
            if let Some(location) = Location::of(topic.as_str(), base) {
                prefixes.find(&location.place, |pattern| pattern.matches(&location), feeds);
            }
        }
        let found = feeds.len() - before;
        if self.remembered.len() >= REMEMBERED_TOPICS
            || self.remembered_feeds + found > REMEMBERED_FEEDS
        {
            self.forget();
        }
        if found <= REMEMBERED_FEEDS {
            self.remembered_feeds += found;
            self.remembered.insert(topic.clone(), feeds[before..].into());
        }
    }

    fn forget(&mut self) {
        self.remembered.clear();
        self.remembered_feeds = 0;
    }
}

/// What patterns are told apart by, and found by.
trait Written: Clone {
    fn text(&self) -> &Topic;
    /// What every text that matches begins with.
    fn prefix(&self) -> &str;
    /// What every text that matches has after that.
    fn literal(&self) -> &str;
}

impl Written for Template {
    fn text(&self) -> &Topic {
        self.text()
    }

    fn prefix(&self) -> &str {
        self.prefix()
    }

    fn literal(&self) -> &str {
        self.literal()
    }
}

impl Written for Pattern {
    fn text(&self) -> &Topic {
        self.text()
    }

    fn prefix(&self) -> &str {
        self.prefix()
    }

    fn literal(&self) -> &str {
        self.literal()
    }
}

/// Patterns in the order of what they begin with.
#[derive(Debug)]
struct Prefixes<P>(BTreeMap<Box<str>, Alike<P>>);

impl<P> Default for Prefixes<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P: Written> Prefixes<P> {
    fn join(&mut self, feed: FeedKey, pattern: &P) {
        if !self.0.contains_key(pattern.prefix()) {
            self.0.insert(pattern.prefix().into(), Alike::default());
        }
        let Some(here) = self.0.get_mut(pattern.prefix()) else { return };
        here.join(feed, pattern);
    }

    fn leave(&mut self, feed: FeedKey, pattern: &P) {
        let Some(here) = self.0.get_mut(pattern.prefix()) else { return };
        here.leave(feed, pattern);
        if here.is_empty() {
            self.0.remove(pattern.prefix());
        }
    }

    fn find(&self, text: &str, matches: impl Fn(&P) -> bool, feeds: &mut Vec<FeedKey>) {
        for (prefix, here) in beginnings(&self.0, text) {
            here.find(&text[prefix.len()..], &matches, feeds);
        }
    }
}

/// Each distinct pattern with its feeds.
type Feeds<P> = HashMap<Topic, (P, IndexSet<FeedKey>)>;

/// Patterns that begin alike, by a literal that every text that matches has in its rest.
#[derive(Debug)]
struct Alike<P> {
    by_literal: BTreeMap<Box<str>, Feeds<P>>,
    /// Those without such a literal.
    others: Feeds<P>,
}

impl<P> Default for Alike<P> {
    fn default() -> Self {
        Self { by_literal: BTreeMap::new(), others: HashMap::new() }
    }
}

impl<P: Written> Alike<P> {
    fn is_empty(&self) -> bool {
        self.by_literal.is_empty() && self.others.is_empty()
    }

    fn join(&mut self, feed: FeedKey, pattern: &P) {
        let here = match pattern.literal() {
            "" => &mut self.others,
            literal => self.by_literal.entry(literal.into()).or_default(),
        };
        let entry = here.entry(pattern.text().clone());
        entry.or_insert_with(|| (pattern.clone(), IndexSet::new())).1.insert(feed);
    }

    fn leave(&mut self, feed: FeedKey, pattern: &P) {
        let literal = pattern.literal();
        let here = match literal {
            "" => Some(&mut self.others),
            literal => self.by_literal.get_mut(literal),
        };
        let Some(here) = here else { return };
        if let Some((_, feeds)) = here.get_mut(pattern.text()) {
            feeds.swap_remove(&feed);
            if feeds.is_empty() {
                here.remove(pattern.text());
            }
        }
        if here.is_empty() {
            self.by_literal.remove(literal);
        }
    }

    /// Tries the patterns whose literal `rest` has.
    fn find(&self, rest: &str, matches: impl Fn(&P) -> bool, feeds: &mut Vec<FeedKey>) {
        let mut try_all = |here: &Feeds<P>| {
            let matching = here.values().filter(|(pattern, _)| matches(pattern));
            feeds.extend(matching.flat_map(|(_, feeds)| feeds));
        };
        try_all(&self.others);
        match self.found(rest) {
            Some(found) => found.into_values().for_each(try_all),
            None => self.by_literal.values().for_each(try_all),
        }
    }

    /// The patterns of each literal that `rest` has, each once. `None` where looking for them
    /// is more work than to try all.
    fn found(&self, rest: &str) -> Option<BTreeMap<&str, &Feeds<P>>> {
        let mut found = BTreeMap::new();
        let mut steps = self.by_literal.len();
        for (at, _) in rest.char_indices() {
            steps = steps.checked_sub(1)?;
            for (literal, here) in beginnings(&self.by_literal, &rest[at..]) {
                steps = steps.checked_sub(1)?;
                found.insert(literal, here);
            }
        }
        Some(found)
    }
}

/// The entries of `map` that `text` begins with: the longest first, from one to the next
/// shorter without looking at those in between.
fn beginnings<'a, V>(
    map: &'a BTreeMap<Box<str>, V>,
    text: &str,
) -> impl Iterator<Item = (&'a str, &'a V)> {
    let mut bound = Bound::Included(text);
    std::iter::from_fn(move || {
        while let Some((key, value)) = map.range::<str, _>((Bound::Unbounded, bound)).next_back() {
            if let Some(same) = text.get(..key.len()).filter(|same| **same == **key) {
                bound = Bound::Excluded(same);
                return Some((&**key, value));
            }
            // No beginning of `text` lies between what the two have in common and this.
            bound = Bound::Included(&text[..common(key, text)]);
        }
        None
    })
}

/// How many bytes two texts have in common at their beginning, cut between characters.
fn common(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|at| other.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use slotmap::SlotMap;

    use super::*;

    fn selector() -> impl Strategy<Value = Selector> {
        let parts = prop_oneof![
            Just("a"),
            Just("b"),
            Just("/"),
            Just("{x}"),
            Just("{+y}"),
            Just("ü"),
            Just("{/z*}"),
            Just("aa"),
            Just("aab")
        ];
        let base = Base::of_host("https", "h.test").expect("a host");
        let template = proptest::collection::vec(parts, 1..5).prop_map(|parts| {
            Selector::template(&format!("{}{{v}}", parts.concat())).expect("a short template")
        });
        let paths = prop_oneof![
            Just("/a"),
            Just("/:x"),
            Just("/*"),
            Just("/b"),
            Just("/:y?"),
            Just("/ba"),
            Just("/{b}?"),
            Just("/(a|b)b")
        ];
        let pattern = (any::<bool>(), proptest::collection::vec(paths, 1..4)).prop_filter_map(
            "no pattern",
            move |(absolute, paths)| {
                let origin = if absolute { "https://h.test" } else { "" };
                Selector::pattern(&format!("{origin}{}", paths.concat()), &base).ok()
            },
        );
        prop_oneof![template, pattern]
    }

    fn topic() -> impl Strategy<Value = Topic> {
        let parts = prop_oneof![
            Just("a"),
            Just("b"),
            Just("/"),
            Just("ü"),
            Just("/a"),
            Just("https://h.test/")
        ];
        proptest::collection::vec(parts, 1..6).prop_map(|parts| parts.concat().into())
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_matches(
            selectors in proptest::collection::vec(selector(), 1..20),
            leaving in proptest::collection::vec(any::<bool>(), 20),
            topics in proptest::collection::vec(topic(), 1..10),
        ) {
            let mut keys: SlotMap<FeedKey, ()> = SlotMap::with_key();
            let mut patterns = Patterns::default();
            let mut joined: Vec<_> =
                selectors.into_iter().map(|selector| (keys.insert(()), selector)).collect();
            for (key, selector) in &joined {
                patterns.join(*key, selector);
            }
            for round in 0..3 {
                for topic in &topics {
                    let mut found = Vec::new();
                    patterns.find(topic, &mut found);
                    found.sort_unstable();
                    let mut expected: Vec<_> = joined
                        .iter()
                        .filter(|(_, selector)| selector.matches(topic))
                        .map(|(key, _)| *key)
                        .collect();
                    expected.sort_unstable();
                    prop_assert_eq!(&found, &expected, "round {}: {:?}", round, topic);
                }
                if round == 1 {
                    let mut leaves = leaving.iter();
                    joined.retain(|(key, selector)| {
                        let leave = leaves.next() == Some(&true);
                        if leave {
                            patterns.leave(*key, selector);
                        }
                        !leave
                    });
                }
            }
            for (key, selector) in joined {
                patterns.leave(key, &selector);
            }
            prop_assert!(patterns.is_empty());
        }
    }
}
