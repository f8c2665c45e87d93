//! The whole path from the journal to the sockets, simulated: random publishes, joins, partial
//! writes, stalls and drops, in one shard and in four, against what a naive model expects.

mod behind;
mod live;
mod random;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tidings_core::journal::{
    Batch, Follower, History, Log, LossNumber, Missed, Pending, Retention, Room,
};
use tidings_core::model::{
    Cursor, HubId, Position, Rights, Selector, Selectors, StreamOptions, Update,
};
use tidings_core::stream::feed::{Source, SubscriberKey};
use tidings_core::stream::framing::{Unframer, chunk};
use tidings_core::stream::notice::Notice;
use tidings_core::stream::replay::Step;
use tidings_core::stream::start::{Start, StartFrom, StartPlace, StartRequest};
use tidings_core::stream::wire;
use tidings_sse::{Decoder, Event, Item, Limits};

use super::flush::Flushed;
use super::socket::{Outgoing, Socket, WrittenBytes};
use super::state::Shard;
use crate::journal::{MemoryJournal, small_memory};
use crate::limits::{FEED_SOCKETS, FORMS_BYTES, SLICE_SOCKETS};

/// A socket with as much room as the test gives it.
#[derive(Clone, Debug, Default)]
struct Wire(Rc<RefCell<WireState>>);

#[derive(Debug, Default)]
struct WireState {
    room: usize,
    /// The received bytes, in their chunks unless there is an unframer.
    written: Vec<u8>,
    /// As where the peer knows no chunks.
    unframer: Option<Unframer>,
    broken: bool,
    writes: usize,
}

impl WireState {
    /// The received stream.
    fn stream(&self) -> Vec<u8> {
        match self.unframer {
            Some(_) => self.written.clone(),
            None => chunks(&self.written).concat(),
        }
    }
}

/// What stands in chunks, the last of which may be cut.
fn chunks(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    while let Some(end) = bytes.windows(2).position(|end| end == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let content = &bytes[end + 2..];
        chunks.push(&content[..size.min(content.len())]);
        let Some(rest) = content.get(size..) else { break };
        assert!(b"\r\n".starts_with(&rest[..rest.len().min(2)]), "{rest:?}");
        bytes = rest.get(2..).unwrap_or_default();
    }
    chunks
}

impl Socket for Wire {
    fn write(&mut self, bytes: &Outgoing<'_>) -> io::Result<WrittenBytes> {
        let mut wire = self.0.borrow_mut();
        let wire = &mut *wire;
        if wire.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.room == 0 && bytes.len() > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = match &mut wire.unframer {
            None => {
                let taken = bytes.len().min(wire.room);
                let mut left = taken;
                for piece in bytes.pieces() {
                    let part = piece.len().min(left);
                    wire.written.extend_from_slice(&piece[..part]);
                    left -= part;
                }
                WrittenBytes { bytes: taken, sent: taken }
            }
            Some(unframer) => {
                let unframed = bytes.unframed(*unframer);
                let sent = unframed.content.len().min(wire.room);
                wire.written.extend_from_slice(&unframed.content[..sent]);
                let taken = unframer.advance(bytes.pieces(), sent, |_| {});
                if sent == unframed.content.len() {
                    assert_eq!((taken, *unframer), (unframed.taken, unframed.then));
                }
                WrittenBytes { bytes: taken, sent }
            }
        };
        wire.room -= taken.sent;
        wire.writes += 1;
        Ok(taken)
    }

    fn set_full(&mut self, _full: bool) {}
}

/// One update as the model knows it.
#[derive(Clone, Debug)]
struct Published {
    topics: Vec<usize>,
    private: bool,
}

struct Reader {
    shard: usize,
    key: SubscriberKey,
    wire: Wire,
    selectors: Selectors,
    start: u64,
    step: Step,
    /// Read for it, and not delivered yet: others act in between.
    batch: Option<Batch>,
    left: bool,
}

struct World {
    journal: Arc<MemoryJournal>,
    shards: Vec<(Shard<Wire>, Arc<Follower>)>,
    /// Position p is at index p - 1.
    published: Vec<Published>,
    readers: Vec<Reader>,
    /// Some subscribe while the journal is unreachable.
    unlocated: bool,
}

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// What a stream begins with.
fn opening() -> Vec<u8> {
    let mut bytes = Vec::new();
    chunk(&mut bytes, |out| out.extend_from_slice(b":\nretry: 3000\n\n"));
    bytes
}

fn now<T>(mut pending: Pending<'_, T>) -> T {
    match pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory journal never waits"),
    }
}

/// The place of a stream that begins after this position of a journal that ends here.
fn place(after: Position, end: HubId) -> StartPlace {
    StartPlace { from: StartFrom::After(after), told: LossNumber::NONE, end, generation: 0 }
}

impl World {
    fn new(shards: usize, count: u64) -> Self {
        let retention = Retention::default().count(count).bytes(u64::MAX).age(Duration::MAX);
        let journal = Arc::new(small_memory(retention));
        let shards = (0..shards)
            .map(|_| {
                let follower = journal.follow();
                (Shard::new(follower.begin(), 15_000, None), follower)
            })
            .collect();
        Self { journal, shards, published: Vec::new(), readers: Vec::new(), unlocated: false }
    }

    fn publish(&mut self, topics: &[usize], bytes: usize, private: bool) {
        let position = self.published.len() + 1;
        let event = Event::new(format!("{position}:{}", "x".repeat(bytes)));
        let mut update = Update::new(TOPICS[topics[0]], event);
        for topic in &topics[1..] {
            update = update.about(TOPICS[*topic]);
        }
        let update = if private { update.private() } else { update };
        now(self.journal.append(vec![update], None, Room::uncounted())).unwrap();
        self.published.push(Published { topics: topics.to_vec(), private });
    }

    fn route(&mut self, shard: usize, count: usize) {
        self.route_past(shard, count, false);
    }

    /// The same. Before each update, half of the readers may be set aside.
    fn route_past(&mut self, index: usize, count: usize, aside: bool) {
        let (shard, follower) = &mut self.shards[index];
        let mut records = Vec::new();
        self.journal.tail(shard.routed, count, &mut records);
        for record in records {
            if aside {
                shard.set_aside(&record, |wire| wire.0.borrow().unframer.is_some());
            }
            shard.route(&record, Instant::now());
            follower.take(&record);
        }
        self.finish_step(index);
    }

    fn flush(&mut self, index: usize) -> Flushed {
        let flushed = self.shards[index].0.flush_slice();
        self.finish_step(index);
        flushed
    }

    fn finish_step(&mut self, index: usize) {
        let shard = &mut self.shards[index].0;
        assert!(shard.subscribers.are_counted(&shard.feeds));
        let fell_behind = std::mem::take(&mut shard.fell_behind);
        let broken = std::mem::take(&mut shard.broken);
        let mut readers = self.readers.iter_mut().filter(|one| one.shard == index && !one.left);
        for reader in &mut readers {
            if fell_behind.contains(&reader.key) {
                reader.step = Step::Full;
            }
            if broken.contains(&reader.key) {
                shard.remove(reader.key);
                reader.left = true;
            }
        }
    }

    fn join(&mut self, shard: usize, selectors: Selectors, options: StreamOptions, start: u64) {
        let wire = Wire::default();
        wire.0.borrow_mut().room = 1000;
        wire.0.borrow_mut().unframer = (self.readers.len() % 2 == 1).then_some(Unframer::START);
        let source =
            Source::Updates { selectors: selectors.clone(), rights: Rights::Public, options };
        let is_located = !self.unlocated || self.readers.len() % 3 != 2;
        let place = if is_located {
            Start::Located(self.place(start))
        } else {
            Start::Unlocated(Box::new(StartRequest {
                cursor: Cursor::Now,
                selectors: selectors.clone(),
                rights: Rights::Public,
                notices: options.notices,
                tell_place: None,
            }))
        };
        let core = &mut self.shards[shard].0;
        let key = core.join(wire.clone(), source, place, opening());
        let step = core.catch_up(key);
        let batch = None;
        self.readers.push(Reader { shard, key, wire, selectors, start, step, batch, left: false });
        self.finish_step(shard);
    }

    fn place(&self, start: u64) -> StartPlace {
        place(Position::new(start), self.journal.edges().last)
    }

    /// Does what a replay's task does, once.
    fn advance(&mut self, index: usize) {
        let place = self.place(self.readers[index].start);
        let reader = &mut self.readers[index];
        if reader.left {
            return;
        }
        let (shard, key) = (reader.shard, reader.key);
        let core = &mut self.shards[shard].0;
        let step = match &reader.step {
            Step::Live => return,
            Step::Closed | Step::Reconnect => {
                core.remove(key);
                self.readers[index].left = true;
                return;
            }
            Step::Full if reader.wire.0.borrow().room == 0 => return,
            Step::Full | Step::Again | Step::Route | Step::Unconfirmed => core.catch_up(key),
            Step::Locate(_) => {
                core.set_waiting(key, true);
                core.send_own(key, wire::HEARTBEAT);
                core.set_waiting(key, false);
                // The part of that which the socket has not taken is sent first.
                match core.catch_up(key) {
                    Step::Locate(_) => {
                        core.begin(key, place, Vec::new());
                        core.catch_up(key)
                    }
                    step => step,
                }
            }
            Step::Read(missing) if reader.batch.is_none() => {
                let read = self.journal.read(
                    missing.after,
                    missing.until,
                    &missing.selectors,
                    &missing.rights,
                );
                reader.batch = Some(now(read).unwrap());
                return;
            }
            Step::Read(_) => {
                let batch = reader.batch.take().expect("it was read before");
                core.deliver(key, &batch)
            }
        };
        self.readers[index].step = step;
        self.finish_step(shard);
    }

    /// Gives every reader room and time until nothing is left to do.
    fn finish(&mut self) {
        for reader in &self.readers {
            reader.wire.0.borrow_mut().room = usize::MAX / 2;
        }
        for round in 0.. {
            assert!(round < 100_000, "it never comes to an end");
            for shard in 0..self.shards.len() {
                self.route(shard, usize::MAX);
                while self.flush(shard) == Flushed::Slice {}
            }
            (0..self.readers.len()).for_each(|reader| self.advance(reader));
            let done = |one: &Reader| one.left || one.step == Step::Live;
            if self.readers.iter().all(done) {
                break;
            }
        }
    }

    /// Each reader got exactly the expected updates, once and in order, except those that it was
    /// told were trimmed; and it was told so only of updates that it would have got.
    fn check(&self) {
        for reader in &self.readers {
            let (shard, _) = &self.shards[reader.shard];
            let wanted = |position: u64| {
                let one = &self.published[position as usize - 1];
                !one.private
                    && one
                        .topics
                        .iter()
                        .any(|topic| reader.selectors.matches(&TOPICS[*topic].into()))
            };
            let mut expected: VecDeque<u64> =
                (reader.start + 1..=self.published.len() as u64).filter(|at| wanted(*at)).collect();
            let wire = reader.wire.0.borrow();
            let mut decoder = Decoder::new(Limits::default());
            decoder.push(&wire.stream());
            while let Some(item) = decoder.next() {
                let Item::Event(event) = item else { continue };
                if event.event_type() == "tidings" {
                    let notice: serde_json::Value = serde_json::from_str(event.data()).unwrap();
                    if notice["kind"] == "gap" {
                        let resume =
                            event.id().unwrap().parse::<tidings_core::model::HubId>().unwrap();
                        let through = resume.position.number();
                        assert!(
                            expected.front().is_some_and(|next| *next <= through),
                            "a false gap"
                        );
                        expected.retain(|position| *position > through);
                    }
                    continue;
                }
                let (position, padding) = event.data().split_once(':').unwrap();
                let position: u64 = position.parse().unwrap();
                assert_eq!(Some(position), expected.pop_front(), "out of order, lost or doubled");
                assert!(padding.bytes().all(|byte| byte == b'x'), "patched");
                let id = event.id().unwrap().parse::<tidings_core::model::HubId>().unwrap();
                assert_eq!(id.position.number(), position);
            }
            if reader.left {
                assert!(shard.subscribers.get(reader.key).is_none());
            } else {
                assert!(expected.is_empty(), "not delivered: {expected:?}");
            }
        }
        for (shard, _) in &self.shards {
            assert!(!shard.subscribers.is_any_behind());
            assert_eq!(shard.queued_spans, 0);
        }
    }
}

fn stream_options(topics: bool, notices: bool) -> StreamOptions {
    let mut options = StreamOptions::default();
    (options.topics, options.notices) = (topics, notices);
    options
}

fn reader(world: &mut World, selectors: Selectors) -> usize {
    let start = world.published.len() as u64;
    world.join(0, selectors, StreamOptions::default(), start);
    world.readers.len() - 1
}

fn deliver_all(world: &mut World) {
    world.route(0, usize::MAX);
    while world.flush(0) == Flushed::Slice {}
}
