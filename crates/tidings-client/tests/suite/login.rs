//! A login in a URL.

use tidings_client::{Event, EventSource, Incoming, Publisher, Update};

use crate::server::{Server, eager, lost, next};

/// `user:p@ss` in base64.
const BASIC: Option<&str> = Some("Basic dXNlcjpwQHNz");

/// The server's URL with a login in it.
fn with_login(server: &Server, path: &str) -> String {
    server.url(path).replace("http://", "http://user:p%40ss@")
}

#[tokio::test]
async fn a_login_is_sent_with_every_connection_and_never_shown() {
    let server = Server::start().await;
    let mut stream = eager(with_login(&server, "/x")).open();
    for _ in 0..2 {
        let (exchange, incoming) = tokio::join!(server.open(), next(&mut stream));
        assert_eq!(exchange.header("authorization").as_deref(), BASIC);
        assert_eq!(exchange.path, "/x");
        let Incoming::Open(opened) = incoming else { panic!("{incoming:?}") };
        assert_eq!(opened.url.as_str(), server.url("/x"));
        drop(exchange);
        lost(&mut stream).await;
    }
    let shown = format!("{stream:?}");
    assert!(!shown.contains("p%40ss") && !shown.contains("p@ss"), "{shown}");
}

#[tokio::test]
async fn a_login_is_sent_to_its_origin_only() {
    let (ours, theirs) = (Server::start().await, Server::start().await);
    let mut stream = eager(with_login(&ours, "/")).open();
    let serve = async {
        let exchange = ours.next().await;
        assert_eq!(exchange.header("authorization").as_deref(), BASIC);
        exchange.answer("302 x", &["location: /next"], "").await;
        let exchange = ours.next().await;
        assert_eq!(exchange.header("authorization").as_deref(), BASIC);
        exchange.answer("307 x", &[&format!("location: {}", theirs.url("/"))], "").await;
        let exchange = theirs.next().await;
        assert_eq!(exchange.header("authorization"), None);
        exchange.answer("307 x", &[&format!("location: {}", ours.url("/"))], "").await;
        let exchange = ours.open().await;
        assert_eq!(exchange.header("authorization"), None);
    };
    let (incoming, ()) = tokio::join!(next(&mut stream), serve);
    assert!(matches!(incoming, Incoming::Open(_)), "{incoming:?}");
}

#[tokio::test]
async fn a_header_takes_precedence_over_a_login() {
    let server = Server::start().await;
    let mut stream = eager(with_login(&server, "/")).bearer("token").open();
    let (exchange, _) = tokio::join!(server.open(), next(&mut stream));
    assert_eq!(exchange.header("authorization").as_deref(), Some("Bearer token"));
}

#[tokio::test]
async fn a_publisher_sends_a_login_too() {
    let server = Server::start().await;
    let update = Update::new("a", Event::new("b"));
    let publisher = Publisher::to(&with_login(&server, "/")).unwrap();
    for (publisher, expected) in
        [(publisher.clone(), BASIC), (publisher.token("t").unwrap(), Some("Bearer t"))]
    {
        let serve = async {
            let exchange = server.next().await;
            assert_eq!(exchange.header("authorization").as_deref(), expected);
            exchange.answer("200 OK", &[], "{\"id\":\"7\"}").await;
        };
        let (published, ()) = tokio::join!(publisher.publish(&update), serve);
        assert_eq!(published.unwrap().as_str(), "7");
    }
}

#[tokio::test]
async fn an_invalid_url_is_shown_without_its_login() {
    let mut stream = EventSource::get("http://user:secret@a.test:x/").open();
    let incoming = next(&mut stream).await;
    let Incoming::Closed(reason) = incoming else { panic!("{incoming:?}") };
    assert!(!reason.to_string().contains("secret"), "{reason}");
    let error = Publisher::to("http://user:secret@a.test:x/").unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}
