//! The hub inside an axum service that publishes what it saves.
//!
//! ```sh
//! cargo run -p tidings-hub --example books
//! curl -X POST http://127.0.0.1:3000/books/1 -d 'Good tidings'
//! ```
//!
//! Open <http://127.0.0.1:3000> before the second command: the page shows the book.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, response::Html, routing::get, routing::post};
use tidings_hub::{Access, Hub, Update};
use tidings_sse::Event;

const PAGE: &str = r#"<!doctype html><title>Books</title><ul></ul><script type="module">
const topic = encodeURIComponent("https://example.com/books/{id}")
const source = new EventSource("/.well-known/mercure?topic=" + topic)
source.onmessage = ({ data }) => {
  document.querySelector("ul").appendChild(document.createElement("li")).textContent = data
}
</script>"#;

/// Saves a book, and tells all subscribers.
async fn save(
    State(hub): State<Hub>,
    Path(id): Path<u32>,
    book: String,
) -> Result<String, (StatusCode, String)> {
    let topic = format!("https://example.com/books/{id}");
    match hub.publish(Update::new(topic, Event::new(book))).await {
        Ok(id) => Ok(id.to_string()),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Everybody may subscribe. Only this service publishes.
    let hub = Hub::builder().access(Access::default().anonymous_subscribe(true)).build().await?;
    let app = Router::new().route("/", get(async || Html(PAGE))).route("/books/{id}", post(save));
    let app = app.with_state(hub.clone()).merge(hub.router());
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
