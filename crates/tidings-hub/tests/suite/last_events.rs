//! The last events of a topic, which the operator's page shows.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tidings_hub::{
    AppendError, Appended, Batch, Before, DiskJournal, DiskOptions, Edges, Follower, Found, Health,
    History, HubId, IdempotencyKey, Journal, Log, MemoryJournal, Missed, Pending, Position,
    ReadError, Record, Retention, RevokedTokens, Rights, Room, Selectors, Tail, Update,
};
use tidings_sse::Event;

use crate::client::Request;
use crate::server::{Lane, Server, TEST_TIME, runtime};
use crate::token::{subscriber, with_keys};

/// A journal in memory for more updates than one read examines.
fn in_memory() -> Arc<dyn Journal> {
    Arc::new(MemoryJournal::new(Retention::default().count(200_000).bytes(1 << 30)))
}

/// Runs `test` with an empty journal in memory, then with one on disk.
fn on_both_journals(test: impl AsyncFn(&Arc<dyn Journal>)) {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        test(&in_memory()).await;
        let journal = DiskJournal::open(folder.path().join("journal"), DiskOptions::default());
        let journal: Arc<dyn Journal> = Arc::new(journal.expect("a journal in a new folder"));
        test(&journal).await;
    });
}

/// Runs `test` against a hub on this journal.
async fn on_a_hub(journal: &Arc<dyn Journal>, rival: Option<Update>, test: impl AsyncFn(&Server)) {
    let journal = Filled { journal: Arc::clone(journal), rival };
    let server = Server::start(Lane::Direct, with_keys().shards(1).journal(journal)).await;
    tokio::time::timeout(TEST_TIME, test(&server)).await.expect("the test ends in time");
    server.hub.stop().await;
}

async fn append(journal: &Arc<dyn Journal>, updates: impl IntoIterator<Item = Update>) {
    let updates = updates.into_iter().collect();
    journal.append(updates, None, Room::uncounted()).await.expect("the journal has room");
}

fn update(topic: &str, data: &str) -> Update {
    Update::new(topic, Event::new(data))
}

/// So many updates about another topic.
fn others(count: usize) -> impl Iterator<Item = Update> {
    (0..count).map(|_| update("other", "x"))
}

/// The answer to a request with a token for all topics.
async fn search(server: &Server, topic: &str) -> Value {
    let request = Request::json(&json!({ "topic": topic }).to_string());
    let request = request.to("/operator/topic").bearer(&subscriber(&["*"]));
    let answer = server.ask(request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// The data of the events found, and whether they are all.
async fn found(server: &Server, topic: &str) -> (Vec<String>, bool) {
    let answer = search(server, topic).await;
    let events = answer["events"].as_array().expect("a list");
    let data = events.iter().map(|one| one["data"].as_str().expect("data").to_owned());
    (data.collect(), answer["isComplete"].as_bool().expect("an answer"))
}

#[test]
fn events_after_more_updates_than_one_read_examines_are_found() {
    on_both_journals(async |journal| {
        append(journal, [update("early", "public")]).await;
        append(journal, others(5000)).await;
        append(journal, [update("late", "1"), update("late", "2")]).await;
        append(journal, [update("early", "private").private()]).await;
        on_a_hub(journal, None, async |server| {
            assert_eq!(found(server, "late").await, (vec!["2".to_owned(), "1".to_owned()], true));
            let early = vec!["private".to_owned(), "public".to_owned()];
            assert_eq!(found(server, "early").await, (early, true));
            assert_eq!(found(server, "absent").await, (vec![], true));
        })
        .await;
    });
}

#[test]
fn a_search_that_ends_at_its_limit_says_so() {
    runtime().block_on(async {
        let journal = in_memory();
        append(&journal, [update("first", "1")]).await;
        append(&journal, others(5000)).await;
        append(&journal, [update("deep", "1")]).await;
        for _ in 0..15 {
            append(&journal, others(10_000)).await;
        }
        append(&journal, [update("last", "1")]).await;
        on_a_hub(&journal, None, async |server| {
            assert_eq!(found(server, "deep").await, (vec![], false));
            assert_eq!(found(server, "first").await, (vec!["1".to_owned()], false));
            assert_eq!(found(server, "last").await, (vec!["1".to_owned()], false));
        })
        .await;
    });
}

#[test]
fn large_events_are_shown() {
    on_both_journals(async |journal| {
        let large = "x".repeat(100_000);
        for n in 0..60 {
            let mixed = [update("large", &format!("{n} {large}")), update("other", &large)];
            append(journal, mixed).await;
        }
        on_a_hub(journal, None, async |server| {
            let (events, is_complete) = found(server, "large").await;
            let numbers: Vec<_> = events.iter().filter_map(|data| data.split(' ').next()).collect();
            let expected: Vec<_> = (40..60).rev().map(|n| n.to_string()).collect();
            assert_eq!(
                (numbers, is_complete),
                (expected.iter().map(String::as_str).collect(), true)
            );
        })
        .await;
    });
}

#[test]
fn a_long_type_is_shortened() {
    runtime().block_on(async {
        let journal = in_memory();
        let event = Event::new("x").with_type(&"t".repeat(5000)).expect("a type");
        append(&journal, [Update::new("a", event)]).await;
        on_a_hub(&journal, None, async |server| {
            let answer = search(server, "a").await;
            assert_eq!(answer["events"][0]["type"], "t".repeat(200));
        })
        .await;
    });
}

#[test]
fn an_event_that_is_published_during_the_search_hides_no_earlier_one() {
    on_both_journals(async |journal| {
        append(journal, [update("a", "1")]).await;
        on_a_hub(journal, Some(update("a", "2")), async |server| {
            let (events, is_complete) = found(server, "a").await;
            assert!(is_complete && events.ends_with(&["1".to_owned()]), "{events:?}");
        })
        .await;
    });
}

/// A journal that a test has filled before the hub begins.
#[derive(Debug)]
struct Filled {
    journal: Arc<dyn Journal>,
    /// Published again just before each request for the newest events is read.
    rival: Option<Update>,
}

impl Log for Filled {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        self.journal.append(updates, key, room)
    }

    fn follow(&self) -> Arc<Follower> {
        self.journal.follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        self.journal.tail(after, count, records)
    }

    fn edges(&self) -> Edges {
        self.journal.edges()
    }
}

impl History for Filled {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        self.journal.before(time)
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        self.journal.find(id, selectors, rights)
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        self.journal.missed(after, selectors, rights)
    }

    fn read_at_hand(
        &self,
        after: Position,
        until: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        self.journal.read_at_hand(after, until, selectors, rights)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        self.journal.read(after, until, selectors, rights)
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        Box::pin(async move {
            if let Some(rival) = &self.rival {
                append(&self.journal, [rival.clone()]).await;
            }
            self.journal.read_last(after, until, selectors, rights).await
        })
    }
}

impl RevokedTokens for Filled {}

impl Health for Filled {}

impl Journal for Filled {}
