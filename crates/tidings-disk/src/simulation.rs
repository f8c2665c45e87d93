//! The hook for this repository's simulator: it runs the journal's threads on one thread of the
//! system, decides which of them runs, and repeats a run exactly.
//!
//! It is active only on a thread that has [`enter`]ed a simulation.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// A thread of the journal, by the number that its [`Host`] gave it.
pub type ThreadNumber = u64;
/// A signal of the journal, by the number that its [`Host`] gave it.
pub type SignalNumber = u64;

/// Runs the journal's threads.
pub trait Host: fmt::Debug {
    /// Starts a thread.
    ///
    /// # Errors
    /// If no more threads can be started.
    fn start(&self, name: String, run: Box<dyn FnOnce() + Send>) -> io::Result<ThreadNumber>;

    /// Waits for a thread's end.
    ///
    /// # Errors
    /// The panic by which the thread ended.
    fn join(&self, thread: ThreadNumber) -> Result<(), Box<dyn Any + Send>>;

    /// A new signal.
    fn signal(&self) -> SignalNumber;

    /// Waits for a signal, at most until a time. Returns whether the time has come instead.
    fn wait(&self, signal: SignalNumber, until: Option<Instant>) -> bool;

    /// Wakes one thread that waits for the signal.
    fn notify_one(&self, signal: SignalNumber);

    /// Wakes all threads that wait for the signal.
    fn notify_all(&self, signal: SignalNumber);

    /// A number in place of a random one.
    fn random(&self) -> u64;
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// The simulation that was entered on this thread, if any.
pub(crate) fn host() -> Option<Rc<dyn Host>> {
    // The thread may be ending.
    HOST.try_with(|host| host.borrow().clone()).ok().flatten()
}

/// Lets `host` run the threads of the journals that this thread opens from now on.
pub fn enter(host: Rc<dyn Host>) -> Entered {
    Entered { before: HOST.replace(Some(host)) }
}

/// Leaves the simulation when it is dropped.
#[derive(Debug)]
#[must_use = "the simulation is left when this is dropped"]
pub struct Entered {
    before: Option<Rc<dyn Host>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let _ = HOST.try_with(|host| host.replace(before));
    }
}
