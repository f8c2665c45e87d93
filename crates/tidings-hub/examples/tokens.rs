//! A language model's answer, word by word, which survives a reload of the page.
//!
//! ```sh
//! cargo run -p tidings-hub --example tokens
//! ```
//!
//! Open <http://127.0.0.1:3000>: the answer appears word by word. Reload meanwhile: the words so
//! far appear at once, and the rest follows. The model is asked only once, however often the page
//! is loaded. Without a browser, `curl -X POST http://127.0.0.1:3000/ask` returns the topic, and
//! `curl -N -G http://127.0.0.1:3000/.well-known/mercure -d lastEventID=earliest
//! --data-urlencode topic=THE-TOPIC` shows `data: Good `, `data: tidings `, …, `event: done`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::{Router, response::Html, routing::get, routing::post};
use tidings_hub::{Access, Hub, Update};
use tidings_sse::Event;

const PAGE: &str = r#"<!doctype html><title>Tokens</title><p id="answer"></p><script type="module">
sessionStorage.topic ??= await (await fetch("/ask", { method: "POST" })).text()
const query = new URLSearchParams({ topic: sessionStorage.topic, lastEventID: "earliest" })
const source = new EventSource("/.well-known/mercure?" + query)
source.onmessage = (event) => { answer.textContent += event.data }
source.addEventListener("done", () => { source.close(); delete sessionStorage.topic })
</script>"#;

/// Begins an answer. Its words are published to the hub, with or without subscribers.
async fn ask(State(hub): State<Hub>) -> String {
    static ANSWERS: AtomicU32 = AtomicU32::new(1);
    let topic = format!("urn:answer:{}", ANSWERS.fetch_add(1, Ordering::Relaxed));
    let answer = topic.clone();
    tokio::spawn(async move {
        // Here your service calls a model, and reads its answer with tidings-client.
        for word in "Good tidings of great joy , which shall be to all people .".split(' ') {
            hub.publish(Update::new(answer.as_str(), Event::new(format!("{word} ")))).await?;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        hub.publish(Update::new(answer, Event::new("").with_type("done")?)).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    });
    topic
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::builder().access(Access::development()).build().await?;
    let app = Router::new().route("/", get(async || Html(PAGE))).route("/ask", post(ask));
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app.with_state(hub.clone()).merge(hub.router())).await?)
}
