//! Files of all formats that there have been.

use super::*;

const FORMATS: [(&str, &str); 4] = [
    ("first", include_str!("formats/1-first.sql")),
    ("private losses", include_str!("formats/1-private-losses.sql")),
    ("revoked", include_str!("formats/1-revoked.sql")),
    ("index behind", include_str!("formats/1-index-behind.sql")),
];

/// A little later than the newest update of those files.
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_927_883)
}

fn options() -> DiskOptions {
    let rules = vec![
        rule("few", Keep::All, 2),
        rule("state", Keep::Last, u64::MAX),
        rule("*", Keep::All, u64::MAX),
    ];
    DiskOptions { now: then, ..keeping(rules) }
}

fn old(sql: &str) -> TempDir {
    let folder = folder();
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    file.pragma_update(None, "journal_mode", "wal").unwrap();
    file.execute_batch(sql).unwrap();
    folder
}

fn check(name: &str, journal: &DiskJournal) {
    let all = Rights::Granted(Selectors::all());
    let (read, lost) = read_all(journal, 6, &Selectors::all(), &all, false);
    let presence = matches!(name, "revoked" | "index behind");
    let kept = ["s2", "two topics", "own id", "grüße\nzweite Zeile", "p2", "p3", "last", "came"];
    assert_eq!(read, kept[..kept.len() - usize::from(!presence)], "{name}");
    assert!(lost, "{name}: a private update is missing");
    assert_eq!(super::read(journal, 5, &Selectors::all()).0.len(), 5, "{name}");
    // Losses are told as before.
    assert!(super::read(journal, 4, &topics(&["few"])).1, "{name}");
    assert!(!super::read(journal, 5, &topics(&["few"])).1, "{name}");
    assert!(!super::read(journal, 0, &topics(&["a", "state"])).1, "{name}");
    let last = read_all(journal, 0, &topics(&["b", "state"]), &Rights::Public, true);
    assert_eq!(last, (vec!["s2".to_owned(), "two topics".to_owned()], false), "{name}");
    // Ids are those that were given out.
    let find = |id: &str| find(journal, id);
    assert_eq!(find("urn:7"), Some(Position::new(9)), "{name}");
    for (id, at) in [("tidings:4ggaer.7.nhae", 7), ("tidings:4ggaer.14.g4p3", 14)] {
        assert_eq!(find(id), Some(Position::new(at)), "{name}");
    }
    assert_eq!(find("tidings:4ggaer.14.aaaa"), None, "{name}");
    let revoked: Vec<_> = journal.revoked().into_iter().map(|token| token.name).collect();
    let expected = ["jti:gone"];
    assert_eq!(revoked, expected[..usize::from(presence)], "{name}");
    assert_eq!(journal.damaged(), 0, "{name}");
}

#[test]
fn a_file_of_every_format_keeps_its_content() {
    for (name, sql) in FORMATS {
        let folder = old(sql);
        // A look from outside converts nothing, and says what does.
        let refused = JournalFile::open(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("converts it when it starts"), "{refused}");
        let journal = open(&folder, options());
        check(name, &journal);
        let next = journal.edges().last.position.next();
        drop(journal);
        let sound = JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap();
        assert_eq!(sound, [""; 0], "{name}");
        let journal = open(&folder, options());
        check(name, &journal);
        // What was published under a key has the ids that it had.
        let kept = journal.readers().run(|connection| {
            let kept = keys::look_up(connection, "k2")?.expect("it is remembered");
            assert_eq!((kept.fingerprint, kept.count), (-6_633_563_078_925_523_218, 1));
            let own = keys::look_up(connection, "k1")?.expect("it is remembered");
            Ok((kept.first, own.first))
        });
        assert_eq!(block(kept).unwrap(), (Position::new(10), Position::new(9)), "{name}");
        tell(&journal, "a", "next");
        assert_eq!(journal.edges().last.position, next);
        // It fits the pages that it leaves free, and no table of the old format is left.
        let tables = journal.readers().run(|connection| {
            connection.query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'old%' OR name = 'updates'",
                [],
                |row| row.get::<_, i64>(0),
            )
        });
        assert_eq!(block(tables).unwrap(), 0);
    }
}

#[test]
fn a_damaged_update_of_format_1_is_a_gap() {
    let damaged = FORMATS[3].1.replace("'a\nb'", "''");
    assert_ne!(damaged, FORMATS[3].1);
    let folder = old(&damaged.replace("'price'", "'a\nb'"));
    let journal = open(&folder, options());
    let end = journal.edges().last.position;
    assert_eq!(on_file_count(&journal), 7);
    assert!(super::read(&journal, 6, &topics(&["other"])).1, "nobody knows what it was about");
    tell(&journal, "a", "next");
    assert_eq!(journal.edges().last.position, end.next());
}

#[test]
fn damaged_newest_updates_of_format_1_are_a_gap_and_their_positions_are_not_used_again() {
    for (name, sql) in FORMATS {
        for count in 1..=2 {
            let folder = old(sql);
            let file = Connection::open(folder.path().join("journal.db")).unwrap();
            let newest: i64 =
                file.query_row("SELECT max(position) FROM updates", [], |row| row.get(0)).unwrap();
            let damage = "UPDATE updates SET id = 'a\nb' WHERE position > ?1";
            assert_eq!(file.execute(damage, [newest - count]).unwrap(), count as usize, "{name}");
            drop(file);
            let end = Position::new(newest as u64);
            let before = end.number() - count as u64;
            for start in 1..=2 {
                let journal = open(&folder, options());
                assert_eq!(journal.edges().last.position, end, "{name}: no id is used again");
                let (data, lost) = super::read(&journal, before, &topics(&["other"]));
                assert!(data.is_empty() && lost, "{name}: nobody knows what it was about");
                assert!(!super::read(&journal, end.number(), &Selectors::all()).1, "{name}");
                // The first start counts each of them, later ones the place where they were.
                let damaged = if start == 1 { count as u64 } else { 1 };
                assert_eq!(journal.damaged(), damaged, "{name}");
                drop(journal);
                let problems = JournalFile::open(folder.path()).unwrap().check(|_| ()).unwrap();
                assert_eq!(problems.len(), 1, "{name}: {problems:?}");
            }
            let journal = open(&folder, options());
            tell(&journal, "a", "next");
            assert_eq!(journal.edges().last.position, end.next(), "{name}");
            let (data, lost) = super::read(&journal, before, &Selectors::all());
            assert_eq!((data, lost), (vec!["next".to_owned()], true), "{name}");
        }
    }
}

#[test]
fn a_file_of_format_1_without_an_update_that_can_be_read_is_a_gap() {
    let folder = old(FORMATS[3].1);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    file.execute_batch("UPDATE updates SET id = 'a\nb'").unwrap();
    let newest: i64 =
        file.query_row("SELECT max(position) FROM updates", [], |row| row.get(0)).unwrap();
    drop(file);
    let journal = open(&folder, options());
    assert!(super::read(&journal, newest as u64 - 1, &topics(&["other"])).1);
    assert_eq!(journal.edges().last.position, Position::new(newest as u64));
    tell(&journal, "a", "next");
    assert_eq!(journal.edges().last.position, Position::new(newest as u64 + 1));
}

/// How many updates can be read.
fn on_file_count(journal: &DiskJournal) -> usize {
    let identity = journal.identity();
    let read = journal.readers().run(move |connection| {
        let covered = rows::covered(connection, &identity)?;
        let mut count = 0;
        updates::walk(connection, &identity, covered, |met| {
            count += usize::from(matches!(met, Met::Update(_)));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    });
    block(read).unwrap()
}

#[test]
fn a_file_that_cannot_be_converted_is_not_changed() {
    let folder = old(FORMATS[3].1);
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    file.execute_batch("UPDATE meta SET value = 'x' WHERE name = 'epoch'").unwrap();
    drop(file);
    let error = DiskJournal::open(folder.path(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    let (format, updates): (i32, i64) = (
        file.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap(),
        file.query_row("SELECT count(*) FROM updates", [], |row| row.get(0)).unwrap(),
    );
    assert_eq!((format, updates), (1, 8));
}

#[test]
fn a_file_with_an_unknown_addition_to_its_format_is_refused() {
    let folder = folder();
    drop(open(&folder, DiskOptions::default()));
    let file = Connection::open(folder.path().join("journal.db")).unwrap();
    put(&file, "needs", "runs").unwrap();
    drop(file);
    let error = DiskJournal::open(folder.path(), DiskOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Needs { .. }), "{error}");
    assert!(error.to_string().contains("newer version of Tidings (it uses runs)"), "{error}");
}
