//! The thread of the journal on NATS, or one of its tasks, fails: what `/healthz` and `/readyz`
//! answer, and what happens to streams, publishes and the other hubs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tidings_hub::{
    AnswerRoom, AppendError, Appended, Batch, Before, Edges, Follower, Found, Health, History, Hub,
    HubId, IdempotencyKey, Journal, Log, Missed, NatsJournal, NatsOptions, Node, Nodes, OtherHub,
    Pending, Position, ReadError, Record, RevokedToken, RevokedTokens, Rights, Room, Selectors,
    Tail, Update,
};

use crate::client::{Answer, HUB, Request};
use crate::jetstream::{heartbeats, hub, on, options, stop};
use crate::jetstream_apart::{reads, token};
use crate::nats::Nats;
use crate::server::{Lane, Server, becomes};
use crate::token::{access, publisher, subscriber};

/// What panics.
#[derive(Debug, Default)]
struct Faults {
    /// The thread of the journal, when it passes on a revocation.
    thread: AtomicBool,
    /// A task on this thread, when it answers another hub.
    answer: AtomicBool,
}

/// A journal on NATS whose thread runs faulty code of the hub.
#[derive(Debug)]
struct Faulty {
    journal: NatsJournal,
    faults: Arc<Faults>,
}

impl Faulty {
    fn nodes_on_nats(&self) -> &dyn Nodes {
        self.journal.nodes().expect("hubs share it")
    }
}

impl Log for Faulty {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        self.journal.append(updates, key, room)
    }

    fn update_bytes_max(&self) -> Option<usize> {
        self.journal.update_bytes_max()
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

    fn generation(&self) -> u64 {
        self.journal.generation()
    }
}

impl History for Faulty {
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
        self.journal.read_last(after, until, selectors, rights)
    }
}

impl RevokedTokens for Faulty {
    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        self.journal.revoke(token)
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.journal.revoked()
    }
}

impl Health for Faulty {
    fn is_running(&self) -> bool {
        self.journal.is_running()
    }

    fn trouble(&self) -> Option<String> {
        self.journal.trouble()
    }
}

impl Journal for Faulty {
    fn nodes(&self) -> Option<&dyn Nodes> {
        Some(self)
    }
}

impl Nodes for Faulty {
    fn join(&self, node: Arc<dyn Node>) {
        self.nodes_on_nats().join(Arc::new(FaultyNode { node, faults: Arc::clone(&self.faults) }));
    }

    fn know_revocations(&self) -> bool {
        self.nodes_on_nats().know_revocations()
    }

    fn until_known(&self) -> Pending<'_, ()> {
        self.nodes_on_nats().until_known()
    }

    fn own_name(&self) -> Option<String> {
        self.nodes_on_nats().own_name()
    }

    fn others(&self) -> Vec<OtherHub> {
        self.nodes_on_nats().others()
    }

    fn ask<'a>(
        &'a self,
        question: Vec<u8>,
        room: &'a mut AnswerRoom,
    ) -> Pending<'a, Result<Vec<Vec<u8>>, ReadError>> {
        self.nodes_on_nats().ask(question, room)
    }
}

/// The hub, as the thread of the journal calls it.
struct FaultyNode {
    node: Arc<dyn Node>,
    faults: Arc<Faults>,
}

impl Node for FaultyNode {
    fn answer(&self, question: Vec<u8>) -> Pending<'static, Bytes> {
        let answer = self.node.answer(question);
        let fails = self.faults.answer.load(Ordering::Acquire);
        Box::pin(async move {
            assert!(!fails, "as a fault would");
            answer.await
        })
    }

    fn has_short_answer(&self, question: &[u8]) -> bool {
        self.node.has_short_answer(question)
    }

    fn revoked(&self, token: RevokedToken) -> Pending<'static, ()> {
        assert!(!self.faults.thread.load(Ordering::Acquire), "as a fault would");
        self.node.revoked(token)
    }

    fn barred(&self) -> Vec<RevokedToken> {
        self.node.barred()
    }
}

async fn faulty(options: NatsOptions) -> (Server, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let journal = NatsJournal::open(options).await.expect("the stream can be used");
    let hub = Hub::builder()
        .shards(2)
        .heartbeat(Duration::from_millis(80))
        .access(access())
        .admin(true)
        .journal(Faulty { journal, faults: Arc::clone(&faults) });
    (Server::start(Lane::Direct, hub).await, faults)
}

async fn publish(server: &Server, topic: &str, data: &str) -> Answer {
    let form = Request::form(&format!("topic={topic}&data={data}"));
    server.ask(form.bearer(&publisher(&["*"]))).await
}

#[test]
fn a_thread_of_the_journal_that_panics_refuses_publishes_and_ends_no_stream() {
    on(Nats::one(), async |nats| {
        let hasty = options(&nats).publish_wait(Duration::from_millis(600));
        let ((failing, faults), other) = (faulty(hasty).await, hub(options(&nats)).await);
        let mut streams = [failing.subscribe("topic=a").await, other.subscribe("topic=a").await];
        let id = publish(&failing, "a", "one").await.id();
        publish(&failing, "a", "two").await;
        publish(&failing, "x", "secret&private=on").await;
        let token = token("t");
        assert!(reads(&failing, &token).await);
        for stream in &mut streams {
            assert_eq!(stream.data(2).await, ["one", "two"]);
        }
        faults.thread.store(true, Ordering::Release);
        // The thread passes it on to its hub.
        let revoked = async {
            let journal = NatsJournal::open(options(&nats)).await.expect("the same stream");
            journal.revoke(RevokedToken::new("jti:a".to_owned(), None)).await
        };
        // Publishes that wait meanwhile are answered too.
        let published = async {
            loop {
                let (one, two) =
                    tokio::join!(publish(&failing, "b", "x"), publish(&failing, "b", "x"));
                match (one.status(), two.status()) {
                    (200, 200) => {}
                    statuses => break statuses,
                }
            }
        };
        let (revoked, statuses) = tokio::join!(revoked, published);
        revoked.expect("NATS has it");
        assert!(matches!(statuses, (200 | 503, 200 | 503)), "{statuses:?}");
        let failed = failing.hub.failed().await;
        assert!(failed.to_string().contains("the journal"), "{failed}");
        for _ in 0..2 {
            let answer = publish(&failing, "a", "lost").await;
            assert_eq!(answer.status(), 503, "{}", answer.text());
        }
        let health = failing.get("/healthz").await;
        assert_eq!((health.status(), health.text()), (503, "a thread of the hub has failed\n"));
        // The other hubs go on without it.
        other.tell("a", "three").await;
        let [failing_stream, other_stream] = &mut streams;
        assert_eq!(other_stream.event().await.data, "three");
        assert_eq!(other.get("/healthz").await.status(), 200);
        // Its open streams stay, for its service to end. They get heartbeats, and nothing else.
        heartbeats(failing_stream, 3).await;
        // New streams get from memory what came before.
        let mut resumed = failing.resume("topic=a", &id).await;
        assert_eq!(resumed.event().await.data, "two");
        heartbeats(&mut resumed, 3).await;
        // It no longer hears of revocations.
        let unready = async || failing.get("/readyz").await.status() == 503;
        becomes("whether it is not ready", true, unready).await;
        let ready = failing.get("/readyz").await;
        assert!(ready.text().contains("revocations"), "{}", ready.text());
        assert!(!reads(&failing, &token).await);
        stop(&[&failing, &other]).await;
    });
}

#[test]
fn an_answer_to_another_hub_that_panics_fails_only_the_list_of_that_hub() {
    on(Nats::one(), async |nats| {
        let (failing, faults) = faulty(options(&nats)).await;
        let (other, _) = faulty(options(&nats)).await;
        let _stream = failing.subscribe("topic=a").await;
        let list = async |server: &Server| {
            let request = Request::get(&format!("{HUB}/subscriptions"));
            server.ask(request.bearer(&subscriber(&["*"]))).await
        };
        let listed = async || {
            let answer = list(&other).await;
            answer.status() == 200 && answer.text().contains("\"topic\":\"a\"")
        };
        becomes("whether the other hub lists the stream", true, listed).await;
        let path =
            list(&failing).await.json()["subscriptions"][0]["id"].as_str().unwrap().to_owned();
        faults.answer.store(true, Ordering::Release);
        let answer = list(&other).await;
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.text().contains("does not answer"), "{}", answer.text());
        let end = Request::new("DELETE", &path).bearer(&publisher(&["*"]));
        assert_eq!(other.ask(end).await.status(), 503);
        assert_eq!(list(&failing).await.status(), 200);
        for server in [&failing, &other] {
            assert_eq!(server.get("/healthz").await.status(), 200);
            assert_eq!(server.get("/readyz").await.status(), 200);
            assert_eq!(publish(server, "a", "x").await.status(), 200);
        }
        // More panics than there are turns for answers leave room for the next one.
        let asked = (0..40).map(|_| list(&other));
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.status(), 503, "{}", answer.text());
        }
        faults.answer.store(false, Ordering::Release);
        becomes("whether the other hub lists the stream", true, listed).await;
        stop(&[&failing, &other]).await;
    });
}
