//! Power cuts: acknowledged updates exist afterwards, in their order. Other updates exist whole or
//! not at all.

mod disk;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidings_hub::{
    Appended, DiskJournal, DiskOptions, History, IdempotencyKey, Keep, Log, Position, Promise,
    Retention, RetentionRule, Rights, Room, Selectors, Update,
};
use tidings_sse::Event;
use tokio::runtime::Runtime;

use crate::client::{Body, Request, Seen};
use crate::server::{on_both_lanes, open, runtime};

/// Publishes between two cuts, at most.
const PUBLISHES: usize = 12;
/// After so many lives the disk is wiped, so that each can be read whole.
const LIVES: usize = 40;

/// One publish: its updates' data, and the key it was sent under.
#[derive(Clone, Debug)]
struct Sent {
    data: Vec<String>,
    key: Option<String>,
}

struct World {
    runtime: Runtime,
    folder: TempDir,
    keeps: Option<u64>,
    promise: Promise,
    /// What was acknowledged, in the order of the journal.
    acknowledged: Vec<(u64, Vec<String>, Vec<String>)>,
    /// What got no answer.
    unanswered: Vec<Sent>,
    number: usize,
}

impl World {
    fn open(&self) -> DiskJournal {
        let bounds = |count| Retention::default().count(count).bytes(u64::MAX).age(Duration::MAX);
        let rule = |count| RetentionRule::new(Selectors::all(), Keep::All, bounds(count));
        let options = DiskOptions::default()
            .retention(vec![rule(self.keeps.unwrap_or(u64::MAX))])
            .promise(self.promise)
            .vfs(Some(disk::NAME.to_owned()));
        DiskJournal::open(self.folder.path(), options).expect("it opens after every cut")
    }

    fn append(&self, journal: &DiskJournal, sent: &Sent) -> Option<Appended> {
        let update = |data: &String| {
            let topic = ["a", "b", "c"][data.len() % 3];
            let padding = "x".repeat(data.len() * 97 % 3000);
            Update::new(topic, Event::new(format!("{data} {padding}"))).about("all")
        };
        let updates = sent.data.iter().map(update).collect();
        let key = sent
            .key
            .as_ref()
            .map(|key| IdempotencyKey::new(key, sent.data.join(",").as_bytes()).expect("a key"));
        self.runtime.block_on(journal.append(updates, key, Room::uncounted())).ok()
    }

    fn publish(&mut self, journal: &DiskJournal) {
        let count = if fastrand::u8(..4) == 0 { fastrand::usize(2..9) } else { 1 };
        let data = (0..count).map(|n| format!("{}.{n}.{count}", self.number)).collect();
        self.number += 1;
        let key = fastrand::bool().then(|| format!("key{}", self.number));
        let sent = Sent { data, key };
        match self.append(journal, &sent) {
            Some(appended) => self.acknowledge(&sent, &appended),
            None => self.unanswered.push(sent),
        }
    }

    fn acknowledge(&mut self, sent: &Sent, appended: &Appended) {
        let ids: Vec<_> = appended.ids.iter().map(ToString::to_string).collect();
        let position = ids[0].split('.').nth(1).expect("an id").parse().expect("a position");
        self.acknowledged.push((position, sent.data.clone(), ids));
        self.acknowledged.sort();
    }

    /// Everything that the journal has, and whether it tells of a loss.
    fn read(&self, journal: &DiskJournal) -> (Vec<(u64, String)>, bool) {
        let until = journal.edges().last.position;
        let mut at = Position::START;
        let (mut all, mut lost) = (Vec::new(), false);
        while at < until {
            let read = journal.read(at, until, &ALL, &Rights::Public);
            let batch = self.runtime.block_on(read).expect("it can be read");
            lost |= batch.missed.is_some();
            for record in &batch.records {
                let data = record.update.event().data();
                let number = data.split(' ').next().expect("a number").to_owned();
                all.push((record.position.number(), number));
            }
            assert!(batch.through > at);
            at = batch.through;
        }
        (all, lost)
    }

    fn check(&mut self, journal: &DiskJournal, shown: &[(u64, String)]) {
        if let Some(keeps) = self.keeps {
            // A cut may take back what was trimmed; it is done again in the background.
            let until = Instant::now() + Duration::from_secs(60);
            let kept =
                || journal.edges().last.position.number() + 1 - journal.edges().first.number();
            while kept() > keeps {
                assert!(Instant::now() < until, "it is never trimmed");
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        let (all, lost) = self.read(journal);
        let first = journal.edges().first.number();
        assert!(all.iter().map(|(position, _)| *position).eq(first..first + all.len() as u64));
        // Under an interval a cut takes some, and tells.
        let is_told = lost && self.promise != Promise::Always;
        assert!(lost == (first > 1) || is_told, "what is lost is not told, or told in vain");
        let there: HashSet<_> = all.iter().cloned().collect();
        for (position, data) in shown {
            assert!(
                *position < first || is_told || there.contains(&(*position, data.clone())),
                "shown and lost"
            );
        }
        for (position, data, ids) in &self.acknowledged {
            for ((position, data), id) in (*position..).zip(data).zip(ids) {
                let is_there = there.contains(&(position, data.clone()));
                assert!(
                    is_there || position < first || is_told,
                    "{data} was acknowledged and is lost"
                );
                let selectors = Selectors::all();
                let found = journal.find(id, &selectors, &Rights::Public);
                let found = self.runtime.block_on(found).expect("it can be read");
                let found = found.map(|found| found.place.position);
                assert_eq!(found, Some(Position::new(position)));
            }
        }
        // Nothing twice, nothing invented, no batch in part.
        let mut numbers = HashSet::new();
        assert!(all.iter().all(|(_, data)| numbers.insert(data)), "something is there twice");
        for sent in &self.unanswered {
            let count = sent.data.iter().filter(|data| numbers.contains(data)).count();
            assert!(count == 0 || count == sent.data.len() || first > 1, "a batch in part");
        }
        let known = self.acknowledged.iter().map(|(_, data, _)| data.len()).sum::<usize>()
            + self.unanswered.iter().map(|sent| sent.data.len()).sum::<usize>();
        assert!(all.len() <= known, "something was invented");
    }

    /// Sends again, under its key, what got no answer: it is there once.
    fn send_again(&mut self, journal: &DiskJournal) {
        for sent in std::mem::take(&mut self.unanswered) {
            let appended = sent.key.is_some().then(|| self.append(journal, &sent)).flatten();
            match appended {
                Some(appended) => self.acknowledge(&sent, &appended),
                None => self.unanswered.push(sent),
            }
        }
    }
}

static ALL: std::sync::LazyLock<Selectors> = std::sync::LazyLock::new(Selectors::all);

/// What is left of the note of what was acknowledged, which lies beside the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Note {
    Kept,
    Removed,
}

fn cuts(count: usize, keeps: Option<u64>, promise: Promise, note: Note) {
    disk::register();
    tidings_seed::begin();
    let mut done = 0;
    while done < count {
        disk::wipe();
        let mut world = World {
            runtime: runtime(),
            folder: tempfile::tempdir().expect("a folder"),
            keeps,
            promise,
            acknowledged: Vec::new(),
            unanswered: Vec::new(),
            number: 0,
        };
        let mut journal = world.open();
        for _ in 0..LIVES {
            let follower = journal.follow();
            disk::cut_after(fastrand::u64(..80));
            for _ in 0..PUBLISHES {
                world.publish(&journal);
                if disk::is_cut() {
                    break;
                }
            }
            let mut records = Vec::new();
            journal.tail(follower.begin(), usize::MAX, &mut records);
            let shown: Vec<_> = records
                .iter()
                .map(|record| {
                    let data = record.update.event().data();
                    (record.position.number(), data.split(' ').next().expect("a number").to_owned())
                })
                .collect();
            // Nobody syncs anything after the cut, also not on the way out.
            disk::cut_after(0);
            drop(journal);
            disk::restore();
            done += 1;
            if note == Note::Removed {
                let note = world.folder.path().join("journal.lock");
                std::fs::remove_file(note).expect("it is there");
            }
            journal = world.open();
            world.check(&journal, &shown);
            world.send_again(&journal);
        }
    }
}

/// How many cuts in all: soak runs ask for more than fits every run of the tests.
fn count() -> usize {
    std::env::var("TIDINGS_POWER_CUTS").map_or(200, |count| count.parse().expect("a number"))
}

#[test]
fn acknowledged_updates_survive_every_power_cut() {
    let _alone = disk::alone();
    cuts(count() / 2, None, Promise::Always, Note::Removed);
    cuts(count() / 2, Some(7), Promise::Always, Note::Kept);
}

#[test]
fn updates_lost_in_a_power_cut_under_an_interval_are_reported() {
    let _alone = disk::alone();
    cuts(count() / 5, None, Promise::Interval(Duration::from_secs(3600)), Note::Kept);
}

#[test]
fn under_an_interval_the_log_is_synced_though_a_reader_holds_the_file() {
    let _alone = disk::alone();
    disk::register();
    disk::wipe();
    let interval = Duration::from_millis(200);
    let mut world = World {
        runtime: runtime(),
        folder: tempfile::tempdir().expect("a folder"),
        keeps: None,
        promise: Promise::Interval(interval),
        acknowledged: Vec::new(),
        unanswered: Vec::new(),
        number: 0,
    };
    let journal = world.open();
    world.publish(&journal);
    // As an export into a paused pipe, or any tool of SQLite's, has it.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let path = world.folder.path().join("journal.db");
    let reader = rusqlite::Connection::open_with_flags_and_vfs(path, flags, disk::NAME);
    let reader = reader.expect("it opens");
    reader.execute_batch("BEGIN; SELECT * FROM groups").expect("it reads");
    let until_synced = |since: Instant| {
        while !disk::logs_are_synced() {
            assert!(since.elapsed() < Duration::from_secs(20), "the log is never synced");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    };
    // While nothing more comes, and while more comes than one interval has.
    world.publish(&journal);
    until_synced(Instant::now());
    let since = Instant::now();
    let mut synced = 0;
    while since.elapsed() < 4 * interval || synced == 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "no publish is synced");
        world.publish(&journal);
        synced += usize::from(disk::logs_are_synced());
    }
    world.publish(&journal);
    until_synced(Instant::now());
    disk::cut_after(0);
    drop(reader);
    drop(journal);
    disk::restore();
    let journal = world.open();
    world.check(&journal, &[]);
}

#[test]
fn a_disk_that_forgets_is_noticed() {
    // The same check, against a journal that promises less and has no note of what it promised: it
    // has to find the losses.
    let _alone = disk::alone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let promise = Promise::Interval(Duration::from_secs(3600));
    let caught = std::panic::catch_unwind(|| cuts(120, None, promise, Note::Removed));
    std::panic::set_hook(hook);
    let panic = caught.expect_err("power cuts take what was not synced");
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let words = owned.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(words.contains("lost") || words.contains("left"), "{words}");
}

#[test]
fn while_a_disk_hangs_no_subscriber_sees_unsynced_updates_and_streams_stay_open() {
    let _alone = disk::alone();
    disk::register();
    disk::wipe();
    let folder = tempfile::tempdir().expect("a folder");
    let build = || {
        let options = DiskOptions::default().vfs(Some(disk::NAME.to_owned()));
        let within = tempfile::tempdir_in(&folder).expect("a folder").keep();
        let journal = DiskJournal::open(within, options).expect("it opens");
        open().heartbeat(Duration::from_millis(200)).journal(journal)
    };
    on_both_lanes(build, async |server| {
        server.tell("a", "1").await;
        let mut live = server.subscribe("topic=a").await;
        disk::hold_syncs();
        let mut publisher = server.connect().await;
        publisher.send(&Request::form("topic=a&data=2")).await;
        while disk::held() == 0 {
            tokio::task::yield_now().await;
        }
        // It is written, and waits for the disk: heartbeats come, and what was safe before.
        while !matches!(live.next().await, Seen::Comment) {}
        let mut replayed = server.subscribe("topic=a&lastEventID=earliest").await;
        assert_eq!(replayed.event().await.data, "1");
        assert!(matches!(replayed.next().await, Seen::Comment));
        assert_eq!(server.get("/healthz").await.status(), 200);
        disk::release();
        let id = publisher.answer(Body::Whole).await.id();
        for stream in [&mut live, &mut replayed] {
            let event = stream.event().await;
            assert_eq!((event.id(), event.data.as_str()), (id.as_str(), "2"));
        }
    });
}
