//! One request, one stream: the answers of language models.

use std::time::Duration;

use serde_json::json;
use tidings_client::{CloseReason, ConnectError, EventSource, Incoming, end};

use crate::server::{Exchange, Server, closed, event, next};

/// The result of a POST with this answer: the data, and the end.
async fn check(
    source: impl FnOnce(EventSource) -> EventSource,
    serve: impl AsyncFnOnce(Exchange),
) -> (Vec<String>, CloseReason) {
    let server = Server::start().await;
    let mut stream = source(EventSource::post(server.url("/"))).open();
    let read = async {
        let mut seen = Vec::new();
        loop {
            match next(&mut stream).await {
                Incoming::Event(event) => seen.push(event.into_data()),
                Incoming::Closed(reason) => break (seen, reason),
                Incoming::Lost(lost) => panic!("{lost}"),
                _ => {}
            }
        }
    };
    let (read, ()) = tokio::join!(read, async { serve(server.next().await).await });
    assert!(server.is_left_alone(Duration::from_millis(50)).await, "it was sent twice");
    read
}

async fn stream(exchange: Exchange, body: &str) {
    exchange.answer("200 OK", &["content-type: text/event-stream"], body).await;
}

#[tokio::test]
async fn the_request_has_its_body() {
    let source = |source: EventSource| source.bearer("secret").json(&json!({ "stream": true }));
    let (seen, reason) = check(source, async |exchange| {
        assert_eq!(exchange.method, "POST");
        assert_eq!(exchange.header("content-type").unwrap(), "application/json");
        assert_eq!(exchange.header("authorization").unwrap(), "Bearer secret");
        assert_eq!(exchange.body, b"{\"stream\":true}");
        stream(exchange, "data: a\n\n").await;
    })
    .await;
    assert_eq!(seen, ["a"]);
    assert!(matches!(reason, CloseReason::Ended) && reason.is_success());
}

#[tokio::test]
async fn an_answer_is_complete_with_its_last_event() {
    type IsLast = fn(&tidings_client::ReceivedEvent) -> bool;
    let ends: [(IsLast, &str); 3] = [
        (end::openai_chat, "data: {}\n\ndata: [DONE]\n\n"),
        (end::openai_responses, "data: {}\n\nevent: response.completed\ndata: {}\n\n"),
        (end::anthropic, "data: {}\n\nevent: message_stop\ndata: {}\n\n"),
    ];
    for (is_end, body) in ends {
        // Events after the end are not delivered.
        let body = format!("{body}data: more\n\n");
        let source = |source: EventSource| source.ends_with(is_end);
        let (seen, reason) = check(source, async |exchange| stream(exchange, &body).await).await;
        assert_eq!(seen.len(), 2);
        assert!(matches!(reason, CloseReason::Complete), "{reason:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_is_truncated() {
    let source = |source: EventSource| source.ends_with(end::any);
    let (seen, reason) =
        check(source, async |exchange| stream(exchange, "data: {}\n\n").await).await;
    assert_eq!(seen, ["{}"]);
    assert!(matches!(reason, CloseReason::Truncated { cause: None }) && !reason.is_success());
}

#[tokio::test]
async fn an_incomplete_event_at_the_end_is_truncated_even_without_a_known_end() {
    let (seen, reason) =
        check(|source| source, async |exchange| stream(exchange, "data: a\n\ndata: [DO").await)
            .await;
    assert_eq!(seen, ["a"]);
    assert!(matches!(reason, CloseReason::Truncated { cause: None }), "{reason:?}");
}

#[tokio::test]
async fn an_answer_on_a_broken_connection_is_truncated_with_the_cause() {
    let (seen, reason) = check(
        |source| source,
        async |mut exchange| {
            let headers = ["content-type: text/event-stream", "transfer-encoding: chunked"];
            exchange.head("200 OK", &headers).await;
            exchange.send("9\r\ndata: a\n\n\r\n").await;
        },
    )
    .await;
    assert_eq!(seen, ["a"]);
    assert!(matches!(reason, CloseReason::Truncated { cause: Some(_) }), "{reason:?}");
}

#[tokio::test]
async fn a_refusal_is_an_error_with_its_json_and_is_not_retried() {
    let (_, reason) = check(
        |source| source,
        async |exchange| {
            let headers = ["content-type: application/json", "retry-after: 20"];
            exchange
                .answer("429 Too Many Requests", &headers, "{\"error\":{\"type\":\"rate\"}}")
                .await;
        },
    )
    .await;
    let CloseReason::Failed(error) = reason else { panic!("{reason:?}") };
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(20)));
    assert_eq!(refusal.json().unwrap()["error"]["type"], "rate");
}

#[tokio::test]
async fn an_answer_in_json_is_a_separate_outcome() {
    for content_type in ["application/json; charset=utf-8", "application/problem+json"] {
        let header = format!("content-type: {content_type}");
        let (_, reason) = check(
            |source| source,
            async |exchange| exchange.answer("200 OK", &[&header], "{\"a\":1}").await,
        )
        .await;
        let CloseReason::Json(answer) = reason else { panic!("{reason:?}") };
        assert_eq!(&*answer.body, b"{\"a\":1}");
    }
}

#[tokio::test]
async fn an_error_event_after_the_200_is_an_error_if_it_is_named() {
    let body = "data: a\n\nevent: error\ndata: {\"type\":\"overloaded_error\"}\n\n";
    let source = |source: EventSource| source.fails_with(end::error).ends_with(end::any);
    let (seen, reason) = check(source, async |exchange| stream(exchange, body).await).await;
    assert_eq!(seen, ["a"]);
    let CloseReason::ErrorEvent(event) = reason else { panic!("{reason:?}") };
    let error: serde_json::Value = event.json().unwrap();
    assert_eq!(error["type"], "overloaded_error");
}

#[tokio::test]
async fn an_unreachable_server_is_not_retried() {
    let unreachable = Server::start().await.url("/");
    let reason = closed(&mut EventSource::post(unreachable).open()).await;
    assert!(matches!(reason, CloseReason::Failed(ConnectError::Transport(_))), "{reason:?}");
}

#[tokio::test]
async fn the_request_is_repeated_with_its_body_on_request() {
    let server = Server::start().await;
    let mut stream = EventSource::post(server.url("/"))
        .body("what is asked")
        .reconnect(true)
        .reconnection_time(Duration::from_millis(1))
        .open();
    for asked in [None, Some("7")] {
        let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
        assert_eq!(exchange.body, b"what is asked");
        assert_eq!(exchange.header("last-event-id").as_deref(), asked);
        exchange.send("id: 7\ndata: a\n\n").await;
        event(&mut stream).await;
        drop(exchange);
        crate::server::lost(&mut stream).await;
    }
}

#[tokio::test]
async fn events_alone_can_be_read_with_a_question_mark() {
    let server = Server::start().await;
    let mut answer = EventSource::post(server.url("/")).ends_with(end::openai_chat).open();
    let read = async {
        let mut seen = Vec::new();
        while let Some(event) = answer.next_event().await? {
            seen.push(event.into_data());
        }
        Ok::<_, CloseReason>(seen)
    };
    let serve = async { stream(server.next().await, ": hi\n\ndata: a\n\ndata: [DONE]\n\n").await };
    let (seen, ()) = tokio::join!(read, serve);
    assert_eq!(seen.unwrap(), ["a", "[DONE]"]);
    assert!(answer.next_event().await.unwrap().is_none());
}

#[tokio::test]
async fn a_prepared_request_is_sent_unchanged() {
    let server = Server::start().await;
    let request = reqwest::Client::new()
        .post(server.url("/x"))
        .header("x-mine", "1")
        .header("accept", "application/json, text/event-stream")
        .body("b")
        .build()
        .unwrap();
    let mut answer = EventSource::from_request(request).open();
    let serve = async {
        let exchange = server.next().await;
        assert_eq!((exchange.path.as_str(), exchange.body.as_slice()), ("/x", b"b".as_slice()));
        assert_eq!(exchange.header("accept").unwrap(), "application/json, text/event-stream");
        assert_eq!(exchange.headers.iter().filter(|(name, _)| name == "accept").count(), 1);
        stream(exchange, "data: a\n\n").await;
    };
    let (event, ()) = tokio::join!(event(&mut answer), serve);
    assert_eq!(event.data(), "a");
}

#[tokio::test]
async fn the_stream_of_a_post_can_resume_by_get() {
    let server = Server::start().await;
    let mut answer = EventSource::post(server.url("/mcp"))
        .header("mcp-session-id", "s")
        .json(&json!({ "id": 1 }))
        .resume_by_get()
        .reconnection_time(Duration::from_millis(1))
        .ends_with(|event| event.data() == "end")
        .open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut answer));
    assert_eq!((exchange.method.as_str(), exchange.body.as_slice()), ("POST", &b"{\"id\":1}"[..]));
    exchange.send("id: 1\ndata:\n\n").await;
    event(&mut answer).await;
    exchange.reset();
    crate::server::lost(&mut answer).await;
    for (id, data) in [("1", "id: 2\ndata: a\n\n"), ("2", "data: end\n\n")] {
        let (mut exchange, _) = tokio::join!(server.open(), next(&mut answer));
        assert_eq!((exchange.method.as_str(), exchange.path.as_str()), ("GET", "/mcp"));
        assert_eq!(exchange.header("last-event-id").as_deref(), Some(id));
        assert_eq!(exchange.header("mcp-session-id").as_deref(), Some("s"));
        assert!(exchange.body.is_empty() && exchange.header("content-type").is_none());
        exchange.send(data).await;
        event(&mut answer).await;
        drop(exchange);
        if id == "1" {
            crate::server::lost(&mut answer).await;
        }
    }
    assert!(matches!(closed(&mut answer).await, CloseReason::Complete));
}

#[tokio::test]
async fn without_an_id_or_a_stream_nothing_resumes_by_get() {
    for body in ["data: a\n\n", "data: a\n\nid: 7\ndata: cut"] {
        let source = |source: EventSource| source.resume_by_get();
        let (seen, reason) = check(source, async |exchange| stream(exchange, body).await).await;
        assert_eq!(seen, ["a"]);
        assert!(!matches!(reason, CloseReason::Failed(_)), "{reason:?}");
    }
    let source = |source: EventSource| source.resume_by_get();
    let (_, reason) = check(source, async |exchange| exchange.answer("503 x", &[], "").await).await;
    assert!(matches!(reason, CloseReason::Failed(ConnectError::Status(_))), "{reason:?}");
}
