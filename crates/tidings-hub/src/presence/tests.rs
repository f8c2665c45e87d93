use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use slotmap::SlotMap;
use tidings_core::journal::{
    AppendError, Health, History, IdempotencyKey, Journal, Log, Retention, RevokedTokens, Room,
};
use tidings_core::model::{Position, Selector, Selectors, TokenId, Update};
use tidings_core::stream::feed::SubscriberKey;
use tokio::sync::Notify;

use super::*;
use crate::access::{Dialect, Dialects, Grants};
use crate::journal::{MemoryJournal, small_memory};
use crate::limits::{PRESENCE_BATCH_BYTES, PRESENCE_PENDING_BYTES};

fn presence(dialects: Dialects) -> Arc<Presence> {
    Arc::new(Presence::new(dialects, Arc::default(), true))
}

/// The address of another subscriber of the first shard.
fn address(keys: &mut SlotMap<SubscriberKey, ()>) -> SubscriberAddress {
    SubscriberAddress { shard: 0, key: keys.insert(()) }
}

/// How many subscriptions the list has, read in pieces of each size.
fn listed(presence: &Presence) -> usize {
    let count = |size: usize| {
        let mut seen = std::collections::HashSet::new();
        let mut place = Some(ListStart::default());
        while let Some(from) = place {
            let mut left = size;
            place = presence.list(
                from,
                |_| true,
                |one| {
                    let name = (one.subscriber, one.selector.text().to_owned());
                    assert!(seen.insert(name), "it is listed twice");
                    left -= 1;
                    left > 0
                },
            );
        }
        seen.len()
    };
    let count_in = [1, 2, 3, 100].map(count);
    assert!(count_in.iter().all(|one| *one == count_in[0]), "{count_in:?}");
    count_in[0]
}

fn selectors(texts: &[&str]) -> Selectors {
    Selectors::new(texts.iter().map(|text| Selector::template(text).unwrap())).unwrap()
}

#[tokio::test]
async fn subscriptions_are_announced_in_order_and_each_once() {
    let presence = presence(Dialects::All);
    let journal = Arc::new(small_memory(Retention::default()));
    let start = journal.edges().last;
    let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
    let mut join = |texts: &[&str]| {
        presence.join(address(&mut keys), selectors(texts), Arc::default()).unwrap()
    };
    let first = join(&["a b/ü", "t/{x}"]);
    let second = join(&["*"]);
    drop(first);
    let publishing = presence.publish(journal.as_ref());
    let told = async {
        while journal.edges().last.position < Position::new(8) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = publishing => {} () = told => {} }
    let mut records = Vec::new();
    journal.tail(start, 100, &mut records);
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            assert!(record.update.is_private());
            let path = record.update.topics()[0].as_str();
            let document: Value = serde_json::from_str(record.update.event().data()).unwrap();
            assert_eq!(document["id"], path);
            let path = path.strip_prefix("/.well-known/mercure/subscriptions/").unwrap();
            let path = path.rsplit_once('/').unwrap().0.to_owned();
            let active = document["active"].as_bool().unwrap();
            (path, record.update.event().event_type().to_owned(), active)
        })
        .collect();
    let expected = [
        ("a%20b%2F%C3%BC", "message", true),
        ("exact/a%20b%2F%C3%BC", "mercure", true),
        ("t%2F%7Bx%7D", "message", true),
        ("%2A", "message", true),
        ("exact/%2A", "mercure", true),
        ("a%20b%2F%C3%BC", "message", false),
        ("exact/a%20b%2F%C3%BC", "mercure", false),
        ("t%2F%7Bx%7D", "message", false),
    ];
    let told: Vec<_> =
        told.iter().map(|(path, kind, active)| (path.as_str(), kind.as_str(), *active)).collect();
    assert_eq!(told, expected);
    assert_eq!(listed(&presence), 1);
    drop(second);
    assert_eq!(listed(&presence), 0);
}

#[test]
fn a_subscriber_whose_token_is_revoked_while_it_joins_is_not_listed() {
    let presence = presence(Dialects::All);
    let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
    let token = TokenId::named("7");
    let grants = Arc::new(Grants { token: Some(token.clone()), ..Grants::default() });
    let mut join = || presence.join(address(&mut keys), selectors(&["a"]), Arc::clone(&grants));
    let there = join();
    assert!(there.is_some());
    assert_eq!(presence.revoke_token(token, None).ending.len(), 1);
    assert!(join().is_none());
    drop(there);
    assert_eq!(listed(&presence), 0);
}

/// A journal that refuses updates while its disk is full, and always refuses long ones.
#[derive(Debug)]
struct Failing {
    journal: MemoryJournal,
    is_full: AtomicBool,
    bytes_max: usize,
    attempts: Notify,
}

impl Failing {
    fn new(is_full: bool, bytes_max: usize) -> Arc<Self> {
        let journal = small_memory(Retention::default());
        let is_full = AtomicBool::new(is_full);
        Arc::new(Self { journal, is_full, bytes_max, attempts: Notify::new() })
    }

    fn told(&self) -> u64 {
        self.journal.edges().last.position.number()
    }
}

impl Log for Failing {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> tidings_core::journal::Pending<'_, Result<tidings_core::journal::Appended, AppendError>>
    {
        self.attempts.notify_one();
        let long = |update: &Update| update.event().data().len() > self.bytes_max;
        let refused = if self.is_full.load(Ordering::Acquire) {
            Some(AppendError::Unavailable("the disk is full".into()))
        } else {
            let index = updates.iter().position(long);
            let max = self.bytes_max;
            index.map(|index| AppendError::TooLarge { index, bytes: max + 1, max })
        };
        match refused {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.journal.append(updates, key, room),
        }
    }

    fn follow(&self) -> Arc<tidings_core::journal::Follower> {
        self.journal.follow()
    }

    fn tail(
        &self,
        after: tidings_core::model::HubId,
        count: usize,
        records: &mut Vec<Arc<tidings_core::model::Record>>,
    ) -> tidings_core::journal::Tail {
        self.journal.tail(after, count, records)
    }

    fn edges(&self) -> tidings_core::journal::Edges {
        self.journal.edges()
    }
}

impl History for Failing {
    fn before(
        &self,
        time: SystemTime,
    ) -> tidings_core::journal::Pending<
        '_,
        Result<tidings_core::journal::Before, tidings_core::journal::ReadError>,
    > {
        self.journal.before(time)
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a tidings_core::model::Rights,
    ) -> tidings_core::journal::Pending<
        'a,
        Result<Option<tidings_core::journal::Found>, tidings_core::journal::ReadError>,
    > {
        self.journal.find(id, selectors, rights)
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a tidings_core::model::Rights,
    ) -> tidings_core::journal::Pending<
        'a,
        Result<Option<tidings_core::journal::Missed>, tidings_core::journal::ReadError>,
    > {
        self.journal.missed(after, selectors, rights)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a tidings_core::model::Rights,
    ) -> tidings_core::journal::Pending<
        'a,
        Result<tidings_core::journal::Batch, tidings_core::journal::ReadError>,
    > {
        self.journal.read(after, until, selectors, rights)
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a tidings_core::model::Rights,
    ) -> tidings_core::journal::Pending<
        'a,
        Result<tidings_core::journal::Batch, tidings_core::journal::ReadError>,
    > {
        self.journal.read_last(after, until, selectors, rights)
    }
}

impl RevokedTokens for Failing {}

impl Health for Failing {}

impl Journal for Failing {}

#[tokio::test(start_paused = true)]
async fn a_full_disk_blocks_no_subscriber_and_the_queue_stays_small() {
    let presence = presence(Dialects::Only(Dialect::Coming));
    let journal = Failing::new(true, usize::MAX);
    let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
    let publishing = {
        let (presence, journal) = (Arc::clone(&presence), Arc::clone(&journal));
        tokio::spawn(async move { presence.publish(journal.as_ref()).await })
    };
    let long = "x".repeat(400);
    let mut there = Vec::new();
    for _ in 0..200 {
        tokio::time::timeout(Duration::from_secs(10), presence.room()).await.unwrap();
        let joined = presence.join(address(&mut keys), selectors(&[&long]), Arc::default());
        there.push(joined.unwrap());
        tokio::task::yield_now().await;
    }
    assert_eq!(listed(&presence), 200);
    assert!(presence.dropped() > 0);
    there.truncate(50);
    let queue = |presence: &Presence| presence.events.as_ref().unwrap().queue.lock().bytes;
    assert!(queue(&presence) <= 2 * PRESENCE_PENDING_BYTES, "{}", queue(&presence));
    journal.is_full.store(false, Ordering::Release);
    tokio::time::timeout(Duration::from_secs(60), async {
        while queue(&presence) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    // Subscriptions that began unannounced end unannounced, and the next one is announced
    // again.
    let told = journal.told();
    assert!(told > 0 && told < 200, "{told}");
    there.push(presence.join(address(&mut keys), selectors(&["new"]), Arc::default()).unwrap());
    tokio::time::timeout(Duration::from_secs(60), async {
        while journal.told() == told {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    publishing.abort();
}

#[tokio::test(start_paused = true)]
async fn an_announcement_that_the_journal_never_accepts_is_dropped_and_counted() {
    let presence = presence(Dialects::Only(Dialect::Coming));
    let journal = Failing::new(false, 1000);
    let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
    let long = "x".repeat(2000);
    let _there = presence.join(address(&mut keys), selectors(&["a", &long, "z"]), Arc::default());
    let publishing = presence.publish(journal.as_ref());
    let told = async {
        while journal.told() < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! { () = publishing => {} () = told => {} }
    assert_eq!(presence.dropped(), 1);
}

#[test]
fn waiting_announcements_are_published_in_batches_of_bounded_bytes() {
    let presence = presence(Dialects::All);
    let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
    let payload = json!({ "text": "x".repeat(20_000) });
    let payloads = crate::access::payloads::Payloads::Same((&payload).into());
    let grants = Arc::new(Grants { payloads, ..Grants::default() });
    let texts: Vec<_> = (0..100).map(|at| at.to_string()).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let _there = presence.join(address(&mut keys), selectors(&texts), grants);
    let events = presence.events.as_ref().unwrap();
    let mut told = 0;
    loop {
        let batch = events.next_batch(Dialects::All);
        let bytes: u64 = batch.iter().map(Update::memory_bytes).sum();
        assert!(bytes < PRESENCE_BATCH_BYTES + 50_000, "{bytes}");
        told += batch.len();
        if batch.is_empty() {
            break;
        }
    }
    assert_eq!(told, 200);
    let queue = events.queue.lock();
    assert_eq!((queue.bytes, queue.count), (0, 0));
}
