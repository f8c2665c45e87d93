//! Templates and URL patterns, indexed by the prefix of the topics that match them.
//!
//! Each distinct pattern is stored once, however many feeds select it. It is only tried for topics
//! that begin with its prefix and contain its longest literal after that.

use std::collections::BTreeMap;
use std::ops::Bound;

use indexmap::{IndexMap, IndexSet};

use super::meter::{Meter, OutOfSteps};
use crate::model::{Pattern, Template, Topic};
use crate::stream::feed::FeedKey;

/// The texts by which patterns are distinguished and found.
pub(super) trait Written: Clone {
    fn text(&self) -> &Topic;
    /// The beginning of every text that matches.
    fn prefix(&self) -> &str;
    /// A literal that every text that matches contains after the prefix.
    fn literal(&self) -> &str;
    /// The maximum number of steps to try it for this topic.
    fn steps(&self, topic: &str) -> usize;
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

    fn steps(&self, topic: &str) -> usize {
        self.steps(topic)
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

    fn steps(&self, topic: &str) -> usize {
        self.steps(topic)
    }
}

/// Patterns in the order of their prefixes.
#[derive(Debug)]
pub(super) struct Prefixes<P>(BTreeMap<Box<str>, Alike<P>>);

impl<P> Default for Prefixes<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P: Written> Prefixes<P> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn join(&mut self, feed: FeedKey, pattern: &P, since: u64) {
        if !self.0.contains_key(pattern.prefix()) {
            self.0.insert(pattern.prefix().into(), Alike::default());
        }
        let Some(here) = self.0.get_mut(pattern.prefix()) else { return };
        here.join(feed, pattern, since);
    }

    pub(super) fn leave(&mut self, feed: FeedKey, pattern: &P) {
        let Some(here) = self.0.get_mut(pattern.prefix()) else { return };
        here.leave(feed, pattern);
        if here.is_empty() {
            self.0.remove(pattern.prefix());
        }
    }

    /// Visits the patterns that must be tried for `text`.
    pub(super) fn visit<'a>(
        &'a self,
        text: &str,
        meter: &mut Meter,
        visit: &mut impl FnMut(&'a Member<P>, &mut Meter) -> Result<(), OutOfSteps>,
    ) -> Result<(), OutOfSteps> {
        let mut beginnings = Beginnings::new(&self.0, text);
        while let Some((prefix, here)) = beginnings.next(meter)? {
            here.visit(&text[prefix.len()..], meter, visit)?;
        }
        Ok(())
    }

    /// Collects all patterns, each as if it were tried for all of `topics`.
    pub(super) fn note_all<'a, 't>(
        &'a self,
        topics: impl Iterator<Item = &'t str> + Clone,
        tried: &mut Vec<Tried<'a>>,
    ) {
        for alike in self.0.values() {
            for member in
                alike.by_literal.values().chain([&alike.others]).flat_map(IndexMap::values)
            {
                let steps = topics.clone().map(|topic| member.pattern.steps(topic)).sum();
                tried.push(Tried { steps, ..member.tried("") });
            }
        }
    }
}

/// A distinct pattern.
#[derive(Debug)]
pub(super) struct Member<P> {
    pattern: P,
    /// Its number: patterns that were added earlier have smaller ones.
    since: u64,
    feeds: IndexSet<FeedKey>,
}

/// A pattern that is tried for a topic.
pub(super) struct Tried<'a> {
    pub(super) since: u64,
    pub(super) steps: usize,
    pub(super) feeds: &'a IndexSet<FeedKey>,
}

impl<P: Written> Member<P> {
    pub(super) fn pattern(&self) -> &P {
        &self.pattern
    }

    pub(super) fn feeds(&self) -> &IndexSet<FeedKey> {
        &self.feeds
    }

    pub(super) fn tried(&self, topic: &str) -> Tried<'_> {
        Tried { since: self.since, steps: self.pattern.steps(topic), feeds: &self.feeds }
    }
}

/// Each distinct pattern by its text. Their order depends on nothing but what was added and removed.
type Members<P> = IndexMap<Topic, Member<P>>;

/// Patterns with the same prefix, by a literal that every text that matches contains after it.
#[derive(Debug)]
struct Alike<P> {
    by_literal: BTreeMap<Box<str>, Members<P>>,
    /// Patterns without such a literal.
    others: Members<P>,
}

impl<P> Default for Alike<P> {
    fn default() -> Self {
        Self { by_literal: BTreeMap::new(), others: IndexMap::new() }
    }
}

impl<P: Written> Alike<P> {
    fn is_empty(&self) -> bool {
        self.by_literal.is_empty() && self.others.is_empty()
    }

    fn join(&mut self, feed: FeedKey, pattern: &P, since: u64) {
        let here = match pattern.literal() {
            "" => &mut self.others,
            literal => self.by_literal.entry(literal.into()).or_default(),
        };
        let entry = here.entry(pattern.text().clone());
        let new = || Member { pattern: pattern.clone(), since, feeds: IndexSet::new() };
        entry.or_insert_with(new).feeds.insert(feed);
    }

    fn leave(&mut self, feed: FeedKey, pattern: &P) {
        let literal = pattern.literal();
        let here = match literal {
            "" => Some(&mut self.others),
            literal => self.by_literal.get_mut(literal),
        };
        let Some(here) = here else { return };
        if let Some(Member { feeds, .. }) = here.get_mut(pattern.text()) {
            feeds.swap_remove(&feed);
            if feeds.is_empty() {
                here.swap_remove(pattern.text());
            }
        }
        if here.is_empty() {
            self.by_literal.remove(literal);
        }
    }

    /// Visits the patterns whose literal `rest` contains.
    fn visit<'a>(
        &'a self,
        rest: &str,
        meter: &mut Meter,
        visit: &mut impl FnMut(&'a Member<P>, &mut Meter) -> Result<(), OutOfSteps>,
    ) -> Result<(), OutOfSteps> {
        let mut visit_all = |here: &'a Members<P>, meter: &mut Meter| {
            here.values().try_for_each(|member| visit(member, meter))
        };
        visit_all(&self.others, meter)?;
        match self.found(rest, meter)? {
            Some(found) => found.into_values().try_for_each(|here| visit_all(here, meter)),
            None => self.by_literal.values().try_for_each(|here| visit_all(here, meter)),
        }
    }

    /// The patterns of each literal that `rest` contains, each once. `None` if finding them is more
    /// work than trying all patterns.
    fn found(
        &self,
        rest: &str,
        meter: &mut Meter,
    ) -> Result<Option<BTreeMap<&str, &Members<P>>>, OutOfSteps> {
        let mut found = BTreeMap::new();
        let mut looks = self.by_literal.len();
        for (at, _) in rest.char_indices() {
            let mut beginnings = Beginnings::new(&self.by_literal, &rest[at..]);
            loop {
                let Some(left) = looks.checked_sub(1) else { return Ok(None) };
                looks = left;
                let Some((literal, here)) = beginnings.next(meter)? else { break };
                found.insert(literal, here);
            }
        }
        Ok(Some(found))
    }
}

/// The entries of a map with which a text begins, the longest first. Each search goes to the next
/// shorter one, without visiting the entries in between.
struct Beginnings<'a, 't, V> {
    map: &'a BTreeMap<Box<str>, V>,
    text: &'t str,
    bound: Bound<&'t str>,
}

impl<'a, 't, V> Beginnings<'a, 't, V> {
    fn new(map: &'a BTreeMap<Box<str>, V>, text: &'t str) -> Self {
        Self { map, text, bound: Bound::Included(text) }
    }

    fn next(&mut self, meter: &mut Meter) -> Result<Option<(&'a str, &'a V)>, OutOfSteps> {
        let Self { map, text, bound } = self;
        loop {
            meter.take_look(text)?;
            let range = map.range::<str, _>((Bound::Unbounded, *bound));
            let Some((key, value)) = { range }.next_back() else { return Ok(None) };
            if let Some(same) = text.get(..key.len()).filter(|same| **same == **key) {
                *bound = Bound::Excluded(same);
                return Ok(Some((key, value)));
            }
            // No beginning of `text` lies between what the two have in common and this.
            *bound = Bound::Included(&text[..common(key, text)]);
        }
    }
}

/// How many bytes two texts have in common at their beginning, cut between characters.
fn common(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|at| other.is_char_boundary(*at)).unwrap_or(0)
}
