//! A few reader threads, each with a connection of its own, so that no shard waits for a disk.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;
use tidings_core::journal::ReadError;
use tokio::sync::{Semaphore, oneshot};

use crate::folder::Folder;
use crate::limits::{JOURNAL_READERS, READS_WAITING};
use crate::open_error::OpenError;
use crate::threads::{self, Signal, Thread};

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The threads. They end when this is dropped.
pub(crate) struct Readers {
    /// Whether a thread has panicked.
    has_failed: Arc<AtomicBool>,
    jobs: Arc<Jobs>,
    /// One permit for each read that fits into the queue. A read holds its permit until a thread
    /// takes it from the queue. A caller without a permit waits, first come, first served.
    room: Arc<Semaphore>,
    threads: Vec<Thread>,
}

/// The reads that wait for a thread.
struct Jobs {
    queue: Mutex<Queue>,
    changed: Signal,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// The number of running threads.
    threads: usize,
    closed: bool,
}

impl Jobs {
    fn new() -> Self {
        Self { queue: Mutex::default(), changed: Signal::new() }
    }

    fn push(&self, job: Job) -> Result<(), ReadError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(unavailable("the journal is closed"));
        }
        if queue.threads == 0 {
            return Err(unavailable("the journal's readers have stopped"));
        }
        if queue.waiting.len() >= READS_WAITING {
            return Err(unavailable("too many reads wait"));
        }
        queue.waiting.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a read. `None` when the journal is closed and no read waits.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.waiting.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }
}

/// Counts a running thread. The last one to end fails the reads that still wait.
struct Running(Arc<Jobs>);

impl Running {
    fn new(jobs: &Arc<Jobs>) -> Self {
        jobs.queue.lock().threads += 1;
        Self(Arc::clone(jobs))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.threads -= 1;
        let is_last = queue.threads == 0;
        let left = if is_last { std::mem::take(&mut queue.waiting) } else { VecDeque::new() };
        drop(queue);
        // The drop wakes callers, and so runs code of their executors.
        drop(left);
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Readers {
    pub(crate) fn start(folder: &Folder) -> Result<Self, OpenError> {
        let room = Arc::new(Semaphore::new(READS_WAITING));
        // If a thread cannot be started, the drop of this ends those before it.
        let jobs = Arc::new(Jobs::new());
        let mut readers = Self { has_failed: Arc::default(), jobs, room, threads: Vec::new() };
        for index in 0..JOURNAL_READERS {
            let connection =
                folder.reader().map_err(|error| OpenError::of(&folder.database(), error))?;
            let running = Running::new(&readers.jobs);
            let thread = Thread::start(format!("journal-read-{index}"), move || {
                work(&connection, &running.0);
            })
            .map_err(|source| OpenError::Unusable { path: folder.database(), source })?;
            readers.threads.push(thread);
        }
        Ok(readers)
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
        self.jobs.push(job)?;
        let read = answered.await.map_err(|_| unavailable("reading the journal failed"))?;
        read.map_err(|error| ReadError::Unavailable(Box::new(error)))
    }
}

/// Notes that its thread has panicked.
struct NoteFailure(Arc<AtomicBool>);

impl Drop for NoteFailure {
    fn drop(&mut self) {
        if threads::is_panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

fn unavailable(reason: &str) -> ReadError {
    ReadError::Unavailable(reason.into())
}

fn work(connection: &Connection, jobs: &Jobs) {
    while let Some(job) = jobs.next() {
        job(connection);
    }
}

impl Readers {
    /// Ends the threads and closes their connections.
    pub(crate) fn end(&mut self) {
        self.jobs.close();
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
