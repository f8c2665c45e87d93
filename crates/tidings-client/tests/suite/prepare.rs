//! Requests that are made ready before each attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tidings_client::{CloseReason, ConnectError};

use crate::server::{Server, closed, eager, event, lost, next};

#[tokio::test]
async fn each_connection_has_its_own_token() {
    let server = Server::start().await;
    let tokens = Arc::new(AtomicU32::new(0));
    let made = Arc::clone(&tokens);
    let mut stream = eager(server.url("/old"))
        .prepare(move |mut request| {
            let token = made.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                request.headers_mut().insert("x-token", token.into());
                request.url_mut().set_path(&format!("/{token}"));
                Ok(request)
            }
        })
        .open();
    for expected in ["0", "1", "2"] {
        let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
        assert_eq!(exchange.header("x-token").as_deref(), Some(expected));
        assert_eq!(exchange.path, format!("/{expected}"));
        exchange.send("data: a\n\n").await;
        event(&mut stream).await;
        drop(exchange);
        lost(&mut stream).await;
    }
}

#[tokio::test]
async fn an_expired_token_is_renewed_once() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/"))
        .prepare(async |mut request: tidings_client::Request| {
            if request.refused().is_some_and(|status| status == 401) {
                request.headers_mut().insert("x-token", "fresh".parse()?);
            }
            Ok(request)
        })
        .open();
    let serve = async {
        server.next().await.answer("401 Unauthorized", &[], "").await;
        let exchange = server.next().await;
        assert_eq!(exchange.header("x-token").as_deref(), Some("fresh"));
        exchange.answer("401 Unauthorized", &[], "").await;
    };
    let (reason, ()) = tokio::join!(closed(&mut stream), serve);
    let CloseReason::Failed(error) = reason else { panic!("{reason:?}") };
    assert_eq!(error.refusal().unwrap().status, 401);
}

#[tokio::test]
async fn without_a_way_to_renew_it_a_401_is_final() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/")).open();
    let serve = async { server.next().await.answer("401 Unauthorized", &[], "").await };
    let (reason, ()) = tokio::join!(closed(&mut stream), serve);
    assert!(matches!(reason, CloseReason::Failed(ConnectError::Status(_))), "{reason:?}");
}

#[tokio::test]
async fn a_token_that_is_unavailable_is_requested_again() {
    let server = Server::start().await;
    let mut stream = eager(server.url("/"))
        .prepare(async |request: tidings_client::Request| match request.attempt() {
            1 => Err("no token today".into()),
            _ => Ok(request),
        })
        .open();
    let lost = lost(&mut stream).await;
    assert_eq!(lost.attempt, 2);
    let cause = std::error::Error::source(lost.error.as_ref().unwrap()).unwrap().to_string();
    assert_eq!(cause, "no token today");
    let (mut exchange, _) = tokio::join!(server.open(), next(&mut stream));
    exchange.send("data: a\n\n").await;
    event(&mut stream).await;
}
