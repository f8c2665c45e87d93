//! Events without async.

use tidings_client::blocking::OpenBlocking as _;
use tidings_client::{CloseReason, EventSource, Incoming};

use crate::server::{PATIENCE, Server, eager};

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_reads_all_and_a_drop_ends_the_connection() {
    let server = Server::start().await;
    let url = server.url("/");
    let reader = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        for incoming in eager(url).open_blocking().unwrap() {
            if let Incoming::Event(event) = incoming {
                seen.push(event.into_data());
            }
            if seen.len() == 300 {
                break;
            }
        }
        seen
    });
    let mut exchange = server.open().await;
    for number in 0..1000 {
        exchange.send(format!("data: {number}\n\n")).await;
    }
    let seen = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    assert_eq!(seen, (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
    exchange.hung_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_does_not_wait_for_a_server_that_is_silent() {
    let server = Server::start().await;
    let url = server.url("/");
    let reader = tokio::task::spawn_blocking(move || {
        let mut stream = eager(url).open_blocking().unwrap();
        assert!(matches!(stream.next(), Some(Incoming::Open(_))));
        assert!(stream.next_within(std::time::Duration::from_millis(10)).is_none());
    });
    let mut exchange = server.open().await;
    tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    exchange.hung_up().await;
}

#[test]
fn the_iterator_ends_with_the_stream() {
    let incoming: Vec<_> = EventSource::get("nowhere").open_blocking().unwrap().collect();
    assert!(matches!(incoming[..], [Incoming::Closed(CloseReason::Failed(_))]));
}
