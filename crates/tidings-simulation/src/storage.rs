//! The storage that outlives a hub: none, a disk, or a JetStream stream. It opens the journal of each
//! boot.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use tempfile::TempDir;
use tidings_core::journal::{Journal, RetentionRule};
use tidings_core::model::{Position, Record, Rights, Selectors};
use tidings_disk::{DiskJournal, DiskOptions};
use tidings_hub::MemoryJournal;
use tokio::task::yield_now;

use crate::disk::Disk;
use crate::journals::jetstream::{Fate, JournalOptions, NodeNumber, Stream, StreamOptions};
use crate::setting::{JournalKind, Setting};
use crate::threads::{Entered, Threads};
use crate::trace::Trace;
use crate::truth::{Entry, number_of};
use crate::view::Kept;

/// The storage under all boots of a simulation.
pub(crate) enum Storage {
    Memory,
    Disk(Box<DiskStorage>),
    JetStream(JetStreamStorage),
}

pub(crate) struct DiskStorage {
    pub(crate) disk: Disk,
    pub(crate) threads: Threads,
    _entered: Entered,
    folder: TempDir,
}

pub(crate) struct JetStreamStorage {
    pub(crate) stream: Stream,
    /// The connection of the present hub.
    pub(crate) node: Option<NodeNumber>,
    /// The stream has lost its newest messages, or was created anew, in this boot: the hub
    /// counts what it had shown as lost.
    pub(crate) has_lost_tail: bool,
}

impl Storage {
    pub(crate) fn new(setting: &Setting, seed: u64, trace: &Trace) -> Self {
        let mut rng = Rng::with_seed(seed);
        match setting.journal {
            JournalKind::Memory => Self::Memory,
            JournalKind::Disk => {
                let disk = Disk::new(rng.fork(), trace.clone());
                let threads = Threads::new(rng.fork(), trace.clone());
                let entered = threads.enter();
                let folder = folder().expect("there is a folder for temporary files");
                Self::Disk(Box::new(DiskStorage { disk, threads, _entered: entered, folder }))
            }
            JournalKind::JetStream => {
                let mut options = StreamOptions::of_seed(rng.u64(..));
                options.begins_at = crate::run::start_time();
                options.retention = setting.rules[0].retention();
                Self::JetStream(JetStreamStorage {
                    stream: Stream::new(&options),
                    node: None,
                    has_lost_tail: false,
                })
            }
        }
    }

    /// Opens the journal of a boot.
    pub(crate) async fn open(
        &mut self,
        setting: &Setting,
    ) -> Result<Arc<dyn Journal>, Box<dyn Error + Send + Sync>> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryJournal::new(setting.rules[0].retention()))),
            Self::Disk(storage) => {
                let rule = |rule: &crate::setting::Rule| {
                    RetentionRule::new(rule.topics.selectors(), rule.keep(), rule.retention())
                };
                let options = DiskOptions::default()
                    .retention(setting.rules.iter().map(rule).collect())
                    .promise(setting.promise())
                    .vfs(Some(storage.disk.vfs()))
                    .now(tidings_hub::simulation::time);
                Ok(Arc::new(DiskJournal::open(storage.folder.path(), options)?))
            }
            Self::JetStream(storage) => {
                let journal = storage.stream.open(JournalOptions::default()).await?;
                storage.node = Some(journal.node());
                Ok(Arc::new(journal))
            }
        }
    }

    /// Ends a boot: the next one has a clock of its own.
    pub(crate) fn pause(&self) {
        if let Self::JetStream(storage) = self {
            storage.stream.pause();
        }
    }

    /// Lets the journal's own threads run: all until they wait, or only so many steps.
    pub(crate) fn run_threads(&self, steps: Option<usize>) {
        let Self::Disk(storage) = self else { return };
        match steps {
            None => storage.threads.run(),
            Some(steps) => {
                for _ in 0..steps {
                    if !storage.threads.step() {
                        break;
                    }
                }
            }
        }
    }

    /// Whether one of the journal's own threads can run.
    pub(crate) fn has_work(&self) -> bool {
        matches!(self, Self::Disk(storage) if storage.threads.runnable() > 0)
    }

    /// Whether the stream ever stored an update under this id of the hub. It may have lost it since,
    /// or lost another one in whose place it is, and the node does not know that yet.
    pub(crate) fn has_stored(&self, id: &str) -> bool {
        let Self::JetStream(storage) = self else { return false };
        id.parse().is_ok_and(|id| storage.stream.fate_of(id).is_some())
    }

    /// A boot begins: its hub knows only what the stream has now.
    pub(crate) fn begin(&mut self) {
        if let Self::JetStream(storage) = self {
            storage.has_lost_tail = false;
        }
    }

    /// Whether the stream ever lost one of these updates with its newest messages.
    pub(crate) fn has_lost(&self, numbers: std::ops::Range<u32>) -> bool {
        let Self::JetStream(storage) = self else { return false };
        let contents = storage.stream.contents();
        contents.ever.iter().any(|(message, fate)| {
            let update = message.update.as_ref().filter(|_| *fate == Fate::Lost);
            let number = update.and_then(|update| number_of(update.event().data()));
            number.is_some_and(|number| numbers.contains(&number))
        })
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        match self {
            Self::Memory => {}
            Self::Disk(storage) => {
                storage.disk.release();
                storage.disk.set_capacity(None);
                storage.disk.fail(crate::disk::Failing::default());
            }
            Self::JetStream(storage) => {
                if let Some(node) = storage.node {
                    storage.stream.catch_up(node);
                    storage.stream.set_reachable(node, true);
                    storage.stream.set_reads_lag(node, false);
                    storage.stream.lose_acknowledgements(node, 0);
                    storage.stream.set_delays(node, Duration::ZERO, Duration::ZERO);
                }
                storage.stream.refuse(None);
            }
        }
    }

    /// Waits for an answer of the journal, whose threads and requests are driven meanwhile. `None`
    /// if none comes in a long time.
    pub(crate) async fn drive<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = std::pin::pin!(answer);
        for round in 0..2_000_u32 {
            let polled = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
            if let Poll::Ready(answer) = polled {
                return Some(answer);
            }
            self.run_threads(None);
            yield_now().await;
            if round % 8 == 7 {
                tokio::time::advance(Duration::from_millis(20)).await;
            }
        }
        None
    }

    /// Everything that the journal has, in order.
    pub(crate) async fn scan(&self, journal: &dyn Journal) -> Result<Vec<Arc<Record>>, String> {
        let rights = Rights::Granted(Selectors::all());
        let all = Selectors::all();
        let until = journal.edges().last.position;
        let mut after = Position::START;
        let mut records = Vec::new();
        while after < until {
            let read = journal.read(after, until, &all, &rights);
            let batch = self.drive(read).await.ok_or("a read of the journal is not answered")?;
            let batch = batch.map_err(|error| format!("the journal cannot be read: {error}"))?;
            if batch.through <= after {
                return Err(format!("a read after {after} makes no progress"));
            }
            after = batch.through;
            records.extend(batch.records);
        }
        Ok(records)
    }
}

/// In memory where the system has such a place: the lock of the folder is a real file.
fn folder() -> std::io::Result<TempDir> {
    let shared = std::path::Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }
}

/// Asks the journal whether it has an update. Driving the journal's threads is all that it changes.
pub(crate) struct Keeping<'a> {
    storage: &'a Storage,
    journal: &'a dyn Journal,
    /// Answers of this step.
    known: RefCell<BTreeMap<u64, Option<bool>>>,
}

impl<'a> Keeping<'a> {
    pub(crate) fn new(storage: &'a Storage, journal: &'a dyn Journal) -> Self {
        Self { storage, journal, known: RefCell::default() }
    }
}

impl Kept for Keeping<'_> {
    fn trimmed_through(&self) -> u64 {
        match self.storage {
            Storage::JetStream(storage) => storage.stream.first().previous().number(),
            _ => 0,
        }
    }

    fn has_lost_shown(&self) -> bool {
        matches!(self.storage, Storage::JetStream(storage) if storage.has_lost_tail)
    }

    fn is_kept(&self, entry: &Entry) -> Option<bool> {
        if let Some(known) = self.known.borrow().get(&entry.position) {
            return *known;
        }
        let kept = self.ask(entry);
        self.known.borrow_mut().insert(entry.position, kept);
        kept
    }
}

impl Keeping<'_> {
    fn ask(&self, entry: &Entry) -> Option<bool> {
        if let Storage::JetStream(storage) = self.storage {
            return Some(storage.stream.fate_of(entry.hub_id) == Some(Fate::Held));
        }
        let rights = Rights::Granted(Selectors::all());
        let all = Selectors::all();
        let at = Position::new(entry.position);
        if let Some(batch) = self.journal.read_at_hand(at.previous(), at, &all, &rights) {
            return Some(batch.records.iter().any(|record| record.position == at));
        }
        let mut read = self.journal.read(at.previous(), at, &all, &rights);
        for _ in 0..1_000 {
            let mut context = Context::from_waker(Waker::noop());
            match read.as_mut().poll(&mut context) {
                Poll::Ready(Ok(batch)) => {
                    return Some(batch.records.iter().any(|record| record.position == at));
                }
                Poll::Ready(Err(_)) => return None,
                // No thread can answer while the disk hangs.
                Poll::Pending if !self.storage.has_work() => return None,
                Poll::Pending => self.storage.run_threads(Some(64)),
            }
        }
        None
    }
}
