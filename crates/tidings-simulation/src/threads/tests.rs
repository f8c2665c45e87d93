use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn simulated<T>(act: impl FnOnce(&Threads) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let _runtime = runtime.enter();
    let threads = Threads::new(Rng::with_seed(1), Trace::default());
    let _entered = threads.enter();
    act(&threads)
}

/// The panic of this act.
fn panic_of(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("a panic");
    message(&*panic).to_owned()
}

#[test]
fn a_panic_surfaces_with_its_message_and_the_name_of_its_thread() {
    simulated(|threads| {
        threads.start("writer", || panic!("no page {}", 7)).expect("a thread");
        assert_eq!(panic_of(|| threads.run()), "the thread writer panicked: no page 7");
        assert!(threads.running().is_empty());
        let joined = threads.start("reader", || panic!("no page 8")).expect("a thread");
        let panic = threads.join(joined).expect_err("it panicked");
        assert_eq!(message(&*panic), "no page 8");
        assert_eq!(threads.take_panics(), ["the thread reader panicked: no page 8"]);
    });
}

#[test]
fn a_wait_ends_with_its_signal_or_when_its_time_has_come() {
    simulated(|threads| {
        let given = signal().expect("a simulation");
        let ended = Arc::new(AtomicU64::new(0));
        for until in [None, Some(now() + Duration::from_secs(1))] {
            let ended = Arc::clone(&ended);
            let wait = move || {
                wait(given, until);
                ended.fetch_add(1, Ordering::Relaxed);
            };
            threads.start("waits", wait).expect("a thread");
        }
        threads.run();
        assert_eq!((threads.runnable(), threads.running().len()), (0, 2));
        let next = threads.next_time().expect("one waits for a time");
        assert_eq!(next, now() + Duration::from_secs(1));
        notify_all(given);
        threads.run();
        assert_eq!(ended.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_join_ends_waits_that_only_time_would_end() {
    simulated(|threads| {
        let long = Duration::from_secs(3600);
        let slow = threads.start("slow", move || sleep(long)).expect("a thread");
        threads.run();
        assert_eq!(threads.running(), ["slow"]);
        assert!(threads.join(slow).is_ok());
    });
}

#[test]
fn threads_that_wait_for_each_other_are_named() {
    let panic = panic_of(|| {
        simulated(|threads| {
            let never = signal().expect("a simulation");
            let stuck = threads.start("stuck", move || _ = wait(never, None));
            let _ = threads.join(stuck.expect("a thread"));
        });
    });
    assert!(panic.contains("wait for each other") && panic.contains("stuck"), "{panic}");
}

#[test]
fn each_of_two_threads_that_pause_runs_in_turn() {
    simulated(|threads| {
        let order = Arc::new(Mutex::new(Vec::new()));
        for number in 0..2 {
            let order = Arc::clone(&order);
            let count = move || {
                for _ in 0..20 {
                    order.lock().push(number);
                    pause();
                }
            };
            threads.start("counts", count).expect("a thread");
        }
        threads.run();
        let order = order.lock();
        let turns = order.windows(2).filter(|two| two[0] != two[1]).count();
        assert!((2..39).contains(&turns), "{order:?}");
    });
}
