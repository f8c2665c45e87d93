use axum::Router;
use axum::routing::get;
use futures_util::stream;
use tidings_server::{Event, EventStream, LastEventId};

use crate::client;

#[tokio::test]
async fn a_handler_sees_the_last_event_id_wherever_the_client_sends_it() {
    let handler = async |last: LastEventId| {
        EventStream::new(stream::iter([Event::new(last.into_inner().unwrap_or("none".into()))]))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/", get(handler))).await },
    );
    for (path, headers, expected) in [
        ("/", "", "none"),
        ("/", "Last-Event-ID: 7\r\n", "7"),
        ("/?lastEventID=8", "", "8"),
        ("/?last_event_id=9", "", "9"),
        ("/?last_event_id=9", "last-event-id: 7\r\n", "7"),
    ] {
        let mut response = client::get(address, path, headers).await;
        assert_eq!(response.event().await.unwrap().data(), expected);
    }
}
