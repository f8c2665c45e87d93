//! What each call of the journal costs does not depend on how long the stream is.
//!
//! The cost is the number of messages that the connection sends and receives, and their bytes. The
//! work of the server is not counted. The test compares a stream of 1000 updates with one of 50,000,
//! which also has as many times more topics, publishers' ids, and trimmed updates. All but the newest
//! updates are read from the stream: in unit tests a start loads few of them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use tidings_core::journal::once::IdempotencyKey;
use tidings_core::journal::{
    Batch, Health as _, History as _, Log as _, ReadError, RevokedTokens as _, Room, Tail,
};
use tidings_core::model::{
    Epoch, HubId, Position, Record, RevokedToken, Rights, Selector, Selectors, Update,
};
use tidings_sse::Event;

use super::nats::Nats;
use super::{on_a_server, options};
use crate::journal::NatsJournal;
use crate::limits::{BATCH_UPDATES_MAX, NATS_LOADED};
use crate::options::{NatsOptions, NatsRetention, NatsStorage};

const FEW: u64 = 1000;
const MANY: u64 = 50_000;

/// The topic of one update in ten.
const TENTH: &str = "tenth";

/// All updates have the same size, so that as many of them fit into one read.
fn published(n: u64) -> Update {
    let event = Event::new(format!("{n:06}")).with_id(&format!("urn:{n:06}")).unwrap();
    let update = Update::new(format!("topic{n:06}"), event);
    let update = if n.is_multiple_of(10) { update.about(TENTH) } else { update };
    if n.is_multiple_of(7) { update.private() } else { update }
}

/// The messages that a connection sent and received, and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    messages: u64,
    bytes: u64,
}

impl Cost {
    const NONE: Self = Self { messages: 0, bytes: 0 };

    /// All since the journal was opened.
    fn so_far(journal: &NatsJournal) -> Self {
        let count = journal.shared().client().statistics();
        let messages = [&count.in_messages, &count.out_messages];
        let bytes = [&count.in_bytes, &count.out_bytes];
        let [messages, bytes] = [messages, bytes]
            .map(|counts| counts.into_iter().map(|one| one.load(Ordering::Relaxed)).sum());
        Self { messages, bytes }
    }

    fn since(self, before: Self) -> Self {
        Self { messages: self.messages - before.messages, bytes: self.bytes - before.bytes }
    }

    fn min(self, other: Self) -> Self {
        Self { messages: self.messages.min(other.messages), bytes: self.bytes.min(other.bytes) }
    }

    fn times(self, factor: u64) -> Self {
        Self { messages: factor * self.messages, bytes: factor * self.bytes }
    }

    /// Whether it is at most a quarter above `other`: numbers have more digits in a long stream.
    fn is_about(self, other: Self) -> bool {
        let most = |count: u64| count + count / 4;
        self.messages <= most(other.messages) && self.bytes <= most(other.bytes)
    }
}

/// How a cost may grow with the stream.
#[derive(Clone, Copy, Debug)]
enum Growth {
    /// NATS is not asked.
    Free,
    /// Not at all.
    None,
    /// As the stream does.
    Stream,
}

impl Growth {
    fn check(self, what: &str, few: Cost, many: Cost) {
        let is_good = match self {
            Self::Free => few.messages == 0 && many.messages == 0,
            Self::None => few != Cost::NONE && many.is_about(few),
            Self::Stream => !many.is_about(few) && many.is_about(few.times(MANY / FEW)),
        };
        println!("{what}: {few:?} of {FEW} updates, {many:?} of {MANY}");
        assert!(is_good, "{what} grows otherwise than {self:?}: {few:?} becomes {many:?}");
    }
}

/// The topic of one public and one private update, after which memory holds none.
const RARE: &str = "rare";

/// A journal on a stream of that many updates. It has trimmed a tenth of that.
struct Measured {
    journal: NatsJournal,
    /// A public update in the middle of the stream, which has the topic of a tenth.
    middle: Arc<Record>,
    /// The id of an update that was deleted from the stream.
    deleted: HubId,
}

impl Measured {
    async fn new(nats: &Nats, count: u64) -> Self {
        let options = Self::options(nats, count);
        let journal = NatsJournal::open(options.clone()).await.unwrap();
        let rare = || Update::new(RARE, Event::new("rare"));
        let of_the_end = (0..2 * NATS_LOADED).map(|_| Update::new("end", Event::new("end")));
        let end: Vec<_> = [rare(), rare().private()].into_iter().chain(of_the_end).collect();
        let last = count + count / 10;
        let all: Vec<_> = (1..=last - end.len() as u64).map(published).chain(end).collect();
        for some in all.chunks(BATCH_UPDATES_MAX) {
            journal.append(some.to_vec(), None, Room::uncounted()).await.unwrap();
        }
        let record = async |at: u64| {
            let record = journal.shared().record(Position::new(at)).await;
            record.unwrap().expect("the stream has it")
        };
        let middle = record((count / 10 + count / 2) / 70 * 70 + 10).await;
        let deleted = record(count - count / 10).await.hub_id();
        let call = format!("STREAM.MSG.DELETE.{}", options.stream);
        nats.api(&call, &format!("{{\"seq\":{}}}", deleted.position));
        drop(journal);
        // It loads only the newest updates.
        let journal = NatsJournal::open(options).await.unwrap();
        let edges = journal.edges();
        assert_eq!((edges.first.number(), edges.last.position.number()), (count / 10 + 1, last));
        Self { journal, middle, deleted }
    }

    fn options(nats: &Nats, count: u64) -> NatsOptions {
        let retention = NatsRetention::default().count(Some(count)).bytes(Some(64 << 20));
        options(nats, &format!("OF-{count}"))
            .retention(retention)
            // No test here stops the server, and files would take longer.
            .storage(Some(NatsStorage::Memory))
    }

    fn last(&self) -> HubId {
        self.journal.edges().last
    }

    async fn append(&self, updates: Vec<Update>, key: Option<IdempotencyKey>) {
        self.journal.append(updates, key, Room::uncounted()).await.unwrap();
    }

    /// What a read returns of the updates after `after`.
    async fn read(&self, after: Position, selectors: &Selectors) -> Batch {
        let until = self.last().position;
        self.journal.read(after, until, selectors, &GRANTED).await.unwrap()
    }

    async fn read_last(&self, after: Position, topic: &str) -> Result<Batch, ReadError> {
        let until = self.last().position;
        self.journal.read_last(after, until, &Selectors::topic(topic), &GRANTED).await
    }

    async fn find(&self, id: impl ToString) -> Option<HubId> {
        let found = self.journal.find(&id.to_string(), &ALL, &GRANTED).await.unwrap();
        found.map(|found| found.place)
    }

    /// What a call costs. It is repeated, since the journal follows its stream meanwhile. No part of
    /// the stream is kept from an earlier call.
    async fn cost(&self, call: &impl AsyncFn(&Self)) -> Cost {
        let mut least = None;
        for _ in 0..20 {
            self.journal.shared().reader().forget();
            let before = Cost::so_far(&self.journal);
            call(self).await;
            let cost = Cost::so_far(&self.journal).since(before);
            least = Some(least.map_or(cost, |least: Cost| least.min(cost)));
        }
        least.expect("it was called")
    }
}

static ALL: LazyLock<Selectors> = LazyLock::new(Selectors::all);
static GRANTED: LazyLock<Rights> = LazyLock::new(|| Rights::Granted(Selectors::all()));

/// A short stream and a long one.
struct Streams {
    few: Measured,
    many: Measured,
}

impl Streams {
    async fn check(&self, growth: Growth, what: &str, call: impl AsyncFn(&Measured)) {
        growth.check(what, self.few.cost(&call).await, self.many.cost(&call).await);
    }
}

#[test]
fn no_call_sends_or_receives_more_on_a_longer_stream() {
    on_a_server(async |nats| {
        let [few, many] = [Measured::new(nats, FEW).await, Measured::new(nats, MANY).await];
        let streams = Streams { few, many };
        starts(nats).await;
        calls_without_nats(&streams).await;
        searches(&streams).await;
        reads(&streams).await;
        last_updates(&streams).await;
        writes(&streams).await;
    });
}

async fn starts(nats: &Nats) {
    let cost = async |count| {
        let mut least = None;
        for _ in 0..5 {
            let journal = NatsJournal::open(Measured::options(nats, count)).await.unwrap();
            let cost = Cost::so_far(&journal);
            least = Some(least.map_or(cost, |least: Cost| least.min(cost)));
        }
        least.expect("it was opened")
    };
    Growth::None.check("a start", cost(FEW).await, cost(MANY).await);
}

async fn calls_without_nats(streams: &Streams) {
    let call = async |measured: &Measured| {
        let journal = &measured.journal;
        let (follower, last) = (journal.follow(), measured.last());
        let mut records = Vec::new();
        let tail = journal.tail(follower.begin(), 10, &mut records);
        assert_eq!((tail, records.len()), (Tail::Through(last.position), 0));
        assert!(journal.edges().midpoint < last.position && journal.generation() == 0);
        assert!(journal.update_bytes_max().is_some() && journal.revoked().is_empty());
        assert!(journal.is_running() && journal.trouble().is_none());
    };
    streams.check(Growth::Free, "the tail, the edges and the health", call).await;
    let call = async |measured: &Measured| {
        let last = measured.last().position;
        let after = Position::new(last.number() - NATS_LOADED / 2);
        let batch = measured.journal.read_at_hand(after, last, &ALL, &GRANTED);
        assert!(!batch.expect("memory has them").records.is_empty());
        let batch = measured.journal.read_at_hand(measured.middle.position, last, &ALL, &GRANTED);
        assert!(batch.is_none());
    };
    streams.check(Growth::Free, "a read of updates at hand", call).await;
}

async fn searches(streams: &Streams) {
    let call = async |measured: &Measured| {
        let (last, epoch) = (measured.last(), measured.last().epoch);
        let other = HubId::start(Epoch::new(epoch.number() ^ 1));
        let trimmed = HubId::of_dropped(epoch, Position::new(1));
        assert_eq!(measured.find(last).await, Some(last));
        assert_eq!(measured.find(trimmed).await, Some(trimmed));
        assert_eq!(measured.find(other).await, None);
    };
    streams.check(Growth::Free, "the hub's id of an update at hand, or of none", call).await;
    let call = async |measured: &Measured| {
        let id = measured.middle.hub_id();
        assert_eq!(measured.find(id).await, Some(id));
    };
    streams.check(Growth::None, "the hub's id of an update in the stream", call).await;
    let call = async |measured: &Measured| {
        assert_eq!(measured.find(measured.deleted).await, Some(measured.deleted));
    };
    streams.check(Growth::None, "the hub's id of a deleted update", call).await;
    let call = async |measured: &Measured| {
        // The journal knows the ids of the newest updates only.
        assert_eq!(measured.find(measured.middle.id().as_str()).await, None);
        assert_eq!(measured.find("urn:unknown").await, None);
    };
    streams.check(Growth::Free, "a publisher's id that is not known", call).await;
    let call = async |measured: &Measured| {
        let before = measured.journal.before(measured.middle.time).await.unwrap();
        assert!(before.place.position < measured.middle.position);
        assert!(before.place.position > measured.journal.edges().first);
    };
    streams.check(Growth::None, "a time in the stream", call).await;
    let call = async |measured: &Measured| {
        let before = measured.journal.before(SystemTime::UNIX_EPOCH).await.unwrap();
        assert_eq!(before.place.position, measured.journal.edges().first.previous());
    };
    streams.check(Growth::None, "a time before the stream", call).await;
    let call = async |measured: &Measured| {
        let later = SystemTime::now() + Duration::from_secs(3600);
        let before = measured.journal.before(later).await.unwrap();
        assert_eq!(before.place, measured.last());
    };
    streams.check(Growth::Free, "a time after the stream", call).await;
}

async fn reads(streams: &Streams) {
    let call = async |measured: &Measured| {
        let batch = measured.read(measured.middle.position, &ALL).await;
        assert!(!batch.records.is_empty() && batch.through < measured.last().position);
    };
    streams.check(Growth::None, "a read of all topics", call).await;
    let call = async |measured: &Measured| {
        let nothing = Selectors::new([Selector::template("nothing{x}").unwrap()]).unwrap();
        for selectors in [Selectors::topic(TENTH), Selectors::topic("nothing"), nothing] {
            let batch = measured.read(measured.middle.position, &selectors).await;
            assert!(batch.through > measured.middle.position);
            assert!(batch.through < measured.last().position);
        }
    };
    streams.check(Growth::None, "reads of some topics", call).await;
    let call = async |measured: &Measured| {
        let batch = measured.read(Position::new(1), &ALL).await;
        assert!(batch.missed.is_some());
    };
    streams.check(Growth::None, "a read that begins at a trimmed update", call).await;
    let call = async |measured: &Measured| {
        let missed = measured.journal.missed(Position::new(1), &ALL, &GRANTED).await.unwrap();
        assert_eq!(missed.unwrap().resume.position, measured.journal.edges().first.previous());
    };
    streams.check(Growth::None, "what a subscriber missed", call).await;
    let call = async |measured: &Measured| {
        let first = measured.journal.edges().first;
        assert_eq!(measured.journal.missed(first, &ALL, &GRANTED).await.unwrap(), None);
    };
    streams.check(Growth::Free, "that a subscriber missed nothing", call).await;
}

async fn last_updates(streams: &Streams) {
    let learn = async |measured: &Measured| {
        let before = Cost::so_far(&measured.journal);
        while measured.read_last(Position::START, RARE).await.is_err() {
            // The journal's thread has a turn before the next look.
            measured.journal.shared().client().flush().await.unwrap();
        }
        Cost::so_far(&measured.journal).since(before)
    };
    let (few, many) = (learn(&streams.few).await, learn(&streams.many).await);
    Growth::Stream.check("the first read of last updates", few, many);
    let call = async |measured: &Measured| {
        let batch = measured.read_last(Position::START, RARE).await.unwrap();
        assert_eq!((batch.records.len(), batch.through), (2, measured.last().position));
    };
    streams.check(Growth::None, "the last updates of a topic", call).await;
    let call = async |measured: &Measured| {
        // Of so many topics the journal has forgotten some.
        let batch = measured.read_last(measured.middle.position, TENTH).await.unwrap();
        assert!(batch.through > measured.middle.position);
        assert!(batch.through < measured.last().position);
    };
    streams.check(Growth::None, "the last updates of a forgotten topic", call).await;
}

async fn writes(streams: &Streams) {
    let some = || (1..=10).map(published).collect::<Vec<_>>();
    let call = async |measured: &Measured| measured.append(vec![published(1)], None).await;
    streams.check(Growth::None, "an append of one update", call).await;
    let call = async |measured: &Measured| measured.append(some(), None).await;
    streams.check(Growth::None, "an append of ten updates", call).await;
    let call = async |measured: &Measured| {
        let key = IdempotencyKey::new("key", b"").unwrap();
        measured.append(some(), Some(key)).await;
    };
    // From now on the key is known.
    call(&streams.few).await;
    call(&streams.many).await;
    streams.check(Growth::None, "an append under a known key", call).await;
    let call = async |measured: &Measured| {
        let token = RevokedToken::new("jti:a".to_owned(), None);
        measured.journal.revoke(token).await.unwrap();
    };
    streams.check(Growth::None, "a revocation", call).await;
}
