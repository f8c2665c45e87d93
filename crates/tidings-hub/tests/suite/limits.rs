//! The limits that the hub sets for clients, and the outcome for clients beyond them.

use std::time::Duration;

use tidings_hub::{Access, Limits, MemoryJournal, Retention};

use crate::client::{Body, HUB, Request, Seen};
use crate::server::{Lane, Server, on_both_lanes, open, runtime};
use crate::token::{publisher, subscriber, with_keys};

fn limited(change: impl Fn(&mut Limits)) -> tidings_hub::HubBuilder {
    let mut limits = Limits::default();
    change(&mut limits);
    open().limits(limits)
}

/// Checks that a stream only says when to reconnect, and ends.
async fn is_turned_away(server: &Server, request: Request) {
    let mut stream = server.open(request).await;
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.next().await, Seen::Comment);
    assert!(matches!(stream.next().await, Seen::Retry(time) if time >= Duration::from_secs(3)));
    assert_eq!(stream.next().await, Seen::End);
}

#[test]
fn an_address_has_no_more_streams_than_it_may() {
    on_both_lanes(
        || limited(|limits| limits.streams_per_address = 2),
        async |server| {
            if server.lane == Lane::Body {
                // A service of one's own knows its clients' addresses, if it wants to.
                return;
            }
            let path = format!("{HUB}?topic=a");
            let first = server.open(Request::get(&path)).await;
            let mut second = server.open(Request::get("/sse")).await;
            is_turned_away(server, Request::get(&path)).await;
            is_turned_away(server, Request::get("/sse")).await;
            assert_eq!(second.next().await, Seen::Comment);
            drop(first);
            server.streams_become(1).await;
            let mut again = server.open(Request::get(&path)).await;
            server.tell("a", "x").await;
            assert_eq!(again.event().await.data, "x");
            let limit = "tidings_streams_turned_away_total{limit=\"address\"}";
            assert_eq!(server.metric(limit).await, 2.0);
        },
    );
}

#[test]
fn a_trusted_proxy_tells_the_address_of_a_stream() {
    let build = || {
        limited(|limits| {
            limits.streams_per_address = 1;
            limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        })
    };
    on_both_lanes(build, async |server| {
        if server.lane == Lane::Body {
            return;
        }
        let from = |address: &str| {
            Request::get(&format!("{HUB}?topic=a")).header("x-forwarded-for", address)
        };
        let _one = server.open(from("192.0.2.1")).await;
        let mut other = server.open(from("192.0.2.2")).await;
        is_turned_away(server, from("192.0.2.1")).await;
        is_turned_away(server, from("203.0.113.1, 192.0.2.2")).await;
        server.tell("a", "x").await;
        assert_eq!(other.event().await.data, "x");
    });
}

#[test]
fn a_client_that_opens_too_many_streams_in_a_second_is_told_to_reconnect_and_misses_nothing() {
    on_both_lanes(
        || limited(|limits| limits.streams_per_second = 1),
        async |server| {
            let id = server.tell("a", "1").await;
            server.tell("a", "2").await;
            let request = || Request::get(&format!("{HUB}?topic=a")).header("last-event-id", &id);
            let mut turned_away = 0;
            // The first finds the second's worth that is there; more than one in a row finds none.
            let mut streams = Vec::new();
            while turned_away == 0 {
                let mut stream = server.open(request()).await;
                assert_eq!(stream.cursor().as_deref(), Some(id.as_str()));
                assert_eq!(stream.next().await, Seen::Comment);
                assert!(matches!(stream.next().await, Seen::Retry(_)));
                match stream.next().await {
                    Seen::End => turned_away += 1,
                    seen => {
                        assert!(
                            matches!(&seen, Seen::Event(event) if event.data == "2"),
                            "{seen:?}"
                        );
                        streams.push(stream);
                    }
                }
            }
            assert!(!streams.is_empty());
        },
    );
}

#[test]
fn an_address_that_publishes_too_often_is_told_so_and_nothing_is_published() {
    on_both_lanes(
        || limited(|limits| limits.publishes_per_second = 3),
        async |server| {
            if server.lane == Lane::Body {
                return;
            }
            let mut published = 0;
            let refused = loop {
                let answer = server.ask(Request::json(r#"{"topics":["a"]}"#)).await;
                if answer.status() != 200 {
                    break answer;
                }
                published += 1;
            };
            assert!(published >= 3);
            assert_eq!(refused.status(), 429);
            assert_eq!(refused.header("retry-after"), Some("1"));
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
            assert!(refused.text().contains("3 publishes per second"), "{}", refused.text());
            assert_eq!(server.metric("tidings_updates_total").await, f64::from(published));
            let reason = "tidings_publish_refused_total{reason=\"rate\"}";
            assert_eq!(server.metric(reason).await, 1.0);
        },
    );
}

#[test]
fn topics_are_counted_and_measured() {
    let build = || {
        limited(|limits| {
            limits.topics = 2;
            limits.topic_bytes = 10;
        })
    };
    on_both_lanes(build, async |server| {
        for (form, says) in [
            ("topic=a&topic=b&topic=c", "3 topics; at most 2"),
            ("topic=12345678901", "11 bytes; at most 10"),
        ] {
            // Mercure asks for 413 where a publish is over any limit, and 400 where a stream is.
            let answer = server.ask(Request::form(form)).await;
            assert_eq!(answer.status(), 413);
            assert!(answer.text().contains(says), "{}", answer.text());
            let answer = server.get(&format!("{HUB}?{form}")).await;
            assert_eq!(answer.status(), 400);
            assert!(answer.text().contains(says), "{}", answer.text());
        }
        server.publish("topic=1234567890&topic=b").await;
    });
}

#[test]
fn one_feed_too_many_is_told_to_reconnect_and_a_known_one_is_joined() {
    on_both_lanes(
        || limited(|limits| limits.feeds = 1).shards(1),
        async |server| {
            let mut first = server.subscribe("topic=a").await;
            is_turned_away(server, Request::get(&format!("{HUB}?topic=b"))).await;
            let mut second = server.subscribe("topic=a").await;
            server.tell("a", "x").await;
            assert_eq!(first.event().await.data, "x");
            assert_eq!(second.event().await.data, "x");
            let closed = "tidings_streams_closed_total{reason=\"feeds\"}";
            assert_eq!(server.metric(closed).await, 1.0);
        },
    );
}

#[test]
fn a_stream_that_is_old_enough_ends_with_a_cursor_though_it_was_quiet() {
    let build = || {
        limited(|limits| limits.stream_age = Some(Duration::from_millis(300)))
            .heartbeat(Duration::from_millis(200))
    };
    on_both_lanes(build, async |server| {
        let id = server.tell("a", "1").await;
        let mut stream = server.subscribe("topic=b").await;
        let events = stream.rest().await;
        let [notice] = events.as_slice() else { panic!("{events:?}") };
        notice.notice("draining");
        assert_eq!(notice.id(), id);
        assert!(notice.retry.is_some_and(|time| time <= Duration::from_secs(4)));
        server.metric_becomes("tidings_streams_closed_total{reason=\"age\"}", 1.0).await;
    });
}

#[test]
fn limits_and_access_change_while_streams_stay_open() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let mut limits = Limits::default();
        limits.streams = 1;
        let access = Access::development().anonymous_publish(false);
        server.hub.reconfigure(limits, access).expect("nothing to fetch");
        is_turned_away(server, Request::get(&format!("{HUB}?topic=a"))).await;
        assert_eq!(server.ask(Request::form("topic=a")).await.status(), 401);
        server.hub.reconfigure(Limits::default(), Access::development()).expect("nothing to fetch");
        server.tell("a", "x").await;
        assert_eq!(stream.event().await.data, "x");
    });
}

#[test]
fn a_body_is_no_larger_than_it_may_be() {
    on_both_lanes(
        || limited(|limits| limits.body_bytes = 1000),
        async |server| {
            let form = |length: usize| {
                let form = "topic=a&data=".to_owned();
                let filling = "x".repeat(length - form.len());
                Request::form(&(form + &filling))
            };
            let answer = server.ask(form(1001)).await;
            assert_eq!(answer.status(), 413);
            assert!(answer.text().contains("1000 bytes"), "{}", answer.text());
            assert_eq!(server.ask(form(1000)).await.status(), 200);
            assert_eq!(server.metric("tidings_updates_total").await, 1.0);
        },
    );
}

#[test]
fn a_head_is_no_larger_than_it_may_be() {
    on_both_lanes(
        || limited(|limits| limits.head_bytes = 8 << 10),
        async |server| {
            if server.lane == Lane::Body {
                // The service's server reads the heads.
                return;
            }
            let with = |bytes: usize| Request::get("/healthz").header("x-long", "x".repeat(bytes));
            assert_eq!(server.ask(with(7000)).await.status(), 200);
            let mut connection = server.connect().await;
            connection.send(&with(9000)).await;
            if server.speaks_http_1() {
                let answer = connection.answer(Body::Whole).await;
                assert_eq!(answer.status(), 431);
                assert!(answer.text().contains("at most 8192 bytes"), "{}", answer.text());
            } else {
                // The client of HTTP/2 is told so by the connection's settings.
                let head = connection.try_head().await;
                assert!(head.is_none_or(|head| head.status == 431));
            }
            assert_eq!(server.get("/healthz").await.status(), 200);
        },
    );
}

/// A short time, but long enough for a well-behaved client on a busy machine.
const SHORT: Duration = Duration::from_millis(700);

#[test]
fn a_head_that_takes_too_long_ends_its_connection_and_no_other() {
    on_both_lanes(
        || limited(|limits| limits.head_time = SHORT),
        async |server| {
            if server.lane == Lane::Body {
                return;
            }
            let mut stream = server.subscribe("topic=a").await;
            if server.speaks_http_1() {
                for half in ["", "GET /healthz HTTP/1.1\r\nhost: local"] {
                    let mut connection = server.connect().await;
                    connection.write(half.as_bytes()).await;
                    assert!(connection.rest().await.0.is_empty(), "nothing was asked");
                }
            }
            // Between two requests it is the same, but for HTTP/2, where it is longer.
            let mut connection = server.connect().await;
            assert_eq!(connection.ask(&Request::get("/healthz")).await.status(), 200);
            if server.speaks_http_1() {
                assert!(connection.rest().await.0.is_empty(), "nothing more was asked");
            }
            server.tell("a", "x").await;
            assert_eq!(stream.event().await.data, "x", "a stream is no head");
        },
    );
}

#[test]
fn a_body_that_takes_too_long_is_answered_and_affects_no_other() {
    on_both_lanes(
        || limited(|limits| limits.body_time = SHORT),
        async |server| {
            let mut stream = server.subscribe("topic=a").await;
            let mut slow = server.connect().await;
            slow.write(
                format!(
                    "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\
                     content-type: application/x-www-form-urlencoded\r\n\r\ntopic=a"
                )
                .as_bytes(),
            )
            .await;
            let answer = slow.answer(Body::Whole).await;
            assert_eq!(answer.status(), 408);
            assert!(answer.text().contains("within 0.7 s"), "{}", answer.text());
            server.tell("a", "x").await;
            assert_eq!(stream.event().await.data, "x");
            assert_eq!(server.metric("tidings_updates_total").await, 1.0);
        },
    );
}

#[test]
fn a_reader_that_is_behind_is_served_from_the_window_as_far_as_that_reaches() {
    // More than the kernel holds for a client that does not read; the journal keeps less.
    const BEHIND: usize = 11;
    let large = "x".repeat(500_000);
    let build = |window| {
        move || {
            let kept = Retention::default().count(2);
            let builder = limited(|limits| limits.window_bytes = Some(window)).shards(1);
            builder.journal(MemoryJournal::new(kept))
        }
    };
    let whole_after = async |server: &Server| {
        let mut stalled = server.subscribe("topic=a").await;
        let mut quick = server.subscribe("topic=a").await;
        for _ in 0..BEHIND {
            server.publish(&format!("topic=a&data={large}")).await;
            assert_eq!(quick.event().await.data.len(), large.len());
        }
        let mut had = 0;
        while had < BEHIND {
            match stalled.next().await {
                Seen::Comment | Seen::Retry(_) => {}
                Seen::Event(event) if event.data == large => had += 1,
                // A notice of the missed updates, or the end where the rest of an event is.
                _ => return false,
            }
        }
        true
    };
    on_both_lanes(build(64 << 10), async |server| assert!(!whole_after(server).await));
    runtime().block_on(async {
        let server = Server::start(Lane::Direct, build(64 << 20)()).await;
        assert!(whole_after(&server).await);
        server.hub.stop().await;
    });
}

#[test]
fn a_body_is_not_read_if_its_stream_is_told_to_reconnect() {
    on_both_lanes(
        || limited(|limits| limits.streams_per_second = 0),
        async |server| {
            let form = "application/x-www-form-urlencoded";
            let query =
                |body: &str| Request::new("QUERY", HUB).header("content-type", form).body(body);
            // What stands in it would be refused.
            is_turned_away(server, query("topic=a&tidings=unknown")).await;
            is_turned_away(server, query("")).await;
            let head = server.open(query("").header("last-event-id", "x")).await.head;
            assert_eq!(head.header("last-event-id"), Some("x"));
            assert_eq!(head.header("cache-control"), Some("no-store, no-cache, no-transform"));
            let limit = "tidings_streams_turned_away_total{limit=\"rate\"}";
            assert_eq!(server.metric(limit).await, 3.0);
        },
    );
}

#[test]
fn a_form_has_no_more_parameters_than_it_may() {
    on_both_lanes(open, async |server| {
        let form = |count: usize| format!("topic=a{}", "&x".repeat(count - 1));
        let query = |body: String| {
            Request::new("QUERY", HUB)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body)
        };
        server.ask(Request::form(&form(4096))).await.id();
        server.open(query(form(4096))).await;
        for request in [Request::form(&form(4097)), query(form(4097))] {
            let answer = server.ask(request).await;
            assert_eq!(answer.status(), 413);
            assert!(answer.text().contains("more than 4096 parameters"), "{}", answer.text());
        }
    });
}

#[test]
fn streams_are_no_more_in_all_than_they_may_be() {
    on_both_lanes(
        || limited(|limits| limits.streams = 2),
        async |server| {
            let first = server.subscribe("topic=a").await;
            let _second = server.open(Request::get("/sse")).await;
            is_turned_away(server, Request::get(&format!("{HUB}?topic=a"))).await;
            let limit = "tidings_streams_turned_away_total{limit=\"streams\"}";
            assert_eq!(server.metric(limit).await, 1.0);
            drop(first);
            server.streams_become(1).await;
            let mut again = server.subscribe("topic=a").await;
            server.tell("a", "x").await;
            assert_eq!(again.event().await.data, "x");
        },
    );
}

#[test]
fn a_stream_without_room_for_its_selectors_is_told_to_reconnect() {
    on_both_lanes(
        || limited(|limits| limits.selector_bytes = 64 << 10),
        async |server| {
            let lane = format!("{:?}", server.lane);
            // 16 KiB for an address. Where none is known, all have the whole of it.
            let query = |name: &str| {
                let templates: Vec<_> =
                    (0..4).map(|at| format!("topic={lane}{name}{at}/%7Bx%7D")).collect();
                format!("{HUB}?{}", templates.join("&"))
            };
            let mut streams = Vec::new();
            for name in ["a", "b", "c", "d", "e"] {
                let stream = server.open(Request::get(&query(name))).await;
                streams.push(stream);
                let limit = "tidings_streams_turned_away_total{limit=\"selectors\"}";
                if server.metric(limit).await > 0.0 {
                    break;
                }
            }
            let mut last = streams.pop().unwrap();
            assert_eq!(last.next().await, Seen::Comment);
            assert!(matches!(last.next().await, Seen::Retry(_)));
            assert_eq!(last.next().await, Seen::End);
            assert!(server.metric("tidings_selector_bytes").await <= 64.0 * 1024.0);
            drop(streams);
            server.streams_become(0).await;
            server.metric_becomes("tidings_selector_bytes", 0.0).await;
            let mut again = server.open(Request::get(&query("e"))).await;
            server.tell(&format!("{lane}e3/x"), "x").await;
            assert_eq!(again.event().await.data, "x");
        },
    );
}

#[test]
fn grants_count_with_selectors_and_remembered_ones_make_room() {
    let build = || {
        let mut limits = Limits::default();
        limits.selector_bytes = 64 << 10;
        with_keys().limits(limits)
    };
    on_both_lanes(build, async |server| {
        // What is compiled for the other lane is not compiled again.
        let lane = format!("{:?}", server.lane);
        let grants = |name: &str| -> Vec<String> {
            (0..4).map(|at| format!("{lane}-token-{name}-{at}/{{x}}")).collect()
        };
        fn as_texts(grants: &[String]) -> Vec<&str> {
            grants.iter().map(String::as_str).collect()
        }
        let mut streams = Vec::new();
        for number in 0..40 {
            let token = subscriber(&as_texts(&grants(&number.to_string())));
            let stream = Request::get(&format!("{HUB}?topic=a")).bearer(&token);
            streams.push(server.open(stream).await);
            let limit = "tidings_streams_turned_away_total{limit=\"selectors\"}";
            if server.metric(limit).await > 0.0 {
                break;
            }
        }
        let mut last = streams.pop().unwrap();
        assert_eq!(last.next().await, Seen::Comment);
        assert!(matches!(last.next().await, Seen::Retry(_)));
        assert_eq!(last.next().await, Seen::End);
        let taken = server.metric("tidings_selector_bytes").await;
        assert!((4_000.0..=65_536.0).contains(&taken), "{taken}");
        let token = publisher(&as_texts(&grants("publisher")));
        let publish = || Request::form(&format!("topic={lane}-token-publisher-0/1")).bearer(&token);
        let refused = server.ask(publish()).await;
        assert_eq!(refused.status(), 503, "{}", refused.text());
        assert_eq!(refused.header("retry-after"), Some("1"));
        // Those that others are granted too take nothing.
        let shared = publisher(&as_texts(&grants("0")));
        let shared = Request::form(&format!("topic={lane}-token-0-0/1")).bearer(&shared);
        assert_eq!(server.ask(shared).await.status(), 200);
        // Now their tokens are only remembered.
        drop(streams);
        server.streams_become(0).await;
        assert_eq!(server.ask(publish()).await.status(), 200);
    });
}
