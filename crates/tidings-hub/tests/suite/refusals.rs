//! What a publisher is told whose request cannot be taken.

use crate::client::{Answer, HUB, Request, encoded};
use crate::server::{Server, on_both_lanes, open};

/// The request is refused with this status, in words of which these are some; nothing is
/// published.
async fn check(server: &Server, request: Request, status: u16, words: &[&str]) -> Answer {
    let before = server.metric("tidings_journal_last_position").await;
    let shown = format!("{request:?}");
    let is_form = shown.contains("urlencoded");
    let answer = server.ask(request).await;
    assert_eq!(answer.status(), status, "{shown}\n{}", answer.text());
    let detail = if is_form || status == 415 {
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{shown}");
        answer.text().trim_end().to_owned()
    } else {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{shown}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string());
        problem["detail"].as_str().expect("a problem has a detail").to_owned()
    };
    for word in words {
        assert!(detail.contains(word), "{word:?} is not said: {detail}\n{shown}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(server.metric("tidings_journal_last_position").await, before, "{shown}");
    answer
}

async fn form(server: &Server, body: &str, words: &[&str]) {
    check(server, Request::form(body), 400, words).await;
}

async fn json(server: &Server, body: &str, words: &[&str]) {
    check(server, Request::json(body), 400, words).await;
}

#[test]
fn a_form_without_a_topic_is_refused() {
    on_both_lanes(open, async |server| {
        form(server, "", &["no topic"]).await;
        form(server, "data=x", &["no topic", "at least one"]).await;
        form(server, "topic=", &["topic is empty"]).await;
        form(server, "topic=a&topic=", &["topic is empty"]).await;
        json(server, r#"{"topics":[]}"#, &["no topic"]).await;
        json(server, r#"{"data":"x"}"#, &["topics"]).await;
        json(server, r#"{"topics":[""]}"#, &["topic is empty"]).await;
        json(server, r#"{"topic":""}"#, &["topic is empty"]).await;
        json(server, r#"{"topic":"a","topics":["b"]}"#, &["both", "one of them"]).await;
    });
}

#[test]
fn a_field_that_may_occur_once_is_refused_twice() {
    on_both_lanes(open, async |server| {
        for name in ["data", "type", "id", "retry"] {
            let body = format!("topic=a&{name}=1&{name}=2");
            form(server, &body, &[name, "2 times", "once"]).await;
        }
        json(server, r#"{"topics":["a"],"id":"1","id":"2"}"#, &["id"]).await;
    });
}

#[test]
fn an_oversized_value_is_refused_with_the_limit() {
    on_both_lanes(open, async |server| {
        let long = |count| "x".repeat(count);
        for (name, max) in [("topic", 4096), ("id", 1024), ("type", 1024)] {
            let (limit, bytes) = (max.to_string(), (max + 1).to_string());
            let words = &[name, &limit, &bytes][..];
            let body = format!("topic=a&{name}={}", long(max + 1));
            check(server, Request::form(&body), 413, words).await;
            let members = match name {
                "topic" => format!(r#""topics":["{}"]"#, long(max + 1)),
                name => format!(r#""topics":["a"],"{name}":"{}""#, long(max + 1)),
            };
            let json = format!("{{{members}}}");
            check(server, Request::json(&json), 413, words).await;
            let lines = format!("{{\"topics\":[\"a\"]}}\n{json}\n");
            let words = [words, &["line 2", "nothing was published"]].concat();
            check(server, Request::ndjson(&lines), 413, &words).await;
            server.publish(&format!("topic=b&{name}={}", long(max))).await;
        }
    });
}

#[test]
fn text_that_is_no_utf_8_is_refused() {
    on_both_lanes(open, async |server| {
        for name in ["topic", "data", "type", "id"] {
            let body = format!("topic=a&{name}=%ff");
            form(server, &body, &[name, "UTF-8"]).await;
        }
        let raw = Request::form("").body(b"topic=a&data=\xc3\x28".to_vec());
        check(server, raw, 400, &["data", "UTF-8"]).await;
        // Unknown fields are ignored, whatever they hold.
        server.publish("topic=a&data=x&other=%ff&%ff=1&private%ff=on").await;
        let raw = Request::json("").body(b"{\"topics\":[\"\xff\"]}".to_vec());
        check(server, raw, 400, &["JSON"]).await;
        json(server, r#"{"topics":["a"],"data":"\ud800"}"#, &["JSON"]).await;
    });
}

#[test]
fn line_breaks_and_nul_are_refused_in_ids_types_and_topics() {
    on_both_lanes(open, async |server| {
        for character in ["\r", "\n", "\0", "\u{7f}", "\u{85}", "\u{200b}", "\t"] {
            for name in ["id", "type", "topic"] {
                let body = format!("topic=a&{name}={}", encoded(&format!("x{character}y")));
                form(server, &body, &[name]).await;
            }
            let text = serde_json::to_string(&format!("x{character}y")).unwrap();
            json(server, &format!(r#"{{"topics":["a"],"id":{text}}}"#), &["id"]).await;
            json(server, &format!(r#"{{"topics":["a"],"type":{text}}}"#), &["type"]).await;
            json(server, &format!(r#"{{"topics":["a",{text}]}}"#), &["topic"]).await;
        }
    });
}

#[test]
fn a_retry_that_is_no_number_is_refused() {
    on_both_lanes(open, async |server| {
        for retry in ["x", "-1", "+5", "1.5", "1e3", " 5", "5ms", "%D9%A3", "0x10"] {
            let body = format!("topic=a&retry={}", retry.replace('+', "%2B").replace(' ', "+"));
            form(server, &body, &["retry", "milliseconds"]).await;
        }
        for retry in ["-1", "1.5", "\"5\"", "true"] {
            json(
                server,
                &format!(r#"{{"topics":["a"],"retry":{retry}}}"#),
                &["retry", "milliseconds"],
            )
            .await;
        }
    });
}

#[test]
fn names_reserved_for_the_hub_are_refused() {
    on_both_lanes(open, async |server| {
        for id in ["tidings:abcdef.1.abcd", "tidings:", "#1", "#", "earliest"] {
            form(server, &format!("topic=a&id={}", encoded(id)), &["reserved"]).await;
            json(server, &format!(r#"{{"topics":["a"],"id":"{id}"}}"#), &["reserved"]).await;
        }
        for event_type in ["tidings", "mercure"] {
            form(server, &format!("topic=a&type={event_type}"), &["reserved", event_type]).await;
        }
        form(server, "topic=*", &["*", "name a topic"]).await;
        form(server, "topic=a&topic=*", &["*"]).await;
        for topic in [
            "/.well-known/mercure",
            "/.well-known/mercure/subscriptions/a/b",
            "/.well-known/%6Dercure/x",
            "https://other.test/.well-known/mercure",
            "/a/../.well-known/mercure/x",
            "//x.test/.well-known/mercure/y",
        ] {
            form(server, &format!("topic={}", encoded(topic)), &["/.well-known/mercure"]).await;
        }
        // As relative URLs these are the hub's own path. What to write instead is said, and taken.
        for (topic, instead) in [
            ("mercure", "\"/mercure\""),
            ("mercure/x", "\"/mercure/x\""),
            ("./mercure", "\"/./mercure\""),
            ("#general", "\"/#general\""),
            ("?a", "\"/?a\""),
        ] {
            let words = [topic, "as a URL", instead, "/.well-known/mercure"];
            form(server, &format!("topic={}", encoded(topic)), &words).await;
            server.tell(instead.trim_matches('"'), "x").await;
        }
        for topic in
            ["general", "urn:uuid:1", "/.well-known/mercurex", "chat:#general", "a#b", "/x?y"]
        {
            server.tell(topic, "x").await;
        }
    });
}

#[test]
fn an_id_with_a_space_at_an_end_is_refused() {
    on_both_lanes(open, async |server| {
        form(server, "topic=a&id=+7", &["space"]).await;
        form(server, "topic=a&id=7+", &["space"]).await;
        assert_eq!(server.publish("topic=a&id=7+8").await, "7 8");
    });
}

#[test]
fn too_many_topics_or_lines_are_refused() {
    on_both_lanes(open, async |server| {
        let topics: Vec<String> = (0..1001).map(|n| format!("topic=t{n}")).collect();
        check(server, Request::form(&topics.join("&")), 413, &["1001", "1000"]).await;
        let lines = "{\"topics\":[\"a\"]}\n".repeat(1001);
        check(server, Request::ndjson(&lines), 413, &["1000", "nothing was published"]).await;
    });
}

#[test]
fn invalid_json_is_refused() {
    on_both_lanes(open, async |server| {
        for body in [
            "",
            "null",
            "[]",
            "\"a\"",
            "{",
            r#"{"topics":"a"}"#,
            r#"{"topics":[1]}"#,
            r#"{"topics":["a"],"data":"x"} trailing"#,
            r#"{"topics":["a"],"private":"yes"}"#,
            r#"{"topics":["a"],"data":{"open"}}"#,
        ] {
            json(server, body, &["JSON"]).await;
        }
        // The members' values without their names.
        json(server, r#"[["a"],"x",null,null,null,false]"#, &["JSON object", "topics"]).await;
        let no_text = Request::publish("application/json", *b"{\"topics\":[\"a\xff\"]}");
        check(server, no_text, 400, &["UTF-8"]).await;
        json(server, r#"{"topics":["a"],"topic":"b"}"#, &["topic", "topics"]).await;
        let deep = format!(r#"{{"topics":["a"],"data":{}}}"#, "[".repeat(100_000));
        json(server, &deep, &["JSON"]).await;
    });
}

#[test]
fn one_bad_line_keeps_all_from_being_published_and_is_named() {
    on_both_lanes(open, async |server| {
        let good = r#"{"topics":["a"],"data":"x"}"#;
        for (bad, words) in [
            ("{", ["line 3", "JSON"]),
            (r#"{"topics":[]}"#, ["line 3", "no topic"]),
            (r#"{"topics":["a"],"id":"x\ny"}"#, ["line 3", "id"]),
            (r#"{"topics":["a"],"type":"tidings"}"#, ["line 3", "reserved"]),
            (r#"{"topics":["*"]}"#, ["line 3", "*"]),
        ] {
            // The empty line counts as a line, though not as an update.
            let body = format!("{good}\n\n{bad}\n{good}\n");
            let answer = check(server, Request::ndjson(&body), 400, &words).await;
            assert!(answer.text().contains("nothing was published"), "{}", answer.text());
        }
        check(server, Request::ndjson(""), 400, &["body is empty"]).await;
        check(server, Request::ndjson("\n \r\n"), 400, &["body is empty"]).await;
    });
}

#[test]
fn a_body_over_the_limit_is_refused_with_the_limit() {
    let build = || open().body_bytes_max(1000);
    on_both_lanes(build, async |server| {
        let at_limit = format!("topic=a&data={}", "x".repeat(1000 - "topic=a&data=".len()));
        server.publish(&at_limit).await;
        check(server, Request::form(&format!("{at_limit}x")), 413, &["1000"]).await;
        let json = format!(r#"{{"topics":["a"],"data":"{}"}}"#, "x".repeat(1000));
        check(server, Request::json(&json), 413, &["1000"]).await;
    });
}

#[test]
fn another_content_type_is_refused_with_those_that_are_allowed() {
    on_both_lanes(open, async |server| {
        let untyped = Request::new("POST", HUB).body("topic=a");
        for request in [
            Request::publish("text/plain", "topic=a"),
            Request::publish("multipart/form-data; boundary=x", "topic=a"),
            Request::publish("application/jsonx", "{}"),
            untyped,
        ] {
            let answer = check(server, request, 415, &["content type"]).await;
            let allowed =
                ["application/x-www-form-urlencoded", "application/json", "application/x-ndjson"];
            assert_eq!(answer.head.list("accept-post"), allowed);
            assert!(allowed.iter().all(|name| answer.text().contains(name)));
        }
    });
}

#[test]
fn a_body_that_is_encoded_is_refused_and_never_read_as_if_it_were_not() {
    on_both_lanes(open, async |server| {
        let before = server.metric("tidings_journal_last_position").await;
        let requests = || {
            [
                Request::form("topic=a&data=x"),
                Request::json(r#"{"topics":["a"]}"#),
                Request::ndjson(r#"{"topics":["a"]}"#),
            ]
        };
        for codings in [
            &["gzip"][..],
            &["GZIP"],
            &["br"],
            &["deflate"],
            &["zstd"],
            &["x-unknown"],
            &["gzip, br"],
            &["identity, gzip"],
            &["identity", "gzip"],
        ] {
            for mut request in requests() {
                for coding in codings {
                    request = request.header("content-encoding", coding);
                }
                let shown = format!("{request:?}");
                let answer = server.ask(request).await;
                assert_eq!(answer.status(), 415, "{shown}: {}", answer.text());
                assert_eq!(answer.header("accept-encoding"), Some("identity"), "{shown}");
                assert!(answer.text().contains("content coding"), "{}", answer.text());
                let problem = answer.header("content-type") == Some("application/problem+json");
                assert_eq!(problem, !shown.contains("urlencoded"), "{shown}");
            }
        }
        assert_eq!(server.metric("tidings_journal_last_position").await, before);
        for coding in ["identity", "Identity", "", ",", "identity, identity"] {
            for request in requests() {
                let answer = server.ask(request.header("content-encoding", coding)).await;
                assert_eq!(answer.status(), 200, "{coding:?}: {}", answer.text());
            }
        }
    });
}

#[test]
fn a_body_in_another_charset_is_refused_and_so_are_two_content_types() {
    on_both_lanes(open, async |server| {
        let typed = |content_type: &str| Request::publish(content_type, "topic=a");
        let form = "application/x-www-form-urlencoded";
        for charset in ["utf-16", "UTF-16LE", "\"utf-32\"", "shift_jis", "none", ""] {
            let request = typed(&format!("{form}; charset={charset}"));
            check(server, request, 415, &["charset", "UTF-8"]).await;
        }
        for parameters in ["", ";charset=UTF-8", "; charset=\"utf8\"", "; charset=us-ascii; x=y"] {
            let answer = server.ask(typed(&format!("{form}{parameters}"))).await;
            assert_eq!(answer.status(), 200, "{parameters}: {}", answer.text());
        }
        // Where UTF-8 and the charset that is named agree, its name does no harm.
        for charset in ["iso-8859-1", "Latin1", "\"windows-1252\"", "us-ascii", "ascii"] {
            let typed = |body: &str| Request::publish(&format!("{form}; charset={charset}"), body);
            check(server, typed("topic=a&data=é"), 415, &["charset", "UTF-8"]).await;
            let answer = server.ask(typed("topic=a&data=%C3%A9")).await;
            assert_eq!(answer.status(), 200, "{charset}: {}", answer.text());
        }
        let twice = typed(form).header("content-type", "application/json");
        check(server, twice, 400, &["Content-Type", "more than once"]).await;
    });
}

#[test]
fn another_method_is_refused_with_those_that_are_allowed() {
    on_both_lanes(open, async |server| {
        let check = async |method: &str, path: &str, allowed: &[&str]| {
            let answer = server.ask(Request::new(method, path)).await;
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert_eq!(answer.head.list("allow"), allowed, "{method} {path}");
            assert!(answer.text().contains("not allowed"), "{}", answer.text());
        };
        for method in ["PUT", "DELETE", "PATCH", "QUERY"] {
            if method != "QUERY" {
                check(method, HUB, &["get", "head", "query", "post", "options"]).await;
            }
            check(method, "/sse", &["get", "head", "options"]).await;
            for path in ["/", "/tidings/page/page.js", "/healthz", "/readyz", "/metrics"] {
                check(method, path, &["get", "head"]).await;
            }
        }
        check("POST", "/sse", &["get", "head", "options"]).await;
        check("POST", "/", &["get", "head"]).await;
    });
}

#[test]
fn a_closed_hub_accepts_and_sends_nothing() {
    let closed = || open().access(tidings_hub::Access::default());
    on_both_lanes(closed, async |server| {
        for request in [Request::form("topic=a"), Request::json(r#"{"topics":["a"]}"#)] {
            let answer = check(server, request, 401, &["needs a token"]).await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let answer = server.get(&format!("{HUB}?topic=a")).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(answer.text().contains("needs a token"), "{}", answer.text());
        assert_eq!(server.hub.subscribers(), 0);
    });
}

#[test]
fn refusals_are_counted_by_reason() {
    let build = || open().body_bytes_max(1000);
    on_both_lanes(build, async |server| {
        server.ask(Request::form("")).await;
        server.ask(Request::publish("text/plain", "")).await;
        server.ask(Request::form(&"x".repeat(1001))).await;
        server.ask(Request::form("topic=a").header("origin", "https://evil.test")).await;
        for (reason, count) in [("invalid", 2.0), ("too_large", 1.0), ("forbidden", 1.0)] {
            let name = format!("tidings_publish_refused_total{{reason=\"{reason}\"}}");
            assert_eq!(server.metric(&name).await, count, "{reason}");
        }
        assert_eq!(server.metric("tidings_updates_total").await, 0.0);
    });
}
