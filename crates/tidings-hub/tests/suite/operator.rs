//! The operator's page: what it shows to whom, and who may act.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::request::Parts;
use serde_json::{Value, json};
use tidings_hub::{Access, Host, Hub, HubBuilder, Permissions, Rights, Selectors};
use tokio::net::TcpListener;

use crate::client::{Answer, Connection, Ended, HUB, Request, Seen, Stream};
use crate::server::{Server, TEST_TIME, becomes, on_both_lanes, open, runtime};
use crate::token::{access, are_listed, deployed, publisher, subscriber, with_keys};

const EVENTS: &str = "/operator/events";
const END: &str = "/operator/end";
const REVOKE: &str = "/operator/revoke";

/// A request of the page.
fn post(path: &str, body: &Value) -> Request {
    Request::json(&body.to_string()).to(path)
}

/// The page's stream.
async fn watch(server: &Server, token: Option<&str>) -> Stream {
    let request = Request::get(EVENTS);
    server.open(token.map_or(request.clone(), |token| request.bearer(token))).await
}

/// The page's next reading.
async fn reading(stream: &mut Stream) -> Value {
    serde_json::from_str(&stream.event().await.data).expect("a reading is JSON")
}

/// Takes readings until one is as wanted.
async fn reading_with(stream: &mut Stream, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let reading = reading(stream).await;
        if wanted(&reading) {
            return reading;
        }
    }
}

fn topics(reading: &Value) -> Vec<&str> {
    let list = reading["topics"]["list"].as_array().expect("topics are listed");
    list.iter().map(|one| one["topic"].as_str().expect("a topic")).collect()
}

fn count(reading: &Value, of: &str, label: &str) -> i64 {
    let all = reading["counts"][of].as_array().expect("counts by label");
    let one = all.iter().find(|one| one[0] == label).expect("the label is there");
    one[1].as_i64().expect("a number")
}

async fn publish_private(server: &Server, topic: &str, data: &str) {
    let form = format!("topic={topic}&data={data}&private=on");
    server.ask(Request::form(&form).bearer(&publisher(&["*"]))).await.id();
}

async fn publish_public(server: &Server, topic: &str, data: &str) {
    let form = format!("topic={topic}&data={data}");
    server.ask(Request::form(&form).bearer(&publisher(&["*"]))).await.id();
}

/// A hub with keys, at which every subscriber needs a token.
fn closed() -> HubBuilder {
    open().access(access().anonymous_subscribe(false))
}

/// A stream whose client reads nothing, so that it falls behind; and its number.
async fn slow_reader(
    server: &Server,
    query: &str,
    token: Option<&str>,
    watcher: &mut Stream,
) -> (Stream, u64) {
    let request = Request::get(&format!("{HUB}?{query}"));
    let stream = server.open(token.map_or(request.clone(), |token| request.bearer(token))).await;
    let large = "x".repeat(900_000);
    // More than the kernel holds for a client that does not read.
    for _ in 0..12 {
        publish_public(server, "a", &large).await;
    }
    let is_slow = |reading: &Value| reading["slow"]["list"][0]["cause"] == "full";
    let reading = reading_with(watcher, is_slow).await;
    let number = reading["slow"]["list"][0]["stream"].as_u64().expect("a number");
    (stream, number)
}

#[test]
fn the_stream_shows_what_the_hub_does() {
    on_both_lanes(open, async |server| {
        let mut watcher = watch(server, None).await;
        let first = reading(&mut watcher).await;
        assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(first["status"]["isReady"], true);
        assert_eq!(first["journal"]["oldest"], Value::Null);
        assert_eq!(first["hubs"], Value::Null);
        let mut stream = server.subscribe("topic=a").await;
        server.tell("a", "1").await;
        stream.event().await;
        server.ask(Request::form("")).await;
        let seen = reading_with(&mut watcher, |reading| reading["counts"]["deliveries"] == 1).await;
        assert_eq!(count(&seen, "streams", server.lane_label()), 1);
        assert_eq!(seen["counts"]["updates"], 1);
        assert_eq!(count(&seen, "publishRefused", "invalid"), 1);
        let acknowledged = seen["counts"]["publishAck"].as_array().expect("buckets");
        let all: u64 = acknowledged.iter().map(|one| one[1].as_u64().expect("a count")).sum();
        assert_eq!(all, 1);
        assert_eq!(acknowledged.last().expect("a bucket")[0], Value::Null);
        assert_eq!(seen["journal"]["last"], 1);
        assert!(seen["journal"]["oldest"].is_u64());
        assert_eq!(topics(&seen), ["a"]);
        drop(stream);
        reading_with(&mut watcher, |reading| {
            count(reading, "closed", "client") + count(reading, "closed", "broken") == 1
        })
        .await;
    });
}

#[test]
fn the_page_and_its_parts_are_served_under_a_strict_policy() {
    on_both_lanes(open, async |server| {
        let page = server.get("/operator").await;
        assert_eq!(page.status(), 200);
        let parts = page.text().split('"').filter(|text| text.starts_with("operator/page/"));
        let mut paths: Vec<_> = parts.map(|part| format!("/{part}")).collect();
        paths.push("/operator".to_owned());
        assert!(paths.len() > 4, "{paths:?}");
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            let answer = server.get(&path).await;
            assert_eq!(answer.status(), 200, "{path}");
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            let base = url::Url::parse(&format!("http://localhost{path}")).expect("a URL");
            let named = answer.text().split(['"', '\'']).filter(|text| {
                (text.starts_with("./") || text.starts_with("../")) && text.ends_with(".js")
            });
            for one in named {
                let found = base.join(one).expect("a relative URL").path().to_owned();
                // Types of the browser package are named from where its files are.
                if path.ends_with(".js")
                    && found.starts_with("/operator/")
                    && !paths.contains(&found)
                {
                    paths.push(found);
                }
            }
        }
        assert!(paths.iter().any(|path| path.ends_with("/browser/connect.js")), "{paths:?}");
        let page = server.get("/operator/").await;
        assert_eq!((page.status(), page.header("location")), (308, Some("../operator")));
    });
}

#[test]
fn another_name_reaches_nothing_of_the_page() {
    let build = || {
        let hosts = vec![Host::Domain("ops.test".to_owned())];
        open().access(access().allowed_hosts(hosts))
    };
    on_both_lanes(build, async |server| {
        let act = post(END, &json!({ "stream": 1 })).bearer(&publisher(&["*"]));
        for request in [Request::get("/operator"), Request::get(EVENTS), act] {
            for host in ["evil.test", "evil.test:8081", "localhost.evil.test"] {
                let answer = server.ask(request.clone().header("host", host)).await;
                assert_eq!(answer.status(), 421, "{host}");
            }
        }
        for host in ["ops.test", "localhost", "hub.localhost:1", "127.0.0.1:9", "[::1]", "h.test"] {
            let request = Request::get("/operator").header("host", host);
            let answer = server.ask(request).await;
            // Beside the hub's own list, the host of its URL is one of its names only here.
            let expected = if host == "h.test" { 421 } else { 200 };
            assert_eq!(answer.status(), expected, "{host}: {}", answer.text());
        }
    });
}

#[test]
fn a_hub_that_answers_to_every_name_shows_its_page_under_known_names_only() {
    on_both_lanes(with_keys, async |server| {
        let ask = async |path: &str, host: &str| {
            server.ask(Request::get(path).header("host", host)).await.status()
        };
        assert_eq!(ask("/healthz", "evil.test").await, 200);
        assert_eq!(ask("/operator", "evil.test").await, 421);
        assert_eq!(ask("/operator", "h.test").await, 200);
        assert_eq!(ask("/operator", "192.0.2.7").await, 200);
    });
}

#[test]
fn a_page_of_another_origin_reaches_nothing() {
    on_both_lanes(with_keys, async |server| {
        let own = format!("{}://{}", server.scheme(), server.address);
        let token = publisher(&["*"]);
        let act = || post(END, &json!({ "stream": 1 })).bearer(&token);
        // The stream does not exist: the request has passed every check.
        let passed = server.ask(act().header("origin", &own)).await;
        assert_eq!(passed.status(), 404, "{}", passed.text());
        let local = "http://localhost:5173";
        for origin in ["https://evil.test", "null", "http://127.0.0.1:1", local] {
            for request in [act(), Request::get(EVENTS)] {
                let answer = server.ask(request.header("origin", origin)).await;
                assert_eq!(answer.status(), 403, "{origin}");
            }
        }
        for site in ["cross-site", "same-site"] {
            for request in [act(), Request::get(EVENTS)] {
                let answer = server.ask(request.header("sec-fetch-site", site)).await;
                assert_eq!(answer.status(), 403, "{site}");
            }
            // A link may lead to the page, and to nothing else. No frame may hold it.
            for (path, destination, status) in [
                ("/operator", "document", 200),
                ("/operator/", "document", 308),
                ("/operator", "iframe", 403),
                ("/operator", "empty", 403),
                (EVENTS, "document", 403),
                (EVENTS, "iframe", 403),
                ("/operator/page/operator/operator.js", "document", 403),
            ] {
                let link = Request::get(path)
                    .header("sec-fetch-site", site)
                    .header("sec-fetch-mode", "navigate")
                    .header("sec-fetch-dest", destination);
                let answer = server.ask(link).await;
                assert_eq!(answer.status(), status, "{path} {destination}");
                let policy = answer.header("content-security-policy").expect("a policy");
                assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            }
        }
    });
}

#[test]
fn no_answer_lets_another_origin_read_it() {
    on_both_lanes(with_keys, async |server| {
        let preflight = Request::new("OPTIONS", END)
            .header("origin", "https://evil.test")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,authorization");
        let answer = server.ask(preflight).await;
        assert_eq!(answer.status(), 403);
        for answer in [answer, server.get("/operator/page/find.js").await] {
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        }
    });
}

#[test]
fn bodies_are_json_only_and_bounded() {
    on_both_lanes(with_keys, async |server| {
        let token = publisher(&["*"]);
        let body = json!({ "stream": 1 }).to_string();
        for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""] {
            for path in [END, REVOKE, "/operator/topic", "/operator/token"] {
                let request = Request::publish(kind, body.as_str()).to(path).bearer(&token);
                assert_eq!(server.ask(request).await.status(), 415, "{kind:?} {path}");
            }
        }
        for (body, status) in [
            ("", 400),
            ("{}", 400),
            ("{\"stream\":-1}", 400),
            ("{\"stream\":1,\"other\":2}", 400),
            (&format!("{{\"stream\":1{}}}", " ".repeat(40_000)), 413),
        ] {
            let answer = server.ask(Request::json(body).to(END).bearer(&token)).await;
            assert_eq!(answer.status(), status, "{body:.40}: {}", answer.text());
        }
        let answer = server.ask(Request::get(END).bearer(&token)).await;
        assert_eq!((answer.status(), answer.header("allow")), (405, Some("POST")));
    });
}

async fn refused(server: &Server, request: Request, status: u16) -> Answer {
    let answer = server.ask(request).await;
    assert_eq!(answer.status(), status, "{}", answer.text());
    answer
}

#[test]
fn a_stream_ends_only_by_a_token_that_may_publish_to_its_path() {
    on_both_lanes(with_keys, async |server| {
        let reads = subscriber(&["*"]);
        let mut watcher = watch(server, Some(&reads)).await;
        let (mut slow, number) =
            slow_reader(server, "topic=a", Some(&subscriber(&["a"])), &mut watcher).await;
        let end = || post(END, &json!({ "stream": number }));
        let answer = refused(server, end(), 401).await;
        assert!(answer.header("www-authenticate").is_some());
        // Not a subscriber's token, nor one in a cookie or the query, nor one for other paths.
        refused(server, end().bearer(&reads), 401).await;
        refused(server, end().bearer("x.y.z"), 401).await;
        let token = publisher(&["*"]);
        refused(server, end().header("cookie", format!("mercureAuthorization={token}")), 401).await;
        let by_query = format!("{END}?authorization={token}");
        refused(server, end().to(&by_query), 401).await;
        refused(server, end().bearer(&publisher(&["https://example.com/{+rest}"])), 403).await;
        assert_eq!(server.hub.subscribers(), 1);

        let paths = publisher(&["/.well-known/mercure/subscriptions/{+rest}"]);
        let answer = server.ask(end().bearer(&paths)).await;
        assert_eq!(answer.status(), 204, "{}", answer.text());
        server.streams_become(0).await;
        while slow.ended.is_none() {
            slow.next().await;
        }
        reading_with(&mut watcher, |reading| count(reading, "closed", "revoked") == 1).await;
        // The stream has ended, and its token is revoked.
        let again = Request::get(&format!("{HUB}?topic=a")).bearer(&subscriber(&["a"]));
        refused(server, again, 401).await;
        refused(server, end().bearer(&paths), 404).await;
    });
}

#[test]
fn a_token_is_revoked_by_its_id_only_by_one_that_may() {
    on_both_lanes(with_keys, async |server| {
        let claims = json!({ "mercure": { "subscribe": ["*"] }, "jti": "a/b c" });
        let token = deployed(&claims, crate::token::SUBSCRIBER_SECRET);
        let _stream = server.open(Request::get(&format!("{HUB}?topic=a")).bearer(&token)).await;
        are_listed(server, 1).await;
        let revoke = || post(REVOKE, &json!({ "jti": "a/b c" }));
        refused(server, revoke(), 401).await;
        refused(server, revoke().bearer(&publisher(&["a/b c"])), 403).await;
        refused(server, post(REVOKE, &json!({ "jti": "" })).bearer(&publisher(&["*"])), 400).await;
        // The token itself, whole or cut off, is not its id.
        for text in [token.as_str(), &token[..40]] {
            let revoke = post(REVOKE, &json!({ "jti": text })).bearer(&publisher(&["*"]));
            refused(server, revoke, 400).await;
            let delete = Request::new("DELETE", &format!("{HUB}/tokens/{text}"));
            refused(server, delete.bearer(&publisher(&["*"])), 400).await;
        }
        assert_eq!(server.hub.subscribers(), 1);
        let path = format!("{HUB}/tokens/a%2Fb%20c");
        let answer = server.ask(revoke().bearer(&publisher(&[&path]))).await;
        assert_eq!(answer.status(), 204, "{}", answer.text());
        server.streams_become(0).await;
        refused(server, Request::get(EVENTS).bearer(&token), 401).await;
    });
}

#[test]
fn on_a_hub_without_keys_nobody_can_act_and_the_answer_says_what_to_do() {
    on_both_lanes(open, async |server| {
        for token in [None, Some(publisher(&["*"]))] {
            for request in
                [post(END, &json!({ "stream": 1 })), post(REVOKE, &json!({ "jti": "a" }))]
            {
                let request = token.as_deref().map_or(request.clone(), |one| request.bearer(one));
                let answer = refused(server, request, 401).await;
                assert!(answer.text().contains("has no keys"), "{}", answer.text());
            }
        }
        let mut watcher = watch(server, None).await;
        assert_eq!(reading(&mut watcher).await["access"]["canAct"], false);
    });
}

#[test]
fn without_a_token_a_closed_hub_shows_counts_only() {
    on_both_lanes(closed, async |server| {
        let mut watcher = watch(server, None).await;
        publish_public(server, "public", "data").await;
        let reading = reading_with(&mut watcher, |reading| reading["counts"]["updates"] == 1).await;
        assert_eq!(reading["view"], "counts");
        assert_eq!(reading["topics"], Value::Null);
        assert!(!reading.to_string().contains("public\""), "{reading}");
        refused(server, post("/operator/topic", &json!({ "topic": "public" })), 401).await;
    });
}

#[test]
fn topics_of_private_updates_are_shown_only_to_a_token_that_grants_them() {
    on_both_lanes(with_keys, async |server| {
        for topic in ["secret", "other"] {
            publish_private(server, topic, "data").await;
        }
        publish_public(server, "public", "data").await;
        publish_public(server, "mixed", "data").await;
        publish_private(server, "mixed", "data").await;
        let shown = async |token: Option<&str>| {
            let mut watcher = watch(server, token).await;
            let reading = reading_with(&mut watcher, |one| one["counts"]["updates"] == 5).await;
            let mut topics: Vec<_> = topics(&reading).into_iter().map(str::to_owned).collect();
            topics.sort_unstable();
            topics.join(" ")
        };
        assert_eq!(shown(None).await, "public");
        assert_eq!(shown(Some(&subscriber(&["secret"]))).await, "public secret");
        assert_eq!(shown(Some(&subscriber(&["*"]))).await, "mixed other public secret");
    });
}

#[test]
fn the_last_events_of_a_topic_are_those_that_the_token_may_read() {
    on_both_lanes(with_keys, async |server| {
        for n in 0..30 {
            publish_public(server, "a", &format!("public {n}")).await;
            publish_public(server, "b", "other").await;
        }
        publish_private(server, "a", "private").await;
        publish_private(server, "hidden", "private").await;
        let ask = async |topic: &str, token: Option<&str>| {
            let request = post("/operator/topic", &json!({ "topic": topic }));
            let request = token.map_or(request.clone(), |token| request.bearer(token));
            let answer = server.ask(request).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let found = answer.json();
            assert_eq!(found["isComplete"], true);
            let events = found["events"].as_array().expect("a list").clone();
            events.iter().map(|one| one["data"].as_str().expect("data").to_owned()).collect()
        };
        let newest: Vec<String> = (10..30).rev().map(|n| format!("public {n}")).collect();
        assert_eq!(ask("a", None).await, newest);
        assert_eq!(ask("a", Some(&subscriber(&["b"]))).await, newest);
        let all: Vec<String> = ask("a", Some(&subscriber(&["a"]))).await;
        assert_eq!((all.len(), all[0].as_str()), (20, "private"));
        assert_eq!(all[1..], newest[..19]);
        // A topic that may not be read looks as one that does not exist.
        assert_eq!(ask("hidden", None).await, Vec::<String>::new());
        assert_eq!(ask("absent", None).await, Vec::<String>::new());
        refused(server, post("/operator/topic", &json!({ "topic": "" })), 400).await;
    });
}

#[test]
fn the_selectors_of_a_slow_reader_are_shown_only_to_a_token_that_may_list_it() {
    on_both_lanes(with_keys, async |server| {
        let mut watcher = watch(server, None).await;
        let (_slow, _) = slow_reader(server, "topic=a", None, &mut watcher).await;
        let seen = async |token: Option<&str>| {
            let mut watcher = watch(server, token).await;
            let reading = reading(&mut watcher).await;
            let one = &reading["slow"]["list"][0];
            assert!(one["positions"].as_u64().is_some_and(|count| count > 0), "{one}");
            one["selectors"].clone()
        };
        assert_eq!(seen(None).await, Value::Null);
        assert_eq!(seen(Some(&subscriber(&["a"]))).await, Value::Null);
        let lists = subscriber(&["/.well-known/mercure/subscriptions/{+rest}"]);
        assert_eq!(
            seen(Some(&lists)).await,
            json!({ "first": ["a"], "count": 1, "isWhole": true })
        );
    });
}

#[test]
fn of_a_slow_reader_only_the_selectors_are_shown_that_the_token_may_list() {
    on_both_lanes(with_keys, async |server| {
        let mut watcher = watch(server, None).await;
        let topics: String = (10..30).map(|n| format!("&topic=z{n}")).collect();
        let query = format!("topic=a&topic=secret{topics}");
        let (_slow, _) = slow_reader(server, &query, None, &mut watcher).await;
        let seen = async |grants: &[&str]| {
            let mut watcher = watch(server, Some(&subscriber(grants))).await;
            reading(&mut watcher).await["slow"]["list"][0]["selectors"].clone()
        };
        let path =
            |topic: &str| format!("/.well-known/mercure/subscriptions/{topic}/{{subscriber}}");
        let a = json!({ "first": ["a"], "count": 1, "isWhole": false });
        assert_eq!(seen(&[&path("a")]).await, a);
        // Under the name that the hub's URL gives it, too.
        assert_eq!(seen(&[&format!("https://h.test{}", path("a"))]).await, a);
        let all = json!({ "first": ["a", "secret", "z10"], "count": 16, "isWhole": false });
        assert_eq!(seen(&[&path("{topic}")]).await, all);
        assert_eq!(seen(&[&path("other")]).await, Value::Null);
    });
}

#[test]
fn a_token_is_told_what_it_is_good_for() {
    on_both_lanes(with_keys, async |server| {
        let ask =
            async |token: &str| server.ask(post("/operator/token", &json!({})).bearer(token)).await;
        let reads = ask(&subscriber(&["*"])).await;
        assert_eq!(reads.json(), json!({ "read": true, "private": true, "act": false }));
        let acts = ask(&publisher(&["*"])).await;
        assert_eq!(acts.json(), json!({ "read": false, "private": false, "act": true }));
        assert_eq!(ask("x.y.z").await.status(), 401);
        refused(server, post("/operator/token", &json!({})), 401).await;
        refused(server, Request::get(EVENTS).bearer("x.y.z"), 401).await;
    });
}

#[test]
fn the_stream_ends_when_its_token_is_revoked() {
    on_both_lanes(with_keys, async |server| {
        let claims = json!({ "mercure": { "subscribe": ["*"] }, "jti": "mine" });
        let token = deployed(&claims, crate::token::SUBSCRIBER_SECRET);
        let mut watcher = watch(server, Some(&token)).await;
        reading(&mut watcher).await;
        let revoke = post(REVOKE, &json!({ "jti": "mine" })).bearer(&publisher(&["*"]));
        assert_eq!(server.ask(revoke).await.status(), 204);
        while watcher.ended.is_none() {
            watcher.next().await;
        }
        assert!(matches!(watcher.ended, Some(Ended::Whole)), "{:?}", watcher.ended);
    });
}

#[test]
fn readers_are_bounded_and_a_place_is_free_when_one_leaves() {
    on_both_lanes(open, async |server| {
        let mut readers = Vec::new();
        for _ in 0..16 {
            readers.push(watch(server, None).await);
        }
        let answer = refused(server, Request::get(EVENTS), 503).await;
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(server.get("/healthz").await.status(), 200);
        // They are no subscribers.
        assert_eq!(server.hub.subscribers(), 0);
        readers.pop();
        let status = async || {
            let mut connection = server.connect().await;
            connection.send(&Request::get(EVENTS)).await;
            connection.stream().await.head.status
        };
        becomes("the status", 200, status).await;
    });
}

#[test]
fn the_page_shows_a_drain_until_the_hub_ends() {
    on_both_lanes(open, async |server| {
        let mut watcher = watch(server, None).await;
        reading(&mut watcher).await;
        let _stream = server.subscribe("topic=a").await;
        server.hub.drain(std::time::Duration::ZERO).await;
        let seen = reading_with(&mut watcher, |one| one["status"]["isDraining"] == true).await;
        assert_eq!(seen["status"]["isReady"], false);
        // Also a page that is opened now.
        let mut later = watch(server, None).await;
        assert_eq!(reading(&mut later).await["status"]["isDraining"], true);
    });
}

#[test]
fn where_a_callback_decides_a_request_to_act_needs_the_header_too() {
    let build = || {
        open().authorize(|request: &Parts| {
            // Every request is allowed, as if a cookie had authorized it.
            let grants = Permissions::none().subscribe(Rights::Granted(Selectors::all()));
            match request.uri.path() {
                HUB => grants,
                _ => grants.publish(Selectors::all()),
            }
        })
    };
    on_both_lanes(build, async |server| {
        let act = || post(END, &json!({ "stream": 99 }));
        refused(server, act(), 401).await;
        refused(server, act().header("cookie", "session=1"), 401).await;
        refused(server, act().bearer("anything"), 404).await;
        let mut watcher = watch(server, None).await;
        assert_eq!(reading(&mut watcher).await["view"], "counts");
        let mut watcher = watch(server, Some("anything")).await;
        assert_eq!(reading(&mut watcher).await["view"], "token");
    });
}

#[test]
fn the_page_is_on_the_admin_listener_and_not_beside_the_hub() {
    runtime().block_on(async {
        let hub = Hub::builder().shards(1).access(Access::development()).build().await;
        let hub = hub.expect("the system has threads");
        let serve = async |router: axum::Router| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        };
        let get = async |address: SocketAddr, path: &str| {
            Connection::open(address).await.ask(&Request::get(path)).await.status()
        };
        let test = async {
            let main = serve(hub.router()).await;
            let admin = serve(tidings_hub::admin_router(&hub)).await;
            let nested = axum::Router::new().nest("/inside", tidings_hub::admin_router(&hub));
            let nested = serve(nested).await;
            for path in ["/operator", "/operator/page/operator/operator.js"] {
                assert_eq!(get(main, path).await, 404);
                assert_eq!(get(admin, path).await, 200);
                assert_eq!(get(nested, &format!("/inside{path}")).await, 200);
            }
            assert_eq!(get(main, EVENTS).await, 404);
            let mut connection = Connection::open(admin).await;
            connection.send(&Request::get(EVENTS)).await;
            let mut stream = connection.stream().await;
            assert!(matches!(stream.next().await, Seen::Event(_) | Seen::Comment));
        };
        tokio::time::timeout(TEST_TIME, test).await.expect("the test ends in time");
        hub.stop().await;
    });
}
