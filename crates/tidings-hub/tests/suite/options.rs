//! The options of a stream: `tidings=` in its query.

use crate::client::{HUB, Request};
use crate::server::{on_both_lanes, open};

#[test]
fn an_unknown_option_is_refused_with_those_that_are_known() {
    on_both_lanes(open, async |server| {
        for (words, unknown) in [
            ("topics,tpoics", "tpoics"),
            ("Topics", "Topics"),
            ("notices%20topics", "notices topics"),
            ("all", "all"),
        ] {
            let answer = server.get(&format!("{HUB}?topic=a&tidings={words}")).await;
            assert_eq!(answer.status(), 400, "{words}");
            for word in [unknown, "topics, notices, place, authorized"] {
                assert!(answer.text().contains(word), "{}", answer.text());
            }
        }
    });
}

#[test]
fn options_are_a_comma_list_that_may_be_repeated() {
    on_both_lanes(open, async |server| {
        for options in
            ["tidings=topics,notices", "tidings=notices&tidings=topics", "tidings=topics,+notices,"]
        {
            let mut stream = server.subscribe(&format!("topic=a&{options}")).await;
            stream.event().await.notice("live");
            server.tell("a", "x").await;
            assert_eq!(stream.event().await.topics, ["a"]);
        }
        server.subscribe("topic=a&tidings=").await;
    });
}

#[test]
fn a_client_that_insists_on_a_token_is_refused_without_one() {
    on_both_lanes(open, async |server| {
        let answer = server.get(&format!("{HUB}?topic=a&tidings=authorized")).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(answer.text().contains("authorized"), "{}", answer.text());
    });
}

#[test]
fn topics_are_shown_only_on_request() {
    on_both_lanes(open, async |server| {
        let mut plain = server.subscribe("topic=a").await;
        server.tell("a", "x").await;
        assert_eq!(plain.event().await.topics, [""; 0]);
        assert!(!String::from_utf8_lossy(&plain.raw).contains("topic:"));
    });
}

#[test]
fn a_stream_shows_only_the_topics_that_its_own_selectors_match() {
    on_both_lanes(open, async |server| {
        let mut one = server.subscribe("topic=a&tidings=topics").await;
        let mut two = server.subscribe("topic=c&topic=b&tidings=topics").await;
        let mut all = server.subscribe("topic=*&tidings=topics").await;
        let mut plain = server.subscribe("topic=a").await;
        server.publish("topic=a&topic=b&topic=c&data=x").await;
        server.publish("topic=b&data=y").await;
        assert_eq!(one.event().await.topics, ["a"]);
        assert_eq!(two.event().await.topics, ["b", "c"]);
        assert_eq!(two.event().await.topics, ["b"]);
        assert_eq!(all.event().await.topics, ["a", "b", "c"]);
        assert_eq!(all.event().await.topics, ["b"]);
        assert_eq!(plain.event().await.topics, [""; 0]);
        // A replay shows the same.
        let mut replayed =
            server.subscribe("topic=c&topic=b&tidings=topics&lastEventID=earliest").await;
        assert_eq!(replayed.event().await.topics, ["b", "c"]);
        assert_eq!(replayed.event().await.topics, ["b"]);
    });
}

#[test]
fn options_do_not_change_which_events_arrive() {
    on_both_lanes(open, async |server| {
        let mut streams = Vec::new();
        for options in ["", "topics", "notices", "topics,notices"] {
            streams.push(server.subscribe(&format!("topic=a&tidings={options}")).await);
        }
        let mut publisher = server.connect().await;
        for n in 0..20 {
            publisher.ask(&Request::form(&format!("topic=a&data={n}"))).await.id();
        }
        for stream in &mut streams {
            let mut expected = 0;
            while expected < 20 {
                let event = stream.event().await;
                if event.event_type != "tidings" {
                    assert_eq!(event.data, expected.to_string());
                    expected += 1;
                }
            }
        }
    });
}
