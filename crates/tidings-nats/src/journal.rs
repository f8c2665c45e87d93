//! The journal on NATS JetStream, for hubs on several machines. All hubs follow one stream, and its
//! sequence numbers are the positions.
//!
//! A separate thread owns the connection and follows the stream. The newest updates are also in
//! memory, so that most returning subscribers need no server. While NATS is unreachable, readers
//! and publishers wait and resume by themselves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::Client;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};

use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::same_id::SameId;
use tidings_core::journal::{
    AppendError, Batch, Before, Edges, Follower, Found, Health, History, Journal, Log, Missed,
    Nodes, Pending, ReadError, RevokedTokens, Room, Tail,
};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{RevokedToken, Rights, Selectors, Update};

use crate::condition::Condition;
use crate::connection::Failure;
use crate::error::NatsError;
use crate::limits::{BATCH_MAX, NATS_ATOMIC};
use crate::newest::NewestByTopic;
use crate::options::NatsOptions;
use crate::read::Reader;
use crate::revocations::Revocations;
use crate::state::{Generation, NatsState};
use crate::stream::Unfit;
use crate::{append, connection, message, newest, nodes, revocations, stream, tail};

/// The journal on NATS JetStream.
#[derive(Debug)]
pub struct NatsJournal {
    shared: Arc<NatsShared>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// State shared by following, appending and reading.
#[derive(Debug)]
pub(crate) struct NatsShared {
    pub(crate) client: Client,
    pub(crate) options: NatsOptions,
    pub(crate) condition: Arc<Condition>,
    pub(crate) reader: Reader,
    pub(crate) state: Mutex<NatsState>,
    pub(crate) atomic: Semaphore,
    pub(crate) meeting: nodes::Meeting,
    pub(crate) revocations: Revocations,
    pub(crate) newest: Mutex<NewestByTopic>,
    pub(crate) newest_wanted: Notify,
    pub(crate) is_running: std::sync::atomic::AtomicBool,
}

impl NatsJournal {
    /// Connects to NATS, creates the stream if it is missing, and loads the newest updates. Waits
    /// for unreachable servers up to the options' `start_wait`.
    ///
    /// # Errors
    /// If no server answers in time, if the server is too old, rejects this login, or has a stream
    /// of that name with unsuitable settings.
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection is closed.
    pub async fn open(options: NatsOptions) -> Result<Self, NatsError> {
        check(&options)?;
        let system = |source| NatsError::System { source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let (opened, is_opened) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("journal-nats".to_owned())
            .spawn(move || {
                runtime.block_on(run(options, opened, stopped));
                // The client's remaining tasks are aborted: no caller waits for them.
                runtime.shutdown_background();
            })
            .map_err(system)?;
        let ended = || system(std::io::Error::other("the journal's thread has stopped"));
        let shared = is_opened.await.map_err(|_| ended())??;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The maximum size of an update, without the message around it, as the servers allow it now.
    fn bytes_max(&self) -> usize {
        self.shared.message_bytes_max().saturating_sub(message::OVERHEAD_BYTES)
    }
}

/// The longest wait that the options may set.
const WAIT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

fn check(options: &NatsOptions) -> Result<(), NatsError> {
    let wrong = |reason: String| Err(NatsError::Setting { reason });
    if options.servers.is_empty() {
        return wrong("no NATS server is given".to_owned());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = &options.stream;
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return wrong(format!(
            "the stream name {name:?} is invalid; it must be 1 to 64 letters, digits, \"-\" and \"_\""
        ));
    }
    // A longer wait is as good as none, and sums of such waits would not fit the clock.
    for (name, time) in [("publishes", options.publish_wait), ("the start", options.start_wait)] {
        if time > WAIT_MAX {
            let (is, max) = (time.as_secs(), WAIT_MAX.as_secs());
            return wrong(format!("{name} may wait at most {max} s, not {is} s"));
        }
    }
    if let Some(replicas) = options.replicas.filter(|replicas| !(1..=5).contains(replicas)) {
        return wrong(format!("replicas is {replicas}; it must be 1 to 5"));
    }
    let breaches = stream::unfit_options(options);
    if !breaches.is_empty() {
        return wrong(format!(
            "the stream {name:?} would have unsuitable settings: {}",
            breaches.join("; ")
        ));
    }
    Ok(())
}

async fn run(
    options: NatsOptions,
    opened: oneshot::Sender<Result<Arc<NatsShared>, NatsError>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let open = tokio::select! {
        open = open(options) => open,
        // An error says that the journal was dropped.
        _ = &mut stopped => return,
    };
    let shared = match open {
        Ok(shared) => Arc::new(shared),
        Err(error) => {
            // The caller may have stopped waiting.
            let _ = opened.send(Err(error));
            return;
        }
    };
    let _running = Running(Arc::clone(&shared));
    if opened.send(Ok(Arc::clone(&shared))).is_ok() {
        let running =
            async { tokio::join!(tail::run(&shared), nodes::run(&shared), newest::run(&shared)) };
        tokio::select! {
            _ = running => {}
            _ = &mut stopped => nodes::leave(&shared).await,
        }
    }
}

/// Marks the journal as not running, however the thread ends.
struct Running(Arc<NatsShared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.is_running.store(false, std::sync::atomic::Ordering::Release);
    }
}

async fn open(options: NatsOptions) -> Result<NatsShared, NatsError> {
    let condition = Arc::new(Condition::new());
    let client = connection::connect(&options, &condition).await?;
    let what = "messages of the stream that are not valid updates";
    let reader = Reader::new(client.clone(), options.stream.clone(), what);
    let mut pause = connection::Pause::default();
    let until = tokio::time::Instant::now() + options.start_wait;
    let (state, revocations) = loop {
        let report = stream::prepare(&client, &options).await?;
        let prepared = async {
            let state = tail::load(&reader, &report).await?;
            Ok((state, revocations::prepare(&client, &condition, &options).await?))
        };
        match prepared.await {
            Ok(prepared) => break prepared,
            Err(Unfit::Differs { name, differences }) => {
                return Err(NatsError::Stream { name, differences });
            }
            Err(Unfit::Failed(failure)) if failure.is_final() => {
                let (name, reason) = (revocations::name(&options), failure.to_string());
                return Err(NatsError::NotCreated { name, reason });
            }
            Err(unfit) if tokio::time::Instant::now() >= until => {
                let reason = unfit.to_string();
                return Err(NatsError::Unreachable { waited: options.start_wait, reason });
            }
            Err(_) => pause.wait().await,
        }
    };
    let generation = state.generation();
    Ok(NatsShared {
        client,
        options,
        condition,
        reader,
        state: Mutex::new(state),
        atomic: Semaphore::new(NATS_ATOMIC),
        meeting: nodes::Meeting::new(),
        revocations,
        newest: Mutex::new(NewestByTopic::new(generation)),
        newest_wanted: Notify::new(),
        is_running: true.into(),
    })
}

pub(crate) fn away(failure: Failure) -> ReadError {
    ReadError::Unreachable(Box::new(failure))
}

/// The journal was reset between the first and the last read, so the two do not belong together.
fn began_anew() -> ReadError {
    away(Failure::Away("the journal was reset".to_owned()))
}

impl NatsShared {
    /// The notice for a subscriber that missed updates up to `newest`.
    async fn missed(&self, after: Position, newest: Position) -> Result<Missed, ReadError> {
        let (generation, first, last) = {
            let state = self.state.lock();
            (state.generation(), state.first, state.last())
        };
        let oldest = match self.record(first).await? {
            Some(record) => record.hub_id(),
            None => last,
        };
        let resume = self.id_at(after.max(first.previous())).await?;
        self.check_still(generation)?;
        Ok(Missed::new(oldest, resume, newest))
    }

    /// The hub's id of a position.
    async fn id_at(&self, at: Position) -> Result<HubId, ReadError> {
        let (epoch, first) = {
            let state = self.state.lock();
            (state.epoch, state.first)
        };
        if at == Position::START {
            return Ok(HubId::start(epoch));
        }
        if at < first {
            return Ok(HubId::of_gone(epoch, at));
        }
        let record = self.record(at).await?;
        Ok(record.map_or(HubId::of_gone(epoch, at), |record| record.hub_id()))
    }

    /// Fails if the journal was reset meanwhile: then the first and the last read belong to
    /// different journals.
    pub(crate) fn check_still(&self, generation: Generation) -> Result<(), ReadError> {
        if self.state.lock().generation() == generation { Ok(()) } else { Err(began_anew()) }
    }

    /// The update at a position, from memory or from the stream.
    pub(crate) async fn record(&self, at: Position) -> Result<Option<Arc<Record>>, ReadError> {
        let epoch = {
            let state = self.state.lock();
            if let Some(record) = state.recent.at(at) {
                return Ok(Some(Arc::clone(record)));
            }
            state.epoch
        };
        self.check_there()?;
        let stored = self.reader.at(at).await.map_err(away)?;
        let decoded = stored.and_then(|stored| stored.decode(epoch));
        Ok(decoded.map(|decoded| Arc::new(decoded.record)))
    }

    /// Fails at once while the servers are known to be unreachable, so that no request waits in
    /// vain.
    pub(crate) fn check_there(&self) -> Result<(), ReadError> {
        match self.condition.trouble() {
            Some((_, reason)) => Err(away(Failure::Away(reason))),
            None => Ok(()),
        }
    }

    async fn find(
        &self,
        id: &str,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Option<Found>, ReadError> {
        let Ok(hub_id) = id.parse::<HubId>() else {
            let mut search = SameId::new(id, selectors, rights);
            let rounds = search.rounds(self.state.lock().keys());
            for keys in rounds {
                let places = self.state.lock().places(&keys);
                for place in places {
                    if let Some(record) = self.record(place).await?
                        && search.is(&record)
                    {
                        return Ok(Some(Found::certain(record.hub_id())));
                    }
                }
            }
            return Ok(search.elsewhere());
        };
        let at = hub_id.position;
        let (generation, first) = {
            let state = self.state.lock();
            (state.generation(), state.first)
        };
        let epoch = generation.epoch;
        let found = Found::certain(hub_id);
        if hub_id.epoch != epoch {
            return Ok(None);
        }
        if at == Position::START {
            return Ok((hub_id == HubId::start(epoch)).then_some(found));
        }
        // Where the record is trimmed, the id's check value cannot be compared.
        if at < first {
            return Ok(Some(found));
        }
        if let Some(record) = self.record(at).await? {
            return Ok((record.hub_id() == hub_id).then_some(found));
        }
        // Either the update was deleted, or the stream ends before this position.
        let report = stream::look(&self.client, &self.options).await.map_err(away)?;
        self.check_still(generation)?;
        Ok((report.epoch == epoch && at <= report.last).then_some(found))
    }

    /// The updates in memory, if none are missing there.
    fn read_at_hand(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        let state = self.state.lock();
        let missed = state.missed(after, selectors, rights);
        let is_complete = state.has_all_after(after);
        state.recent.read((after, until), BATCH_MAX, selectors, rights, is_complete, missed)
    }

    async fn read(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let generation = self.state.lock().generation();
        self.check_there()?;
        let from = after.max(self.state.lock().first.previous());
        let block = self.reader.block(generation, from).await.map_err(away)?;
        let mut reached = block.through;
        if reached <= from && from < until {
            self.find_end(from, until).await?;
            reached = until;
        }
        if let Some(hole) = block.hole.filter(|hole| *hole > from) {
            self.note_hole(hole).await?;
        }
        let (newest, first) = {
            let state = self.state.lock();
            if state.generation() != generation {
                return Err(began_anew());
            }
            (state.missed(after, selectors, rights), state.first)
        };
        let begin = block.records.partition_point(|record| record.position <= after);
        let records = block.records[begin..].iter().filter(|one| one.position >= first);
        let mut batch =
            Batch::for_subscriber(records, until.min(reached), BATCH_MAX, selectors, rights);
        if let Some(newest) = newest {
            let missed = self.missed(after, newest).await?;
            batch.through = batch.through.max(missed.resume.position);
            batch.missed = Some(missed);
        }
        Ok(batch)
    }

    /// The server has none of the wanted updates: either they were deleted, or the server lags
    /// behind.
    pub(crate) async fn find_end(&self, from: Position, until: Position) -> Result<(), ReadError> {
        let report = stream::look(&self.client, &self.options).await.map_err(away)?;
        {
            let mut state = self.state.lock();
            state.note(&report);
            if state.first > until {
                return Ok(());
            }
        }
        match self.reader.next_of_leader(from).await.map_err(away)? {
            Some(next) if next.position <= until => {
                Err(away(Failure::Away("a server lags behind".to_owned())))
            }
            _ => {
                self.state.lock().lose(until);
                Ok(())
            }
        }
    }

    /// Updates are missing between two others. Unless retention trimmed them, their topics are
    /// unknown.
    async fn note_hole(&self, hole: Position) -> Result<(), ReadError> {
        if hole < self.state.lock().first {
            return Ok(());
        }
        let report = stream::look(&self.client, &self.options).await.map_err(away)?;
        let mut state = self.state.lock();
        state.note(&report);
        if hole >= state.first {
            state.lose(hole);
        }
        Ok(())
    }

    async fn before(&self, time: SystemTime) -> Result<Before, ReadError> {
        let (first, last, known) = {
            let state = self.state.lock();
            let mut records = state.recent.after(Position::START);
            let oldest = records.next().filter(|oldest| oldest.time < time);
            let after = |_| {
                let place = state.recent.after(Position::START).find(|one| one.time >= time);
                place.map_or(state.last().position.next(), |record| record.position)
            };
            (state.first, state.last(), oldest.map(after))
        };
        let since = match known {
            Some(since) => since,
            None => {
                self.check_there()?;
                let stored = self.reader.since(time).await.map_err(away)?;
                stored.map_or(last.position.next(), |stored| stored.position)
            }
        };
        let place = since.previous();
        // Trimmed updates precede this position only where they are known to be older.
        let gone_after = if place >= first { place } else { Position::START };
        Ok(Before::new(self.id_at(place).await?, gone_after))
    }
}

impl Log for NatsJournal {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        Box::pin(append::append(&self.shared, updates, key, room))
    }

    fn follow(&self) -> Arc<Follower> {
        self.shared.state.lock().follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        self.shared.state.lock().tail(after, count, records)
    }

    fn edges(&self) -> Edges {
        self.shared.state.lock().edges()
    }

    fn generation(&self) -> u64 {
        self.shared.state.lock().generation().number
    }

    fn update_bytes_max(&self) -> Option<usize> {
        Some(self.bytes_max())
    }
}

impl History for NatsJournal {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        Box::pin(self.shared.before(time))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        Box::pin(self.shared.find(id, selectors, rights))
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let newest = self.shared.state.lock().missed(after, selectors, rights);
        Box::pin(async move {
            match newest {
                Some(newest) => self.shared.missed(after, newest).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn read_at_hand(
        &self,
        after: Position,
        until: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        self.shared.read_at_hand((after, until), selectors, rights)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        Box::pin(self.shared.read((after, until), selectors, rights))
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        Box::pin(self.shared.read_last((after, until), selectors, rights))
    }
}

impl RevokedTokens for NatsJournal {
    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        Box::pin(self.shared.revoke(token))
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.shared.revocations.loaded()
    }
}

impl Health for NatsJournal {
    fn is_running(&self) -> bool {
        self.shared.is_running.load(std::sync::atomic::Ordering::Acquire)
    }

    fn trouble(&self) -> Option<String> {
        let NatsShared { condition, meeting, revocations, .. } = self.shared.as_ref();
        if let Some((since, reason)) = condition.trouble() {
            return Some(format!("NATS has been unreachable for {} s: {reason}", since.as_secs()));
        }
        let unknown = || {
            let reason = revocations.trouble().filter(|_| meeting.has_node())?;
            Some(format!("cannot read other hubs' revocations ({reason}), so tokens are refused"))
        };
        condition.refusal().or_else(unknown)
    }

    fn interruptions(&self) -> u64 {
        self.shared.condition.interruptions() + self.shared.revocations.lapses()
    }

    fn strangers(&self) -> u64 {
        let NatsShared { reader, meeting, revocations, .. } = self.shared.as_ref();
        reader.strangers().count() + meeting.strangers() + revocations.strangers()
    }
}

impl Journal for NatsJournal {
    fn nodes(&self) -> Option<&dyn Nodes> {
        Some(self.shared.as_ref())
    }
}

impl Drop for NatsJournal {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
    }
}
