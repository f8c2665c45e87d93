//! What the journal on disk does in a second, beside a bare SQLite with the same promise.
//!
//! `cargo xtask bench journal` runs it with the release binary in `TIDINGS`. Compare within one
//! run: disks and machines differ by much.

mod load;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use load::{DATA_BYTES, Hub, Publisher, TOPICS, in_parallel, median, replay, topic};
use rusqlite::Connection;
use tidings_hub::{
    DiskJournal, DiskOptions, History as _, Keep, Log as _, Position, Retention, RetentionRule,
    Rights, Room, Selectors, Update,
};
use tidings_sse::Event;

const USAGE: &str = "\
Options:
  --events N     updates in the large journal [default: 1000000]
  --seconds N    of each measurement of acknowledgements [default: 4]
  --repeat N     how often those are measured, in turns [default: 3]
  --dir PATH     where the data lie: the disk that is measured [default: target/bench]";
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
    let per_second = in_parallel(options.seconds, publishers, |index| {
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
    let hub = hub_on(&dir);
    let address = hub.address;
    in_parallel(options.seconds, publishers, |index| {
        let mut publisher = Publisher::connect(address);
        let mut number = index as u64;
        move || {
            number += 1;
            publisher.publish(number % TOPICS);
        }
    })
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
                let found = runtime
                    .block_on(journal.find(id, &Selectors::all(), &Rights::Public))
                    .expect("it reads");
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
    let hub = hub_on(&dir);
    Publisher::connect(hub.address).publish(0);
    drop(hub);
    let begun = Instant::now();
    let hub = hub_on(&dir);
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

fn hub_on(dir: &Path) -> Hub {
    let keeps =
        "[[journal.retention]]\ncount = 1_000_000_000_000\nbytes = \"1TiB\"\nage = \"1000d\"\n";
    let dir_flag = format!("--data-dir={}", dir.display());
    Hub::start(&dir.with_extension("toml"), keeps, &["--journal=disk", &dir_flag])
}

fn keep_all() -> DiskOptions {
    let bounds = Retention::default().count(u64::MAX).bytes(u64::MAX).age(Duration::MAX);
    let rule = RetentionRule::new(Selectors::all(), Keep::All, bounds);
    DiskOptions::default().retention(vec![rule])
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
        let appended = journal.append(updates.collect(), None, Room::uncounted());
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
