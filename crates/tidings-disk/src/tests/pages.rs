//! A page that SQLite cannot read, in each table and place: the hub starts, publishes and trims,
//! nothing is altered or doubled, and what is missing is told.

use tidings_core::journal::dropped::Dropped;

use super::*;
use crate::limits::TRIM_UPDATES;

/// Updates that a file is filled with, and that are kept.
const KEPT: u64 = 600;
const PAGE: usize = 4096;

/// What a power cut may take is of no concern here, and a sync takes its time.
fn keep(count: u64) -> DiskOptions {
    let promise = Promise::Interval(Duration::from_secs(60));
    DiskOptions { promise, ..keeping(vec![rule("*", Keep::All, count)]) }
}

/// A text that takes nearly a page, and says where it stands.
fn text(n: u64) -> String {
    format!("{n:03700}")
}

/// The pages of a table or an index by SQLite's own account, in the order of their rows.
fn pages(folder: &TempDir, table: &str, kind: &str) -> Vec<usize> {
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut found = file
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY path")
        .unwrap();
    let pages = found.query_map([table, kind], |row| row.get::<_, i64>(0)).unwrap();
    pages.map(|page| usize::try_from(page.unwrap()).unwrap()).collect()
}

/// Writes over the beginning of a page: SQLite cannot read it then.
fn damage_page(folder: &TempDir, page: usize) {
    let path = folder.path().join("journal.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = (page - 1) * PAGE;
    // The first page begins with the head of the file.
    bytes[at..at + 64].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

fn damage_leaf(folder: &TempDir, table: &str, of: impl Fn(&[usize]) -> usize) {
    damage_page(folder, of(&pages(folder, table, "leaf")));
}

/// What a subscriber has got: never anything else than what was published there, in order.
fn seen(journal: &DiskJournal, after: u64) -> (Vec<u64>, bool) {
    let (texts, is_told) = read(journal, after, &Selectors::all());
    let numbers: Vec<u64> = texts.iter().map(|text| text.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "doubled or out of order");
    for (text_read, n) in texts.iter().zip(&numbers) {
        assert_eq!(*text_read, text(*n), "altered");
    }
    (numbers, is_told)
}

fn publish(journal: &DiskJournal, numbers: std::ops::RangeInclusive<u64>) {
    let all: Vec<_> = numbers.map(|n| update("a", &text(n))).collect();
    for some in all.chunks(50) {
        append(journal, some.to_vec());
    }
}

/// A journal's folder, with updates that have their own positions as texts.
fn filled() -> TempDir {
    let folder = folder();
    publish(&open(&folder, keep(KEPT)), 1..=KEPT);
    folder
}

fn length(folder: &TempDir) -> u64 {
    fs::metadata(folder.path().join("journal.db")).unwrap().len()
}

#[test]
fn a_damaged_page_of_updates_stops_neither_publishing_nor_trimming() {
    // Of 600 leaves the newest position has its own row, and two pages are above them.
    type Place = fn(&[usize]) -> usize;
    let places: [(&str, &str, Place); 7] = [
        ("leaf", "the oldest", |pages| pages[0]),
        ("leaf", "the second", |pages| pages[1]),
        ("leaf", "in the middle", |pages| pages[pages.len() / 2]),
        ("leaf", "the newest but one", |pages| pages[pages.len() - 2]),
        ("leaf", "the newest", |pages| pages[pages.len() - 1]),
        ("internal", "the older one inside", |pages| pages[1]),
        ("internal", "the newer one inside", |pages| pages[pages.len() - 1]),
    ];
    for (kind, name, place) in places {
        let place_name = format!("{kind}: {name}");
        let folder = filled();
        damage_page(&folder, place(&pages(&folder, "groups", kind)));
        let size = length(&folder);
        let journal = open(&folder, keep(KEPT));
        let before = journal.edges().last.position.number();
        assert!(before >= KEPT, "{place_name}: {before}");
        let (there, is_told) = seen(&journal, 0);
        assert!(is_told, "{place_name}");
        let missing = KEPT as usize - there.len();
        assert!(missing > 0 && (kind == "internal" || missing == 1), "{place_name}: {missing}");
        assert!(journal.damaged() > 0, "{place_name}");
        let (mut end, mut is_refused) = (before, false);
        // Of what is only a little too much, the next look is early enough.
        let most = (KEPT + TRIM_UPDATES as u64) * update("a", &text(1)).weight();
        for _ in 1..=10 {
            let all: Vec<_> = (end + 1..=end + 150).map(|n| update("a", &text(n))).collect();
            until(&format!("{place_name}: it is appended"), || {
                let appended = block(journal.append(all.clone(), None, Room::uncounted()));
                is_refused |= appended.is_err();
                appended.is_ok()
            });
            end += 150;
            assert_eq!(journal.edges().last.position.number(), end, "{place_name}");
            until(&format!("{place_name}: it is trimmed"), || journal.edges().bytes <= most);
        }
        // Only above the newest row: until there is another table.
        assert!(!is_refused || kind == "internal", "{place_name}");
        let looks = || journal.shared().state.lock().looks();
        let since = looks();
        until("nothing is left to be done", || looks() > since + 1);
        let (there, _) = seen(&journal, 0);
        // What cannot be read counts as one of those that are kept until it is found.
        assert!(
            there.len() as u64 <= KEPT && there.len() + missing >= KEPT as usize,
            "{}",
            there.len()
        );
        let first = journal.edges().first.number();
        assert_eq!(seen(&journal, first - 1), ((first..=end).collect(), false), "{place_name}");
        assert!(seen(&journal, first - 2).1, "{place_name}");
        assert_eq!(journal.trouble(), None, "{place_name}");
        drop(journal);
        // The copy and what is not freed take room once, and no more.
        let grown = length(&folder);
        assert!(grown < size * 5 / 2, "{place_name}: from {size} to {grown}");
        let journal = open(&folder, keep(KEPT));
        assert_eq!(journal.damaged(), 0, "{place_name}");
        assert_eq!(seen(&journal, first - 1), ((first..=end).collect(), false), "{place_name}");
        let looks = || journal.shared().state.lock().looks();
        let since = looks();
        until("what is left of the old table is freed", || looks() > since + 1);
        drop(journal);
        let found = JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap();
        assert_eq!(found, [""; 0], "{place_name}");
    }
}

#[test]
fn changed_rules_beside_a_damaged_page_sort_the_readable_updates() {
    for place in [0, 1, 150, 298, 299] {
        let folder = folder();
        publish(&open(&folder, keep(KEPT)), 1..=300);
        damage_leaf(&folder, "groups", |pages| pages[place]);
        let rules = vec![rule("b", Keep::All, 10), rule("a", Keep::All, 100)];
        let journal = open(&folder, keeping(rules));
        let lost = place as u64 + 1;
        let expected: Vec<u64> = (1..=300).filter(|n| *n != lost).collect();
        let expected = &expected[expected.len() - 100..];
        until("it is trimmed", || journal.edges().first == Position::new(expected[0]));
        let (there, is_told) = seen(&journal, 0);
        assert!(is_told);
        assert_eq!(there, expected, "{place}");
    }
}

#[test]
fn ids_of_a_newest_page_that_cannot_be_read_are_given_out_to_no_other_update() {
    for has_mark in [true, false] {
        let folder = folder();
        let journal = open(&folder, keep(KEPT));
        let ids: Vec<_> = (1..=200).map(|n| tell(&journal, "a", &n.to_string())).collect();
        drop(journal);
        if !has_mark {
            fs::remove_file(folder.path().join("journal.lock")).unwrap();
        }
        damage_leaf(&folder, "groups", |pages| pages[pages.len() - 1]);
        let journal = open(&folder, keep(KEPT));
        assert!(journal.damaged() > 0);
        let (there, is_told) = read(&journal, 0, &Selectors::all());
        assert!(is_told && !there.is_empty() && there.len() < 200, "{}", there.len());
        let expected: Vec<_> = (1..=there.len()).map(|n| n.to_string()).collect();
        assert_eq!(there, expected);
        let next = tell(&journal, "a", "next");
        assert!(!ids.contains(&next));
        for (n, id) in (1..).zip(&ids) {
            // Each of them is known, and continues with a gap or with nothing but new updates.
            let found = block(journal.find(id, &Selectors::all(), &Rights::Public)).unwrap();
            assert_eq!(found.map(|it| it.place.position), Some(Position::new(n)), "{id}");
            let (after, is_told) = read(&journal, n, &Selectors::all());
            assert!(is_told && after.last().unwrap() == "next", "{id}");
        }
        drop(journal);
        let journal = open(&folder, keep(KEPT));
        assert_eq!(journal.damaged(), 0);
        assert!(read(&journal, there.len() as u64, &Selectors::all()).1, "it stays told");
    }
}

#[test]
fn a_copy_that_was_not_finished_is_made_again() {
    let folder = filled();
    damage_leaf(&folder, "groups", |pages| pages[10]);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    let identity = Identity::read(&file).unwrap();
    let damage = Damage::default();
    let mut begun = Rebuild::begin(&file).unwrap();
    for _ in 0..3 {
        let step = begun.step(&file, &identity, &damage, 100_000, |_| Ok(()));
        assert_eq!(step.unwrap(), rebuild::Progress::Copying);
    }
    drop(file);
    let journal = open(&folder, keep(KEPT));
    assert_eq!(seen(&journal, 0).0.len() as u64, KEPT - 1);
    publish(&journal, KEPT + 1..=2 * KEPT);
    until("it is trimmed", || journal.edges().first > Position::new(KEPT));
    drop(journal);
    // So is one whose old table was not emptied yet.
    damage_leaf(&folder, "groups", |pages| pages[300]);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    rebuild::run(&file, &identity, &damage).unwrap();
    drop(file);
    let journal = open(&folder, keep(KEPT));
    assert_eq!(seen(&journal, 0).0.len() as u64, KEPT - 1);
    let tables = || {
        let count = journal.readers().run(|connection| {
            let all = "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'groups_*'";
            connection.query_row(all, [], |row| row.get::<_, i64>(0))
        });
        block(count).unwrap()
    };
    until("the old table is gone", || tables() == 0);
}

#[test]
fn a_damaged_page_of_the_index_is_abandoned() {
    let folder = folder();
    let journal = open(&folder, keep(u64::MAX));
    let many = |from: usize| (from..from + 900).map(|n| update(&format!("t{n}"), &n.to_string()));
    append(&journal, many(0).collect());
    drop(journal);
    drop(open(&folder, keep(u64::MAX)));
    damage_leaf(&folder, "topics", |pages| pages[1]);
    for round in 1..=3 {
        let journal = open(&folder, keep(u64::MAX));
        for n in [0, 10, 500, 899] {
            let found = read(&journal, 0, &topics(&[&format!("t{n}")]));
            assert_eq!(found, (vec![n.to_string()], false), "round {round}");
        }
        append(&journal, many(900 * round).collect());
        let looks = || journal.shared().state.lock().looks();
        let since = looks();
        until("it is noted for the next start", || looks() > since + 1);
        if round == 3 {
            assert_eq!(journal.damaged(), 0);
        }
    }
    let found = JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap();
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_damaged_page_of_the_index_of_ids_stops_nothing_and_is_rebuilt() {
    let own = |n: u64| {
        let event = Event::new(text(n)).with_id(&format!("urn:{n}")).unwrap();
        Update::new("a", event)
    };
    let folder = folder();
    let journal = open(&folder, keep(KEPT));
    append(&journal, (1..=KEPT).map(own).collect());
    drop(journal);
    damage_leaf(&folder, "ids", |pages| pages[0]);
    let journal = open(&folder, keep(KEPT));
    let find = |journal: &DiskJournal, n: u64| {
        let id = format!("urn:{n}");
        block(journal.find(&id, &Selectors::all(), &Rights::Public))
            .unwrap()
            .map(|found| found.place.position)
    };
    // The publish that comes to the page first may be refused; no other is.
    let mut refused = 0;
    for n in KEPT + 1..=2 * KEPT {
        while block(journal.append(vec![own(n)], None, Room::uncounted())).is_err() {
            refused += 1;
            assert_eq!(refused, 1);
        }
    }
    until("it is trimmed", || journal.edges().first == Position::new(KEPT + 1));
    assert_eq!(journal.trouble(), None);
    assert_eq!(journal.damaged(), 1);
    // An id that cannot be looked up is unknown, and so told of a reset.
    assert_eq!(find(&journal, 2 * KEPT), None);
    let looks = || journal.shared().state.lock().looks();
    let since = looks();
    until("it is noted for the next start", || looks() > since + 1);
    drop(journal);
    let journal = open(&folder, keep(KEPT));
    assert_eq!(journal.damaged(), 0);
    assert_eq!(find(&journal, KEPT + 1), Some(Position::new(KEPT + 1)));
    assert_eq!(find(&journal, 2 * KEPT), Some(Position::new(2 * KEPT)));
    assert_eq!(find(&journal, KEPT), None);
}

#[test]
fn publishes_under_keys_that_cannot_be_read_are_refused_until_they_would_be_forgotten() {
    fn later() -> SystemTime {
        SystemTime::now() + crate::limits::KEYS_TIME + Duration::from_secs(60)
    }
    let folder = folder();
    let under = |journal: &DiskJournal, key: &str| {
        let key = IdempotencyKey::new(key, b"").unwrap();
        block(journal.append(vec![update("a", "x")], Some(key), Room::uncounted()))
    };
    let journal = open(&folder, keep(KEPT));
    for n in 0..16 {
        under(&journal, &format!("{n:0250}")).unwrap();
    }
    drop(journal);
    damage_leaf(&folder, "keys", |pages| pages[0]);
    for _ in 0..2 {
        let journal = open(&folder, keep(KEPT));
        assert_eq!(journal.damaged(), 1);
        for key in [format!("{:0250}", 0), "new".to_owned()] {
            let refused = under(&journal, &key);
            assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
        }
        tell(&journal, "a", "no key");
        let looks = || journal.shared().state.lock().looks();
        let since = looks();
        until("it is noted", || looks() > since + 1);
        assert_eq!(journal.trouble(), None);
    }
    let journal = open(&folder, DiskOptions { now: later, ..keep(KEPT) });
    until("they are forgotten", || under(&journal, "new").is_ok());
    assert!(under(&journal, "new").unwrap().repeated);
    drop(journal);
    let journal = open(&folder, DiskOptions { now: later, ..keep(KEPT) });
    assert_eq!(journal.damaged(), 0);
    assert!(under(&journal, "new").unwrap().repeated);
}

#[test]
fn a_damaged_record_of_deleted_updates_is_rewritten_from_memory() {
    let folder = folder();
    let journal = open(&folder, keep(10));
    append(&journal, (0..900).map(|n| update(&format!("t{n}"), "")).collect());
    append(&journal, (0..100).map(|n| update(&format!("p{n:0300}"), "").private()).collect());
    until("it is trimmed", || journal.edges().first == Position::new(991));
    drop(journal);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    let identity = Identity::read(&file).unwrap();
    let known = dropped::restore(&file, &identity).unwrap();
    drop(file);
    damage_leaf(&folder, "dropped", |pages| pages[pages.len() / 2]);
    damage_leaf(&folder, "dropped_private_position", |pages| pages[0]);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    assert!(dropped::restore(&file, &identity).is_err());
    let transaction = file.unchecked_transaction().unwrap();
    dropped::renew(&transaction, &known).unwrap();
    transaction.commit().unwrap();
    let again = dropped::restore(&file, &identity).unwrap();
    let all = |dropped: &Dropped| {
        let mut public: Vec<_> = dropped.known_public().collect();
        public.sort_unstable();
        let private = dropped.known_private();
        let mut private: Vec<_> =
            private.map(|(topics, at)| (topics[0].as_str().to_owned(), at)).collect();
        private.sort_unstable();
        (public, private, dropped.newest_of_kinds(), dropped.forgotten_of_kinds())
    };
    let (before, after) = (all(&known), all(&again));
    assert!(before.0.len() > 1 && before.1.len() > 1, "{before:?}");
    assert_eq!(before, after);
}

#[test]
fn an_unreadable_record_of_deleted_updates_is_a_gap_for_all_subscribers() {
    let folder = folder();
    let journal = open(&folder, keep(10));
    append(&journal, (1..=900).map(|n| update(&format!("t{n}"), "")).collect());
    until("it is trimmed", || journal.edges().first == Position::new(891));
    drop(journal);
    damage_leaf(&folder, "dropped", |pages| pages[pages.len() / 2]);
    for damaged in [1, 0] {
        let journal = open(&folder, keep(10));
        assert_eq!(journal.damaged(), damaged);
        for topic in ["t1", "t900", "never"] {
            assert!(read(&journal, 899, &topics(&[topic])).1);
            assert!(!read(&journal, 900, &topics(&[topic])).1);
        }
    }
    // It trims as ever.
    let journal = open(&folder, keep(10));
    append(&journal, (901..=950).map(|n| update(&format!("t{n}"), "")).collect());
    until("it is trimmed", || journal.edges().first == Position::new(941));
    assert_eq!(journal.trouble(), None);
}

#[test]
fn counts_on_an_unreadable_page_are_counted_again() {
    let folder = filled();
    damage_leaf(&folder, "classes", |pages| pages[0]);
    let journal = open(&folder, keep(100));
    until("it is trimmed", || journal.edges().first == Position::new(KEPT - 99));
    assert_eq!(seen(&journal, KEPT - 100), ((KEPT - 99..=KEPT).collect(), false));
}

#[test]
fn readable_updates_beside_a_damaged_page_are_exported() {
    for place in [0, 300, 599] {
        let folder = filled();
        damage_leaf(&folder, "groups", |pages| pages[place]);
        let file = JournalFile::open(folder.path()).unwrap();
        let mut exported = Vec::new();
        let done = file.export(Position::START, |record| {
            exported.push(record.update.event().data().parse::<u64>().unwrap());
            Ok(())
        });
        let lost = place as u64 + 1;
        let expected: Vec<u64> = (1..=KEPT).filter(|n| *n != lost).collect();
        assert_eq!(exported, expected);
        assert_eq!(done.unwrap().updates, KEPT - 1);
        assert!(!file.check(|_| ()).unwrap().is_empty());
        drop(file);
        // Nor does the page keep the file from being made smaller.
        JournalFile::shrink(folder.path()).unwrap();
        let file = JournalFile::open(folder.path()).unwrap();
        assert_eq!(file.summary().unwrap().count, KEPT - 1);
        let found = file.check(|_| ()).unwrap();
        // Each of them is the missing update, or its entry in the index of topics.
        assert!(found.iter().all(|problem| problem.contains(&lost.to_string())), "{found:?}");
    }
}

#[test]
fn unreadable_unused_pages_are_dropped_when_the_file_is_shrunk() {
    let folder = filled();
    let journal = open(&folder, keep(100));
    until("it is trimmed", || journal.edges().first == Position::new(KEPT - 99));
    drop(journal);
    // The head of the file says where the list of unused pages begins.
    let bytes = fs::read(folder.path().join("journal.db")).unwrap();
    let list = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
    assert!(list > 1);
    damage_page(&folder, list as usize);
    let journal = open(&folder, keep(100));
    assert_eq!(seen(&journal, 0), ((KEPT - 99..=KEPT).collect(), true));
    let many = (0..50).map(|n| update("a", &text(n))).collect();
    let refused = block(journal.append(many, None, Room::uncounted()));
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert_eq!(seen(&journal, 0), ((KEPT - 99..=KEPT).collect(), true));
    drop(journal);
    JournalFile::shrink(folder.path()).unwrap();
    let journal = open(&folder, keep(100));
    publish(&journal, KEPT + 1..=KEPT + 100);
    until("it is trimmed", || journal.edges().first == Position::new(KEPT + 1));
    assert_eq!(seen(&journal, KEPT), ((KEPT + 1..=KEPT + 100).collect(), false));
}
