pub(crate) mod cost;
mod damage;
mod failure;
mod files;
mod formats;
mod fuzz;
mod groups;
mod pages;
mod same_id;
mod trimming;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rusqlite::Connection;
use tempfile::TempDir;
use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{
    AppendError, Clock as MemoryClock, Found, Health, History, Journal, Keep, Log, MemoryBounds,
    MemoryJournal, Retention, RetentionRule, RevokedTokens, Room,
};
use tidings_core::model::{HubId, Position, RevokedToken};
use tidings_core::model::{Rights, Selector, Selectors, Update};
use tidings_sse::Event;

use crate::damage::Damage;
use crate::identity::Identity;
use crate::index::Index;
use crate::limits::{BATCH_MAX, DROPPED_TOPICS, PRESENCE_COUNT, REVOKED_MAX, SAME_ID_MAX};
use crate::meta::put;
use crate::rebuild::Rebuild;
use crate::record::StoredUpdate;
use crate::retain::Classes;
use crate::updates::{self, Met};
use crate::{DiskJournal, DiskOptions, Exported, JournalFile, OpenError, Promise};
use crate::{dropped, keys, lock, rebuild, rows};

#[derive(Debug)]
struct SystemClock;

impl MemoryClock for SystemClock {
    fn time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn moment(&self) -> Instant {
        Instant::now()
    }
}

/// A journal in memory with the bounds that the one on disk has in these tests.
fn small_memory(retention: Retention) -> MemoryJournal<SystemClock> {
    let bounds = MemoryBounds::default()
        .presence_count(PRESENCE_COUNT)
        .dropped_topics(DROPPED_TOPICS)
        .same_id(SAME_ID_MAX)
        .batch(BATCH_MAX);
    MemoryJournal::bounded(retention, bounds, SystemClock)
}

fn block<T>(pending: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), pending).await })
        .expect("it ends in time")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for a test")
}

fn rule(topics: &str, keep: Keep, count: u64) -> RetentionRule {
    let topics = Selectors::new([Selector::new(topics).unwrap()]).unwrap();
    let bounds = Retention::default().count(count).bytes(u64::MAX).age(Duration::MAX);
    RetentionRule::new(topics, keep, bounds)
}

fn keeping(rules: Vec<RetentionRule>) -> DiskOptions {
    DiskOptions { retention: rules, ..DiskOptions::default() }
}

fn open(folder: &TempDir, options: DiskOptions) -> DiskJournal {
    DiskJournal::open(folder.path(), options).expect("the journal opens")
}

fn update(topic: &str, data: &str) -> Update {
    Update::new(topic, Event::new(data))
}

fn append(journal: &dyn Journal, updates: Vec<Update>) -> Vec<String> {
    let appended = block(journal.append(updates, None, Room::uncounted())).expect("it is appended");
    appended.ids.iter().map(ToString::to_string).collect()
}

fn tell(journal: &dyn Journal, topic: &str, data: &str) -> String {
    append(journal, vec![update(topic, data)]).remove(0)
}

/// All that such a subscriber gets after a position, whether a loss is told, and that reading in
/// pieces gives the same as reading at once.
fn read(journal: &dyn Journal, after: u64, selectors: &Selectors) -> (Vec<String>, bool) {
    read_all(journal, after, selectors, &Rights::Public, false)
}

fn read_all(
    journal: &dyn Journal,
    after: u64,
    selectors: &Selectors,
    rights: &Rights,
    last: bool,
) -> (Vec<String>, bool) {
    let until = journal.edges().last.position;
    let mut at = Position::new(after);
    let mut seen = Vec::new();
    let mut lost = false;
    while at < until {
        let batch = if last {
            block(journal.read_last(at, until, selectors, rights))
        } else {
            match journal.read_at_hand(at, until, selectors, rights) {
                Some(batch) => Ok(batch),
                None => block(journal.read(at, until, selectors, rights)),
            }
        };
        let batch = batch.expect("it is read");
        lost |= batch.missed.is_some();
        assert!(batch.through > at, "no progress");
        for record in &batch.records {
            assert!(record.position > at && record.position <= batch.through);
            at = record.position;
            seen.push(record.update.event().data().to_owned());
        }
        at = batch.through;
    }
    (seen, lost)
}

/// Where the update with an id is, for a subscriber of all topics.
fn find(journal: &dyn Journal, id: &str) -> Option<Position> {
    let found = block(journal.find(id, &Selectors::all(), &Rights::Public));
    found.expect("it is read").map(|found| found.place.position)
}

fn topics(names: &[&str]) -> Selectors {
    Selectors::new(names.iter().map(|name| Selector::Exact((*name).into()))).unwrap()
}

/// What of each update stands in the file.
fn on_file<T: Send + 'static>(
    journal: &DiskJournal,
    take: impl Fn(&StoredUpdate<'_>, &Identity) -> T + Send + 'static,
) -> Vec<T> {
    let identity = journal.identity();
    let read = journal.readers().run(move |connection| {
        let transaction = connection.unchecked_transaction()?;
        let mut all = Vec::new();
        let covered = rows::covered(&transaction, &identity)?;
        updates::walk(&transaction, &identity, covered, |met| {
            let Met::Update(stored) = met else { panic!("{met:?}") };
            all.push(take(&stored, &identity));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    });
    block(read).expect("it is read")
}

/// Waits until something is so, which happens in the background.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(std::time::Instant::now() < until, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Waits until the trimming, which happens in the background, has come so far.
fn until_kept(journal: &DiskJournal, is_so: impl Fn(Vec<String>) -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let all = on_file(journal, |stored, identity| {
            stored.record(identity).expect("an update").update.event().data().to_owned()
        });
        if is_so(all.clone()) {
            break;
        }
        assert!(std::time::Instant::now() < until, "never: {all:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn acknowledged_updates_keep_their_ids_across_a_restart() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    let own = Event::new("own").with_id("urn:1").unwrap().with_type("x").unwrap();
    let first = tell(&journal, "a", "1");
    let more: Vec<_> = (2..40).map(|n| update(["a", "b"][n % 2], &n.to_string())).collect();
    append(&journal, more);
    append(&journal, vec![Update::new("a", own).about("b")]);
    let last = journal.edges().last;
    drop(journal);

    let journal = open(&folder, DiskOptions::default());
    assert_eq!(journal.edges().last, last);
    assert_eq!(journal.edges().first, Position::new(1));
    let (all, lost) = read(&journal, 0, &Selectors::all());
    let expected: Vec<_> = (1..40).map(|n| n.to_string()).chain(["own".to_owned()]).collect();
    assert_eq!((all, lost), (expected.clone(), false));
    let a: Vec<_> = expected
        .iter()
        .filter(|data| data.parse().map_or(true, |n: usize| n == 1 || n.is_multiple_of(2)))
        .cloned()
        .collect();
    assert_eq!(read(&journal, 0, &topics(&["a"])).0, a);
    assert_eq!(read(&journal, 0, &topics(&["a", "b"])).0, expected);
    assert_eq!(read(&journal, 0, &topics(&["none"])).0, [""; 0]);
    assert_eq!(find(&journal, &first), Some(Position::new(1)));
    assert_eq!(find(&journal, "urn:1"), Some(Position::new(40)));
    assert_eq!(find(&journal, "urn:2"), None);
    assert_eq!(find(&journal, "tidings:aaaaaa.1.aaaa"), None);
    // Another publisher took the same id, before and after.
    for (topic, data) in [("x", "before"), ("y", "meant"), ("x", "after")] {
        let event = Event::new(data).with_id("urn:3").unwrap();
        block(journal.append(vec![Update::new(topic, event)], None, Room::uncounted())).unwrap();
    }
    let found = |selected: &[&str]| {
        let found = block(journal.find("urn:3", &topics(selected), &Rights::Public)).unwrap();
        found.map(|found| (found.place.position.number(), found.is_certain))
    };
    assert_eq!(found(&["y"]), Some((42, true)));
    assert_eq!(found(&["x", "y"]), Some((41, true)));
    assert_eq!(found(&["none"]), Some((41, false)));
    // Positions continue from the last one.
    tell(&journal, "a", "next");
    assert_eq!(journal.edges().last.position, Position::new(44));
}

const TOLD: &str = "/.well-known/mercure/subscriptions/{topic}/{subscriber}";

/// A presence update.
fn coming(subscriber: u8) -> Update {
    let topic = TOLD.replace("{topic}", "a").replace("{subscriber}", &subscriber.to_string());
    update(&topic, "came").private().of_presence()
}

#[test]
fn comings_and_goings_push_nothing_out_and_are_bounded_themselves() {
    let folder = folder();
    let rules = || vec![rule("*", Keep::All, 20)];
    let memory = small_memory(rules().remove(0).bounds);
    let disk = open(&folder, keeping(rules()));
    let granted = Rights::Granted(Selectors::all());
    let told = Selectors::new([Selector::template(TOLD).unwrap()]).unwrap();
    let many = 5 * PRESENCE_COUNT;
    let check = |journal: &dyn Journal| {
        // What was sent before and between them is all there.
        let (sent, lost) = read_all(journal, 0, &topics(&["a"]), &granted, false);
        assert_eq!((sent.len(), lost), (20, false));
        let (seen, lost) = read_all(journal, 0, &told, &granted, false);
        assert_eq!((seen.len() as u64, lost), (PRESENCE_COUNT, true));
        let (all, lost) = read_all(journal, 0, &Selectors::all(), &granted, false);
        assert_eq!((all.len() as u64, lost), (20 + PRESENCE_COUNT, true));
        // Subscribers without a grant miss nothing either.
        let (sent, lost) = read(journal, 0, &Selectors::all());
        assert_eq!((sent.len(), lost), (20, false));
        // A subscriber that begins now knows of all losses.
        let missed = |after| block(journal.missed(after, &Selectors::all(), &granted)).unwrap();
        let last_loss = journal.edges().last_loss;
        assert_eq!(missed(Position::START).map(|missed| missed.number), Some(last_loss));
        assert_eq!(missed(journal.edges().last.position), None);
        let resume = block(journal.missed(Position::START, &told, &granted)).unwrap().unwrap();
        assert_eq!(resume.resume.position, Position::START, "the oldest update is the first");
    };
    for journal in [&memory as &dyn Journal, &disk] {
        for at in 0..many {
            if at % 5 == 0 && at < 100 {
                append(journal, vec![update("a", &at.to_string())]);
            }
            append(journal, vec![coming((at % 200) as u8)]);
        }
    }
    for at in (many..100).step_by(5) {
        for journal in [&memory as &dyn Journal, &disk] {
            append(journal, vec![update("a", &at.to_string())]);
        }
    }
    until_kept(&disk, |all| all.len() as u64 == 20 + PRESENCE_COUNT);
    check(&memory);
    check(&disk);
    drop(disk);
    check(&open(&folder, keeping(rules())));
}

#[test]
fn both_journals_answer_alike() {
    tidings_seed::begin();
    for _ in 0..6 {
        let folder = folder();
        let count = fastrand::u64(3..40);
        let bounds = Retention::default().count(count).bytes(u64::MAX).age(Duration::MAX);
        let memory = small_memory(bounds);
        let mut disk = open(&folder, keeping(vec![rule("*", Keep::All, count)]));
        let (mut sent, mut told) = (0, 0);
        for _ in 0..fastrand::usize(1..80) {
            let names = ["a", "b", "c"];
            let mut one = update(names[fastrand::usize(..3)], &fastrand::u32(..).to_string());
            if fastrand::bool() {
                one = one.about(names[fastrand::usize(..3)]);
            }
            if fastrand::u8(..5) == 0 {
                one = one.private();
            }
            if fastrand::u8(..3) == 0 {
                one = coming(fastrand::u8(..4));
                told += 1;
            } else {
                sent += 1;
            }
            append(&memory, vec![one.clone()]);
            append(&disk, vec![one]);
            if fastrand::u8(..20) == 0 {
                drop(disk);
                disk = open(&folder, keeping(vec![rule("*", Keep::All, count)]));
            }
        }
        let kept = count.min(sent) + PRESENCE_COUNT.min(told);
        until_kept(&disk, |all| all.len() as u64 == kept);
        let (m, d) = (memory.edges(), disk.edges());
        assert_eq!((m.first, m.last.position), (d.first, d.last.position));
        let told = Selectors::new([Selector::template(TOLD).unwrap()]).unwrap();
        let selected =
            [topics(&["a"]), topics(&["b", "c"]), topics(&["x"]), told, Selectors::all()];
        for selectors in selected {
            for after in 0..=m.last.position.number() {
                for rights in [Rights::Public, Rights::Granted(Selectors::all())] {
                    for last in [false, true] {
                        assert_eq!(
                            read_all(&memory, after, &selectors, &rights, last),
                            read_all(&disk, after, &selectors, &rights, last),
                            "after {after} {selectors:?} {rights:?} {last}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn each_rule_keeps_its_own_updates_and_only_a_loss_is_reported_as_a_gap() {
    let folder = folder();
    let rules = vec![
        rule("few", Keep::All, 2),
        rule("state", Keep::Last, 100),
        rule("tick", Keep::None, 100),
    ];
    let journal = open(&folder, keeping(rules.clone()));
    for n in 0..30 {
        tell(&journal, "few", &format!("few{n}"));
        tell(&journal, "state", &format!("state{n}"));
        tell(&journal, "tick", &format!("tick{n}"));
        tell(&journal, "all", &format!("all{n}"));
    }
    until_kept(&journal, |all| all.len() == 2 + 1 + 30);
    drop(journal);
    let journal = open(&folder, keeping(rules));
    let (few, lost) = read(&journal, 0, &topics(&["few"]));
    assert_eq!((few, lost), (vec!["few28".to_owned(), "few29".to_owned()], true));
    assert_eq!(read(&journal, 0, &topics(&["state"])), (vec!["state29".to_owned()], false));
    assert_eq!(read(&journal, 0, &topics(&["tick"])), (Vec::new(), false));
    let (all, lost) = read(&journal, 0, &topics(&["all"]));
    assert_eq!((all.len(), lost), (30, false));
    // A subscriber that had the newest trimmed update is not told of a gap.
    assert!(!read(&journal, 4 * 27 + 1, &topics(&["few"])).1);
    assert!(read(&journal, 4 * 27, &topics(&["few"])).1);
}

#[test]
fn changed_rules_sort_the_kept_updates_again() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    for n in 0..20 {
        tell(&journal, ["a", "b"][n % 2], &n.to_string());
    }
    drop(journal);
    let journal = open(&folder, keeping(vec![rule("a", Keep::All, 3)]));
    until_kept(&journal, |all| all.len() == 13);
    let (a, lost) = read(&journal, 0, &topics(&["a"]));
    assert_eq!((a.len(), lost), (3, true));
    assert!(!read(&journal, 0, &topics(&["b"])).1);
}

#[test]
fn bytes_and_age_bound_it_too() {
    let folder = folder();
    let one = update("a", "0123456789");
    let by_bytes = Retention::default().count(1000).bytes(one.weight() * 5).age(Duration::MAX);
    let rules = vec![RetentionRule::new(Selectors::all(), Keep::All, by_bytes)];
    let journal = open(&folder, keeping(rules));
    append(&journal, vec![one; 30]);
    until_kept(&journal, |all| all.len() == 5);
    assert_eq!(journal.edges().first, Position::new(26));
    drop(journal);
    let by_age = Retention::default().age(Duration::from_millis(50));
    let rules = vec![RetentionRule::new(Selectors::all(), Keep::All, by_age)];
    let journal = open(&folder, keeping(rules));
    until_kept(&journal, |all| all.is_empty());
    // Nothing is left, and the position is known all the same, also after a restart.
    assert!(read(&journal, 0, &Selectors::all()).1);
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    assert_eq!(journal.edges().last.position, Position::new(30));
    assert!(read(&journal, 0, &Selectors::all()).1);
    assert!(!read(&journal, 30, &Selectors::all()).1);
}

#[test]
fn a_publish_repeated_under_its_key_is_stored_once_even_after_a_restart() {
    let folder = folder();
    let key = |key: &str, content: &[u8]| Some(IdempotencyKey::new(key, content).unwrap());
    let updates = || vec![update("a", "1"), update("a", "2")];
    let journal = open(&folder, DiskOptions::default());
    let first = block(journal.append(updates(), key("k", b"x"), Room::uncounted())).unwrap();
    assert!(!first.repeated);
    let check = |journal: &dyn Journal, first: &Appended| {
        let again = block(journal.append(updates(), key("k", b"x"), Room::uncounted())).unwrap();
        assert_eq!((&again.ids, again.repeated), (&first.ids, true));
        let other = block(journal.append(updates(), key("k", b"y"), Room::uncounted()));
        assert!(matches!(other, Err(AppendError::KeyReused)));
        assert_eq!(journal.edges().last.position, Position::new(2));
    };
    check(&journal, &first);
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    check(&journal, &first);
    // Two at the same time are one.
    let (one, two) = (
        journal.append(updates(), key("together", b""), Room::uncounted()),
        journal.append(updates(), key("together", b""), Room::uncounted()),
    );
    let (one, two) = (block(one).unwrap(), block(two).unwrap());
    assert_eq!((&one.ids, one.repeated, two.repeated), (&two.ids, false, true));
    // Of too many the oldest are forgotten.
    for n in 0..crate::limits::KEYS_MAX {
        block(journal.append(vec![update("a", "")], key(&n.to_string(), b""), Room::uncounted()))
            .unwrap();
    }
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while block(journal.append(updates(), key("k", b"z"), Room::uncounted())).is_err() {
        assert!(std::time::Instant::now() < until, "the key is never forgotten");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let memory = small_memory(Retention::default());
    let first = block(memory.append(updates(), key("k", b"x"), Room::uncounted())).unwrap();
    check(&memory, &first);
}

#[test]
fn an_id_that_tokens_share_is_kept_until_the_last_of_them_ends() {
    let folder = folder();
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let [early, late] = [at(100_000_000_000), at(100_000_000_060)];
    let journal = open(&folder, DiskOptions::default());
    for (name, until) in [
        ("jti:a", late),
        ("jti:a", early),
        ("jti:b", early),
        ("jti:b", late),
        ("jti:c", None),
        ("jti:c", early),
    ] {
        block(journal.revoke(RevokedToken::new(name.to_owned(), until))).unwrap();
    }
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    let far = |token: &RevokedToken| token.until.is_none_or(|until| Some(until) > late);
    let kept = journal.revoked();
    assert!(kept.len() == 3 && kept.iter().all(far), "{kept:?}");
}

#[test]
fn revoked_tokens_stay_revoked_until_they_expire() {
    let folder = folder();
    let token = |name: &str, until| RevokedToken::new(name.to_owned(), until);
    let second = Duration::from_secs(1);
    let now = SystemTime::now();
    let journal = open(&folder, DiskOptions::default());
    assert_eq!(journal.revoked(), []);
    let revoke = |token: RevokedToken| block(journal.revoke(token)).unwrap();
    revoke(token("jti:ended", Some(now - 2 * second)));
    revoke(token("jti:never ends", None));
    revoke(token("jti:ends", Some(now + 1000 * second)));
    revoke(token("jti:far", Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100_000_000_000))));
    revoke(token("jti:never ends", None));
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    let kept = journal.revoked();
    let names: Vec<_> = kept.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["jti:never ends", "jti:ends", "jti:far"]);
    let until = kept[1].until.unwrap();
    assert!(until > now + 999 * second && until <= now + 1001 * second);
    // Of too many the oldest go.
    let all: Vec<_> =
        (0..REVOKED_MAX).map(|at| journal.revoke(token(&at.to_string(), None))).collect();
    for one in all {
        block(one).unwrap();
    }
    drop(journal);
    let kept = open(&folder, DiskOptions::default()).revoked();
    assert_eq!((kept.len(), kept[0].name.as_str()), (REVOKED_MAX, "0"));
}

#[test]
fn the_position_of_a_time_is_found() {
    let memory = small_memory(Retention::default());
    let folder = folder();
    let disk = open(&folder, DiskOptions::default());
    for journal in [&memory as &dyn Journal, &disk] {
        let mut times = vec![SystemTime::now()];
        for n in 0..20 {
            tell(journal, "a", &n.to_string());
            // Times are those of the system, which may be coarse.
            while SystemTime::now() <= times[n] {
                std::hint::spin_loop();
            }
            times.push(SystemTime::now());
        }
        for (n, time) in times.iter().enumerate() {
            let before = block(journal.before(*time)).unwrap();
            let position = before.place.position.number();
            assert!(position == n as u64 || position + 1 == n as u64, "{n}: {position}");
            assert_eq!(before.dropped_after, before.place.position);
            let found = find(journal, &before.place.to_string());
            assert_eq!(found, Some(before.place.position));
        }
    }
}

#[test]
fn a_second_hub_on_the_same_data_is_refused_and_harms_nothing() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    tell(&journal, "a", "1");
    match DiskJournal::open(folder.path(), DiskOptions::default()) {
        Err(OpenError::InUse { process, .. }) => assert_eq!(process, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    tell(&journal, "a", "2");
    drop(journal);
    assert_eq!(read(&open(&folder, DiskOptions::default()), 0, &Selectors::all()).0.len(), 2);
}

#[test]
fn a_file_of_another_program_is_refused_and_not_changed() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let folder = folder();
        let path = folder.path().join("journal.db");
        prepare(&path);
        let before = fs::read(&path).unwrap();
        let error = DiskJournal::open(folder.path(), DiskOptions::default()).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), before, "{error}");
        error
    };
    let text = refused(&|path| fs::write(path, "what is this? ".repeat(100)).unwrap());
    assert!(matches!(text, OpenError::Foreign { .. }), "{text}");
    let database = refused(&|path| {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    });
    assert!(matches!(database, OpenError::Foreign { .. }), "{database}");
    for (version, says) in [(99, "newer"), (-1, "older")] {
        let other = refused(&|path| {
            let folder = path.parent().unwrap();
            drop(DiskJournal::open(folder, DiskOptions::default()).unwrap());
            let connection = Connection::open(path).unwrap();
            connection.pragma_update(None, "journal_mode", "delete").unwrap();
            connection.pragma_update(None, "user_version", version).unwrap();
        });
        assert!(other.to_string().contains(says), "{other}");
    }
    let damaged = refused(&|path| {
        let folder = path.parent().unwrap();
        let journal = DiskJournal::open(folder, DiskOptions::default()).unwrap();
        append(&journal, vec![update("a", &"x".repeat(1000)); 200]);
        drop(journal);
        let mut bytes = fs::read(path).unwrap();
        bytes[4096..].fill(0xa5);
        fs::write(path, bytes).unwrap();
    });
    assert!(matches!(damaged, OpenError::Corrupt { .. }), "{damaged:?}");
}

#[test]
fn a_read_only_folder_gets_a_clear_error() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = DiskJournal::open(file.join("below"), DiskOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("below"), "{error}");
}

#[test]
fn a_clock_that_is_set_by_an_hour_loses_nothing_and_keeps_the_order() {
    use std::sync::atomic::{AtomicI64, Ordering};
    static SHIFT: AtomicI64 = AtomicI64::new(0);
    fn shifted() -> SystemTime {
        let seconds = SHIFT.load(Ordering::SeqCst);
        let shift = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift }
    }
    let bounds = Retention::default().age(Duration::from_secs(1800));
    let rules = vec![RetentionRule::new(Selectors::all(), Keep::All, bounds)];
    let options = DiskOptions { now: shifted, ..keeping(rules) };
    let folder = folder();
    let journal = open(&folder, options.clone());
    let mut ids = Vec::new();
    for (n, hours) in [0, 1, -1, 2, 0].into_iter().enumerate() {
        SHIFT.store(hours * 3600, Ordering::SeqCst);
        ids.push(tell(&journal, "a", &n.to_string()));
        // It has looked for what is too old since the step.
        std::thread::park_timeout(2 * crate::limits::TRIM_INTERVAL);
    }
    let (all, lost) = read(&journal, 0, &Selectors::all());
    assert_eq!((all.len(), lost), (5, false));
    drop(journal);
    let journal = open(&folder, options);
    for (n, id) in (1..).zip(&ids) {
        assert_eq!(find(&journal, id), Some(Position::new(n)));
    }
    let times = on_file(&journal, |stored, _| stored.nanoseconds);
    assert!(times.is_sorted());
}

#[test]
fn times_never_fall_also_if_nothing_is_kept_and_the_clock_is_set_back() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static AHEAD: AtomicU64 = AtomicU64::new(3600);
    fn ahead() -> SystemTime {
        SystemTime::now() + Duration::from_secs(AHEAD.load(Ordering::SeqCst))
    }
    let bounds = Retention::default().age(Duration::from_millis(1));
    let rules = vec![RetentionRule::new(Selectors::all(), Keep::All, bounds)];
    let options = DiskOptions { now: ahead, ..keeping(rules) };
    let folder = folder();
    let first = ahead();
    let journal = open(&folder, options.clone());
    tell(&journal, "a", "1");
    AHEAD.store(0, Ordering::SeqCst);
    until_kept(&journal, |all| all.is_empty());
    drop(journal);
    let journal = open(&folder, options);
    let follower = journal.follow();
    let begin = follower.begin();
    tell(&journal, "a", "2");
    let mut records = Vec::new();
    journal.tail(begin, 1, &mut records);
    assert!(records[0].time >= first, "{:?} after {first:?}", records[0].time);
}

#[test]
fn a_deletion_has_a_later_number_than_an_earlier_deletion_of_a_newer_update() {
    let folder = folder();
    let rules = vec![rule("a", Keep::All, 1), rule("b", Keep::All, 3)];
    let journal = open(&folder, keeping(rules));
    let missed = |after| {
        let (after, end) = (Position::new(after), journal.edges().last.position);
        block(journal.read(after, end, &Selectors::all(), &Rights::Public)).unwrap().missed
    };
    for data in ["1", "2", "3"] {
        tell(&journal, "b", data);
    }
    for data in ["4", "5"] {
        tell(&journal, "a", data);
    }
    until_kept(&journal, |all| all == ["1", "2", "3", "5"]);
    let first = missed(0).expect("4 is deleted");
    assert_eq!(journal.edges().last_loss, first.number);
    assert_eq!(missed(4), None);
    tell(&journal, "b", "6");
    until_kept(&journal, |all| all == ["2", "3", "5", "6"]);
    let second = missed(0).expect("1 is deleted too");
    assert!(second.number > first.number, "{second:?} after {first:?}");
    assert_eq!(journal.edges().last_loss, second.number);
    assert_eq!(missed(4), None);
}

#[test]
fn losses_among_too_many_topics_are_reported_after_a_restart_too() {
    let folder = folder();
    let rules = || keeping(vec![rule("*", Keep::All, 1)]);
    let journal = open(&folder, rules());
    let count = 2 * DROPPED_TOPICS;
    for chunk in (0..count).collect::<Vec<_>>().chunks(1000) {
        let updates = chunk.iter().map(|n| update(&format!("t{n}"), "")).collect();
        append(&journal, updates);
    }
    until_kept(&journal, |all| all.len() == 1);
    drop(journal);
    let journal = open(&folder, rules());
    for n in [0, count / 2, count - 2] {
        let topic = topics(&[&format!("t{n}")]);
        assert!(
            block(journal.missed(Position::new(n as u64), &topic, &Rights::Public))
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn a_commit_does_not_lengthen_the_log() {
    let folder = folder();
    // A hub that ends takes the log with it.
    for _ in 0..2 {
        let journal = open(&folder, DiskOptions::default());
        let length = || fs::metadata(folder.path().join("journal.db-wal")).unwrap().len();
        let before = length();
        for number in 0..100 {
            tell(&journal, "a", &number.to_string());
        }
        assert!(before > 4_000_000, "{before}");
        assert_eq!(length(), before);
    }
}

#[test]
fn an_update_keeps_its_room_until_it_is_written_even_if_its_publisher_disconnects() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    let room = Arc::new(tokio::sync::Semaphore::new(2));
    let publish = |data: &str| {
        let permit = block(Arc::clone(&room).acquire_owned()).unwrap();
        journal.append(vec![update("a", data)], None, permit.into())
    };
    // The writer stands still as behind a stalled disk: it can show nothing.
    let stalled = journal.shared().state.lock();
    drop(publish("1"));
    drop(publish("2"));
    assert!(
        room.try_acquire().is_err(),
        "the updates are not queued any more, or the room was given back early"
    );
    drop(stalled);
    assert!(block(room.acquire_many(2)).is_ok());
    let published = read(&journal, 0, &Selectors::topic("a")).0;
    assert_eq!(published.len(), 2);
}
