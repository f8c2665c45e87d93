//! The cost of trimming depends only on the deleted updates, not on the rest of the file. It is
//! measured in steps of SQLite's virtual machine: each row takes several.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::limits::{SCAN_UPDATES, TRIM_UPDATES};
use crate::retain::Trimming;
use crate::rewrite;

/// The file as its writer has it.
struct File {
    connection: Connection,
    identity: Identity,
    index: Index,
    classes: Classes,
    last: Position,
    steps: Arc<AtomicU64>,
    _folder: TempDir,
}

/// What one turn of the writer did.
#[derive(Debug)]
struct Turn {
    is_any_over: bool,
    deleted: usize,
    steps: u64,
}

impl File {
    /// A file with updates about these topics, each in a row of its own, to be kept by these rules.
    fn new<'a>(topics: impl Iterator<Item = &'a str>, rules: Vec<RetentionRule>) -> Self {
        let folder = folder();
        let promise = Promise::Interval(Duration::from_secs(3600));
        let journal = open(&folder, DiskOptions { promise, ..DiskOptions::default() });
        topics.for_each(|topic| drop(tell(&journal, topic, "x")));
        let last = journal.edges().last.position;
        drop(journal);
        let mut connection = Connection::open(folder.path().join("journal.db")).unwrap();
        let identity = Identity::read(&connection).unwrap();
        let index = Index::load(&mut connection, &identity).unwrap();
        let presence = rule("*", Keep::All, u64::MAX);
        let rules = rules.into_iter().chain([rule("*", Keep::All, u64::MAX), presence]).collect();
        let classes = Classes::load(&mut connection, &identity, rules).unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            false
        };
        connection.progress_handler(1, Some(count)).unwrap();
        Self { connection, identity, index, classes, last, steps, _folder: folder }
    }

    /// What the writer does when it is time to trim.
    fn turn(&mut self) -> Turn {
        let Self { connection, identity, index, classes, .. } = self;
        let before = self.steps.load(Ordering::Relaxed);
        let begin = Cell::new(rows::covered(connection, identity).unwrap().0);
        let last = self.last;
        let trimming = Trimming { connection, identity, index, has_ids: true, begin: &begin, last };
        let is_any_over = classes.is_any_over(trimming, Duration::ZERO).unwrap();
        let mut deleted = 0;
        if is_any_over {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            let trimmed = classes.trim(trimming, Duration::ZERO, TRIM_UPDATES).unwrap().updates;
            if let Some(newest) = trimmed.iter().map(|one| one.record.position).max() {
                rewrite::remove_unreadable(connection, identity, &begin, newest).unwrap();
            }
            rows::put_begin(connection, begin.get()).unwrap();
            classes.save(connection).unwrap();
            connection.execute_batch("COMMIT").unwrap();
            deleted = trimmed.len();
        }
        let steps = self.steps.load(Ordering::Relaxed) - before;
        Turn { is_any_over, deleted, steps }
    }

    /// The turns until nothing has to go any more.
    fn turns(&mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        while turns.last().is_none_or(|turn: &Turn| turn.is_any_over) {
            turns.push(self.turn());
            assert!(turns.len() < 10_000, "it never ends");
        }
        turns
    }
}

const FEW: usize = 500;
const MANY: usize = 3000;

/// Has `deleted` updates deleted from a file with few others and from one with many, and compares
/// what that costs.
fn check(rule: &RetentionRule, deleted: usize, topics: impl Fn(usize) -> Vec<&'static str>) {
    let [few, many] = [FEW, MANY].map(|others| {
        let mut file = File::new(topics(others).into_iter(), vec![rule.clone()]);
        let turns = file.turns();
        assert_eq!(turns.iter().map(|turn| turn.deleted).sum::<usize>(), deleted);
        // A turn passes over so many updates of others at most, or deletes as many as it may.
        let passed = (others + deleted) / SCAN_UPDATES;
        assert!(turns.len() <= passed + deleted + 2, "{} turns, {others} others", turns.len());
        let changes = file.connection.total_changes();
        let idle: Vec<_> = (0..3).map(|_| file.turn()).collect();
        assert!(idle.iter().all(|turn| !turn.is_any_over), "{idle:?}");
        assert_eq!(
            file.connection.total_changes(),
            changes,
            "nothing changes, so nothing is written"
        );
        let costs = |turns: &[Turn]| turns.iter().map(|turn| turn.steps).max();
        (costs(&turns).unwrap(), costs(&idle).unwrap())
    });
    assert!(few.0 > 0 && few.1 > 0, "steps are counted");
    // The same, but for the digits of a position.
    assert!(many.0 <= few.0 + few.0 / 4, "one turn: {} steps instead of {}", many.0, few.0);
    assert!(many.1 <= few.1 + few.1 / 4, "an idle turn: {} steps instead of {}", many.1, few.1);
}

#[test]
fn updates_over_a_bound_are_deleted_at_a_cost_that_others_do_not_raise() {
    let few = rule("few", Keep::All, 10);
    let before = |others| [vec!["few"; 60], vec!["busy"; others], vec!["few"; 10]].concat();
    check(&few, 60, before);
    let behind = |others| [vec!["busy"; others], vec!["few"; 70]].concat();
    check(&few, 60, behind);
    // Every trimmed update has others around it.
    let among = |others: usize| {
        let part = [vec!["busy"; others / 50], vec!["few"]].concat();
        part.repeat(50)
    };
    check(&few, 40, among);
}

#[test]
fn replaced_updates_are_deleted_at_a_cost_that_others_do_not_raise() {
    let state = rule("state", Keep::Last, u64::MAX);
    let among = |others: usize| {
        let part = [vec!["state"], vec!["busy"; others / 50]].concat();
        part.repeat(50)
    };
    check(&state, 49, among);
    check(&state, 49, |others| [vec!["state"; 50], vec!["busy"; others]].concat());
}

#[test]
fn the_middle_of_the_kept_updates_is_found_by_bisection() {
    let [few, many] = [FEW, MANY].map(|count| {
        let file = File::new(std::iter::repeat_n("busy", count), Vec::new());
        let File { connection, identity, index, classes, last, steps, .. } = &file;
        let begin = Cell::new(rows::covered(connection, identity).unwrap().0);
        let trimming =
            Trimming { connection, identity, index, has_ids: true, begin: &begin, last: *last };
        let before = steps.load(Ordering::Relaxed);
        classes.midpoint(trimming, Duration::MAX).unwrap();
        steps.load(Ordering::Relaxed) - before
    });
    assert!(few > 0 && many <= 2 * few, "{many} steps instead of {few}");
}
