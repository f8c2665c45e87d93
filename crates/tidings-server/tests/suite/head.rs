use futures_util::stream;
use tidings_server::{Event, EventStream};

use crate::client::get;
use crate::server::on_each;

#[test]
fn the_head_is_sent_at_once_and_prevents_buffering() {
    on_each(
        |_| EventStream::new(stream::pending::<Event>()),
        async |address| {
            let mut response = get(address, "/", "").await;
            for line in [
                "HTTP/1.1 200 OK",
                "content-type: text/event-stream",
                "cache-control: no-cache, no-transform",
                "x-accel-buffering: no",
                "x-content-type-options: nosniff",
                "timing-allow-origin: *",
                "transfer-encoding: chunked",
            ] {
                assert!(response.head.contains(line), "{line} is not in {}", response.head);
            }
            assert!(!response.head.contains("content-length"));
            assert_eq!(response.chunk().await.unwrap(), b":\n");
        },
    );
}
