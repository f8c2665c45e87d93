//! Random losses, stalls and resets against a server that keeps its history: no event is lost,
//! repeated or reordered.
//!
//! `TIDINGS_SIMULATIONS` is how many scripts are run (default 10,000), `TIDINGS_SEED` the first.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tidings_client::reconnect::{Mode, Policy};
use tidings_client::{EventSource, Incoming};
use tidings_sse::{Event, encode};

use crate::network::{Act, Answer, Network};

/// The server's history, and the faults that it causes.
struct History {
    events: Vec<Event>,
    random: Rng,
    /// The number of faults so far; after a maximum there are no more.
    faults: u32,
    connections: u32,
    /// Whether it repeats some events before the cursor.
    overlaps: bool,
}

const FAULTS_MAX: u32 = 12;

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let events = (1..=random.u32(1..20)).map(|number| {
            let size = if random.u32(..40) == 0 { 400 } else { random.usize(..6) };
            let data = format!("{number}\n{}", "é\r".repeat(size));
            Event::new(data).with_id(&format!("{number}☂")).unwrap()
        });
        let events = events.collect();
        let overlaps = random.bool();
        Self { events, random, faults: 0, connections: 0, overlaps }
    }

    fn answer(&mut self, request: &http::Request<Bytes>) -> Answer {
        self.connections += 1;
        assert!(self.connections < 500, "it does not come to its end");
        let cursor = request.headers().get("last-event-id").map(|value| {
            let text = std::str::from_utf8(value.as_bytes()).unwrap();
            text.strip_suffix('☂').unwrap().parse::<usize>().unwrap()
        });
        let calm = self.faults >= FAULTS_MAX;
        let late = Duration::from_millis(self.random.u64(..3000));
        self.faults += 1;
        match if calm { 9 } else { self.random.u32(..12) } {
            0 => Answer::Broken(late),
            1 => Answer::Silence,
            2 => {
                let status = *self.random.choice(&[408, 425, 429, 500, 502, 503, 529]).unwrap();
                let wait = self.random.u32(..100).to_string();
                let mut acts = vec![Act::Send(Bytes::from_static(b"busy")), Act::End];
                if self.random.bool() {
                    acts.truncate(1); // a body that never ends
                }
                Answer::Http(late, status, vec![("retry-after", wait)], acts)
            }
            // An answer with nothing in it.
            3 => Answer::stream(vec![Act::End]),
            _ => self.stream(cursor.unwrap_or(0), calm),
        }
    }

    fn stream(&mut self, cursor: usize, calm: bool) -> Answer {
        let random = &mut self.random;
        let first = if self.overlaps { cursor - random.usize(..=cursor.min(3)) } else { cursor };
        let mut bytes = Vec::new();
        encode::comment("", &mut bytes);
        if random.bool() {
            encode::retry(Duration::from_millis(random.u64(..5000)), &mut bytes);
        }
        for event in &self.events[first..] {
            encode::event(event.as_ref(), &mut bytes);
            if random.u32(..4) == 0 {
                encode::comment("beat", &mut bytes);
            }
        }
        let cut = if calm { bytes.len() } else { random.usize(..=bytes.len()) };
        let mut acts = Vec::new();
        let mut rest = &bytes[..cut];
        while !rest.is_empty() {
            let most = if random.bool() { 16 } else { 1000 };
            let (piece, more) = rest.split_at(random.usize(1..=most).min(rest.len()));
            acts.push(Act::Send(Bytes::copy_from_slice(piece)));
            rest = more;
            if !calm && random.u32(..6) == 0 {
                acts.push(Act::Pause(Duration::from_millis(random.u64(..20_000))));
            }
        }
        match random.u32(..3) {
            _ if calm => {}
            0 => acts.push(Act::End),
            1 => acts.push(Act::Break),
            // A connection that is broken without a sign.
            _ => {}
        }
        Answer::stream(acts)
    }
}

/// Says how to repeat a script that fails.
struct Shown(u64);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("TIDINGS_SIMULATIONS=1 TIDINGS_SEED={}", self.0);
        }
    }
}

async fn run(seed: u64) -> u32 {
    let _shown = Shown(seed);
    let history = Arc::new(Mutex::new(History::new(seed)));
    let (expected, overlaps) = {
        let history = history.lock().unwrap();
        (history.events.clone(), history.overlaps)
    };
    let server = Arc::clone(&history);
    let network = Network::of(move |request| server.lock().unwrap().answer(&request));
    let mut random = Rng::with_seed(!seed);
    let mut policy = Policy::default();
    policy.mode = Mode::Reconnect;
    policy.silence_max = Some(Duration::from_secs(random.u64(5..60)));
    let mut stream = EventSource::get("http://hub.test/")
        .policy(policy)
        .answer_within(Duration::from_secs(10))
        .drop_repeats(if overlaps { 64 } else { 0 })
        .transport(network)
        .open();
    let mut seen = 0;
    while seen < expected.len() {
        let incoming = if random.u32(..4) == 0 {
            // A reader that does something else meanwhile, and drops the future for it.
            let patience = Duration::from_millis(random.u64(..8000));
            match tokio::time::timeout(patience, stream.next()).await {
                Ok(incoming) => incoming,
                Err(_) => continue,
            }
        } else {
            stream.next().await
        };
        match incoming.expect("more") {
            Incoming::Event(event) => {
                let wanted = &expected[seen];
                assert_eq!(event.id(), wanted.id().map(|id| id.as_str()));
                assert_eq!(event.data(), wanted.data().replace('\r', "\n"));
                seen += 1;
            }
            Incoming::Closed(reason) => panic!("{reason}"),
            _ => {}
        }
        if random.u32(..200) == 0 {
            stream.reconnect_now();
        }
    }
    history.lock().unwrap().connections
}

#[test]
fn no_event_is_lost_or_doubled_whatever_the_network_does() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let count: u64 = number("TIDINGS_SIMULATIONS").unwrap_or(10_000);
    // A seed that is not chosen is 0, so that every run tries the same scripts.
    let first = tidings_seed::chosen().unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let connections: u64 = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope
                    .spawn(move || run_all((first + part..first + count).step_by(threads as usize)))
            })
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    });
    println!("{count} scripts, {connections} connections");
}

/// On a clock that advances by itself when every task waits.
fn run_all(seeds: impl Iterator<Item = u64>) -> u64 {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut connections = 0;
        for seed in seeds {
            connections += u64::from(run(seed).await);
        }
        connections
    })
}
