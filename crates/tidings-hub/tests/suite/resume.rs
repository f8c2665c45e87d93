//! Replay and then live, while others publish: no gap, no repeat, in order.

use tidings_hub::{MemoryJournal, Retention};

use crate::client::{Connection, HUB, Request};
use crate::server::{Server, on_both_lanes, open};

/// Publishes `count` numbered updates about `a`, and as many about `b` in between.
async fn publish(mut connection: Connection, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let update = |topic: &str| Request::form(&format!("topic={topic}&data={n}&type={topic}"));
        assert_eq!(connection.ask(&update("a")).await.status(), 200);
        assert_eq!(connection.ask(&update("b")).await.status(), 200);
    }
}

/// A client that reads a few events, loses its connection, and reconnects with the last id.
async fn follow(server: &Server, query: &str, expected: &[(String, String)]) {
    let mut asked = "earliest".to_owned();
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let mut stream = server.resume(query, &asked).await;
        assert_eq!(stream.cursor(), Some(asked.clone()));
        for _ in 0..1 + fastrand::usize(..20) {
            if seen.len() == expected.len() {
                break;
            }
            let event = stream.event().await;
            event.id().clone_into(&mut asked);
            seen.push((event.event_type, event.data));
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn clients_that_reconnect_during_publishes_get_each_event_once_and_in_order() {
    const UPDATES: usize = 150;
    tidings_seed::begin();
    on_both_lanes(open, async |server| {
        let both: Vec<(String, String)> = (0..UPDATES)
            .flat_map(|n| [("a".to_owned(), n.to_string()), ("b".to_owned(), n.to_string())])
            .collect();
        let only = |topic: &str| -> Vec<(String, String)> {
            both.iter().filter(|(other, _)| other == topic).cloned().collect()
        };
        let (a, b) = (only("a"), only("b"));
        let publisher = server.connect().await;
        let publishing = publish(publisher, 0..UPDATES);
        tokio::join!(
            publishing,
            follow(server, "topic=a", &a),
            follow(server, "topic=a", &a),
            follow(server, "topic=b&tidings=topics", &b),
            follow(server, "topic=*", &both),
            follow(server, "topic=a&topic=b", &both),
            follow(server, "topic=*&tidings=topics", &both),
        );
    });
}

#[test]
fn a_join_between_two_publishes_misses_nothing() {
    on_both_lanes(open, async |server| {
        let mut publisher = server.connect().await;
        let mut joiner = None;
        let mut last = publisher.ask(&Request::form("topic=a&data=0")).await.id();
        for round in 1..150 {
            let form = Request::form(&format!("topic=a&data={round}"));
            // The publish and the request for the stream are on their way together.
            let mut connection = server.connect().await;
            let subscribe = Request::get(&format!("{HUB}?topic=a")).header("last-event-id", &last);
            publisher.send(&form).await;
            connection.send(&subscribe).await;
            let mut stream = connection.stream().await;
            let event = stream.event().await;
            assert_eq!(event.data, round.to_string());
            last = publisher.answer(crate::client::Body::Whole).await.id();
            assert_eq!(event.id(), last);
            joiner.replace(stream);
        }
    });
}

#[test]
fn updates_acknowledged_before_a_stream_is_requested_are_not_sent_on_it() {
    on_both_lanes(open, async |server| {
        let mut publisher = server.connect().await;
        for round in 0..100 {
            publisher.ask(&Request::form(&format!("topic=a&data=before{round}"))).await.id();
            let mut stream = server.subscribe("topic=a").await;
            publisher.ask(&Request::form(&format!("topic=a&data=after{round}"))).await.id();
            assert_eq!(stream.event().await.data, format!("after{round}"));
        }
    });
}

#[test]
fn a_replay_of_many_events_is_whole_and_in_order() {
    on_both_lanes(open, async |server| {
        const BATCHES: usize = 12;
        let mut publisher = server.connect().await;
        for batch in 0..BATCHES {
            let lines: String = (0..1000)
                .map(|n| format!("{{\"topics\":[\"t{}\"],\"data\":{}}}\n", n % 2, batch * 1000 + n))
                .collect();
            assert_eq!(publisher.ask(&Request::ndjson(&lines)).await.status(), 200);
        }
        let mut stream = server.subscribe("topic=t1&lastEventID=earliest").await;
        for n in 0..BATCHES * 500 {
            assert_eq!(stream.event().await.data, (2 * n + 1).to_string());
        }
        server.tell("t1", "live").await;
        assert_eq!(stream.event().await.data, "live");
    });
}

#[test]
fn a_reader_of_a_short_journal_is_told_of_each_loss_and_sees_nothing_twice() {
    let short = || open().journal(MemoryJournal::new(Retention::default().count(5)));
    tidings_seed::begin();
    on_both_lanes(short, async |server| {
        let mut asked = server.tell("a", "0").await;
        let mut newest = 0;
        let mut published = 0;
        for _ in 0..60 {
            for _ in 0..fastrand::usize(..9) {
                published += 1;
                server.tell("a", &published.to_string()).await;
            }
            let marker = server.tell("end", "end").await;
            let mut stream = server.resume("topic=a&topic=end", &asked).await;
            let mut gap = false;
            loop {
                let event = stream.event().await;
                event.id().clone_into(&mut asked);
                if event.event_type == "tidings" {
                    event.notice("gap");
                    gap = true;
                } else if event.id() == marker {
                    break;
                } else if event.data != "end" {
                    let number: usize = event.data.parse().unwrap();
                    assert!(number > newest, "{number} came after {newest}");
                    assert!(gap || number == newest + 1, "{} is missing", newest + 1);
                    newest = number;
                }
            }
            assert!(newest == published || gap, "{published} is missing");
            newest = published;
        }
    });
}
