//! What each call of the journal costs does not depend on how much the journal holds.
//!
//! The cost is measured in steps of SQLite's virtual machine. A row takes several steps. Each test
//! compares a journal of 1000 updates with one of 16,000, which also has as many times more
//! topics, publishers' ids, and topics of dropped updates.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_core::model::HubId;

use super::damage::copy;
use super::*;

const FEW: u64 = 1000;
const MANY: u64 = 16_000;

/// The folders of journals whose steps are counted.
static COUNTED: LazyLock<Mutex<HashMap<PathBuf, Arc<AtomicU64>>>> = LazyLock::new(Mutex::default);

/// The connection, whose steps are counted if its file is in one of these folders.
pub(crate) fn counted(mut connection: Connection, file: &Path) -> rusqlite::Result<Connection> {
    let counted = file.parent().and_then(|folder| COUNTED.lock().get(folder).cloned());
    if let Some(steps) = counted {
        let count = move || {
            steps.fetch_add(1, Ordering::Relaxed);
            false
        };
        connection.progress_handler(1, Some(count))?;
    }
    Ok(connection)
}

/// The topic of one update in ten.
const TENTH: &str = "tenth";

fn published(n: u64) -> Update {
    let event = Event::new(n.to_string()).with_id(&format!("urn:{n}")).unwrap();
    let update = Update::new(format!("topic{n}"), event);
    let update = if n.is_multiple_of(10) { update.about(TENTH) } else { update };
    if n.is_multiple_of(7) { update.private() } else { update }
}

fn options(count: u64) -> DiskOptions {
    let promise = Promise::Interval(Duration::from_secs(3600));
    DiskOptions { promise, ..keeping(vec![rule("*", Keep::All, count)]) }
}

/// A folder with a journal that keeps `count` updates, and has dropped a tenth of that.
fn filled(count: u64) -> TempDir {
    let folder = folder();
    let journal = open(&folder, options(count));
    let all: Vec<_> = (1..=count + count / 10).map(published).collect();
    all.chunks(50).for_each(|some| drop(append(&journal, some.to_vec())));
    until_kept_count(&journal, count);
    drop(journal);
    folder
}

fn until_kept_count(journal: &DiskJournal, count: u64) {
    block(journal.trimmed(|_| ())).expect("it is trimmed");
    let edges = journal.edges();
    assert_eq!(edges.last.position.number() + 1 - edges.first.number(), count);
}

/// A journal of that many updates, all of which are read from the file.
struct Measured {
    journal: DiskJournal,
    steps: Arc<AtomicU64>,
    count: u64,
    _folder: TempDir,
}

impl Measured {
    fn new(count: u64) -> Self {
        static FEW_FILLED: LazyLock<TempDir> = LazyLock::new(|| filled(FEW));
        static MANY_FILLED: LazyLock<TempDir> = LazyLock::new(|| filled(MANY));
        let folder = copy(if count == FEW { &FEW_FILLED } else { &MANY_FILLED });
        let steps = Arc::new(AtomicU64::new(0));
        COUNTED.lock().insert(folder.path().to_owned(), Arc::clone(&steps));
        let journal = open(&folder, options(count));
        COUNTED.lock().remove(folder.path());
        Self { journal, steps, count, _folder: folder }
    }

    fn first(&self) -> Position {
        self.journal.edges().first
    }

    fn last(&self) -> Position {
        self.journal.edges().last.position
    }

    /// The position of an update in the middle that is about the topic of a tenth.
    fn middle(&self) -> Position {
        Position::new((self.count / 10 + self.count / 2) / 10 * 10)
    }

    /// The id that the hub gave to a position.
    fn hub_id(&self, at: Position) -> HubId {
        let read = self.journal.read(at.previous(), at, &ALL, &GRANTED);
        block(read).unwrap().records[0].hub_id()
    }

    /// The steps of a call. It is repeated, since each connection compiles its statements once, and
    /// the writer looks after the file meanwhile.
    fn steps(&self, call: &dyn Fn(&Self)) -> u64 {
        let measure = |_| {
            let before = self.steps.load(Ordering::Relaxed);
            call(self);
            self.steps.load(Ordering::Relaxed) - before
        };
        (0..20).map(measure).min().unwrap()
    }
}

static ALL: LazyLock<Selectors> = LazyLock::new(Selectors::all);
static GRANTED: LazyLock<Rights> = LazyLock::new(|| Rights::Granted(Selectors::all()));

/// How a cost may grow with the journal.
#[derive(Clone, Copy)]
enum Growth {
    /// Nothing is read from the file.
    Free,
    /// Not at all, but for the digits of a position.
    None,
    /// With its logarithm: four times more updates take two more rounds of a bisection.
    Logarithm,
}

fn check(growth: Growth, call: impl Fn(&Measured)) {
    let [few, many] = [FEW, MANY].map(|count| Measured::new(count).steps(&call));
    let most = match growth {
        Growth::Free => 0,
        Growth::None => few + few / 4,
        Growth::Logarithm => 2 * few,
    };
    assert!(many <= most, "{many} steps instead of {few}");
    assert_eq!(few == 0, matches!(growth, Growth::Free), "{few} steps");
}

#[test]
fn an_append_costs_the_same_in_a_large_journal() {
    check(Growth::None, |Measured { journal, .. }| {
        // It is about a known topic, has a known id, and drops the oldest update.
        append(journal, vec![published(FEW / 2)]);
    });
}

#[test]
fn an_append_under_a_known_key_costs_the_same_in_a_large_journal() {
    check(Growth::None, |Measured { journal, .. }| {
        let key = IdempotencyKey::new("key", b"").unwrap();
        block(journal.append(vec![published(1)], Some(key), Room::uncounted())).unwrap();
    });
}

#[test]
fn the_tail_and_the_edges_are_in_memory() {
    check(Growth::Free, |measured| {
        let journal = &measured.journal;
        let follower = journal.follow();
        let mut records = Vec::new();
        journal.tail(follower.begin(), 10, &mut records);
        assert!(records.is_empty() && journal.edges().last.position > Position::START);
        assert!(journal.generation() == 0 && journal.update_bytes_max().is_none());
        assert!(journal.read_at_hand(measured.first(), measured.last(), &ALL, &GRANTED).is_none());
        assert!(
            journal.is_running() && journal.trouble().is_none() && journal.revoked().is_empty()
        );
    });
}

#[test]
fn a_time_is_found_by_bisection() {
    let middle = |measured: &Measured| {
        let at = measured.middle();
        block(measured.journal.read(at.previous(), at, &ALL, &GRANTED)).unwrap().records[0].time
    };
    check(Growth::Logarithm, |measured| {
        let time = middle(measured);
        let before = block(measured.journal.before(time)).unwrap();
        assert!(before.place.position < measured.middle());
    });
}

#[test]
fn an_id_of_the_hub_is_found_at_the_same_cost() {
    check(Growth::None, |measured| {
        let id = measured.hub_id(measured.middle()).to_string();
        assert_eq!(find(&measured.journal, &id), Some(measured.middle()));
    });
}

#[test]
fn a_publishers_id_is_found_at_the_same_cost() {
    check(Growth::None, |measured| {
        let id = |at: Position| format!("urn:{at}");
        let find = |id: &str| block(measured.journal.find(id, &ALL, &GRANTED)).unwrap();
        let found = find(&id(measured.middle()));
        assert_eq!(found.map(|found| found.place.position), Some(measured.middle()));
        assert!(find("urn:unknown").is_none() && find("urn:1").is_none());
    });
}

#[test]
fn what_a_subscriber_missed_is_in_memory() {
    let missed = |measured: &Measured, after: Position, selectors: &Selectors| {
        block(measured.journal.missed(after, selectors, &GRANTED)).unwrap()
    };
    check(Growth::Free, |measured| {
        assert!(missed(measured, Position::new(1), &ALL).is_some());
        assert!(missed(measured, Position::new(1), &topics(&[TENTH])).is_some());
        assert!(missed(measured, measured.first(), &ALL).is_none());
    });
}

#[test]
fn reading_all_topics_costs_a_batch() {
    check(Growth::None, |measured| {
        let after = measured.middle();
        let batch = block(measured.journal.read(after, measured.last(), &ALL, &GRANTED)).unwrap();
        assert!(!batch.records.is_empty());
    });
}

#[test]
fn reading_one_topic_costs_its_updates_and_not_the_others() {
    check(Growth::None, |measured| {
        let read = |topic: &str| {
            let selectors = topics(&[topic]);
            let read =
                measured.journal.read(measured.first(), measured.last(), &selectors, &GRANTED);
            block(read).unwrap()
        };
        assert!(!read(TENTH).records.is_empty());
        let rare = read(&format!("topic{}", measured.middle()));
        assert_eq!((rare.records.len(), rare.through), (1, measured.last()));
        let nothing = read("nothing");
        assert_eq!((nothing.records.len(), nothing.through), (0, measured.last()));
    });
}

#[test]
fn reading_a_pattern_costs_a_batch() {
    let pattern = Selectors::new([Selector::template("nothing{x}").unwrap()]).unwrap();
    check(Growth::None, |measured| {
        let read = measured.journal.read(measured.first(), measured.last(), &pattern, &GRANTED);
        let batch = block(read).unwrap();
        assert!(batch.records.is_empty() && batch.through > measured.first());
    });
}

#[test]
fn the_last_update_of_a_topic_costs_the_same() {
    check(Growth::None, |measured| {
        let read = |selectors: &Selectors| {
            let last = measured.last();
            block(measured.journal.read_last(measured.first(), last, selectors, &GRANTED)).unwrap()
        };
        assert!(!read(&topics(&[TENTH])).records.is_empty());
        assert_eq!(read(&topics(&[&format!("topic{}", measured.middle())])).records.len(), 1);
        assert!(read(&topics(&["nothing"])).records.is_empty());
        // Any topic: a batch of updates, and for each whether there is a newer one.
        assert!(!read(&ALL).records.is_empty());
    });
}

#[test]
fn a_revocation_costs_the_same_in_a_large_journal() {
    check(Growth::None, |Measured { journal, .. }| {
        block(journal.revoke(RevokedToken::new("jti:a".to_owned(), None))).unwrap();
    });
}
