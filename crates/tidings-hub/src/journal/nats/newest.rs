//! The newest update about each topic, for streams that begin with those. The stream has one
//! subject, so it is read once as a whole, when that is first asked for; from then on only what
//! is new.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::keys::Keys;
use super::super::{Batch, Epoch, Position, ReadError, Record};
use super::{Shared, away};
use crate::access::Rights;
use crate::limits::{BATCH_BYTES, NATS_TOPICS};
use crate::selector::{Selector, Selectors};

#[derive(Debug)]
pub(super) struct Newest {
    keys: Keys,
    epoch: Epoch,
    /// Everything up to here is known.
    through: Position,
    /// Public and private ones apart.
    places: HashMap<u64, Position>,
    /// Of topics that are not known, none has an update that is newer than this.
    forgotten: Position,
}

impl Newest {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            keys: Keys::random(),
            epoch,
            through: Position::START,
            places: HashMap::new(),
            forgotten: Position::START,
        }
    }

    fn add(&mut self, record: &Record) {
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            self.places.insert(key, record.position);
        }
        // Half at a time, so that the work per update stays the same on average.
        if self.places.len() > NATS_TOPICS {
            let mut places: Vec<Position> = self.places.values().copied().collect();
            let middle = places.len() / 2;
            let (_, &mut limit, _) = places.select_nth_unstable(middle);
            self.places.retain(|_, place| *place > limit);
            self.forgotten = limit.max(self.forgotten);
        }
    }

    /// Whether an update is the newest about one of its topics that `selectors` select. Of a
    /// topic among too many to remember, older ones may pass too, which the newest follows.
    fn is_last(&self, record: &Record, selectors: &Selectors) -> bool {
        record.update.topics().iter().filter(|topic| selectors.matches(topic)).any(|topic| {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            match self.places.get(&key) {
                Some(place) => *place == record.position,
                None => record.position <= self.forgotten,
            }
        })
    }

    /// Where the newest updates about exactly these topics are, in order. `None` if only a look
    /// at all of them can tell.
    fn places(&self, selectors: &Selectors) -> Option<Vec<Position>> {
        let mut places = Vec::new();
        for selector in selectors.iter() {
            let Selector::Exact(topic) = selector else { return None };
            for private in [false, true] {
                match self.places.get(&self.keys.topic(topic.as_str(), private)) {
                    Some(place) => places.push(*place),
                    None if self.forgotten > Position::START => return None,
                    None => {}
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }
}

impl Shared {
    pub(super) async fn read_last(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let mut newest = self.newest.lock().await;
        self.bring_up(&mut newest).await?;
        if let Some(places) = newest.places(selectors) {
            drop(newest);
            return self.read_places(&places, (after, until), rights).await;
        }
        let wanted =
            |record: &Record| rights.may_read(&record.update) && newest.is_last(record, selectors);
        let (records, through) = self.next_records(newest.epoch, after, until).await?;
        Ok(Batch::of(records.iter(), through.min(until), wanted))
    }

    /// Learns what is new in the stream.
    async fn bring_up(&self, newest: &mut Newest) -> Result<(), ReadError> {
        loop {
            let (epoch, first, last) = {
                let state = self.state.lock();
                (state.epoch, state.first, state.last().position)
            };
            if newest.epoch != epoch || newest.through > last {
                *newest = Newest::new(epoch);
            }
            newest.through = newest.through.max(first.previous());
            if newest.through >= last {
                return Ok(());
            }
            let (records, through) = self.next_records(epoch, newest.through, last).await?;
            records.iter().for_each(|record| newest.add(record));
            newest.through = through;
        }
    }

    /// The next updates after `after`, and how far they reach: to `until` where there are none.
    async fn next_records(
        &self,
        epoch: Epoch,
        after: Position,
        until: Position,
    ) -> Result<(Vec<Arc<Record>>, Position), ReadError> {
        {
            let state = self.state.lock();
            if state.has_all_after(after) {
                let records: Vec<_> = state.recent.after(after).take(4096).cloned().collect();
                let through = records.last().map_or(until, |record| record.position);
                return Ok((records, through));
            }
        }
        self.check_there()?;
        let block = self.reader.block(epoch, after).await.map_err(away)?;
        if block.through <= after {
            self.find_end(after, until).await?;
            return Ok((Vec::new(), until));
        }
        let begin = block.records.partition_point(|record| record.position <= after);
        Ok((block.records[begin..].to_vec(), block.through))
    }

    async fn read_places(
        &self,
        places: &[Position],
        (after, until): (Position, Position),
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let mut batch = Batch { through: until, ..Batch::default() };
        let mut bytes = 0;
        for place in places.iter().filter(|place| **place > after && **place <= until) {
            if bytes >= BATCH_BYTES {
                batch.through = place.previous();
                break;
            }
            if let Some(record) = self.record(*place).await?
                && rights.may_read(&record.update)
            {
                bytes += record.weight() as usize;
                batch.records.push(record);
            }
        }
        Ok(batch)
    }
}
