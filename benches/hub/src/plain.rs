//! The hub that most would write with axum: a broadcast channel, and axum's own streams. It
//! takes the words of Mercure, so that the same load can be put on it, and sends what Tidings
//! sends, byte for byte but for the ids' digits.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Form, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures_util::future::ready;
use futures_util::stream::once;
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Events that a subscriber may be behind before it loses some.
const CAPACITY: usize = 4096;

type Channel = broadcast::Sender<Arc<Published>>;

struct Published {
    id: String,
    data: String,
}

#[derive(Deserialize)]
struct Fields {
    data: String,
}

/// Serves on a free port, which is printed.
pub(crate) fn serve() -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let channel: Channel = broadcast::channel(CAPACITY).0;
        let router = Router::new()
            .route("/.well-known/mercure", get(subscribe).post(publish))
            .with_state(channel);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        axum::serve(listener, router).await?;
        Ok(())
    })
}

/// All events: the load has one topic.
async fn subscribe(
    State(channel): State<Channel>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(channel.subscribe()).filter_map(async |event| {
        let event = event.ok()?;
        Some(Ok(Event::default().id(&event.id).data(&event.data)))
    });
    // Without a first byte nginx keeps the head to itself, here until the first keep-alive.
    let first = once(ready(Ok(Event::default().comment("open"))));
    Sse::new(first.chain(events)).keep_alive(KeepAlive::default())
}

async fn publish(State(channel): State<Channel>, Form(fields): Form<Fields>) -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let id = format!("tidings:aaaaaa.{number}.aaaa");
    // Nobody may be there.
    let _ = channel.send(Arc::new(Published { id: id.clone(), data: fields.data }));
    id
}
