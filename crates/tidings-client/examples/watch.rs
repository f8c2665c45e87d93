//! Reads an event stream, and reports each loss and reconnect itself.
//!
//! ```sh
//! cargo run -p tidings-client --example watch http://localhost:8081/sse
//! ```

use tidings_client::{EventSource, Incoming};

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap_or("https://example.com/prices".to_owned());
    let mut stream = EventSource::get(url).header("x-api-key", "my key").open();
    while let Some(incoming) = stream.next().await {
        match incoming {
            Incoming::Open(_) => eprintln!("open"),
            Incoming::Event(event) => println!("{} {}", event.event_type(), event.data()),
            Incoming::Lost(lost) => eprintln!("{lost}; reconnecting in {:?}", lost.retry_in),
            Incoming::Closed(reason) => eprintln!("{reason}"),
            _ => {}
        }
    }
}
