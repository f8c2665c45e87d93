//! Events without async: a thread of its own reads them into a small queue.
//!
//! ```no_run
//! use tidings_client::{EventSource, Incoming, blocking::OpenBlocking};
//!
//! # fn main() -> std::io::Result<()> {
//! for incoming in EventSource::get("https://example.com/prices").open_blocking()? {
//!     if let Incoming::Event(event) = incoming {
//!         println!("{}", event.data());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::incoming::Incoming;
use crate::subscribe::EventSource;

/// What may wait for the caller. When it is full, the server waits.
const QUEUE_MAX: usize = 64;

/// Opens a stream for who does not await.
pub trait OpenBlocking {
    /// Opens the stream on a thread of its own.
    ///
    /// # Errors
    /// If the system has no thread or event queue for it.
    fn open_blocking(self) -> io::Result<BlockingSubscription>;
}

impl OpenBlocking for EventSource {
    fn open_blocking(self) -> io::Result<BlockingSubscription> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let (stop, stopped) = oneshot::channel::<()>();
        let read = move || {
            runtime.block_on(async {
                let mut subscription = self.open();
                let read = async {
                    while let Some(incoming) = subscription.next().await {
                        // Nothing else runs on this thread, so that it may wait for room.
                        if sender.send(incoming).is_err() {
                            break;
                        }
                    }
                };
                tokio::select! {
                    () = read => {}
                    _ = stopped => {}
                }
            });
            // A name that is still being looked up need not be waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("event-stream".into()).spawn(read)?;
        Ok(BlockingSubscription {
            receiver: Some(receiver),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// An event stream over all its connections: an [`Iterator`] that waits for what comes, and ends
/// after [`Incoming::Closed`]. Dropping it ends the connection and the thread.
pub struct BlockingSubscription {
    receiver: Option<Receiver<Incoming>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BlockingSubscription {
    /// What comes next, if it comes in time.
    pub fn next_within(&mut self, time: Duration) -> Option<Incoming> {
        self.receiver.as_ref()?.recv_timeout(time).ok()
    }
}

impl Iterator for BlockingSubscription {
    type Item = Incoming;

    fn next(&mut self) -> Option<Incoming> {
        self.receiver.as_ref()?.recv().ok()
    }
}

impl Drop for BlockingSubscription {
    fn drop(&mut self) {
        // The thread waits for the one or for room in the other.
        self.stop.take();
        self.receiver.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for BlockingSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingSubscription").finish_non_exhaustive()
    }
}
