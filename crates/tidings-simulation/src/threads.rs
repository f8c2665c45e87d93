//! The journal's threads as coroutines, each with a stack of its own, on one thread of the system.
//!
//! A coroutine runs until it waits or accesses the disk. Which one runs next is drawn at random.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use generator::{Generator, Gn};
use parking_lot::Mutex;
use tidings_disk::simulation::{self, Host, SignalNumber, ThreadNumber};

use crate::trace::Trace;

#[cfg(test)]
mod tests;

/// The bytes of a coroutine's stack: SQLite's deepest calls need less than half of it.
const STACK_BYTES: usize = 512 << 10;
/// The steps of all coroutines after which one that is waited for counts as caught in a loop.
const STEPS_MAX: u64 = 20_000_000;

thread_local! {
    static HERE: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

/// The coroutines of one simulation.
#[derive(Debug)]
pub struct Threads(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Draws which coroutine runs next.
    schedule: RefCell<Rng>,
    /// Draws what the journal would draw at random.
    secrets: RefCell<Rng>,
    trace: Trace,
    coroutines: RefCell<Vec<Coroutine>>,
    /// The coroutine that runs, if any.
    current: Cell<Option<ThreadNumber>>,
    /// Numbers for coroutines.
    started: Cell<u64>,
    /// How often each signal was given.
    signals: RefCell<Vec<u64>>,
    steps: Cell<u64>,
    /// The panics that were not reported yet.
    panics: RefCell<Vec<String>>,
    /// Whether the simulation was unwinding when it resumed the coroutine that runs.
    unwinds: Cell<bool>,
}

/// How a coroutine ended.
type Ended = Result<(), Box<dyn Any + Send>>;

struct Coroutine {
    number: ThreadNumber,
    name: String,
    /// Not there while it runs, and after its end.
    generator: Option<Generator<'static, (), ()>>,
    state: State,
    ended: Arc<Mutex<Option<Ended>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It can run. If it waited, this is whether the time has come instead of the signal.
    Ready {
        is_late: bool,
    },
    Waits {
        signal: SignalNumber,
        until: Option<Instant>,
    },
    Ended,
}

impl fmt::Debug for Coroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, state, .. } = self;
        f.debug_struct("Coroutine")
            .field("number", number)
            .field("name", name)
            .field("state", state)
            .finish_non_exhaustive()
    }
}

impl Coroutine {
    /// Whether it can run at this time.
    fn is_runnable(&self, now: Instant) -> bool {
        match self.state {
            State::Ready { .. } => self.generator.is_some(),
            State::Waits { until, .. } => until.is_some_and(|until| until <= now),
            State::Ended => false,
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Threads {
    /// No coroutines yet. The numbers decide which of them runs.
    pub fn new(mut rng: Rng, trace: Trace) -> Self {
        let secrets = RefCell::new(rng.fork());
        Self(Rc::new(Inner {
            schedule: RefCell::new(rng),
            secrets,
            trace,
            coroutines: RefCell::default(),
            current: Cell::new(None),
            started: Cell::new(0),
            signals: RefCell::default(),
            steps: Cell::new(0),
            panics: RefCell::default(),
            unwinds: Cell::new(false),
        }))
    }

    /// From now on the threads of journals that this thread of the system opens are coroutines.
    pub fn enter(&self) -> Entered {
        let before = HERE.replace(Some(Rc::clone(&self.0)));
        let host = simulation::enter(Rc::clone(&self.0) as Rc<dyn Host>);
        Entered { before, _host: host }
    }

    /// The number of coroutines that can run now.
    pub fn runnable(&self) -> usize {
        self.0.runnable()
    }

    /// Runs one of the coroutines that can run, until its next access to the disk or wait. Returns
    /// whether there was one.
    ///
    /// # Panics
    /// If a coroutine panicked, now or during a join, with its message.
    pub fn step(&self) -> bool {
        let is_run = self.0.step();
        if let Some(panic) = self.take_panics().into_iter().next() {
            panic!("{panic}");
        }
        is_run
    }

    /// Runs coroutines until each of them waits.
    ///
    /// # Panics
    /// If one of them panicked, or they never wait.
    pub fn run(&self) {
        let limit = self.0.steps.get() + STEPS_MAX;
        while self.step() {
            assert!(self.0.steps.get() < limit, "these threads never wait: {:?}", self.0);
        }
    }

    /// The next time that a coroutine waits for.
    pub fn next_time(&self) -> Option<Instant> {
        let coroutines = self.0.coroutines.borrow();
        let times = coroutines.iter().filter_map(|one| match one.state {
            State::Waits { until, .. } => until,
            _ => None,
        });
        times.min()
    }

    /// The names of the coroutines that have not ended.
    pub fn running(&self) -> Vec<String> {
        let coroutines = self.0.coroutines.borrow();
        let running = coroutines.iter().filter(|one| one.state != State::Ended);
        running.map(|one| one.name.clone()).collect()
    }

    /// The panics of coroutines that ended during a join. They are reported once.
    pub fn take_panics(&self) -> Vec<String> {
        self.0.panics.take()
    }

    /// How often a coroutine was resumed.
    pub fn steps(&self) -> u64 {
        self.0.steps.get()
    }

    /// Starts a coroutine beside the journal's.
    ///
    /// # Errors
    /// Never: a simulation has room for any number of coroutines.
    pub fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<u64> {
        self.0.start(name.to_owned(), Box::new(run))
    }

    /// Runs coroutines until this one has ended.
    ///
    /// # Errors
    /// The panic by which it ended.
    pub fn join(&self, thread: u64) -> Result<(), Box<dyn Any + Send>> {
        self.0.join(thread)
    }
}

/// Leaves the simulation when it is dropped.
#[derive(Debug)]
#[must_use = "the simulation is left when this is dropped"]
pub struct Entered {
    before: Option<Rc<Inner>>,
    _host: simulation::Entered,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let _ = HERE.try_with(|here| here.replace(before));
    }
}

impl Inner {
    fn runnable(&self) -> usize {
        let now = now();
        self.coroutines.borrow().iter().filter(|one| one.is_runnable(now)).count()
    }

    fn step(&self) -> bool {
        let now = now();
        let count = self.coroutines.borrow().iter().filter(|one| one.is_runnable(now)).count();
        if count == 0 {
            return false;
        }
        let chosen = self.schedule.borrow_mut().usize(..count);
        let number = {
            let mut coroutines = self.coroutines.borrow_mut();
            let mut runnable = coroutines.iter_mut().filter(|one| one.is_runnable(now));
            let one = runnable.nth(chosen).expect("as many were counted");
            if matches!(one.state, State::Waits { .. }) {
                one.state = State::Ready { is_late: true };
            }
            one.number
        };
        self.resume(number);
        true
    }

    /// Runs a coroutine until it suspends itself or ends.
    fn resume(&self, number: ThreadNumber) {
        self.steps.set(self.steps.get() + 1);
        self.trace.note(number);
        let generator = self.of(number, |one| one.generator.take());
        let mut generator = generator.expect("a coroutine that does not run already");
        let before = self.current.replace(Some(number));
        self.unwinds.set(std::thread::panicking());
        generator.resume();
        self.current.set(before);
        if !generator.is_done() {
            self.of(number, |one| one.generator = Some(generator));
            return;
        }
        drop(generator);
        let panic = self.of(number, |one| {
            one.state = State::Ended;
            let ended = one.ended.lock();
            let panic = ended.as_ref().and_then(|ended| ended.as_ref().err());
            panic.map(|panic| format!("the thread {} panicked: {}", one.name, message(&**panic)))
        });
        self.panics.borrow_mut().extend(panic);
    }

    fn of<T>(&self, number: ThreadNumber, act: impl FnOnce(&mut Coroutine) -> T) -> T {
        let mut coroutines = self.coroutines.borrow_mut();
        let one = coroutines.iter_mut().find(|one| one.number == number);
        act(one.expect("it was started and not joined yet"))
    }

    /// Suspends the running coroutine in this state. Returns whether the time that it waited for
    /// has come.
    fn suspend(&self, number: ThreadNumber, state: State) -> bool {
        self.of(number, |one| one.state = state);
        yield_here();
        self.of(number, |one| one.state == State::Ready { is_late: true })
    }

    /// Lets the wait that would end first end now, if any has a time.
    fn hurry(&self) -> bool {
        let mut coroutines = self.coroutines.borrow_mut();
        let until = |one: &Coroutine| match one.state {
            State::Waits { until, .. } => until,
            _ => None,
        };
        let waits = coroutines.iter_mut().filter_map(|one| until(one).map(|until| (until, one)));
        let Some((_, first)) = waits.min_by_key(|(until, _)| *until) else { return false };
        first.state = State::Ready { is_late: true };
        true
    }

    /// Runs coroutines, on no stack but that of the simulation, until `done` or nothing can run.
    fn run_until(&self, done: impl Fn() -> bool) -> bool {
        let limit = self.steps.get() + STEPS_MAX;
        while !done() {
            if !self.step() && !self.hurry() {
                return false;
            }
            assert!(self.steps.get() < limit, "these threads never wait: {self:?}");
        }
        true
    }

    /// A coroutine that unwinds is not suspended: all of them share one count of panics.
    fn can_suspend(&self) -> bool {
        self.unwinds.get() || !std::thread::panicking()
    }

    fn has_ended(&self, number: ThreadNumber) -> bool {
        self.of(number, |one| one.state == State::Ended)
    }

    fn times(&self, signal: SignalNumber) -> u64 {
        self.signals.borrow()[signal as usize]
    }
}

#[expect(deprecated, reason = "a scope cannot be passed through the calls of SQLite")]
fn yield_here() {
    generator::yield_with(());
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

impl Host for Inner {
    fn start(&self, name: String, run: Box<dyn FnOnce() + Send>) -> io::Result<ThreadNumber> {
        let number = self.started.get();
        self.started.set(number + 1);
        let ended = Arc::new(Mutex::new(None));
        let end = Arc::clone(&ended);
        let generator = Gn::new_opt(STACK_BYTES / size_of::<usize>(), move || {
            let result = catch_unwind(AssertUnwindSafe(run));
            *end.lock() = Some(result);
        });
        let state = State::Ready { is_late: false };
        let one = Coroutine { number, name, generator: Some(generator), state, ended };
        self.coroutines.borrow_mut().push(one);
        Ok(number)
    }

    fn join(&self, thread: ThreadNumber) -> Ended {
        if let Some(number) = self.current.get() {
            while !self.has_ended(thread) {
                self.suspend(number, State::Ready { is_late: false });
            }
        } else if !self.run_until(|| self.has_ended(thread)) {
            panic!("the threads wait for each other: {self:?}");
        }
        let mut coroutines = self.coroutines.borrow_mut();
        let at = coroutines.iter().position(|one| one.number == thread);
        let one = coroutines.remove(at.expect("it was started and not joined yet"));
        one.ended.lock().take().unwrap_or(Ok(()))
    }

    fn signal(&self) -> SignalNumber {
        let mut signals = self.signals.borrow_mut();
        signals.push(0);
        signals.len() as u64 - 1
    }

    fn wait(&self, signal: SignalNumber, until: Option<Instant>) -> bool {
        if let Some(number) = self.current.get() {
            return !self.can_suspend() || self.suspend(number, State::Waits { signal, until });
        }
        let before = self.times(signal);
        let is_given = self.run_until(|| self.times(signal) > before);
        assert!(is_given || until.is_some(), "the threads wait for each other: {self:?}");
        !is_given
    }

    fn notify_one(&self, signal: SignalNumber) {
        self.signals.borrow_mut()[signal as usize] += 1;
        let mut coroutines = self.coroutines.borrow_mut();
        let waits =
            |one: &Coroutine| matches!(one.state, State::Waits { signal: of, .. } if of == signal);
        let count = coroutines.iter().filter(|one| waits(one)).count();
        if count > 0 {
            let chosen = self.schedule.borrow_mut().usize(..count);
            let one = coroutines.iter_mut().filter(|one| waits(one)).nth(chosen);
            one.expect("as many were counted").state = State::Ready { is_late: false };
        }
    }

    fn notify_all(&self, signal: SignalNumber) {
        self.signals.borrow_mut()[signal as usize] += 1;
        for one in self.coroutines.borrow_mut().iter_mut() {
            if matches!(one.state, State::Waits { signal: of, .. } if of == signal) {
                one.state = State::Ready { is_late: false };
            }
        }
    }

    fn random(&self) -> u64 {
        self.secrets.borrow_mut().u64(..)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The stack of an unfinished coroutine has frames of SQLite, which cannot be unwound.
        let coroutines = std::mem::take(self.coroutines.get_mut());
        let left: Vec<_> = coroutines.iter().filter(|one| one.state != State::Ended).collect();
        let text = format!("{left:?}");
        let is_any_left = !left.is_empty();
        for one in coroutines {
            std::mem::forget(one.generator);
        }
        assert!(!is_any_left || std::thread::panicking(), "these threads still run: {text}");
    }
}

/// Lets other coroutines run, if a coroutine calls.
pub(crate) fn pause() {
    if let Some((here, number)) = running() {
        here.suspend(number, State::Ready { is_late: false });
    }
}

/// Waits for a signal, at most until a time. Only coroutines wait. Returns whether this one did.
pub(crate) fn wait(signal: SignalNumber, until: Option<Instant>) -> bool {
    let Some((here, number)) = running() else { return false };
    here.suspend(number, State::Waits { signal, until });
    true
}

/// Waits so long, if a coroutine calls.
pub(crate) fn sleep(duration: Duration) {
    if let Some((here, number)) = running() {
        let (signal, until) = (SignalNumber::MAX, Some(now() + duration));
        here.suspend(number, State::Waits { signal, until });
    }
}

/// A signal of the simulation that was entered, if any.
pub(crate) fn signal() -> Option<SignalNumber> {
    here().map(|here| here.signal())
}

/// Wakes all coroutines that wait for the signal.
pub(crate) fn notify_all(signal: SignalNumber) {
    if let Some(here) = here() {
        here.notify_all(signal);
    }
}

fn here() -> Option<Rc<Inner>> {
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
}

/// The coroutine that runs and can be suspended.
fn running() -> Option<(Rc<Inner>, ThreadNumber)> {
    let here = here()?;
    let number = here.current.get()?;
    here.can_suspend().then_some((here, number))
}
