//! Records of the journal as the bytes of a stream. Streams that read the same records one after the
//! other, such as those that reconnect after a restart, share the work.

use std::sync::Arc;

use tidings_core::model::{HubId, Record};
use tidings_core::stream::feed::{FeedKey, Source};
use tidings_core::stream::wire;

use crate::limits::BATCH_BYTES;

/// The records that were encoded last: at most [`BATCH_BYTES`] and one record, kept for as long as the
/// shard.
#[derive(Debug, Default)]
pub(super) struct EncodedRecords {
    /// The feed whose topics they show. `None` if they show none, and so are the same for all feeds.
    shown_to: Option<FeedKey>,
    bytes: Vec<u8>,
    /// The id of each record, and where its bytes end.
    ends: Vec<(HubId, usize)>,
}

impl EncodedRecords {
    /// Encodes the first of these records as this feed shows them, as many as one write takes, unless
    /// that was done last. Returns their number.
    pub(super) fn encode(
        &mut self,
        feed: FeedKey,
        source: &Source,
        records: &[Arc<Record>],
    ) -> usize {
        let shown_to = source.options().topics.then_some(feed);
        if !self.holds(shown_to, records) {
            self.shown_to = shown_to;
            self.bytes.clear();
            self.ends.clear();
            for record in records {
                let shown = wire::shown(source, record);
                wire::record(record, &shown, &mut self.bytes);
                self.ends.push((record.hub_id(), self.bytes.len()));
                if self.bytes.len() >= BATCH_BYTES {
                    break;
                }
            }
        }
        self.ends.len()
    }

    /// Whether they are encoded already.
    fn holds(&self, shown_to: Option<FeedKey>, records: &[Arc<Record>]) -> bool {
        let count = self.ends.len();
        // Anew they would end at the same record: none is left, or one write takes no more.
        let is_all = count == records.len() || self.bytes.len() >= BATCH_BYTES;
        self.shown_to == shown_to
            && is_all
            && records.len() >= count
            && self.ends.iter().zip(records).all(|((id, _), record)| *id == record.hub_id())
    }

    /// The bytes of all of them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id of each, and where its bytes end.
    pub(super) fn ends(&self) -> &[(HubId, usize)] {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use slotmap::SlotMap;
    use tidings_core::model::{Epoch, Position, Rights, Selectors, StreamOptions, Update};
    use tidings_sse::Event;

    use super::*;

    fn record(position: u64, data: &str) -> Arc<Record> {
        let update = Update::new("a", Event::new(data));
        let (epoch, position) = (Epoch::new(1), Position::new(position));
        Arc::new(Record::new(epoch, position, SystemTime::UNIX_EPOCH, update))
    }

    fn source(topics: bool) -> Source {
        let mut options = StreamOptions::default();
        options.topics = topics;
        Source::Updates { selectors: Selectors::all(), rights: Rights::Public, options }
    }

    #[test]
    fn the_same_records_are_encoded_once_for_all_feeds_that_show_the_same() {
        let mut keys = SlotMap::<FeedKey, ()>::with_key();
        let [feed, other] = [(); 2].map(|()| keys.insert(()));
        let records = [record(1, "one"), record(2, "two"), record(3, "three")];
        let mut encoded = EncodedRecords::default();
        let mut check = |feed, topics: bool, records: &[Arc<Record>], is_shared: bool| {
            assert_eq!(encoded.holds(topics.then_some(feed), records), is_shared);
            assert_eq!(encoded.encode(feed, &source(topics), records), records.len());
            let mut fresh = EncodedRecords::default();
            fresh.encode(feed, &source(topics), records);
            assert_eq!((encoded.bytes(), encoded.ends()), (fresh.bytes(), fresh.ends()));
        };
        check(feed, false, &records, false);
        check(feed, false, &records, true);
        // Fewer, others, and another record at a position.
        check(feed, false, &records[..2], false);
        check(feed, false, &records[1..], false);
        check(feed, false, &[record(2, "two"), record(3, "another")], false);
        check(feed, false, &records, false);
        check(other, false, &records, true);
        // A feed that shows topics shares with itself alone.
        check(other, true, &records, false);
        check(other, true, &records, true);
        check(feed, true, &records, false);
    }

    #[test]
    fn of_many_records_as_many_are_encoded_as_one_write_takes() {
        let mut keys = SlotMap::<FeedKey, ()>::with_key();
        let feed = keys.insert(());
        let data = "x".repeat(BATCH_BYTES);
        let records = [record(1, &data), record(2, &data)];
        let mut encoded = EncodedRecords::default();
        assert_eq!(encoded.encode(feed, &source(false), &records), 1);
        assert!(encoded.holds(None, &records));
        assert!(!encoded.holds(None, &records[1..]));
    }
}
