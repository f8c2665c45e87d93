//! The time, every second, to every client.
//!
//! ```sh
//! cargo run -p tidings-server --example clock
//! curl -N http://127.0.0.1:3000/clock
//! ```
//!
//! `curl` shows a comment at once, and then every second an event like
//!
//! ```text
//! data: {"utc":"16:25:07"}
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Router, routing::get};
use tidings_server::{EventStream, json};
use tokio_stream::{StreamExt as _, wrappers::IntervalStream};

async fn clock() -> EventStream {
    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)));
    EventStream::new(ticks.map(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (hour, minute, second) = (now / 3600 % 24, now / 60 % 60, now % 60);
        json(&serde_json::json!({ "utc": format!("{hour:02}:{minute:02}:{second:02}") }))
    }))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/clock", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/clock", get(clock))).await
}
