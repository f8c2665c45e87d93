//! What a publisher sends: an event, its topics, and whether it is private.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidings_sse::Event;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use url::Url;

use crate::limits::{ID_BYTES_MAX, TOPIC_BYTES_MAX, TOPICS_BYTES_MAX, TOPICS_MAX, TYPE_BYTES_MAX};

/// What an update is about: a string, usually an IRI. Topics are equal when their bytes are
/// (no normalisation, no case folding: Mercure, "exact" matching).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The topic's text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Topic {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Topic {
    #[inline]
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What a publisher sends: an event, its topics, and whether it is private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    topics: Vec<Topic>,
    event: Event,
    private: bool,
    presence: bool,
}

impl Update {
    /// A public update about `topic`. The hub checks it when it is published.
    pub fn new(topic: impl Into<Topic>, event: Event) -> Self {
        Self { topics: vec![topic.into()], event, private: false, presence: false }
    }

    /// An update as a journal has stored it. There is at least one topic, and each occurs once.
    pub fn of_parts(topics: Vec<Topic>, event: Event, private: bool) -> Self {
        debug_assert!(!topics.is_empty());
        Self { topics, event, private, presence: false }
    }

    /// The same update, also about another topic.
    #[must_use]
    pub fn about(mut self, topic: impl Into<Topic>) -> Self {
        let topic = topic.into();
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
        self
    }

    /// The same update, also about all of these topics.
    #[must_use]
    pub fn about_all(mut self, topics: impl IntoIterator<Item = String>) -> Self {
        let mut seen: HashSet<Topic> = self.topics.iter().cloned().collect();
        for topic in topics.into_iter().map(Topic::from) {
            if seen.insert(topic.clone()) {
                self.topics.push(topic);
            }
        }
        // A list that has grown has up to twice the room that it needs.
        self.topics.shrink_to_fit();
        self
    }

    /// The same update, only for subscribers with a grant for one of its topics.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// The same update, marked as a presence update. Journals keep presence updates separately, so
    /// that they displace no others.
    #[must_use]
    pub fn of_presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// The same update, whose event has this reconnection time.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.event = self.event.with_retry(retry);
        self
    }

    /// The topics, the canonical one first, each once.
    #[inline]
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The event; its id is the publisher's own, if it has one.
    #[inline]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Whether only subscribers with a grant may read it.
    #[inline]
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Whether it is a presence update.
    #[inline]
    pub fn is_presence(&self) -> bool {
        self.presence
    }

    /// The update's size in bytes for the bounds of a journal's storage: its texts, and an estimate
    /// of the overhead. Files contain sums of it.
    pub fn weight(&self) -> u64 {
        const AROUND: usize = 288;
        let event = &self.event;
        let id = event.id().map_or(0, |id| id.as_str().len());
        let topics: usize = self.topics.iter().map(|topic| topic.as_str().len() + 16).sum();
        (AROUND + event.data().len() + event.event_type().len() + id + topics) as u64
    }

    /// The update's size in memory in bytes, with its record. A topic may have one byte, and an
    /// update a thousand topics, so the overhead of each topic counts.
    #[inline]
    pub fn memory_bytes(&self) -> u64 {
        const AROUND: usize = 264;
        // An entry of the list, the reference counts of the text, and the overhead of allocators.
        const AROUND_TOPIC: usize = 40;
        let event = &self.event;
        // The record has a copy.
        let id = event.id().map_or(0, |id| 2 * id.as_str().len());
        let topics: usize =
            self.topics.iter().map(|topic| topic.as_str().len() + AROUND_TOPIC).sum();
        (AROUND + event.data().len() + event.event_type().len() + id + topics) as u64
    }

    /// Checks the rules for every update, however it was published.
    ///
    /// # Errors
    /// The first rule that the update breaks.
    pub fn check(&self) -> Result<(), InvalidUpdate> {
        if self.topics.len() > TOPICS_MAX {
            let (count, max) = (self.topics.len(), TOPICS_MAX);
            return Err(InvalidUpdate::TooManyTopics { count, max });
        }
        let bytes = self.topics.iter().map(|topic| topic.as_str().len()).sum();
        if bytes > TOPICS_BYTES_MAX {
            let what = "the list of topics";
            return Err(InvalidUpdate::TooLong { what, bytes, max: TOPICS_BYTES_MAX });
        }
        for topic in &self.topics {
            check_topic(topic.as_str())?;
        }
        if let Some(id) = self.event.id() {
            check_id(id.as_str())?;
        }
        check_type(self.event.event_type())
    }

    /// Checks the limits of a hub: the number of topics, and the bytes of each.
    ///
    /// # Errors
    /// The first limit that the update breaks.
    pub fn check_limits(&self, topics: usize, topic_bytes: usize) -> Result<(), InvalidUpdate> {
        let max = topics;
        if self.topics.len() > max {
            return Err(InvalidUpdate::TooManyTopics { count: self.topics.len(), max });
        }
        let max = topic_bytes;
        match self.topics.iter().map(|topic| topic.as_str().len()).find(|bytes| *bytes > max) {
            None => Ok(()),
            Some(bytes) => Err(InvalidUpdate::TooLong { what: "a topic", bytes, max }),
        }
    }
}

/// Steps to compare these topics with one pattern: one for each byte, and some for each topic.
#[inline]
pub fn matching_steps(topics: &[Topic]) -> usize {
    topics.iter().map(|topic| topic.as_str().len() + 32).sum()
}

fn check_topic(topic: &str) -> Result<(), InvalidUpdate> {
    if topic.is_empty() {
        return Err(InvalidUpdate::TopicIsEmpty);
    }
    if topic == "*" {
        return Err(InvalidUpdate::TopicIsAll);
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(InvalidUpdate::TooLong {
            what: "a topic",
            bytes: topic.len(),
            max: TOPIC_BYTES_MAX,
        });
    }
    check_characters("a topic", topic)?;
    if in_hub_namespace(topic) {
        return Err(InvalidUpdate::TopicIsTheHubs { topic: topic.to_owned() });
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), InvalidUpdate> {
    let what = "the id";
    if id.len() > ID_BYTES_MAX {
        return Err(InvalidUpdate::TooLong { what, bytes: id.len(), max: ID_BYTES_MAX });
    }
    check_characters(what, id)?;
    // A header's value loses the spaces at its ends, so such an id would not return whole.
    if id.starts_with(' ') || id.ends_with(' ') {
        return Err(InvalidUpdate::IdHasOuterSpace);
    }
    if id.starts_with("tidings:") || id.starts_with('#') || id == "earliest" {
        return Err(InvalidUpdate::IdIsReserved { id: id.to_owned() });
    }
    Ok(())
}

fn check_type(event_type: &str) -> Result<(), InvalidUpdate> {
    let what = "the type";
    if event_type.len() > TYPE_BYTES_MAX {
        return Err(InvalidUpdate::TooLong { what, bytes: event_type.len(), max: TYPE_BYTES_MAX });
    }
    check_characters(what, event_type)?;
    // `tidings` is how the hub itself speaks to subscribers, `mercure` how it tells presence.
    if matches!(event_type, "tidings" | "mercure") {
        return Err(InvalidUpdate::TypeIsReserved { event_type: event_type.to_owned() });
    }
    Ok(())
}

/// Refuses the control characters (U+0000–001F, U+007F–009F) and the invisible format
/// characters (category Cf), by which two names could look alike (Mercure 1.0).
pub fn check_characters(what: &'static str, text: &str) -> Result<(), InvalidUpdate> {
    let bad = |c: &char| c.is_control() || c.general_category() == GeneralCategory::Format;
    // Printable ASCII is what nearly every name is made of, and cheap to recognise.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    match text.chars().find(bad) {
        Some(character) => Err(InvalidUpdate::BadCharacter { what, character }),
        None => Ok(()),
    }
}

/// Where the hub's own protocol, Mercure, lives (its specification demands this path), and under
/// which the hub has topics of its own (Mercure 1.0, "publication").
pub const HUB_PATH: &str = "/.well-known/mercure";

/// Topics of announcements of subscriptions begin with this.
pub const PRESENCE_PATH: &str = "/.well-known/mercure/subscriptions/";

/// Whether `topic`, read as a URL reference against the hub's own URL, lies under the hub's
/// path, on whatever host: such topics are the hub's to publish.
fn in_hub_namespace(topic: &str) -> bool {
    !is_plainly_outside(topic) && resolves_under_hub(topic)
}

fn resolves_under_hub(topic: &str) -> bool {
    static BASE: std::sync::LazyLock<Url> = std::sync::LazyLock::new(|| {
        Url::parse("https://hub.invalid/.well-known/mercure").expect("the literal is a URL")
    });
    let Ok(url) = BASE.join(topic) else { return false };
    let path = decode_unreserved(url.path());
    path == HUB_PATH || path.strip_prefix(HUB_PATH).is_some_and(|rest| rest.starts_with('/'))
}

/// Another spelling for a relative topic that resolves to the hub's path, such as `#general` or
/// `mercure`: names that are chosen without a thought of URLs.
fn instead_of(topic: &str) -> Option<String> {
    let is_relative = !topic.starts_with(['/', '\\']) && Url::parse(topic).is_err();
    let instead = format!("/{}", topic.trim_start());
    (is_relative && !in_hub_namespace(&instead)).then_some(instead)
}

/// Recognises most topics without parsing them as URLs, which costs more than all else that is
/// done with an update. A URL gets under the hub's path only with the path's last word in it,
/// perhaps percent-encoded; or as a reference that keeps the hub's own path, as `?a`, `#a` and
/// nothing at all do. Schemes without `//` are left to the parser: `https:?a` is such a
/// reference too.
fn is_plainly_outside(topic: &str) -> bool {
    let has_path =
        topic.starts_with("https://") || topic.starts_with("http://") || !topic.contains(':');
    let keeps_path = topic.trim_start().is_empty() || topic.trim_start().starts_with(['?', '#']);
    has_path && !keeps_path && !topic.contains("mercure") && !topic.contains('%')
}

/// Decodes the percent-encoded unreserved characters, which mean the same as themselves
/// (RFC 3986 6.2.2.2). URL parsers leave them as they are.
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let hex = rest.get(at + 1..at + 3);
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                decoded.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// Why the hub does not take an update.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUpdate {
    /// More topics than one update may have.
    TooManyTopics {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A topic, id or type is longer than allowed.
    TooLong {
        /// Which of them.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// A control or format character in a topic, id or type.
    BadCharacter {
        /// Which of them.
        what: &'static str,
        /// The character.
        character: char,
    },
    /// A topic without a character.
    TopicIsEmpty,
    /// The topic `*`, which selects all topics and is none itself.
    TopicIsAll,
    /// A topic under the hub's own path.
    TopicIsTheHubs {
        /// The topic.
        topic: String,
    },
    /// An id with a space at one of its ends.
    IdHasOuterSpace,
    /// An id of the kind that only the hub gives out.
    IdIsReserved {
        /// The id.
        id: String,
    },
    /// A type that only the hub uses.
    TypeIsReserved {
        /// The type.
        event_type: String,
    },
}

impl fmt::Display for InvalidUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyTopics { count, max } => {
                write!(f, "the update has {count} topics; at most {max} are allowed")
            }
            Self::TooLong { what, bytes, max } => {
                write!(f, "{what} has {bytes} bytes; at most {max} are allowed")
            }
            Self::BadCharacter { what, character } => {
                let code = u32::from(*character);
                write!(
                    f,
                    "{what} has the character U+{code:04X}; control and invisible format characters are not allowed"
                )
            }
            Self::TopicIsEmpty => f.write_str("a topic is empty"),
            Self::TopicIsAll => {
                f.write_str("\"*\" selects all topics and cannot be published to; name a topic")
            }
            Self::TopicIsTheHubs { topic } => match instead_of(topic) {
                Some(instead) => write!(
                    f,
                    "the topic {topic:?}, read as a URL relative to the hub's, is the hub's own path \
                     {HUB_PATH}, where only the hub itself publishes; write it another way, such as \
                     {instead:?}"
                ),
                None => write!(
                    f,
                    "the topic {topic:?} lies under {HUB_PATH}, where only the hub itself publishes; \
                     choose another path"
                ),
            },
            Self::IdHasOuterSpace => f.write_str(
                "the id begins or ends with a space, which would be lost in Last-Event-ID",
            ),
            Self::IdIsReserved { id } => write!(
                f,
                "the id {id:?} is reserved for the hub, as are \"earliest\" and ids that begin with \"tidings:\" or \"#\""
            ),
            Self::TypeIsReserved { event_type } => {
                write!(f, "the type {event_type:?} is reserved for the hub's own events")
            }
        }
    }
}

impl std::error::Error for InvalidUpdate {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(text: &str) -> Result<(), InvalidUpdate> {
        Update::new(text, Event::new("")).check()
    }

    #[test]
    fn topics_in_the_hubs_namespace_are_refused_in_every_disguise() {
        for text in [
            "/.well-known/mercure",
            "/.well-known/mercure/subscriptions",
            "/.well-known/%6Dercure/x",
            "https://other.test/.well-known/mercure",
            "/a/../.well-known/mercure/x",
            "//x.test/.well-known/mercure/y",
            "mercure",
            "mercure/x",
            "./mercure",
            "?a",
            "#a",
            " ?a",
            "https:?a",
            "https:",
            "\\.well-known\\mercure",
        ] {
            assert!(
                matches!(topic(text), Err(InvalidUpdate::TopicIsTheHubs { .. })),
                "{text:?} was taken"
            );
        }
    }

    proptest! {
        #![proptest_config(tidings_seed::proptest())]

        #[test]
        fn what_is_plainly_outside_is_outside(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("/"), Just("\\"), Just("."), Just(".."), Just(".well-known"), Just("mercure"),
                    Just("%6Dercure"), Just("https:"), Just("http://"), Just("HTTPS://a.test"),
                    Just("urn:"), Just("//"), Just("?"), Just("#"), Just(" "), Just("a"), Just("@"),
                ],
                0..8,
            ),
        ) {
            let topic = parts.concat();
            prop_assert!(!is_plainly_outside(&topic) || !resolves_under_hub(&topic), "{}", topic);
        }
    }

    #[test]
    fn a_topic_that_says_nothing_is_refused() {
        assert_eq!(topic(""), Err(InvalidUpdate::TopicIsEmpty));
    }

    #[test]
    fn topics_that_only_look_like_the_hubs_are_taken() {
        for text in ["plain", "urn:uuid:1", "/.well-known/mercurex", "http://[", "%zz", "%6"] {
            assert_eq!(topic(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn invisible_and_control_characters_are_refused() {
        for text in ["a\u{200b}b", "a\u{85}", "a\tb", "\u{feff}a", "a\u{7f}"] {
            assert!(matches!(topic(text), Err(InvalidUpdate::BadCharacter { .. })), "{text:?}");
        }
        assert_eq!(topic("https://a.test/größe/書"), Ok(()));
    }

    #[test]
    fn ids_that_the_hub_gives_out_are_refused() {
        for id in ["tidings:aaaaaa.1.aaaa", "#1", "earliest"] {
            let update = Update::new("a", Event::new("").with_id(id).unwrap());
            assert!(matches!(update.check(), Err(InvalidUpdate::IdIsReserved { .. })), "{id}");
        }
        let update = Update::new("a", Event::new("").with_id("a ").unwrap());
        assert_eq!(update.check(), Err(InvalidUpdate::IdHasOuterSpace));
    }

    #[test]
    fn types_that_the_hub_speaks_with_are_refused() {
        for name in ["tidings", "mercure"] {
            let update = Update::new("a", Event::new("").with_type(name).unwrap());
            assert!(matches!(update.check(), Err(InvalidUpdate::TypeIsReserved { .. })));
        }
    }

    #[test]
    fn a_topic_named_twice_counts_once() {
        let update = Update::new("a", Event::new("")).about("b").about("a");
        assert_eq!(update.topics(), [Topic::from("a"), Topic::from("b")]);
    }
}
