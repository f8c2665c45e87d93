//! Subscribing by QUERY, whose parameters may stand in a body (Mercure 1.0; RFC 10008).

use serde_json::json;
use tidings_hub::{Access, CorsOrigins, Dialect, Dialects};

use crate::client::{Answer, HUB, Request, encoded};
use crate::server::{Server, on_both_lanes, open};
use crate::token::{
    PUBLISHER_SECRET, SUBSCRIBER_SECRET, access, claims, coming, publisher, subscriber, with_keys,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// A QUERY with these parameters in its body.
fn query(body: &str) -> Request {
    Request::new("QUERY", HUB).header("content-type", FORM).body(body)
}

async fn refused(server: &Server, request: Request, status: u16, word: &str) -> Answer {
    let shown = format!("{request:?}");
    let answer = server.ask(request).await;
    assert_eq!(answer.status(), status, "{shown}: {}", answer.text());
    assert!(answer.text().contains(word), "{shown}: {}", answer.text());
    assert_eq!(answer.header("accept-query"), Some(FORM), "{shown}");
    assert_eq!(answer.header("allow"), None, "{shown}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{shown}");
    assert_eq!(server.hub.subscribers(), 0, "{shown}");
    answer
}

#[test]
fn the_parameters_may_stand_in_a_body_and_count_together_with_the_querys() {
    on_both_lanes(open, async |server| {
        let body = format!("match=a&match_urlpattern={}&topic=c", encoded("https://x.test/:id"));
        let mut stream = server.open(query(&body).to(&format!("{HUB}?match=d&topic=a"))).await;
        let head = &stream.head;
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store, no-cache, no-transform"));
        assert_eq!(head.header("accept-query"), Some(FORM));
        assert_eq!(head.header("allow"), None);
        assert_eq!(head.header("incremental"), Some("?1"));
        for topic in ["a", "x", "https://x.test/7", "c", "d"] {
            server.tell(topic, topic).await;
        }
        // Asked for twice, it comes once.
        assert_eq!(stream.data(4).await, ["a", "https://x.test/7", "c", "d"]);
        // More than fits into any URL.
        let many: Vec<_> = (0..500).map(|at| format!("match={}", "x".repeat(1000 + at))).collect();
        let body = many.join("&");
        let mut stream = server.open(query(&body)).await;
        server.tell(&"x".repeat(1499), "last").await;
        assert_eq!(stream.data(1).await, ["last"]);
        // Parameters of the media type, and its case, do not matter.
        let typed = Request::new("QUERY", HUB)
            .header("content-type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
            .body("match=a");
        server.open(typed).await;
        let empty = Request::new("QUERY", &format!("{HUB}?match=a")).header("content-type", FORM);
        server.open(empty).await;
    });
}

#[test]
fn the_cursor_is_the_headers_or_else_the_querys_or_else_the_bodys() {
    on_both_lanes(open, async |server| {
        let mut ids = Vec::new();
        for data in ["1", "2", "3"] {
            ids.push(server.tell("a", data).await);
        }
        let [one, two, three] = [0, 1, 2].map(|at| encoded(&ids[at]));
        let body = format!("match=a&last_event_id={one}");
        let mut stream = server.open(query(&body)).await;
        assert_eq!(stream.cursor().as_ref(), Some(&ids[0]));
        assert_eq!(stream.data(2).await, ["2", "3"]);
        let with_query = query(&body).to(&format!("{HUB}?last_event_id={two}"));
        let mut stream = server.open(with_query.clone()).await;
        assert_eq!(stream.cursor().as_ref(), Some(&ids[1]));
        assert_eq!(stream.data(1).await, ["3"]);
        let stream = server.open(with_query.header("last-event-id", &ids[2])).await;
        assert_eq!(stream.cursor().as_ref(), Some(&ids[2]));
        // Of several in one place the last counts, and an empty one hides none.
        let body = format!("match=a&last_event_id={three}&lastEventId={two}&last_event_id=");
        let stream = server.open(query(&body).to(&format!("{HUB}?last_event_id="))).await;
        assert_eq!(stream.cursor().as_ref(), Some(&ids[1]));
        let stream = server.open(query("match=a&last_event_id=")).await;
        assert_eq!(stream.cursor().as_deref(), Some("earliest"));
    });
}

#[test]
fn an_invalid_query_is_refused() {
    let build = || open().body_bytes_max(10_000);
    on_both_lanes(build, async |server| {
        let untyped = Request::new("QUERY", HUB).body("match=a");
        refused(server, untyped, 400, "content type").await;
        refused(server, Request::new("QUERY", &format!("{HUB}?match=a")), 400, FORM).await;
        for other in ["application/json", "multipart/form-data; boundary=x", "text/plain", "x", ""]
        {
            let request = Request::new("QUERY", HUB).header("content-type", other).body("match=a");
            refused(server, request, 415, FORM).await;
        }
        let encoded = query("match=a").header("content-encoding", "gzip");
        let answer = refused(server, encoded, 415, "gzip").await;
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
        let twice = query("match=a").header("content-type", "text/plain");
        refused(server, twice, 400, "more than once").await;
        let large = format!("match=a&x={}", "x".repeat(10_000));
        refused(server, query(&large), 413, "10000").await;
        for body in ["", "last_event_id=1", "authorization=x"] {
            refused(server, query(body), 400, "at least one topic").await;
        }
        for (body, word) in [
            ("match=%ff", "UTF-8"),
            ("match_regex=a", "match_regex"),
            ("Match=a", "Match"),
            ("match%5f=a", "match_"),
            ("match=", "empty"),
            ("match=a%0ab", "U+000A"),
            ("match=a&tidings=x", "option"),
        ] {
            refused(server, query(body), 400, word).await;
        }
        let many = "match=a&".repeat(1001);
        refused(server, query(&many), 400, "1001").await;
        // Unknown names are ignored, whatever their values are.
        server.open(query("match=a&x=%ff&private=on&data=x")).await;
    });
}

#[test]
fn an_accept_that_rules_out_event_streams_is_refused() {
    on_both_lanes(open, async |server| {
        let get = || Request::get(&format!("{HUB}?match=a"));
        for accept in [
            "application/json",
            "text/html, text/event-stream;q=0",
            "text/event-stream;q=0, */*",
            "text/*;q=0.0",
            "*/*;q=0",
        ] {
            refused(server, query("match=a").header("accept", accept), 406, "Accept").await;
            refused(server, get().header("accept", accept), 406, "Accept").await;
            // Hubs of 0.x do not look at it.
            server.open(Request::get(&format!("{HUB}?topic=a")).header("accept", accept)).await;
            server.streams_become(0).await;
        }
        for accept in [
            "text/event-stream",
            "TEXT/Event-Stream;charset=utf-8",
            "application/json, text/*;q=0.1",
            "*/*",
            "text/html, image/gif, *; q=.2, */*; q=.2",
            "*/*;q=0, text/event-stream;q=0.5",
            "nonsense",
            "text/html;q=x",
            "",
            " , ",
        ] {
            server.open(query("match=a").header("accept", accept)).await;
            server.open(get().header("accept", accept)).await;
        }
        let lines = query("match=a").header("accept", "application/json");
        server.open(lines.header("accept", "text/event-stream;q=0.1")).await;
    });
}

#[test]
fn a_token_in_the_body_does_not_count() {
    on_both_lanes(with_keys, async |server| {
        let token = subscriber(&["*"]);
        let body = format!("topic=a&authorization={token}&access_token={token}");
        let mut stream = server.open(query(&body)).await;
        for form in ["topic=a&data=secret&private=on", "topic=a&data=public"] {
            server.ask(Request::form(form).bearer(&publisher(&["*"]))).await.id();
        }
        assert_eq!(stream.data(1).await, ["public"]);
        let mut stream = server.open(query("topic=a").bearer(&token)).await;
        let secret = Request::form("topic=a&data=secret&private=on");
        server.ask(secret.bearer(&publisher(&["*"]))).await.id();
        assert_eq!(stream.data(1).await, ["secret"]);
        let bad = query("topic=a").bearer("bad");
        assert_eq!(server.ask(bad).await.status(), 401);
    });
}

#[test]
fn a_cookie_counts_only_with_the_origin_of_an_allowed_website() {
    let build = || {
        let publish_origins = vec!["https://app.test".parse().expect("an origin")];
        let cors_origins =
            CorsOrigins::These(vec!["https://reads.test".parse().expect("an origin")]);
        open().access(access().publish_origins(publish_origins).cors_origins(cors_origins))
    };
    on_both_lanes(build, async |server| {
        let own = format!("https://{}", server.address);
        let new = coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET);
        let new = format!("__Secure-mercure_access_token={new}");
        let old = format!("mercureAuthorization={}", subscriber(&["a"]));
        for (cookie, without) in [(&old, 403), (&new, 400)] {
            let ask = || query("match=a").header("cookie", cookie);
            refused(server, ask(), without, "Origin").await;
            refused(server, ask().header("referer", "https://evil.test/x"), without, "evil").await;
            for origin in ["https://evil.test", "null", "https://reads.test.evil.test"] {
                refused(
                    server,
                    ask().header("origin", origin),
                    403,
                    "is not allowed to subscribe by QUERY",
                )
                .await;
            }
            for origin in [own.as_str(), "https://h.test", "https://app.test", "https://reads.test"]
            {
                server.open(ask().header("origin", origin)).await;
                server.open(ask().header("referer", format!("{origin}/page"))).await;
            }
            server.streams_become(0).await;
            // GET needs none: browsers send none to their own site.
            server.open(Request::get(&format!("{HUB}?match=a")).header("cookie", cookie)).await;
            server.streams_become(0).await;
        }
        // Without a cookie there is nothing to take advantage of.
        server.open(query("match=a").header("origin", "https://evil.test")).await;
        let token = coming(&claims("publish", json!([{ "match": "a" }])), PUBLISHER_SECRET);
        let answer = server.ask(query("match=a").bearer(&token)).await;
        assert_eq!(answer.status(), 401, "a publisher's token is none of a subscriber's");
    });
}

#[test]
fn every_answer_to_a_subscriber_says_that_a_body_may_be_sent() {
    on_both_lanes(with_keys, async |server| {
        let head = server.ask(Request::new("HEAD", &format!("{HUB}?match=a"))).await;
        let get = server.open(Request::get(&format!("{HUB}?topic=a"))).await;
        assert_eq!(get.head.header("incremental"), Some("?1"));
        assert_eq!(get.head.header("cache-control"), Some("no-cache, no-transform"));
        for (status, answer) in [
            (200, get.head.clone()),
            (200, head.head),
            (400, server.get(HUB).await.head),
            (401, server.ask(Request::get(&format!("{HUB}?topic=a")).bearer("bad")).await.head),
            (200, server.ask(Request::new("OPTIONS", HUB)).await.head),
        ] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("accept-query"), Some(FORM));
        }
        let published = server.ask(Request::form("topic=a").bearer(&publisher(&["*"]))).await;
        assert_eq!(published.header("accept-query"), None);
    });
}

#[test]
fn a_body_must_arrive_in_time_and_may_have_chunks() {
    let build = || {
        let mut limits = tidings_hub::Limits::default();
        limits.body_time = std::time::Duration::from_millis(200);
        open().limits(limits)
    };
    on_both_lanes(build, async |server| {
        if !server.speaks_http_1() {
            return;
        }
        let mut connection = server.connect().await;
        let half = format!(
            "QUERY {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {FORM}\r\n\
             content-length: 500\r\n\r\nmatch=a"
        );
        connection.write(half.as_bytes()).await;
        assert_eq!(connection.head().await.status, 408);
        // In chunks it is as good as with a length.
        let chunked = format!(
            "QUERY {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {FORM}\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nmatch\r\n2\r\n=a\r\n0\r\n\r\n"
        );
        let mut connection = server.connect().await;
        connection.write(chunked.as_bytes()).await;
        let mut stream = connection.stream().await;
        assert_eq!(stream.head.status, 200);
        server.tell("a", "x").await;
        assert_eq!(stream.data(1).await, ["x"]);
    });
}

#[test]
fn a_hub_of_one_dialect_knows_the_words_of_that_one_only_in_bodies_too() {
    let build = || {
        let dialects = Dialects::Only(Dialect::Coming);
        open().access(Access::default().anonymous_subscribe(true).dialects(dialects))
    };
    on_both_lanes(build, async |server| {
        refused(server, query("match=a&topic=b"), 400, "0.x").await;
        server.open(query("match=a")).await;
    });
}
