//! Changes to the journal's files while a hub uses them.

use super::*;
use crate::limits::READS_WAITING;

fn is_refused(journal: &DiskJournal) -> bool {
    block(journal.append(vec![update("a", "refused")], None, Room::uncounted())).is_err()
}

fn in_use(path: &Path) -> bool {
    matches!(
        DiskJournal::open(path, DiskOptions::default()),
        Err(OpenError::InUse { process: None | Some(_), .. })
    )
}

#[test]
fn a_moved_folder_stops_publishing_until_it_is_moved_back() {
    let outer = folder();
    let (path, elsewhere) = (outer.path().join("data"), outer.path().join("elsewhere"));
    let journal = DiskJournal::open(&path, DiskOptions::default()).unwrap();
    tell(&journal, "a", "1");
    fs::rename(&path, &elsewhere).unwrap();
    until("it is noticed", || journal.trouble().is_some());
    assert!(is_refused(&journal));
    assert_eq!(journal.interruptions(), 1);
    // Nobody else begins there meanwhile.
    assert!(in_use(&path));
    // Nor leaves anything there, so that the folder can be moved back.
    assert!(!path.exists());
    fs::rename(&elsewhere, &path).unwrap();
    until("it is noticed", || journal.trouble().is_none());
    tell(&journal, "a", "2");
    drop(journal);
    let journal = DiskJournal::open(&path, DiskOptions::default()).unwrap();
    assert_eq!(read(&journal, 0, &Selectors::all()).0, ["1", "2"]);
}

#[test]
fn a_folder_that_is_emptied_is_noticed_and_held_all_the_same() {
    let outer = folder();
    let path = outer.path().join("data");
    let journal = DiskJournal::open(&path, DiskOptions::default()).unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    until("it is noticed", || journal.trouble().is_some());
    assert!(is_refused(&journal));
    assert!(in_use(&path));
    drop(journal);
    assert!(!in_use(&path));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_deleted_with_its_parents_is_still_held() {
    for is_moved in [true, false] {
        let outer = folder();
        let (first, elsewhere) = (outer.path().join("a"), outer.path().join("elsewhere"));
        let path = first.join("b").join("data");
        let journal = DiskJournal::open(&path, DiskOptions::default()).unwrap();
        tell(&journal, "a", "1");
        if is_moved {
            fs::rename(&first, &elsewhere).unwrap();
        } else {
            fs::remove_dir_all(&first).unwrap();
        }
        until("it is noticed", || journal.trouble().is_some());
        for spelling in ["b/data", "b/./data/.", "b/../b/data"] {
            assert!(in_use(&first.join(spelling)), "{spelling}");
        }
        assert!(!first.exists());
        if is_moved {
            fs::rename(&elsewhere, &first).unwrap();
            until("it is back", || journal.trouble().is_none());
            tell(&journal, "a", "2");
        }
        drop(journal);
        let journal = DiskJournal::open(&path, DiskOptions::default()).unwrap();
        let expected: &[&str] = if is_moved { &["1", "2"] } else { &[] };
        assert_eq!(read(&journal, 0, &Selectors::all()).0, expected);
    }
}

/// Any user may lock a folder that it can read, as `flock` on a command line does.
#[cfg(target_os = "linux")]
#[test]
fn a_lock_of_another_program_counts_only_where_no_other_user_can_take_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let outer = folder();
    let path = outer.path().join("data");
    drop(DiskJournal::open(&path, DiskOptions::default()).unwrap());
    let lock = path.join("journal.lock");
    assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
    let other = fs::File::open(&path).unwrap();
    other.try_lock().unwrap();
    assert!(in_use(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let journal = DiskJournal::open(&path, DiskOptions::default()).unwrap();
    tell(&journal, "a", "1");
    // A second hub is still kept out, even if the lock's file is missing.
    assert!(in_use(&path));
    fs::remove_file(&lock).unwrap();
    assert!(in_use(&path));
    drop(journal);
    assert_eq!(
        read(&DiskJournal::open(&path, DiskOptions::default()).unwrap(), 0, &Selectors::all()).0,
        ["1"]
    );
}

#[test]
fn a_removed_log_stops_publishing_and_loses_no_update() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    for n in 0..20 {
        tell(&journal, "a", &n.to_string());
    }
    fs::remove_file(folder.path().join("journal.db-wal")).unwrap();
    until("it is noticed", || journal.trouble().is_some());
    let reason = journal.trouble().unwrap();
    assert!(reason.contains("removed or replaced"), "{reason}");
    assert!(is_refused(&journal));
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    assert_eq!(read(&journal, 0, &Selectors::all()).0.len(), 20);
    assert_eq!(journal.damaged(), 0);
}

#[test]
fn a_file_that_is_replaced_stops_publishing() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    tell(&journal, "a", "1");
    let path = folder.path().join("journal.db");
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    until("it is noticed", || journal.trouble().is_some());
    assert!(is_refused(&journal));
}

fn set_length(folder: &TempDir, name: &str, length: u64) {
    let file = fs::File::options().write(true).open(folder.path().join(name)).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn a_truncated_log_stops_publishing_and_the_next_start_reports_the_loss() {
    for length in [0, 4096, 50_000] {
        let folder = folder();
        let journal = open(&folder, DiskOptions::default());
        for n in 0..20 {
            tell(&journal, "a", &n.to_string());
        }
        set_length(&folder, "journal.db-wal", length);
        // Nothing is acknowledged from here on, also before the next look.
        assert!(is_refused(&journal));
        let reason = journal.trouble().unwrap();
        assert!(reason.contains("shortened"), "{reason}");
        assert_eq!(journal.interruptions(), 1);
        // Its content is lost.
        set_length(&folder, "journal.db-wal", 8 << 20);
        assert!(is_refused(&journal));
        drop(journal);
        let journal = open(&folder, DiskOptions::default());
        assert_eq!(journal.damaged(), 1, "{length}");
        assert_eq!(journal.edges().last.position, Position::new(20));
        assert!(read(&journal, 0, &Selectors::all()).1);
        let new = tell(&journal, "a", "new");
        assert_eq!(find(&journal, &new), Some(Position::new(21)));
    }
}

#[test]
fn a_file_that_is_shortened_stops_publishing() {
    let folder = folder();
    let path = folder.path().join("journal.db");
    let journal = open(&folder, DiskOptions::default());
    while fs::metadata(&path).unwrap().len() <= 1 << 20 {
        append(&journal, vec![update("a", &"x".repeat(1000)); 500]);
    }
    // The next look knows how long it is.
    let looks = || journal.shared().state.lock().looks();
    let looked = looks();
    until("it is looked at", || looks() > looked + 1);
    set_length(&folder, "journal.db", 8192);
    until("it is noticed", || journal.trouble().is_some());
    let reason = journal.trouble().unwrap();
    assert!(reason.contains("shortened"), "{reason}");
    assert!(is_refused(&journal));
}

#[test]
fn a_file_missing_at_the_start_is_reported_until_the_first_publish() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    let ids: Vec<_> = (0..5).map(|n| tell(&journal, "a", &n.to_string())).collect();
    drop(journal);
    fs::remove_file(folder.path().join("journal.db")).unwrap();
    for _ in 0..2 {
        let journal = open(&folder, DiskOptions::default());
        assert_eq!(journal.damaged(), 1);
        assert_eq!(journal.edges().last.position, Position::START);
        assert_eq!(find(&journal, &ids[2]), None);
    }
    tell(&open(&folder, DiskOptions::default()), "a", "new");
    assert_eq!(open(&folder, DiskOptions::default()).damaged(), 0);
}

#[test]
fn a_log_without_its_file_is_kept_until_the_file_is_found() {
    let (folder, killed) = (folder(), folder());
    let journal = open(&folder, DiskOptions::default());
    let names = ["journal.db", "journal.db-wal", "journal.lock"];
    tell(&journal, "a", "1");
    // As a hub that is killed leaves them.
    for name in names {
        fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    let at = |name: &str| killed.path().join(name);
    fs::rename(at("journal.db"), at("elsewhere")).unwrap();
    for is_empty in [false, true] {
        assert_eq!(open(&killed, DiskOptions::default()).damaged(), 1);
        let next = if is_empty { "elsewhere" } else { "empty" };
        fs::write(at("empty"), "").unwrap();
        fs::rename(at(next), at("journal.db")).unwrap();
    }
    fs::rename(at("journal.db-wal.left"), at("journal.db-wal")).unwrap();
    let journal = open(&killed, DiskOptions::default());
    assert_eq!(journal.damaged(), 0);
    assert_eq!(read(&journal, 0, &Selectors::all()).0, ["1"]);
}

#[test]
fn the_newest_position_is_noted_again_where_its_file_was_shortened_or_overwritten() {
    let folder = folder();
    let noted = || lock::mark_in(folder.path()).map(|mark| mark.position.number());
    let path = folder.path().join("journal.lock");
    let mut journal = open(&folder, DiskOptions::default());
    tell(&journal, "a", "1");
    set_length(&folder, "journal.lock", 0);
    assert_eq!(noted(), None);
    tell(&journal, "a", "2");
    assert_eq!(noted(), Some(2));
    assert!(in_use(folder.path()));
    let process = fs::read_to_string(&path).unwrap();
    assert!(process.trim_start().starts_with(&std::process::id().to_string()), "{process}");
    for garbage in ["", "\u{1f4a5}", &"\u{1f4a5}".repeat(100)] {
        // In place: another file would be another lock.
        set_length(&folder, "journal.lock", 0);
        fs::write(&path, garbage).unwrap();
        drop(journal);
        assert_eq!(noted(), Some(2), "{garbage}");
        journal = open(&folder, DiskOptions::default());
    }
}

#[test]
fn a_copy_needs_a_folder_without_a_hub_or_a_leftover_log() {
    let (folder, outer) = (folder(), folder());
    let journal = open(&folder, DiskOptions::default());
    tell(&journal, "a", "1");
    let file = JournalFile::open(folder.path()).unwrap();
    let (path, elsewhere) = (outer.path().join("data"), outer.path().join("elsewhere"));
    let other = DiskJournal::open(&path, DiskOptions::default()).unwrap();
    fs::rename(&path, &elsewhere).unwrap();
    assert!(matches!(file.back_up(&path), Err(OpenError::InUse { .. })));
    assert!(!path.exists());
    drop(other);
    fs::create_dir(&path).unwrap();
    fs::write(path.join("journal.db-wal"), "another journal's").unwrap();
    assert!(matches!(file.back_up(&path), Err(OpenError::Unusable { .. })));
    fs::remove_file(path.join("journal.db-wal")).unwrap();
    file.back_up(&path).unwrap();
    let copy = DiskJournal::open(&path, DiskOptions::default()).unwrap();
    assert_eq!(read(&copy, 0, &Selectors::all()).0, ["1"]);
}

#[test]
fn an_export_that_takes_its_time_does_not_lengthen_the_log() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    append(&journal, vec![update("a", &"x".repeat(1000)); 500]);
    let log = || fs::metadata(folder.path().join("journal.db-wal")).unwrap().len();
    let file = JournalFile::open(folder.path()).unwrap();
    let mut is_first = true;
    let exported = file.export(Position::START, |_| {
        if std::mem::take(&mut is_first) {
            for _ in 0..30 {
                append(&journal, vec![update("a", &"y".repeat(1000)); 500]);
            }
        }
        Ok(())
    });
    // What came later is not part of it.
    assert_eq!(exported.unwrap(), Exported { updates: 500, damaged: 0 });
    assert!(log() < 12 << 20, "{}", log());
}

#[test]
fn a_copy_made_while_publishing_is_a_journal_as_of_one_moment() {
    let (folder, restored) = (folder(), folder());
    let journal = open(&folder, DiskOptions::default());
    let mut ids = Vec::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut ids = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) || ids.len() < 50 {
                ids.push(tell(&journal, "a", &ids.len().to_string()));
            }
            ids
        });
        until("something is published", || journal.edges().last.position > Position::new(20));
        let file = JournalFile::open(folder.path()).unwrap();
        file.back_up(restored.path()).unwrap();
        let since = journal.edges().last.position.number();
        until("more is published", || journal.edges().last.position.number() > since + 20);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ids = publisher.join().unwrap();
    });
    let restored = open(&restored, DiskOptions::default());
    let (copied, lost) = read(&restored, 0, &topics(&["a"]));
    assert!(!lost && copied.len() >= 20 && copied.len() < ids.len());
    assert!(copied.iter().enumerate().all(|(n, data)| *data == n.to_string()));
    for (n, id) in ids.iter().enumerate() {
        let found = find(&restored, id);
        // A subscriber within the copy's content resumes exactly. A later id is unknown: a reset.
        let expected = (n < copied.len()).then(|| Position::new(n as u64 + 1));
        assert_eq!(found, expected, "{id}");
    }
    // Positions that are assigned again do not pass for the old ones.
    let again: Vec<_> = (copied.len()..ids.len()).map(|_| tell(&restored, "a", "new")).collect();
    for id in &ids[copied.len()..] {
        assert!(!again.contains(id));
        assert_eq!(find(&restored, id), None);
    }
}

#[test]
fn abandoned_reads_do_not_delay_other_reads() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    tell(&journal, "a", "1");
    let threads = crate::limits::JOURNAL_READERS;
    let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
    let held = Arc::new(Mutex::new(held));
    let ran = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // All threads are busy.
        let busy: Vec<_> = (0..threads)
            .map(|_| {
                let held = Arc::clone(&held);
                Box::pin(journal.readers().run(move |_| {
                    let _ = held.lock().recv();
                    Ok(())
                }))
            })
            .collect();
        let mut busy = busy;
        for one in &mut busy {
            assert!(poll_once(one).is_none());
        }
        for _ in 0..4 * READS_WAITING {
            let ran = Arc::clone(&ran);
            let mut abandoned = Box::pin(journal.readers().run(move |_| {
                ran.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }));
            assert!(poll_once(&mut abandoned).is_none());
        }
        let mut live = Box::pin(journal.readers().run(|_| Ok("read")));
        assert!(poll_once(&mut live).is_none(), "it waits, and does not fail");
        drop(release);
        assert_eq!(live.await.unwrap(), "read");
    });
    assert_eq!(ran.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// Polls once.
fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}
