//! The progress of a job, for any number of clients, until it is done.
//!
//! ```sh
//! cargo run -p tidings-server --example progress
//! curl -X POST http://127.0.0.1:3000/job
//! curl -N http://127.0.0.1:3000/job
//! ```
//!
//! The second `curl` shows how far the job is, as in `data: {"percent":40}`, whenever that
//! changes. After `data: {"percent":100}` an id follows that marks the end:
//!
//! ```text
//! id: tidings:end
//! ```
//!
//! An `EventSource` reconnects with it, gets a 204, and stops:
//! `curl -i -H 'Last-Event-ID: tidings:end' http://127.0.0.1:3000/job`

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use futures_util::stream;
use tidings_server::{EventStream, LastEventId, json};
use tokio::sync::watch;

type Progress = watch::Sender<u8>;

/// Only the newest value waits for a slow client; older values are not needed.
async fn follow(State(progress): State<Progress>, last: LastEventId) -> EventStream {
    let mut values = progress.subscribe();
    values.mark_changed();
    let events = stream::unfold(Some(values), async |values| {
        let mut values = values?;
        values.changed().await.ok()?;
        let percent = *values.borrow_and_update();
        let more = (percent < 100).then_some(values);
        Some((json(&serde_json::json!({ "percent": percent })), more))
    });
    EventStream::new(events).ends_for_good(&last)
}

async fn begin(State(progress): State<Progress>) -> &'static str {
    tokio::spawn(async move {
        for percent in (0..=100).step_by(20) {
            progress.send_replace(percent);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    "begun\n"
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/job", listener.local_addr()?);
    let app =
        Router::new().route("/job", get(follow).post(begin)).with_state(watch::Sender::new(0));
    axum::serve(listener, app).await
}
