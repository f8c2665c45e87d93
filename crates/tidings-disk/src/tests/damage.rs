//! A file that is not what was written: nothing is delivered altered, and what is missing is told.

use std::collections::BTreeMap;

use super::*;

/// How many bits are flipped: soak runs ask for more than fits every run of the tests.
fn count() -> usize {
    std::env::var("TIDINGS_FLIPS").map_or(150, |count| count.parse().expect("a number"))
}

fn keep_all() -> DiskOptions {
    keeping(vec![rule("*", Keep::All, u64::MAX)])
}

/// A folder with a journal that has a little of everything.
fn filled() -> TempDir {
    let folder = folder();
    let journal = open(&folder, keep_all());
    for n in 0..60 {
        let own = Event::new(format!("{n} {}", "x".repeat(n * 7 % 400)));
        let own = if n % 9 == 0 { own.with_id(&format!("urn:{n}")).unwrap() } else { own };
        let one = Update::new(["a", "b", "c"][n % 3], own);
        append(&journal, vec![if n % 4 == 0 { one.about("all") } else { one }]);
    }
    let many = (60..300).map(|n| update(&format!("t{}", n % 40), &n.to_string())).collect();
    append(&journal, many);
    append(&journal, vec![update("a", &"large ".repeat(3000)), update("b", "the last")]);
    let key = IdempotencyKey::new("k", b"").unwrap();
    block(journal.append(vec![update("c", "once")], Some(key), Room::uncounted())).unwrap();
    block(journal.revoke(RevokedToken::new("jti:x".to_owned(), None))).unwrap();
    folder
}

pub(super) fn copy(from: &TempDir) -> TempDir {
    let to = folder();
    for entry in fs::read_dir(from.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// What the file is read as by one kind of subscriber.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    updates: BTreeMap<u64, (String, String, Vec<String>)>,
    is_told: bool,
}

fn see(journal: &DiskJournal, selectors: &Selectors) -> Option<Seen> {
    let until = journal.edges().last.position;
    let mut seen = Seen { updates: BTreeMap::new(), is_told: false };
    let mut at = Position::START;
    while at < until {
        let batch = block(journal.read(at, until, selectors, &Rights::Public)).ok()?;
        seen.is_told |= batch.missed.is_some();
        assert!(batch.through > at, "no progress");
        for record in &batch.records {
            let topics = record.update.topics().iter().map(|topic| topic.as_str().to_owned());
            let data = record.update.event().data().to_owned();
            let one = (record.id().to_string(), data, topics.collect());
            assert!(seen.updates.insert(record.position.number(), one).is_none(), "twice");
        }
        at = batch.through;
    }
    Some(seen)
}

fn selections() -> Vec<Selectors> {
    let named = ["a", "b", "c", "all", "t0", "t1", "t20", "t39"];
    let mut all: Vec<_> = named.iter().map(|name| topics(&[name])).collect();
    all.push(Selectors::all());
    all.push(topics(&named));
    all
}

#[test]
fn a_flipped_bit_alters_no_update_and_every_loss_is_reported() {
    tidings_seed::begin();
    let sound = filled();
    let expected: Vec<_> = {
        let journal = open(&copy(&sound), keep_all());
        selections().iter().map(|selectors| see(&journal, selectors).unwrap()).collect()
    };
    let bytes = fs::read(sound.path().join("journal.db")).unwrap();
    let (mut harmful, mut unreadable) = (0, 0);
    for _ in 0..count() {
        let (at, bit) = (fastrand::usize(..bytes.len()), fastrand::u32(..8));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        let folder = copy(&sound);
        fs::write(folder.path().join("journal.db"), &flipped).unwrap();
        let place = format!("bit {bit} of byte {at}, page {}", at / 4096 + 1);
        let checked = JournalFile::open(folder.path()).and_then(|file| file.check(|_| ()));
        let is_found = checked.map_or(true, |problems| !problems.is_empty());
        let Ok(journal) = DiskJournal::open(folder.path(), keep_all()) else {
            assert!(is_found, "{place}: it does not open, and the check finds nothing");
            harmful += 1;
            continue;
        };
        for (selectors, expected) in selections().iter().zip(&expected) {
            let Some(seen) = see(&journal, selectors) else {
                assert!(is_found, "{place}: it cannot be read, and the check finds nothing");
                unreadable += 1;
                continue;
            };
            for (position, update) in &seen.updates {
                assert_eq!(Some(update), expected.updates.get(position), "{place}: altered");
            }
            if seen.updates.len() < expected.updates.len() {
                let there = |at: &&u64| seen.updates.contains_key(at);
                let missing: Vec<_> = expected.updates.keys().filter(|at| !there(at)).collect();
                assert!(seen.is_told, "{place}: {missing:?} untold, {selectors:?}");
                assert!(journal.damaged() > 0, "{place}: not counted");
                assert!(is_found, "{place}: the check finds nothing");
                harmful += 1;
            }
        }
    }
    println!("{harmful} harmful, {unreadable} unreadable");
    assert!(harmful > 0);
}

/// Changes the file by SQL while no hub uses it.
fn change(folder: &TempDir, sql: &str) {
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    file.execute_batch(sql).unwrap();
    assert!(file.changes() > 0, "{sql}");
}

fn problems(folder: &TempDir) -> Vec<String> {
    JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap()
}

/// The folder of a journal that was closed after forty updates about two topics in turn.
fn forty_updates() -> TempDir {
    let folder = folder();
    let journal = open(&folder, keep_all());
    for n in 1..=40 {
        tell(&journal, ["a", "b"][n % 2], &n.to_string());
    }
    folder
}

#[test]
fn swapped_or_missing_rows_are_a_gap() {
    let changes = [
        "UPDATE groups SET body = (SELECT body FROM groups WHERE position = 21) WHERE position = 20",
        "UPDATE groups SET position = 1000 WHERE position = 20",
        "DELETE FROM groups WHERE position = 20",
        "UPDATE groups SET body = substr(body, 1, length(body) - 1) WHERE position = 20",
    ];
    for sql in changes {
        let folder = forty_updates();
        change(&folder, sql);
        assert!(!problems(&folder).is_empty(), "{sql}");
        let journal = open(&folder, keep_all());
        let a_topic = topics(&["a"]);
        let granted = Rights::Granted(Selectors::all());
        let end = Position::new(40);
        for selectors in [&Selectors::all(), &a_topic] {
            // The batch before the damage ends there, so that the gap is told in its place.
            let mut at = Position::START;
            let (missed, next) = loop {
                let batch = block(journal.read(at, end, selectors, &granted)).unwrap();
                if let Some(missed) = batch.missed {
                    assert!(batch.is_damaged, "{sql}");
                    break (missed, batch.records[0].position);
                }
                assert!(at < batch.through && batch.through < Position::new(20), "{sql}");
                at = batch.through;
            };
            let place = Position::new(20);
            assert_eq!(missed.resume.position, place, "{sql}");
            assert!(next > place, "{sql}");
        }
        // A subscriber of only the other topic misses nothing.
        assert!(!read(&journal, 0, &topics(&["b"])).1, "{sql}");
        assert_eq!(journal.damaged(), 1, "{sql}");
        // A stream continues after the gap.
        let resume = HubId::of_dropped(journal.identity().epoch, Position::new(20)).to_string();
        let found = find(&journal, &resume);
        assert_eq!(found, Some(Position::new(20)), "{sql}");
    }
}

#[test]
fn an_index_that_lacks_an_entry_loses_no_update_and_is_rebuilt() {
    let changes = [
        "DELETE FROM topics WHERE position = 20",
        "UPDATE topics SET topic = topic + 1 WHERE position = 20",
        "DELETE FROM topics WHERE position = 40",
        "DELETE FROM topics WHERE position < 100",
    ];
    for sql in changes {
        let folder = forty_updates();
        drop(open(&folder, keep_all()));
        change(&folder, sql);
        assert!(!problems(&folder).is_empty(), "{sql}");
        let expected: Vec<_> = (1..=20).map(|n| (2 * n).to_string()).collect();
        for round in 0..2 {
            let journal = open(&folder, keep_all());
            let a = read(&journal, 0, &topics(&["a"]));
            assert_eq!(a, (expected.clone(), false), "{sql}");
            let last = read_all(&journal, 0, &topics(&["a"]), &Rights::Public, true);
            assert!(last.0.contains(&"40".to_owned()), "{sql}");
            if round == 0 {
                assert_eq!(journal.damaged(), 1, "{sql}");
                let looks = || journal.shared().state.lock().looks();
                let since = looks();
                until("it is noted for the next start", || looks() > since + 1);
            } else {
                assert_eq!((journal.damaged(), last.0.len()), (0, 1), "{sql}");
            }
        }
        assert_eq!(problems(&folder), [""; 0], "{sql}");
    }
}

#[test]
fn damage_is_trimmed_with_updates_of_its_age_and_still_reported() {
    let folder = folder();
    let journal = open(&folder, keep_all());
    for n in 1..=40 {
        tell(&journal, "a", &n.to_string());
    }
    drop(journal);
    change(&folder, "UPDATE groups SET body = zeroblob(20) WHERE position = 3");
    let journal = open(&folder, keeping(vec![rule("*", Keep::All, 10)]));
    // It still counts as one of those that are kept.
    until("it is trimmed", || journal.edges().first == Position::new(32));
    let rows = journal.readers().run(|connection| {
        let unreadable = "SELECT count(*) FROM groups WHERE position < 32";
        connection.query_row(unreadable, [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(block(rows).unwrap(), 0);
    assert!(read(&journal, 2, &topics(&["b"])).1, "it may have been about any topic");
    assert!(!read(&journal, 3, &topics(&["b"])).1);
    drop(journal);
    let journal = open(&folder, keeping(vec![rule("*", Keep::All, 10)]));
    assert!(read(&journal, 2, &topics(&["b"])).1);
}

#[test]
fn tables_that_a_start_relies_on_are_refused_when_they_are_damaged() {
    let changes = [
        "UPDATE meta SET value = value + 1 WHERE name = 'epoch'",
        "UPDATE meta SET value = 5 WHERE name = 'dropped_public'",
        "DELETE FROM meta WHERE name = 'last'",
        "UPDATE revoked SET token = 'jti:y'",
    ];
    for sql in changes {
        let folder = filled();
        let journal = open(&folder, keeping(vec![rule("*", Keep::All, 10)]));
        until("it is trimmed", || journal.edges().first > Position::new(100));
        drop(journal);
        change(&folder, sql);
        let error = DiskJournal::open(folder.path(), keep_all()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{sql}: {error}");
    }
    // Where it is unknown which updates are lost, any may be.
    let folder = filled();
    let journal = open(&folder, keeping(vec![rule("*", Keep::All, 10)]));
    until("it is trimmed", || journal.edges().first > Position::new(100));
    let last = journal.edges().last.position.number();
    assert!(!read(&journal, 0, &topics(&["never"])).1);
    drop(journal);
    change(&folder, "UPDATE dropped SET position = position - 1");
    for damaged in [1, 0] {
        let journal = open(&folder, keeping(vec![rule("*", Keep::All, 10)]));
        assert_eq!(journal.damaged(), damaged);
        assert!(read(&journal, last - 1, &topics(&["never"])).1);
        assert!(!read(&journal, last, &topics(&["never"])).1);
    }
    // What was counted can be counted again.
    let folder = filled();
    change(&folder, "UPDATE classes SET count = 100000000 WHERE class = 0");
    assert!(!problems(&folder).is_empty());
    let journal = open(&folder, keeping(vec![rule("*", Keep::All, 1000)]));
    assert_eq!(read(&journal, 0, &Selectors::all()).0.len(), 303);
    // Whether something was published under a damaged key is not known.
    drop(journal);
    change(&folder, "UPDATE keys SET position = position - 1");
    let journal = open(&folder, keep_all());
    let key = IdempotencyKey::new("k", b"").unwrap();
    let refused = block(journal.append(vec![update("c", "once")], Some(key), Room::uncounted()));
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    tell(&journal, "c", "something else");
}

#[test]
fn acknowledged_updates_lost_from_the_log_are_noticed_and_reported() {
    let folder = folder();
    let journal = open(&folder, keep_all());
    let ids: Vec<_> = (0..30).map(|n| tell(&journal, "a", &n.to_string())).collect();
    // As a kill of the process leaves it: everything is in the log.
    let killed = copy(&folder);
    let log = killed.path().join("journal.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 1;
    fs::write(&log, bytes).unwrap();
    drop(journal);
    let found = problems(&killed);
    assert!(found.iter().any(|problem| problem.contains("are missing")), "{found:?}");
    let journal = open(&killed, keep_all());
    assert_eq!(journal.damaged(), 1);
    assert_eq!(journal.edges().last.position, Position::new(30));
    let (left, lost) = read(&journal, 0, &topics(&["a"]));
    assert!(lost && left.len() < 30, "{left:?}");
    assert!(read(&journal, 29, &topics(&["other"])).1, "nobody knows what they were about");
    // A subscriber that has seen the newest update misses nothing, and no id is assigned again.
    let last = find(&journal, &ids[29]);
    assert_eq!(last, Some(Position::new(30)));
    assert!(!read(&journal, 30, &topics(&["a"])).1);
    tell(&journal, "a", "next");
    assert_eq!(journal.edges().last.position, Position::new(31));
    drop(journal);
    let journal = open(&killed, keep_all());
    assert_eq!(journal.damaged(), 0);
    assert!(read(&journal, left.len() as u64, &topics(&["a"])).1, "it stays told");
}

#[test]
fn the_newest_updates_without_a_mark_are_not_forgotten() {
    let folder = folder();
    let journal = open(&folder, keep_all());
    for n in 1..=40 {
        let own = Event::new(n.to_string()).with_id(&format!("urn:{n}")).unwrap();
        append(&journal, vec![Update::new("a", own)]);
    }
    drop(journal);
    fs::remove_file(folder.path().join("journal.lock")).unwrap();
    change(&folder, "UPDATE groups SET body = zeroblob(20) WHERE position > 38");
    let journal = open(&folder, keep_all());
    assert_eq!(journal.damaged(), 1);
    assert_eq!(journal.edges().last.position, Position::new(40));
    assert!(read(&journal, 38, &topics(&["a"])).1);
    let found = find(&journal, "urn:40");
    assert_eq!(found, None);
    tell(&journal, "a", "next");
    assert_eq!(journal.edges().last.position, Position::new(41));
    drop(journal);
    assert_eq!(problems(&folder), [""; 0]);
    // Where nothing can be read, and so no end be found, all are told, and no position is given out
    // again that an update may have had.
    change(&folder, "UPDATE groups SET body = zeroblob(20)");
    let journal = open(&folder, keep_all());
    assert!(journal.damaged() > 0);
    assert_eq!(read(&journal, 41, &topics(&["a"])), (vec![], true));
    tell(&journal, "a", "more");
    let last = journal.edges().last.position;
    assert!(last > Position::new(42), "{last}");
    assert_eq!(read(&journal, 41, &topics(&["a"])), (vec!["more".to_owned()], true));
}

#[test]
fn counts_of_unreadable_updates_are_dropped() {
    let folder = folder();
    let rules = || keeping(vec![rule("a", Keep::All, 2), rule("*", Keep::All, u64::MAX)]);
    let journal = open(&folder, rules());
    append(&journal, vec![update("a", "1"), update("a", "2")]);
    for n in 3..=20 {
        tell(&journal, "b", &n.to_string());
    }
    drop(journal);
    change(&folder, "UPDATE groups SET body = zeroblob(20) WHERE position <= 2");
    let journal = open(&folder, rules());
    tell(&journal, "a", "21");
    let counted = || {
        let count = journal.readers().run(|connection| {
            connection.query_row("SELECT count FROM classes WHERE class = 0", [], |row| {
                row.get::<_, i64>(0)
            })
        });
        block(count).unwrap()
    };
    until("the counts are corrected", || counted() == 0);
    tell(&journal, "a", "22");
    tell(&journal, "a", "23");
    assert_eq!(read(&journal, 20, &topics(&["a"])).0.last().unwrap(), "23");
}
