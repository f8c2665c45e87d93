//! Streams that end with the leave by which their subscribers are here: tokens that expire, and
//! that are revoked.

use std::time::{Duration, Instant};

use serde_json::json;
use tidings_hub::Limits;

use crate::client::{HUB, Request, Stream};
use crate::server::{Server, on_both_lanes};
use crate::token::{
    PUBLISHER_SECRET, SUBSCRIBER_SECRET, access, are_listed, claims, coming, deployed, now,
    publisher, subscriber, with_keys,
};

fn stream(query: &str) -> Request {
    Request::get(&format!("{HUB}?{query}"))
}

async fn tell(server: &Server, data: &str) -> String {
    let form = format!("topic=a&data={data}&private");
    server.ask(Request::form(&form).bearer(&publisher(&["*"]))).await.id()
}

/// A token whose holder may read everything, that ends in so many seconds.
fn ending_in(seconds: u64) -> String {
    deployed(
        &json!({ "mercure": { "subscribe": ["*"] }, "exp": now() + seconds }),
        SUBSCRIBER_SECRET,
    )
}

#[test]
fn a_stream_ends_with_its_token_and_a_client_that_reconnects_loses_nothing() {
    on_both_lanes(with_keys, async |server| {
        let begun = Instant::now();
        let mut stream_ = server.open(stream("topic=a").bearer(&ending_in(2))).await;
        tell(server, "1").await;
        let mut events = stream_.rest().await;
        // `exp` is in whole seconds, so the token is good for one to two.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        let notice = events.iter().position(|event| event.event_type == "tidings");
        let notice = events.remove(notice.expect("it is told that it ends"));
        let in_ms = notice.notice("expiring")["in_ms"].as_u64().expect("a number");
        assert!((1..=2000).contains(&in_ms), "{in_ms}");
        assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["1"]);
        tell(server, "2").await;
        let last = events.pop().expect("an event");
        let again = stream("topic=a").bearer(&ending_in(3600)).header("last-event-id", last.id());
        let mut again = server.open(again).await;
        assert_eq!(again.cursor().as_deref(), Some(last.id()));
        assert_eq!(again.event().await.data, "2");
        server.metric_becomes("tidings_streams_closed_total{reason=\"expired\"}", 1.0).await;
    });
}

#[test]
fn a_token_that_is_good_for_long_is_no_reason_to_end() {
    on_both_lanes(with_keys, async |server| {
        for end in [now() + 86_400, 1 << 53, 99_999_999_999] {
            let token = deployed(
                &json!({ "mercure": { "subscribe": ["*"] }, "exp": end }),
                SUBSCRIBER_SECRET,
            );
            let mut stream = server.open(stream("topic=a").bearer(&token)).await;
            tell(server, "x").await;
            assert_eq!(stream.event().await.data, "x");
        }
    });
}

/// The presence path of the only subscription, as the hub lists it.
async fn only_subscription(server: &Server) -> String {
    are_listed(server, 1).await;
    let list = Request::get(&format!("{HUB}/subscriptions")).bearer(&subscriber(&["*"]));
    let list = server.ask(list).await.json();
    let all = list["subscriptions"].as_array().expect("a list");
    assert_eq!(all.len(), 1, "{list}");
    all[0]["id"].as_str().expect("an id").to_owned()
}

/// Reads the notice, after which nothing follows.
async fn is_revoked(stream: &mut Stream) {
    stream.event().await.notice("revoked");
    assert_eq!(stream.rest().await, []);
}

#[test]
fn revoking_a_subscription_ends_its_stream_and_bars_its_token() {
    on_both_lanes(with_keys, async |server| {
        let token = ending_in(3600);
        let mut open = server.open(stream("topic=a").bearer(&token)).await;
        let other = deployed(&json!({ "mercure": { "subscribe": ["a"] } }), SUBSCRIBER_SECRET);
        let id = tell(server, "1").await;
        assert_eq!(open.event().await.data, "1");
        let path = only_subscription(server).await;
        let delete = |token: &str| Request::new("DELETE", &path).bearer(token);
        assert_eq!(server.ask(delete(&publisher(&["*"]))).await.status(), 204);
        is_revoked(&mut open).await;
        // The same token does not get in again, not even for what it has missed.
        let again = stream("topic=a").bearer(&token).header("last-event-id", &id);
        let answer = server.ask(again).await;
        assert_eq!(answer.status(), 401);
        assert!(answer.text().contains("revoked"), "{}", answer.text());
        server.open(stream("topic=a").bearer(&other)).await;
        assert_eq!(server.ask(delete(&publisher(&["*"]))).await.status(), 404);
        server.metric_becomes("tidings_streams_closed_total{reason=\"revoked\"}", 1.0).await;
    });
}

#[test]
fn revoking_a_token_ends_all_its_streams_and_no_others() {
    on_both_lanes(with_keys, async |server| {
        let with_id = |id: &str| {
            let mut claims = claims("subscribe", json!([{ "match": "*" }]));
            claims["jti"] = id.into();
            coming(&claims, SUBSCRIBER_SECRET)
        };
        let mut gone = Vec::new();
        for _ in 0..4 {
            gone.push(server.open(stream("match=a").bearer(&with_id("one/1"))).await);
        }
        let mut stays = server.open(stream("match=a").bearer(&with_id("other"))).await;
        let path = format!("{HUB}/tokens/one%2F1");
        let delete = |token: &str| Request::new("DELETE", &path).bearer(token);
        assert_eq!(server.ask(delete(&publisher(&["https://h.test/{x}"]))).await.status(), 403);
        assert_eq!(server.ask(delete(&publisher(&[path.as_str()]))).await.status(), 204);
        for stream in &mut gone {
            is_revoked(stream).await;
        }
        assert_eq!(server.ask(stream("match=a").bearer(&with_id("one/1"))).await.status(), 401);
        server.hub.reconfigure(Limits::default(), access()).expect("nothing to fetch");
        assert_eq!(server.ask(stream("match=a").bearer(&with_id("one/1"))).await.status(), 401);
        tell(server, "x").await;
        assert_eq!(stays.event().await.data, "x");
    });
}

#[test]
fn only_a_client_that_may_publish_there_may_revoke() {
    on_both_lanes(with_keys, async |server| {
        let mut open = server.open(stream("topic=a").bearer(&ending_in(3600))).await;
        let path = only_subscription(server).await;
        let nobody = Request::new("DELETE", &path);
        assert_eq!(server.ask(nobody.clone()).await.status(), 401);
        assert_eq!(server.ask(nobody.clone().bearer(&subscriber(&["*"]))).await.status(), 401);
        let reader = deployed(&json!({ "mercure": { "subscribe": ["*"] } }), PUBLISHER_SECRET);
        assert_eq!(server.ask(nobody.clone().bearer(&reader)).await.status(), 403);
        assert_eq!(server.ask(nobody.clone().bearer(&publisher(&["a"]))).await.status(), 403);
        let cookie = format!("mercureAuthorization={}", publisher(&["*"]));
        assert_eq!(server.ask(nobody.clone().header("cookie", &cookie)).await.status(), 403);
        let foreign = nobody.header("cookie", &cookie).header("origin", "https://evil.test");
        assert_eq!(server.ask(foreign).await.status(), 403);
        let all =
            Request::new("DELETE", &format!("{HUB}/subscriptions")).bearer(&publisher(&["*"]));
        assert_eq!(server.ask(all).await.status(), 405);
        tell(server, "x").await;
        assert_eq!(open.event().await.data, "x");
    });
}
