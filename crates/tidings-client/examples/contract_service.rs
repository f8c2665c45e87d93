//! A service through which an external harness tests this client. The harness requests streams
//! over HTTP, and the service calls back with every item.
//!
//! ```sh
//! cargo run -p tidings-client --example contract_service -- --port 8000
//! ```
//!
//! - `GET /`: its name and capabilities
//! - `POST /`: opens a stream, which has its own resource from then on (`Location`)
//! - `POST /streams/N`: a command for it
//! - `DELETE /streams/N`: closes it
//! - `DELETE /`: ends the service

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tidings_client::reconnect::Policy;
use tidings_client::{EventId, EventSource, Incoming, Limits, Subscription};
use tokio::sync::{Mutex, mpsc, watch};

const CAPABILITIES: [&str; 9] = [
    "bom",
    "comments",
    "headers",
    "last-event-id",
    "post",
    "read-timeout",
    "report",
    "restart",
    "server-directed-shutdown-request",
];

/// The harness sends events of 14 MB; a client's limits are not part of the contract.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// How long a callback may take.
const CALLBACK_TIME: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Service {
    streams: Arc<Mutex<HashMap<u64, mpsc::Sender<Command>>>>,
    created: Arc<AtomicU64>,
    client: reqwest::Client,
    stop: watch::Sender<bool>,
}

enum Command {
    Restart,
}

/// The harness's parameters for a stream. It sends `null` for many that it does not use.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    #[serde(default)]
    tag: Option<String>,
    callback_url: String,
    stream_url: String,
    #[serde(default)]
    initial_delay_ms: Option<u64>,
    #[serde(default)]
    read_timeout_ms: Option<u64>,
    #[serde(default)]
    last_event_id: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    headers: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct Told {
    command: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = port()?;
    let (stop, mut stopped) = watch::channel(false);
    let service = Service {
        streams: Arc::default(),
        created: Arc::default(),
        client: reqwest::Client::builder().timeout(CALLBACK_TIME).build()?,
        stop,
    };
    let router = Router::new()
        .route("/", get(describe).post(create).delete(stop_service))
        .route("/streams/{id}", post(command).delete(close))
        .layer(DefaultBodyLimit::disable())
        .with_state(service);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = std::future::IntoFuture::into_future(axum::serve(listener, router));
    tokio::select! {
        done = server => done?,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    Ok(())
}

fn port() -> Result<u16, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(8000),
        (Some("--port"), Some(port)) => Ok(port.parse()?),
        _ => Err("usage: contract_service [--port N]".into()),
    }
}

async fn describe() -> impl IntoResponse {
    Json(json!({ "name": "tidings-client", "capabilities": CAPABILITIES }))
}

async fn stop_service(State(service): State<Service>) -> StatusCode {
    service.stop.send_replace(true);
    StatusCode::NO_CONTENT
}

async fn create(State(service): State<Service>, body: Bytes) -> Response {
    let parameters: Parameters = match serde_json::from_slice(&body) {
        Ok(parameters) => parameters,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let source = match source(&parameters) {
        Ok(source) => source,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let id = service.created.fetch_add(1, Ordering::Relaxed) + 1;
    let (sender, commands) = mpsc::channel(8);
    service.streams.lock().await.insert(id, sender);
    let callbacks = Callbacks {
        client: service.client.clone(),
        url: parameters.callback_url,
        count: 0,
        tag: parameters.tag.unwrap_or_default(),
    };
    tokio::spawn(follow(source.open(), commands, callbacks));
    (StatusCode::CREATED, [(header::LOCATION, format!("/streams/{id}"))]).into_response()
}

fn source(parameters: &Parameters) -> Result<EventSource, String> {
    let method = parameters.method.as_deref().filter(|method| !method.is_empty());
    let method = Method::from_bytes(method.unwrap_or("GET").as_bytes())
        .map_err(|error| error.to_string())?;
    let mut policy = Policy::default();
    if let Some(ms) = parameters.initial_delay_ms {
        policy.reconnection_time = Duration::from_millis(ms);
    }
    if let Some(ms) = parameters.read_timeout_ms {
        policy.silence_max = Some(Duration::from_millis(ms));
    }
    // This harness expects every stream to reconnect, whatever its method.
    let mut source = EventSource::request(method, &parameters.stream_url)
        .policy(policy)
        .limits(Limits::default().line_bytes_max(EVENT_BYTES_MAX).event_bytes_max(EVENT_BYTES_MAX));
    for (name, value) in parameters.headers.iter().flatten() {
        source = source.header(name, value);
    }
    if let Some(body) = &parameters.body {
        source = source.body(body.clone());
    }
    if let Some(id) = parameters.last_event_id.as_deref().filter(|id| !id.is_empty()) {
        source = source.last_event_id(EventId::new(id).map_err(|error| error.to_string())?);
    }
    Ok(source)
}

async fn command(State(service): State<Service>, Path(id): Path<u64>, body: Bytes) -> StatusCode {
    match serde_json::from_slice::<Told>(&body) {
        Ok(told) if told.command == "restart" => {}
        _ => return StatusCode::BAD_REQUEST,
    }
    match service.streams.lock().await.get(&id) {
        Some(stream) if stream.send(Command::Restart).await.is_ok() => StatusCode::NO_CONTENT,
        _ => StatusCode::NOT_FOUND,
    }
}

async fn close(State(service): State<Service>, Path(id): Path<u64>) -> StatusCode {
    match service.streams.lock().await.remove(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

/// Reads the stream until the harness closes it.
async fn follow(
    mut stream: Subscription,
    mut commands: mpsc::Receiver<Command>,
    mut callbacks: Callbacks,
) {
    loop {
        let incoming = tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Restart) => {
                    stream.reconnect_now();
                    continue;
                }
                None => return,
            },
            incoming = stream.next() => incoming,
        };
        let callback = match incoming {
            Some(Incoming::Event(event)) => json!({
                "kind": "event",
                "event": {
                    "type": event.event_type(),
                    "data": event.data(),
                    "id": event.last_event_id(),
                },
            }),
            Some(Incoming::Comment(text)) => json!({ "kind": "comment", "comment": text }),
            Some(Incoming::Lost(lost)) => json!({ "kind": "error", "error": lost.to_string() }),
            Some(Incoming::Closed(reason)) => {
                callbacks.send(&json!({ "kind": "error", "error": reason.to_string() })).await;
                // The harness still has the stream's resource until it deletes it.
                while commands.recv().await.is_some() {}
                return;
            }
            Some(_) => continue,
            None => return,
        };
        callbacks.send(&callback).await;
    }
}

/// Calls the harness back, under one number after another.
struct Callbacks {
    client: reqwest::Client,
    url: String,
    count: u64,
    tag: String,
}

impl Callbacks {
    async fn send(&mut self, callback: &serde_json::Value) {
        self.count += 1;
        let url = format!("{}/{}", self.url, self.count);
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(callback.to_string());
        if let Err(error) = request.send().await {
            eprintln!("[{}] callback {} failed: {error}", self.tag, self.count);
        }
    }
}
