//! What the journal on disk does in a second, beside a bare SQLite with the same promise.
//!
//! `cargo xtask bench journal` runs it with the release binary in `TIDINGS`. Compare within one
//! run: disks and machines differ by much.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tidings_hub::{
    DiskJournal, DiskOptions, Journal as _, Keep, Position, Retention, RetentionRule, Rights,
    Selectors, Update,
};
use tidings_sse::Event;

const USAGE: &str = "\
Options:
  --events N     updates in the large journal [default: 1000000]
  --seconds N    of each measurement of acknowledgements [default: 4]
  --repeat N     how often those are measured, in turns [default: 3]
  --dir PATH     where the data lie: the disk that is measured [default: target/bench]";
/// Topics that the updates are about, in turns.
const TOPICS: u64 = 1000;
const DATA_BYTES: usize = 256;
/// Updates of one sparse topic.
const SPARSE: u64 = 10;

struct Options {
    events: u64,
    seconds: u64,
    repeat: usize,
    dir: PathBuf,
}

fn main() {
    let mut options = Options {
        events: 1_000_000,
        seconds: 4,
        repeat: 3,
        dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-journal"),
    };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let known = match argument.as_str() {
            "--events" => value.parse().map(|events| options.events = events).is_ok(),
            "--seconds" => value.parse().map(|seconds| options.seconds = seconds).is_ok(),
            "--repeat" => value.parse().map(|repeat| options.repeat = repeat).is_ok(),
            "--dir" => {
                options.dir = value.into();
                true
            }
            _ => false,
        };
        if !known {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
    let _ = std::fs::remove_dir_all(&options.dir);
    std::fs::create_dir_all(&options.dir).expect("a folder for the data");
    acknowledgements(&options);
    large(&options);
    let _ = std::fs::remove_dir_all(&options.dir);
}

// Acknowledgements.

fn acknowledgements(options: &Options) {
    println!(
        "durable acknowledgements per second, {DATA_BYTES} bytes, medians of {}",
        options.repeat
    );
    println!("{:>10} {:>12} {:>12} {:>7}", "publishers", "bare store", "hub, HTTP", "ratio");
    for publishers in [1, 16, 256] {
        let (mut bare, mut hub) = (Vec::new(), Vec::new());
        for _ in 0..options.repeat {
            bare.push(bare_store(options, publishers));
            hub.push(over_http(options, publishers));
        }
        let (bare, hub) = (median(bare), median(hub));
        println!("{publishers:>10} {bare:>12.0} {hub:>12.0} {:>7.2}", hub / bare);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rows and an index of topics, and nothing else: one writer takes all that waits and commits it
/// as one transaction, as the hub's does. The fastest settings that keep the promise.
fn bare_store(options: &Options, publishers: usize) -> f64 {
    let dir = options.dir.join("bare");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    let connection = Connection::open(dir.join("bare.db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;
             CREATE TABLE updates (position INTEGER PRIMARY KEY, data BLOB NOT NULL);
             CREATE TABLE topics (topic INTEGER NOT NULL, position INTEGER NOT NULL,
                 PRIMARY KEY (topic, position)) WITHOUT ROWID;",
        )
        .expect("the tables");
    let (queue, requests) = sync_channel::<(u64, SyncSender<()>)>(1024);
    let writer = thread::spawn(move || {
        let mut position = 0_i64;
        while let Ok(first) = requests.recv() {
            let group: Vec<_> =
                std::iter::once(first).chain(requests.try_iter().take(1023)).collect();
            connection.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
            {
                let mut row = connection
                    .prepare_cached("INSERT INTO updates VALUES (?1, ?2)")
                    .expect("a statement");
                let mut entry = connection
                    .prepare_cached("INSERT INTO topics VALUES (?1, ?2)")
                    .expect("a statement");
                for (topic, _) in &group {
                    position += 1;
                    // Spread as hashes are.
                    let topic = (topic % TOPICS).wrapping_mul(0x9e37_79b9_7f4a_7c15).cast_signed();
                    row.execute(rusqlite::params![position, &[b'x'; DATA_BYTES][..]])
                        .expect("a row");
                    entry.execute([topic, position]).expect("an entry");
                }
            }
            connection.execute_batch("COMMIT").expect("a commit");
            for (_, done) in &group {
                // A publisher whose time is up has left.
                let _ = done.send(());
            }
        }
    });
    let per_second = in_parallel(options, publishers, |index| {
        let queue = queue.clone();
        let (done, wait) = sync_channel(1);
        let mut number = index as u64;
        move || {
            number += 1;
            queue.send((number, done.clone())).expect("the writer runs");
            wait.recv().expect("the writer answers");
        }
    });
    drop(queue);
    writer.join().expect("the writer ends");
    per_second
}

fn over_http(options: &Options, publishers: usize) -> f64 {
    let dir = options.dir.join("hub");
    let _ = std::fs::remove_dir_all(&dir);
    let hub = Hub::start(&dir);
    let address = hub.address;
    in_parallel(options, publishers, |index| {
        let mut publisher = Publisher::connect(address);
        let mut number = index as u64;
        move || {
            number += 1;
            publisher.publish(number % TOPICS);
        }
    })
}

/// How often all together do what each of `make` does, in a second.
fn in_parallel<F: FnMut() + Send>(
    options: &Options,
    count: usize,
    make: impl Fn(usize) -> F + Sync,
) -> f64 {
    let done = AtomicU64::new(0);
    let barrier = Barrier::new(count);
    let begun = thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (done, barrier, make) = (&done, &barrier, &make);
                let work = move || {
                    let mut act = make(index);
                    barrier.wait();
                    let begun = Instant::now();
                    while begun.elapsed() < Duration::from_secs(options.seconds) {
                        act();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    begun
                };
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn_scoped(scope, work)
                    .expect("a thread")
            })
            .collect();
        threads.into_iter().map(|one| one.join().expect("it ends")).min().expect("one at least")
    });
    done.into_inner() as f64 / begun.elapsed().as_secs_f64()
}

// A large journal.

fn large(options: &Options) {
    let dir = options.dir.join("large");
    let events = options.events;
    println!("\na journal of {events} updates, {DATA_BYTES} bytes each");
    let begun = Instant::now();
    let ids = fill(&dir, events);
    let seconds = begun.elapsed().as_secs_f64();
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
    let bytes = size("journal.db") as f64 / events as f64;
    println!("  filled in {seconds:.1} s, {bytes:.0} bytes of file per update");

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    {
        let journal = open(&dir);
        for (share, id) in &ids {
            let micros = best_of(20, || {
                let found = runtime.block_on(journal.find(id, &Rights::Public)).expect("it reads");
                assert!(found.is_some());
            });
            println!("  a cursor at {share} % is found in {micros:.0} µs");
        }
        let sparse = Selectors::topic("sparse");
        let micros = best_of(20, || {
            let until = Position::new(events);
            let read = journal.read(Position::START, until, &sparse, &Rights::Public);
            let batch = runtime.block_on(read).expect("it reads");
            assert_eq!(batch.records.len() as u64, SPARSE);
            assert_eq!(batch.through, until);
        });
        println!("  {SPARSE} matches in all of them are read in {micros:.0} µs");
    }
    // A hub that is killed, and another one.
    let hub = Hub::start(&dir);
    Publisher::connect(hub.address).publish(0);
    drop(hub);
    let begun = Instant::now();
    let hub = Hub::start(&dir);
    Publisher::connect(hub.address).publish(0);
    println!("  ready after kill -9 in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);

    let before = hub.memory();
    for subscribers in [1, 100] {
        let wanted = events.min(if subscribers == 1 { 1_000_000 } else { 100_000 });
        let from = position_id(&dir, events - wanted);
        let begun = Instant::now();
        let most = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..subscribers {
                scope.spawn(|| replay(hub.address, &from, wanted));
            }
            most.store(hub.memory(), Ordering::Relaxed);
        });
        let per_second = (wanted * subscribers) as f64 / begun.elapsed().as_secs_f64();
        println!(
            "  {wanted} missed by {subscribers}: {per_second:.0} events a second in all, memory {} to {} MiB",
            before >> 20,
            most.into_inner().max(hub.memory()) >> 20,
        );
    }
}

fn best_of(times: usize, mut act: impl FnMut()) -> f64 {
    let micros = |act: &mut dyn FnMut()| {
        let begun = Instant::now();
        act();
        begun.elapsed().as_secs_f64() * 1e6
    };
    // The median: the first may have to fetch from the disk.
    median((0..times).map(|_| micros(&mut act)).collect())
}

fn keep_all() -> DiskOptions {
    let bounds = Retention { count: u64::MAX, bytes: u64::MAX, age: Duration::MAX };
    let rule = RetentionRule { topics: Selectors::all(), keep: Keep::All, bounds };
    DiskOptions { retention: vec![rule], ..DiskOptions::default() }
}

fn open(dir: &Path) -> DiskJournal {
    DiskJournal::open(dir, keep_all()).expect("the journal opens")
}

/// Fills a journal, and gives the ids at 1, 50 and 99 %.
fn fill(dir: &Path, events: u64) -> Vec<(u64, String)> {
    let journal = open(dir);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let data = "x".repeat(DATA_BYTES);
    let mut ids = Vec::new();
    let mut done = 0;
    while done < events {
        let count = (events - done).min(4000);
        let updates = (done..done + count).map(|number| {
            let is_sparse = number % (events / SPARSE) == events / SPARSE / 2;
            let topic = if is_sparse { "sparse".to_owned() } else { topic(number % TOPICS) };
            Update::new(topic, Event::new(data.clone()))
        });
        let appended = journal.append(updates.collect(), None);
        let appended = runtime.block_on(appended).expect("it is appended");
        for share in [1, 50, 99] {
            let place = events * share / 100;
            if (done..done + count).contains(&place) {
                ids.push((share, appended.ids[(place - done) as usize].to_string()));
            }
        }
        done += count;
    }
    ids
}

fn topic(number: u64) -> String {
    format!("https://bench.test/topics/{number}")
}

/// The id of a place in the journal of a hub that runs.
fn position_id(dir: &Path, position: u64) -> String {
    if position == 0 {
        return "earliest".to_owned();
    }
    let file = tidings_hub::JournalFile::open(dir).expect("a journal");
    let mut id = String::new();
    let _ = file.export(Position::new(position - 1), |record| {
        id = record.hub_id().to_string();
        Err(io::Error::other("one is enough"))
    });
    id
}

/// Reads a stream until so many events have come.
fn replay(address: SocketAddr, from: &str, wanted: u64) {
    let mut socket = TcpStream::connect(address).expect("the hub accepts");
    write!(
        socket,
        "GET /.well-known/mercure?topic=* HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {from}\r\n\r\n"
    )
    .expect("the hub reads");
    let mut bytes = vec![0; 1 << 20];
    let mut seen = 0;
    let mut tail = [0_u8; 5];
    // An event's data line begins after a line end. Two reads may cut it anywhere.
    while seen < wanted {
        let count = socket.read(&mut bytes).expect("the hub sends");
        assert!(count > 0, "the stream ended after {seen} events");
        let mut joined = tail.to_vec();
        joined.extend_from_slice(&bytes[..count]);
        seen += joined.windows(6).filter(|window| *window == b"\ndata:").count() as u64;
        tail.copy_from_slice(&joined[joined.len() - 5..]);
    }
}

// The hub, as it is run.

struct Hub {
    child: Child,
    address: SocketAddr,
}

impl Hub {
    fn start(dir: &Path) -> Self {
        let binary = std::env::var("TIDINGS").expect("TIDINGS names the release binary");
        let config = dir.with_extension("toml");
        let keeps = "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n\
             [[journal.retention]]\ncount = 1_000_000_000_000\nbytes = \"1TiB\"\nage = \"1000d\"\n";
        std::fs::write(&config, keeps).expect("a configuration can be written");
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--journal", "disk", "--data-dir"])
            .arg(dir)
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the hub starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it was piped")).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let _ = writeln!(said, "{line}");
            line.split("http://").nth(1)?.split('/').next()?.parse().ok()
        });
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.unwrap_or_else(|| panic!("no address:\n{said}")) }
    }

    /// What it has in memory of its own, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
struct Publisher {
    socket: TcpStream,
    request: String,
    answer: Vec<u8>,
}

impl Publisher {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the hub accepts");
        socket.set_nodelay(true).expect("an open socket");
        Self { socket, request: String::new(), answer: vec![0; 4096] }
    }

    fn publish(&mut self, number: u64) {
        let body = format!("topic={}&data={}", topic(number), "x".repeat(DATA_BYTES));
        self.request.clear();
        let _ = write!(
            self.request,
            "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.write_all(self.request.as_bytes()).expect("the hub reads");
        let mut length = 0;
        loop {
            let count = self.socket.read(&mut self.answer[length..]).expect("the hub answers");
            assert!(count > 0, "the hub hung up");
            length += count;
            let answer = String::from_utf8_lossy(&self.answer[..length]);
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
            let declared = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if declared.and_then(|text| text.parse().ok()) == Some(body.len()) {
                return;
            }
        }
    }
}
