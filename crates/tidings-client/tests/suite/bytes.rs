//! Events from bytes that the caller already has.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tidings_client::{ByteStreamExt as _, ReadError, ResponseExt as _, end};

use crate::server::Server;

/// Bytes in pieces of this size.
struct Pieces<'a>(std::slice::Chunks<'a, u8>);

impl<'a> futures_core::Stream for Pieces<'a> {
    type Item = Result<&'a [u8], Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

#[tokio::test]
async fn any_stream_of_bytes_has_events() {
    let bytes = "\u{feff}id: 1\ndata: a\r\n\r\nretry: 5\ndata: b\r\rdata: ☂\n\n".as_bytes();
    for size in 1..=bytes.len() {
        let mut events = Pieces(bytes.chunks(size)).events();
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            seen.push(event.unwrap().into_data());
        }
        assert_eq!(seen, ["a", "b", "☂"]);
        assert_eq!(events.last_event_id(), "1");
        assert_eq!(events.reconnection_time(), Some(std::time::Duration::from_millis(5)));
    }
}

#[tokio::test]
async fn bytes_that_end_early_are_an_error() {
    for (bytes, is_whole) in [("data: a\n\n", true), ("data: a\n", false), ("data: a", false)] {
        let mut events = Pieces(bytes.as_bytes().chunks(3)).events();
        let last = loop {
            match events.next().await {
                Some(Ok(_)) => {}
                last => break last,
            }
        };
        assert_eq!(last.is_none(), is_whole);
        assert!(events.next().await.is_none());
    }
    let mut events = Pieces(b"data: a\n\n".chunks(3)).events().ends_with(end::openai_chat);
    assert!(events.next().await.unwrap().is_ok());
    assert!(matches!(events.next().await, Some(Err(ReadError::Truncated))));
}

#[tokio::test]
async fn a_response_has_events() {
    let server = Server::start().await;
    let serve = async {
        let body = "data: a\n\ndata: [DONE]\n\ndata: b\n\n";
        server.next().await.answer("200 OK", &[], body).await;
    };
    let read = async {
        let response = reqwest::get(server.url("/")).await.unwrap();
        let mut events = response.events().ends_with(end::openai_chat);
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            seen.push(event.unwrap().into_data());
        }
        assert_eq!(seen, ["a", "[DONE]"]);
    };
    tokio::join!(serve, read);
}

#[tokio::test]
async fn a_lenient_end_completes_an_unfinished_event() {
    // The events of a lenient reader, and those of a strict one, which discards the incomplete end.
    for (bytes, lenient, strict) in [
        ("data: a\n\ndata: b", &["a", "b"][..], &["a"][..]),
        ("data: a\n\ndata: b\n", &["a", "b"], &["a"]),
        ("data: a\n\nid: 7\n", &["a"], &["a"]),
        ("data: a\n\n", &["a"], &["a"]),
        ("data: [DONE]", &["[DONE]"], &[]),
    ] {
        for (lenient, expected) in [(true, lenient), (false, strict)] {
            let mut events = Pieces(bytes.as_bytes().chunks(3)).events().lenient_end(lenient);
            let mut seen = Vec::new();
            let mut failed = false;
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => seen.push(event.into_data()),
                    Err(error) => failed = matches!(error, ReadError::Truncated),
                }
            }
            assert_eq!(seen, expected, "{bytes:?}, lenient: {lenient}");
            let is_whole = lenient || bytes.ends_with("\n\n");
            assert_eq!(failed, !is_whole, "{bytes:?}, lenient: {lenient}");
        }
    }
    let mut events =
        Pieces(b"data: [DONE]".chunks(5)).events().lenient_end(true).ends_with(end::openai_chat);
    assert_eq!(events.next().await.unwrap().unwrap().data(), "[DONE]");
    assert!(events.next().await.is_none());
}
