//! What a publisher is answered, and what becomes of its update.

use std::time::Duration;

use crate::client::{Answer, HUB, Request, encoded};
use crate::server::{Server, on_both_lanes, open};

async fn publish_json(server: &Server, body: &str) -> Answer {
    server.ask(Request::json(body)).await
}

#[test]
fn a_form_is_answered_with_just_the_id() {
    on_both_lanes(open, async |server| {
        let answer = server.ask(Request::form("topic=a&data=x")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let id = answer.text();
        let (epoch, rest) = id.strip_prefix("tidings:").unwrap().split_once('.').unwrap();
        let (position, check) = rest.split_once('.').unwrap();
        assert_eq!((epoch.len(), position, check.len()), (6, "1", 4), "{id:?}");
    });
}

#[test]
fn an_object_is_answered_with_an_object() {
    on_both_lanes(open, async |server| {
        let answer = publish_json(server, r#"{"topics":["a"],"data":"x","id":"my \"id\""}"#).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), serde_json::json!({"id": "my \"id\""}));
    });
}

#[test]
fn each_line_of_ndjson_is_answered_with_a_line_in_the_same_order() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let body = "{\"topics\":[\"a\"],\"data\":\"1\"}\r\n\n  \n{\"topics\":[\"a\"],\"id\":\"two\"}\n\
                    {\"topics\":[\"a\"],\"data\":\"3\"}";
        let answer = server.ask(Request::ndjson(body)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let ids: Vec<String> = answer
            .text()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["id"].as_str().unwrap().to_owned())
            .collect();
        assert!(answer.text().ends_with('\n'));
        assert_eq!(ids.len(), 3);
        assert_eq!(ids[1], "two");
        for (id, data) in ids.iter().zip(["1", "", "3"]) {
            let event = stream.event().await;
            assert_eq!((event.id(), event.data.as_str()), (id.as_str(), data));
        }
    });
}

#[test]
fn a_published_update_arrives_with_all_its_fields() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let form = server.publish("topic=a&data=x%0Ay&type=price&id=urn%3A7&retry=2500").await;
        assert_eq!(form, "urn:7");
        let json = r#"{"topics":["a"],"data":"x\ny","type":"price","id":"urn:8","retry":2500}"#;
        assert_eq!(publish_json(server, json).await.status(), 200);
        for id in ["urn:7", "urn:8"] {
            let event = stream.event().await;
            assert_eq!(event.data, "x\ny");
            assert_eq!(event.event_type, "price");
            assert_eq!(event.id(), id);
            assert_eq!(event.retry, Some(Duration::from_millis(2500)));
        }
    });
}

#[test]
fn an_update_in_json_may_have_its_only_topic_as_a_string() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        assert_eq!(publish_json(server, r#"{"topic":"a","data":"x"}"#).await.status(), 200);
        assert_eq!(stream.data(1).await, ["x"]);
    });
}

#[test]
fn an_update_without_data_is_an_event_with_empty_data() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        server.publish("topic=a").await;
        server.publish("topic=a&data=").await;
        assert_eq!(publish_json(server, r#"{"topics":["a"]}"#).await.status(), 200);
        assert_eq!(stream.data(3).await, ["", "", ""]);
    });
}

#[test]
fn a_json_value_that_is_no_string_is_sent_as_its_text() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        // Neither the order of names nor a digit is lost on the way.
        for text in
            [r#"{"z":1,"a":[true,null]}"#, "12345678901234567890123.10", "1e2", "false", "[]"]
        {
            let answer =
                publish_json(server, &format!(r#"{{"topics":["a"],"data":{text}}}"#)).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert_eq!(stream.event().await.data, text);
        }
    });
}

#[test]
fn parameters_that_mean_nothing_here_are_ignored_in_a_form() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a&whatever=1&topics=b").await;
        let form = "topic=a&data=x&target=old&type=&id=&retry=";
        server.publish(form).await;
        server.publish(form).await;
        // The stream's own reconnection time stands before the first event.
        stream.event().await;
        let event = stream.event().await;
        assert_eq!((event.event_type.as_str(), event.retry), ("message", None));
        assert!(event.id().starts_with("tidings:"));
    });
}

#[test]
fn a_content_type_may_have_parameters_and_any_case() {
    on_both_lanes(open, async |server| {
        let form = "Application/X-WWW-Form-Urlencoded; charset=UTF-8";
        assert_eq!(server.ask(Request::publish(form, "topic=a")).await.status(), 200);
        let json = "APPLICATION/JSON ;charset=utf-8";
        let answer = server.ask(Request::publish(json, r#"{"topics":["a"]}"#)).await;
        assert_eq!(answer.status(), 200);
    });
}

#[test]
fn a_publish_needs_no_subscriber() {
    on_both_lanes(open, async |server| {
        server.tell("https://a.test/nobody", "x").await;
        let mut stream = server.subscribe("topic=*&lastEventID=earliest").await;
        assert_eq!(stream.data(1).await, ["x"]);
    });
}

#[test]
fn a_retry_is_brought_within_the_hubs_bounds() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        for (sent, milliseconds) in [
            ("0", 500),
            ("499", 500),
            ("500", 500),
            ("000750", 750),
            ("3600001", 3_600_000),
            ("99999999999999999999999", 3_600_000),
        ] {
            server.publish(&format!("topic=a&retry={sent}")).await;
            let retry = stream.event().await.retry;
            assert_eq!(retry, Some(Duration::from_millis(milliseconds)), "{sent}");
        }
        assert_eq!(publish_json(server, r#"{"topics":["a"],"retry":1}"#).await.status(), 200);
        assert_eq!(stream.event().await.retry, Some(Duration::from_millis(500)));
    });
}

#[test]
fn public_subscribers_never_get_a_private_update() {
    on_both_lanes(open, async |server| {
        let mut exact = server.subscribe("topic=a").await;
        let mut all = server.subscribe("topic=*&tidings=topics,notices").await;
        all.event().await.notice("live");
        // Its presence makes it private, whatever it says.
        for private in ["private=on", "private", "private=", "private=false", "private=0"] {
            server.publish(&format!("topic=a&data=secret&{private}")).await;
        }
        let secret = r#"{"topics":["a"],"data":"secret","private":true}"#;
        assert_eq!(publish_json(server, secret).await.status(), 200);
        let open = r#"{"topics":["a"],"data":"open","private":false}"#;
        assert_eq!(publish_json(server, open).await.status(), 200);
        assert_eq!(exact.event().await.data, "open");
        assert_eq!(all.event().await.data, "open");
        let mut replayed = server.subscribe("topic=*&lastEventID=earliest").await;
        assert_eq!(replayed.event().await.data, "open");
    });
}

#[test]
fn a_thousand_topics_and_a_thousand_lines_are_accepted() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=t999").await;
        let topics: Vec<String> = (0..1000).map(|n| format!("topic=t{n}")).collect();
        server.publish(&format!("{}&data=many", topics.join("&"))).await;
        let lines: String =
            (0..1000).map(|n| format!("{{\"topics\":[\"t999\"],\"data\":\"{n}\"}}\n")).collect();
        let answer = server.ask(Request::ndjson(&lines)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.text().lines().count(), 1000);
        let data = stream.data(1001).await;
        assert_eq!(data[0], "many");
        assert!(data[1..].iter().enumerate().all(|(n, data)| *data == n.to_string()));
    });
}

#[test]
fn the_longest_allowed_topic_id_and_type_are_accepted() {
    on_both_lanes(open, async |server| {
        let topic = "t".repeat(4096);
        let id = "i".repeat(1024);
        let event_type = "y".repeat(1024);
        let mut stream = server.subscribe(&format!("topic={topic}")).await;
        server.publish(&format!("topic={topic}&id={id}&type={event_type}")).await;
        let event = stream.event().await;
        assert_eq!((event.id(), &event.event_type), (id.as_str(), &event_type));
    });
}

#[test]
fn a_body_of_the_allowed_size_arrives_whole() {
    let build = || open().body_bytes_max(300_000);
    on_both_lanes(build, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let data = "0123456789".repeat((300_000 - "topic=a&data=".len()) / 10);
        server.publish(&format!("topic=a&data={data}")).await;
        assert_eq!(stream.event().await.data, data);
    });
}

#[test]
fn a_chunked_body_is_read_like_any_other() {
    on_both_lanes(open, async |server| {
        let mut connection = server.connect().await;
        let head = format!(
            "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n"
        );
        connection.write(head.as_bytes()).await;
        connection.write(b"4\r\ntopi\r\n9\r\nc=a&id=u7\r\n0\r\n\r\n").await;
        let answer = connection.answer(crate::client::Body::Whole).await;
        assert_eq!(answer.id(), "u7");
    });
}

#[test]
fn topics_that_merely_look_like_the_hubs_are_accepted() {
    on_both_lanes(open, async |server| {
        for topic in ["plain", "urn:uuid:1", "/.well-known/mercurex", "http://[", "größe", "{id}"]
        {
            let mut stream = server.subscribe(&format!("topic={}", encoded(topic))).await;
            server.tell(topic, "x").await;
            assert_eq!(stream.event().await.data, "x", "{topic}");
        }
    });
}
