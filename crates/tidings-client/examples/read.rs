//! Reads an event stream, and logs when it is lost.
//!
//! ```sh
//! cargo run -p tidings-client --example read
//! ```

use tidings_client::EventSource;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Shows lost connections.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let url = "https://stream.wikimedia.org/v2/stream/recentchange".to_owned();
    let url = std::env::args().nth(1).unwrap_or(url);
    let mut stream = EventSource::get(url).open();
    while let Some(event) = stream.next_event().await? {
        println!("{}", event.data());
    }
    Ok(())
}
