//! A journal whose tail is followed from afar: updates may be trimmed before they were followed,
//! and the journal may be reset.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use parking_lot::Mutex;
use tidings_hub::{
    AppendError, Appended, Batch, Before, Edges, Follower, Found, Health, History, HubId,
    IdempotencyKey, Journal, Log, MemoryJournal, Missed, Pending, Position, ReadError, Record,
    Retention, RevokedTokens, Rights, Room, Selectors, Tail, Update,
};

use crate::client::{Request, Seen};
use crate::server::{Lane, Server, TEST_TIME, open, runtime};

/// A journal in memory that shows its tail only on command, and meanwhile trims to its bounds, even
/// for followers.
#[derive(Clone, Debug)]
struct Remote(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    journal: Arc<MemoryJournal>,
    followers: Vec<Weak<Follower>>,
    /// Bytes that were appended and not shown.
    hidden: u64,
}

/// An empty journal that keeps so many updates.
fn keeping(count: u64) -> Arc<MemoryJournal> {
    Arc::new(MemoryJournal::new(Retention::default().count(count)))
}

fn now<T>(mut pending: Pending<'_, T>) -> T {
    match pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory journal never waits"),
    }
}

impl Remote {
    fn new(count: u64) -> Self {
        let journal = keeping(count);
        Self(Arc::new(Mutex::new(State { journal, followers: Vec::new(), hidden: 0 })))
    }

    fn journal(&self) -> Arc<MemoryJournal> {
        Arc::clone(&self.0.lock().journal)
    }

    /// Shows the tail to all followers.
    fn show(&self) {
        let mut state = self.0.lock();
        let bytes = std::mem::take(&mut state.hidden);
        let end = state.journal.edges().last.position;
        for follower in state.followers.iter().filter_map(Weak::upgrade) {
            follower.show(end, bytes);
        }
    }

    /// Puts another journal in the place of this one.
    fn reset(&self, journal: Arc<MemoryJournal>) {
        let mut state = self.0.lock();
        state.journal = journal;
        state.hidden = 0;
        drop(state);
        self.show();
    }
}

impl Log for Remote {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        let mut state = self.0.lock();
        // Its texts are what counts here.
        state.hidden += updates.iter().map(|one| one.event().data().len() as u64).sum::<u64>();
        let journal = Arc::clone(&state.journal);
        Box::pin(async move { journal.append(updates, key, room).await })
    }

    fn follow(&self) -> Arc<Follower> {
        let mut state = self.0.lock();
        let follower = Arc::new(Follower::at(state.journal.edges().last));
        state.followers.push(Arc::downgrade(&follower));
        follower
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let journal = self.journal();
        let gone = now(journal.missed(after.position, &Selectors::all(), &Rights::Public))
            .expect("memory can be read");
        match gone.filter(|_| after.epoch == journal.edges().last.epoch) {
            Some(missed) => Tail::Dropped(missed.resume),
            None => journal.tail(after, count, records),
        }
    }

    fn edges(&self) -> Edges {
        self.journal().edges()
    }
}

impl History for Remote {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        let journal = self.journal();
        Box::pin(async move { journal.before(time).await })
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        let journal = self.journal();
        Box::pin(async move { journal.find(id, selectors, rights).await })
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let journal = self.journal();
        Box::pin(async move { journal.missed(after, selectors, rights).await })
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let journal = self.journal();
        Box::pin(async move { journal.read(after, until, selectors, rights).await })
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let journal = self.journal();
        Box::pin(async move { journal.read_last(after, until, selectors, rights).await })
    }
}

impl RevokedTokens for Remote {}

impl Health for Remote {}

impl Journal for Remote {}

/// Runs `test` on both lanes against a hub on a journal that keeps this many updates. With several
/// shards, one learns of a reset before another: a client that reconnects in between is closed and
/// reconnects once more.
fn on_a_remote(count: u64, test: impl AsyncFn(&Server, &Remote)) {
    for lane in [Lane::Direct, Lane::Body] {
        runtime().block_on(async {
            let journal = Remote::new(count);
            let server = Server::start(lane, open().shards(1).journal(journal.clone())).await;
            let test = test(&server, &journal);
            tokio::time::timeout(TEST_TIME, test).await.expect("the test ends in time");
            server.hub.stop().await;
        });
    }
}

#[test]
fn updates_trimmed_before_they_were_followed_are_reported_to_the_subscribers_that_missed_them() {
    on_a_remote(3, async |server, journal| {
        let mut one = server.subscribe("topic=a&tidings=notices").await;
        let mut all = server.subscribe("topic=*").await;
        let mut other = server.subscribe("topic=other").await;
        one.event().await.notice("live");
        server.tell("a", "1").await;
        journal.show();
        for stream in [&mut one, &mut all] {
            assert_eq!(stream.event().await.data, "1");
        }
        let mut ids = Vec::new();
        for n in 2..=9 {
            ids.push(server.tell("a", &n.to_string()).await);
        }
        journal.show();
        let mut last = String::new();
        for stream in [&mut one, &mut all] {
            let gap = stream.event().await;
            let notice = gap.notice("gap");
            assert_eq!(notice["oldest"], ids[5]);
            // Nobody asked for anything on an open stream.
            assert!(notice.get("asked").is_none(), "{notice}");
            gap.id().clone_into(&mut last);
            assert_eq!(last, ids[4]);
            // No reader was slow, so none is told to be.
            assert_eq!(stream.data(3).await, ["7", "8", "9"]);
        }
        server.tell("other", "10").await;
        journal.show();
        assert_eq!(other.event().await.data, "10");
        assert_eq!(all.event().await.data, "10");
        assert_eq!(server.metric("tidings_gaps_total{cause=\"slow\"}").await, 2.0);
        // Whoever loses the connection now is not told a second time.
        let mut again = server.resume("topic=a", &ids[5]).await;
        assert_eq!(again.data(2).await, ["8", "9"]);
    });
}

#[test]
fn publishers_do_not_wait_for_trimmed_updates() {
    on_a_remote(2, async |server, journal| {
        let mut stream = server.subscribe("topic=a").await;
        // Far more than may wait to be offered.
        let large = "x".repeat(200_000);
        for _ in 0..20 {
            server.tell("a", &large).await;
        }
        journal.show();
        stream.event().await.notice("gap");
        assert_eq!(stream.data(2).await, [large.as_str(), &large]);
        server.tell("a", "next").await;
        journal.show();
        assert_eq!(stream.event().await.data, "next");
    });
}

#[test]
fn a_subscriber_of_a_journal_that_was_reset_reconnects_to_a_reset() {
    // The new one ends before the old one's end, at it and after it.
    for updates in [0, 3, 8] {
        on_a_remote(100, async |server, journal| {
            let mut stream = server.subscribe("topic=a").await;
            let mut last = String::new();
            for n in 1..=3 {
                server.tell("a", &n.to_string()).await;
            }
            journal.show();
            for n in 1..=3 {
                let event = stream.event().await;
                assert_eq!(event.data, n.to_string());
                event.id().clone_into(&mut last);
            }
            let new = keeping(100);
            for _ in 0..updates {
                let foreign = Update::new("a", tidings_sse::Event::new("of another journal"));
                now(new.append(vec![foreign], None, Room::uncounted())).unwrap();
            }
            journal.reset(new);
            assert_eq!(stream.rest().await, [], "the stream went on");
            let mut back = server.resume("topic=a", &last).await;
            assert_eq!(back.cursor().as_deref(), Some("earliest"));
            let reset = back.event().await;
            assert_eq!(reset.notice("reset")["asked"], last);
            let mut fresh = server.subscribe("topic=a&tidings=notices").await;
            fresh.event().await.notice("live");
            server.tell("a", "second").await;
            journal.show();
            for stream in [&mut back, &mut fresh] {
                assert_eq!(stream.event().await.data, "second");
            }
        });
    }
}

#[test]
fn the_clock_ends_with_the_journal_and_begins_again() {
    on_a_remote(100, async |server, journal| {
        server.tell("a", "1").await;
        journal.show();
        let mut clock = server.open(Request::get("/sse")).await;
        // What it begins with comes from its shard, so it is there.
        assert_eq!(clock.next().await, Seen::Comment);
        journal.reset(keeping(100));
        while clock.next().await != Seen::End {}
        let mut clock = server.open(Request::get("/sse")).await;
        clock.event().await;
    });
}
