//! A chat: the hub inside a service, with the direct lane, and a page that keeps its history.
//!
//! ```sh
//! cargo run -p tidings-hub --example chat
//! ```
//!
//! Open <http://127.0.0.1:3000> in two windows and write: both show the message, and a window that
//! is opened later shows the earlier messages. The page publishes to the hub directly. The same
//! without a browser:
//!
//! ```sh
//! curl http://127.0.0.1:3000/.well-known/mercure -d topic=urn:chat -d data='Good evening'
//! curl -N 'http://127.0.0.1:3000/.well-known/mercure?topic=urn:chat&lastEventID=earliest'
//! ```
//!
//! The second command shows `data: Good evening`. Ctrl-C ends all streams, and tells each client
//! when to reconnect.

use std::time::Duration;

use axum::{Router, response::Html, routing::get};
use tidings_hub::{Access, Hub};

const PAGE: &str = r#"<!doctype html><title>Chat</title><ul id="said"></ul>
<form id="form"><input name="data" autofocus><button>Say</button></form><script type="module">
const hub = "/.well-known/mercure"
const source = new EventSource(hub + "?topic=urn:chat&lastEventID=earliest")
source.onmessage = (event) => {
  said.append(Object.assign(document.createElement("li"), { textContent: event.data }))
}
form.onsubmit = (event) => {
  event.preventDefault()
  const body = new URLSearchParams({ topic: "urn:chat", data: form.data.value })
  fetch(hub, { method: "POST", body }).then(() => form.reset())
}
</script>"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().access(Access::development()).build().await?;
    let app = Router::new().route("/", get(async || Html(PAGE)));
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tidings_hub::listen(address.parse()?)?;
    println!("http://{}", listener.local_addr()?);
    tokio::select! {
        served = tidings_hub::serve(listener, hub.clone(), app) => served?,
        _ = tokio::signal::ctrl_c() => hub.drain(Duration::from_secs(3)).await,
    }
    hub.idle().await;
    hub.stop().await;
    Ok(())
}
