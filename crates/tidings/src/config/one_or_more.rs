//! A key of a configuration whose value is a text or a list of texts.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// One text, or a list of them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct OneOrMore(Vec<String>);

impl OneOrMore {
    /// The values of the flags, or else those of the file.
    pub(super) fn or(flags: &[String], file: Option<Self>) -> Vec<String> {
        if flags.is_empty() { file.unwrap_or_default().0 } else { flags.to_vec() }
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = OneOrMore;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMore, E> {
        Ok(OneOrMore(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMore, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMore)
    }
}
