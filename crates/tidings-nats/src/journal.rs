//! The journal on NATS JetStream, for hubs on several machines. All hubs follow one stream, and its
//! sequence numbers are the positions.
//!
//! A separate thread owns the connection and follows the stream. The newest updates are also in
//! memory, so that most returning subscribers need no server. While NATS is unreachable, readers
//! and publishers wait and resume by themselves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{
    AppendError, Batch, Before, Edges, Follower, Found, Health, History, Journal, Log, Missed,
    Nodes, Pending, ReadError, RevokedTokens, Room, Tail,
};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{RevokedToken, Rights, Selectors, Update};

use crate::condition::Condition;
use crate::error::NatsError;
use crate::options::NatsOptions;
use crate::read::Reader;
use crate::shared::NatsShared;
use crate::stream::Unfit;
use crate::{
    append, connection, last_updates, message, nodes, revocation_stream, revocations, stream, tail,
};

/// The journal on NATS JetStream.
#[derive(Debug)]
pub struct NatsJournal {
    shared: Arc<NatsShared>,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
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
        // Given to the thread once it runs: dropped with a closure that no thread takes, a runtime
        // panics if the caller is a task.
        let (give, given) = std::sync::mpsc::sync_channel::<tokio::runtime::Runtime>(1);
        let thread = std::thread::Builder::new().name("journal-nats".to_owned()).spawn(move || {
            let Ok(runtime) = given.recv() else { return };
            runtime.block_on(run(options, opened, stopped));
            // The client's remaining tasks are aborted: no caller waits for them.
            runtime.shutdown_background();
        });
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                runtime.shutdown_background();
                return Err(system(error));
            }
        };
        // The thread takes it at its start.
        let _ = give.send(runtime);
        let ended = || system(std::io::Error::other("the journal's thread has stopped"));
        let shared = is_opened.await.map_err(|_| ended())??;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The state that the journal's tasks share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<NatsShared> {
        &self.shared
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
        let running = async {
            tokio::join!(tail::run(&shared), nodes::run(&shared), last_updates::run(&shared))
        };
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
        self.0.ended();
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
                let (name, reason) = (revocation_stream::name(&options), failure.to_string());
                return Err(NatsError::NotCreated { name, reason });
            }
            Err(unfit) if tokio::time::Instant::now() >= until => {
                let reason = unfit.to_string();
                return Err(NatsError::Unreachable { waited: options.start_wait, reason });
            }
            Err(_) => pause.wait().await,
        }
    };
    Ok(NatsShared::new(client, options, condition, reader, state, revocations))
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
        self.shared.state().follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        self.shared.state().tail(after, count, records)
    }

    fn edges(&self) -> Edges {
        self.shared.state().edges()
    }

    fn generation(&self) -> u64 {
        self.shared.state().generation().number
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
        let loss = self.shared.state().missed(after, selectors, rights);
        Box::pin(async move {
            match loss {
                Some(loss) => self.shared.missed(after, loss.number).await.map(Some),
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
        self.shared.state().read((after, until), selectors, rights)
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
        self.shared.revocations().loaded()
    }
}

impl Health for NatsJournal {
    fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    fn trouble(&self) -> Option<String> {
        let condition = self.shared.condition();
        if let Some((since, reason)) = condition.trouble() {
            return Some(format!("NATS has been unreachable for {} s: {reason}", since.as_secs()));
        }
        let unknown = || {
            let is_joined = self.shared.other_hubs().has_node();
            let reason = self.shared.revocations().trouble().filter(|_| is_joined)?;
            Some(format!("cannot read other hubs' revocations ({reason}), so tokens are refused"))
        };
        condition.refusal().or_else(unknown)
    }

    fn interruptions(&self) -> u64 {
        self.shared.condition().interruptions() + self.shared.revocations().lapses()
    }

    fn strangers(&self) -> u64 {
        self.shared.reader().strangers().count()
            + self.shared.other_hubs().strangers()
            + self.shared.revocations().strangers()
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
