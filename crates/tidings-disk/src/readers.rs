//! A few reader threads, each with a connection of its own, so that no shard waits for a disk.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use rusqlite::Connection;
use tidings_core::journal::ReadError;
use tokio::sync::{Semaphore, oneshot};

use crate::folder::Folder;
use crate::limits::{JOURNAL_READERS, READS_WAITING};
use crate::open_error::OpenError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The threads. They end when this is dropped.
pub(crate) struct Readers {
    /// Whether a thread has panicked.
    has_failed: Arc<AtomicBool>,
    jobs: Option<SyncSender<Job>>,
    /// One permit for each read that fits into the queue. A read holds its permit until a thread
    /// takes it from the queue. A caller without a permit waits, first come, first served.
    room: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Readers {
    pub(crate) fn start(folder: &Folder) -> Result<Self, OpenError> {
        let (jobs, queue) = sync_channel(READS_WAITING);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for index in 0..JOURNAL_READERS {
            let connection =
                folder.reader().map_err(|error| OpenError::of(&folder.database(), error))?;
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new()
                .name(format!("journal-read-{index}"))
                .spawn(move || work(&connection, &queue))
                .map_err(|source| OpenError::Unusable { path: folder.database(), source })?;
            threads.push(thread);
        }
        let room = Arc::new(Semaphore::new(READS_WAITING));
        Ok(Self { has_failed: Arc::default(), jobs: Some(jobs), room, threads })
    }

    /// Whether all threads run. The others serve the reads of a thread that has failed.
    pub(crate) fn are_running(&self) -> bool {
        !self.has_failed.load(Ordering::Acquire)
    }

    /// Runs `read` on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| unavailable("the journal is closed"))?;
        let (answer, answered) = oneshot::channel();
        let has_failed = Arc::clone(&self.has_failed);
        let job: Job = Box::new(move |connection| {
            drop(room);
            // Noted before `answer` is dropped, from which the caller learns of a panic.
            let _failing = NoteFailure(has_failed);
            // A read whose caller has stopped waiting is skipped.
            if !answer.is_closed() {
                let read = read(connection);
                let _ = answer.send(read);
            }
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| unavailable("the journal is closed"))?;
        match jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(unavailable("too many reads wait")),
            Err(TrySendError::Disconnected(_)) => {
                return Err(unavailable("the journal's readers have stopped"));
            }
        }
        let read = answered.await.map_err(|_| unavailable("reading the journal failed"))?;
        read.map_err(|error| ReadError::Unavailable(Box::new(error)))
    }
}

/// Notes that its thread has panicked.
struct NoteFailure(Arc<AtomicBool>);

impl Drop for NoteFailure {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

fn unavailable(reason: &str) -> ReadError {
    ReadError::Unavailable(reason.into())
}

fn work(connection: &Connection, queue: &Mutex<Receiver<Job>>) {
    loop {
        // Locked only while waiting for the next job. The other threads wait for the lock instead.
        let job = queue.lock().recv();
        let Ok(job) = job else { break };
        job(connection);
    }
}

impl Readers {
    /// Ends the threads and closes their connections.
    pub(crate) fn end(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a journal's reader panicked");
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.end();
    }
}
