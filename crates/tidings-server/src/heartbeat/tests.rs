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

/// Lets the clock's task see that time has passed.
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
fn a_runtime_that_is_shut_down_takes_its_clock_with_it() {
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
