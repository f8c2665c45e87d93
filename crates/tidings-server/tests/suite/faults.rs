use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tidings_server::{Event, EventStream};

use crate::client::{End, get};
use crate::server::on_each;

/// Counts how often it is polled, and records when it is dropped.
struct Watched<S> {
    stream: Pin<Box<S>>,
    polls: Arc<AtomicUsize>,
    dropped: Option<tokio::sync::oneshot::Sender<()>>,
}

impl<S: Stream> Stream for Watched<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.stream.as_mut().poll_next(context)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        // No other stream must wait for it.
        let _ = self.dropped.take().map(|dropped| dropped.send(()));
    }
}

/// A place for the next answer's stream, and a look at it.
fn watched<S: Stream<Item = Event> + Send + 'static>(
    make: impl Fn() -> S + Send + Sync + Copy + 'static,
    test: impl AsyncFn(std::net::SocketAddr, Arc<AtomicUsize>, tokio::sync::oneshot::Receiver<()>),
) {
    let next = Arc::new(std::sync::Mutex::new(None));
    let given = Arc::clone(&next);
    let answer = move |_| {
        let (polls, dropped) = given.lock().unwrap().take().expect("one answer is prepared");
        EventStream::new(Watched { stream: Box::pin(make()), polls, dropped: Some(dropped) })
            .heartbeat(Duration::from_millis(40))
    };
    on_each(answer, async |address| {
        let polls = Arc::new(AtomicUsize::new(0));
        let (dropped, gone) = tokio::sync::oneshot::channel();
        *next.lock().unwrap() = Some((Arc::clone(&polls), dropped));
        test(address, polls, gone).await;
    });
}

#[test]
fn the_work_stops_when_the_client_disconnects() {
    watched(stream::pending::<Event>, async |address, _, gone| {
        let mut response = get(address, "/", "").await;
        response.chunk().await.unwrap();
        drop(response);
        // Not by a heartbeat that could not be written: hyper sees the end of what it reads.
        gone.await.unwrap();
    });
}

#[test]
fn a_client_that_never_reads_stops_the_source_and_holds_little() {
    let flood = || stream::repeat_with(|| Event::new("x".repeat(1000)));
    watched(flood, async |address, polls, gone| {
        let response = get(address, "/", "").await;
        // Once sockets and buffers are full, the source is no longer polled.
        let mut before = usize::MAX;
        while polls.load(Ordering::Relaxed) != before {
            before = polls.load(Ordering::Relaxed);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // In addition to the kernel's buffers for both ends of a loopback socket.
        assert!(
            before < 16 << 10,
            "{before} events of 1 kB were taken for a client that reads none"
        );
        drop(response);
        gone.await.unwrap();
    });
}

#[test]
fn a_source_that_floods_reaches_a_slow_reader_whole_and_in_order() {
    let flood = || stream::iter((0..20_000).map(|n: u32| Event::new(format!("{n:0>500}"))));
    watched(flood, async |address, _, _| {
        let mut response = get(address, "/", "").await;
        for n in 0..20_000 {
            assert_eq!(response.event().await.unwrap().data().parse::<u32>().unwrap(), n);
        }
        assert_eq!(response.event().await, Err(End::Clean));
    });
}

#[test]
fn a_source_that_stalls_delays_only_its_own_stream() {
    let answer = |last: tidings_server::LastEventId| {
        let rest = if last.is_some() {
            stream::empty().left_stream()
        } else {
            stream::pending().right_stream()
        };
        EventStream::new(stream::iter([Event::new("first")]).chain(rest))
            .heartbeat(Duration::from_millis(40))
    };
    on_each(answer, async |address| {
        let mut stalled = get(address, "/", "").await;
        assert_eq!(stalled.event().await.unwrap().data(), "first");
        for _ in 0..5 {
            let (events, end) = get(address, "/", "last-event-id: 1\r\n").await.rest().await;
            assert_eq!((events.len(), end), (1, End::Clean));
        }
        assert_eq!(stalled.chunk().await.unwrap(), b":\n");
    });
}

#[test]
fn a_source_that_panics_cuts_its_own_connection_and_no_other() {
    let answer = |last: tidings_server::LastEventId| {
        let panics = last.as_deref() == Some("panic");
        let later = stream::once(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(!panics, "as this test wants it");
            Event::new("x")
        });
        EventStream::new(stream::iter([Event::new("x")]).chain(later))
    };
    on_each(answer, async |address| {
        let (events, end) = get(address, "/", "last-event-id: panic\r\n").await.rest().await;
        assert_eq!((events.len(), end), (1, End::Cut));
        let (events, end) = get(address, "/", "").await.rest().await;
        assert_eq!((events.len(), end), (2, End::Clean));
    });
}
