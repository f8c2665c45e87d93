//! What a stream may ask for, in the words of both dialects.

use tidings_hub::HubBuilder;

use crate::client::{HUB, Request, Stream, encoded};
use crate::server::{Server, on_both_lanes, open};
use crate::token::access;

fn known() -> HubBuilder {
    let mut access = access();
    access.anonymous_publish = true;
    open().access(access)
}

/// Whether a stream of `query` gets an update about `topic`.
async fn reaches(server: &Server, query: &str, topic: &str) -> bool {
    let mut stream = server.subscribe(&format!("{query}&topic=the-end")).await;
    gets(server, &mut stream, topic).await
}

async fn gets(server: &Server, stream: &mut Stream, topic: &str) -> bool {
    server.tell(topic, "it").await;
    server.tell("the-end", "end").await;
    match stream.event().await.data.as_str() {
        "it" => {
            assert_eq!(stream.event().await.data, "end");
            true
        }
        _ => false,
    }
}

#[test]
fn the_test_vectors_of_both_dialects_hold() {
    let template = "https://a.test/books/{id}";
    let question = "https://a.test/u/5/{?topic}";
    let pattern = "https://a.test/books/:id";
    on_both_lanes(known, async |server| {
        for (name, selector, topic, expected) in [
            ("topic", "*", "anything", true),
            ("topic", "plain", "plain", true),
            ("topic", "plain", "plainer", false),
            ("topic", template, "https://a.test/books/7", true),
            ("topic", template, "https://a.test/books/7/8", false),
            ("topic", template, template, true),
            ("topic", question, "https://a.test/u/5/?topic=https%3A%2F%2Fa.test%2Fbooks%2F7", true),
            ("topic", "bad{template", "bad{template", true),
            ("topic", "bad{template", "badx", false),
            ("match", "https://a.test/x", "https://A.test/x", false),
            ("match", "https://a.test/x", "https://a.test/x", true),
            ("match_exact", "https://a.test/{id}", "https://a.test/7", false),
            ("match", "*", "anything", true),
            ("match_urlpattern", "*", "http://[", true),
            ("match_urlpattern", pattern, "https://A.test/books/7", true),
            ("match_urlpattern", pattern, "https://a.test/Books/7", false),
            ("match_urlpattern", "/books/:id", "/books/7", true),
            ("match_urlpattern", "/books/:id", "https://h.test/books/7", true),
            ("match_urlpattern", "/books/:id", "https://other.test/books/7", false),
            ("match_urlpattern", "/books/:id", "http://[", false),
        ] {
            let query = format!("{name}={}", encoded(selector));
            assert_eq!(reaches(server, &query, topic).await, expected, "{name}={selector} {topic}");
        }
    });
}

#[test]
fn a_hub_that_does_not_know_its_url_is_where_its_subscribers_find_it() {
    on_both_lanes(open, async |server| {
        let query = format!("match_urlpattern={}", encoded("/books/:id"));
        let here = format!("{}://{}/books/7", server.scheme(), server.address);
        for (topic, expected) in
            [("/books/7", true), (here.as_str(), true), ("https://a.test/books/7", false)]
        {
            assert_eq!(reaches(server, &query, topic).await, expected, "{topic}");
        }
    });
}

#[test]
fn words_of_both_dialects_may_stand_together() {
    on_both_lanes(known, async |server| {
        let query =
            format!("topic={}&match_urlpattern={}&match=x", encoded("t/{a}"), encoded("/p/:b"));
        for topic in ["t/1", "/p/1", "x"] {
            assert!(reaches(server, &query, topic).await, "{topic}");
        }
        assert!(!reaches(server, &query, "y").await);
    });
}

#[test]
fn an_update_that_is_selected_several_times_arrives_once() {
    on_both_lanes(known, async |server| {
        let query =
            format!("topic=*&topic=t/1&topic={}&topic={}", encoded("t/{a}"), encoded("{+all}"));
        let mut stream = server.subscribe(&query).await;
        server.publish("topic=t/1&topic=t/2&data=1").await;
        server.publish("topic=t/1&data=2").await;
        assert_eq!(stream.data(2).await, ["1", "2"]);
    });
}

#[test]
fn a_pattern_is_replayed_as_it_is_live() {
    on_both_lanes(known, async |server| {
        for (at, topic) in ["t/1", "u/1", "t/2", "/p/3"].iter().enumerate() {
            server.tell(topic, &at.to_string()).await;
        }
        let query = format!(
            "topic={}&match_urlpattern={}&lastEventID=earliest",
            encoded("t/{a}"),
            encoded("/p/*")
        );
        let mut stream = server.subscribe(&query).await;
        assert_eq!(stream.data(3).await, ["0", "2", "3"]);
        server.tell("t/9", "live").await;
        assert_eq!(stream.event().await.data, "live");
    });
}

#[test]
fn an_invalid_selection_is_refused_in_words() {
    on_both_lanes(known, async |server| {
        let hostile = encoded("https://a.test/((?:a{1000}){1000})");
        let patterns: String =
            (0..101).map(|at| format!("&topic={}", encoded(&format!("{at}/{{x}}")))).collect();
        let topics: String = (0..1001).map(|at| format!("&match=t{at}")).collect();
        let long = "x".repeat(4097);
        for (query, words) in [
            ("matchfoo=x".to_owned(), "match_urlpattern"),
            ("Match=x".to_owned(), "not a way to match"),
            ("MATCH_EXACT=x".to_owned(), "not a way to match"),
            ("match_regex=x".to_owned(), "not a way to match"),
            ("match=".to_owned(), "empty"),
            ("match".to_owned(), "empty"),
            ("match=%00".to_owned(), "U+0000"),
            ("match=a%C2%85".to_owned(), "U+0085"),
            ("match_urlpattern=a%E2%80%8B".to_owned(), "U+200B"),
            ("match=%ff".to_owned(), "UTF-8"),
            (format!("match={long}"), "4096"),
            ("match_urlpattern=(".to_owned(), "256 KiB"),
            (format!("match_urlpattern={hostile}"), "256 KiB"),
            (format!("topic={}", encoded("{a:9999}")), "256 KiB"),
            (format!("topic={}", encoded(&"{a}".repeat(33))), "32 variables"),
            (patterns[1..].to_owned(), "100"),
            (topics[1..].to_owned(), "1000"),
            (String::new(), "at least one"),
            ("last_event_id=a".to_owned(), "at least one"),
        ] {
            let answer = server.ask(Request::get(&format!("{HUB}?{query}"))).await;
            assert_eq!(answer.status(), 400, "{query:.80}");
            assert!(answer.text().contains(words), "{query:.80}: {}", answer.text());
        }
        assert_eq!(server.hub.subscribers(), 0);
        // What looks a little like it is ignored, as all that is not known.
        server.subscribe("topic=a&matc=x&mmatch=y&topics=z").await;
    });
}

/// A query that asks for all of these.
fn asking(name: &str, selectors: impl IntoIterator<Item = String>) -> String {
    let pairs: Vec<_> =
        selectors.into_iter().map(|text| format!("{name}={}", encoded(&text))).collect();
    pairs.join("&")
}

#[test]
fn dozens_of_templates_are_accepted_and_shared_and_their_memory_is_returned() {
    on_both_lanes(known, async |server| {
        let lane = format!("{:?}", server.lane);
        let templates = (0..60).flat_map(|at| {
            [
                format!("https://a.test/{lane}/{at}/{{id}}"),
                format!("https://a.test/{lane}/{at}/{{id}}.jsonld{{?page,order*}}"),
            ]
        });
        let query = asking("topic", templates.take(99));
        let mut first = server.subscribe(&query).await;
        let taken = server.metric("tidings_selector_bytes").await;
        assert!((100_000.0..1_000_000.0).contains(&taken), "{taken}");
        let mut second = server.subscribe(&query).await;
        let shared = server.metric("tidings_selector_bytes").await;
        assert!(shared < 1.3 * taken, "{shared} of {taken}");
        server.tell(&format!("https://a.test/{lane}/7/x.jsonld?page=2"), "it").await;
        assert_eq!(first.event().await.data, "it");
        assert_eq!(second.event().await.data, "it");
        drop((first, second));
        server.streams_become(0).await;
        assert_eq!(server.metric("tidings_selector_bytes").await, 0.0);
    });
}

#[test]
fn a_hundred_patterns_of_long_names_are_accepted() {
    on_both_lanes(known, async |server| {
        // As Laravel asks for the members of each of its presence channels.
        let lane = format!("{:?}", server.lane);
        let pattern = |at: u32| {
            let channel = format!("presence-a.rather.long.name.of.a.channel.in.{lane}.{at}");
            let topic = format!("https%3A%2F%2Flaravel.alt%2Fecho%2Fchannel%2F{channel}");
            format!("/.well-known/mercure/subscriptions/:match_type/{topic}/:subscriber")
        };
        let patterns: Vec<_> = (0..100).map(pattern).collect();
        server.subscribe(&asking("match_urlpattern", patterns)).await;
    });
}

#[test]
fn selectors_that_take_too_much_to_compile_are_refused_with_the_limit() {
    on_both_lanes(known, async |server| {
        let bombs = (0..100).map(|at| format!("*://*/{at}([^N]*a[a-z]{{3600}})"));
        for (query, expected) in [
            (asking("match_urlpattern", bombs), "more than 256 KiB"),
            (asking("topic", ["{+a}x{b:20}y".to_owned()]), "more than 256 KiB"),
        ] {
            let answer = server.get(&format!("{HUB}?{query}")).await;
            assert_eq!(answer.status(), 400, "{}", answer.text());
            assert!(answer.text().contains(expected), "{}", answer.text());
        }
        assert_eq!(server.metric("tidings_selector_bytes").await, 0.0);
    });
}

#[test]
fn slow_patterns_end_the_newest_streams_and_nothing_is_lost() {
    on_both_lanes(
        || known().shards(1),
        async |server| {
            let mut exact = server.subscribe("topic=b").await;
            let mut old = server.subscribe(&format!("topic={}", encoded("{+old}"))).await;
            let mut newest = Vec::new();
            for stream in 0..2 {
                let topics: Vec<_> = (0..100)
                    .map(|at| format!("topic={}", encoded(&format!("{{+x{stream}y{at}}}"))))
                    .collect();
                newest.push(server.subscribe(&topics.join("&")).await);
            }
            let before = server.tell("c", "before").await;
            for stream in newest.iter_mut().chain([&mut old]) {
                assert_eq!(stream.event().await.data, "before");
            }
            // As many bytes of topics as an update may have.
            let topics: String =
                (0..15).map(|at| format!("&topic={at:02}{}", "y".repeat(4094))).collect();
            server.publish(&format!("topic=b{topics}&data=costly")).await;
            assert_eq!(exact.event().await.data, "costly");
            assert_eq!(old.event().await.data, "costly");
            let closed = "tidings_streams_closed_total{reason=\"patterns\"}";
            server.metric_becomes(closed, 2.0).await;
            server.tell("b", "after").await;
            assert_eq!(exact.event().await.data, "after");
            assert_eq!(old.event().await.data, "after");
            for _ in newest {
                let mut resumed =
                    server.resume(&format!("topic={}", encoded("{+x0y0}")), &before).await;
                assert_eq!(resumed.event().await.data, "costly");
                assert_eq!(resumed.event().await.data, "after");
            }
            let many: String =
                (0..17).map(|at| format!("&topic={at:02}{}", "y".repeat(4094))).collect();
            let refused = server.ask(Request::form(&format!("topic=b{many}&data=x"))).await;
            assert_eq!(refused.status(), 413);
            assert!(refused.text().contains("65536"), "{}", refused.text());
        },
    );
}
