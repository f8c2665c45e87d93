//! The servers. All streams of one are made of the same source, whatever the kind.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::routing::get;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use tidings_server::{Event, EventStream};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::scenario::{DATA, Scenario, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `axum::response::Sse` on `axum::serve`.
    Axum,
    /// `EventStream` on `axum::serve`.
    Body,
    /// `EventStream` on `tidings_hub::serve`.
    Direct,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Axum, Kind::Body, Kind::Direct];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Axum => "axum Sse",
            Self::Body => "EventStream",
            Self::Direct => "EventStream on tidings_hub::serve",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name() == name)
    }
}

#[derive(Clone)]
struct Numbers {
    scenario: &'static Scenario,
    sender: broadcast::Sender<u64>,
}

impl Numbers {
    /// What one stream's events are made of.
    fn stream(&self) -> BoxStream<'static, u64> {
        let events = self.scenario.events as u64;
        let broadcast = BroadcastStream::new(self.sender.subscribe())
            .map(|number| number.expect("the channel holds all"));
        match self.scenario.source {
            Source::Broadcast(_) | Source::Once => broadcast.boxed(),
            // Not before all streams are there.
            Source::AtHand => broadcast
                .take(1)
                .flat_map(move |_| futures_util::stream::iter(0..events))
                .chain(futures_util::stream::pending())
                .boxed(),
        }
    }
}

async fn of_axum(
    State(numbers): State<Numbers>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events =
        numbers.stream().map(|number| Ok(sse::Event::default().id(number.to_string()).data(DATA)));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn of_tidings(State(numbers): State<Numbers>) -> EventStream {
    EventStream::new(numbers.stream().map(|number| Event::new(DATA).with_id(&number.to_string())))
}

/// Publishes, now that all streams are there.
async fn go(State(numbers): State<Numbers>) {
    let Numbers { scenario, sender } = numbers;
    // In vain, if nobody is there.
    let send = move |number| drop(sender.send(number));
    match scenario.source {
        Source::Once | Source::AtHand => send(0),
        Source::Broadcast(together) => {
            tokio::spawn(async move {
                let mut pause = tokio::time::interval(Duration::from_millis(10));
                for number in 0..scenario.events {
                    if number % together == 0 {
                        pause.tick().await;
                    }
                    send(number as u64);
                }
            });
        }
    }
}

/// Serves on a port that it prints, until it is killed.
pub(crate) async fn serve(kind: Kind, scenario: &'static Scenario) -> Result<()> {
    let (sender, _) = broadcast::channel(1024);
    let app = match kind {
        Kind::Axum => Router::new().route("/", get(of_axum)),
        Kind::Body | Kind::Direct => Router::new().route("/", get(of_tidings)),
    };
    let app = app.route("/go", get(go)).with_state(Numbers { scenario, sender });
    let listener = tidings_hub::listen(([127, 0, 0, 1], 0).into())?;
    println!("{}", listener.local_addr()?);
    if kind == Kind::Direct {
        let hub = tidings_hub::Hub::builder().shards(1).build().await?;
        return Ok(tidings_hub::serve(listener, hub, app).await?);
    }
    listener.set_nonblocking(true)?;
    Ok(axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await?)
}
