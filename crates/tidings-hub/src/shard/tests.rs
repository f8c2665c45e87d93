//! The whole path from the journal to the sockets, simulated: random publishes, joins, partial
//! writes, stalls and drops, in one shard and in four, against what a naive model expects.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidings_core::journal::{Batch, Follower, History, Log, Missed, Pending, Retention, Room};
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
use crate::limits::FORMS_BYTES;

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
    StartPlace { from: StartFrom::After(after), told: Position::START, end, generation: 0 }
}

impl World {
    fn new(shards: usize, count: u64) -> Self {
        let retention = Retention { count, bytes: u64::MAX, age: Duration::MAX };
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
            Step::Closed | Step::Lost => {
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
            assert_eq!(shard.behind, 0);
            assert_eq!(shard.queued_spans, 0);
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Publish { topics: Vec<usize>, bytes: usize, private: bool },
    Join { shard: usize, selectors: usize, topics: bool, notices: bool, from: f64 },
    Route { shard: usize, count: usize, aside: bool },
    Flush { shard: usize },
    Advance { reader: usize },
    Room { reader: usize, room: usize },
    Break { reader: usize },
    Leave { reader: usize },
}

fn selector_sets() -> Vec<Selectors> {
    let exact = |topic: &str| Selector::Exact(topic.into());
    vec![
        Selectors::all(),
        Selectors::topic("a"),
        Selectors::topic("b"),
        Selectors::new([exact("a"), exact("b")]).unwrap(),
        Selectors::new([exact("a"), exact("c"), exact("d")]).unwrap(),
        Selectors::new([exact("a"), Selector::All]).unwrap(),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let sizes = prop_oneof![4 => 0..40_usize, 2 => Just(300), 1 => Just(5000)];
    prop_oneof![
        6 => (proptest::collection::vec(0..TOPICS.len(), 1..3), sizes, proptest::bool::weighted(0.1))
            .prop_map(|(topics, bytes, private)| Act::Publish { topics, bytes, private }),
        2 => (0..4_usize, 0..6_usize, any::<bool>(), any::<bool>(), 0.0..1.5)
            .prop_map(|(shard, selectors, topics, notices, from)| {
                Act::Join { shard, selectors, topics, notices, from }
            }),
        4 => (0..4_usize, 1..20_usize, proptest::bool::weighted(0.2))
            .prop_map(|(shard, count, aside)| Act::Route { shard, count, aside }),
        4 => (0..4_usize).prop_map(|shard| Act::Flush { shard }),
        6 => (0..64_usize).prop_map(|reader| Act::Advance { reader }),
        4 => (0..64_usize, prop_oneof![Just(0), 1..200_usize, 1..2000_usize, Just(10_000_000)])
            .prop_map(|(reader, room)| Act::Room { reader, room }),
        1 => (0..64_usize).prop_map(|reader| Act::Break { reader }),
        1 => (0..64_usize).prop_map(|reader| Act::Leave { reader }),
    ]
}

fn simulate(shards: usize, kept: u64, acts: &[Act]) {
    let mut world = World::new(shards, kept);
    world.unlocated = true;
    let sets = selector_sets();
    for act in acts {
        let count = world.readers.len().max(1);
        match act {
            Act::Publish { topics, bytes, private } => world.publish(topics, *bytes, *private),
            Act::Join { shard, selectors, topics, notices, from } => {
                let last = world.published.len() as u64;
                // Cursors of all ages, and often the newest: that is a first connection.
                let start = (last as f64 * from.min(1.0)) as u64;
                let selectors = sets[*selectors].clone();
                let journal = &world.journal;
                let missed = now(journal.missed(Position::new(start), &selectors, &Rights::Public));
                let start = match missed.unwrap() {
                    Some(missed) => missed.resume.position.number(),
                    None => start,
                };
                let options = stream_options(*topics, *notices);
                world.join(shard % shards, selectors, options, start);
            }
            Act::Route { shard, count, aside } => {
                world.route_past(shard % shards, *count, *aside);
            }
            Act::Flush { shard } => {
                world.flush(shard % shards);
            }
            Act::Advance { reader } if !world.readers.is_empty() => world.advance(reader % count),
            Act::Room { reader, room } if !world.readers.is_empty() => {
                world.readers[reader % count].wire.0.borrow_mut().room = *room;
            }
            Act::Break { reader } if !world.readers.is_empty() => {
                world.readers[reader % count].wire.0.borrow_mut().broken = true;
            }
            Act::Leave { reader } if !world.readers.is_empty() => {
                let reader = &mut world.readers[reader % count];
                world.shards[reader.shard].0.remove(reader.key);
                reader.left = true;
            }
            _ => {}
        }
    }
    world.finish();
    world.check();
}

fn stream_options(topics: bool, notices: bool) -> StreamOptions {
    let mut options = StreamOptions::default();
    (options.topics, options.notices) = (topics, notices);
    options
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_receives_exactly_the_updates_that_it_selects(acts in proptest::collection::vec(act(), 1..200)) {
        simulate(1, u64::MAX, &acts);
    }

    #[test]
    fn every_reader_receives_exactly_the_updates_that_it_selects_from_four_shards(
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        simulate(4, u64::MAX, &acts);
    }

    #[test]
    fn exactly_the_readers_that_missed_trimmed_updates_are_told(
        shards in prop_oneof![Just(1_usize), Just(4)],
        kept in 1..12_u64,
        acts in proptest::collection::vec(act(), 1..200),
    ) {
        simulate(shards, kept, &acts);
    }
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

#[test]
fn pending_events_are_sent_in_one_write() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    let before = world.readers[one].wire.0.borrow().writes;
    for _ in 0..50 {
        world.publish(&[0], 10, false);
        world.publish(&[1], 10, false);
    }
    let other = reader(&mut world, Selectors::topic("b"));
    world.readers[one].wire.0.borrow_mut().room = 1 << 20;
    deliver_all(&mut world);
    assert_eq!(world.readers[one].wire.0.borrow().writes, before + 1);
    assert!(world.readers[other].step != Step::Closed);
}

#[test]
fn an_update_is_encoded_once_for_any_number_of_subscribers() {
    let mut world = World::new(1, u64::MAX);
    for _ in 0..100 {
        reader(&mut world, Selectors::topic("a"));
        reader(&mut world, Selectors::all());
    }
    let before = world.shards[0].0.window.end();
    world.publish(&[0], 1000, false);
    world.route(0, 1);
    let encoded = world.shards[0].0.window.end() - before;
    assert!(encoded < 1200, "{encoded} bytes");
}

#[test]
fn the_window_keeps_updates_until_each_writable_socket_was_offered_them() {
    let mut world = World::new(1, 1);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = usize::MAX / 2;
    for _ in 0..200 {
        world.publish(&[0], 100_000, false);
        world.route(0, 1);
    }
    deliver_all(&mut world);
    assert_eq!(world.readers[one].step, Step::Live);
    world.finish();
    world.check();
}

#[test]
fn a_partly_written_event_that_was_trimmed_closes_the_stream() {
    let mut world = World::new(1, 3);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 50;
    world.publish(&[0], 1000, false);
    deliver_all(&mut world);
    assert_eq!(world.readers[one].step, Step::Full);
    // More than the window keeps for subscribers that are behind.
    for _ in 0..100 {
        world.publish(&[0], 100_000, false);
        deliver_all(&mut world);
    }
    world.finish();
    assert!(world.readers[one].left);
    world.check();
}

#[test]
fn a_partly_written_event_is_finished_from_the_journal() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 50;
    world.publish(&[0], 1000, false);
    deliver_all(&mut world);
    for _ in 0..100 {
        world.publish(&[0], 100_000, false);
        deliver_all(&mut world);
    }
    world.advance(one);
    world.finish();
    assert!(!world.readers[one].left);
    world.check();
}

#[test]
fn a_walk_skips_no_subscriber_when_others_are_removed() {
    let mut world = World::new(1, u64::MAX);
    let readers: Vec<_> = (0..200).map(|_| reader(&mut world, Selectors::topic("a"))).collect();
    for one in &readers {
        world.readers[*one].wire.0.borrow_mut().room = usize::MAX / 2;
    }
    world.publish(&[0], 10, false);
    world.route(0, 1);
    assert_eq!(world.flush(0), Flushed::Slice);
    for one in [0, 10, 63, 64, 199] {
        let reader = &mut world.readers[readers[one]];
        world.shards[0].0.remove(reader.key);
        reader.left = true;
    }
    while world.flush(0) == Flushed::Slice {}
    let undelivered =
        world.readers.iter().filter(|one| !one.left && one.wire.0.borrow().writes < 2).count();
    assert_eq!(undelivered, 0);
    world.check();
}

#[test]
fn a_full_socket_gets_no_heartbeat_in_the_middle_of_an_event() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 5;
    world.publish(&[0], 100, false);
    deliver_all(&mut world);
    world.readers[one].wire.0.borrow_mut().room = 1000;
    let key = world.readers[one].key;
    let mut bytes = Vec::new();
    Notice::Cursor.encode(None, None, &mut bytes);
    world.shards[0].0.send_own(key, &bytes);
    world.finish();
    world.check();
}

#[test]
fn the_clock_reaches_its_own_subscribers_and_no_selector() {
    let mut world = World::new(1, u64::MAX);
    let all = reader(&mut world, Selectors::all());
    let wire = Wire::default();
    wire.0.borrow_mut().room = 1000;
    let core = &mut world.shards[0].0;
    let key = core.join(wire.clone(), Source::Clock, Start::Live, opening());
    assert_eq!(core.catch_up(key), Step::Live);
    core.tick_clock(Instant::now(), |out| {
        chunk(out, |out| out.extend_from_slice(b"data: tick\n\n"));
    });
    deliver_all(&mut world);
    let wire = wire.0.borrow();
    assert_eq!(chunks(&wire.written), [&b":\nretry: 3000\n\n"[..], b"data: tick\n\n"]);
    assert_eq!(world.readers[all].wire.0.borrow().writes, 1);
}

#[test]
fn older_updates_are_delivered_before_the_live_notice() {
    let mut world = World::new(1, u64::MAX);
    world.publish(&[0], 10, false);
    world.publish(&[0], 10, false);
    // The shard has routed none of the two.
    let options = stream_options(false, true);
    world.join(0, Selectors::topic("a"), options, 0);
    deliver_all(&mut world);
    world.finish();
    let wire = world.readers[0].wire.0.borrow();
    let text = wire.stream();
    let text = String::from_utf8_lossy(&text);
    let live = text.find("\"live\"").expect("it is told to be live");
    assert!(text.find("data: 2:").is_some_and(|last| last < live), "{text}");
}

#[test]
fn a_position_of_an_old_journal_is_not_used_in_a_new_one() {
    let mut world = World::new(1, u64::MAX);
    let elsewhere = small_memory(Retention::default()).edges().last;
    world.publish(&[0], 10, false);
    world.route(0, 1);
    let wire = Wire::default();
    wire.0.borrow_mut().room = 1000;
    let source = Source::Updates {
        selectors: Selectors::topic("a"),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let start = Start::Located(place(elsewhere.position, elsewhere));
    let core = &mut world.shards[0].0;
    let key = core.join(wire.clone(), source, start, opening());
    assert_eq!(core.catch_up(key), Step::Lost);
    // It is told when to reconnect, and nothing else.
    assert_eq!(wire.0.borrow().written, opening());
}

#[test]
fn a_position_found_before_a_reset_is_not_used_after_it() {
    let mut world = World::new(1, u64::MAX);
    world.publish(&[0], 10, false);
    world.route(0, 1);
    // The epoch is the same where a journal lost its newest updates and went on.
    let (core, _) = &mut world.shards[0];
    core.reset(core.routed, 1);
    world.join(0, Selectors::topic("a"), StreamOptions::default(), 1);
    assert_eq!(world.readers[0].step, Step::Lost);
    let start = Start::Located(StartPlace { generation: 1, ..world.place(1) });
    let source = Source::Updates {
        selectors: Selectors::topic("a"),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let wire = Wire::default();
    wire.0.borrow_mut().room = 1000;
    let core = &mut world.shards[0].0;
    let key = core.join(wire, source, start, opening());
    assert_eq!(core.catch_up(key), Step::Live);
}

/// Publishes so many updates, all of which but the last are trimmed before the shard can route
/// them.
fn publish_trimmed_updates(world: &mut World, count: u64) {
    // The journal keeps what its follower has still to take.
    let last = world.published.len() as u64 + count;
    world.shards[0].1.pass(Position::new(last));
    (0..count).for_each(|_| world.publish(&[0], 10, false));
    let all = Selectors::all();
    let missed = world.journal.missed(Position::new(last - count), &all, &Rights::Public);
    let gone = now(missed).unwrap().expect("something is gone").resume;
    world.shards[0].0.skip_to(gone);
}

#[test]
fn a_reader_at_the_windows_end_is_told_what_was_trimmed_even_if_its_socket_was_full() {
    // One is live, one has half of a heartbeat still to write, one half of what it begins with.
    let mut world = World::new(1, 1);
    let readers = [(); 3].map(|()| reader(&mut world, Selectors::topic("a")));
    world.readers[readers[1]].wire.0.borrow_mut().room = 1;
    let key = world.readers[readers[1]].key;
    world.shards[0].0.send_own(key, wire::HEARTBEAT);
    world.finish_step(0);
    assert_eq!(world.readers[readers[1]].step, Step::Full);
    let late = Wire::default();
    late.0.borrow_mut().room = 5;
    let source = Source::Updates {
        selectors: Selectors::topic("a"),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let start = Start::Located(world.place(0));
    let core = &mut world.shards[0].0;
    let key = core.join(late.clone(), source, start, opening());
    let step = core.catch_up(key);
    assert_eq!(step, Step::Full);
    world.readers.push(Reader {
        shard: 0,
        key,
        wire: late,
        selectors: Selectors::topic("a"),
        start: 0,
        step,
        batch: None,
        left: false,
    });
    publish_trimmed_updates(&mut world, 3);
    world.finish_step(0);
    world.finish();
    world.check();
    for reader in &world.readers {
        let text = reader.wire.0.borrow().stream();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.matches("\"gap\"").count(), 1, "{text}");
    }
}

#[test]
fn a_partly_written_event_is_finished_before_the_gap_after_it() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 10;
    (0..3).for_each(|_| world.publish(&[0], 100, false));
    world.route(0, 1);
    while world.flush(0) == Flushed::Slice {}
    assert_eq!(world.readers[one].step, Step::Full);
    // The second of the three is trimmed.
    let topic = Selectors::topic("a");
    let read = |after, until| {
        let (after, until) = (Position::new(after), Position::new(until));
        now(world.journal.read(after, until, &topic, &Rights::Public)).unwrap()
    };
    let mut batch = read(0, 1);
    let first = batch.records[0].hub_id();
    batch.records.extend(read(2, 3).records);
    batch.through = Position::new(3);
    batch.missed = Some(Missed::new(first, first, Position::new(2)));
    let wire = world.readers[one].wire.clone();
    wire.0.borrow_mut().room = usize::MAX / 2;
    let key = world.readers[one].key;
    let core = &mut world.shards[0].0;
    assert_eq!(core.deliver(key, &batch), Step::Again);
    let text = |wire: &Wire| String::from_utf8_lossy(&wire.0.borrow().stream()).into_owned();
    assert!(text(&wire).contains("data: 1:"), "{}", text(&wire));
    assert!(!text(&wire).contains("data: 3:"), "{}", text(&wire));
    // What it reads next begins with the loss.
    batch.records.remove(0);
    assert_eq!(core.deliver(key, &batch), Step::Again);
    let told = text(&wire);
    let gap = told.find("\"gap\"").expect("the loss is told");
    assert!(told.find("data: 3:").is_some_and(|third| gap < third), "{told}");
}

#[test]
fn the_encodings_of_an_update_take_bounded_room_in_the_window() {
    let mut world = World::new(1, u64::MAX);
    let options = stream_options(true, true);
    let sets: Vec<_> = (1..16_usize)
        .map(|set| {
            let topics = TOPICS.iter().enumerate().filter(|(at, _)| set & 1 << at != 0);
            Selectors::new(topics.map(|(_, topic)| Selector::Exact((*topic).into()))).unwrap()
        })
        .collect();
    for selectors in &sets {
        world.join(0, selectors.clone(), options, 0);
    }
    for reader in &world.readers {
        reader.wire.0.borrow_mut().room = usize::MAX / 2;
    }
    // Each of the fifteen sets shows other topics, so each would have a form of its own.
    const BYTES: usize = 1000;
    let before = world.shards[0].0.window.end();
    world.publish(&[0, 1, 2, 3], BYTES, false);
    world.route(0, 1);
    let taken = (world.shards[0].0.window.end() - before) as usize;
    assert!(taken > FORMS_BYTES && taken < FORMS_BYTES + BYTES + 200, "{taken} bytes");
    while world.flush(0) == Flushed::Slice {}
    let left_out = world.readers.iter().filter(|one| one.step != Step::Live).count();
    assert_eq!(left_out, sets.len() - taken / BYTES);
    // The next update reaches every reader once.
    world.publish(&[0, 3], 10, false);
    world.finish();
    world.check();
    for (reader, selectors) in world.readers.iter().zip(&sets) {
        let wire = reader.wire.0.borrow();
        let text = wire.stream();
        let text = String::from_utf8_lossy(&text);
        let event = text.find("data: 1:").expect("everybody wants it");
        let shown = text[..event].matches("topic: ").count();
        assert_eq!(shown, selectors.iter().count(), "{}", &text[..event]);
        // No reader was slow.
        assert!(!text.contains("\"slow\""), "{text}");
    }
}

#[test]
fn neither_encodings_nor_checks_of_rights_grow_with_the_subscribers() {
    let count = |subscribers: usize| {
        let mut world = World::new(1, 1000);
        let selectors = Selectors::topic("a");
        let granted = Selectors::new([Selector::template("{x}").unwrap()]).unwrap();
        let source = Source::Updates {
            selectors,
            rights: Rights::Granted(granted),
            options: StreamOptions::default(),
        };
        let wires: Vec<Wire> = (0..subscribers).map(|_| Wire::default()).collect();
        let shard = &mut world.shards[0].0;
        for wire in &wires {
            wire.0.borrow_mut().room = usize::MAX;
            let key = shard.join(wire.clone(), source.clone(), Start::Live, Vec::new());
            assert_eq!(shard.catch_up(key), Step::Live);
        }
        let checks = tidings_core::model::CHECKS.get();
        let window = world.shards[0].0.window.end();
        for _ in 0..5 {
            world.publish(&[0], 10, true);
        }
        world.route(0, 10);
        while world.flush(0) == Flushed::Slice {}
        let one = wires[0].0.borrow().written.clone();
        assert!(!one.is_empty());
        assert!(wires.iter().all(|wire| wire.0.borrow().written == one));
        (tidings_core::model::CHECKS.get() - checks, world.shards[0].0.window.end() - window)
    };
    let (checks, encoded) = count(1);
    assert_eq!(checks, 5);
    assert_eq!(count(10_000), (checks, encoded));
}
