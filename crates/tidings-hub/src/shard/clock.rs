//! The demo clock: an event every two seconds, so that a newcomer sees events before the first
//! publish. The events are in no journal, and no topic selects them.

use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Local};
use tidings_core::stream::framing::chunk;
use tidings_sse::{Event, encode};
use tokio::time::MissedTickBehavior;

use super::command::Command;
use super::handle::ShardHandle;
use super::thread::ShardThread;
use crate::clock;

const INTERVAL: Duration = Duration::from_secs(2);

/// Starts the clock of a shard that has just begun.
pub(crate) fn start(shard: &ShardHandle) {
    let run = |thread: &Rc<ShardThread>| {
        crate::task::spawn_local(tick(Rc::clone(thread)));
    };
    shard.send_first(Command::Run(Box::new(run)));
}

async fn tick(thread: Rc<ShardThread>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        thread.tick_clock(|out| {
            let now = DateTime::<Local>::from(clock::time()).format("%-I:%M:%S %p");
            let event = Event::new(format!("{{\"message\":\"Current time is {now}\"}}"));
            chunk(out, |out| encode::event(event.as_ref(), out));
        });
    }
}
