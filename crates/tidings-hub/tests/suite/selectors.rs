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
fn an_update_that_is_wanted_for_several_reasons_comes_once() {
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
        stream.event().await.notice("anonymous");
        assert_eq!(stream.data(3).await, ["0", "2", "3"]);
        server.tell("t/9", "live").await;
        assert_eq!(stream.event().await.data, "live");
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_words() {
    on_both_lanes(known, async |server| {
        let hostile = encoded("https://a.test/((?:a{1000}){1000})");
        let patterns: String =
            (0..101).map(|at| format!("&topic={}", encoded(&format!("{at}/{{x}}")))).collect();
        let topics: String = (0..1001).map(|at| format!("&match=t{at}")).collect();
        let long = "x".repeat(4097);
        for (query, words) in [
            ("matchfoo=x".to_owned(), "match_urlpattern"),
            ("Match=x".to_owned(), "no way to match"),
            ("MATCH_EXACT=x".to_owned(), "no way to match"),
            ("match_regex=x".to_owned(), "no way to match"),
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
