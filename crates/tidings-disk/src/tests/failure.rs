//! Threads of the journal that panic, or cannot be started: nothing waits for them for ever.

use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::limits::JOURNAL_READERS;

fn try_append(journal: &DiskJournal, data: &str) -> Result<Appended, AppendError> {
    block(journal.append(vec![update("a", data)], None, Room::uncounted()))
}

#[test]
fn a_reader_that_panics_is_noted_before_its_read_is_answered() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    let read =
        block(journal.readers().run(|_| -> rusqlite::Result<()> { panic!("as a fault would") }));
    assert!(matches!(read, Err(tidings_core::journal::ReadError::Unavailable(_))), "{read:?}");
    assert!(!journal.is_running());
    // The other threads read on.
    assert!(block(journal.readers().run(|_| Ok(()))).is_ok());
    assert!(try_append(&journal, "b").is_ok());
}

#[test]
fn reads_are_answered_when_every_reader_has_panicked() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default());
    let all_read = Arc::new(Barrier::new(JOURNAL_READERS));
    std::thread::scope(|scope| {
        for _ in 0..JOURNAL_READERS {
            let (journal, all_read) = (&journal, Arc::clone(&all_read));
            scope.spawn(move || {
                let read = block(journal.readers().run(move |_| -> rusqlite::Result<()> {
                    all_read.wait();
                    panic!("as a fault would")
                }));
                assert!(read.is_err());
            });
        }
        // Some of them wait in the queue while no thread is left.
        for _ in 0..8 {
            scope.spawn(|| block(journal.readers().run(|_| Ok(()))));
        }
    });
    let later = block(journal.readers().run(|_| Ok(())));
    assert!(later.is_err());
    assert!(!journal.is_running());
    assert!(try_append(&journal, "b").is_ok(), "the writer still runs");
}

static CLOCK_FAILS: AtomicBool = AtomicBool::new(false);

fn failing_clock() -> SystemTime {
    assert!(!CLOCK_FAILS.load(Ordering::Acquire), "as a fault would");
    SystemTime::now()
}

#[test]
fn a_writer_that_panics_refuses_what_waits_and_what_follows() {
    let folder = folder();
    let journal = open(&folder, DiskOptions::default().now(failing_clock));
    try_append(&journal, "before").unwrap();
    CLOCK_FAILS.store(true, Ordering::Release);
    for _ in 0..2 {
        let appended = try_append(&journal, "lost");
        assert!(matches!(appended, Err(AppendError::Unavailable(_))), "{appended:?}");
    }
    assert!(!journal.is_running());
    let revoked = block(journal.revoke(RevokedToken::new("jti:1".to_owned(), None)));
    assert!(revoked.is_err());
    // What was acknowledged can be read, here and after a restart.
    assert_eq!(on_file(&journal, |stored, _| stored.position), [Position::new(1)]);
    drop(journal);
    let journal = open(&folder, DiskOptions::default());
    assert_eq!(journal.edges().last.position, Position::new(1));
}

/// Set for a process that can start no threads.
const CHILD: &str = "TIDINGS_TEST_WITHOUT_THREADS";

#[test]
fn a_journal_whose_threads_cannot_be_started_does_not_open_and_leaves_its_folder() {
    let Some(path) = std::env::var_os(CHILD) else {
        let folder = folder();
        let child = Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("tests::failure::a_journal_whose_threads_cannot_be_started_does_not_open_and_leaves_its_folder")
            .env(CHILD, folder.path())
            // No system has so much memory for a thread's stack.
            .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
            .output()
            .expect("the program starts");
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{child:?}");
        open(&folder, DiskOptions::default());
        return;
    };
    for _ in 0..2 {
        let opened = DiskJournal::open(&path, DiskOptions::default());
        // A folder that was still held would be another error.
        assert!(matches!(opened, Err(OpenError::Unusable { .. })), "{opened:?}");
    }
}
