use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_core::Stream;
use http::request::Parts;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tidings_hub::{
    Access, Authorize, Authorizing, Hub, MemoryJournal, Permissions, Retention, Rights, Selector,
    Selectors, Since, StreamCut, SubscribeError, Update,
};
use tidings_server::EventStream;
use tidings_sse::Event;
use tokio::sync::mpsc;

use crate::client::{HUB, Request, encoded};
use crate::server::{Server, becomes, on_both_lanes, open, runtime};

fn update(n: usize) -> Update {
    Update::new("t", Event::new(n.to_string()))
}

#[test]
fn a_subscription_in_the_process_gets_each_update_once_and_in_order() {
    runtime().block_on(async {
        let hub = Hub::builder().shards(2).build().await.unwrap();
        let mut subscription = hub.subscribe(Selectors::topic("t"), Since::Now).await.unwrap();
        let mut last = None;
        for n in 0..100 {
            last = Some(hub.publish(update(n)).await.unwrap());
        }
        // Nobody else's.
        hub.publish(Update::new("other", Event::new("x"))).await.unwrap();
        let mut middle = None;
        for n in 0..100 {
            let event = subscription.next().await.unwrap();
            assert_eq!(event.data(), n.to_string());
            middle = middle.or((n == 49).then(|| event.id().unwrap().clone()));
            assert!(n < 99 || event.id() == last.as_ref());
        }
        let since = Since::After(middle.unwrap());
        let mut resumed = hub.subscribe(Selectors::topic("t"), since).await.unwrap();
        for n in 50..100 {
            assert_eq!(resumed.next().await.unwrap().data(), n.to_string());
        }
        let mut all = hub.subscribe(Selectors::all(), Since::Earliest).await.unwrap();
        assert_eq!(all.next().await.unwrap().data(), "0");
        drop(all);
        becomes("streams", 2, async || hub.subscribers()).await;
        hub.stop().await;
        assert!(subscription.next().await.is_none());
    });
}

#[test]
fn a_large_event_reaches_a_subscription_whole() {
    runtime().block_on(async {
        let hub = Hub::builder().shards(1).build().await.unwrap();
        let mut subscription = hub.subscribe(Selectors::topic("t"), Since::Now).await.unwrap();
        let data = "x".repeat(20 << 20);
        hub.publish(Update::new("t", Event::new(data.clone()))).await.unwrap();
        assert!(subscription.next().await.unwrap().data() == data);
        hub.stop().await;
    });
}

#[test]
fn a_subscription_that_missed_something_is_told_so() {
    runtime().block_on(async {
        let journal = MemoryJournal::new(Retention::default().count(3));
        let hub = Hub::builder().shards(1).journal(journal).build().await.unwrap();
        let first = hub.publish(update(0)).await.unwrap();
        let mut live = hub.subscribe(Selectors::topic("t"), Since::Now).await.unwrap();
        for n in 1..10 {
            hub.publish(update(n)).await.unwrap();
            live.next().await.unwrap();
        }
        let mut late = hub.subscribe(Selectors::topic("t"), Since::After(first)).await.unwrap();
        let notice = late.next().await.unwrap();
        assert_eq!(notice.event_type(), "tidings");
        assert!(notice.data().contains(r#""kind":"gap""#), "{}", notice.data());
        hub.stop().await;
    });
}

#[test]
fn a_full_or_draining_hub_says_so_to_new_subscribers() {
    runtime().block_on(async {
        let hub = Hub::builder().shards(1).streams_max(1).build().await.unwrap();
        let mut first = hub.subscribe(Selectors::all(), Since::Now).await.unwrap();
        let second = hub.subscribe(Selectors::all(), Since::Now).await;
        assert!(matches!(second, Err(SubscribeError::Full)));
        // A reader that takes nothing meanwhile is cut after a second, so both continue at once.
        let (notice, ()) = tokio::join!(first.next(), hub.drain(Duration::ZERO));
        assert!(notice.unwrap().data().contains(r#""kind":"draining""#));
        assert!(first.next().await.is_none());
        let third = hub.subscribe(Selectors::all(), Since::Now).await;
        assert!(matches!(third, Err(SubscribeError::Draining)));
        hub.stop().await;
    });
}

/// Who asks, by a header that a proxy or a login would set.
fn by_header(request: &Parts) -> Permissions {
    match request.headers.get("x-user").map(|name| name.as_bytes()) {
        Some(b"reader") => Permissions::none().subscribe(Rights::Public),
        Some(b"writer") => Permissions::none().publish(Selectors::topic("theirs")),
        Some(b"panic") => panic!("as this test wants it"),
        _ => Permissions::none(),
    }
}

#[test]
fn a_callback_decides_about_publishing_and_subscribing() {
    // What is open to everybody is not asked for where there is a callback.
    let build = || open().authorize(by_header);
    on_both_lanes(build, async |server| {
        let subscribe =
            |user: &str| Request::get(&format!("{HUB}?topic=theirs")).header("x-user", user);
        let publish = |user: &str, topic: &str| {
            Request::form(&format!("topic={topic}")).header("x-user", user)
        };
        assert_eq!(server.ask(subscribe("nobody")).await.status(), 403);
        assert_eq!(server.ask(subscribe("writer")).await.status(), 403);
        assert_eq!(server.ask(publish("reader", "theirs")).await.status(), 403);
        assert_eq!(server.ask(publish("writer", "other")).await.status(), 403);
        assert_eq!(server.ask(publish("writer", "theirs&topic=other")).await.status(), 403);
        let mut stream = server.open(subscribe("reader")).await;
        server.ask(publish("writer", "theirs&data=x")).await.id();
        assert_eq!(stream.event().await.data, "x");
    });
}

#[test]
fn a_callback_decides_about_listing_and_ending_subscriptions() {
    const LIST: &str = "/.well-known/mercure/subscriptions";
    let paths = || Selectors::new([Selector::template(&format!("{LIST}{{/t,s}}")).expect("one")]);
    let by_name = move |request: &Parts| {
        let none = Permissions::none();
        match request.headers.get("x-user").map(|name| name.as_bytes()) {
            Some(b"watcher") => none.subscribe(Rights::Granted(paths().expect("one"))),
            Some(b"guard") => none.publish(paths().expect("one")),
            Some(b"reader") => none.subscribe(Rights::Public).payload(json!({ "user": 5 })),
            _ => none,
        }
    };
    let build = move || open().authorize(by_name).presence_events(true);
    on_both_lanes(build, async |server| {
        let as_user = |request: Request, user: &str| request.header("x-user", user);
        let get = |path: &str, user: &str| as_user(Request::get(path), user);
        let all = encoded(&format!("{LIST}/{{t}}/{{s}}"));
        let mut watch = server.open(get(&format!("{HUB}?topic={all}"), "watcher")).await;
        let mut stream = server.open(get(&format!("{HUB}?topic=theirs"), "reader")).await;
        let told = loop {
            let told: Value = serde_json::from_str(&watch.event().await.data).expect("JSON");
            if told["topic"] == "theirs" {
                break told;
            }
        };
        assert_eq!((&told["active"], &told["payload"]), (&json!(true), &json!({ "user": 5 })));
        for user in ["reader", "nobody"] {
            let answer = server.ask(get(LIST, user)).await;
            assert_eq!((answer.status(), answer.header("www-authenticate")), (403, None));
        }
        let path = told["id"].as_str().expect("a path");
        let list = server.ask(get(&format!("{LIST}/theirs"), "watcher")).await.json();
        assert_eq!(list["subscriptions"][0]["id"], path);
        let end = |user: &str| as_user(Request::new("DELETE", path), user);
        assert_eq!(server.ask(end("watcher")).await.status(), 403);
        assert_eq!(server.ask(end("guard")).await.status(), 204);
        stream.rest().await.pop().expect("a notice").notice("revoked");
    });
}

#[test]
fn a_callback_that_panics_grants_nothing_and_affects_no_other_request() {
    on_both_lanes(
        || open().authorize(by_header),
        async |server| {
            let mut connection = server.connect().await;
            connection.send(&Request::form("topic=theirs").header("x-user", "panic")).await;
            assert_eq!(connection.rest().await.0, "");
            let publish = Request::form("topic=theirs").header("x-user", "writer");
            server.ask(publish).await.id();
        },
    );
}

/// Never answers.
struct Undecided(Arc<AtomicUsize>);

impl Authorize for Undecided {
    fn authorize<'a>(&'a self, _: &'a Parts) -> Authorizing<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_decision_in_time_is_refused_and_told_to_retry() {
    use tower::Service as _;
    let asked = Arc::new(AtomicUsize::new(0));
    let builder = Hub::builder().shards(1).authorize(Undecided(Arc::clone(&asked)));
    let hub = builder.build().await.unwrap();
    let request = |builder: http::request::Builder, body: &'static str| {
        builder.body(axum::body::Body::from(body)).unwrap()
    };
    let post = http::Request::post(HUB).header("content-type", "application/x-www-form-urlencoded");
    let refused = hub.router().call(request(post, "topic=t")).await.unwrap();
    assert_eq!(refused.status(), 503);
    let subscribe = http::Request::get(format!("{HUB}?topic=t"));
    let told = hub.router().call(request(subscribe, "")).await.unwrap();
    assert_eq!(told.status(), 200);
    let mut body = told.into_body();
    let said = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(said.starts_with(b":\nretry: "), "{said:?}");
    // It is cut, so that the subscriber reconnects.
    let cut = body.frame().await.unwrap().unwrap_err();
    assert!(std::error::Error::source(&cut).is_some_and(|cause| cause.is::<StreamCut>()), "{cut}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(hub.subscribers(), 0);
    hub.stop().await;
}

/// A stream of what a test sends.
struct Sent(mpsc::Receiver<Result<Event, std::io::Error>>);

impl Stream for Sent {
    type Item = Result<Event, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

type Sender = mpsc::Sender<Result<Event, std::io::Error>>;

/// A service of somebody's own behind [`tidings_hub::serve`], whose streams a test feeds.
async fn service() -> (Server, mpsc::Receiver<Sender>) {
    let (opened, streams) = mpsc::channel(8);
    let handler = async move || {
        let (sender, receiver) = mpsc::channel(8);
        opened.send(sender).await.expect("the test waits for it");
        EventStream::new(Sent(receiver)).heartbeat(Duration::from_millis(80))
    };
    let hub = Hub::builder()
        .shards(2)
        .access(Access::development())
        .build()
        .await
        .expect("the system has threads");
    let listener = tidings_hub::listen(([127, 0, 0, 1], 0).into()).expect("the system has a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let panics = async || -> &'static str { panic!("as this test wants it") };
    let app = Router::new().route("/own", get(handler)).route("/panics", get(panics));
    let serve = tidings_hub::serve(listener, hub.clone(), app);
    tokio::spawn(async move { serve.await.expect("the listener can be used") });
    let server = Server {
        hub,
        lane: crate::server::Lane::Direct,
        address,
        #[cfg(feature = "tls")]
        secure: crate::secure::Secure::new(),
    };
    (server, streams)
}

#[test]
fn a_services_own_stream_has_its_socket_to_itself_and_shows_how_it_ended() {
    runtime().block_on(async {
        let (server, mut streams) = service().await;
        for (fails, http_1_0) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut connection = server.connect().await;
            let request = Request::get("/own");
            let request = if http_1_0 { request.over_http_1_0() } else { request };
            connection.send(&request).await;
            let sender = streams.recv().await.unwrap();
            sender.send(Ok(Event::new("a\r\nb").with_id("1").unwrap())).await.unwrap();
            connection.until(b"data: b\nid: 1\n\n").await;
            if fails {
                sender.send(Err(std::io::Error::other("as this test wants it"))).await.unwrap();
            }
            drop(sender);
            let (all, reset) = connection.rest().await;
            let (head, body) = all.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("content-type: text/event-stream"), "{head}");
            assert!(head.contains("connection: close"), "{head}");
            assert_eq!(head.contains("transfer-encoding: chunked"), !http_1_0, "{head}");
            assert_eq!(body.ends_with("\r\n0\r\n\r\n"), !fails && !http_1_0, "{body:?}");
            // Without chunks, a reset is all that tells a cut from an end.
            assert_eq!(reset, fails && http_1_0);
        }
        server.hub.stop().await;
    });
}

#[test]
fn a_services_own_stream_sends_heartbeats_and_stops_when_its_client_disconnects() {
    runtime().block_on(async {
        let (server, mut streams) = service().await;
        let mut connection = server.connect().await;
        connection.send(&Request::get("/own")).await;
        let sender = streams.recv().await.unwrap();
        connection.until(b"2\r\n:\n\r\n2\r\n:\n\r\n2\r\n:\n\r\n").await;
        drop(connection);
        tokio::time::timeout(Duration::from_secs(10), sender.closed()).await.unwrap();
        server.hub.stop().await;
    });
}

#[test]
fn a_services_own_stream_waits_for_a_client_that_does_not_read() {
    runtime().block_on(async {
        let (server, mut streams) = service().await;
        let mut connection = server.connect().await;
        connection.send(&Request::get("/own")).await;
        let sender = streams.recv().await.unwrap();
        // The kernel takes some megabytes at both ends.
        let mut sent = 0;
        let event = || Ok(Event::new("x".repeat(100_000)));
        while let Ok(taken) =
            tokio::time::timeout(Duration::from_millis(500), sender.send(event())).await
        {
            taken.unwrap();
            sent += 1;
            assert!(sent < 1000, "100 MB were taken for a client that reads none");
        }
        drop(sender);
        let (all, _) = connection.rest().await;
        assert_eq!(all.matches("data: x").count(), sent);
        assert!(all.ends_with("0\r\n\r\n"));
        server.hub.stop().await;
    });
}

#[test]
fn a_handler_that_panics_cuts_its_own_connection_and_no_other() {
    runtime().block_on(async {
        let (server, mut streams) = service().await;
        let mut hubs_own = server.subscribe("topic=t").await;
        let mut own = server.connect().await;
        own.send(&Request::get("/own")).await;
        let sender = streams.recv().await.unwrap();
        let mut panics = server.connect().await;
        panics.send(&Request::get("/panics")).await;
        assert_eq!(panics.rest().await.0, "");
        sender.send(Ok(Event::new("goes on"))).await.unwrap();
        own.until(b"data: goes on\n\n").await;
        server.tell("t", "too").await;
        assert_eq!(hubs_own.event().await.data, "too");
        server.hub.stop().await;
    });
}

#[test]
fn a_drain_cuts_a_services_own_streams() {
    runtime().block_on(async {
        let (server, mut streams) = service().await;
        let mut connection = server.connect().await;
        connection.send(&Request::get("/own")).await;
        let sender = streams.recv().await.unwrap();
        sender.send(Ok(Event::new("whole"))).await.unwrap();
        connection.until(b"data: whole\n\n").await;
        server.hub.drain(Duration::ZERO).await;
        let (all, _) = connection.rest().await;
        assert!(!all.ends_with("0\r\n\r\n"), "{all}");
        sender.closed().await;
        server.hub.stop().await;
    });
}

#[test]
fn a_head_request_gets_no_stream() {
    runtime().block_on(async {
        let (server, mut streams) = service().await;
        let head = server.ask(Request::new("HEAD", "/own")).await;
        assert_eq!(head.status(), 200);
        assert!(streams.recv().await.unwrap().is_closed());
        server.hub.stop().await;
    });
}
