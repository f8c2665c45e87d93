//! Threads of the hub that fail: what `/healthz` answers, what happens to streams and publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use http::request::Parts;
use tidings_hub::{
    AppendError, Appended, Batch, Before, DiskJournal, DiskOptions, Edges, Follower, Found, Health,
    History, HubId, IdempotencyKey, Journal, Log, MemoryJournal, Missed, Pending, Permissions,
    Position, ReadError, Record, Retention, RevokedTokens, Rights, Room, Selectors, Tail, Update,
};
use tidings_sse::Event;

use crate::client::{Ended, Request, Seen, Stream};
use crate::server::{Lane, Server, TEST_TIME, becomes, on_both_lanes, open, runtime};

/// No shard panics.
const NONE: usize = usize::MAX;

/// A journal in memory whose tail panics on the thread of one shard.
#[derive(Clone, Debug)]
struct Faulty {
    journal: Arc<MemoryJournal>,
    shard: Arc<AtomicUsize>,
}

impl Faulty {
    fn new() -> Self {
        Self {
            journal: Arc::new(MemoryJournal::new(Retention::default())),
            shard: Arc::new(AtomicUsize::new(NONE)),
        }
    }

    fn fail(&self, shard: usize) {
        self.shard.store(shard, Ordering::Release);
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

    fn follow(&self) -> Arc<Follower> {
        self.journal.follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let failing = format!("shard-{}", self.shard.load(Ordering::Acquire));
        assert_ne!(std::thread::current().name(), Some(failing.as_str()), "as a fault would");
        self.journal.tail(after, count, records)
    }

    fn edges(&self) -> Edges {
        self.journal.edges()
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

impl RevokedTokens for Faulty {}

impl Health for Faulty {}

impl Journal for Faulty {}

/// Runs `test` on both lanes against a hub with two shards.
fn on_a_faulty_journal(test: impl AsyncFn(&Server, &Faulty)) {
    for lane in [Lane::Direct, Lane::Body] {
        runtime().block_on(async {
            let journal = Faulty::new();
            let server = Server::start(lane, open().journal(journal.clone())).await;
            let test = test(&server, &journal);
            tokio::time::timeout(TEST_TIME, test).await.expect("the test ends in time");
            server.hub.stop().await;
        });
    }
}

/// The data of the next event, or `None` if the stream has ended.
async fn next(stream: &mut Stream) -> Option<String> {
    loop {
        match stream.next().await {
            Seen::Comment | Seen::Retry(_) => {}
            Seen::Event(event) => return Some(event.data),
            Seen::End => return None,
        }
    }
}

/// Lets the tail panic on one shard's thread while each of the two shards has a stream. Returns the
/// stream that has ended, the one that goes on, and the id of the last update that both got.
async fn fail(server: &Server, journal: &Faulty, shard: usize) -> (Stream, Stream, String) {
    let mut first = server.subscribe("topic=a").await;
    let mut second = server.subscribe("topic=a").await;
    let publish = async |data: &str| {
        let update = Update::new("a", Event::new(data));
        server.hub.publish(update).await.expect("the journal takes it").to_string()
    };
    let id = publish("before").await;
    assert_eq!(first.event().await.data, "before");
    assert_eq!(second.event().await.data, "before");
    journal.fail(shard);
    publish("after").await;
    let failed = server.hub.failed().await;
    assert!(failed.to_string().contains("a shard"), "{failed}");
    match (next(&mut first).await, next(&mut second).await) {
        (None, Some(data)) if data == "after" => (first, second, id),
        (Some(data), None) if data == "after" => (second, first, id),
        other => panic!("one stream ends, and the other goes on: {other:?}"),
    }
}

#[test]
fn a_flusher_that_panics_ends_its_streams_and_the_other_shard_goes_on() {
    on_a_faulty_journal(async |server, journal| {
        let (ended, mut other, id) = fail(server, journal, 1).await;
        // Its client takes that for a cut, and reconnects.
        assert_eq!(ended.ended, Some(Ended::Cut));
        server.streams_become(1).await;
        let health = server.get("/healthz").await;
        assert_eq!((health.status(), health.text()), (503, "a thread of the hub has failed\n"));
        let mut resumed = server.resume("topic=a", id).await;
        assert_eq!(resumed.event().await.data, "after");
        server.tell("a", "later").await;
        for stream in [&mut other, &mut resumed] {
            assert_eq!(next(stream).await.as_deref(), Some("later"));
        }
    });
}

#[test]
fn publishers_do_not_wait_for_a_shard_that_has_failed() {
    on_a_faulty_journal(async |server, journal| {
        let (_ended, mut other, _) = fail(server, journal, 1).await;
        // More than a shard may have before publishers wait for it.
        for _ in 0..15 {
            let data = "x".repeat(100_000);
            server.tell("a", &data).await;
            assert_eq!(next(&mut other).await, Some(data));
        }
    });
}

#[test]
fn the_failure_of_the_first_shard_closes_the_listener_that_it_accepts_for() {
    on_a_faulty_journal(async |server, journal| {
        let (_ended, mut other, _) = fail(server, journal, 0).await;
        if server.lane == Lane::Direct {
            becomes("whether the port is closed", true, async || {
                tokio::net::TcpStream::connect(server.address).await.is_err()
            })
            .await;
        } else {
            assert_eq!(server.get("/healthz").await.status(), 503);
        }
        let update = Update::new("a", Event::new("later"));
        server.hub.publish(update).await.expect("the journal takes it");
        assert_eq!(next(&mut other).await.as_deref(), Some("later"));
    });
}

#[test]
fn a_hub_without_a_shard_answers_that_it_has_failed_and_refuses_streams() {
    runtime().block_on(async {
        let journal = Faulty::new();
        let server = Server::start(Lane::Body, open().shards(1).journal(journal.clone())).await;
        let test = async {
            let mut stream = server.subscribe("topic=a").await;
            journal.fail(0);
            // The journal has it; there is no shard that would deliver it.
            server.tell("a", "stored").await;
            assert_eq!(next(&mut stream).await, None);
            assert_eq!(server.get("/healthz").await.status(), 503);
            let mut refused = server.subscribe("topic=a").await;
            assert_eq!(next(&mut refused).await, None, "told when to reconnect, and closed");
            for _ in 0..20 {
                server.tell("a", &"x".repeat(100_000)).await;
            }
        };
        tokio::time::timeout(TEST_TIME, test).await.expect("the test ends in time");
        server.hub.stop().await;
    });
}

#[test]
fn a_callback_that_panics_ends_only_the_connection_of_its_request() {
    let authorize = |request: &Parts| {
        assert!(!request.headers.contains_key("x-fault"), "as a fault would");
        Permissions::none().subscribe(Rights::Public).publish(Selectors::all())
    };
    on_both_lanes(
        || open().authorize(authorize),
        async |server| {
            let mut stream = server.subscribe("topic=a").await;
            for request in [Request::get("/.well-known/mercure?topic=a"), Request::form("topic=a")]
            {
                let mut connection = server.connect().await;
                connection.send(&request.header("x-fault", "1")).await;
                assert!(connection.try_head().await.is_none(), "the request is not answered");
            }
            server.tell("a", "later").await;
            assert_eq!(next(&mut stream).await.as_deref(), Some("later"));
            server.streams_become(1).await;
            assert_eq!(server.get("/healthz").await.status(), 200);
        },
    );
}

static CLOCK_FAILS: AtomicBool = AtomicBool::new(false);

fn failing_clock() -> SystemTime {
    assert!(!CLOCK_FAILS.load(Ordering::Acquire), "as a fault would");
    SystemTime::now()
}

#[test]
fn a_journal_whose_writer_panics_refuses_publishes_and_still_serves_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = std::sync::atomic::AtomicUsize::new(0);
    let build = || {
        CLOCK_FAILS.store(false, Ordering::Release);
        let name = opened.fetch_add(1, Ordering::Relaxed).to_string();
        let options = DiskOptions::default().now(failing_clock);
        let journal = DiskJournal::open(folder.path().join(name), options);
        open().journal(journal.expect("a journal in a new folder"))
    };
    on_both_lanes(build, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let id = server.tell("a", "one").await;
        server.tell("a", "two").await;
        assert_eq!(stream.data(2).await, ["one", "two"]);
        CLOCK_FAILS.store(true, Ordering::Release);
        for _ in 0..2 {
            let answer = server.ask(Request::form("topic=a&data=lost")).await;
            assert_eq!(answer.status(), 503, "{}", answer.text());
        }
        assert_eq!(server.get("/healthz").await.status(), 503);
        let failed = server.hub.failed().await;
        assert!(failed.to_string().contains("the journal"), "{failed}");
        // Open streams stay, for their service to end; new ones get what was acknowledged.
        assert_eq!(stream.ended, None);
        assert_eq!(server.resume("topic=a", id).await.event().await.data, "two");
    });
}

/// Set for a process that can start no threads.
const CHILD: &str = "TIDINGS_TEST_WITHOUT_THREADS";

#[test]
fn a_hub_whose_threads_cannot_be_started_is_not_built() {
    if std::env::var_os(CHILD).is_none() {
        let child = std::process::Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("failure::a_hub_whose_threads_cannot_be_started_is_not_built")
            .env(CHILD, "1")
            // No system has so much memory for a thread's stack.
            .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
            .output()
            .expect("the program starts");
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{child:?}");
        return;
    }
    // Neither ends with a panic, in which an outer task would fail.
    let built = runtime().block_on(open().build());
    assert!(built.is_err(), "{built:?}");
    #[cfg(feature = "nats")]
    {
        let options = tidings_hub::NatsOptions::of_servers(["nats://127.0.0.1:1"]);
        let opened = runtime().block_on(tidings_hub::NatsJournal::open(options));
        assert!(opened.is_err(), "{opened:?}");
    }
}
