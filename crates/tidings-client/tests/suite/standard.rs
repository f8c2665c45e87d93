//! A GET in the manner of the standard's `EventSource`.

use std::time::Duration;

use tidings_client::reconnect::{Loss, ReadyState};
use tidings_client::{CloseReason, ConnectError, EventId, EventSource, Incoming};

use crate::server::{Server, closed, eager, event, lost, next};

#[tokio::test]
async fn the_request_is_that_of_an_event_source() {
    let server = Server::start().await;
    let mut stream = EventSource::get(server.url("/a?b=c")).header("x-mine", "1").open();
    assert_eq!(stream.ready_state(), ReadyState::Connecting);
    let (mut exchange, incoming) = tokio::join!(server.open(), next(&mut stream));
    assert!(matches!(incoming, Incoming::Open(opened) if opened.redirects == 0));
    assert_eq!(stream.ready_state(), ReadyState::Open);
    assert_eq!((exchange.method.as_str(), exchange.path.as_str()), ("GET", "/a?b=c"));
    let mut headers: Vec<_> = exchange.headers.iter().map(|(name, _)| name.as_str()).collect();
    headers.sort_unstable();
    let expected = ["accept", "accept-encoding", "cache-control", "host", "user-agent", "x-mine"];
    assert_eq!(headers, expected);
    assert_eq!(exchange.header("accept").unwrap(), "text/event-stream");
    assert_eq!(exchange.header("cache-control").unwrap(), "no-cache");
    assert!(exchange.header("user-agent").unwrap().starts_with("tidings-client/"));
    exchange.send("event: price\nid: 7\ntopic: x\ndata: a\ndata: b\n\n: hello\n").await;
    let received = event(&mut stream).await;
    assert_eq!((received.event_type(), received.data()), ("price", "a\nb"));
    assert_eq!((received.id(), received.last_event_id()), (Some("7"), "7"));
    assert_eq!(received.topics().collect::<Vec<_>>(), ["x"]);
    assert!(matches!(next(&mut stream).await, Incoming::Comment(text) if text == " hello"));
    drop(stream);
    exchange.hung_up().await;
}

#[tokio::test]
async fn it_reconnects_with_the_last_event_id_until_that_is_reset() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let sent = [
        ("id: 1\ndata: a\n\ndata: b\n\n", None, "1"),
        // An incomplete event has no effect, and neither has its id.
        ("data: c\n\nid: 2\ndata: d\n", Some("1"), "1"),
        // An id without an event counts.
        ("data: e\n\nid: 3 ☂\n\n", Some("1"), "1"),
        ("data: f\n\nid\n\n", Some("3 ☂"), "3 ☂"),
        ("data: g\n\n", None, ""),
    ];
    for (bytes, asked, id) in sent {
        let (mut exchange, incoming) = tokio::join!(server.open(), next(&mut stream));
        assert!(matches!(incoming, Incoming::Open(_)));
        assert_eq!(exchange.header("last-event-id").as_deref(), asked);
        exchange.send(bytes).await;
        assert_eq!(event(&mut stream).await.last_event_id(), id);
        drop(exchange);
        lost(&mut stream).await;
    }
}

#[tokio::test]
async fn an_end_and_a_lost_connection_are_distinguished_and_both_reconnect() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
    drop(exchange);
    assert_eq!(lost(&mut stream).await.loss, Loss::Ended);
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("data: a\n\n").await;
    event(&mut stream).await;
    exchange.send("data: half").await;
    drop(exchange);
    assert_eq!(lost(&mut stream).await.loss, Loss::Unfinished);
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("data: a\n\n").await;
    event(&mut stream).await;
    exchange.send("id: 2\ndata: half").await;
    exchange.reset();
    let lost = lost(&mut stream).await;
    assert_eq!(lost.loss, Loss::Broken);
    assert!(lost.error.is_some());
    let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("last-event-id"), None);
}

#[tokio::test]
async fn a_stream_can_begin_after_an_event_that_is_known() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).last_event_id(EventId::new("41").unwrap()).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("last-event-id").as_deref(), Some("41"));
    exchange.send("data: a\n\n").await;
    assert_eq!(event(&mut stream).await.last_event_id(), "41");
}

#[tokio::test]
async fn a_204_closes_the_stream() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (reason, ()) = tokio::join!(closed(&mut stream), async {
        server.next().await.answer("204 No Content", &[], "").await
    });
    assert!(matches!(reason, CloseReason::NoContent) && reason.is_success());
    assert_eq!(stream.ready_state(), ReadyState::Closed);
    assert!(server.is_left_alone(Duration::from_millis(100)).await);
}

/// The client's reaction to a 200 with this content type.
async fn check_type(headers: &[&str]) -> Option<CloseReason> {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (incoming, ()) = tokio::join!(next(&mut stream), async {
        server.next().await.answer("200 OK", headers, "data: a\n\n").await;
    });
    match incoming {
        Incoming::Open(_) => {
            assert_eq!(event(&mut stream).await.data(), "a");
            None
        }
        Incoming::Closed(reason) => Some(reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_content_type_is_compared_without_its_parameters() {
    for good in [
        "text/event-stream",
        "text/event-stream;",
        "text/event-stream; charset=utf-8",
        "text/event-stream;charset=windows-1252",
        "Text/Event-Stream ; x",
        "text/event-stream, text/event-stream",
        "text/html, text/event-stream",
        "text/event-stream,",
    ] {
        assert!(check_type(&[&format!("content-type: {good}")]).await.is_none(), "{good}");
    }
    let twice = ["content-type: text/event-stream", "content-type: text/event-stream"];
    assert!(check_type(&twice).await.is_none());
    for bad in [
        "text/event-stream, text/html",
        "text/event-streams",
        "text/plain",
        "text/html; a=text/event-stream",
        "x",
    ] {
        let reason = check_type(&[&format!("content-type: {bad}")]).await.unwrap();
        let CloseReason::Failed(ConnectError::ContentType { found: Some(found), body }) = reason
        else {
            panic!("{reason:?}")
        };
        assert_eq!((found.as_str(), &*body), (bad, b"data: a\n\n".as_slice()));
    }
    let reason = check_type(&[]).await.unwrap();
    assert!(reason.to_string().contains("it has no content type"), "{reason}");
}

#[tokio::test]
async fn a_temporary_status_is_retried_after_its_retry_after() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let answer = async {
        server.next().await.answer("503 Service Unavailable", &["retry-after: 1"], "busy").await;
    };
    let (lost, ()) = tokio::join!(lost(&mut stream), answer);
    assert!(lost.retry_in >= Duration::from_secs(1));
    assert_eq!(
        lost.to_string(),
        "the server refused the request temporarily: the server answered 503 Service Unavailable: busy"
    );
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("data: a\n\n").await;
    event(&mut stream).await;
}

#[tokio::test]
async fn any_other_status_is_an_error_with_the_servers_whole_answer() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let answer = async {
        let headers = ["content-type: application/json", "x-request-id: 9"];
        server.next().await.answer("403 Forbidden", &headers, "{\"error\":\"no\"}").await;
    };
    let (reason, ()) = tokio::join!(closed(&mut stream), answer);
    let CloseReason::Failed(error) = reason else { panic!("{reason:?}") };
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.status.as_u16(), 403);
    assert_eq!(refusal.headers["x-request-id"], "9");
    assert_eq!(refusal.json().unwrap()["error"], "no");
}

#[tokio::test]
async fn a_refusals_body_is_bounded() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let answer = async {
        server.next().await.answer("400 Bad Request", &[], &"x".repeat(1 << 20)).await;
    };
    let (reason, ()) = tokio::join!(closed(&mut stream), answer);
    let CloseReason::Failed(error) = reason else { panic!("{reason:?}") };
    assert_eq!(error.refusal().unwrap().body.len(), tidings_client::REFUSAL_BYTES_MAX);
}

#[tokio::test]
async fn it_can_be_made_to_reconnect_and_to_close() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).reconnection_time(Duration::from_secs(3600)).open();
    let (mut first, _) = tokio::join!(server.open(), next(&mut stream));
    first.send("id: 1\ndata: a\n\n").await;
    event(&mut stream).await;
    stream.reconnect_now();
    first.hung_up().await;
    let (mut second, incoming) = tokio::join!(server.open(), next(&mut stream));
    assert!(matches!(incoming, Incoming::Open(_)), "no loss is reported that was asked for");
    assert_eq!(second.header("last-event-id").as_deref(), Some("1"));
    stream.close();
    second.hung_up().await;
    assert!(matches!(closed(&mut stream).await, CloseReason::Closed));
}

#[tokio::test]
async fn a_reader_that_gives_up_waiting_loses_nothing() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let serve = async {
        let mut exchange = server.open().await;
        for number in 0..200 {
            exchange.send(format!("id: {number}\ndata: {number}\n\n")).await;
            tokio::task::yield_now().await;
        }
        exchange
    };
    let read = async {
        let mut seen = 0;
        while seen < 200 {
            // Dropped wherever it is.
            tokio::select! {
                biased;
                incoming = stream.next() => if let Some(Incoming::Event(event)) = incoming {
                    assert_eq!(event.data(), seen.to_string());
                    seen += 1;
                },
                () = tokio::task::yield_now() => {}
            }
        }
    };
    tokio::join!(serve, crate::server::soon("all events", read));
}

#[tokio::test]
async fn a_slow_reader_makes_the_server_wait() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    let line = format!("data: {}\n\n", "x".repeat(1 << 20));
    let mut sent = 0;
    let send = async {
        loop {
            use tokio::io::AsyncWriteExt as _;
            sent += exchange.socket.write(line.as_bytes()).await.unwrap();
        }
    };
    // It stops once the buffers in between are full.
    assert!(tokio::time::timeout(Duration::from_millis(300), send).await.is_err());
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn repeats_are_dropped_by_their_id_on_request() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).drop_repeats(8).open();
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange
        .send("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 1\ndata: a\n\ndata: x\n\nid: 3\ndata: c\n\n")
        .await;
    for expected in ["a", "b", "x", "c"] {
        assert_eq!(event(&mut stream).await.data(), expected);
    }
}

#[tokio::test]
async fn an_invalid_url_or_header_is_reported_when_the_stream_is_opened() {
    for source in [
        EventSource::get("nowhere"),
        EventSource::get("ftp://a.test/"),
        EventSource::get("http://a.test/").header("a b", "c"),
        EventSource::get("http://a.test/").header("a", "c\nd"),
    ] {
        let reason = closed(&mut source.clone().open()).await;
        assert!(matches!(reason, CloseReason::Failed(_)), "{reason:?}");
        assert!(!reason.to_string().contains('\n'));
        closed(&mut source.open()).await;
    }
}
