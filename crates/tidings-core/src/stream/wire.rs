//! Records as bytes, in chunks. A record has the same bytes whether it comes from the window or
//! from the journal, so a partly written event can be finished from either.

use tidings_sse::{EventId, encode};

use crate::model::{Record, StreamOptions, Topic};
use crate::stream::feed::Source;
use crate::stream::framing::chunk;
use crate::stream::notice::Notice;

/// The beginning of every stream: a comment, which no client dispatches.
pub const COMMENT: &[u8] = b":\n";
/// The heartbeat of an idle stream: a comment, in a chunk.
pub const HEARTBEAT: &[u8] = b"2\r\n:\n\r\n";

/// The form in which a subscriber receives an id before its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceForm {
    /// A block with an id and without data.
    Block,
    /// An event of the type `tidings` with an id.
    Event,
}

/// Appends the position after which a stream continues, in a chunk of its own.
pub fn place(form: PlaceForm, id: &EventId, out: &mut Vec<u8>) {
    match form {
        PlaceForm::Event => Notice::Cursor.encode(Some(id), None, out),
        PlaceForm::Block => chunk(out, |out| encode::id(id, out)),
    }
}

/// The topics of a record that a stream from `source` shows. Topics that the subscriber did not
/// select, or that its grants do not cover for a private update, stay hidden: they could reveal the
/// other subscribers of the update.
#[inline]
pub fn shown<'a>(source: &Source, record: &'a Record) -> Vec<&'a Topic> {
    match source {
        Source::Updates { selectors, rights, options: StreamOptions { topics: true, .. } } => {
            let update = &record.update;
            let is_shown = |topic: &&Topic| {
                selectors.matches(topic) && (!update.is_private() || rights.grant(topic))
            };
            update.topics().iter().filter(is_shown).collect()
        }
        _ => Vec::new(),
    }
}

/// Appends the record as an event that shows these topics, in a chunk of its own.
#[inline]
pub fn record(record: &Record, shown: &[&Topic], out: &mut Vec<u8>) {
    chunk(out, |out| {
        for topic in shown {
            encode::extra_field("topic", topic.as_str(), out);
        }
        encode::event(record.update.event().as_ref().with_id(record.id()), out);
    });
}
