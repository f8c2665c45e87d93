//! Follows the stream with one consumer. After an interruption a new consumer begins at the newest
//! update that was read, and compares it with the update that the stream has there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, Message};
use futures_util::{FutureExt as _, StreamExt as _};
use tidings_core::model::{HubId, Position, Record};

use crate::connection::{Failure, Pause, check_version, queued, words};
use crate::limits::{
    LOADED_BYTES, NATS_BATCH, NATS_BATCH_BYTES, NATS_CONSUMER_TIME, NATS_HEARTBEAT, NATS_LOADED,
    NATS_REQUEST_TIME, NATS_STATE_INTERVAL, NATS_WAITING_BYTES,
};
use crate::message;
use crate::read::Reader;
use crate::shared::NatsShared;
use crate::state::{NatsState, StreamReport};
use crate::stream::{self, Unfit};

/// How long a pull request waits for messages.
const PULL_TIME: Duration = Duration::from_secs(5);
/// The maximum number of updates shown at once.
const SHOWN_MAX: usize = 256;

/// Why following ended.
#[derive(Debug)]
enum Interrupted {
    /// Following continues once NATS is reachable.
    Unreachable(String),
    /// The stream was recreated, or lost its newest updates.
    Reset(&'static str),
}

const OTHERS: Interrupted =
    Interrupted::Reset("the stream lost its newest updates and received others");

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Unreachable(failure.to_string())
    }
}

/// Follows the stream for as long as this is polled.
pub(crate) async fn run(shared: &Arc<NatsShared>) {
    let mut pause = Pause::default();
    loop {
        match follow(shared, &mut pause).await {
            Interrupted::Unreachable(reason) => shared.condition().unreachable(&reason),
            Interrupted::Reset(reason) => match reset(shared, reason).await {
                Ok(()) => continue,
                Err(Interrupted::Unreachable(reason)) => shared.condition().unreachable(&reason),
                Err(Interrupted::Reset(reason)) => shared.condition().unreachable(reason),
            },
        }
        pause.wait().await;
    }
}

/// Loads the newest updates of a stream.
pub(crate) async fn load(reader: &Reader, report: &StreamReport) -> Result<NatsState, Failure> {
    let mut after = report.recent_after(LOADED_BYTES, NATS_LOADED);
    let before = match after {
        Position::START => HubId::start(report.epoch),
        after => HubId::of_dropped(report.epoch, after),
    };
    let mut state = NatsState::new(report, before);
    while after < report.last {
        let (stored, _) = reader.range(after, NATS_BATCH, NATS_BATCH_BYTES).await?;
        let received = stored.into_iter().map(|one| {
            let decoded = one.decode(report.epoch);
            if decoded.is_none() {
                reader.note_stranger(report.epoch.number().into(), one.position);
            }
            Received { position: one.position, record: decoded.map(|decoded| decoded.record) }
        });
        show(&mut state, received.collect());
        if state.last().position == after {
            // The rest was deleted, or this server does not have it yet.
            match reader.next_of_leader(after).await? {
                Some(next) if next.position <= report.last => {
                    return Err(Failure::Temporary("a server lags behind".to_owned()));
                }
                _ => state.skip(report.last),
            }
        }
        after = state.last().position;
    }
    Ok(state)
}

/// Loads the stream again and drops everything known of it before.
async fn reset(shared: &NatsShared, reason: &str) -> Result<(), Interrupted> {
    let report = ensure(shared).await?;
    shared.reader().forget();
    let state = load(shared.reader(), &report).await?;
    tracing::warn!(
        stream = shared.options().stream,
        reason,
        "the journal was reset: closing all streams, which then resume or are told of a reset"
    );
    shared.state().reset(state);
    Ok(())
}

async fn ensure(shared: &NatsShared) -> Result<StreamReport, Interrupted> {
    note_fit(shared, stream::ensure(shared.client(), shared.options()).await)
        .map_err(|unfit| Interrupted::Unreachable(unfit.to_string()))
}

/// Notes whether the stream has the required settings.
fn note_fit(
    shared: &NatsShared,
    report: Result<StreamReport, Unfit>,
) -> Result<StreamReport, Unfit> {
    match &report {
        Ok(_) => shared.condition().set_unfit(None),
        Err(unfit @ Unfit::Differs { .. }) => shared.condition().set_unfit(Some(unfit.to_string())),
        Err(Unfit::Failed(_)) => {}
    }
    report
}

async fn follow(shared: &Arc<NatsShared>, pause: &mut Pause) -> Interrupted {
    match try_follow(shared, pause).await {
        Err(interrupted) => interrupted,
        Ok(never) => match never {},
    }
}

async fn try_follow(
    shared: &Arc<NatsShared>,
    pause: &mut Pause,
) -> Result<std::convert::Infallible, Interrupted> {
    if let Err(error) = check_version(shared.client()) {
        return Err(Interrupted::Unreachable(error.to_string()));
    }
    // Until then, streams with a token hold back private updates.
    shared.revocations().read_now();
    let report = ensure(shared).await?;
    let (epoch, last) = {
        let state = shared.state();
        (state.epoch(), state.last())
    };
    if report.epoch != epoch {
        return Err(Interrupted::Reset("the stream was recreated"));
    }
    if report.last < last.position {
        confirm_loss(shared, last).await?;
    }
    let anchor = shared.state().anchor();
    let from = anchor.map_or(last.position.next(), |anchor| anchor.position);
    let consumer = consumer(shared, from).await?;
    // The consumer is one of this stream only if no other one was there before it was created.
    let report = stream::look(shared.client(), shared.options()).await?;
    if report.epoch != epoch {
        return Err(Interrupted::Reset("the stream was recreated"));
    }
    shared.state().note(&report);
    let messages = consumer
        .stream()
        .max_messages_per_batch(NATS_BATCH)
        .max_bytes_per_batch(NATS_BATCH_BYTES.max(2 * shared.client().max_payload()))
        .expires(PULL_TIME)
        .heartbeat(NATS_HEARTBEAT)
        .messages();
    let messages = queued(messages).await?;
    let mut pulled = Pulled { messages, shared, consumed: 0, first: None };
    match tokio::time::timeout(NATS_REQUEST_TIME, pulled.verify(anchor)).await {
        Ok(verified) => verified?,
        // No message follows from there on, so none arrives.
        Err(_) if shared.reader().next_of_leader(from.previous()).await?.is_none() => {}
        Err(_) => {
            return Err(Interrupted::Unreachable(
                "the stream's consumer delivers nothing".to_owned(),
            ));
        }
    }
    shared.condition().reachable();
    *pause = Pause::default();
    tokio::select! {
        ended = pulled.show_all() => ended,
        ended = watch(shared) => ended,
    }
}

/// Checks whether the newest updates are really lost: a server that just started, or just became
/// leader, may not have them yet.
async fn confirm_loss(shared: &NatsShared, last: HubId) -> Result<(), Interrupted> {
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if stream::look(shared.client(), shared.options()).await?.last >= last.position {
            return Ok(());
        }
    }
    Err(Interrupted::Reset("the stream lost its newest updates"))
}

async fn consumer(shared: &NatsShared, from: Position) -> Result<PullConsumer, Interrupted> {
    let config = pull::Config {
        // From the newest known update, which shows whether this is still the same stream.
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.number().max(1) },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: NATS_CONSUMER_TIME,
        ..pull::Config::default()
    };
    let context = jetstream::new(shared.client().clone());
    let created = context.create_consumer_on_stream(config, &shared.options().stream);
    let created = tokio::time::timeout(2 * NATS_REQUEST_TIME, created).await;
    let slow = |_| Interrupted::Unreachable("JetStream did not create a consumer".to_owned());
    created.map_err(slow)?.map_err(|error| Interrupted::Unreachable(words(&error)))
}

/// Asks the stream for its state from time to time.
async fn watch(shared: &NatsShared) -> Result<std::convert::Infallible, Interrupted> {
    let mut failed = 0;
    loop {
        tokio::time::sleep(NATS_STATE_INTERVAL).await;
        let (epoch, last) = {
            let state = shared.state();
            (state.epoch(), state.last())
        };
        let report = stream::look_closely(shared.client(), shared.options()).await;
        match note_fit(shared, report) {
            Ok(report) if report.epoch != epoch => {
                return Err(Interrupted::Reset("the stream was recreated"));
            }
            Ok(report) if report.last < last.position => confirm_loss(shared, last).await?,
            Ok(report) => {
                failed = 0;
                shared.state().note(&report);
            }
            // Followers do not notice a leader election, so a few failures are tolerated.
            Err(Unfit::Failed(_)) if failed < 2 => failed += 1,
            Err(unfit) => return Err(Interrupted::Unreachable(unfit.to_string())),
        }
    }
}

/// The messages that the consumer delivers.
struct Pulled<'a> {
    messages: pull::Stream,
    shared: &'a NatsShared,
    /// Messages delivered by this consumer.
    consumed: u64,
    /// The first message, if it is not shown yet.
    first: Option<Received>,
}

/// A message and its position.
struct Received {
    position: Position,
    record: Option<Record>,
}

impl Pulled<'_> {
    /// Compares the newest known update with the message that the stream has there.
    async fn verify(&mut self, anchor: Option<HubId>) -> Result<(), Interrupted> {
        let first = self.shared.state().first();
        // An update that was trimmed or never read cannot be compared.
        let Some(known) = anchor.filter(|anchor| anchor.position >= first) else { return Ok(()) };
        let message = self.next().await?;
        let received = self.read(&message)?;
        match &received.record {
            Some(record) if record.hub_id() == known => Ok(()),
            // The update was deleted.
            _ if received.position > known.position => {
                self.first = Some(received);
                Ok(())
            }
            _ => Err(OTHERS),
        }
    }

    async fn show_all(&mut self) -> Result<std::convert::Infallible, Interrupted> {
        loop {
            self.wait_for_followers().await;
            let first = match self.first.take() {
                Some(first) => first,
                None => {
                    let message = self.next().await?;
                    self.read(&message)?
                }
            };
            let mut received = vec![first];
            while received.len() < SHOWN_MAX
                && let Some(Some(message)) = self.messages.next().now_or_never()
            {
                let message = message.map_err(|error| Interrupted::Unreachable(words(&error)))?;
                received.push(self.read(&message)?);
            }
            self.show(received)?;
        }
    }

    async fn next(&mut self) -> Result<Message, Interrupted> {
        let ended = || Interrupted::Unreachable("the consumer of the stream has ended".to_owned());
        let next = self.messages.next().await.ok_or_else(ended)?;
        next.map_err(|error| Interrupted::Unreachable(words(&error)))
    }

    fn read(&mut self, message: &Message) -> Result<Received, Interrupted> {
        let broken = |error: async_nats::Error| Interrupted::Unreachable(error.to_string());
        let info = message.info().map_err(broken)?;
        self.consumed += 1;
        if info.consumer_sequence != self.consumed {
            return Err(Interrupted::Unreachable(
                "messages of the consumer are missing".to_owned(),
            ));
        }
        let position = Position::new(info.stream_sequence);
        let time = SystemTime::from(info.published);
        let epoch = self.shared.state().epoch();
        let decoded = message::decode(epoch, position, time, &message.payload);
        if decoded.is_none() {
            self.shared.reader().note_stranger(epoch.number().into(), position);
        }
        Ok(Received { position, record: decoded.map(|decoded| decoded.record) })
    }

    fn show(&mut self, received: Vec<Received>) -> Result<(), Interrupted> {
        {
            let mut state = self.shared.state();
            // After the anchor there were only positions without an update.
            let last = state.last().position;
            if received.iter().any(|one| one.position <= last && one.record.is_some()) {
                return Err(OTHERS);
            }
            show(&mut state, received);
        }
        self.shared.follow_newest();
        Ok(())
    }

    /// Waits while a shard has too many bytes still to take.
    async fn wait_for_followers(&self) {
        loop {
            let followers = self.shared.state().followers();
            let slow = followers.iter().find(|one| one.waiting_bytes() > NATS_WAITING_BYTES);
            let Some(slow) = slow else { break };
            // A shard that ended takes nothing more, so the wait is bounded.
            let _ = tokio::time::timeout(NATS_STATE_INTERVAL, slow.progress()).await;
        }
    }
}

/// Shows new messages, and the gaps between them.
fn show(state: &mut NatsState, received: Vec<Received>) {
    let mut newest = state.last().position;
    let mut records = Vec::with_capacity(received.len());
    for Received { position, record } in received {
        if position <= newest {
            continue;
        }
        if position > newest.next() {
            state.show(std::mem::take(&mut records));
            let through = position.previous();
            tracing::warn!(after = %newest, %through, "updates were deleted before this hub read them");
            state.skip(through);
        }
        newest = position;
        match record {
            Some(record) => records.push(Arc::new(record)),
            // Not an update: no subscriber would get it.
            None => {
                state.show(std::mem::take(&mut records));
                state.pass(position);
            }
        }
    }
    state.show(records);
}
