//! Who is subscribed, as the hub lists it and as it tells it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_hub::HubBuilder;

use crate::client::{Answer, HUB, Request, Stream, encoded};
use crate::server::{Lane, Server, on_both_lanes, runtime};
use crate::token::{
    SUBSCRIBER_SECRET, are_listed, claims, coming, deployed, detail, subscriber, with_keys,
};

fn told() -> HubBuilder {
    with_keys().presence_events(true)
}

fn new_token(topics: Value) -> String {
    coming(&claims("subscribe", topics), SUBSCRIBER_SECRET)
}

async fn open(server: &Server, query: &str, token: &str) -> Stream {
    server.open(Request::get(&format!("{HUB}?{query}")).bearer(token)).await
}

async fn list(server: &Server, path: &str, token: &str) -> Answer {
    server.ask(Request::get(&format!("{HUB}/subscriptions{path}")).bearer(token)).await
}

/// A subscription's selector, as a document has it.
fn selector(document: &Value) -> &str {
    document.get("topic").or(document.get("match")).and_then(Value::as_str).expect("a selector")
}

/// The subscriptions of a list, which has the order of their subscribers' random ids.
fn by_selector(list: &Value) -> Vec<Value> {
    let mut members = list["subscriptions"].as_array().expect("a list").clone();
    members.sort_by(|one, other| selector(one).cmp(selector(other)));
    members
}

#[test]
fn the_list_has_both_shapes() {
    on_both_lanes(with_keys, async |server| {
        let token = deployed(
            &json!({ "mercure": { "subscribe": ["a"], "payload": { "user": 5 } } }),
            SUBSCRIBER_SECRET,
        );
        let _one = open(server, &format!("topic=a&topic={}", encoded("b/{x}")), &token).await;
        let pattern = encoded("https://a.test/books/:id");
        let _other = server.subscribe(&format!("match_urlpattern={pattern}&match=c")).await;
        are_listed(server, 3).await;

        let old = list(server, "", &subscriber(&["*"])).await;
        assert_eq!(old.header("content-type"), Some("application/ld+json"));
        assert_eq!(old.header("link"), None);
        let old = old.json();
        assert_eq!(old["@context"], "https://mercure.rocks/");
        assert_eq!(old["id"], format!("{HUB}/subscriptions"));
        assert_eq!(old["type"], "Subscriptions");
        assert_eq!(old["lastEventID"], "earliest");
        let members = by_selector(&old);
        assert_eq!(members.iter().map(selector).collect::<Vec<_>>(), ["a", "b/{x}", "c"]);
        let first = &members[0];
        let id = first["subscriber"].as_str().expect("an id");
        assert!(id.starts_with("urn:uuid:"), "{id}");
        let expected = json!({
            "id": format!("{HUB}/subscriptions/a/{}", id.replace(':', "%3A")),
            "type": "Subscription", "topic": "a", "subscriber": id, "active": true,
            "payload": { "user": 5 },
        });
        assert_eq!(first, &expected);
        // One subscriber has one id, whatever it subscribes to.
        assert_eq!(members[1]["subscriber"], first["subscriber"]);
        assert_eq!(members[2].get("payload"), None);

        let new = list(server, "", &new_token(json!([{ "match": "*" }]))).await;
        assert_eq!(new.header("content-type"), Some("application/json"));
        let link = new.header("link").expect("a cursor");
        assert!(
            link.starts_with(
                "<https://h.test/.well-known/mercure>; rel=\"mercure\"; last-event-id=\"earliest\""
            ),
            "{link}"
        );
        let new = new.json();
        assert_eq!(new["type"], "subscriptions");
        assert_eq!(new.get("@context"), None);
        let members = by_selector(&new);
        let kinds: Vec<_> =
            members.iter().map(|one| (one["match_type"].clone(), selector(one))).collect();
        let expected = [("exact", "a"), ("exact", "c"), ("urlpattern", "https://a.test/books/:id")];
        assert_eq!(kinds, expected.map(|(kind, text)| (json!(kind), text)));
        let id = members[2]["subscriber"].as_str().expect("an id").replace(':', "%3A");
        let pattern = "https%3A%2F%2Fa.test%2Fbooks%2F%3Aid";
        assert_eq!(members[2]["id"], format!("{HUB}/subscriptions/urlpattern/{pattern}/{id}"));
    });
}

#[test]
fn every_path_names_its_subscriptions() {
    on_both_lanes(with_keys, async |server| {
        let topic = "https://a.test/x y?z=%2F+é";
        let query = format!("topic={}&match_urlpattern={}", encoded(topic), encoded("/p/:x"));
        let stream = server.subscribe(&query).await;
        let _other = server.subscribe("topic=other").await;
        are_listed(server, 2).await;
        let (old, new) = (subscriber(&["*"]), new_token(json!([{ "match": "*" }])));
        let all = list(server, "", &old).await.json();
        let id = all["subscriptions"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["topic"] == topic);
        let id = id.expect("it is there")["subscriber"].as_str().expect("an id").to_owned();
        let of = async |path: &str, token: &str| {
            let answer = list(server, path, token).await;
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            let document = answer.json();
            document["subscriptions"].as_array().map_or(vec![document.clone()], Clone::clone)
        };
        let name = encoded(topic);
        for token in [&old, &new] {
            let found = of(&format!("/{name}"), token).await;
            assert_eq!(found.iter().map(|one| &one["topic"]).collect::<Vec<_>>(), [topic]);
            let found = of(&format!("/{name}/{}", encoded(&id)), token).await;
            assert_eq!(
                (&found[0]["topic"], &found[0]["lastEventID"]),
                (&json!(topic), &json!("earliest"))
            );
            let found = of(&format!("/exact/{name}"), token).await;
            assert_eq!(found.iter().map(|one| &one["match"]).collect::<Vec<_>>(), [topic]);
            let found = of(&format!("/exact/{name}/{id}"), token).await;
            assert_eq!(found[0]["match"], topic);
            let found = of(&format!("/urlpattern/{}", encoded("/p/:x")), token).await;
            assert_eq!(found.len(), 1);
            assert_eq!(of("/nobody", token).await.len(), 0);
        }
        for path in [
            "/other/urn%3Auuid%3A1".to_owned(),
            format!("/other/{id}"),
            format!("/exact/other/{id}"),
            format!("/regex/other/{id}"),
            "/a/b/c/d".to_owned(),
            format!("/urlpattern/{name}/{id}"),
        ] {
            assert_eq!(list(server, &path, &old).await.status(), 404, "{path}");
        }
        drop(stream);
        server.streams_become(1).await;
        assert_eq!(list(server, &format!("/{name}/{id}"), &old).await.status(), 404);
    });
}

#[test]
fn the_presence_of_others_is_announced_only_to_subscribers_with_a_grant() {
    on_both_lanes(with_keys, async |server| {
        let _there = server.subscribe("topic=a").await;
        let path = format!("{HUB}/subscriptions");
        assert_eq!(server.get(&path).await.status(), 401);
        let every = format!("{path}{{/topic}}{{/subscriber}}");
        let pattern = json!([{ "match": "/.well-known/mercure/subscriptions{/*}?", "match_type": "urlpattern" }]);
        for (token, expected) in [
            (subscriber(&["a"]), 403),
            (subscriber(&["/.well-known/{x}"]), 403),
            (subscriber(&[]), 403),
            (subscriber(&["*"]), 200),
            (subscriber(&[path.as_str()]), 200),
            (subscriber(&["https://h.test/.well-known/mercure/subscriptions"]), 200),
            (subscriber(&["https://evil.test/.well-known/mercure/subscriptions"]), 403),
            (subscriber(&[every.as_str()]), 200),
            (new_token(json!([{ "match": "a" }])), 403),
            (new_token(pattern), 200),
        ] {
            let evil = Request::get(&path).bearer(&token).header("host", "evil.test");
            for request in [Request::get(&path).bearer(&token), evil] {
                let answer = server.ask(request).await;
                assert_eq!(answer.status(), expected, "{}", answer.text());
                assert_eq!(expected == 200, answer.text().contains("urn:uuid:"));
            }
        }
        let answer = list(server, "/b", &subscriber(&[path.as_str()])).await;
        assert_eq!(answer.status(), 403);
    });
}

#[test]
fn joins_and_leaves_are_announced_in_both_dialects() {
    on_both_lanes(told, async |server| {
        let mut old = open(
            server,
            &format!("topic={}", encoded("/.well-known/mercure/subscriptions/{t}/{s}")),
            &subscriber(&["*"]),
        )
        .await;
        let pattern = encoded("/.well-known/mercure/subscriptions/:type/:topic/:subscriber");
        let everything = new_token(json!([{ "match": "*" }]));
        let mut new = open(server, &format!("match_urlpattern={pattern}"), &everything).await;
        let mut public = open(server, "topic=*", &subscriber(&["a"])).await;
        let mut claims = claims("subscribe", json!([{ "match": "b" }]));
        claims["authorization_details"] = json!([
            detail("subscribe", json!([{ "match": "b" }])),
            detail("subscribe", json!([{ "match": "*" }])),
        ]);
        claims["authorization_details"][1]["payload"] = json!({ "team": "x" });
        let token = coming(&claims, SUBSCRIBER_SECRET);
        let about_a = async |stream: &mut Stream, name: &str| loop {
            let event = stream.event().await;
            let document: Value = serde_json::from_str(&event.data).expect("JSON");
            if document[name] == "a" {
                return (event, document);
            }
        };
        let there = open(server, "match=a&match=b", &token).await;
        let (event, document) = about_a(&mut old, "topic").await;
        assert_eq!(event.event_type, "message");
        assert_eq!(document["@context"], "https://mercure.rocks/");
        assert_eq!(
            (&document["active"], &document["payload"]),
            (&json!(true), &json!({ "team": "x" }))
        );
        let (event, document) = about_a(&mut new, "match").await;
        assert_eq!(event.event_type, "mercure");
        assert_eq!(document["type"], "subscription");
        assert_eq!(
            (&document["active"], &document["payload"]),
            (&json!(true), &json!({ "team": "x" }))
        );
        // The first detail that grants it decides, also where it says nothing.
        let all = list(server, "/exact/b", &everything).await.json();
        assert_eq!(all["subscriptions"][0].get("payload"), None);
        let id = document["id"].clone();
        drop(there);
        let (_, document) = about_a(&mut new, "match").await;
        assert_eq!((&document["active"], &document["id"]), (&json!(false), &id));
        let (_, document) = about_a(&mut old, "topic").await;
        assert_eq!(document["active"], false);
        // They are private, and `*` alone does not show them.
        let form = Request::form("topic=a&data=end").bearer(&crate::token::publisher(&["*"]));
        server.ask(form).await.id();
        assert_eq!(public.event().await.data, "end");
    });
}

#[test]
fn subscriptions_are_announced_only_on_request() {
    on_both_lanes(with_keys, async |server| {
        drop(server.subscribe("topic=a").await);
        server.streams_become(0).await;
        assert_eq!(server.metric("tidings_journal_last_position").await, 0.0);
    });
}

#[test]
fn a_list_that_has_not_changed_is_not_sent_again() {
    for build in [told as fn() -> HubBuilder, with_keys] {
        on_both_lanes(build, async |server| {
            let token = subscriber(&["*"]);
            let mut tags = Vec::new();
            for _ in 0..2 {
                let answer = list(server, "", &token).await;
                let tag = answer.header("etag").expect("a tag").to_owned();
                assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
                let again = Request::get(&format!("{HUB}/subscriptions"))
                    .bearer(&token)
                    .header("if-none-match", &tag);
                let again = server.ask(again).await;
                assert_eq!((again.status(), again.body.len()), (304, 0));
                assert_eq!(again.header("etag"), Some(tag.as_str()));
                tags.push(tag);
                // Told of in due time, if at all.
                drop(server.subscribe("topic=a").await);
                server.streams_become(0).await;
                if answer.json()["lastEventID"] != "earliest" || tags.len() == 1 {
                    continue;
                }
            }
            if server.metric("tidings_journal_last_position").await == 0.0 {
                assert_ne!(tags[0], tags[1]);
            }
        });
    }
}

/// What a watcher is told of a topic until so many have come and so many have gone: who is there
/// then. Everybody comes once, and goes once, in this order.
async fn told_of(watch: &mut Stream, topic: &str, came: usize, gone: usize) -> Vec<String> {
    let mut told = HashMap::new();
    let mut left = 0;
    while told.len() < came || left < gone {
        let event = watch.event().await;
        assert_ne!(event.event_type, "tidings", "{}", event.data);
        let document: Value = serde_json::from_str(&event.data).expect("JSON");
        if selector(&document) != topic {
            continue;
        }
        let id = document["subscriber"].as_str().expect("an id").to_owned();
        let active = document["active"].as_bool().expect("a boolean");
        let before = told.insert(id, active);
        assert_eq!(before, if active { None } else { Some(true) }, "told twice, or out of order");
        left += usize::from(!active);
    }
    let there = told.into_iter().filter(|(_, active)| *active).map(|(id, _)| id);
    let mut there: Vec<_> = there.collect();
    there.sort_unstable();
    there
}

/// So many come one after the other and leave in no order, but for seven: is the list right
/// then, and was everybody told of once, in both shapes?
async fn check_churn(server: &Server, joins: usize) {
    const STAY: usize = 7;
    tidings_seed::begin();
    let everything = subscriber(&["*"]);
    let old = format!("topic={}", encoded("/.well-known/mercure/subscriptions/{t}/{s}"));
    let new =
        format!("match_urlpattern={}", encoded("/.well-known/mercure/subscriptions/exact/:t/:s"));
    let mut old = open(server, &old, &everything).await;
    let mut new = open(server, &new, &everything).await;
    let churn = async {
        let mut there = Vec::new();
        for _ in 0..joins {
            there.push(server.subscribe("topic=churn").await);
            while there.len() > 40 {
                drop(there.swap_remove(fastrand::usize(..there.len())));
            }
        }
        there.truncate(STAY);
        there
    };
    let gone = joins - STAY;
    let (there, old, new) = tokio::join!(
        churn,
        told_of(&mut old, "churn", joins, gone),
        told_of(&mut new, "churn", joins, gone)
    );
    assert_eq!(there.len(), STAY);
    let members = list(server, "/churn", &everything).await.json();
    let members = members["subscriptions"].as_array().expect("a list");
    let id = |one: &Value| one["subscriber"].as_str().expect("an id").to_owned();
    let mut listed: Vec<_> = members.iter().map(id).collect();
    listed.sort_unstable();
    assert_eq!(listed.len(), STAY);
    assert_eq!((&old, &new), (&listed, &listed));
}

#[test]
fn after_joins_and_leaves_the_list_is_right_and_each_was_announced_once() {
    on_both_lanes(told, async |server| check_churn(server, 100).await);
}

#[test]
fn after_thousands_of_joins_and_leaves_the_list_is_right_and_each_was_announced_once() {
    // More than the journal keeps of the announcements, so the watcher must keep up.
    let joins = std::env::var("TIDINGS_JOINS");
    let joins = joins.map_or(2600, |count| count.parse().expect("a number"));
    runtime().block_on(async {
        let server = Server::start(Lane::Direct, told()).await;
        let begun = Instant::now();
        tokio::time::timeout(Duration::from_secs(300), check_churn(&server, joins))
            .await
            .expect("it ends in time");
        println!("{joins} joins and leaves in {:.1} s", begun.elapsed().as_secs_f64());
        server.hub.stop().await;
    });
}

#[test]
fn a_long_list_is_whole_and_names_each_subscription_once() {
    const STREAMS: usize = 20;
    const TOPICS: usize = 300;
    on_both_lanes(with_keys, async |server| {
        let everything = subscriber(&["*"]);
        let topics: Vec<_> = (0..TOPICS).map(|at| format!("topic=t{at}")).collect();
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(server.subscribe(&topics.join("&")).await);
        }
        let answer = list(server, "", &everything).await;
        assert!(answer.body.len() > 1_000_000, "{}", answer.body.len());
        let document = answer.json();
        let all = document["subscriptions"].as_array().expect("a list");
        let ids: HashSet<_> = all.iter().map(|one| one["id"].as_str().expect("an id")).collect();
        assert_eq!((all.len(), ids.len()), (STREAMS * TOPICS, STREAMS * TOPICS));
        let of_one = list(server, "/t7", &everything).await.json();
        assert_eq!(of_one["subscriptions"].as_array().expect("a list").len(), STREAMS);
        let id = of_one["subscriptions"][0]["id"].as_str().expect("an id").to_owned();
        let one = server.ask(Request::get(&id).bearer(&everything)).await;
        assert_eq!(one.json()["topic"], "t7");
        let head = Request::new("HEAD", &format!("{HUB}/subscriptions")).bearer(&everything);
        let head = server.connect().await.ask(&head).await;
        assert_eq!((head.status(), head.body.len()), (200, 0));
    });
}
