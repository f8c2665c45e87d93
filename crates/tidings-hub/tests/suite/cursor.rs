//! How a subscriber says what it has had already, and what it is told about it.

use tidings_hub::{HubBuilder, MemoryJournal, Retention};

use crate::client::{HUB, Request, Seen, encoded};
use crate::server::{Server, on_both_lanes, open};

/// A hub that keeps three updates.
fn short() -> HubBuilder {
    open().journal(MemoryJournal::new(Retention::default().count(3)))
}

/// Publishes updates about `a` with the data 1 to `count`; gives their ids.
async fn publish(server: &Server, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 1..=count {
        ids.push(server.tell("a", &n.to_string()).await);
    }
    ids
}

/// Nothing comes on the stream before what is published now.
async fn only_live(server: &Server, stream: &mut crate::client::Stream) {
    let id = server.tell("a", "live").await;
    let event = stream.event().await;
    assert_eq!((event.id(), event.data.as_str()), (id.as_str(), "live"));
}

#[test]
fn a_cursor_is_read_from_the_header_and_from_both_names_in_the_query() {
    on_both_lanes(open, async |server| {
        let ids = publish(server, 3).await;
        let id = encoded(&ids[0]);
        let mut streams = Vec::new();
        for request in [
            Request::get(&format!("{HUB}?topic=a")).header("last-event-id", &ids[0]),
            Request::get(&format!("{HUB}?topic=a&lastEventID={id}")),
            Request::get(&format!("{HUB}?topic=a&last_event_id={id}")),
            // Safe in a query as it stands.
            Request::get(&format!("{HUB}?topic=a&last_event_id={}", ids[0])),
        ] {
            streams.push(server.open(request).await);
        }
        let live = server.tell("a", "4").await;
        for mut stream in streams {
            assert_eq!(stream.cursor().as_ref(), Some(&ids[0]));
            for (id, data) in [(&ids[1], "2"), (&ids[2], "3"), (&live, "4")] {
                let event = stream.event().await;
                assert_eq!((event.id(), event.data.as_str()), (id.as_str(), data));
            }
        }
    });
}

/// The names that a cursor has in queries: of both dialects, of polyfills, and the header's.
const NAMES: [&str; 5] =
    ["last_event_id", "lastEventID", "lastEventId", "Last-Event-ID", "last-event-id"];

#[test]
fn a_cursor_has_many_names_in_the_query_and_the_last_one_counts() {
    on_both_lanes(open, async |server| {
        let ids = publish(server, 3).await;
        let [one, two] = [0, 1].map(|at| encoded(&ids[at]));
        for name in NAMES {
            for query in [
                format!("{name}={two}"),
                // Polyfills append it to a URL that may have one already.
                format!("last_event_id={one}&{name}={two}"),
                format!("{name}={one}&lastEventID={two}"),
                format!("{name}={one}&{name}={two}"),
                format!("{name}={two}&{name}={two}"),
                format!("{name}={two}&{name}="),
            ] {
                let mut stream = server.subscribe(&format!("topic=a&{query}")).await;
                assert_eq!(stream.cursor().as_ref(), Some(&ids[1]), "{query}");
                assert_eq!(stream.data(1).await, ["3"], "{query}");
            }
        }
        // Text that is no UTF-8 is an unknown id, as in the header, and no refusal.
        let mut stream = server.subscribe("topic=a&last_event_id=%ff").await;
        assert_eq!(stream.event().await.notice("reset")["asked"], "\u{fffd}");
    });
}

#[test]
fn of_several_headers_the_last_one_counts() {
    on_both_lanes(open, async |server| {
        let ids = publish(server, 3).await;
        let request = Request::get(&format!("{HUB}?topic=a"));
        let request = request.header("last-event-id", &ids[0]).header("last-event-id", &ids[1]);
        let mut stream = server.open(request).await;
        assert_eq!(stream.cursor().as_ref(), Some(&ids[1]));
        assert_eq!(stream.data(1).await, ["3"]);
    });
}

#[test]
fn the_header_wins_over_the_query() {
    on_both_lanes(open, async |server| {
        let ids = publish(server, 3).await;
        for query in [
            format!("topic=a&lastEventID={}", encoded(&ids[0])),
            format!("topic=a&last_event_id={}", encoded(&ids[0])),
            "topic=a&lastEventID=earliest&last_event_id=unknown".to_owned(),
        ] {
            let mut stream = server.resume(&query, &ids[1]).await;
            assert_eq!(stream.cursor().as_ref(), Some(&ids[1]));
            assert_eq!(stream.data(1).await, ["3"]);
        }
        let query = format!("topic=a&lastEventID=earliest&last_event_id={}", encoded(&ids[1]));
        assert_eq!(server.subscribe(&query).await.data(1).await, ["3"]);
    });
}

#[test]
fn an_empty_cursor_asks_for_nothing() {
    on_both_lanes(open, async |server| {
        let mut empty = server.subscribe("topic=a&last_event_id=").await;
        assert_eq!(empty.cursor().as_deref(), Some("earliest"), "there is no event yet");
        let ids = publish(server, 2).await;
        assert_eq!(empty.data(2).await, ["1", "2"]);
        // It counts as sent wherever it stands, names no event, and nothing is replayed.
        let mut streams = vec![server.resume("topic=a", "").await];
        for name in NAMES {
            streams.push(server.subscribe(&format!("topic=a&{name}=")).await);
            streams.push(server.subscribe(&format!("topic=a&{name}")).await);
        }
        let id = server.tell("a", "live").await;
        for stream in &mut streams {
            assert_eq!(stream.cursor().as_deref(), Some("earliest"));
            assert_eq!(stream.event().await.id(), id);
        }
        // An empty one does not hide one that is not.
        let query = format!("topic=a&last_event_id={}", encoded(&ids[1]));
        assert_eq!(server.resume(&query, "").await.event().await.id(), id);
    });
}

#[test]
fn earliest_requests_all_kept_updates() {
    on_both_lanes(short, async |server| {
        let mut empty = server.resume("topic=a", "earliest").await;
        assert_eq!(empty.cursor().as_deref(), Some("earliest"));
        publish(server, 2).await;
        assert_eq!(empty.data(2).await, ["1", "2"]);
        for (query, header) in
            [("&lastEventID=earliest", ""), ("&last_event_id=earliest", ""), ("", "earliest")]
        {
            let mut stream = server.resume(&format!("topic=a{query}"), header).await;
            assert_eq!(stream.cursor().as_deref(), Some("earliest"));
            assert_eq!(stream.data(2).await, ["1", "2"]);
        }
        publish(server, 3).await;
        server.journal_begins_at(3).await;
        let mut stream = server.resume("topic=a", "earliest").await;
        // Trimmed updates are no gap to a client that named no event.
        assert_eq!(stream.data(3).await, ["1", "2", "3"]);
        assert_eq!(stream.cursor().as_deref(), Some("earliest"));
    });
}

#[test]
fn the_newest_id_is_echoed_and_nothing_is_repeated() {
    on_both_lanes(open, async |server| {
        let ids = publish(server, 3).await;
        let mut stream = server.resume("topic=a", &ids[2]).await;
        assert_eq!(stream.cursor().as_ref(), Some(&ids[2]));
        only_live(server, &mut stream).await;
    });
}

#[test]
fn an_unknown_id_is_reported_and_nothing_is_replayed() {
    on_both_lanes(open, async |server| {
        let ids = publish(server, 3).await;
        let (epoch, check) = (&ids[2][8..14], &ids[2][ids[2].len() - 4..]);
        let other_check = if check == "aaaa" { "bbbb" } else { "aaaa" };
        let other_epoch = if epoch == "aaaaaa" { "bbbbbb" } else { "aaaaaa" };
        for asked in [
            "urn:uuid:1",
            "x",
            "0",
            "größe",
            "Earliest",
            &ids[2].to_uppercase(),
            &format!("tidings:{epoch}.3.{other_check}"),
            &format!("tidings:{other_epoch}.3.{check}"),
            &format!("tidings:{epoch}.4.{check}"),
            &format!("tidings:{epoch}.03.{check}"),
            &format!("tidings:{epoch}.9007199254740993.{check}"),
            &format!("{}x", ids[2]),
            "tidings:",
        ] {
            let mut stream = server.resume("topic=a", asked).await;
            assert_eq!(stream.cursor().as_deref(), Some("earliest"), "{asked}");
            let reset = stream.event().await;
            assert_eq!(reset.notice("reset")["asked"], asked);
            only_live(server, &mut stream).await;
            // Its id is where the stream went on from: nothing is lost, and nothing told twice.
            let mut again = server.resume("topic=a", reset.id()).await;
            assert_eq!(again.cursor().as_deref(), Some(reset.id()));
            assert_eq!(again.event().await.data, "live");
        }
        let query = format!("topic=a&lastEventID={}", encoded("a\nb"));
        let mut stream = server.subscribe(&query).await;
        assert_eq!(stream.event().await.notice("reset")["asked"], "a\nb");
    });
}

#[test]
fn a_strange_last_event_id_is_never_an_error() {
    on_both_lanes(open, async |server| {
        publish(server, 1).await;
        let long = "x".repeat(8000);
        for asked in [&b"\xff\xfe"[..], b"\xc3\x28", b"a\tb", b"{\"a\":1}", long.as_bytes()] {
            let mut stream = server.resume("topic=a", asked).await;
            assert_eq!(stream.cursor().as_deref(), Some("earliest"));
            let notice = stream.event().await.notice("reset");
            // What is longer than any id is not repeated at length.
            let asked: String = String::from_utf8_lossy(asked).chars().take(1025).collect();
            assert_eq!(notice["asked"], asked);
            only_live(server, &mut stream).await;
        }
    });
}

#[test]
fn an_id_of_an_empty_hub_is_a_cursor_too() {
    on_both_lanes(open, async |server| {
        let mut stream = server.resume("topic=a", "unknown").await;
        let reset = stream.event().await;
        reset.notice("reset");
        publish(server, 2).await;
        let mut again = server.resume("topic=a", reset.id()).await;
        assert_eq!(again.cursor().as_deref(), Some(reset.id()));
        assert_eq!(again.data(2).await, ["1", "2"]);
    });
}

#[test]
fn a_cursor_from_before_a_loss_gets_a_gap_and_the_kept_updates() {
    on_both_lanes(short, async |server| {
        let ids = publish(server, 5).await;
        server.journal_begins_at(3).await;
        let mut stream = server.resume("topic=a", &ids[0]).await;
        assert_eq!(stream.cursor().as_deref(), Some("earliest"));
        let gap = stream.event().await;
        let notice = gap.notice("gap");
        assert_eq!(notice["asked"], ids[0]);
        assert_eq!(notice["oldest"], ids[2]);
        assert_eq!(gap.id(), ids[1], "the newest that is gone");
        assert_eq!(stream.data(3).await, ["3", "4", "5"]);
        // The same loss is not told twice.
        let mut again = server.resume("topic=a", gap.id()).await;
        assert_eq!(again.cursor().as_deref(), Some(gap.id()));
        assert_eq!(again.data(3).await, ["3", "4", "5"]);
        // The last trimmed one is as good as any that is kept.
        let mut edge = server.resume("topic=*", &ids[1]).await;
        assert_eq!(edge.cursor().as_ref(), Some(&ids[1]));
        assert_eq!(edge.data(3).await, ["3", "4", "5"]);
    });
}

#[test]
fn a_silent_topic_has_no_gap_however_much_was_trimmed() {
    on_both_lanes(short, async |server| {
        let quiet = server.tell("quiet", "1").await;
        let loud = server.tell("loud", "1").await;
        for _ in 0..10 {
            server.tell("loud", "more").await;
        }
        server.journal_begins_at(10).await;
        let mut stream = server.resume("topic=quiet", &quiet).await;
        assert_eq!(stream.cursor().as_ref(), Some(&quiet));
        server.tell("quiet", "2").await;
        assert_eq!(stream.event().await.data, "2");
        server.resume("topic=loud", &loud).await.event().await.notice("gap");
        server.resume("topic=quiet&topic=loud", &quiet).await.event().await.notice("gap");
        server.resume("topic=*", &quiet).await.event().await.notice("gap");
        let mut never = server.resume("topic=never", &quiet).await;
        assert_eq!(never.cursor().as_ref(), Some(&quiet));
        server.tell("never", "x").await;
        assert_eq!(never.event().await.data, "x");
    });
}

#[test]
fn trimmed_private_updates_are_no_gap() {
    on_both_lanes(short, async |server| {
        let id = server.tell("a", "1").await;
        for _ in 0..10 {
            server.publish("topic=a&data=secret&private=on").await;
        }
        server.journal_begins_at(9).await;
        for query in ["topic=a", "topic=*"] {
            let stream = server.resume(query, &id).await;
            assert_eq!(stream.cursor().as_ref(), Some(&id), "{query}");
        }
    });
}

#[test]
fn a_publishers_id_is_found_like_one_of_the_hubs() {
    on_both_lanes(open, async |server| {
        for id in ["urn:uuid:7", "größe/書", "a b", "{\"x\":1}", "%41", "7"] {
            server.publish(&format!("topic=a&id={}&data=1", encoded(id))).await;
            server.tell("a", "2").await;
            let query = format!("topic=a&lastEventID={}", encoded(id));
            for mut stream in [server.resume("topic=a", id).await, server.subscribe(&query).await] {
                assert_eq!(stream.cursor().as_deref(), Some(id));
                assert_eq!(stream.data(1).await, ["2"]);
            }
        }
    });
}

#[test]
fn of_several_events_with_an_id_the_earliest_is_meant() {
    on_both_lanes(short, async |server| {
        server.publish("topic=a&id=x&data=1").await;
        server.publish("topic=a&id=x&data=2").await;
        server.publish("topic=a&id=x&data=3").await;
        let mut stream = server.resume("topic=a", "x").await;
        assert_eq!(stream.cursor().as_deref(), Some("x"));
        assert_eq!(stream.data(2).await, ["2", "3"]);
        // When that one is trimmed, it is the next.
        server.tell("a", "4").await;
        server.journal_begins_at(2).await;
        assert_eq!(server.resume("topic=a", "x").await.data(2).await, ["3", "4"]);
        for n in 5..=7 {
            server.tell("a", &n.to_string()).await;
        }
        server.journal_begins_at(5).await;
        server.resume("topic=a", "x").await.event().await.notice("reset");
    });
}

#[test]
fn the_id_of_an_update_that_may_not_be_read_is_unknown() {
    on_both_lanes(open, async |server| {
        server.publish("topic=a&id=secret&data=1&private=on").await;
        let mut stream = server.resume("topic=a", "secret").await;
        assert_eq!(stream.cursor().as_deref(), Some("earliest"));
        stream.event().await.notice("reset");
        // A public one with the same id is found past it.
        server.publish("topic=a&id=secret&data=2").await;
        server.tell("a", "3").await;
        let mut stream = server.resume("topic=a", "secret").await;
        assert_eq!(stream.cursor().as_deref(), Some("secret"));
        assert_eq!(stream.data(1).await, ["3"]);
    });
}

#[test]
fn an_id_of_the_hub_is_a_position_even_without_an_update() {
    on_both_lanes(open, async |server| {
        // A quiet stream's notices have such ids, so they say nothing of what they name.
        let private = server.publish("topic=a&data=1&private=on").await;
        server.tell("a", "2").await;
        let mut stream = server.resume("topic=a", &private).await;
        assert_eq!(stream.cursor().as_ref(), Some(&private));
        assert_eq!(stream.data(1).await, ["2"]);
    });
}

#[test]
fn an_id_of_another_topic_is_a_position_for_this_one() {
    on_both_lanes(open, async |server| {
        server.tell("a", "1").await;
        let other = server.tell("b", "x").await;
        server.tell("a", "2").await;
        assert_eq!(server.resume("topic=a", &other).await.data(1).await, ["2"]);
    });
}

#[test]
fn without_a_cursor_only_new_events_arrive() {
    on_both_lanes(open, async |server| {
        publish(server, 3).await;
        let mut stream = server.subscribe("topic=a").await;
        assert_eq!(stream.cursor(), None);
        only_live(server, &mut stream).await;
        assert!(matches!(server.subscribe("topic=a").await.next().await, Seen::Comment));
    });
}

#[test]
fn an_id_that_another_publisher_took_means_the_update_that_is_selected() {
    on_both_lanes(open, async |server| {
        for topic in ["theirs", "a", "theirs"] {
            for n in 0..10 {
                server.publish(&format!("topic={topic}&data={topic}{n}&id=order:{n}")).await;
            }
        }
        let data = async |query: &str, id: &str| {
            let mut stream = server.resume(query, id).await;
            assert_eq!(stream.cursor().as_deref(), Some(id));
            let mut data = Vec::new();
            server.tell("a", "live").await;
            loop {
                match stream.event().await.data {
                    live if live == "live" => return data,
                    other => data.push(other),
                }
            }
        };
        let without_live = |data: Vec<String>| data.join(" ");
        assert_eq!(without_live(data("topic=a", "order:7").await), "a8 a9");
    });
}

/// Another publisher uses an id for more updates than a hub looks at, before and after the update
/// that is meant.
pub(crate) async fn resume_among_many_of_one_id(server: &Server) {
    let line = "{\"topics\":[\"theirs\"],\"data\":\"t\",\"id\":\"order:7\"}\n";
    let theirs = || Request::ndjson(&line.repeat(300));
    assert_eq!(server.ask(theirs()).await.status(), 200);
    server.publish("topic=a&topic=b&data=a7&id=order:7").await;
    assert_eq!(server.ask(theirs()).await.status(), 200);
    server.publish("topic=a&data=a8&id=order:8").await;
    for query in ["topic=a", "topic=b&topic=a"] {
        let mut stream = server.resume(query, "order:7").await;
        assert_eq!(stream.cursor().as_deref(), Some("order:7"));
        assert_eq!(stream.data(1).await, ["a8"], "{query}");
    }
    // By a template it is not found among so many. Nothing is lost: it comes again, and the
    // subscriber is told that this is not for certain the place that it knows.
    let mut stream = server.resume("topic={x}&topic=nothing", "order:7").await;
    assert_eq!(stream.cursor().as_deref(), Some("order:7"), "the first is selected");
    let data = stream.data(601).await;
    assert_eq!((&*data[298], &*data[299], &*data[600]), ("t", "a7", "a8"));
    let mut stream = server.resume("topic=a{x}&topic=a", "order:7").await;
    assert_eq!(stream.cursor().as_deref(), Some("earliest"));
    assert_eq!(stream.event().await.notice("gap")["asked"], "order:7");
    assert_eq!(stream.data(2).await, ["a7", "a8"]);
}

#[test]
fn however_many_others_have_an_id_a_subscriber_of_topics_finds_its_own() {
    on_both_lanes(open, resume_among_many_of_one_id);
}

#[test]
fn an_id_that_only_updates_of_other_topics_have_is_a_gap() {
    let short = || open().journal(MemoryJournal::new(Retention::default().count(4)));
    on_both_lanes(short, async |server| {
        for (topic, id) in [("a", "x"), ("a", "1"), ("a", "2"), ("theirs", "x"), ("a", "3")] {
            server.publish(&format!("topic={topic}&data={id}&id={id}")).await;
        }
        // The update that the subscriber knows by this id is trimmed, but not its successors.
        server.journal_begins_at(2).await;
        let mut stream = server.resume("topic=a", "x").await;
        assert_eq!(stream.cursor().as_deref(), Some("earliest"));
        let gap = stream.event().await;
        assert_eq!(gap.notice("gap")["asked"], "x");
        assert_eq!(stream.data(1).await, ["3"]);
        // From the notice on it is not told again.
        let mut again = server.resume("topic=a", gap.id()).await;
        assert_eq!(again.cursor().as_deref(), Some(gap.id()));
        assert_eq!(again.data(1).await, ["3"]);
    });
}
