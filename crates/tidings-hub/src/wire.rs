//! Records as bytes. A record looks the same whether it comes from the window or from the
//! journal, which is what lets a half-written event be finished from either.

use tidings_sse::encode;

use crate::feed::{Source, StreamOptions};
use crate::journal::Record;
use crate::update::Topic;

/// What an idle stream gets: a comment, which no client dispatches.
pub(crate) const HEARTBEAT: &[u8] = b":\n";

/// Which of the record's topics a stream from `source` shows. Topics that the subscriber did
/// not ask for, or of a private update was not granted, stay hidden: they could betray who else
/// gets the update.
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

/// Appends the record as an event that shows these topics.
pub(crate) fn record(record: &Record, shown: &[&Topic], out: &mut Vec<u8>) {
    for topic in shown {
        encode::extra_field("topic", topic.as_str(), out);
    }
    encode::event(record.update.event().as_ref().with_id(record.id()), out);
}
