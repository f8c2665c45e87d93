//! Compressed answers to requests for uncompressed ones.

use tidings_client::{
    CloseReason, ConnectError, Event, EventSource, PublishError, Publisher, Update,
};

use crate::server::{Server, closed, eager, event};

#[tokio::test]
async fn a_compressed_answer_closes_the_stream_and_names_its_coding() {
    for (header, coding) in [
        ("content-encoding: gzip", "gzip"),
        ("content-encoding: GZip", "gzip"),
        ("content-encoding: br", "br"),
        ("content-encoding: zstd", "zstd"),
        ("content-encoding: identity, deflate", "deflate"),
        ("transfer-encoding: gzip, chunked", "gzip"),
        ("transfer-encoding: gzip", "gzip"),
        ("transfer-encoding: chunked, chunked", "chunked"),
    ] {
        for content_type in ["text/event-stream", "application/json"] {
            let server = Server::start().await;
            let mut stream = eager(server.url("/")).open();
            let serve = async {
                let exchange = server.next().await;
                assert_eq!(exchange.header("accept-encoding").as_deref(), Some("identity"));
                let content_type = format!("content-type: {content_type}");
                exchange.answer("200 OK", &[&content_type, header], "3\r\n\x1f\x08\x08\r\n").await;
            };
            let (reason, ()) = tokio::join!(closed(&mut stream), serve);
            let CloseReason::Failed(ConnectError::Encoded { coding: found }) = &reason else {
                panic!("{header}: {reason:?}")
            };
            assert_eq!(found, coding);
            assert!(reason.to_string().contains(coding), "{reason}");
        }
    }
}

#[tokio::test]
async fn an_unknown_coding_is_ignored() {
    for header in [
        "content-encoding: identity",
        "content-encoding: none",
        "content-encoding: utf-8",
        "content-encoding:",
        "transfer-encoding: identity",
    ] {
        let server = Server::start().await;
        let mut stream = eager(server.url("/")).open();
        let serve = async {
            let headers = ["content-type: text/event-stream", header];
            server.next().await.answer("200 OK", &headers, "data: a\n\n").await;
        };
        let (event, ()) = tokio::join!(event(&mut stream), serve);
        assert_eq!(event.data(), "a", "{header}");
    }
}

#[tokio::test]
async fn the_text_of_a_compressed_refusal_is_not_shown() {
    let server = Server::start().await;
    let mut stream = EventSource::post(server.url("/")).open();
    let serve = async {
        let exchange = server.next().await;
        exchange.answer("403 Forbidden", &["content-encoding: gzip"], "\x1f\x08").await;
    };
    let (reason, ()) = tokio::join!(closed(&mut stream), serve);
    assert_eq!(
        reason.to_string(),
        "the server answered 403 Forbidden: (the reason is compressed with gzip)"
    );
}

#[tokio::test]
async fn a_caller_may_request_another_coding_and_read_the_answer_unchanged() {
    let server = Server::start().await;
    let source = EventSource::get(server.url("/")).header("accept-encoding", "gzip");
    let serve = async {
        let exchange = server.next().await;
        assert_eq!(exchange.header("accept-encoding").as_deref(), Some("gzip"));
        exchange.answer("201 Created", &["content-encoding: gzip"], "zipped").await;
    };
    let (answer, ()) = tokio::join!(source.answer(), serve);
    let mut answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), answer.coding().as_deref()), (201, Some("gzip")));
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "zipped");
    assert!(answer.chunk().await.unwrap().is_none());
}

#[tokio::test]
async fn a_publisher_is_told_that_its_update_was_accepted() {
    let server = Server::start().await;
    let publisher = Publisher::to(&server.url("/")).unwrap();
    let serve = async {
        let exchange = server.next().await;
        assert_eq!(exchange.header("accept-encoding").as_deref(), Some("identity"));
        exchange.answer("200 OK", &["content-encoding: gzip"], "\x1f\x08").await;
    };
    let update = Update::new("a", Event::new("b"));
    let (published, ()) = tokio::join!(publisher.publish(&update), serve);
    let Err(PublishError::Encoded { coding }) = published else { panic!("{published:?}") };
    assert_eq!(coding, "gzip");
}
