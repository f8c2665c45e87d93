//! Reads the answers of language models, from a built-in server that imitates OpenAI's chat
//! completions and Anthropic's Messages.
//!
//! ```sh
//! cargo run -p tidings-client --example language_model
//! ```

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use serde_json::{Value, json};
use tidings_client::{CloseReason, EventSource, end};

const OPENAI: &str = "\
data: {\"choices\":[{\"delta\":{\"content\":\"Good \"}}]}

data: {\"choices\":[{\"delta\":{\"content\":\"tidings\"}}]}

data: [DONE]

";

const ANTHROPIC: &str = "\
event: message_start
data: {\"type\":\"message_start\"}

event: ping
data: {\"type\":\"ping\"}

event: content_block_delta
data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"of great joy\"}}

event: message_stop
data: {\"type\":\"message_stop\"}

";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stream =
        |body: &'static str| post(async move || ([(CONTENT_TYPE, "text/event-stream")], body));
    let router = Router::new()
        .route("/v1/chat/completions", stream(OPENAI))
        .route("/v1/messages", stream(ANTHROPIC))
        // An answer that is cut off.
        .route("/broken", stream(&OPENAI[..60]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    println!("{}", openai(&format!("{origin}/v1/chat/completions")).await?);
    println!("{}", anthropic(&format!("{origin}/v1/messages")).await?);
    // An answer without its last event is not complete. It is not requested again, because that
    // would cost a second time.
    match openai(&format!("{origin}/broken")).await {
        Err(CloseReason::Truncated { .. }) => println!("truncated"),
        other => println!("unexpected: {other:?}"),
    }
    server.abort();
    Ok(())
}

async fn openai(url: &str) -> Result<String, CloseReason> {
    let mut answer = EventSource::post(url)
        .bearer("a key")
        .json(&json!({ "model": "m", "stream": true, "messages": [] }))
        .ends_with(end::openai_chat)
        .open();
    let mut text = String::new();
    while let Some(event) = answer.next_event().await? {
        // The last one, `[DONE]`, is not JSON.
        if let Ok(chunk) = event.json::<Value>() {
            text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        }
    }
    Ok(text)
}

async fn anthropic(url: &str) -> Result<String, CloseReason> {
    let mut answer = EventSource::post(url)
        .header("x-api-key", "a key")
        .header("anthropic-version", "2023-06-01")
        .json(&json!({ "model": "m", "stream": true, "messages": [] }))
        .ends_with(end::anthropic)
        // Such as `overloaded_error`, which follows the 200.
        .fails_with(end::error)
        .open();
    let mut text = String::new();
    while let Some(event) = answer.next_event().await? {
        if event.event_type() == "content_block_delta"
            && let Ok(chunk) = event.json::<Value>()
        {
            text += chunk["delta"]["text"].as_str().unwrap_or_default();
        }
    }
    Ok(text)
}
