//! The feeds of the templates and URL patterns that match a topic.
//!
//! The patterns that matched a topic are remembered until a pattern is added or removed.
//!
//! A subscriber chooses its patterns and a publisher its topics, so this work is counted in steps.
//! If there are too many, the newest patterns are removed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::meter::{LOCATION_STEPS, Meter, NOTE_STEPS, OutOfSteps};
use super::prefixes::{Prefixes, Tried};
use crate::limits::{REMEMBERED_FEEDS, REMEMBERED_TOPICS};
use crate::model::{Base, Location, Pattern, Selector, Template, Topic};
use crate::stream::feed::FeedKey;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    templates: Prefixes<Template>,
    /// A hub that does not know its own URL resolves relative topics as its subscribers see it.
    by_base: BTreeMap<Base, Prefixes<Pattern>>,
    /// The feeds of the patterns that match a topic, as they were when it was last routed.
    remembered: HashMap<Topic, Arc<[FeedKey]>>,
    /// The sum of the lengths of the remembered lists.
    remembered_feeds: usize,
    /// The number of the next pattern that is added.
    next: u64,
}

/// Up to so many feeds, duplicates are not removed.
const DISTINCT_MIN: usize = 1 << 16;

impl Patterns {
    pub(super) fn is_empty(&self) -> bool {
        self.templates.is_empty() && self.by_base.is_empty()
    }

    pub(super) fn join(&mut self, feed: FeedKey, selector: &Selector) {
        match selector {
            Selector::Template(template) => self.templates.join(feed, template, self.next),
            Selector::Pattern(pattern) => {
                let prefixes = self.by_base.entry(pattern.base().clone()).or_default();
                prefixes.join(feed, pattern, self.next);
            }
            _ => return,
        }
        self.next += 1;
        self.forget();
    }

    pub(super) fn leave(&mut self, feed: FeedKey, selector: &Selector) {
        match selector {
            Selector::Template(template) => self.templates.leave(feed, template),
            Selector::Pattern(pattern) => {
                if let Some(prefixes) = self.by_base.get_mut(pattern.base()) {
                    prefixes.leave(feed, pattern);
                    if prefixes.is_empty() {
                        self.by_base.remove(pattern.base());
                    }
                }
            }
            _ => return,
        }
        self.forget();
    }

    /// Appends to `feeds` the feeds of all patterns that match one of `topics`.
    ///
    /// # Errors
    /// If it takes more steps than `meter` has.
    pub(super) fn find(
        &mut self,
        topics: &[Topic],
        meter: &mut Meter,
        feeds: &mut Vec<FeedKey>,
    ) -> Result<(), OutOfSteps> {
        if self.is_empty() {
            return Ok(());
        }
        let mut distinct = DISTINCT_MIN;
        for topic in topics {
            self.find_one(topic, meter, feeds)?;
            // Many topics of one update may all have the same feeds.
            if feeds.len() > 2 * distinct {
                feeds.sort_unstable();
                feeds.dedup();
                distinct = feeds.len().max(DISTINCT_MIN);
            }
        }
        Ok(())
    }

    fn find_one(
        &mut self,
        topic: &Topic,
        meter: &mut Meter,
        feeds: &mut Vec<FeedKey>,
    ) -> Result<(), OutOfSteps> {
        if let Some(known) = self.remembered.get(topic) {
            feeds.extend_from_slice(known);
            return Ok(());
        }
        let before = feeds.len();
        let text = topic.as_str();
        self.templates.visit(text, meter, &mut |member, meter| {
            meter.take(member.pattern().steps(text))?;
            if member.pattern().matches(text) {
                feeds.extend(member.feeds());
            }
            Ok(())
        })?;
        for (base, prefixes) in &self.by_base {
            meter.take(LOCATION_STEPS * text.len())?;
            let Some(location) = Location::of(text, base) else { continue };
            prefixes.visit(&location.place, meter, &mut |member, meter| {
                meter.take(member.pattern().steps(text))?;
                if member.pattern().matches(&location) {
                    feeds.extend(member.feeds());
                }
                Ok(())
            })?;
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
        Ok(())
    }

    /// The feeds to remove, so that trying the patterns for these topics takes at most `keep`
    /// steps. The patterns that have been selected longest remain. The feeds of all others that
    /// would be tried are returned.
    pub(super) fn excess(&self, topics: &[Topic], keep: usize, max: usize) -> Vec<FeedKey> {
        let mut tried = Vec::new();
        if self.note_tried(topics, &mut Meter::of(max), &mut tried).is_err() {
            // Finding them is already too much work, so every pattern counts.
            tried.clear();
            self.templates.note_all(topics.iter().map(Topic::as_str), &mut tried);
            for prefixes in self.by_base.values() {
                prefixes.note_all(topics.iter().map(Topic::as_str), &mut tried);
            }
        }
        tried.sort_unstable_by_key(|one| one.since);
        let mut steps = 0_usize;
        let excess = tried.into_iter().skip_while(|one| {
            steps = steps.saturating_add(one.steps);
            steps <= keep
        });
        let mut feeds: Vec<_> = excess.flat_map(|one| one.feeds.iter().copied()).collect();
        feeds.sort_unstable();
        feeds.dedup();
        feeds
    }

    /// Collects the patterns that [`Patterns::find`] would try.
    fn note_tried<'a>(
        &'a self,
        topics: &[Topic],
        meter: &mut Meter,
        tried: &mut Vec<Tried<'a>>,
    ) -> Result<(), OutOfSteps> {
        for topic in topics {
            let text = topic.as_str();
            self.templates.visit(text, meter, &mut |member, meter| {
                tried.push(member.tried(text));
                meter.take(NOTE_STEPS)
            })?;
            for (base, prefixes) in &self.by_base {
                meter.take(LOCATION_STEPS * text.len())?;
                let Some(location) = Location::of(text, base) else { continue };
                prefixes.visit(&location.place, meter, &mut |member, meter| {
                    tried.push(member.tried(text));
                    meter.take(NOTE_STEPS)
                })?;
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.remembered.clear();
        self.remembered_feeds = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use slotmap::SlotMap;

    use super::*;
    use crate::limits::{ROUTE_STEPS, TOPIC_BYTES_MAX, TOPICS_BYTES_MAX};
    use crate::model::WALKED;

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
        #![proptest_config(tidings_seed::proptest())]

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
                    let (topics, mut meter) = ([topic.clone()], Meter::of(usize::MAX));
                    patterns.find(&topics, &mut meter, &mut found).expect("many steps");
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

    /// Joins these patterns, each of a feed of its own.
    fn joined(
        texts: impl IntoIterator<Item = String>,
        read: impl Fn(&str) -> Selector,
    ) -> (Patterns, Vec<(FeedKey, Selector)>) {
        let mut keys: SlotMap<FeedKey, ()> = SlotMap::with_key();
        let mut patterns = Patterns::default();
        let feeds: Vec<_> = texts.into_iter().map(|text| (keys.insert(()), read(&text))).collect();
        for (feed, selector) in &feeds {
            patterns.join(*feed, selector);
        }
        (patterns, feeds)
    }

    /// Finds `topics` as a shard does: within so many steps, after as many of the newest patterns
    /// have gone as it takes. Gives how many have, and what was found.
    fn find_within(
        patterns: &mut Patterns,
        feeds: &[(FeedKey, Selector)],
        topics: &[Topic],
        steps: usize,
    ) -> (usize, Vec<FeedKey>) {
        let mut gone: Vec<FeedKey> = Vec::new();
        for keep in [steps / 2, steps / 16, 0] {
            let mut found = Vec::new();
            let mut meter = Meter::of(steps);
            let before = WALKED.get();
            let result = patterns.find(topics, &mut meter, &mut found);
            // What was counted is at least what was done.
            assert!(WALKED.get() - before <= steps - meter.left());
            if result.is_ok() {
                return (gone.len(), found);
            }
            let excess = patterns.excess(topics, keep, steps);
            for (feed, selector) in feeds.iter().filter(|(feed, _)| excess.contains(feed)) {
                patterns.leave(*feed, selector);
            }
            gone.extend(excess);
        }
        assert!(patterns.is_empty());
        (gone.len(), Vec::new())
    }

    fn template(text: &str) -> Selector {
        Selector::template(text).expect("a template")
    }

    /// As many as an update may have, as long as they may be.
    fn longest_topics(first: char) -> Vec<Topic> {
        let topic = |at| format!("{first}{}{at:02}", "b".repeat(TOPIC_BYTES_MAX - 3)).into();
        (0..TOPICS_BYTES_MAX / TOPIC_BYTES_MAX).map(topic).collect()
    }

    #[test]
    fn so_many_patterns_that_begin_alike_are_tried_for_the_longest_topics() {
        let texts = (0..300).map(|at| format!("{{+a{at}}}"));
        let (mut patterns, feeds) = joined(texts, template);
        let before = WALKED.get();
        let (gone, found) = find_within(&mut patterns, &feeds, &longest_topics('b'), ROUTE_STEPS);
        // The oldest stay, and each is found once for each topic.
        let stayed = feeds.len() - gone;
        assert!((60..=64).contains(&stayed), "{stayed}");
        let oldest: Vec<_> = feeds[..stayed].iter().map(|(feed, _)| *feed).collect();
        assert!(oldest.iter().all(|feed| found.contains(feed)));
        assert!(found.iter().all(|feed| oldest.contains(feed)));
        // All that was done, in both attempts.
        let walked = WALKED.get() - before;
        assert!((ROUTE_STEPS..2 * ROUTE_STEPS).contains(&walked), "{walked}");
    }

    #[test]
    fn short_topics_are_held_against_as_many_patterns_as_ever() {
        let texts = (0..5000).map(|at| format!("https://a.test/{{kind{at}}}"));
        let (mut patterns, feeds) = joined(texts, template);
        let topics: Vec<Topic> = vec!["https://a.test/books".into(), "https://a.test/x/y".into()];
        let (gone, found) = find_within(&mut patterns, &feeds, &topics, ROUTE_STEPS);
        assert_eq!((gone, found.len()), (0, 5000));
    }

    #[test]
    fn looking_for_beginnings_and_literals_is_counted_too() {
        // Each is the beginning of the next longer one, up to its last character.
        let nested = (0..2000).map(|at| format!("{}a{{x}}", "b".repeat(at)));
        let literals = (0..100).map(|at| format!("{{x}}{}a{{y}}", "b".repeat(at)));
        for (name, texts) in
            [("nested", nested.collect::<Vec<_>>()), ("literals", literals.collect())]
        {
            let (mut patterns, feeds) = joined(texts, template);
            let (gone, found) =
                find_within(&mut patterns, &feeds, &longest_topics('b'), ROUTE_STEPS);
            assert!(gone > 0, "{name}");
            assert_eq!(found, [], "{name}");
        }
    }

    #[test]
    fn patterns_of_many_hosts_are_counted_too() {
        // Relative patterns of subscribers to a hub that does not know its own URL.
        let mut number = 0..;
        let read = |text: &str| {
            let host = format!("h{}.test", number.next().unwrap_or(0));
            let base = Base::of_host("https", &host).expect("a host");
            Selector::pattern(text, &base).expect("a pattern")
        };
        let read = std::cell::RefCell::new(read);
        let texts = (0..200).map(|at| format!("/b{at}/*"));
        let (mut patterns, feeds) = joined(texts, |text| (read.borrow_mut())(text));
        let (gone, _) = find_within(&mut patterns, &feeds, &longest_topics('/'), ROUTE_STEPS);
        assert!(gone > 0);
    }

    #[test]
    fn patterns_for_other_topics_stay_whatever_is_published() {
        let others = (0..50).map(|at| format!("https://a.test/{at}/{{id}}"));
        let costly = (0..300).map(|at| format!("b{{+a{at}}}"));
        let texts: Vec<_> = costly.chain(others).collect();
        let (mut patterns, feeds) = joined(texts, template);
        let excess = {
            let topics = longest_topics('b');
            let mut meter = Meter::of(ROUTE_STEPS);
            let found = patterns.find(&topics, &mut meter, &mut Vec::new());
            assert_eq!(found, Err(OutOfSteps));
            patterns.excess(&topics, ROUTE_STEPS / 2, ROUTE_STEPS)
        };
        assert!(!excess.is_empty());
        // They are the newest, and still none of them has to go.
        assert!(feeds[300..].iter().all(|(feed, _)| !excess.contains(feed)));
        assert!(feeds[..50].iter().all(|(feed, _)| !excess.contains(feed)));
    }
}
