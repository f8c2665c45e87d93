//! Subscribers, a publisher and newcomers that are not part of an attack, and how long the hub
//! takes to serve them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings_sse::{Decoder, Item, Limits};

use super::peers::{FRIEND, Trust, Wire};

/// Subscribers that stay.
const SUBSCRIBERS: usize = 10;
/// Time between two updates, and between two newcomers.
const PUBLISHES: Duration = Duration::from_millis(50);
const NEWCOMERS: Duration = Duration::from_millis(250);
/// How long the hub may be silent, which sends a heartbeat every 15 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many faults are reported.
const FAULTS_MAX: usize = 20;
/// The data of the last update.
const END: &str = "end";

pub(super) struct Live {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    hub: SocketAddr,
    trust: Trust,
    /// The publisher's token.
    token: String,
    begun: Instant,
    is_done: AtomicBool,
    /// Whether the hub has ended.
    is_over: AtomicBool,
    times: Mutex<Times>,
    faults: Mutex<Vec<String>>,
}

/// How long things took, each from when it was due.
#[derive(Default)]
pub(super) struct Times {
    /// From a publish to its event, at each subscriber.
    pub(super) deliveries: Vec<Duration>,
    /// Until a newcomer's stream was live.
    pub(super) openings: Vec<Duration>,
}

impl Live {
    /// Opens the streams, and begins to publish.
    pub(super) fn start(hub: SocketAddr, trust: &Trust, token: String) -> Self {
        let shared = Arc::new(Shared {
            hub,
            trust: trust.clone(),
            token,
            begun: Instant::now(),
            is_done: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            times: Mutex::default(),
            faults: Mutex::default(),
        });
        let streams: Vec<_> = (0..SUBSCRIBERS)
            .map(|_| shared.subscribe("topic=live&tidings=notices").expect("a quiet hub serves"))
            .collect();
        let mut threads: Vec<_> = streams
            .into_iter()
            .map(|stream| shared.run(move |shared| shared.follow(stream)))
            .collect();
        threads.push(shared.run(|shared| shared.publish()));
        threads.push(shared.run(|shared| shared.come_and_go()));
        Self { shared, threads }
    }

    /// The measurements since the last call.
    pub(super) fn take(&self) -> Times {
        std::mem::take(&mut *self.shared.times())
    }

    /// Ends all clients, and returns the faults. There are none if each subscriber got each update
    /// once and in order, and each new client its stream.
    pub(super) fn finish(self, hub_lives: bool) -> Vec<String> {
        self.shared.is_over.store(!hub_lives, Ordering::Release);
        self.shared.is_done.store(true, Ordering::Release);
        for thread in self.threads {
            if thread.join().is_err() {
                self.shared.fault("a client of ours failed".to_owned());
            }
        }
        std::mem::take(&mut self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn run(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) -> JoinHandle<()> {
        let shared = Arc::clone(self);
        thread::spawn(move || work(&shared))
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, text: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < FAULTS_MAX {
            faults.push(format!("{text} ({:.1} s after the start)", self.now().as_secs_f64()));
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Waits until so long after the start, or until all is done.
    fn wait_until(&self, due: Duration) {
        while self.now() < due && !self.is_done() {
            thread::park_timeout(due.saturating_sub(self.now()).min(NEWCOMERS));
        }
    }

    /// Opens a stream and waits until it is live.
    fn subscribe(&self, query: &str) -> Result<Events, String> {
        let mut wire = self
            .trust
            .open(self.hub, FRIEND, PATIENCE)
            .map_err(|error| format!("no connection: {error}"))?;
        let request =
            format!("GET /.well-known/mercure?{query} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        wire.write_all(request.as_bytes()).map_err(|error| format!("no request: {error}"))?;
        let mut events = Events { wire, decoder: Decoder::new(Limits::default()) };
        events.head()?;
        match events.next()? {
            live if live.contains("\"live\"") => Ok(events),
            other => Err(format!("a stream began with {other:?}")),
        }
    }

    /// Reads each update, and notes how long it took.
    fn follow(&self, mut events: Events) {
        let mut next = 0;
        loop {
            let data = match events.next() {
                Ok(data) => data,
                Err(error) => {
                    return self.fault(format!("a live subscriber lost its stream: {error}"));
                }
            };
            if data == END {
                return;
            }
            let numbers = data.split_once(' ').and_then(|(number, due)| {
                Some((number.parse::<u64>().ok()?, due.parse::<u64>().ok()?))
            });
            match numbers {
                Some((number, due)) if number == next => {
                    let took = self.now().saturating_sub(Duration::from_micros(due));
                    self.times().deliveries.push(took);
                }
                _ => {
                    return self
                        .fault(format!("a live subscriber got {data:?} in place of {next}"));
                }
            }
            next += 1;
        }
    }

    /// Publishes on schedule, and repeats each update until it is accepted.
    fn publish(&self) {
        let mut publisher = None;
        for number in 0.. {
            let due = PUBLISHES.saturating_mul(number);
            self.wait_until(due);
            let is_last = self.is_done();
            // A new topic makes each shard search for all patterns that match it.
            let topic = format!("https://live.test/{}{number}", "a".repeat(60));
            let data =
                if is_last { END.to_owned() } else { format!("{number} {}", due.as_micros()) };
            let body = format!("topic=live&topic={topic}&data={data}");
            let given_up = Instant::now() + PATIENCE;
            while let Err(error) = self.try_publish(&mut publisher, number, &body) {
                publisher = None;
                self.fault(format!("a publish failed: {error}"));
                let is_over = self.is_over.load(Ordering::Acquire);
                if is_over || Instant::now() > given_up {
                    return;
                }
                thread::park_timeout(NEWCOMERS);
            }
            if is_last {
                return;
            }
        }
    }

    fn try_publish(
        &self,
        publisher: &mut Option<BufReader<Box<dyn Wire>>>,
        number: u32,
        body: &str,
    ) -> Result<(), String> {
        let publisher = match publisher {
            Some(publisher) => publisher,
            None => publisher.insert(BufReader::new(
                self.trust.open(self.hub, FRIEND, PATIENCE).map_err(|error| error.to_string())?,
            )),
        };
        let request = format!(
            "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\nidempotency-key: live-{number}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        publisher.get_mut().write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            let count = publisher.read_line(&mut line).map_err(|error| error.to_string())?;
            match line.trim_end() {
                _ if count == 0 => return Err("the hub hung up".to_owned()),
                "" => break,
                line if status.is_empty() => line.clone_into(&mut status),
                line => {
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().map_err(|_| format!("a length of {value}"))?;
                    }
                }
            }
        }
        let mut answer = vec![0; length];
        publisher.read_exact(&mut answer).map_err(|error| error.to_string())?;
        if status.contains(" 200 ") {
            return Ok(());
        }
        Err(format!("{status}: {}", String::from_utf8_lossy(&answer)))
    }

    /// Opens a stream on schedule, and closes it.
    fn come_and_go(&self) {
        for number in 0.. {
            let due = NEWCOMERS.saturating_mul(number);
            self.wait_until(due);
            if self.is_done() {
                return;
            }
            match self.subscribe("topic=newcomer&tidings=notices") {
                Ok(_) => self.times().openings.push(self.now().saturating_sub(due)),
                Err(error) => self.fault(format!("a newcomer has no stream: {error}")),
            }
        }
    }
}

/// An event stream of HTTP/1.0, which has no chunks.
struct Events {
    wire: Box<dyn Wire>,
    decoder: Decoder,
}

impl Events {
    fn head(&mut self) -> Result<(), String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.wire.read(&mut byte) {
                Ok(1) => head.extend(byte),
                Ok(_) => return Err("the hub hung up before its answer".to_owned()),
                Err(error) => return Err(format!("no answer: {error}")),
            }
        }
        let head = String::from_utf8_lossy(&head);
        match head.lines().next() {
            Some(line) if line.contains(" 200 ") => Ok(()),
            line => Err(format!("the answer {line:?}")),
        }
    }

    /// The data of the next event.
    fn next(&mut self) -> Result<String, String> {
        loop {
            while let Some(item) = self.decoder.next() {
                if let Item::Event(event) = item {
                    return Ok(event.data().to_owned());
                }
            }
            let mut bytes = [0; 4096];
            match self.wire.read(&mut bytes) {
                Ok(0) => return Err("the hub hung up".to_owned()),
                Ok(count) => self.decoder.push(&bytes[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
