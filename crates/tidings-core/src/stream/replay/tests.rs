use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use tidings_sse::Event;

use super::*;
use crate::journal::{Clock, History as _, Log as _, MemoryBounds, MemoryJournal, Retention, Room};
use crate::model::{Cursor, Epoch, PRESENCE_PATH, StreamOptions, Update};
use crate::stream::window::PartlyWritten;

const EPOCH: Epoch = Epoch::new(7);

fn at(number: u64) -> Position {
    Position::new(number)
}

fn record(number: u64) -> Arc<Record> {
    let update = Update::new("a", Event::new("x"));
    Arc::new(Record::new(EPOCH, at(number), SystemTime::UNIX_EPOCH, update))
}

fn id(number: u64) -> HubId {
    record(number).hub_id()
}

fn updates() -> Source {
    let options = StreamOptions::default();
    Source::Updates { selectors: Selectors::all(), rights: Rights::Public, options }
}

/// A window with the updates 5, 6 and 7, each of 10 bytes, and a feed that has them all.
fn routed_to_seven(source: Source) -> (Window, Feed) {
    let mut window = Window::new(500);
    let mut feed = Feed::new(source, at(4), 0);
    for number in 5..=7 {
        let span = window.append(id(number), |out| out.extend_from_slice(&[b'x'; 10]));
        feed.push(span);
    }
    (window, feed)
}

/// A stream that begins like this, in a journal that ended there.
fn start(from: StartFrom, end: u64) -> StartPlace {
    StartPlace { from, told: LossNumber::NONE, end: id(end), generation: 0 }
}

fn after(position: u64, end: u64) -> StartPlace {
    start(StartFrom::After(at(position)), end)
}

fn opening(place: StartPlace) -> Behind {
    Behind::opening(Vec::new(), Start::Located(place), 0, false)
}

fn request() -> Box<StartRequest> {
    Box::new(StartRequest {
        cursor: Cursor::Now,
        selectors: Selectors::all(),
        rights: Rights::Public,
        notices: false,
        tell_place: None,
    })
}

fn unlocated() -> Behind {
    Behind::opening(Vec::new(), Start::Unlocated(request()), 0, false)
}

/// A reader whose socket took 3 bytes of the update 6.
fn half_of_six() -> Behind {
    let partly_written = PartlyWritten { id: id(6), written: 3 };
    Behind::full(
        Vec::new(),
        JournalPosition { through: at(5), partly_written: Some(partly_written) },
        13,
        true,
    )
}

fn check_rest(behind: &Behind, expected: &Rest) {
    let (window, feed) = routed_to_seven(updates());
    assert_eq!(behind.rest(at(7), &window, &feed), *expected, "{behind:?}");
}

#[test]
fn the_window_serves_what_it_has_and_the_journal_what_is_older() {
    check_rest(&opening(after(7, 7)), &Rest::Nothing);
    check_rest(&opening(after(6, 7)), &Rest::Window(20));
    check_rest(&opening(after(4, 7)), &Rest::Window(0));
    check_rest(&opening(after(3, 7)), &Rest::Journal);
    check_rest(&half_of_six(), &Rest::Window(13));
}

#[test]
fn a_stream_without_anything_from_the_journal_begins_where_the_window_ended() {
    let live = |window_end| Behind::opening(Vec::new(), Start::Live, window_end, false);
    check_rest(&live(30), &Rest::Nothing);
    check_rest(&live(20), &Rest::Window(20));
}

#[test]
fn a_loss_that_the_opening_tells_counts_once_it_is_written() {
    let place = start(StartFrom::AfterGap(at(6), GapCause::Resume), 7);
    let mut behind = Behind::opening(b"gap".to_vec(), Start::Located(place), 0, false);
    check_rest(&behind, &Rest::Window(20));
    assert_eq!(behind.take_told_gap(), None);
    assert!(behind.wrote_own(3));
    assert_eq!(behind.take_told_gap(), Some(GapCause::Resume));
    assert_eq!(behind.take_told_gap(), None);
}

#[test]
fn the_journal_finishes_what_the_window_no_longer_has() {
    let (mut window, mut feed) = routed_to_seven(updates());
    window.trim(30);
    feed.free(window.start(), 30, 4);
    assert_eq!(half_of_six().rest(at(7), &window, &feed), Rest::Journal);
    // The clock's events stand in no journal.
    let (mut window, mut feed) = routed_to_seven(Source::Clock);
    window.trim(30);
    feed.free(window.start(), 30, 4);
    assert_eq!(half_of_six().rest(at(7), &window, &feed), Rest::Reconnect);
}

#[test]
fn nobody_is_live_before_the_shard_has_routed_what_was_there_when_it_came() {
    check_rest(&opening(after(7, 8)), &Rest::NotRouted);
    check_rest(&opening(after(8, 8)), &Rest::NotRouted);
}

#[test]
fn the_newest_update_about_each_topic_comes_from_the_journal() {
    let last = opening(start(StartFrom::Last { tell_place: None }, 7));
    check_rest(&last, &Rest::Journal);
    let read = |after, until, which| {
        let (selectors, rights) = (Selectors::all(), Rights::Public);
        Step::Read(Missing { after: at(after), until: at(until), selectors, rights, which })
    };
    assert_eq!(last.missing(at(9), &updates()), read(0, 7, DueUpdates::Last));
    assert_eq!(opening(after(5, 7)).missing(at(9), &updates()), read(5, 9, DueUpdates::All));
    assert_eq!(last.missing(at(9), &Source::Clock), Step::Reconnect);
}

#[test]
fn a_place_that_is_unknown_or_lost_comes_before_all_else() {
    check_rest(&unlocated(), &Rest::Unlocated(request()));
    let mut lost = unlocated();
    lost.mark_foreign();
    check_rest(&lost, &Rest::Reconnect);
    let mut located = unlocated();
    located.begin(after(6, 7), b"opening".to_vec());
    check_rest(&located, &Rest::Window(20));
    assert_eq!(located.own(), b"opening");
}

/// What a batch with these records is to a subscriber, and up to where it is read.
fn receive(
    behind: &mut Behind,
    records: &[u64],
    through: u64,
    missed: Option<Missed>,
    is_damaged: bool,
) -> Received {
    let records = records.iter().map(|number| record(*number)).collect();
    behind.receive(&Batch { records, through: at(through), missed, is_damaged })
}

fn missed(resume: u64, number: u64) -> Missed {
    Missed::new(id(resume + 1), id(resume), LossNumber::new(number))
}

#[test]
fn a_batch_without_progress_is_unusable() {
    let mut behind = opening(after(5, 7));
    assert!(matches!(receive(&mut behind, &[], 5, None, false), Received::Unusable));
    assert!(matches!(receive(&mut behind, &[], 6, None, false), Received::All));
    assert!(matches!(receive(&mut behind, &[6], 6, None, false), Received::All));
}

#[test]
fn an_event_that_was_begun_is_finished_or_the_stream_is_lost() {
    let mut behind = half_of_six();
    assert!(matches!(receive(&mut behind, &[6, 7], 7, None, false), Received::All));
    assert!(matches!(receive(&mut behind, &[7], 7, None, false), Received::Unusable));
    assert!(matches!(receive(&mut behind, &[], 7, None, false), Received::Unusable));
    // With a loss it is finished alone: a gap cannot be told in the middle of it.
    let gap = Some(missed(6, 6));
    let received = receive(&mut behind, &[6, 8], 8, gap, false);
    assert!(matches!(&received, Received::First(first) if first.position == at(6)), "{received:?}");
    assert_eq!(behind.own(), b"");
    // So it is with damage where later losses were.
    let mut behind = half_of_six();
    let gap = Some(Missed::new(id(7), id(6), LossNumber::NONE));
    assert!(matches!(receive(&mut behind, &[6, 8], 8, gap, true), Received::First(_)));
}

#[test]
fn an_event_is_not_finished_with_another_record_of_the_same_position() {
    let update = Update::new("a", Event::new("another"));
    let another = Record::new(EPOCH, at(6), SystemTime::UNIX_EPOCH, update);
    let batch = Batch::new(vec![Arc::new(another)], at(6));
    assert!(matches!(half_of_six().receive(&batch), Received::Unusable));
}

#[test]
fn a_gap_is_told_once_and_the_place_moves_past_it() {
    let mut behind = opening(StartPlace { told: LossNumber::new(2), ..after(1, 9) });
    // It knew of this one.
    assert!(matches!(receive(&mut behind, &[3], 3, Some(missed(2, 2)), false), Received::All));
    assert!(matches!(receive(&mut behind, &[6], 6, Some(missed(5, 5)), false), Received::AfterGap));
    assert_eq!(behind.position(), JournalPosition { through: at(5), partly_written: None });
    let own = String::from_utf8(behind.own().to_vec()).unwrap();
    assert!(own.contains("\"kind\":\"gap\"") && own.contains(&id(5).to_string()), "{own}");
    behind.set_own(Vec::new());
    assert!(matches!(receive(&mut behind, &[6], 6, Some(missed(5, 5)), false), Received::All));
    // A later loss is told too.
    assert!(matches!(receive(&mut behind, &[6], 6, Some(missed(5, 6)), false), Received::AfterGap));
    behind.set_own(Vec::new());
    // Damage is told also where later losses were.
    assert!(matches!(receive(&mut behind, &[6], 6, Some(missed(5, 5)), true), Received::AfterGap));
}

#[derive(Debug)]
struct StoppedClock(Instant);

impl Clock for StoppedClock {
    fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn moment(&self) -> Instant {
        self.0
    }
}

/// The output of a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a journal in memory never waits"),
    }
}

#[test]
fn the_loss_of_an_update_older_than_one_whose_loss_was_told_is_told_too() {
    let bounds = MemoryBounds::default().presence_count(1);
    let retention = Retention::default().count(3);
    let journal = MemoryJournal::bounded(retention, bounds, StoppedClock(Instant::now()));
    let publish = |update| drop(journal.append(vec![update], None, Room::uncounted()));
    let about = |topic: &str| Update::new(topic, Event::new("x"));
    for _ in 1..=3 {
        publish(about("a"));
    }
    // The second presence update displaces the first one, at 4.
    for _ in 4..=5 {
        publish(about(&format!("{PRESENCE_PATH}a/1")).private().of_presence());
    }
    let rights = Rights::Granted(Selectors::all());
    let begin = |cursor| {
        let request = StartRequest { cursor, rights: rights.clone(), ..*request() };
        opening(ready(request.locate(&journal)).unwrap().place)
    };
    let read = |behind: &mut Behind, after| {
        let batch = ready(journal.read(at(after), Position::MAX, &Selectors::all(), &rights));
        let received = behind.receive(&batch.unwrap());
        behind.set_own(Vec::new());
        received
    };
    let begun = HubId::start(journal.edges().last.epoch).to_string();
    let cursors = || [Cursor::Earliest, Cursor::Last, Cursor::After(begun.clone())];
    let mut streams = cursors().map(begin);
    for behind in &mut streams {
        assert!(matches!(read(behind, 0), Received::All), "it knows of the loss of 4: {behind:?}");
    }
    // Each further update displaces an older one: 1, then 2.
    for displaced in 1..=2 {
        publish(about("a"));
        for behind in &mut streams {
            assert!(matches!(read(behind, displaced - 1), Received::AfterGap), "{behind:?}");
            assert_eq!(behind.position().through, at(displaced));
            assert!(matches!(read(behind, displaced), Received::All), "{behind:?}");
        }
    }
}

/// The notices that are added before each rest in turn, by their kinds.
fn check_notices(behind: &mut Behind, rests: &[(Rest, &str, bool)]) {
    for (rest, kind, is_told) in rests {
        assert_eq!(behind.add_notices(rest, id(7), 15_000), *is_told, "{rest:?}");
        let text = String::from_utf8(behind.own().to_vec()).unwrap();
        assert!(text.contains(kind) && text.is_empty() == kind.is_empty(), "{rest:?}: {text}");
        behind.set_own(Vec::new());
    }
}

#[test]
fn a_stream_is_told_that_it_is_slow_and_that_it_is_live_again_each_once() {
    let place = JournalPosition { through: at(5), partly_written: None };
    let mut behind = Behind::full(Vec::new(), place, 10, true);
    let slow = "\"kind\":\"slow\",\"behind\":2";
    check_notices(
        &mut behind,
        &[
            (Rest::Window(10), "", false),
            (Rest::Journal, slow, false),
            (Rest::Journal, "", false),
            (Rest::Nothing, "\"kind\":\"live\"", true),
            (Rest::Nothing, "", false),
        ],
    );
    // In the middle of an event nothing can be told.
    check_notices(&mut half_of_six(), &[(Rest::Journal, "", false)]);
    // Reading the journal because the window left updates out is not slowness.
    let mut left = Behind::full(Vec::new(), place, 10, true);
    left.leave_window();
    check_notices(&mut left, &[(Rest::Journal, "", false), (Rest::Nothing, "", false)]);
}

#[test]
fn a_stream_that_asked_for_it_is_told_its_place_once_it_is_live() {
    let from = StartFrom::Earliest { after: at(7), tell_place: Some(PlaceForm::Event) };
    let mut behind = opening(start(from, 7));
    check_notices(
        &mut behind,
        &[
            (Rest::Window(20), "", false),
            (Rest::Nothing, "\"kind\":\"cursor\"", true),
            (Rest::Nothing, "", false),
        ],
    );
}

#[test]
fn bytes_of_its_own_are_written_from_where_the_socket_stopped() {
    let mut behind = Behind::opening(b"abc".to_vec(), Start::Located(after(7, 7)), 0, false);
    assert!(!behind.wrote_own(2));
    behind.add_own(b"de");
    assert_eq!(behind.own(), b"cde");
    behind.set_waiting(true);
    assert!(!behind.waits());
    assert!(behind.wrote_own(3));
    assert_eq!(behind.own(), b"");
    assert!(behind.waits());
}

#[test]
fn a_subscriber_whose_socket_takes_a_notice_late_stays_where_the_notice_says() {
    let from = StartFrom::Earliest { after: at(6), tell_place: Some(PlaceForm::Event) };
    let mut behind = opening(start(from, 6));
    assert!(behind.add_notices(&Rest::Nothing, id(9), 1000));
    assert!(!behind.own().is_empty());
    assert_eq!(behind.position().through, at(9));
}
