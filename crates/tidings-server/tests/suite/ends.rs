use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings_server::{BoxError, Event, EventId, EventStream, LastEventId};

use crate::client::{End, get};
use crate::server::{on_each, start_http2};

fn two() -> impl futures_util::Stream<Item = Result<Event, BoxError>> {
    stream::iter(["1", "2"].map(|id| Ok(Event::new(id).with_id(id)?)))
}

#[test]
fn the_streams_end_is_a_clean_end() {
    on_each(
        |_| EventStream::new(two()),
        async |address| {
            let (events, end) = get(address, "/", "").await.rest().await;
            assert_eq!((events.len(), end), (2, End::Clean));
        },
    );
}

#[test]
fn a_failure_cuts_the_stream_after_everything_before_it() {
    let answer = |_| EventStream::new(two().chain(stream::iter([Err("the source broke".into())])));
    on_each(answer, async |address| {
        let mut response = get(address, "/", "").await;
        let (events, end) = response.rest().await;
        assert_eq!((events.len(), end), (2, End::Cut));
        assert!(!response.body.ends_with(b"broke"), "the error is not sent");
    });
}

#[tokio::test]
async fn over_http2_a_failure_resets_the_stream_and_the_end_does_not() {
    for fails in [false, true] {
        let address = start_http2(move |_| {
            let failure = fails.then(|| Err("the source broke".into()));
            EventStream::new(two().chain(stream::iter(failure)))
        })
        .await;
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("http://localhost/")
            .body(http_body_util::Empty::<bytes::Bytes>::new());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        let failed = loop {
            match body.frame().await {
                None => break false,
                Some(Err(_)) => break true,
                Some(Ok(frame)) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            }
        };
        assert_eq!(failed, fails);
        assert!(bytes.ends_with(b"data: 2\nid: 2\n\n"));
    }
}

#[test]
fn a_client_that_returns_the_id_of_the_end_gets_204() {
    on_each(
        |last| EventStream::new(two()).ends_for_good(&last),
        async |address| {
            let mut first = get(address, "/", "").await;
            let (events, end) = first.rest().await;
            assert_eq!((events.len(), end), (2, End::Clean));
            let id = first.last_event_id().to_owned();
            let again = get(address, "/", &format!("last-event-id: {id}\r\n")).await;
            assert_eq!(again.status(), "204");
            assert!(!again.head.contains("event-stream"), "{}", again.head);
            // A client that was cut before the end is not told that the stream has ended.
            let before = get(address, "/", "last-event-id: 2\r\n").await;
            assert_eq!(before.status(), "200");
        },
    );
}

#[test]
fn the_reconnection_time_comes_first() {
    let answer = |_| EventStream::new(two()).retry(Duration::from_millis(1500));
    on_each(answer, async |address| {
        let mut response = get(address, "/", "").await;
        assert!(response.chunk().await.unwrap().starts_with(b":\nretry: 1500\ndata: 1\n"));
    });
}

#[test]
fn a_last_event_with_the_ends_id_is_the_end_and_nothing_follows_it() {
    let last_of = || {
        let events = [Event::new("1"), Event::new("2").with_id(LastEventId::END).unwrap()];
        stream::iter(events)
    };
    on_each(
        move |last| EventStream::new(last_of()).ends_for_good(&last),
        async |address| {
            let mut first = get(address, "/", "").await;
            let mut bytes = Vec::new();
            while let Ok(chunk) = first.chunk().await {
                bytes.extend_from_slice(&chunk);
            }
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.ends_with("data: 1\n\ndata: 2\nid: tidings:end\n\n"), "{text}");
            let again = get(address, "/", "last-event-id: tidings:end\r\n").await;
            assert_eq!(again.status(), "204");
        },
    );
}

#[test]
fn a_browser_receives_its_first_position_and_so_does_a_client_that_asks() {
    let answer = |last: LastEventId| {
        let place = EventId::new("7").unwrap();
        EventStream::new(two()).begins_after(place, &last)
    };
    const BROWSERS: &str = "accept: text/event-stream\r\ncache-control: no-cache\r\n\
                            sec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\n";
    on_each(answer, async |address| {
        for (path, headers, told) in [
            ("/", BROWSERS, true),
            ("/?tidings=place", "", true),
            ("/", "", false),
            ("/", "accept: text/event-stream\r\n", false),
        ] {
            let mut response = get(address, path, headers).await;
            let first = response.chunk().await.unwrap();
            let begin: &[u8] = if told { b":\nid: 7\n\ndata: 1\n" } else { b":\ndata: 1\n" };
            assert!(first.starts_with(begin), "{path} {headers}: {first:?}");
        }
    });
}
