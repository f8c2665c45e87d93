//! Updates of several publishers that chose the same id, in memory and on disk.

use super::*;
use crate::limits::SAME_ID_MAX;

fn with_id(topics: &[&str], id: &str) -> Update {
    let update = Update::new(topics[0], Event::new("x").with_id(id).unwrap());
    topics[1..].iter().fold(update, |update, topic| update.about(*topic))
}

/// More updates with an id than are looked at.
fn many(topic: &str, id: &str) -> Vec<Update> {
    (0..2 * SAME_ID_MAX).map(|_| with_id(&[topic], id)).collect()
}

const MANY: u64 = 2 * SAME_ID_MAX as u64;

fn on_both(test: impl Fn(&dyn Journal)) {
    test(&small_memory(Retention::default()));
    let folder = folder();
    let disk = open(&folder, DiskOptions::default());
    test(&disk);
    drop(disk);
    let sound = JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap();
    assert_eq!(sound, [""; 0]);
}

fn place(found: Option<Found>) -> Option<u64> {
    found.map(|found| found.place.position.number())
}

fn find(journal: &dyn Journal, selectors: &Selectors, rights: &Rights) -> Option<u64> {
    place(block(journal.find("x", selectors, rights)).unwrap())
}

fn is_certain(journal: &dyn Journal, selectors: &Selectors) -> bool {
    block(journal.find("x", selectors, &Rights::Public)).unwrap().is_some_and(|one| one.is_certain)
}

#[test]
fn however_many_others_have_an_id_a_subscriber_of_topics_finds_its_own() {
    on_both(|journal| {
        append(journal, many("theirs", "x"));
        append(journal, many("others", "x"));
        append(journal, vec![with_id(&["a", "b"], "x"), with_id(&["b", "c"], "x")]);
        append(journal, many("theirs", "x"));
        let own = 2 * MANY + 1;
        let found = |names: &[&str]| find(journal, &topics(names), &Rights::Public);
        assert_eq!(found(&["a"]), Some(own));
        assert_eq!(found(&["b"]), Some(own));
        assert_eq!(found(&["none", "c"]), Some(own + 1));
        assert_eq!(found(&["a", "others"]), Some(MANY + 1));
        let names: Vec<_> = (0..900).map(|n| format!("t{n}")).chain(["c".to_owned()]).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(found(&names), Some(own + 1));
        assert_eq!(found(&["none"]), Some(1), "the earliest that it may read");
        let is_certain = |names: &[&str]| is_certain(journal, &topics(names));
        assert!(is_certain(&["none", "c"]) && !is_certain(&["none"]));
    });
}

#[test]
fn a_pattern_whose_update_is_not_among_the_first_with_an_id_continues_from_an_earlier_position() {
    on_both(|journal| {
        append(journal, many("theirs", "x"));
        append(journal, vec![with_id(&["own/1"], "x")]);
        let pattern = |text| Selectors::new([Selector::template(text).unwrap()]).unwrap();
        assert_eq!(find(journal, &pattern("own/{n}"), &Rights::Public), Some(1));
        assert!(!is_certain(journal, &pattern("own/{n}")));
        assert!(is_certain(journal, &Selectors::all()));
        assert_eq!(find(journal, &Selectors::all(), &Rights::Public), Some(1));
        let both = [Selector::new("own/1").unwrap(), Selector::template("z{n}").unwrap()];
        assert_eq!(find(journal, &Selectors::new(both).unwrap(), &Rights::Public), Some(1));
    });
}

#[test]
fn private_updates_with_an_id_are_found_only_with_a_grant() {
    on_both(|journal| {
        let private = |topic| many(topic, "x").into_iter().map(Update::private).collect();
        append(journal, private("a"));
        append(journal, private("b"));
        append(journal, vec![with_id(&["a"], "x")]);
        let granted = |name: &str| Rights::Granted(topics(&[name]));
        let (a, own) = (topics(&["a"]), 2 * MANY + 1);
        assert_eq!(find(journal, &a, &granted("a")), Some(1));
        assert_eq!(find(journal, &a, &Rights::Public), Some(own));
        assert_eq!(find(journal, &Selectors::all(), &Rights::Public), Some(own));
        assert_eq!(find(journal, &topics(&["b"]), &granted("b")), Some(MANY + 1));
        // Which of them it may read is not known without a look at each: it is told of a reset.
        assert_eq!(find(journal, &a, &granted("b")), None);
    });
}

#[test]
fn an_id_is_found_by_topic_until_its_update_is_dropped() {
    let keep = MANY as usize;
    let memory = small_memory(Retention::default().count(keep as u64));
    let folder = folder();
    let disk = open(&folder, keeping(vec![rule("*", Keep::All, keep as u64)]));
    for journal in [&memory as &dyn Journal, &disk] {
        append(journal, vec![with_id(&["a", "b"], "x"), with_id(&["a"], "x")]);
        let found = |name: &str| find(journal, &topics(&[name]), &Rights::Public);
        assert_eq!((found("a"), found("b")), (Some(1), Some(1)));
        append(journal, (1..keep).map(|_| update("a", "x")).collect());
        until("it is dropped", || journal.edges().first == Position::new(2));
        assert_eq!((found("a"), found("b")), (Some(2), Some(2)));
        append(journal, vec![update("a", "x")]);
        until("it is dropped", || journal.edges().first == Position::new(3));
        assert_eq!((found("a"), found("b")), (None, None));
    }
    // Nothing is left of it.
    let left = disk.readers().run(|connection| {
        connection.query_row("SELECT count(*) FROM ids", [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(block(left).unwrap(), 0);
}

#[test]
fn ids_that_were_indexed_without_topics_are_indexed_again() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    append(&journal, many("theirs", "x"));
    // More entries than are written at once.
    append(&journal, (0..300).map(|n| with_id(&["a"], &format!("{n}"))).collect());
    append(&journal, vec![with_id(&["a"], "x")]);
    drop(journal);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    file.execute_batch(
        "DELETE FROM meta WHERE name = 'ids_by_topic';
         UPDATE OR IGNORE ids SET id = id + 1;",
    )
    .unwrap();
    drop(file);
    let check = || JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap();
    assert_eq!(check(), [""; 0], "of an index that is built anew nothing is said");
    let journal = open(&folder, DiskOptions::default());
    let own = MANY + 300 + 1;
    assert_eq!(find(&journal, &topics(&["a"]), &Rights::Public), Some(own));
    drop(journal);
    assert_eq!(check(), [""; 0]);
}
