//! A shard's side of a replay: writes due bytes to the socket of a subscriber that is behind.

use tidings_core::journal::Batch;
use tidings_core::stream::feed::{FeedKey, SubscriberKey};
use tidings_core::stream::replay::{Received, Rest, Step};
use tidings_core::stream::start::StartPlace;
use tidings_core::stream::window::{JournalPosition, Offset, PartlyWritten, Span, WindowPieces};

use super::socket::{Outgoing, Socket};
use super::state::Shard;
use crate::limits::SLICE_BYTES;

impl<S: Socket> Shard<S> {
    /// Advances a subscriber that is behind as far as possible without waiting.
    pub(super) fn catch_up(&mut self, key: SubscriberKey) -> Step {
        let step = self.advance(key);
        self.note_full(key, &step);
        step
    }

    /// Writes the opening of a stream that gets no events, and then `more`.
    pub(super) fn open_only(&mut self, key: SubscriberKey, more: &[u8]) {
        if let Some(behind) = self.behind_mut(key) {
            behind.add_own(more);
            self.write_own(key);
        }
    }

    fn advance(&mut self, key: SubscriberKey) -> Step {
        let mut bytes = 0;
        loop {
            if bytes >= SLICE_BYTES {
                return Step::Again;
            }
            let Some((feed, behind)) = self.behind_of(key) else { return Step::Closed };
            let rest = behind.rest(self.routed.position, &self.window, &self.feeds[feed]);
            self.add_notices(key, &rest);
            match self.write_own(key) {
                WriteResult::All(written) => bytes += written,
                WriteResult::Part => return Step::Full,
                WriteResult::Broken => return Step::Closed,
            }
            match rest {
                Rest::Nothing => {
                    self.go_live(key);
                    return Step::Live;
                }
                Rest::Window(offset) => match self.write_window(key, feed, offset) {
                    WriteResult::All(written) => bytes += written,
                    WriteResult::Part => return Step::Full,
                    WriteResult::Broken => return Step::Closed,
                },
                Rest::Unlocated(request) => return Step::Locate(request),
                Rest::Journal => return self.missing(key),
                Rest::NotRouted => return Step::Route,
                Rest::Reconnect => return Step::Reconnect,
            }
        }
    }

    /// Sets where a subscriber begins, for [`Step::Locate`], and its first notice.
    pub(super) fn begin(&mut self, key: SubscriberKey, place: StartPlace, bytes: Vec<u8>) {
        let is_foreign = self.is_foreign(&place);
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(behind) = subscriber.behind.get_mut() else { return };
        behind.begin(place, bytes);
        subscriber.told = behind.position().through;
        if is_foreign {
            behind.mark_foreign();
        }
    }

    /// Whether a subscriber that is behind still waits for bytes of its own, such as the rest of a
    /// heartbeat.
    pub(super) fn has_own_left(&self, key: SubscriberKey) -> bool {
        self.behind_of(key).is_some_and(|(_, behind)| !behind.own().is_empty())
    }

    /// Notes whether a subscriber waits for the journal.
    pub(super) fn set_waiting(&mut self, key: SubscriberKey, waiting: bool) {
        if let Some(behind) = self.behind_mut(key) {
            behind.set_waiting(waiting);
        }
    }

    /// Writes a batch that was read for [`Step::Read`]. Bytes that the socket does not take are
    /// dropped, and read again when it has room: a subscriber that stalls holds no memory.
    pub(super) fn deliver(&mut self, key: SubscriberKey, batch: &Batch) -> Step {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Step::Closed };
        let feed = subscriber.feed();
        let Some(behind) = subscriber.behind.get_mut() else { return Step::Closed };
        let received = behind.receive(batch);
        let place = behind.position();
        let step = match received {
            Received::Unusable => return Step::Reconnect,
            Received::All => self.write_batch(key, feed, place, batch),
            Received::First(record) => {
                let through = record.position;
                let first = Batch::new(vec![record], through);
                self.write_batch(key, feed, place, &first)
            }
            Received::AfterGap => match self.write_own(key) {
                WriteResult::All(_) => self.write_batch(key, feed, place, batch),
                WriteResult::Part => Step::Full,
                WriteResult::Broken => return Step::Closed,
            },
        };
        self.note_full(key, &step);
        step
    }

    fn note_full(&mut self, key: SubscriberKey, step: &Step) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(behind) = subscriber.behind.get_mut() else { return };
        if *step == Step::Full && !behind.is_full() {
            behind.set_full();
            subscriber.socket.set_full(true);
        }
    }

    fn write_batch(
        &mut self,
        key: SubscriberKey,
        feed: FeedKey,
        mut place: JournalPosition,
        batch: &Batch,
    ) -> Step {
        let mut encoded = std::mem::take(&mut self.encoded);
        let mut step = Step::Again;
        let mut records = batch.records.as_slice();
        while step == Step::Again && !records.is_empty() {
            let count = encoded.encode(feed, self.feeds[feed].source(), records);
            records = &records[count..];
            let (out, ends) = (encoded.bytes(), encoded.ends());
            let skip = place.partly_written.map_or(0, |partly_written| partly_written.written);
            match self.write(key, &out[skip..]) {
                Ok(written) => {
                    let reached = skip + written;
                    if reached < out.len() {
                        step = Step::Full;
                    }
                    let whole = ends.partition_point(|(_, end)| *end <= reached);
                    let last = whole.checked_sub(1).map(|last| ends[last]);
                    let (through, start) =
                        last.map_or((place.through, 0), |(id, end)| (id.position, end));
                    // An event counts when its first byte is written.
                    let begun = whole + usize::from(reached > start) - usize::from(skip > 0);
                    self.tally.deliveries += begun as u64;
                    place = JournalPosition { through, partly_written: None };
                    if reached > start
                        && let Some((id, _)) = ends.get(whole)
                    {
                        place.partly_written =
                            Some(PartlyWritten { id: *id, written: reached - start });
                    }
                }
                Err(()) => step = Step::Closed,
            }
        }
        self.encoded = encoded;
        if step == Step::Again {
            // The loss may reach further than the requested span.
            place.through = place.through.max(batch.through);
        }
        if let Some(behind) = self.behind_mut(key) {
            behind.advance(place, None);
        }
        step
    }

    fn add_notices(&mut self, key: SubscriberKey, rest: &Rest) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let Some(behind) = subscriber.behind.get_mut() else { return };
        if behind.add_notices(rest, self.routed, self.heartbeat_ms) {
            subscriber.told = self.routed.position;
        }
    }

    fn write_own(&mut self, key: SubscriberKey) -> WriteResult {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return WriteResult::Broken };
        let Some(behind) = subscriber.behind.get_mut() else { return WriteResult::Broken };
        if behind.own().is_empty() {
            return WriteResult::All(0);
        }
        let Ok(taken) = subscriber.socket.offer(&Outgoing::of(behind.own())) else {
            self.broken.push(key);
            return WriteResult::Broken;
        };
        if taken.bytes == 0 {
            return WriteResult::Part;
        }
        subscriber.sent = self.now;
        self.tally.bytes += taken.sent as u64;
        if !behind.wrote_own(taken.bytes) {
            return WriteResult::Part;
        }
        if let Some(cause) = behind.take_told_gap() {
            self.tally.gaps[cause as usize] += 1;
        }
        WriteResult::All(taken.bytes)
    }

    fn write_window(&mut self, key: SubscriberKey, feed: FeedKey, offset: Offset) -> WriteResult {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return WriteResult::Broken };
        let Some(behind) = subscriber.behind.get_mut() else { return WriteResult::Broken };
        let Some(spans) = self.feeds[feed].since(offset) else { return WriteResult::Broken };
        let mut at = offset;
        let mut total = 0;
        for span in spans {
            let mut pieces = WindowPieces::new();
            self.window.pieces(span, &mut pieces);
            let Ok(taken) = subscriber.socket.offer(&Outgoing::new(pieces)) else {
                self.broken.push(key);
                return WriteResult::Broken;
            };
            total += taken.bytes;
            self.tally.bytes += taken.sent as u64;
            subscriber.sent = self.now;
            at = span.start + taken.bytes as u64;
            self.tally.deliveries += self.window.count(Span { end: at, ..span }) as u64;
            if at < span.end || total >= SLICE_BYTES {
                break;
            }
        }
        let feed = &self.feeds[feed];
        let full = at < feed.end() && total < SLICE_BYTES;
        // The offset of the next byte for this feed. At an event's end, another feed's form of the
        // same update may follow, which would count as not yet received.
        let next = feed.since(at).and_then(|mut spans| spans.next());
        let at = next.map_or(self.window.end(), |span| span.start);
        behind.advance(self.window.position_at(at, self.routed.position), Some(at));
        if full { WriteResult::Part } else { WriteResult::All(total) }
    }

    /// Writes bytes of this subscriber's own; a full socket takes none of them.
    fn write(&mut self, key: SubscriberKey, bytes: &[u8]) -> Result<usize, ()> {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return Err(()) };
        let Ok(taken) = subscriber.socket.offer(&Outgoing::of(bytes)) else {
            self.broken.push(key);
            return Err(());
        };
        if taken.bytes > 0 {
            subscriber.sent = self.now;
            self.tally.bytes += taken.sent as u64;
        }
        Ok(taken.bytes)
    }

    fn missing(&self, key: SubscriberKey) -> Step {
        let Some((feed, behind)) = self.behind_of(key) else { return Step::Closed };
        behind.missing(self.routed.position, self.feeds[feed].source())
    }

    /// The only step by which a subscriber becomes live: everything routed so far is written, and
    /// everything routed from now on is after its offset.
    fn go_live(&mut self, key: SubscriberKey) {
        let Some(subscriber) = self.subscribers.get(key) else { return };
        let feed = &mut self.feeds[subscriber.feed()];
        let (start, end) = (self.window.start(), self.window.end());
        let was_full =
            self.subscribers.go_live(key, feed, start, end).is_some_and(|behind| behind.is_full());
        if was_full && let Some(socket) = self.socket_mut(key) {
            socket.set_full(false);
        }
    }
}

enum WriteResult {
    All(usize),
    Part,
    Broken,
}
