use std::future::poll_fn;
use std::time::Duration;

use tidings_core::journal::{Journal, Log, LossNumber, Retention, Room};
use tidings_core::model::{
    Cursor, Position, Rights, Selector, Selectors, StreamOptions, TokenId, Update,
};
use tidings_core::stream::feed::Source;
use tidings_core::stream::notice::GapCause;
use tidings_core::stream::start::{Start, StartFrom, StartPlace, StartRequest};
use tidings_core::stream::wire;
use tidings_sse::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::super::lane::body::{StreamBody, hand_over};
use super::super::thread::{ShardContext, ShardInit};
use super::*;
use crate::access::{Dialects, Grants, Revoked};
use crate::admission::Admission;
use crate::budget::Budget;
use crate::journal::{MemoryJournal, small_memory};
use crate::limits::{LAST_READ_TIME, Limits, ROUTE_FEEDS};
use crate::metrics::Metrics;
use crate::presence::Presence;

fn thread(journal: &Arc<MemoryJournal>) -> Rc<ShardThread> {
    local_with(journal, None)
}

fn local_with(journal: &Arc<MemoryJournal>, presence: Option<Arc<Presence>>) -> Rc<ShardThread> {
    let shared = ShardContext {
        journal: Arc::clone(journal) as Arc<dyn Journal>,
        metrics: Arc::new(Metrics::default()),
        heartbeat: Duration::from_secs(15),
        relief: Arc::new(Notify::new()),
        presence,
        admission: Admission::new(Limits::default()),
        requests: Budget::new(1 << 20),
        feeds: Arc::default(),
        shards: 1,
    };
    Rc::new(ShardThread::new(ShardInit {
        index: 0,
        shared,
        follower: journal.follow(),
        load: Arc::default(),
        unoffered: Arc::default(),
    }))
}

/// The start of a stream that waits for the journal.
fn unlocated(cursor: Cursor) -> Start {
    Start::Unlocated(Box::new(StartRequest {
        cursor,
        selectors: Selectors::all(),
        rights: Rights::Public,
        notices: false,
        tell_place: None,
    }))
}

/// Adds a subscriber of these topics.
fn subscribe(thread: &Rc<ShardThread>, topics: [&str; 2]) -> StreamBody {
    subscribe_as(thread, topics, Start::Live)
}

/// Adds a subscriber of these topics, whose stream begins here.
fn subscribe_as(thread: &Rc<ShardThread>, topics: [&str; 2], start: Start) -> StreamBody {
    let selectors = topics.map(|topic| Selector::Exact(topic.into()));
    subscribe_with(thread, Selectors::new(selectors).unwrap(), start, None)
}

fn subscribe_with(
    thread: &Rc<ShardThread>,
    selectors: Selectors,
    start: Start,
    grants: Option<Arc<Grants>>,
) -> StreamBody {
    let rights = grants.as_ref().map_or(Rights::Public, |grants| grants.subscribe.clone());
    let source = Source::Updates { selectors, rights, options: StreamOptions::default() };
    let (socket, body) = hand_over(None);
    let permit = thread.shared.admission.stream().unwrap();
    let opening = NewStream { source, start, bytes: wire::HEARTBEAT.to_vec(), permit, grants };
    thread.attach(LaneSocket::Body(socket), opening);
    body
}

#[tokio::test]
async fn routing_stops_after_many_feeds_and_lets_other_tasks_run() {
    let journal = Arc::new(small_memory(Retention::default()));
    let routing = async {
        let thread = thread(&journal);
        let subscribers = 2 * ROUTE_FEEDS;
        let bodies: Vec<_> =
            (0..subscribers).map(|n| subscribe(&thread, ["all", &n.to_string()])).collect();
        assert_eq!(thread.shard.borrow().feeds.len(), subscribers);
        let update = |topic: &str| Update::new(topic, Event::new("x"));
        // One that all want, then some that few want, then another.
        let mut updates = vec![update("all")];
        updates.extend((0..ROUTE_FEEDS / 2).map(|n| update(&n.to_string())));
        updates.push(update("all"));
        journal.append(updates, None, Room::uncounted()).await.unwrap();
        let mut records = Vec::new();
        let mut turn = || {
            let more = thread.flush_slice(&mut records);
            (more, thread.follower.taken().number() as usize)
        };
        assert_eq!(turn(), (true, 1));
        // Few feeds are reached, so that the last one begins in the same turn.
        assert_eq!(turn(), (true, ROUTE_FEEDS / 2 + 2));
        while turn().0 {}
        assert_eq!(bodies.len(), thread.keys().len());
    };
    LocalSet::new().run_until(routing).await;
}

#[tokio::test]
async fn a_notice_to_a_reader_that_is_behind_has_no_id() {
    let journal = Arc::new(small_memory(Retention::default()));
    let telling = async {
        let thread = thread(&journal);
        let live = subscribe(&thread, ["a", "b"]);
        let waiting = subscribe_as(&thread, ["a", "b"], unlocated(Cursor::Now));
        let shard = thread.shard.borrow();
        let told: Vec<_> = shard
            .subscribers
            .iter()
            .map(|(key, one)| {
                let bytes = shard.notice(key, &Notice::Revoked, None);
                let has_id = String::from_utf8_lossy(&bytes).contains("\nid: ");
                (!one.is_live(), has_id)
            })
            .collect();
        assert_eq!(told, [(false, true), (true, false)]);
        drop((live, waiting));
    };
    LocalSet::new().run_until(telling).await;
}

/// All that a subscriber over TCP, whose stream begins here, receives until `what` arrives or the
/// stream is cut.
async fn read(thread: &Rc<ShardThread>, start: Start, token: &str, what: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let grants = Grants {
        subscribe: Rights::Granted(Selectors::all()),
        token: Some(TokenId::named(token)),
        ..Grants::default()
    };
    let source = Source::Updates {
        selectors: Selectors::all(),
        rights: grants.subscribe.clone(),
        options: StreamOptions::default(),
    };
    let opening = NewStream {
        source,
        start,
        bytes: wire::HEARTBEAT.to_vec(),
        permit: thread.shared.admission.stream().unwrap(),
        grants: Some(Arc::new(grants)),
    };
    thread.attach_tcp(Transport::Tcp(stream), Framing::Chunked, opening);
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(what) {
        if client.read_buf(&mut text).await.unwrap() == 0 {
            break;
        }
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_token_that_was_revoked_while_its_stream_opened_reads_nothing() {
    let journal = Arc::new(small_memory(Retention::default()));
    let running = async {
        let revoked = Arc::new(Revoked::default());
        let presence = Presence::new(Dialects::All, Arc::clone(&revoked), false);
        let thread = local_with(&journal, Some(Arc::new(presence)));
        // Another subscriber of the same topic, so that the window has it.
        let selectors = Selectors::all();
        let rights = Rights::Granted(Selectors::all());
        let grants = Arc::new(Grants { subscribe: rights, ..Grants::default() });
        let follower = subscribe_with(&thread, selectors, Start::Live, Some(grants));
        let updates = (0..10).map(|_| Update::new("a", Event::new("secret")).private()).collect();
        journal.append(updates, None, Room::uncounted()).await.unwrap();
        let mut records = Vec::new();
        while thread.flush_slice(&mut records) {}

        let end = journal.edges().last;
        let after = |position| {
            let from = StartFrom::After(position);
            Start::Located(StartPlace { from, told: LossNumber::NONE, end, generation: 0 })
        };
        assert!(read(&thread, after(Position::START), "good", "secret").await.contains("secret"));
        revoked.add(TokenId::named("bad"), None);
        let unlocated = unlocated(Cursor::Earliest);
        for start in [after(Position::START), after(end.position), unlocated] {
            let text = read(&thread, start, "bad", "secret").await;
            assert!(text.starts_with("2\r\n:\n\r\n"), "{text}");
            assert!(text.contains("\"kind\":\"revoked\""), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        drop(follower);
    };
    LocalSet::new().run_until(running).await;
}

#[tokio::test]
async fn a_loss_counts_once_and_not_before_it_is_reported() {
    let journal = Arc::new(small_memory(Retention::default()));
    let running = async {
        let thread = thread(&journal);
        let rights = Rights::Public;
        let (socket, mut body) = hand_over(None);
        let opening = NewStream {
            source: Source::Updates {
                selectors: Selectors::all(),
                rights,
                options: StreamOptions::default(),
            },
            start: unlocated(Cursor::After("unknown".to_owned())),
            bytes: wire::HEARTBEAT.to_vec(),
            permit: thread.shared.admission.stream().unwrap(),
            grants: None,
        };
        thread.attach(LaneSocket::Body(socket), opening);
        // A heartbeat is left, so that what is found first is thrown away.
        for key in thread.keys() {
            let mut shard = thread.shard.borrow_mut();
            shard.behind_mut(key).expect("it waits").add_own(wire::HEARTBEAT);
        }
        let is_told = || thread.shared.metrics.gaps(GapCause::Reset) == 1;
        let is_full = || {
            let shard = thread.shard.borrow();
            shard.subscribers.iter().any(|(_, one)| one.behind.get().is_some_and(|b| b.is_full()))
        };
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(is_full() && !is_told());
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains("\"kind\":\"reset\"") {
            assert!(!is_told());
            text.extend(poll_fn(|context| body.poll_bytes(context)).await.expect("more bytes"));
        }
        assert!(is_told(), "it counts once");
    };
    LocalSet::new().run_until(running).await;
}

/// A subscriber over TCP that has read the beginning of its stream.
async fn connect(thread: &Rc<ShardThread>, framing: Framing) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (rights, options) = (Rights::Public, StreamOptions::default());
    let opening = NewStream {
        source: Source::Updates { selectors: Selectors::all(), rights, options },
        start: Start::Live,
        bytes: wire::HEARTBEAT.to_vec(),
        permit: thread.shared.admission.stream().unwrap(),
        grants: None,
    };
    thread.attach_tcp(Transport::Tcp(stream), framing, opening);
    // Two bytes without a chunk around them, else more.
    client.read_exact(&mut [0; 2]).await.unwrap();
    client
}

/// Drains a hub with one subscriber, which does this once it has read the notice. Checks how long
/// the drain takes.
async fn drain<Then: Future>(
    framing: Framing,
    time: Duration,
    then: impl FnOnce(TcpStream) -> Then,
) {
    let journal = Arc::new(small_memory(Retention::default()));
    let draining = async {
        let thread = thread(&journal);
        let mut client = connect(&thread, framing).await;
        let begun = Instant::now();
        let reading = async {
            let mut text = Vec::new();
            let end = if framing == Framing::Chunked { "\n\n\r\n" } else { "\n\n" };
            let is_whole = |text: &str| text.contains("\"draining\"") && text.ends_with(end);
            while !is_whole(&String::from_utf8_lossy(&text)) {
                assert_ne!(client.read_buf(&mut text).await.unwrap(), 0);
            }
            assert_eq!(begun.elapsed(), Duration::ZERO);
            then(client).await;
        };
        tokio::join!(thread.drain(Duration::ZERO), reading);
        assert_eq!(begun.elapsed(), time);
        assert_eq!(thread.shared.admission.streams(), 0);
    };
    LocalSet::new().run_until(draining).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_has_time_to_read_the_end_of_its_stream_and_no_input_resets_it() {
    drain(Framing::Chunked, LAST_READ_TIME, async |mut client| {
        client.write_all(&[0; 10_000]).await.unwrap();
        // The last chunk is missing.
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_after_its_notice_is_not_waited_for() {
    drain(Framing::Chunked, Duration::ZERO, async |client| drop(client)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_chunks_ends_after_its_notice_at_once() {
    drain(Framing::Close, Duration::ZERO, async |mut client| {
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    })
    .await;
}
