//! Follows the stream with one consumer. After an interruption a new consumer begins at the newest
//! update that was read, and compares it with the update that the stream has there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::journal::keys::Keys;
use tidings_core::limits::LOADED_BYTES;
use tidings_core::model::{HubId, Position, Record};

use super::connection::{Failure, Pause, REQUEST_TIME};
use super::message::Message;
use super::shared::Shared;
use super::state::State;

/// How often the hub asks for the stream's state.
const STATE_INTERVAL: Duration = Duration::from_secs(1);
/// After two missing heartbeats the consumer counts as ended.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes that shards have still to take, above which no more messages are pulled from the stream.
const WAITING_BYTES: u64 = 4 << 20;
/// The maximum number of updates shown at once.
const SHOWN_MAX: usize = 256;
/// Bytes of one request.
const REQUEST_BYTES: u64 = 4 << 20;

/// Why following ended.
#[derive(Debug)]
enum Interrupted {
    /// Following continues once the servers are reachable.
    Unreachable(String),
    /// The stream was recreated, or lost its newest updates.
    Reset,
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Unreachable(failure.to_string())
    }
}

/// Follows the stream for as long as this is polled.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = Pause::default();
    loop {
        let Err(interrupted) = try_follow(&shared, &mut pause).await;
        match interrupted {
            Interrupted::Unreachable(reason) => shared.condition.unreachable(reason),
            Interrupted::Reset => match reset(&shared).await {
                Ok(()) => continue,
                Err(failure) => shared.condition.unreachable(failure.to_string()),
            },
        }
        pause.wait(&shared.connection).await;
    }
}

/// Loads the newest updates of the stream.
pub(super) async fn load(shared: &Loading<'_>) -> Result<State, Failure> {
    let connection = shared.connection;
    let report = connection.ask(|server, _| server.report()).await?;
    let each = (report.bytes / report.messages.max(1)).max(1);
    let count = (LOADED_BYTES / each).clamp(1, shared.loaded_max);
    let mut after = Position::new(report.last.number().saturating_sub(count));
    after = after.max(report.first.previous());
    let before = match after {
        Position::START => HubId::start(report.epoch),
        after => HubId::of_dropped(report.epoch, after),
    };
    let keys = {
        let mut server = connection.server();
        Keys::new([server.random.u64(..), server.random.u64(..)])
    };
    let mut state = State::new(&report, before, keys);
    while after < report.last {
        let count = shared.block_messages;
        let asked = connection.ask(|server, node| server.range(node, after, count, REQUEST_BYTES));
        let (stored, _) = asked.await?;
        show(&mut state, stored.iter().map(|one| Received::of(one, report.epoch)).collect());
        if state.last().position == after {
            // The rest was deleted, or this server does not have it yet.
            match connection.ask(|server, _| server.next(after)).await? {
                Some(next) if next.position <= report.last => {
                    return Err(Failure::temporary("a server lags behind"));
                }
                _ => state.skip(report.last),
            }
        }
        after = state.last().position;
    }
    Ok(state)
}

/// What loading a stream needs.
#[derive(Debug)]
pub(super) struct Loading<'a> {
    pub(super) connection: &'a super::connection::Connection,
    pub(super) loaded_max: u64,
    pub(super) block_messages: usize,
}

/// Loads the stream again and drops everything known of it before.
async fn reset(shared: &Shared) -> Result<(), Failure> {
    shared.blocks.lock().clear();
    let state = load(&shared.loading()).await?;
    shared.state().reset(state);
    Ok(())
}

async fn try_follow(shared: &Arc<Shared>, pause: &mut Pause) -> Result<Infallible, Interrupted> {
    let connection = &shared.connection;
    // Until then, streams with a token hold back private updates.
    shared.revocations.read_now();
    let report = connection.ask(|server, _| server.report()).await?;
    let (epoch, last) = {
        let state = shared.state();
        (state.epoch(), state.last())
    };
    if report.epoch != epoch {
        return Err(Interrupted::Reset);
    }
    if report.last < last.position {
        confirm_loss(shared, last).await?;
    }
    let anchor = shared.state().anchor();
    let from = anchor.map_or(last.position.next(), |anchor| anchor.position);
    let number = connection.ask(|server, node| server.links[node].consumer).await?;
    // The consumer is one of this stream only if no other one was there before it was created.
    let report = connection.ask(|server, _| server.report()).await?;
    if report.epoch != epoch {
        return Err(Interrupted::Reset);
    }
    shared.state().note(&report);
    let mut pulled = Pulled { shared, number, after: from.previous(), first: None };
    match tokio::time::timeout(REQUEST_TIME, pulled.verify(anchor)).await {
        Ok(verified) => verified?,
        // No message follows from there on, so none arrives.
        Err(_) if connection.ask(|server, _| server.next(from.previous())).await?.is_none() => {}
        Err(_) => {
            let reason = "the stream's consumer delivers nothing".to_owned();
            return Err(Interrupted::Unreachable(reason));
        }
    }
    shared.condition.reachable();
    *pause = Pause::default();
    tokio::select! {
        biased;
        ended = pulled.show_all() => ended,
        ended = watch(shared) => ended,
    }
}

/// Checks whether the newest updates are really lost.
async fn confirm_loss(shared: &Shared, last: HubId) -> Result<(), Interrupted> {
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if shared.connection.ask(|server, _| server.last()).await? >= last.position {
            return Ok(());
        }
    }
    Err(Interrupted::Reset)
}

/// Asks the stream for its state from time to time.
async fn watch(shared: &Shared) -> Result<Infallible, Interrupted> {
    let mut failed = 0;
    loop {
        tokio::time::sleep(STATE_INTERVAL).await;
        let (epoch, last) = {
            let state = shared.state();
            (state.epoch(), state.last())
        };
        match shared.connection.ask(|server, _| server.report()).await {
            Ok(report) if report.epoch != epoch => return Err(Interrupted::Reset),
            Ok(report) if report.last < last.position => confirm_loss(shared, last).await?,
            Ok(report) => {
                failed = 0;
                shared.state().note(&report);
            }
            // Followers do not notice a leader election, so a few failures are tolerated.
            Err(_) if failed < 2 => failed += 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// The messages that the consumer delivers.
struct Pulled<'a> {
    shared: &'a Shared,
    /// The consumer.
    number: u64,
    /// The newest message that it delivered.
    after: Position,
    /// The first message, if it is not shown yet.
    first: Option<Received>,
}

/// A message and its position.
#[derive(Debug)]
struct Received {
    position: Position,
    record: Option<Arc<Record>>,
}

impl Received {
    fn of(message: &Message, epoch: tidings_core::model::Epoch) -> Self {
        Self { position: message.position, record: message.decode(epoch) }
    }
}

impl Pulled<'_> {
    /// Compares the newest known update with the message that the stream has there.
    async fn verify(&mut self, anchor: Option<HubId>) -> Result<(), Interrupted> {
        let first = self.shared.state().first();
        // An update that was trimmed or never read cannot be compared.
        let Some(known) = anchor.filter(|anchor| anchor.position >= first) else { return Ok(()) };
        let received = self.next().await?;
        match &received.record {
            Some(record) if record.hub_id() == known => Ok(()),
            // The update was deleted.
            _ if received.position > known.position => {
                self.first = Some(received);
                Ok(())
            }
            _ => Err(Interrupted::Reset),
        }
    }

    async fn show_all(&mut self) -> Result<Infallible, Interrupted> {
        loop {
            self.wait_for_followers().await;
            let first = match self.first.take() {
                Some(first) => first,
                None => self.next().await?,
            };
            let mut received = vec![first];
            while received.len() < SHOWN_MAX
                && let Some(next) = self.next_now()?
            {
                received.push(next);
            }
            {
                let mut state = self.shared.state();
                // After the anchor there were only positions without an update.
                let last = state.last().position;
                if received.iter().any(|one| one.position <= last && one.record.is_some()) {
                    return Err(Interrupted::Reset);
                }
                show(&mut state, received);
            }
            self.shared.follow_newest();
        }
    }

    /// The next message, if it was delivered already.
    fn next_now(&mut self) -> Result<Option<Received>, Interrupted> {
        let message = {
            let mut server = self.shared.connection.server();
            let node = self.shared.connection.node();
            let link = &server.links[node];
            if link.consumer != self.number {
                let reason = "the consumer of the stream has ended".to_owned();
                return Err(Interrupted::Unreachable(reason));
            }
            if !link.is_reachable {
                return Ok(None);
            }
            server.deliver(node, self.after)
        };
        let epoch = self.shared.state().epoch();
        let received = message.map(|message| Received::of(&message, epoch));
        self.after = received.as_ref().map_or(self.after, |one| one.position);
        Ok(received)
    }

    async fn next(&mut self) -> Result<Received, Interrupted> {
        let connection = &self.shared.connection;
        loop {
            if let Some(next) = self.next_now()? {
                return Ok(next);
            }
            if connection.is_reachable() {
                connection.changed().await;
                continue;
            }
            let until = tokio::time::timeout(SILENCE, connection.until_reachable());
            if until.await.is_err() {
                let reason = "the stream's consumer sends no heartbeats".to_owned();
                return Err(Interrupted::Unreachable(reason));
            }
        }
    }

    /// Waits while a shard has too many bytes still to take.
    async fn wait_for_followers(&self) {
        loop {
            let followers = self.shared.state().followers();
            let slow = followers.iter().find(|one| one.waiting_bytes() > WAITING_BYTES);
            let Some(slow) = slow else { break };
            // A shard that ended takes nothing more, so the wait is bounded.
            let _ = tokio::time::timeout(STATE_INTERVAL, slow.progress()).await;
        }
    }
}

/// Shows new messages, and the gaps between them.
fn show(state: &mut State, received: Vec<Received>) {
    let mut newest = state.last().position;
    let mut records = Vec::with_capacity(received.len());
    for Received { position, record } in received {
        if position <= newest {
            continue;
        }
        if position > newest.next() {
            state.show(std::mem::take(&mut records));
            state.skip(position.previous());
        }
        newest = position;
        match record {
            Some(record) => records.push(record),
            // Not an update: no subscriber would get it.
            None => {
                state.show(std::mem::take(&mut records));
                state.pass(position);
            }
        }
    }
    state.show(records);
}
