//! Small workloads whose instructions are counted: `instructions-bench WORKLOAD COUNT`.
//!
//! `cargo xtask bench instructions` runs each under callgrind with one count and with twice as many.
//! The difference is what the workload costs, without the start of the process.

use std::task::{Context, Poll, Waker};

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use slotmap::SlotMap;
use tidings_core::journal::{Log, Retention, Room};
use tidings_core::model::{Selector, Selectors, Topic, Update};
use tidings_core::stream::feed::FeedKey;
use tidings_core::stream::router::Router;
use tidings_hub::{Access, Hub, MemoryJournal};
use tidings_sse::{Decoder, Event, Item, Limits};
use tower::ServiceExt as _;

/// Streams that get each update of `flush`.
const STREAMS: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(workload), Some(count)) = (arguments.next(), arguments.next()) else {
        panic!("the arguments are a workload and a count");
    };
    let count = count.parse().expect("the count is a number");
    match workload.as_str() {
        "decode" => decode(count),
        "route" => route(count),
        "append" => append(count),
        "flush" => block_on(flush(count)),
        "connect" => block_on(connect(count)),
        other => panic!("there is no workload {other:?}"),
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has a runtime").block_on(work);
}

/// Decodes events in chunks of 1,400 bytes, as networks cut them.
fn decode(count: usize) {
    let mut stream = Vec::new();
    while stream.len() < 64 * 1400 {
        let number = stream.len();
        stream.extend(format!("id: {number}\nevent: price\ndata: {{\"n\":{number},\n").bytes());
        stream.extend(format!("data: \"text\":\"{}\"}}\n\n:\n\n", "é".repeat(number % 40)).bytes());
    }
    let mut decoder = Decoder::new(Limits::default());
    let mut events = 0;
    for _ in 0..count {
        for chunk in stream.chunks(1400) {
            decoder.push(chunk);
            while let Some(item) = decoder.next() {
                events += usize::from(matches!(item, Item::Event(_)));
            }
        }
    }
    assert!(events >= count);
}

/// Finds the feeds for updates of two topics, among a thousand exact ones, templates, and all.
fn route(count: usize) {
    let mut feeds = SlotMap::<FeedKey, ()>::with_key();
    let mut router = Router::default();
    let exact = |number| format!("https://example.com/books/{number}");
    let selectors =
        (0..1000)
            .map(|number| Selector::new(&exact(number)))
            .chain((0..20).map(|number| {
                Selector::template(&format!("https://example.com/{{kind}}/{number}"))
            }))
            .chain([Ok(Selector::All)]);
    for selector in selectors {
        let selectors = Selectors::new([selector.expect("a selector")]).expect("one selector");
        router.join(feeds.insert(()), &selectors);
    }
    let mut found = 0;
    for number in 0..count {
        let topics = [Topic::from(exact(number % 1000)), Topic::from("https://example.com/other")];
        found += router.route(&topics, usize::MAX).expect("enough steps").count();
    }
    assert!(found >= 2 * count);
}

fn update(number: usize) -> Update {
    Update::new("https://example.com/books/1", Event::new(format!("{{\"number\":{number:010}}}")))
}

/// Appends updates one by one to the journal in memory.
fn append(count: usize) {
    let journal = MemoryJournal::new(Retention::default());
    for number in 0..count {
        let mut appended = journal.append(vec![update(number)], None, Room::uncounted());
        let ready = appended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(_))), "memory never waits");
    }
}

async fn hub() -> Hub {
    let access = Access::default().anonymous_subscribe(true).anonymous_publish(true);
    Hub::builder().shards(1).access(access).build().await.expect("the system has threads")
}

async fn open(router: &axum::Router) -> Body {
    let url = "/.well-known/mercure?topic=https%3A%2F%2Fexample.com%2Fbooks%2F1";
    let request = Request::get(url).header("host", "localhost").body(Body::empty());
    let answer = router.clone().oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body()
}

async fn frame(body: &mut Body) -> Bytes {
    let frame = body.frame().await.expect("the stream goes on").expect("it is not cut");
    frame.into_data().expect("streams have no trailers")
}

/// Writes each update to many streams.
async fn flush(count: usize) {
    let hub = hub().await;
    let router = hub.router();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut body = open(&router).await;
        assert!(!frame(&mut body).await.is_empty());
        streams.push(body);
    }
    for number in 0..count {
        hub.publish(update(number)).await.expect("there is room");
        // Only the last stream is waited for, so that the shard wakes this thread once.
        for body in streams.iter_mut().rev() {
            assert!(!frame(body).await.is_empty());
        }
    }
    drop(streams);
    hub.stop().await;
}

/// Opens streams, and closes them.
async fn connect(count: usize) {
    let hub = hub().await;
    let router = hub.router();
    for _ in 0..count {
        let mut body = open(&router).await;
        assert!(!frame(&mut body).await.is_empty());
    }
    hub.stop().await;
}
