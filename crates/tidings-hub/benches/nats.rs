//! What hubs do in a second whose journal is a stream of NATS JetStream, beside JetStream itself.
//!
//! `cargo xtask bench nats` runs it with the release binary in `TIDINGS` and the server's in
//! `NATS_SERVER`. Compare within one run. Everything shares this machine, so each line says who
//! had how much of the processors meanwhile: that is what bounds it.

#[path = "../tests/nats/mod.rs"]
mod nats;

mod load;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::context::Context;
use load::{DATA_BYTES, Hub, Publisher, TOPICS, in_parallel, median, replay, topic};
use nats::{Nats, Settings};

const USAGE: &str = "\
Options:
  --events N       updates in the large stream [default: 1000000]
  --seconds N      of each measurement [default: 4]
  --repeat N       how often each is measured, in turns [default: 3]
  --subscribers N  of each hub, where deliveries are measured [default: 200]
  --jetstream TEXT a line for the servers' block of that name, as `sync_interval: always`
  --only WORD      one of acknowledgements, deliveries and replay";

struct Options {
    events: u64,
    seconds: u64,
    repeat: usize,
    subscribers: usize,
    jetstream: String,
    only: Option<String>,
    dir: PathBuf,
}

impl Options {
    fn settings(&self) -> Settings<'_> {
        Settings { jetstream: &self.jetstream, ..Settings::default() }
    }

    fn one(&self) -> Nats {
        Nats::one_with(self.settings())
    }

    fn cluster(&self) -> Nats {
        Nats::cluster_with(self.settings())
    }
}

fn main() {
    let mut options = Options {
        events: 1_000_000,
        seconds: 4,
        repeat: 3,
        subscribers: 200,
        jetstream: String::new(),
        only: None,
        dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-nats"),
    };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let known = match argument.as_str() {
            "--events" => value.parse().map(|events| options.events = events).is_ok(),
            "--seconds" => value.parse().map(|seconds| options.seconds = seconds).is_ok(),
            "--repeat" => value.parse().map(|repeat| options.repeat = repeat).is_ok(),
            "--subscribers" => value.parse().map(|count| options.subscribers = count).is_ok(),
            "--jetstream" => {
                options.jetstream = value;
                true
            }
            "--only" => {
                options.only = Some(value);
                true
            }
            _ => false,
        };
        if !known {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
    fs::create_dir_all(&options.dir).expect("a folder for configurations");
    let wanted = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    if wanted("acknowledgements") {
        acknowledgements("one server", &options, || options.one());
        acknowledgements("three servers, three replicas", &options, || options.cluster());
    }
    if wanted("deliveries") {
        deliveries(&options);
    }
    if wanted("replay") {
        replays(&options);
    }
    let _ = fs::remove_dir_all(&options.dir);
}

fn hub_on(options: &Options, nats: &Nats, number: usize) -> Hub {
    let keeps = "[[journal.retention]]\ncount = 1_000_000_000\nbytes = \"4GiB\"\nage = \"1000d\"\n";
    let config = options.dir.join(format!("hub-{number}.toml"));
    Hub::start(&config, keeps, &["--journal", &nats.url(), "--heartbeat", "1h", "--shards", "1"])
}

// Who had how much of the processors.

/// Time that processes had, by what they are.
struct Shares {
    begun: Instant,
    all: Vec<(&'static str, Vec<u32>, f64)>,
}

impl Shares {
    fn of(hubs: &[&Hub], nats: &Nats) -> Self {
        let hubs = hubs.iter().map(|hub| hub.pid()).collect();
        let servers = (0..nats.len()).map(|index| nats.pid(index)).collect();
        let all = [("hubs", hubs), ("NATS", servers), ("load", vec![std::process::id()])];
        let all = all.map(|(what, pids)| {
            let seconds = seconds_of(&pids);
            (what, pids, seconds)
        });
        Self { begun: Instant::now(), all: all.into() }
    }

    /// In percent of one processor since it was made.
    fn text(&self) -> String {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let share = |(what, pids, before): &(&str, Vec<u32>, f64)| {
            format!("{what} {:.0} %", (seconds_of(pids) - before) / elapsed * 100.0)
        };
        self.all.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

/// The processor time of these processes, in seconds.
fn seconds_of(pids: &[u32]) -> f64 {
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before may have spaces in it, and ends with the last parenthesis.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let field = |index: usize| fields.split_whitespace().nth(index)?.parse::<f64>().ok();
        field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)
    };
    // Linux counts a hundred a second, whatever its own clock does.
    pids.iter().map(ticks).sum::<f64>() / 100.0
}

// Acknowledgements.

fn acknowledgements(servers: &str, options: &Options, start: impl Fn() -> Nats) {
    println!(
        "acknowledgements per second on {servers}, {DATA_BYTES} bytes, medians of {}",
        options.repeat
    );
    println!("{:>10} {:>12} {:>12} {:>7}", "publishers", "JetStream", "hub, HTTP", "ratio");
    for publishers in [1, 16, 256] {
        let (mut bare, mut hub, mut shares) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..options.repeat {
            bare.push(bare_jetstream(options, &start(), publishers));
            let nats = start();
            let one = hub_on(options, &nats, 0);
            let measured = Shares::of(&[&one], &nats);
            hub.push(over_http(options, &one, publishers));
            shares = measured.text();
        }
        let (bare, hub) = (median(bare), median(hub));
        println!("{publishers:>10} {bare:>12.0} {hub:>12.0} {:>7.2}   {shares}", hub / bare);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn connect(nats: &Nats, replicas: usize) -> Context {
    let servers: Vec<String> = nats.url().split(',').map(str::to_owned).collect();
    let client = async_nats::connect(servers).await.expect("the servers accept");
    let context = jetstream::new(client);
    context
        .create_stream(jetstream::stream::Config {
            name: "BARE".to_owned(),
            subjects: vec!["bare".to_owned()],
            num_replicas: replicas,
            ..jetstream::stream::Config::default()
        })
        .await
        .expect("a stream");
    context
}

/// One client, as each hub has, over which each publisher waits for its acknowledgement. Each
/// message has an id, as those of the hub have.
fn bare_jetstream(options: &Options, nats: &Nats, publishers: usize) -> f64 {
    let done = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let elapsed = runtime().block_on(async {
        let context = connect(nats, nats.len()).await;
        let begun = Instant::now();
        let publish = |index: usize| {
            let (context, done, is_over) = (context.clone(), &done, &is_over);
            async move {
                let mut number = index as u64;
                while !is_over.load(Ordering::Relaxed) {
                    number += 1;
                    let payload = format!("{} {}", topic(number % TOPICS), "x".repeat(DATA_BYTES));
                    let message = jetstream::message::PublishMessage::build()
                        .payload(payload.into())
                        .message_id(format!("{index}.{number}"));
                    let sent = context.send_publish("bare", message).await.expect("it is sent");
                    sent.await.expect("it is acknowledged");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let end = async {
            tokio::time::sleep(Duration::from_secs(options.seconds)).await;
            is_over.store(true, Ordering::Relaxed);
            begun.elapsed()
        };
        let all = futures_util::future::join_all((0..publishers).map(publish));
        tokio::join!(all, end).1
    });
    done.into_inner() as f64 / elapsed.as_secs_f64()
}

fn over_http(options: &Options, hub: &Hub, publishers: usize) -> f64 {
    in_parallel(options.seconds, publishers, |index| {
        let mut publisher = Publisher::connect(hub.address);
        let mut number = index as u64;
        move || {
            number += 1;
            publisher.publish(number % TOPICS);
        }
    })
}

// Deliveries.

/// Publishers, spread over the hubs, publish all that they can; each subscriber gets it all.
fn deliveries(options: &Options) {
    println!(
        "\ndeliveries per second, {} subscribers at each hub on one server, 16 publishers, medians of {}",
        options.subscribers, options.repeat
    );
    println!("{:>10} {:>14} {:>14}", "hubs", "deliveries", "published");
    for count in 1..=3 {
        let (mut delivered, mut published, mut shares) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..options.repeat {
            let nats = options.one();
            let hubs: Vec<_> = (0..count).map(|number| hub_on(options, &nats, number)).collect();
            let addresses: Vec<_> = hubs.iter().map(|hub| hub.address).collect();
            let readers = Readers::of(&addresses, options.subscribers);
            let measured = Shares::of(&hubs.iter().collect::<Vec<_>>(), &nats);
            let begun = Instant::now();
            let per_second = in_parallel(options.seconds, 16, |index| {
                let mut publisher = Publisher::connect(addresses[index % addresses.len()]);
                let mut number = index as u64;
                move || {
                    number += 1;
                    publisher.publish(number % TOPICS);
                }
            });
            shares = measured.text();
            delivered.push(readers.end() as f64 / begun.elapsed().as_secs_f64());
            published.push(per_second);
        }
        let (delivered, published) = (median(delivered), median(published));
        println!("{count:>10} {delivered:>14.0} {published:>14.0}   {shares}");
    }
}

/// Streams that are read as fast as they come, and the events that came.
struct Readers {
    threads: Vec<thread::JoinHandle<u64>>,
    is_over: std::sync::Arc<AtomicBool>,
}

impl Readers {
    fn of(hubs: &[SocketAddr], each: usize) -> Self {
        let is_over = std::sync::Arc::new(AtomicBool::new(false));
        let open = |address: &SocketAddr| {
            let mut socket = TcpStream::connect(address).expect("the hub accepts");
            write!(socket, "GET /.well-known/mercure?topic=* HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .expect("the hub reads");
            let mut bytes = [0; 4096];
            let mut head = Vec::new();
            // The head, and the comment that each stream begins with.
            while String::from_utf8_lossy(&head)
                .split_once("\r\n\r\n")
                .is_none_or(|(_, rest)| rest.is_empty())
            {
                let count = socket.read(&mut bytes).expect("the hub answers");
                head.extend_from_slice(&bytes[..count]);
            }
            socket.set_nonblocking(true).expect("an open socket");
            socket
        };
        // One thread for each hub: more would only take turns.
        let threads = hubs
            .iter()
            .map(|address| {
                let sockets: Vec<_> = (0..each).map(|_| open(address)).collect();
                let is_over = std::sync::Arc::clone(&is_over);
                thread::spawn(move || read_all(sockets, &is_over))
            })
            .collect();
        Self { threads, is_over }
    }

    /// How many events had come when nothing more did.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        self.threads.into_iter().map(|one| one.join().expect("it ends")).sum()
    }
}

fn read_all(mut sockets: Vec<TcpStream>, is_over: &AtomicBool) -> u64 {
    let mut bytes = vec![0; 256 << 10];
    let mut events = 0;
    // Only a line that begins with it begins with an i; two reads may cut between the two bytes.
    let mut ends = vec![0_u8; sockets.len()];
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let mut has_read = false;
        for (socket, end) in sockets.iter_mut().zip(&mut ends) {
            while let Ok(count @ 1..) = socket.read(&mut bytes) {
                has_read = true;
                events += u64::from(*end == b'\n' && bytes[0] == b'i');
                let pairs = bytes[..count].windows(2);
                events += pairs.filter(|pair| *pair == b"\ni").count() as u64;
                *end = bytes[count - 1];
                if count < bytes.len() {
                    break;
                }
            }
        }
        if was_over && !has_read {
            return events;
        }
        if !has_read {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

// Replay.

fn replays(options: &Options) {
    let events = options.events;
    let nats = options.one();
    let begun = Instant::now();
    {
        let hub = hub_on(options, &nats, 0);
        let body = || -> String {
            let data = "x".repeat(DATA_BYTES);
            let line = |number: u64| {
                format!("{{\"topics\":[\"{}\"],\"data\":\"{data}\"}}\n", topic(number % TOPICS))
            };
            (0..1000).map(line).collect()
        };
        let left = AtomicU64::new(events.div_ceil(1000));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut publisher = Publisher::connect(hub.address);
                    let body = body();
                    let take = |left: u64| left.checked_sub(1);
                    while left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
                        publisher.publish_batch(&body);
                    }
                });
            }
        });
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "\na stream of {events} updates, {DATA_BYTES} bytes each, published in {seconds:.1} s"
    );
    for subscribers in [1, 10] {
        // A hub of its own: it remembers nothing of them.
        let hub = hub_on(options, &nats, 1);
        let before = hub.memory();
        let wanted = if subscribers == 1 { events } else { events / 10 };
        let measured = Shares::of(&[&hub], &nats);
        let begun = Instant::now();
        let most = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..subscribers {
                scope.spawn(|| {
                    replay(hub.address, "earliest", wanted);
                    most.fetch_max(hub.memory(), Ordering::AcqRel);
                });
            }
        });
        let per_second = (wanted * subscribers) as f64 / begun.elapsed().as_secs_f64();
        println!(
            "  {wanted} missed by {subscribers}: {per_second:.0} events a second in all, memory {} to {} MiB   {}",
            before >> 20,
            most.into_inner() >> 20,
            measured.text(),
        );
    }
}
