//! Records as bytes, in chunks. A record looks the same whether it comes from the window or
//! from the journal, which is what lets a half-written event be finished from either.

use tidings_server::place::Form;
use tidings_sse::{EventId, encode};

use crate::feed::{Source, StreamOptions};
use crate::framing::chunk;
use crate::journal::Record;
use crate::notice::Notice;
use crate::update::Topic;

/// A comment, which no client dispatches: what every stream begins with.
pub(crate) const COMMENT: &[u8] = b":\n";
/// What an idle stream gets: a comment, in its chunk.
pub(crate) const HEARTBEAT: &[u8] = b"2\r\n:\n\r\n";

/// Appends the position after which a stream continues, in a chunk of its own.
pub(crate) fn place(form: Form, id: &EventId, out: &mut Vec<u8>) {
    match form {
        Form::Event => Notice::Cursor.encode(Some(id), None, out),
        _ => chunk(out, |out| encode::id(id, out)),
    }
}

/// The topics of a record that a stream from `source` shows. Topics that the subscriber did not
/// select, or that its grants do not cover for a private update, stay hidden: they could betray who
/// else receives the update.
pub(crate) fn shown<'a>(source: &Source, record: &'a Record) -> Vec<&'a Topic> {
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
pub(crate) fn record(record: &Record, shown: &[&Topic], out: &mut Vec<u8>) {
    chunk(out, |out| {
        for topic in shown {
            encode::extra_field("topic", topic.as_str(), out);
        }
        encode::event(record.update.event().as_ref().with_id(record.id()), out);
    });
}
