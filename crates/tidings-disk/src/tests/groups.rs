//! Rows that hold groups of updates.

use super::*;

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn rows(journal: &DiskJournal) -> i64 {
    let count = journal.readers().run(|connection| {
        connection.query_row("SELECT count(*) FROM groups", [], |row| row.get(0))
    });
    block(count).expect("it is read")
}

#[test]
fn updates_that_are_appended_together_share_rows_and_are_read_from_every_position() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    let all: Vec<_> = (0..100).map(|n| update(["a", "b"][n % 2], &n.to_string())).collect();
    append(&journal, all);
    append(&journal, vec![update("a", &"x".repeat(10_000)), update("b", "101")]);
    let rows = rows(&journal);
    assert!((2..20).contains(&rows), "{rows}");
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    for after in 0..100 {
        let (data, lost) = read(&journal, after as u64, &Selectors::all());
        assert_eq!((&data[..100 - after], lost), (&numbers(after..100)[..], false));
        assert_eq!((data.len(), data[data.len() - 1].as_str()), (102 - after, "101"));
    }
    let (b, _) = read(&journal, 50, &topics(&["b"]));
    assert_eq!(b.len(), 26);
}

#[test]
fn a_row_of_which_some_are_replaced_keeps_the_others() {
    let folder = folder();
    let rules = || vec![rule("state", Keep::Last, u64::MAX), rule("*", Keep::All, u64::MAX)];
    let journal = open(&folder, keeping(rules()));
    for round in 0..5 {
        let of = |n: usize| update(["state", "all"][n % 2], &format!("{round}.{n}"));
        append(&journal, (0..20).map(of).collect());
    }
    let kept = |journal: &DiskJournal| {
        let (all, lost) = read(journal, 0, &topics(&["all"]));
        assert_eq!((all.len(), lost), (50, false));
        assert_eq!(read(journal, 0, &topics(&["state"])), (vec!["4.18".to_owned()], false));
        let (all, lost) = read(journal, 0, &Selectors::all());
        assert_eq!((all.len(), lost), (51, false));
        assert_eq!(journal.shared().damage.count(), 0);
    };
    until_kept(&journal, |all| all.len() == 51);
    drop(journal);
    assert_eq!(JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap(), [""; 0]);
    kept(&open(&folder, keeping(rules())));
}

#[test]
fn an_idle_journal_writes_nothing_though_a_rule_keeps_the_last() {
    let folder = folder();
    let rules = vec![rule("state", Keep::Last, u64::MAX), rule("*", Keep::All, u64::MAX)];
    let journal = open(&folder, keeping(rules));
    for n in 0..50 {
        tell(&journal, ["state", "busy", "busier"][n % 3], &n.to_string());
    }
    until_kept(&journal, |all| all.len() == 34);
    let other = Connection::open(folder.path().join("journal.db")).unwrap();
    let version = || other.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
    let looks = || journal.shared().state.lock().looks();
    let (before, since) = (version().unwrap(), looks());
    until("it has looked", || looks() > since + 3);
    assert_eq!(version().unwrap(), before);
}

#[test]
fn replacing_updates_are_found_at_the_cost_of_their_own_class() {
    let folder = folder();
    let rules = || vec![rule("state", Keep::Last, u64::MAX), rule("*", Keep::All, u64::MAX)];
    let journal = open(&folder, keeping(rules()));
    tell(&journal, "state", "old");
    drop(journal);
    // Updates that an earlier process did not check are found too.
    let journal = open(&folder, keeping(vec![rule("*", Keep::All, u64::MAX)]));
    for n in 0..30 {
        tell(&journal, ["busy", "state"][usize::from(n % 10 == 0)], &n.to_string());
    }
    drop(journal);
    let journal = open(&folder, keeping(rules()));
    until_kept(&journal, |all| all.len() == 28);
    assert_eq!(read(&journal, 0, &topics(&["state"])), (vec!["20".to_owned()], false));
}
