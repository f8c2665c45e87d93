//! Where a stream may begin beside a cursor: at a time, or with the last value of each topic;
//! on both journals.

use tidings_hub::{DiskJournal, DiskOptions, HubBuilder, MemoryJournal, Retention, RetentionRule};
use tidings_hub::{Keep, Selectors};

use crate::client::{Request, Stream, encoded};
use crate::server::{Server, on_both_lanes, open};

/// Runs `test` with each journal, keeping so many updates, on each lane.
fn on_both_journals(count: u64, test: impl AsyncFn(&Server)) {
    let bounds = Retention::default().count(count);
    on_both_lanes(|| open().journal(MemoryJournal::new(bounds)), &test);
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = || -> HubBuilder {
        let rule = RetentionRule::new(Selectors::all(), Keep::All, bounds);
        let options = DiskOptions::default().retention(vec![rule]);
        let within = tempfile::tempdir_in(&folder).expect("a folder").keep();
        let journal = DiskJournal::open(within, options);
        open().journal(journal.expect("a journal in a new folder"))
    };
    on_both_lanes(on_disk, &test);
}

/// A time after all that was acknowledged, and before all that is published from now on.
fn now() -> String {
    chrono::Utc::now().to_rfc3339()
}

async fn check(stream: &mut Stream, expected: &[&str]) {
    for data in expected {
        assert_eq!(stream.event().await.data, *data);
    }
}

#[test]
fn a_stream_begins_with_the_last_value_of_each_topic() {
    on_both_journals(1000, async |server| {
        for n in 0..50 {
            for topic in ["a", "b", "c"] {
                server.tell(topic, &format!("{topic}{n}")).await;
            }
        }
        server.tell("a", "a-last").await;
        server.publish("topic=b&data=private&private=on").await;
        let mut some =
            server.subscribe("topic=a&topic=b&topic=none&lastEventID=tidings:last").await;
        let mut all = server.subscribe("topic=*&lastEventID=tidings:last").await;
        assert_eq!(all.cursor().as_deref(), Some("tidings:last"));
        check(&mut some, &["b49", "a-last"]).await;
        check(&mut all, &["b49", "c49", "a-last"]).await;
        server.tell("b", "b-live").await;
        check(&mut some, &["b-live"]).await;
        check(&mut all, &["b-live"]).await;
        // A client that reconnects continues as after any other event.
        let mut again = server.subscribe("topic=a&lastEventID=tidings:last").await;
        let id = again.event().await.id().to_owned();
        server.tell("a", "next").await;
        let mut resumed = server.resume("topic=a&lastEventID=tidings:last", &id).await;
        check(&mut resumed, &["next"]).await;
    });
}

#[test]
fn last_values_and_then_live_events_miss_and_double_nothing_under_publishing() {
    on_both_journals(100_000, async |server| {
        const TOPICS: usize = 20;
        const EACH: usize = 15;
        let publishing = async {
            let mut publisher = server.connect().await;
            for n in 0..EACH {
                for topic in 0..TOPICS {
                    let form = format!("topic=t{topic}&data={n}");
                    assert_eq!(publisher.ask(&Request::form(&form)).await.status(), 200);
                }
            }
        };
        let watching = async || {
            let topics: String = (0..TOPICS).map(|topic| format!("topic=t{topic}&")).collect();
            for query in [&topics, "topic=*&"] {
                let query = format!("{query}tidings=topics&lastEventID=tidings:last");
                let mut stream = server.subscribe(&query).await;
                let mut newest = [None::<usize>; TOPICS];
                while newest.iter().any(|one| *one != Some(EACH - 1)) {
                    let event = stream.event().await;
                    let topic: usize = event.topics[0][1..].parse().expect("a number");
                    let n: usize = event.data.parse().expect("a number");
                    // The first is any; after it each comes, once.
                    if let Some(before) = newest[topic] {
                        assert_eq!(n, before + 1, "t{topic}");
                    }
                    newest[topic] = Some(n);
                }
            }
        };
        tokio::join!(publishing, watching(), watching(), watching());
    });
}

#[test]
fn a_stream_begins_at_a_time() {
    on_both_journals(1000, async |server| {
        server.tell("a", "1").await;
        let first = now();
        server.tell("b", "2").await;
        server.tell("a", "3").await;
        let second = now();
        let since = |time: &str| {
            format!("topic=a&lastEventID={}", encoded(&format!("tidings:since:{time}")))
        };
        let mut one = server.subscribe(&since(&first)).await;
        let mut two = server.subscribe(&since(&second)).await;
        let mut all = server.subscribe(&since("1999-12-31T23:59:59+01:00")).await;
        server.tell("a", "4").await;
        check(&mut one, &["3", "4"]).await;
        check(&mut two, &["4"]).await;
        check(&mut all, &["1", "3", "4"]).await;
        let refused = server.get(&format!("/.well-known/mercure?{}", since("yesterday"))).await;
        assert_eq!(refused.status(), 400);
        assert!(refused.text().contains("RFC 3339"), "{}", refused.text());
    });
}

#[test]
fn a_time_with_trimmed_updates_gets_a_gap() {
    on_both_journals(3, async |server| {
        let before = now();
        for n in 1..=6 {
            server.tell("a", &n.to_string()).await;
        }
        server.journal_begins_at(4).await;
        let after = now();
        let since = |time: &str| {
            format!("topic=a&lastEventID={}", encoded(&format!("tidings:since:{time}")))
        };
        let mut lossy = server.subscribe(&since(&before)).await;
        assert_eq!(lossy.cursor().as_deref(), Some("earliest"));
        lossy.event().await.notice("gap");
        check(&mut lossy, &["4", "5", "6"]).await;
        let mut whole = server.subscribe(&since(&after)).await;
        server.tell("a", "7").await;
        check(&mut whole, &["7"]).await;
    });
}

#[test]
fn a_publish_repeated_under_its_key_is_stored_once() {
    on_both_journals(1000, async |server| {
        let form = |key: &str, data: &str| {
            Request::form(&format!("topic=a&data={data}")).header("idempotency-key", key)
        };
        let mut stream = server.subscribe("topic=a").await;
        let first = server.ask(form("\"k1\"", "1")).await;
        assert_eq!(first.header("idempotent-replayed"), None);
        let again = server.ask(form("k1", "1")).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(first.id(), again.id());
        let other = server.ask(form("k1", "2")).await;
        assert_eq!(other.status(), 422);
        assert!(other.text().contains("already used"), "{}", other.text());
        let lines = "{\"topics\":[\"a\"],\"data\":\"2\"}\n{\"topics\":[\"a\"],\"data\":\"3\"}\n";
        let batch = || Request::ndjson(lines).header("idempotency-key", "batch");
        let once = server.ask(batch()).await;
        assert_eq!(once.text().lines().count(), 2);
        assert_eq!(server.ask(batch()).await.text(), once.text());
        // A batch of which one is wrong is not taken at all, and its key stays free.
        let wrong = format!("{lines}{{\"topics\":[]}}\n");
        let wrong = Request::ndjson(&wrong).header("idempotency-key", "free");
        assert_eq!(server.ask(wrong).await.status(), 400);
        assert_eq!(server.ask(form("free", "4")).await.status(), 200);
        for key in ["", "\"\"", "ä", &"x".repeat(256)] {
            assert_eq!(server.ask(form(key, "5")).await.status(), 400, "{key:?}");
        }
        check(&mut stream, &["1", "2", "3", "4"]).await;
    });
}
