use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use tokio::time::{Instant, advance};

use super::*;

const INTERVAL: Duration = Duration::from_secs(8);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the clock's task run after time has passed.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(Duration::from_millis(500)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_clock_serves_all_streams_of_an_interval_and_ends_with_the_last() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let streams: Vec<_> = (0..1000).map(|_| Heartbeat::start(INTERVAL)).collect();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive(), before + 1);
    drop(streams);
    pass(INTERVAL).await;
    assert_eq!(alive(), before);
    let key = (Handle::current().id(), INTERVAL);
    assert!(!lock(&CLOCKS).contains_key(&key));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_woken_within_the_interval_and_a_busy_one_is_not() {
    let (silent, busy) = (Heartbeat::start(INTERVAL), Heartbeat::start(INTERVAL));
    let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
    let wakers = counts.clone().map(Waker::from);
    assert!(!silent.poll_due(&Context::from_waker(&wakers[0])));
    assert!(!busy.poll_due(&Context::from_waker(&wakers[1])));
    for _ in 0..10 {
        pass(Duration::from_secs(1)).await;
        busy.sent();
    }
    assert_eq!(counts[0].0.load(Ordering::Relaxed), 1);
    assert_eq!(counts[1].0.load(Ordering::Relaxed), 0);
    assert!(silent.poll_due(&Context::from_waker(&wakers[0])));
    assert!(!silent.poll_due(&Context::from_waker(&wakers[0])));
}

#[test]
fn a_clock_ends_with_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (key, _beating) = {
        let _entered = runtime.enter();
        ((runtime.handle().id(), INTERVAL), Heartbeat::start(INTERVAL))
    };
    assert!(lock(&CLOCKS).contains_key(&key));
    drop(runtime);
    assert!(!lock(&CLOCKS).contains_key(&key));
}

#[test]
fn without_a_runtime_there_is_no_heartbeat_and_no_panic() {
    assert!(matches!(Heartbeat::start(INTERVAL), Heartbeat::Idle));
}

/// The waker of an executor that polls and drops inline: whatever is done to it looks at the
/// stream.
struct Inline {
    clock: Arc<Clock>,
    stream: Weak<Stream>,
}

impl Inline {
    fn look(&self) {
        assert!(self.clock.buckets.try_lock().is_ok(), "a waker runs under the clock's lock");
        let stream = self.stream.upgrade();
        let is_free = stream.is_none_or(|stream| stream.waker.try_lock().is_ok());
        assert!(is_free, "a waker runs under its stream's lock");
    }
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        self.look();
    }
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_woken_or_dropped_under_a_lock() {
    let heartbeat = Heartbeat::start(INTERVAL);
    let Heartbeat::Beating { clock, stream } = &heartbeat else { panic!("there is a runtime") };
    let clock = Arc::clone(clock);
    let waker = || {
        let (clock, stream) = (Arc::clone(&clock), Arc::downgrade(stream));
        Waker::from(Arc::new(Inline { clock, stream }))
    };
    // The second replaces the first, which is then dropped.
    for _ in 0..2 {
        assert!(!heartbeat.poll_due(&Context::from_waker(&waker())));
    }
    for _ in 0..TICKS {
        clock.tick();
    }
    heartbeat.poll_due(&Context::from_waker(&waker()));
    // The clock has it last.
    drop(heartbeat);
    for _ in 0..TICKS {
        clock.tick();
    }
}
