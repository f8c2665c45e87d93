//! Lists of subscriptions that hubs on one stream exchange take a bounded number of bytes.

use serde_json::{Value, json};
use tidings_hub::Limits;

use crate::client::{Answer, HUB, Request, Stream};
use crate::jetstream::{builder, on, options, stop};
use crate::nats::Nats;
use crate::server::{Lane, Server, becomes};
use crate::token::{SUBSCRIBER_SECRET, access, deployed, publisher, subscriber};

const MIB: usize = 1 << 20;
const STREAMS: usize = 2;
const TOPICS: usize = 50;
/// Of each subscription in a list.
const PAYLOAD: usize = 40_000;
/// One address may have a list of all streams, and not a second one.
const BYTES: usize = 18 * MIB;
/// Requests that the other hub may answer too late, one after the other.
const ASKED_MAX: usize = 20;

/// A hub whose lists may have so many bytes.
async fn hub(nats: &Nats, bytes: usize) -> Server {
    hub_on(Lane::Direct, nats, bytes).await
}

async fn hub_on(lane: Lane, nats: &Nats, bytes: usize) -> Server {
    let mut limits = Limits::default();
    limits.request_bytes = bytes;
    let builder = builder(options(nats), access()).await.limits(limits);
    Server::start(lane, builder).await
}

/// Opens a stream, with a token of its own, that takes 2 MB of a list.
async fn subscribe(server: &Server, number: usize) -> Stream {
    let payload = number.to_string().repeat(PAYLOAD);
    let claims = json!({ "mercure": { "subscribe": ["*"], "payload": payload } });
    let topics: Vec<_> = (0..TOPICS).map(|topic| format!("topic={number}-{topic}")).collect();
    let request = Request::get(&format!("{HUB}?{}", topics.join("&")));
    server.open(request.bearer(&deployed(&claims, SUBSCRIBER_SECRET))).await
}

/// Asks until the other hub has answered in time, which it may not where the machine is busy.
async fn ask(server: &Server, request: Request) -> Answer {
    for _ in 0..ASKED_MAX {
        let answer = server.ask(request.clone()).await;
        if !(answer.status() == 503 && answer.text().contains("does not answer")) {
            return answer;
        }
    }
    panic!("the other hub never answers");
}

async fn list(server: &Server) -> Answer {
    let request = Request::get(&format!("{HUB}/subscriptions"));
    ask(server, request.bearer(&subscriber(&["*"]))).await
}

fn subscriptions(answer: &Answer) -> Vec<Value> {
    let list = answer.json();
    list["subscriptions"].as_array().expect("a list").clone()
}

async fn are_listed(server: &Server, count: usize) {
    becomes("subscriptions", count, async || match list(server).await {
        answer if answer.status() == 200 => subscriptions(&answer).len(),
        _ => usize::MAX,
    })
    .await;
}

fn check_refused(answer: &Answer, status: u16, bound: &str) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    let expected = format!("{bound} hub, its limit; try again later");
    assert!(answer.text().contains(&expected), "{}", answer.text());
}

const REFUSED: &str = "tidings_requests_refused_total{bound=\"lists\"}";

/// Asks for a list, and reads no more of it than its head. Over HTTP/2 the client's window ends it
/// then; the system has room for more.
async fn stalled(server: &Server) -> hyper::Response<hyper::body::Incoming> {
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let stream = server.secure.connect(server.address, "h2").await;
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("the hub speaks HTTP/2");
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("https://localhost{HUB}/subscriptions"))
        .header("authorization", format!("Bearer {}", subscriber(&["*"])))
        .body(String::new())
        .expect("a request");
    // Where the machine is busy, the other hub may answer too late.
    for _ in 0..ASKED_MAX {
        let answer = sender.send_request(request.clone()).await.expect("the hub answers");
        if answer.status().as_u16() == 200 {
            return answer;
        }
    }
    panic!("the hub never lists");
}

#[test]
fn unread_lists_use_up_the_room_for_further_lists() {
    on(Nats::one(), async |nats| {
        let (one, two) = (hub_on(Lane::Http2, &nats, BYTES).await, hub(&nats, 64 * MIB).await);
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            streams.push(subscribe(&two, number).await);
        }
        are_listed(&one, STREAMS * TOPICS).await;
        let first = stalled(&one).await;
        let bound = format!("for this address use {} bytes at this", BYTES / 4);
        check_refused(&list(&one).await, 429, &bound);
        assert!(one.metric(REFUSED).await >= 1.0);
        // The other hub has read nothing of others, and room enough.
        assert_eq!(subscriptions(&list(&two).await).len(), STREAMS * TOPICS);
        assert_eq!(two.metric(REFUSED).await, 0.0);
        // A revocation does not wait for clients that read lists.
        let path = subscriptions(&list(&two).await)[0]["id"].as_str().unwrap().to_owned();
        let end = Request::new("DELETE", &path).bearer(&publisher(&["*"]));
        let answer = ask(&one, end).await;
        assert_eq!(answer.status(), 204, "{}", answer.text());
        drop(first);
        are_listed(&one, (STREAMS - 1) * TOPICS).await;
        stop(&[&one, &two]).await;
    });
}

#[test]
fn a_list_that_is_too_large_for_a_hub_is_refused_with_the_reason() {
    on(Nats::one(), async |nats| {
        let (small, large) = (hub(&nats, MIB).await, hub(&nats, 64 * MIB).await);
        let stream = subscribe(&large, 0).await;
        are_listed(&large, TOPICS).await;
        // It cannot keep it for its client.
        let bound = format!("for this address use {} bytes at this", MIB / 4);
        becomes("the status", 429, async || list(&small).await.status()).await;
        check_refused(&list(&small).await, 429, &bound);
        drop(stream);
        are_listed(&small, 0).await;
        // It cannot make it for another hub.
        let refused = small.metric(REFUSED).await;
        let stream = subscribe(&small, 1).await;
        becomes("the status", 503, async || list(&large).await.status()).await;
        check_refused(&list(&large).await, 503, &format!("use {MIB} bytes at another"));
        assert!(small.metric(REFUSED).await > refused);
        // A list of its own is not kept in memory.
        are_listed(&small, TOPICS).await;
        drop(stream);
        are_listed(&large, 0).await;
        stop(&[&small, &large]).await;
    });
}
