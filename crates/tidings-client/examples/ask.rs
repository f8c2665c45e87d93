//! Sends a question to a language model, and prints the events of its answer as they arrive.
//!
//! ```sh
//! URL=https://api.example.com/v1/chat/completions KEY=… cargo run -p tidings-client --example ask
//! ```

use serde_json::json;
use tidings_client::{EventSource, end};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, key) = (std::env::var("URL")?, std::env::var("KEY")?);
    let question = json!({ "role": "user", "content": "What is new?" });
    let request = json!({ "model": "a-model", "stream": true, "messages": [question] });
    let mut answer =
        EventSource::post(url).bearer(key).json(&request).ends_with(end::openai_chat).open();
    while let Some(event) = answer.next_event().await? {
        println!("{}", event.data());
    }
    Ok(())
}
