//! The journal alone, over the simulated disk.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{
    AppendError, Batch, Follower, History as _, Keep, Log as _, ReadError, Retention,
    RetentionRule, Room,
};
use tidings_core::model::{Position, Rights, Selectors, Update};
use tidings_disk::{DiskJournal, DiskOptions, Promise};
use tidings_sse::Event;
use tokio::runtime::Runtime;

use super::*;
use crate::threads::Threads;

/// A future of the journal.
type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type ReadAnswer<'a> = Answer<'a, Result<Batch, ReadError>>;

thread_local! {
    static WALL: Cell<u64> = const { Cell::new(0) };
}

/// The system's clock.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(WALL.get())
}

/// What a run is made with.
#[derive(Clone, Copy, Debug)]
struct Settings {
    promise: Promise,
    /// The updates that retention keeps.
    keeps: Option<u64>,
    is_lying: bool,
    lives: usize,
}

/// One publish: its updates' data, and its key.
#[derive(Clone, Debug)]
struct Sent {
    data: Vec<String>,
    key: Option<String>,
}

impl Sent {
    fn append<'a>(&self, journal: &'a DiskJournal) -> Answer<'a, Result<Appended, AppendError>> {
        let update = |data: &String| {
            let topic = ["a", "b", "c"][data.len() % 3];
            let padding = "x".repeat(data.len() * 97 % 3000);
            Update::new(topic, Event::new(format!("{data} {padding}"))).about("all")
        };
        let key = |key| IdempotencyKey::new(key, self.data.join(",").as_bytes()).expect("a key");
        let updates = self.data.iter().map(update).collect();
        journal.append(updates, self.key.as_deref().map(key), Room::uncounted())
    }
}

fn poll<T>(future: &mut Answer<'_, T>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn data(record: &tidings_core::model::Record) -> String {
    record.update.event().data().split(' ').next().expect("a number").to_owned()
}

struct World<'a> {
    settings: Settings,
    rng: Rng,
    runtime: &'a Runtime,
    threads: &'a Threads,
    disk: &'a Disk,
    folder: &'a Path,
    trace: Trace,
    /// The data and id of each acknowledged update, by its position.
    acknowledged: BTreeMap<u64, (String, String)>,
    /// Publishes that were acknowledged, for which the same key answers the same.
    keyed: Vec<(Sent, Vec<String>)>,
    /// Publishes without an answer.
    unanswered: Vec<Sent>,
    /// The updates that the tail showed.
    shown: BTreeMap<u64, String>,
    published: usize,
    /// An earlier power cut took updates, as it may under an interval.
    has_lost: bool,
    /// The power was cut since the last check.
    is_cut: bool,
}

impl World<'_> {
    /// Opens the journal. It may crash during that, several times.
    fn open_after_crashes(&mut self) -> DiskJournal {
        while self.rng.u8(..4) == 0 {
            let crash = if self.rng.bool() { Crash::Kill } else { Crash::PowerCut };
            self.disk.crash_in(self.rng.u64(..40), crash);
            let opened = self.try_open();
            self.disk.cancel_crash();
            self.trace.note(u64::from(opened.is_ok()));
            match opened {
                Ok(journal) => return journal,
                Err(error) => assert!(self.disk.crashed().is_some(), "{error}"),
            }
            self.is_cut |= self.disk.crashed() == Some(Crash::PowerCut);
            self.disk.restore();
        }
        self.try_open().expect("it opens after every crash")
    }

    fn try_open(&self) -> Result<DiskJournal, tidings_disk::OpenError> {
        let bounds = |count| Retention::default().count(count).bytes(u64::MAX).age(Duration::MAX);
        let keeps = self.settings.keeps.unwrap_or(u64::MAX);
        let options = DiskOptions::default()
            .retention(vec![RetentionRule::new(Selectors::all(), Keep::All, bounds(keeps))])
            .promise(self.settings.promise)
            .now(wall)
            .vfs(Some(self.disk.vfs()));
        DiskJournal::open(self.folder, options)
    }

    fn advance(&self, by: Duration) {
        WALL.set(WALL.get() + u64::try_from(by.as_millis()).expect("a short time"));
        self.runtime.block_on(tokio::time::advance(by));
    }

    /// Runs the journal until it answers.
    fn wait<T>(&self, mut future: Answer<'_, T>) -> Option<T> {
        for _ in 0..10_000 {
            if let Some(answer) = poll(&mut future) {
                return Some(answer);
            }
            self.threads.run();
            if self.disk.crashed().is_some() {
                return None;
            }
            if let Some(answer) = poll(&mut future) {
                return Some(answer);
            }
            self.advance(Duration::from_millis(50));
        }
        panic!("no answer comes");
    }

    fn next(&mut self) -> Sent {
        let count = if self.rng.u8(..4) == 0 { self.rng.usize(2..9) } else { 1 };
        let data = (0..count).map(|n| format!("{}.{n}.{count}", self.published)).collect();
        self.published += 1;
        let key = self.rng.bool().then(|| format!("key{}", self.published));
        Sent { data, key }
    }

    fn acknowledge(&mut self, sent: &Sent, appended: &Appended) {
        let ids: Vec<_> = appended.ids.iter().map(ToString::to_string).collect();
        assert_eq!(ids.len(), sent.data.len());
        for (id, data) in ids.iter().zip(&sent.data) {
            self.trace.note_bytes(id.as_bytes());
            let position = id.split('.').nth(1).expect("an id").parse().expect("a position");
            let before = self.acknowledged.insert(position, (data.clone(), id.clone()));
            assert!(
                before.as_ref().is_none_or(|(before, _)| before == data),
                "two updates have the position {position}: {before:?} and {data}"
            );
        }
        if sent.key.is_some() {
            self.keyed.push((sent.clone(), ids));
        }
    }

    /// Checks what a read of all updates between two positions answered.
    fn check_batch(&self, after: u64, until: u64, batch: &Batch) {
        let mut at = after;
        for record in &batch.records {
            let position = record.position.number();
            // Under an interval, updates between others may be lost.
            let is_next = position == at + 1 || position > at && batch.missed.is_some();
            assert!(is_next && position <= until, "{position} follows {at} up to {until}");
            at = position;
            if let Some((known, _)) = self.acknowledged.get(&position) {
                assert_eq!(*known, data(record), "at {position}");
            }
            self.trace.note(position);
        }
        let through = batch.through.number();
        assert!(through >= at && (through > after || after >= until), "{after} {through} {until}");
        assert!(through == at || batch.missed.is_some(), "{at} is the end, and not {through}");
    }

    /// One life of the journal, until a crash or its end.
    fn life(&mut self, journal: &DiskJournal, follower: &Follower) {
        let selectors = Selectors::all();
        let mut publishes: Vec<(Sent, Answer<'_, _>)> = Vec::new();
        let mut reads: Vec<(u64, u64, ReadAnswer<'_>)> = Vec::new();
        let mut tail = follower.begin();
        let steps = self.rng.usize(10..60);
        if self.rng.bool() {
            let crash = if self.rng.bool() { Crash::Kill } else { Crash::PowerCut };
            self.disk.crash_in(self.rng.u64(..120), crash);
        }
        for _ in 0..steps {
            match self.rng.u8(..16) {
                0..=4 => {
                    let sent = self.next();
                    let answer = sent.append(journal);
                    publishes.push((sent, answer));
                }
                5 | 6 => {
                    let until = journal.edges().last.position.number();
                    let after = self.rng.u64(..=until);
                    let (from, to) = (Position::new(after), Position::new(until));
                    reads.push((after, until, journal.read(from, to, &selectors, &Rights::Public)));
                }
                7..=11 => {
                    for _ in 0..self.rng.u8(1..40) {
                        self.threads.step();
                    }
                }
                12 => self.threads.run(),
                13 => {
                    let by = Duration::from_millis(self.rng.u64(1..400));
                    self.advance(by);
                }
                14 => match self.rng.u8(..6) {
                    0 => self.disk.hang(),
                    1 => {
                        let bits = self.rng.u8(..8);
                        let (reads, writes, syncs) = (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
                        self.disk.fail(Failing { reads, writes, syncs });
                    }
                    2 => self.disk.set_capacity(Some(self.disk.bytes() + self.rng.usize(..20_000))),
                    _ => {
                        self.disk.release();
                        self.disk.fail(Failing::default());
                        self.disk.set_capacity(None);
                    }
                },
                _ => {
                    let edges = journal.edges();
                    self.trace.note(edges.last.position.number());
                    self.trace.note(edges.first.number());
                }
            }
            // No program sees what the disk did after its end.
            if self.disk.crashed().is_some() {
                break;
            }
            let mut left = Vec::new();
            for (sent, mut answer) in publishes {
                match poll(&mut answer) {
                    None => left.push((sent, answer)),
                    Some(Ok(appended)) => self.acknowledge(&sent, &appended),
                    Some(Err(error)) => {
                        self.trace.note_bytes(error.to_string().as_bytes());
                        self.unanswered.push(sent);
                    }
                }
            }
            publishes = left;
            reads.retain_mut(|(after, until, answer)| match poll(answer) {
                None => true,
                Some(Ok(batch)) => {
                    self.check_batch(*after, *until, &batch);
                    false
                }
                Some(Err(_)) => {
                    self.trace.note(*after);
                    false
                }
            });
            let mut records = Vec::new();
            if let tidings_core::journal::Tail::Through(_) =
                journal.tail(tail, usize::MAX, &mut records)
                && let Some(newest) = records.last()
            {
                tail = newest.hub_id();
                follower.take(newest);
            }
            for record in records {
                self.shown.insert(record.position.number(), data(&record));
            }
        }
        self.unanswered.extend(publishes.into_iter().map(|(sent, _)| sent));
        let is_end = self.disk.crashed().is_none() && self.rng.u8(..4) == 0;
        if !is_end {
            let crash = if self.rng.bool() { Crash::Kill } else { Crash::PowerCut };
            self.disk.crash(crash);
        }
    }

    /// Everything that the journal has, and whether it tells of a loss.
    fn read(&self, journal: &DiskJournal) -> Option<(BTreeMap<u64, String>, bool)> {
        let until = journal.edges().last.position;
        let mut at = Position::START;
        let (mut all, mut lost) = (BTreeMap::new(), false);
        let selectors = Selectors::all();
        while at < until {
            let read = journal.read(at, until, &selectors, &Rights::Public);
            let batch = self.wait(read)?.expect("it can be read");
            lost |= batch.missed.is_some();
            all.extend(batch.records.iter().map(|one| (one.position.number(), data(one))));
            assert!(batch.through > at);
            at = batch.through;
        }
        Some((all, lost))
    }

    fn check(&mut self, journal: &DiskJournal) {
        if let Some(keeps) = self.settings.keeps {
            let kept =
                || journal.edges().last.position.number() + 1 - journal.edges().first.number();
            for _ in 0..200 {
                self.threads.run();
                if kept() <= keeps {
                    break;
                }
                self.advance(Duration::from_millis(250));
            }
            let last = journal.edges().last.position.number();
            assert!(kept() <= keeps, "it is never trimmed");
            assert!(kept() >= keeps.min(last), "{} of {last} updates are left", kept());
        }
        let (all, lost) = self.read(journal).expect("no crash");
        let first = journal.edges().first.number();
        let is_cut = std::mem::take(&mut self.is_cut);
        let may_lose = self.settings.promise != Promise::Always && is_cut;
        self.has_lost |= lost && may_lose;
        let may_tell = first > 1 || self.has_lost;
        assert_eq!(lost, may_tell, "a loss is told in vain, or not told");
        let is_told = lost && may_lose;
        let is_there = |position: u64, data: &String| {
            position < first || is_told || all.get(&position) == Some(data)
        };
        for (position, data) in &self.shown {
            assert!(is_there(*position, data), "{data} at {position} was shown and is lost");
        }
        for (position, (data, id)) in &self.acknowledged {
            assert!(is_there(*position, data), "{data} was acknowledged and is lost");
            if *position < first || all.contains_key(position) {
                let selectors = Selectors::all();
                let found = self.wait(journal.find(id, &selectors, &Rights::Public));
                let found = found.expect("no crash").expect("it can be read");
                let found = found.map(|found| found.place.position.number());
                assert_eq!(found, Some(*position));
            }
        }
        let mut numbers: Vec<_> = all.values().collect();
        numbers.sort();
        assert!(numbers.windows(2).all(|two| two[0] != two[1]), "an update is there twice");
        for sent in &self.unanswered {
            let count = sent.data.iter().filter(|data| numbers.contains(data)).count();
            assert!(count == 0 || count == sent.data.len() || first > 1, "a batch in part");
        }
        for (position, data) in &all {
            self.trace.note(*position);
            self.trace.note_bytes(data.as_bytes());
        }
        if may_lose {
            // What was lost is told, and is not looked for again.
            self.acknowledged.retain(|position, (data, _)| all.get(position) == Some(data));
            self.keyed.retain(|(sent, _)| sent.data.iter().all(|data| numbers.contains(&data)));
        }
        self.shown.clear();
    }

    /// Sends again under their keys: publishes without an answer are there once, and the others
    /// get the same answer.
    fn send_again(&mut self, journal: &DiskJournal) {
        for (sent, ids) in &self.keyed {
            let Some(again) = self.wait(sent.append(journal)) else { return };
            let again = again.expect("the disk works");
            let again: Vec<_> = again.ids.iter().map(ToString::to_string).collect();
            // The last part of an id is that of the update, which may be trimmed.
            let places = |ids: &[String]| -> Vec<_> {
                ids.iter().map(|id| id.rsplit_once('.').expect("an id").0.to_owned()).collect()
            };
            let (before, now) = (places(ids), places(&again));
            assert_eq!(before, now, "the key of {sent:?} answers otherwise");
        }
        self.keyed.truncate(0);
        for sent in std::mem::take(&mut self.unanswered) {
            if sent.key.is_none() {
                self.unanswered.push(sent);
                continue;
            }
            let Some(appended) = self.wait(sent.append(journal)) else { return };
            self.acknowledge(&sent, &appended.expect("the disk works"));
        }
    }
}

fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

/// Runs a seed, and returns the hash of all that happened.
fn run(seed: u64, settings: Settings) -> u64 {
    run_traced(seed, settings, Trace::default())
}

fn run_traced(seed: u64, settings: Settings, trace: Trace) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let _runtime = runtime.enter();
    let threads = Threads::new(rng.fork(), trace.clone());
    let _entered = threads.enter();
    let disk = Disk::new(rng.fork(), trace.clone());
    let folder = folder();
    WALL.set(0);
    let mut world = World {
        settings,
        rng,
        runtime: &runtime,
        threads: &threads,
        disk: &disk,
        folder: folder.path(),
        trace: trace.clone(),
        acknowledged: BTreeMap::new(),
        keyed: Vec::new(),
        unanswered: Vec::new(),
        shown: BTreeMap::new(),
        published: 0,
        has_lost: false,
        is_cut: false,
    };
    disk.lie(settings.is_lying);
    let mut journal = world.open_after_crashes();
    for _ in 0..settings.lives {
        let follower: Arc<Follower> = journal.follow();
        world.life(&journal, &follower);
        disk.set_capacity(None);
        disk.fail(Failing::default());
        disk.release();
        drop(journal);
        assert_eq!(threads.running(), [""; 0]);
        assert_eq!(threads.take_panics(), [""; 0]);
        let crash = disk.crashed();
        world.is_cut |= crash == Some(Crash::PowerCut);
        disk.restore();
        // A power cut may also take the note of the newest acknowledged position.
        if crash == Some(Crash::PowerCut) && settings.promise == Promise::Always && world.rng.bool()
        {
            std::fs::remove_file(folder.path().join("journal.lock")).expect("it is there");
        }
        journal = world.open_after_crashes();
        world.check(&journal);
        world.send_again(&journal);
    }
    drop(journal);
    trace.hash()
}

const ALWAYS: Settings =
    Settings { promise: Promise::Always, keeps: None, is_lying: false, lives: 2 };

/// Runs so many seeds, or the one that the environment names.
fn seeds(count: u64, settings: Settings) {
    let one = std::env::var("TIDINGS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let count =
        std::env::var("TIDINGS_SEEDS").map_or(count, |many| many.parse().expect("a number"));
    let seeds = one.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed, settings))) {
            eprintln!("seed {seed} of {settings:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn acknowledged_updates_survive_every_crash() {
    seeds(110, ALWAYS);
}

#[test]
fn trimmed_journals_keep_what_they_should() {
    seeds(110, Settings { keeps: Some(7), ..ALWAYS });
}

#[test]
fn updates_lost_in_a_power_cut_under_an_interval_are_told() {
    let promise = Promise::Interval(Duration::from_millis(300));
    seeds(80, Settings { promise, ..ALWAYS });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        for settings in [ALWAYS, Settings { keeps: Some(7), ..ALWAYS }] {
            let (one, other) = (Trace::recording(), Trace::recording());
            run_traced(seed, settings, one.clone());
            run_traced(seed, settings, other.clone());
            if one.hash() != other.hash() {
                let (one, other) = (one.numbers(), other.numbers());
                let at = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
                let near = at.saturating_sub(20)..at + 5;
                let near = (one.get(near.clone()), other.get(near));
                panic!("seed {seed} of {settings:?} differs at {at}: {near:x?}");
            }
        }
    }
    assert_ne!(run(1, ALWAYS), run(2, ALWAYS));
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let lying = Settings { is_lying: true, ..ALWAYS };
    let found = (0..30).find(|seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| run(*seed, lying))).err();
        let text = panic.and_then(|panic| panic.downcast::<String>().ok());
        text.is_some_and(|text| text.ends_with("is lost"))
    });
    assert!(found.is_some(), "no lost update is noticed");
}

/// Prints how long an open, a publish alone and a seed take.
#[test]
#[ignore = "measures; run it in a release build with --nocapture"]
fn times() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let _runtime = runtime.enter();
    let threads = Threads::new(Rng::with_seed(1), Trace::default());
    let _entered = threads.enter();
    let disk = Disk::new(Rng::with_seed(2), Trace::default());
    let folder = folder();
    let open = || {
        let options = DiskOptions::default().now(wall).vfs(Some(disk.vfs()));
        DiskJournal::open(folder.path(), options).expect("it opens")
    };
    drop(open());
    let since = std::time::Instant::now();
    const OPENS: u32 = 200;
    for _ in 0..OPENS {
        drop(open());
    }
    println!("an open and a close: {:?}", since.elapsed() / OPENS);
    let journal = open();
    const COMMITS: u32 = 20_000;
    let (before, steps) = (disk.changes(), threads.steps());
    let since = std::time::Instant::now();
    for number in 0..COMMITS {
        let sent = Sent { data: vec![format!("{number}")], key: None };
        let mut answer = sent.append(&journal);
        threads.run();
        poll(&mut answer).expect("an answer").expect("the disk works");
    }
    println!("a group commit: {:?}", since.elapsed() / COMMITS);
    let changes = (disk.changes() - before) as f64 / f64::from(COMMITS);
    let steps = (threads.steps() - steps) as f64 / f64::from(COMMITS);
    println!("with {changes:.1} changes of the disk and {steps:.1} steps");
    drop(journal);
    drop(disk);
    drop(_entered);
    const SEEDS: u32 = 500;
    let since = std::time::Instant::now();
    (0..u64::from(SEEDS)).for_each(|seed| _ = run(seed, ALWAYS));
    println!("{:.0} seeds a second", f64::from(SEEDS) / since.elapsed().as_secs_f64());
}
