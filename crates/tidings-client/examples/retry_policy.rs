//! Decides by status what is retried, and for how long.
//!
//! ```sh
//! cargo run -p tidings-client --example retry_policy
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidings_client::reconnect::{Classify, Policy, StatusClass};
use tidings_client::{EventSource, Incoming};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let requests = Arc::new(AtomicUsize::new(0));
    let router =
        Router::new().route("/", get(move || answer(requests.fetch_add(1, Ordering::Relaxed))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut policy = Policy::default();
    policy.reconnection_time = Duration::from_millis(50);
    policy.backoff_first = Duration::from_millis(50);
    policy.budget = Some(Duration::from_secs(60));
    policy.classify = Classify::new(|status| match status {
        // During a deployment of this service, its path does not exist for a moment.
        StatusCode::NOT_FOUND => StatusClass::Passing,
        // The answer for an account that is over its monthly quota.
        StatusCode::TOO_MANY_REQUESTS => StatusClass::Final,
        status => StatusClass::of(status),
    });
    let mut stream = EventSource::get(url).policy(policy).open();
    while let Some(incoming) = stream.next().await {
        match incoming {
            Incoming::Event(event) => println!("{}", event.data()),
            Incoming::Lost(lost) => println!("  {lost}; reconnecting in {:?}", lost.retry_in),
            Incoming::Closed(reason) => println!("  {reason}"),
            _ => {}
        }
    }
    server.abort();
    Ok(())
}

async fn answer(request: usize) -> Response {
    match request {
        0 => StatusCode::NOT_FOUND.into_response(),
        1 => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response(),
        2 => ([(header::CONTENT_TYPE, "text/event-stream")], "data: here\n\n").into_response(),
        _ => (StatusCode::TOO_MANY_REQUESTS, "over the quota").into_response(),
    }
}
