//! The demo clock at `/sse`: an event every two seconds, so that a newcomer sees events
//! arrive before anybody has published one. It stands in no journal and no topic selects it.

use std::rc::Rc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use tidings_sse::{Event, encode};
use tokio::time::MissedTickBehavior;

use super::gate::Gate;
use super::subscribe::{come_back, stream};
use crate::hub::Hub;
use crate::shard::run::{Command, Local, ShardHandle};

const INTERVAL: Duration = Duration::from_secs(2);

pub(super) async fn clock(State(hub): State<Hub>, method: Method, gate: Gate) -> Response {
    match gate.is_open().then(|| hub.open_clock()).flatten() {
        Some(mut opening) => {
            gate.count(&mut opening);
            stream(&method, opening)
        }
        None => come_back(&hub, &method),
    }
}

/// Starts the clock of a shard that has just begun.
pub(crate) fn start(shard: &ShardHandle) {
    let run = |local: &Rc<Local>| {
        tokio::task::spawn_local(tick(Rc::clone(local)));
    };
    shard.send_first(Command::Run(Box::new(run)));
}

async fn tick(local: Rc<Local>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        local.tick_clock(|out| {
            let now = chrono::Local::now().format("%-I:%M:%S %p");
            let event = Event::new(format!("{{\"message\":\"Current time is {now}\"}}"));
            encode::event(event.as_ref(), out);
        });
    }
}
