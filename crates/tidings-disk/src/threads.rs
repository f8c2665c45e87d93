//! The journal's threads, and the waits of one for another.
//!
//! In a simulation the threads share one thread of the system. There a wait must let the others
//! run, so a lock that is held during an access to the disk is a [`Gate`], and never a plain lock.

use std::io;
use std::thread;
use std::time::Instant;

use parking_lot::{Condvar, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[cfg(feature = "simulation")]
use crate::simulation::{SignalNumber, ThreadNumber, host};

/// A running thread.
#[derive(Debug)]
pub(crate) enum Thread {
    OfSystem(thread::JoinHandle<()>),
    #[cfg(feature = "simulation")]
    Simulated(ThreadNumber),
}

impl Thread {
    /// Starts a thread.
    ///
    /// # Errors
    /// If the system cannot start one.
    pub(crate) fn start(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if let Some(host) = host() {
            return host.start(name, Box::new(run)).map(Self::Simulated);
        }
        thread::Builder::new().name(name).spawn(run).map(Self::OfSystem)
    }

    /// Waits for the thread's end. It is an error if the thread panicked.
    pub(crate) fn join(self) -> thread::Result<()> {
        match self {
            Self::OfSystem(thread) => thread.join(),
            #[cfg(feature = "simulation")]
            Self::Simulated(thread) => host().map_or(Ok(()), |host| host.join(thread)),
        }
    }
}

/// Whether this thread is ending by a panic.
pub(crate) fn is_panicking() -> bool {
    thread::panicking()
}

/// Wakes threads that wait for a change of a value behind a lock. A thread may wake up without it,
/// and looks at the value again.
#[derive(Debug)]
pub(crate) struct Signal {
    of_system: Condvar,
    #[cfg(feature = "simulation")]
    simulated: Option<SignalNumber>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self {
            of_system: Condvar::new(),
            #[cfg(feature = "simulation")]
            simulated: host().map(|host| host.signal()),
        }
    }

    /// Waits for the signal. The lock is not held meanwhile.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        #[cfg(feature = "simulation")]
        if let Some(signal) = self.simulated {
            MutexGuard::unlocked(guard, || host().map(|host| host.wait(signal, None)));
            return;
        }
        self.of_system.wait(guard);
    }

    /// Waits for the signal, at most until a time. Returns whether the time has come instead.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> bool {
        #[cfg(feature = "simulation")]
        if let Some(signal) = self.simulated {
            return MutexGuard::unlocked(guard, || {
                host().is_none_or(|host| host.wait(signal, Some(until)))
            });
        }
        self.of_system.wait_until(guard, until).timed_out()
    }

    pub(crate) fn notify_one(&self) {
        #[cfg(feature = "simulation")]
        if let Some(signal) = self.simulated {
            if let Some(host) = host() {
                host.notify_one(signal);
            }
            return;
        }
        self.of_system.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        #[cfg(feature = "simulation")]
        if let Some(signal) = self.simulated {
            if let Some(host) = host() {
                host.notify_all(signal);
            }
            return;
        }
        self.of_system.notify_all();
    }
}

/// A lock that is held during accesses to the disk: by many that read, or by one that writes.
#[derive(Debug)]
pub(crate) struct Gate {
    lock: RwLock<()>,
    #[cfg(feature = "simulation")]
    opened: Signal,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            lock: RwLock::new(()),
            #[cfg(feature = "simulation")]
            opened: Signal::new(),
        }
    }

    pub(crate) fn read(&self) -> Passage<'_, RwLockReadGuard<'_, ()>> {
        self.pass(RwLock::read, RwLock::try_read)
    }

    pub(crate) fn write(&self) -> Passage<'_, RwLockWriteGuard<'_, ()>> {
        self.pass(RwLock::write, RwLock::try_write)
    }

    #[cfg_attr(not(feature = "simulation"), expect(unused_variables, reason = "only simulated"))]
    fn pass<'a, G>(
        &'a self,
        lock: fn(&'a RwLock<()>) -> G,
        try_lock: fn(&'a RwLock<()>) -> Option<G>,
    ) -> Passage<'a, G> {
        #[cfg(feature = "simulation")]
        if let Some(signal) = self.opened.simulated {
            loop {
                if let Some(guard) = try_lock(&self.lock) {
                    return Passage { guard: Some(guard), gate: self };
                }
                match host() {
                    Some(host) => host.wait(signal, None),
                    None => break,
                };
            }
        }
        Passage { guard: Some(lock(&self.lock)), gate: self }
    }
}

/// A gate that is passed, and is released when this is dropped.
#[derive(Debug)]
pub(crate) struct Passage<'a, G> {
    guard: Option<G>,
    #[cfg_attr(not(feature = "simulation"), expect(dead_code, reason = "only simulated"))]
    gate: &'a Gate,
}

impl<G> Drop for Passage<'_, G> {
    fn drop(&mut self) {
        self.guard = None;
        #[cfg(feature = "simulation")]
        if self.gate.opened.simulated.is_some() {
            self.gate.opened.notify_all();
        }
    }
}
