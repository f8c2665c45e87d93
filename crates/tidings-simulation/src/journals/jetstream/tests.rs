//! What the model promises, and that it answers as the journal in memory does where both promise the
//! same.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_core::journal::{
    AnswerRoom, AppendError, BatchMax, Clock, Grow, Health as _, History as _, IdempotencyKey,
    Journal as _, Log as _, LossNumber, MemoryBounds, MemoryJournal, Node, Pending, ReadError,
    Retention, RevokedTokens as _, Room, Tail,
};
use tidings_core::model::{Epoch, HubId, Position, RevokedToken, Rights, Selectors, Update};
use tidings_sse::Event;

use super::*;

fn stream() -> Stream {
    Stream::new(&StreamOptions::of_seed(1))
}

async fn open(stream: &Stream) -> JetstreamJournal {
    stream.open(JournalOptions::default()).await.unwrap()
}

/// A journal that loads only the newest update when it starts.
async fn open_late(stream: &Stream) -> JetstreamJournal {
    stream.open(JournalOptions { loaded_max: 1, ..JournalOptions::default() }).await.unwrap()
}

fn update(topic: &str, data: &str) -> Update {
    Update::new(topic, Event::new(data))
}

fn key(name: &str, content: &str) -> Option<IdempotencyKey> {
    Some(IdempotencyKey::new(name, content.as_bytes()).unwrap())
}

async fn publish(
    journal: &JetstreamJournal,
    updates: &[Update],
    key: Option<IdempotencyKey>,
) -> Result<Appended, AppendError> {
    journal.append(updates.to_vec(), key, Room::uncounted()).await
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[test]
fn the_streams_clock_stands_still_between_two_runs() {
    let stream = stream();
    crate::run(1, async || {
        let journal = open(&stream).await;
        pass(1_234).await;
        drop(journal);
        stream.pause();
    });
    let paused = stream.now();
    // The next runtime's clock begins at another moment of real time.
    crate::run(2, async || {
        let _journal = open(&stream).await;
        assert_eq!(stream.now(), paused);
    });
}

/// The data of the updates that the stream holds.
fn held(stream: &Stream) -> Vec<String> {
    let data = |update: &Update| update.event().data().to_string();
    stream.contents().held().filter_map(|one| one.update.as_ref().map(data)).collect()
}

/// Reads all that a subscriber gets after `after`, and whether it misses anything.
async fn read_all(
    journal: &dyn Journal,
    mut after: Position,
    selectors: &Selectors,
    rights: &Rights,
) -> Result<(Vec<String>, bool), ReadError> {
    let until = journal.edges().last.position;
    let (mut data, mut missed) = (Vec::new(), false);
    for _ in 0..10_000 {
        if after >= until {
            return Ok((data, missed));
        }
        let batch = match journal.read_at_hand(after, until, selectors, rights) {
            Some(batch) => batch,
            None => journal.read(after, until, selectors, rights).await?,
        };
        assert!(batch.through > after, "no progress after {after}");
        missed |= batch.missed.is_some();
        data.extend(batch.records.iter().map(|one| one.update.event().data().to_string()));
        after = batch.through;
    }
    panic!("the end is never reached");
}

/// Reads the newest update of each topic after `after`.
async fn read_all_last(
    journal: &dyn Journal,
    mut after: Position,
    selectors: &Selectors,
    rights: &Rights,
) -> Vec<String> {
    let until = journal.edges().last.position;
    let mut data = Vec::new();
    for _ in 0..10_000 {
        if after >= until {
            return data;
        }
        match journal.read_last(after, until, selectors, rights).await {
            Ok(batch) => {
                assert!(batch.through > after, "no progress after {after}");
                let of = |one: &Arc<Record>| one.update.event().data().to_string();
                data.extend(batch.records.iter().map(of));
                after = batch.through;
            }
            // The newest updates of all topics are still being read.
            Err(_) => pass(100).await,
        }
    }
    panic!("the end is never reached");
}

async fn read_public(journal: &dyn Journal) -> (Vec<String>, bool) {
    read_all(journal, Position::START, &Selectors::all(), &Rights::Public).await.unwrap()
}

/// The follower's next answers, until it is at the end.
fn follow(journal: &JetstreamJournal, at: &mut HubId) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..1000 {
        let mut records = Vec::new();
        match journal.tail(*at, 3, &mut records) {
            Tail::Through(_) if records.is_empty() => return told,
            Tail::Through(through) => {
                let last = records.last().expect("it has some");
                assert_eq!(last.position, through);
                *at = last.hub_id();
                told.extend(records.iter().map(|one| one.update.event().data().to_string()));
            }
            Tail::Dropped(through) => (told.push("dropped".to_owned()), *at = through).1,
            Tail::Nothing(through) => (told.push("nothing".to_owned()), *at = through).1,
            Tail::Reset(last) => (told.push("reset".to_owned()), *at = last).1,
        }
    }
    panic!("the end is never reached");
}

#[tokio::test(start_paused = true)]
async fn an_append_ends_once_this_hub_shows_all_of_its_updates() {
    let stream = stream();
    let journal = open(&stream).await;
    let other = open(&stream).await;
    let (mut at, mut at_other) = (journal.follow().begin(), other.follow().begin());
    let appended = publish(&journal, &[update("a", "1"), update("a", "2")], None).await.unwrap();
    assert_eq!(appended.ids.len(), 2);
    assert_eq!(follow(&journal, &mut at), ["1", "2"]);
    pass(10).await;
    assert_eq!(follow(&other, &mut at_other), ["1", "2"]);
    assert_eq!(at.to_event_id(), appended.ids[1]);

    stream.lag(journal.node());
    let two = [update("a", "3"), update("a", "4")];
    let mut slow = Box::pin(publish(&journal, &two, None));
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut slow).await.is_err());
    assert_eq!(held(&stream), ["1", "2", "3", "4"], "it is stored");
    assert_eq!(follow(&journal, &mut at), [""; 0]);
    assert_eq!(follow(&other, &mut at_other), ["3", "4"], "another hub shows it already");
    stream.show(journal.node(), 1);
    pass(10).await;
    assert_eq!(follow(&journal, &mut at), ["3"]);
    stream.show(journal.node(), 1);
    slow.await.unwrap();
    assert_eq!(follow(&journal, &mut at), ["4"]);
}

#[tokio::test(start_paused = true)]
async fn a_publish_whose_acknowledgement_is_lost_is_stored_once() {
    let stream = stream();
    let journal = open(&stream).await;
    for (updates, key) in [
        (vec![update("a", "1")], None),
        (vec![update("a", "2")], key("k", "2")),
        (vec![update("a", "3"), update("a", "4")], None),
        (vec![update("a", "5"), update("a", "6")], key("l", "5")),
    ] {
        stream.lose_acknowledgements(journal.node(), 2);
        let appended = publish(&journal, &updates, key).await.unwrap();
        assert!(!appended.repeated);
        let newest = stream.contents().held().last().unwrap().hub_id().unwrap();
        assert_eq!(appended.ids.last(), Some(&newest.to_event_id()));
    }
    assert_eq!(held(&stream), ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test(start_paused = true)]
async fn a_publish_without_an_acknowledgement_fails_after_its_time_and_may_be_stored() {
    let stream = stream();
    let journal = open(&stream).await;
    stream.lose_acknowledgements(journal.node(), u64::MAX);
    let begun = tokio::time::Instant::now();
    let refused = publish(&journal, &[update("a", "1")], None).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    let waited = begun.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(13)).contains(&waited), "{waited:?}");
    assert_eq!(held(&stream), ["1"]);

    stream.lose_acknowledgements(journal.node(), 0);
    stream.set_reachable(journal.node(), false);
    let refused = publish(&journal, &[update("a", "2")], None).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert!(journal.trouble().is_some() && journal.interruptions() > 0);
    let third = [update("a", "3")];
    let mut waiting = Box::pin(publish(&journal, &third, None));
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut waiting).await.is_err());
    stream.set_reachable(journal.node(), true);
    waiting.await.unwrap();
    assert_eq!(held(&stream), ["1", "3"]);
    assert_eq!(journal.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_reported_at_once() {
    let stream = stream();
    let journal = open(&stream).await;
    stream.refuse(Some("maximum messages exceeded"));
    let begun = tokio::time::Instant::now();
    assert!(publish(&journal, &[update("a", "1")], None).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert!(journal.trouble().unwrap().contains("maximum messages exceeded"));
    stream.refuse(None);
    publish(&journal, &[update("a", "2")], None).await.unwrap();
    assert_eq!((held(&stream), journal.trouble()), (vec!["2".to_owned()], None));
    let large = update("a", &"x".repeat(2 << 20));
    let refused = publish(&journal, &[update("a", "3"), large], None).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { index: 1, .. })), "{refused:?}");
    assert_eq!(held(&stream), ["2"], "all or none");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_appended_under_a_key_that_any_hub_used() {
    let stream = stream();
    let journal = open(&stream).await;
    let two = [update("a", "1"), Update::new("a", Event::new("2").with_id("own").unwrap())];
    let first = publish(&journal, &two, key("k", "x")).await.unwrap();
    let other = open_late(&stream).await;
    for journal in [&journal, &other] {
        let again = publish(journal, &two, key("k", "x")).await.unwrap();
        assert!(again.repeated);
        assert_eq!(again.ids, first.ids);
        let reused = publish(journal, &[update("a", "3")], key("k", "y")).await;
        assert!(matches!(reused, Err(AppendError::KeyReused)), "{reused:?}");
    }
    // Of updates that were deleted meanwhile, the places are known.
    stream.remove(Position::new(2));
    let again = publish(&journal, &two, key("k", "x")).await.unwrap();
    assert_eq!(again.ids[0], first.ids[0]);
    let epoch = stream.contents().epoch;
    assert_eq!(again.ids[1], HubId::of_dropped(epoch, Position::new(2)).to_event_id());
    drop(other);
    // A key is remembered for 24 hours, by the stream's clock.
    stream.set_retention(Retention::default().age(Duration::MAX));
    stream.move_clock(Duration::from_secs(25 * 3600));
    publish(&journal, &[update("a", "later")], None).await.unwrap();
    assert!(!publish(&journal, &two, key("k", "x")).await.unwrap().repeated);
    assert_eq!(held(&stream), ["1", "later", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn the_tail_names_positions_without_an_update() {
    let stream = stream();
    let journal = open(&stream).await;
    let mut at = journal.follow().begin();
    stream.publish_elsewhere(vec![update("a", "1")], None);
    stream.publish_foreign();
    stream.publish_foreign();
    stream.publish_elsewhere(vec![update("a", "4")], None);
    pass(10).await;
    assert_eq!(follow(&journal, &mut at), ["1", "nothing", "4"]);
    stream.lag(journal.node());
    for data in ["5", "6", "7"] {
        stream.publish_elsewhere(vec![update("a", data)], None);
    }
    stream.remove(Position::new(5));
    stream.remove(Position::new(6));
    stream.catch_up(journal.node());
    pass(10).await;
    assert_eq!(follow(&journal, &mut at), ["dropped", "7"]);
    assert!(journal.edges().last_loss > LossNumber::NONE);
    let (data, missed) = read_public(&journal).await;
    assert_eq!((data.last().map(String::as_str), missed), (Some("7"), true));
    // Messages of other applications are no loss.
    let after = Position::new(6);
    let all = Selectors::all();
    assert_eq!(journal.missed(after, &all, &Rights::Public).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_loss_of_the_newest_updates_resets_the_journal_in_the_same_epoch() {
    let stream = stream();
    let journal = open(&stream).await;
    let mut at = journal.follow().begin();
    for data in ["1", "2", "3"] {
        publish(&journal, &[update("a", data)], None).await.unwrap();
    }
    assert_eq!(follow(&journal, &mut at), ["1", "2", "3"]);
    let lost = at;
    assert!(stream.holds(lost));
    stream.lose_newest(2);
    stream.publish_elsewhere(vec![update("a", "other 2")], None);
    stream.publish_elsewhere(vec![update("a", "other 3")], None);
    stream.publish_elsewhere(vec![update("a", "other 4")], None);
    pass(5000).await;
    assert_eq!(journal.generation(), 1);
    assert_eq!(follow(&journal, &mut at), ["reset"]);
    assert_eq!((at.epoch, at.position), (lost.epoch, Position::new(4)));
    assert!(stream.holds(at) && !stream.holds(lost));
    assert_eq!(read_public(&journal).await.0, ["1", "other 2", "other 3", "other 4"]);
    let (all, public) = (Selectors::all(), Rights::Public);
    assert_eq!(journal.find(&lost.to_string(), &all, &public).await.unwrap(), None);
    let fates: Vec<Fate> = stream.contents().ever.iter().map(|(_, fate)| *fate).collect();
    assert_eq!(fates, [Fate::Held, Fate::Lost, Fate::Lost, Fate::Held, Fate::Held, Fate::Held]);

    // Without others in their place the loss is confirmed first.
    stream.lose_newest(1);
    pass(500).await;
    assert_eq!(journal.generation(), 1);
    pass(5000).await;
    assert_eq!(journal.generation(), 2);
    assert_eq!(follow(&journal, &mut at), ["reset"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_created_anew_is_another_epoch() {
    let stream = stream();
    let journal = open(&stream).await;
    let mut at = journal.follow().begin();
    let old = publish(&journal, &[update("a", "1")], None).await.unwrap();
    assert_eq!(follow(&journal, &mut at), ["1"]);
    stream.recreate();
    // The acknowledged position is that of an update of the old stream.
    let new = publish(&journal, &[update("a", "new")], None).await.unwrap();
    assert_eq!(follow(&journal, &mut at), ["reset"]);
    assert_eq!(at.to_event_id(), new.ids[0]);
    assert_ne!(old.ids[0], new.ids[0]);
    assert_eq!(read_public(&journal).await.0, ["new"]);
    assert_eq!(held(&stream), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_without_a_loss_loses_and_repeats_nothing() {
    let stream = stream();
    let journal = open(&stream).await;
    let mut at = journal.follow().begin();
    for round in 0..10 {
        match round % 3 {
            0 => stream.end_consumer(journal.node()),
            1 => stream.set_reachable(journal.node(), false),
            _ => {}
        }
        stream.publish_elsewhere(vec![update("a", &round.to_string())], None);
        pass(1500).await;
        stream.set_reachable(journal.node(), true);
    }
    pass(5000).await;
    let all: Vec<String> = (0..10).map(|round| round.to_string()).collect();
    assert_eq!(follow(&journal, &mut at), all);
    assert_eq!(journal.generation(), 0);
}

#[tokio::test(start_paused = true)]
async fn updates_before_the_start_are_read_from_the_stream() {
    let stream = stream();
    for number in 1..=9 {
        stream.publish_elsewhere(vec![update("a", &number.to_string())], None);
    }
    let options = JournalOptions {
        loaded_max: 1,
        batch: BatchMax::new(64 << 10, 2),
        block_messages: 4,
        ..JournalOptions::default()
    };
    let journal = stream.open(options).await.unwrap();
    let (all, public) = (Selectors::all(), Rights::Public);
    let (start, last) = (Position::START, journal.edges().last.position);
    assert!(journal.read_at_hand(start, last, &all, &public).is_none());
    assert!(journal.read_at_hand(last.previous(), last, &all, &public).is_some());
    let (data, missed) = read_public(&journal).await;
    assert_eq!((data.len(), missed), (9, false));
    // Blocks that are kept need no request.
    let requests = stream.requests(journal.node());
    journal.read(start, last, &all, &public).await.unwrap();
    assert_eq!(stream.requests(journal.node()), requests);

    stream.set_reachable(journal.node(), false);
    let cut = journal.find(&journal.edges().last.to_string(), &all, &public).await.unwrap();
    assert!(cut.is_some(), "it is in memory");
    pass(5000).await;
    let begun = tokio::time::Instant::now();
    let unreachable = journal.read(start, last, &all, &public).await;
    assert!(matches!(unreachable, Err(ReadError::Unreachable(_))), "{unreachable:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO, "it is known that no server answers");
    assert!(journal.read_at_hand(last.previous(), last, &all, &public).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_misses_what_was_trimmed_only_if_it_would_have_received_it() {
    let stream = stream();
    let journal = open(&stream).await;
    for data in ["quiet", "loud", "loud", "loud"] {
        publish(&journal, &[update(data, data)], None).await.unwrap();
    }
    stream.trim(Position::new(2));
    // The hub learns of it with the next report.
    pass(2000).await;
    assert_eq!(journal.edges().first, Position::new(3));
    let missed = async |after, topic: &str| {
        let topic = Selectors::topic(topic);
        let missed = journal.missed(Position::new(after), &topic, &Rights::Public).await;
        missed.unwrap().is_some()
    };
    assert!(missed(0, "quiet").await);
    assert!(!missed(1, "quiet").await);
    assert!(!missed(0, "other").await);
    assert!(missed(1, "loud").await);
    assert!(!missed(2, "loud").await);
    // A hub that started later does not know the topics of what it never read.
    let late = open(&stream).await;
    let other = Selectors::topic("other");
    assert!(late.missed(Position::START, &other, &Rights::Public).await.unwrap().is_some());
    // Bounds trim too.
    stream.set_retention(Retention::default().count(1));
    pass(2000).await;
    assert!(missed(2, "loud").await);
    stream.set_retention(Retention::default().age(Duration::from_secs(5)));
    pass(10_000).await;
    assert_eq!((stream.contents().first, held(&stream).len()), (Position::new(5), 0));
    assert_eq!(journal.edges().first, Position::new(5));
    let fates = stream.contents().ever;
    assert!(fates.iter().all(|(_, fate)| *fate == Fate::Trimmed));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_was_removed_behind_the_memory_is_a_loss_for_a_read_of_the_stream() {
    let stream = stream();
    for data in ["1", "2", "3", "4"] {
        stream.publish_elsewhere(vec![update("a", data)], None);
    }
    let journal = open_late(&stream).await;
    stream.remove(Position::new(2));
    let (data, missed) = read_public(&journal).await;
    assert_eq!((data, missed), (["1", "3", "4"].map(str::to_owned).to_vec(), true));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_found_only_if_its_check_is_right_and_the_rights_let_read_it() {
    let stream = stream();
    let journal = open(&stream).await;
    let own = |topic: &str| Update::new(topic, Event::new("x").with_id("own").unwrap());
    publish(&journal, &[own("a").private()], None).await.unwrap();
    publish(&journal, &[own("b")], None).await.unwrap();
    publish(&journal, &[own("c")], None).await.unwrap();
    let plain = publish(&journal, &[update("a", "4")], None).await.unwrap();
    let (all, public) = (Selectors::all(), Rights::Public);
    let find = async |id: &str, selectors: &Selectors, rights: &Rights| {
        let found = journal.find(id, selectors, rights).await.unwrap();
        found.map(|found| (found.place.position.number(), found.is_certain))
    };
    assert_eq!(find(plain.ids[0].as_str(), &all, &public).await, Some((4, true)));
    let wrong = HubId::of_dropped(stream.contents().epoch, Position::new(4));
    assert_eq!(find(&wrong.to_string(), &all, &public).await, None);
    let elsewhere = HubId::of_dropped(Epoch::new(1), Position::new(4));
    assert_eq!(find(&elsewhere.to_string(), &all, &public).await, None);
    let future = HubId::of_dropped(stream.contents().epoch, Position::new(9));
    assert_eq!(find(&future.to_string(), &all, &public).await, None);
    assert_eq!(find("own", &all, &public).await, Some((2, true)));
    let granted = Rights::Granted(Selectors::all());
    assert_eq!(find("own", &all, &granted).await, Some((1, true)));
    assert_eq!(find("own", &Selectors::topic("c"), &public).await, Some((3, true)));
    assert_eq!(find("own", &Selectors::topic("d"), &public).await, Some((2, false)));
    assert_eq!(find("none", &all, &public).await, None);
    stream.trim(Position::new(4));
    pass(2000).await;
    assert_eq!(find(&wrong.to_string(), &all, &public).await, Some((4, true)), "it is a place");
}

#[tokio::test(start_paused = true)]
async fn kept_updates_of_a_time_are_after_the_place_before_it() {
    let stream = stream();
    let mut times = Vec::new();
    for data in ["1", "2", "3"] {
        times.push(stream.now());
        stream.publish_elsewhere(vec![update("a", data)], None);
        pass(1000).await;
    }
    for journal in [open(&stream).await, open_late(&stream).await] {
        let before =
            async |time: SystemTime| journal.before(time).await.unwrap().place.position.number();
        assert_eq!(before(times[0]).await, 0);
        assert_eq!(before(times[1]).await, 1);
        assert_eq!(before(times[2]).await, 2);
        assert_eq!(before(stream.now()).await, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_update_of_each_topic_is_known_after_the_whole_stream_was_read() {
    let stream = stream();
    for (topic, data) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        stream.publish_elsewhere(vec![update(topic, data)], None);
    }
    let journal = open_late(&stream).await;
    let last = async |selectors: &Selectors| -> Result<Vec<String>, ReadError> {
        let until = journal.edges().last.position;
        let batch = journal.read_last(Position::START, until, selectors, &Rights::Public).await?;
        assert_eq!(batch.through, until);
        Ok(batch.records.iter().map(|one| one.update.event().data().to_string()).collect())
    };
    let first = last(&Selectors::all()).await;
    assert!(matches!(first, Err(ReadError::Unreachable(_))), "{first:?}");
    pass(100).await;
    assert_eq!(last(&Selectors::all()).await.unwrap(), ["2", "3", "4"]);
    assert_eq!(last(&Selectors::topic("a")).await.unwrap(), ["3"]);
    publish(&journal, &[update("b", "5")], None).await.unwrap();
    publish(&journal, &[update("a", "6").private()], None).await.unwrap();
    assert_eq!(last(&Selectors::all()).await.unwrap(), ["3", "4", "5"]);
}

/// A hub that notes what it is told.
#[derive(Debug, Default)]
struct Hub {
    told: Mutex<Vec<RevokedToken>>,
    answer: &'static str,
}

impl Node for Hub {
    fn answer(&self, _question: Vec<u8>) -> Pending<'static, Bytes> {
        let answer = self.answer;
        Box::pin(async move { answer.into() })
    }

    fn has_short_answer(&self, _question: &[u8]) -> bool {
        true
    }

    fn revoked(&self, token: RevokedToken) -> Pending<'static, ()> {
        let mut told = self.told.lock();
        if !told.contains(&token) {
            told.push(token);
        }
        Box::pin(std::future::ready(()))
    }

    fn barred(&self) -> Vec<RevokedToken> {
        self.told.lock().clone()
    }
}

fn join(journal: &JetstreamJournal, answer: &'static str) -> Arc<Hub> {
    let hub = Arc::new(Hub { answer, ..Hub::default() });
    journal.nodes().unwrap().join(Arc::clone(&hub) as Arc<dyn Node>);
    hub
}

fn token(name: &str) -> RevokedToken {
    RevokedToken::new(name.to_owned(), None)
}

#[tokio::test(start_paused = true)]
async fn a_revocation_reaches_every_hub_before_it_is_complete() {
    let stream = stream();
    let (one, other) = (open(&stream).await, open(&stream).await);
    let (hub, other_hub) = (join(&one, "1"), join(&other, "2"));
    pass(1000).await;
    one.revoke(token("jti:a")).await.unwrap();
    assert_eq!((hub.told.lock().len(), other_hub.told.lock().len()), (1, 1));
    stream.revoke_elsewhere(token("jti:b"));
    pass(100).await;
    assert_eq!(*other_hub.told.lock(), [token("jti:a"), token("jti:b")]);

    // A hub that is cut off accepts no tokens after 5 s, and counts as such after 30 s.
    stream.set_reachable(other.node(), false);
    let refused = one.revoke(token("jti:c")).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert_eq!(other_hub.told.lock().len(), 2);
    pass(6000).await;
    assert!(!other.nodes().unwrap().know_revocations() && one.nodes().unwrap().know_revocations());
    pass(30_000).await;
    one.revoke(token("jti:d")).await.unwrap();
    stream.set_reachable(other.node(), true);
    other.nodes().unwrap().until_known().await;
    assert_eq!(other_hub.told.lock().len(), 4);
    assert!(other.interruptions() > 0);

    // A later hub loads them, and hubs restore those that the stream loses.
    let later = open(&stream).await;
    assert_eq!(later.revoked(), ["jti:a", "jti:b", "jti:c", "jti:d"].map(token));
    stream.lose_newest_revocations(2);
    assert_eq!(stream.revocations().len(), 2);
    pass(5000).await;
    assert_eq!(stream.revocations().len(), 4);
    stream.recreate_revocations();
    pass(120_000).await;
    assert_eq!(stream.revocations().len(), 4);
}

/// Room without a limit.
#[derive(Debug)]
struct Unlimited;

impl Grow for Unlimited {
    fn grow(&mut self, _bytes: usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_by_every_hub_that_runs() {
    let stream = stream();
    let (one, two, three) = (open(&stream).await, open(&stream).await, open(&stream).await);
    let _hubs = [join(&one, "1"), join(&two, "2"), join(&three, "3")];
    pass(1000).await;
    let ask = async || {
        let mut room = AnswerRoom::new(Unlimited);
        let mut answers = one.nodes().unwrap().ask(b"?".to_vec(), &mut room).await?;
        answers.sort();
        Ok::<_, ReadError>(answers)
    };
    assert_eq!(ask().await.unwrap(), [b"2", b"3"]);
    assert_eq!(one.nodes().unwrap().others().len(), 2);
    // A hub that crashes is missed until it was silent for a while. A hub that ends says so.
    three.crash();
    drop(three);
    let begun = tokio::time::Instant::now();
    assert_eq!(ask().await.unwrap(), [b"2"]);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    stream.set_reachable(two.node(), false);
    pass(1400).await;
    stream.set_reachable(two.node(), true);
    assert_eq!(ask().await.unwrap(), [b"2"]);
    drop(two);
    assert_eq!(ask().await.unwrap(), [b""; 0]);
    let names: Vec<_> = one.nodes().unwrap().others().into_iter().map(|one| one.name).collect();
    assert_eq!(names.len(), 1, "the crashed hub may still run, cut off");
}

/// The stream's clock, for the journal in memory.
#[derive(Debug)]
struct StreamClock(Stream, Instant, SystemTime);

impl Clock for StreamClock {
    fn time(&self) -> SystemTime {
        self.0.now()
    }

    fn moment(&self) -> Instant {
        let since = self.0.now().duration_since(self.2).unwrap_or_default();
        self.1 + since
    }
}

/// Topics, private flags and ids that meet often.
fn random_update(random: &mut fastrand::Rng, number: usize) -> Update {
    let topic = ["a", "b", "c"][random.usize(..3)];
    let mut event = Event::new(number.to_string());
    if random.u8(..4) == 0 {
        event = event.with_id(["x", "y"][random.usize(..2)]).unwrap();
    }
    let mut update = Update::new(topic, event);
    if random.u8(..4) == 0 {
        update = update.about("d");
    }
    if random.u8(..3) == 0 { update.private() } else { update }
}

#[tokio::test(start_paused = true)]
async fn the_same_acts_have_the_same_results_as_in_memory() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        // A stream that trims the message of a key forgets the key, which memory does not.
        let has_keys = seed % 2 == 0;
        let count = if has_keys { 1000 } else { random.u64(5..60) };
        let options = StreamOptions {
            retention: Retention::default().count(count),
            ..StreamOptions::of_seed(seed)
        };
        let stream = Stream::new(&options);
        let options = JournalOptions {
            batch: BatchMax::new(700, 5),
            block_messages: 7,
            ..JournalOptions::default()
        };
        let journal = stream.open(options).await.unwrap();
        let other = stream.open(options).await.unwrap();
        let clock = StreamClock(stream.clone(), Instant::now(), stream.now());
        let bounds = MemoryBounds::default().batch(BatchMax::new(700, 5));
        let memory = MemoryJournal::bounded(Retention::default().count(count), bounds, clock);
        let mut published = 0;
        for _ in 0..random.usize(1..40) {
            let updates: Vec<_> = (0..random.usize(1..4))
                .map(|_| {
                    published += 1;
                    random_update(&mut random, published)
                })
                .collect();
            let name = random.u8(..6).to_string();
            let key = (has_keys && random.u8(..3) == 0).then(|| key(&name, &name).unwrap());
            let on = if random.bool() { &journal } else { &other };
            let in_memory = memory.append(updates.clone(), key.clone(), Room::uncounted()).await;
            let in_stream = on.append(updates, key, Room::uncounted()).await;
            let (in_memory, in_stream) = (in_memory.unwrap(), in_stream.unwrap());
            assert_eq!(in_memory.repeated, in_stream.repeated, "seed {seed}");
            assert_eq!(in_memory.ids.len(), in_stream.ids.len(), "seed {seed}");
        }
        // The hub learns with the next report what was trimmed.
        pass(2000).await;
        let last = journal.edges().last.position;
        assert_eq!(
            (last, journal.edges().first),
            (memory.edges().last.position, memory.edges().first)
        );
        for journal in [&journal, &other] {
            for _ in 0..20 {
                let topic = ["a", "b", "c", "d", "e"][random.usize(..5)];
                let selectors =
                    if random.bool() { Selectors::topic(topic) } else { Selectors::all() };
                let granted = Selectors::topic(["a", "b", "d"][random.usize(..3)]);
                let rights = if random.bool() { Rights::Public } else { Rights::Granted(granted) };
                let after = Position::new(random.u64(..=last.number()));
                let why = format!("seed {seed}, after {after}, {selectors:?}, {rights:?}");
                let expected = read_all(&memory, after, &selectors, &rights).await.unwrap();
                let read = read_all(journal, after, &selectors, &rights).await.unwrap();
                assert_eq!(read.0, expected.0, "{why}");
                assert!(read.1 || !expected.1, "{why}: a loss is never hidden");
                let newest = read_all_last(journal, after, &selectors, &rights).await;
                let expected = read_all_last(&memory, after, &selectors, &rights).await;
                assert_eq!(newest, expected, "{why}");
                let id = ["x", "y", "z"][random.usize(..3)];
                let place = |found: Option<tidings_core::journal::Found>| {
                    found.map(|found| (found.place.position, found.is_certain))
                };
                let found = journal.find(id, &selectors, &rights).await.unwrap();
                let expected = memory.find(id, &selectors, &rights).await.unwrap();
                assert_eq!(place(found), place(expected), "{why}, id {id}");
            }
        }
    }
}

/// A run of many acts, as text.
async fn trace(seed: u64) -> Vec<String> {
    let stream = Stream::new(&StreamOptions::of_seed(seed));
    let mut random = fastrand::Rng::with_seed(seed);
    let journals = [open(&stream).await, open_late(&stream).await];
    let _hubs = [join(&journals[0], "0"), join(&journals[1], "1")];
    let mut at = [0, 1].map(|index: usize| journals[index].follow().begin());
    let mut trace = Vec::new();
    for step in 0..200_usize {
        let index = random.usize(..2);
        let node = journals[index].node();
        match random.u8(..16) {
            0 => stream.set_reachable(node, false),
            1 | 2 => stream.set_reachable(node, true),
            3 => stream.lag(node),
            4 => stream.show(node, random.usize(..3)),
            5 => stream.catch_up(node),
            6 => stream.lose_acknowledgements(node, random.u64(..3)),
            7 => stream.lose_newest(random.u64(..2)),
            8 => stream.trim(Position::new(random.u64(..=stream.last().number()))),
            9 => drop(stream.remove(Position::new(random.u64(..=stream.last().number())))),
            10 => drop(stream.publish_foreign()),
            11 if random.u8(..4) == 0 => stream.recreate(),
            12 => stream.revoke_elsewhere(token(&format!("jti:{step}"))),
            13 => {
                let batch = journals[index]
                    .read(Position::START, Position::MAX, &Selectors::all(), &Rights::Public)
                    .await;
                trace.push(format!("{:?}", batch.map(|batch| batch.through)));
            }
            _ => {
                let updates = vec![random_update(&mut random, step)];
                let sent = journals[index].append(updates, None, Room::uncounted()).await;
                trace.push(format!("{:?}", sent.map(|sent| sent.ids)));
            }
        }
        pass(random.u64(..700)).await;
        for index in 0..2 {
            trace.extend(follow(&journals[index], &mut at[index]));
            trace.push(format!("{:?} {:?}", journals[index].edges(), journals[index].trouble()));
        }
    }
    trace.push(format!("{:?}", stream.contents()));
    trace
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(trace(seed))
    };
    for seed in 0..3 {
        let (one, other) = (run(seed), run(seed));
        for (index, (one, other)) in one.iter().zip(&other).enumerate() {
            assert_eq!(one, other, "seed {seed}, line {index}");
        }
        assert_eq!(one.len(), other.len());
        assert!(one.iter().any(|line| line.starts_with("Ok([")), "something was published");
    }
}
