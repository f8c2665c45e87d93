//! What the hub itself tells a subscriber.

use std::time::Duration;

use tidings_hub::{HubBuilder, MemoryJournal, Retention};

use crate::client::{Request, Seen, Stream};
use crate::server::{on_both_lanes, open};

fn retaining(count: u64) -> HubBuilder {
    open().journal(MemoryJournal::new(Retention::default().count(count)))
}

/// Nothing but events, in which no notice is, up to the one with this data.
async fn no_notice_before(stream: &mut Stream, data: &str) {
    loop {
        let event = stream.event().await;
        assert_ne!(event.event_type, "tidings", "{event:?}");
        if event.data == data {
            return;
        }
    }
}

#[test]
fn a_subscriber_without_notices_is_told_only_of_losses() {
    on_both_lanes(open, async |server| {
        let mut new = server.subscribe("topic=a").await;
        let id = server.tell("a", "1").await;
        let mut resumed = server.resume("topic=a", &id).await;
        let mut topics = server.resume("topic=a&tidings=topics", "earliest").await;
        server.tell("a", "2").await;
        for stream in [&mut new, &mut resumed, &mut topics] {
            no_notice_before(stream, "2").await;
        }
    });
}

#[test]
fn a_new_stream_is_told_that_it_is_live_and_from_where() {
    let build = || open().heartbeat(Duration::from_secs(7));
    on_both_lanes(build, async |server| {
        let mut stream = server.subscribe("topic=a&tidings=notices").await;
        let live = stream.event().await;
        assert_eq!(live.notice("live")["heartbeat_ms"], 7000);
        server.tell("b", "other").await;
        server.tell("a", "1").await;
        assert_eq!(stream.event().await.data, "1");
        // Its id is a cursor even though nothing had come.
        let mut again = server.resume("topic=a", live.id()).await;
        assert_eq!(again.cursor().as_deref(), Some(live.id()));
        assert_eq!(again.event().await.data, "1");
    });
}

#[test]
fn a_replay_and_its_end_are_announced() {
    on_both_lanes(open, async |server| {
        let first = server.tell("a", "1").await;
        server.tell("a", "2").await;
        server.tell("b", "other").await;
        let last = server.tell("a", "3").await;
        let mut stream = server.resume("topic=a&tidings=notices", &first).await;
        let resumed = stream.event().await;
        assert_eq!(resumed.notice("resumed")["asked"], first);
        assert_eq!(resumed.id(), first);
        assert_eq!(stream.data(2).await, ["2", "3"]);
        let live = stream.event().await;
        live.notice("live");
        assert_eq!(live.id(), last);
        server.tell("a", "4").await;
        assert_eq!(stream.event().await.data, "4");
    });
}

#[test]
fn a_notice_repeats_a_publishers_own_id() {
    on_both_lanes(open, async |server| {
        let id = server.publish("topic=a&id=gr%C3%B6%C3%9Fe&data=1").await;
        let mut stream = server.resume("topic=a&tidings=notices", &id).await;
        let resumed = stream.event().await;
        assert_eq!(resumed.notice("resumed")["asked"], "größe");
        assert_eq!(resumed.id(), "größe");
        stream.event().await.notice("live");
    });
}

#[test]
fn losses_are_reported_before_everything_else() {
    let build = || retaining(2);
    on_both_lanes(build, async |server| {
        let first = server.tell("a", "1").await;
        for n in 2..=4 {
            server.tell("a", &n.to_string()).await;
        }
        server.journal_begins_at(3).await;
        let mut gap = server.resume("topic=a&tidings=notices", &first).await;
        gap.event().await.notice("gap");
        assert_eq!(gap.data(2).await, ["3", "4"]);
        gap.event().await.notice("live");
        let mut reset = server.resume("topic=a&tidings=notices", "unknown").await;
        reset.event().await.notice("reset");
        reset.event().await.notice("live");
    });
}

#[test]
fn a_loss_is_reported_once_whatever_id_the_client_resumes_from() {
    let build = || retaining(2);
    on_both_lanes(build, async |server| {
        let first = server.tell("a", "1").await;
        for n in 2..=4 {
            server.tell("a", &n.to_string()).await;
        }
        server.journal_begins_at(3).await;
        let mut asked = first;
        let mut losses = 0;
        // A client whose connection breaks after each single event.
        for _ in 0..4 {
            let mut stream = server.resume("topic=a&tidings=notices", &asked).await;
            let mut event = stream.event().await;
            if event.data.contains("\"kind\":\"resumed\"") {
                event = stream.event().await;
            }
            losses += usize::from(event.data.contains("\"kind\":\"gap\""));
            event.id().clone_into(&mut asked);
        }
        assert_eq!(losses, 1);
    });
}

#[test]
fn losses_are_counted_by_cause() {
    let build = || retaining(1);
    on_both_lanes(build, async |server| {
        let first = server.tell("a", "1").await;
        server.tell("a", "2").await;
        server.tell("a", "3").await;
        server.journal_begins_at(3).await;
        server.resume("topic=a", &first).await.event().await.notice("gap");
        server.resume("topic=a", "unknown").await.event().await.notice("reset");
        server.resume("topic=a", "nor this").await.event().await.notice("reset");
        server.metric_becomes("tidings_gaps_total{cause=\"resume\"}", 1.0).await;
        server.metric_becomes("tidings_gaps_total{cause=\"reset\"}", 2.0).await;
    });
}

#[test]
fn a_quiet_stream_is_told_a_newer_id_before_its_own_is_forgotten() {
    let quick = || retaining(10).heartbeat(Duration::from_millis(80));
    on_both_lanes(quick, async |server| {
        let mut told = server.subscribe("topic=quiet&tidings=notices").await;
        let mut plain = server.subscribe("topic=quiet").await;
        told.event().await.notice("live");
        // At once, so that no heartbeat comes in between.
        let loud = "{\"topics\":[\"loud\"]}\n".repeat(8);
        let answer = server.ask(Request::ndjson(&loud)).await;
        let ids: Vec<serde_json::Value> =
            answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let cursor = told.event().await;
        cursor.notice("cursor");
        assert_eq!(cursor.id(), ids[7]["id"]);
        server.tell("quiet", "1").await;
        assert_eq!(told.event().await.data, "1");
        no_notice_before(&mut plain, "1").await;
    });
}

#[test]
fn a_notice_of_a_loss_on_a_silent_topic_is_no_cursor_for_another() {
    let build = || retaining(2);
    on_both_lanes(build, async |server| {
        // The gap's id stands before what is kept of any topic.
        let first = server.tell("a", "1").await;
        for n in 2..=5 {
            server.tell(if n % 2 == 0 { "a" } else { "b" }, &n.to_string()).await;
        }
        server.journal_begins_at(4).await;
        let mut stream = server.resume("topic=a", &first).await;
        let gap = stream.event().await;
        gap.notice("gap");
        assert_eq!(stream.event().await.data, "4");
        let mut both = server.resume("topic=*", gap.id()).await;
        assert_eq!(both.data(2).await, ["4", "5"]);
    });
}

#[test]
fn notices_are_of_a_type_that_listeners_of_messages_never_get() {
    on_both_lanes(open, async |server| {
        let mut stream = server.resume("topic=a&tidings=notices", "unknown").await;
        loop {
            match stream.next().await {
                Seen::Event(event) if event.event_type == "tidings" => {
                    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                    assert_eq!(data["v"], 1);
                    if data["kind"] == "live" {
                        return;
                    }
                }
                Seen::Event(event) => panic!("{event:?}"),
                Seen::End => panic!("the stream ended"),
                Seen::Comment | Seen::Retry(_) => {}
            }
        }
    });
}
