//! Event streams without async: a separate thread reads events into a bounded queue.
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

/// The maximum of items that wait for the caller. When the queue is full, the server waits.
const QUEUE_MAX: usize = 64;

/// Opens a stream without async.
pub trait OpenBlocking {
    /// Opens the stream on a separate thread.
    ///
    /// # Errors
    /// If the system cannot create the thread or its event queue.
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
                        // Blocking is fine: nothing else runs on this thread.
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
            // Does not wait for a name lookup that is still running.
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

/// An event stream that reconnects: an [`Iterator`] that blocks until the next item, and ends after
/// [`Incoming::Closed`]. Dropping it ends the connection and the thread.
pub struct BlockingSubscription {
    receiver: Option<Receiver<Incoming>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BlockingSubscription {
    /// The next item, if there is one within this time.
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
        // The thread waits either for this signal or for room in the queue.
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
