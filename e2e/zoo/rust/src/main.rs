//! The event-stream clients that are written in Rust, each with the few lines that its readme tells
//! its users to write. See ../README.md for what is read and what is printed.

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, SSE};
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use sse_stream::SseStream;
use tokio::runtime::Builder;

/// How long a loop of one's own waits before it asks again.
const LOOP: Duration = Duration::from_millis(250);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// An event, as a client hands it over.
struct Event {
    kind: String,
    id: Option<String>,
    data: Option<String>,
}

fn main() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let wanted: Value = serde_json::from_str(&line).expect("the driver writes JSON");
        let word = |name: &str| wanted[name].as_str().unwrap_or_default().to_owned();
        let (stream, client, url) = (word("stream"), word("client"), word("url"));
        runtime.spawn(async move {
            let told = stream.clone();
            let tell = move |Event { kind, id, data }: Event| {
                let kind = if kind.is_empty() { "message" } else { &kind };
                println!("{}", json!({"stream": told, "type": kind, "id": id, "data": data}));
            };
            let error = match read(&client, url, tell).await {
                Ok(()) => "it has ended".to_owned(),
                Err(error) => error.to_string(),
            };
            println!("{}", json!({"stream": stream, "error": error}));
        });
    }
}

async fn read(client: &str, url: String, tell: impl Fn(Event)) -> Result<()> {
    match client {
        "eventsource-client (Rust)" => launchdarkly(&url, tell).await,
        "reqwest-eventsource" => reqwest_eventsource(url, tell).await,
        "eventsource-stream" => again(url, tell, eventsource_stream).await,
        "sse-stream" => again(url, tell, sse_stream).await,
        _ => Err(format!("there is no client {client} here").into()),
    }
}

async fn launchdarkly(url: &str, tell: impl Fn(Event)) -> Result<()> {
    let client = ClientBuilder::for_url(url)?.build_http();
    let mut stream = client.stream();
    while let Some(item) = stream.next().await {
        // It says so when it has lost its connection, and makes another.
        if let Ok(SSE::Event(event)) = item {
            tell(Event { kind: event.event_type, id: event.id, data: Some(event.data) });
        }
    }
    Ok(())
}

async fn reqwest_eventsource(url: String, tell: impl Fn(Event)) -> Result<()> {
    let mut source = reqwest_eventsource::EventSource::get(url);
    while let Some(item) = source.next().await {
        if let Ok(reqwest_eventsource::Event::Message(event)) = item {
            tell(Event { kind: event.event, id: Some(event.id), data: Some(event.data) });
        }
    }
    Ok(())
}

fn eventsource_stream(response: reqwest::Response) -> impl Stream<Item = Result<Event>> {
    response.bytes_stream().eventsource().err_into().map_ok(|event| Event {
        kind: event.event,
        id: Some(event.id),
        data: Some(event.data),
    })
}

fn sse_stream(response: reqwest::Response) -> impl Stream<Item = Result<Event>> {
    SseStream::from_bytes_stream(response.bytes_stream()).err_into().map_ok(|event| Event {
        kind: event.event.unwrap_or_default(),
        id: event.id,
        data: event.data,
    })
}

/// What only parses, in the loop that one writes around it: ask again with the id of the last
/// event that came whole.
async fn again<S: Stream<Item = Result<Event>>>(
    url: String,
    tell: impl Fn(Event),
    parse: impl Fn(reqwest::Response) -> S,
) -> Result<()> {
    let client = reqwest::Client::new();
    let mut last = String::new();
    loop {
        let mut request = client.get(&url);
        if !last.is_empty() {
            request = request.header("Last-Event-ID", &last);
        }
        if let Ok(response) = request.send().await {
            let mut events = std::pin::pin!(parse(response));
            while let Some(Ok(event)) = events.next().await {
                last = event.id.clone().unwrap_or(last);
                tell(event);
            }
        }
        tokio::time::sleep(LOOP).await;
    }
}
