//! Redirects: their targets, and the headers that are kept.

use std::time::Duration;

use tidings_client::{CloseReason, ConnectError, Incoming, RedirectError};

use crate::server::{Server, closed, eager, event, lost, next};

#[tokio::test]
async fn every_kind_is_followed_and_the_next_connection_requests_the_first_url() {
    for status in ["301 x", "302 x", "303 x", "307 x", "308 x"] {
        let server = Server::start().await;
        let mut stream = eager(server.url("/first")).header("x-mine", "1").open();
        for _ in 0..2 {
            let serve = async {
                let exchange = server.next().await;
                assert_eq!(exchange.path, "/first");
                exchange.answer(status, &["location: second"], "").await;
                let exchange = server.open().await;
                assert_eq!(exchange.path, "/second");
                assert_eq!(exchange.header("x-mine").as_deref(), Some("1"));
                exchange
            };
            let (mut exchange, incoming) = tokio::join!(serve, next(&mut stream));
            let Incoming::Open(opened) = incoming else { panic!("{incoming:?}") };
            assert_eq!((opened.url.path(), opened.redirects), ("/second", 1));
            exchange.send("data: a\n\n").await;
            event(&mut stream).await;
            drop(exchange);
            lost(&mut stream).await;
        }
    }
}

#[tokio::test]
async fn another_origin_does_not_get_the_callers_headers_and_nor_does_a_redirect_back() {
    let (ours, theirs) = (Server::start().await, Server::start().await);
    let mut stream = eager(ours.url("/"))
        .header("x-api-key", "secret")
        .bearer("secret")
        .header("x-listed", "1")
        .keep_on_redirect("x-listed".parse().unwrap())
        .last_event_id(tidings_client::EventId::new("7").unwrap())
        .open();
    let serve = async {
        let exchange = ours.next().await;
        assert!(exchange.header("x-api-key").is_some());
        exchange.answer("307 x", &[&format!("location: {}", theirs.url("/"))], "").await;
        let exchange = theirs.next().await;
        let bare = |exchange: &crate::server::Exchange| {
            assert_eq!(exchange.header("x-api-key"), None);
            assert_eq!(exchange.header("authorization"), None);
            assert_eq!(exchange.header("x-listed").as_deref(), Some("1"));
            assert_eq!(exchange.header("last-event-id").as_deref(), Some("7"));
        };
        bare(&exchange);
        exchange.answer("307 x", &[&format!("location: {}", ours.url("/"))], "").await;
        let exchange = ours.open().await;
        bare(&exchange);
        drop(exchange);
        // The next connection begins anew.
        assert!(ours.next().await.header("x-api-key").is_some());
    };
    let read = async {
        assert!(matches!(next(&mut stream).await, Incoming::Open(_)));
        lost(&mut stream).await;
        lost(&mut stream).await;
    };
    tokio::join!(serve, read);
}

#[tokio::test]
async fn a_redirect_loop_ends_after_twenty_redirects() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let serve = async {
        for _ in 0..=tidings_client::REDIRECTS_MAX {
            server.next().await.answer("302 x", &["location: /"], "").await;
        }
    };
    let (reason, ()) = tokio::join!(closed(&mut stream), serve);
    let CloseReason::Failed(ConnectError::Redirect(error)) = reason else { panic!("{reason:?}") };
    assert_eq!(error, RedirectError::TooMany);
    assert!(server.is_left_alone(Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_redirect_without_a_usable_target_closes_the_stream() {
    for headers in [&[][..], &["location:"], &["location: ftp://a.test/"]] {
        let server = Server::start().await;
        let mut stream = eager(server.url("/")).open();
        let serve = async { server.next().await.answer("301 x", headers, "").await };
        let (reason, ()) = tokio::join!(closed(&mut stream), serve);
        let is_said = matches!(reason, CloseReason::Failed(ConnectError::Redirect(_)));
        assert!(is_said, "{reason:?}");
        assert!(server.is_left_alone(Duration::from_millis(50)).await);
    }
}

#[tokio::test]
async fn the_target_of_a_redirect_is_requested_on_a_new_connection() {
    use tokio::io::AsyncReadExt as _;
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let serve = async {
        let mut exchange = server.next().await;
        // The connection could be kept, but the server closes it meanwhile: a request on it gets
        // no answer.
        exchange.send("HTTP/1.1 307 x\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n").await;
        let mut kept = exchange.socket;
        let first = async {
            let mut byte = [0];
            assert!(!matches!(kept.read(&mut byte).await, Ok(1)), "it was used again");
        };
        let second = async { server.open().await };
        let ((), exchange) = tokio::join!(first, second);
        assert_eq!(exchange.path, "/next");
    };
    let (incoming, ()) = tokio::join!(next(&mut stream), serve);
    assert!(matches!(incoming, Incoming::Open(_)), "{incoming:?}");
}

#[tokio::test]
async fn a_request_on_a_closed_kept_connection_is_sent_once_more() {
    use tokio::io::AsyncReadExt as _;
    let server = Server::start().await;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()
        .unwrap();
    let mut policy = tidings_client::reconnect::Policy::default();
    policy.retry_first = false;
    let mut stream = eager(server.url("/")).policy(policy).client(client).open();
    let serve = async {
        let mut exchange = server.next().await;
        exchange.send("HTTP/1.1 307 x\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n").await;
        let mut kept = exchange.socket;
        // The next request uses it, and finds it closed.
        assert_eq!(kept.read_u8().await.unwrap(), b'G');
        drop(kept);
        assert_eq!(server.open().await.path, "/next");
    };
    let (incoming, ()) = tokio::join!(next(&mut stream), serve);
    assert!(matches!(incoming, Incoming::Open(_)), "{incoming:?}");
}
