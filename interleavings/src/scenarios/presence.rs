//! Streams that begin and end while their tokens are revoked, and the announcements of both.

use std::sync::Arc;

use loom::future::block_on;
use loom::thread;
use tidings_core::model::{Selectors, TokenId};
use tidings_core::stream::feed::SubscriberKey;

use super::production::access::{Dialect, Dialects, Grants, Revoked};
use super::production::presence::{ListStart, Presence, SubscriberAddress};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_stream_that_opens_while_its_token_is_revoked_ends", 3, an_opening_stream_ends),
    ("a_stream_that_ends_while_its_token_is_revoked_is_not_listed", 3, an_ending_stream_is_unlisted),
    ("a_beginning_is_announced_before_its_end", 2, a_beginning_is_announced_before_its_end),
    ("a_subscriber_that_waits_for_room_gets_it", 2, a_subscriber_that_waits_gets_room),
];

fn presence(events: bool) -> Arc<Presence> {
    Arc::new(Presence::new(Dialects::Only(Dialect::Deployed), Arc::new(Revoked::default()), events))
}

fn address() -> SubscriberAddress {
    SubscriberAddress { shard: 0, key: SubscriberKey::default() }
}

fn token() -> TokenId {
    TokenId::named("one")
}

fn grants() -> Arc<Grants> {
    Arc::new(Grants { token: Some(token()), ..Grants::default() })
}

/// How many subscriptions the list has.
fn listed(presence: &Presence) -> usize {
    let mut count = 0;
    presence.list(ListStart::default(), |_| true, |_| {
        count += 1;
        true
    });
    count
}

fn an_opening_stream_ends() {
    let presence = presence(false);
    let revoking = thread::spawn({
        let presence = Arc::clone(&presence);
        move || presence.revoke_token(token(), None).ending
    });
    let stream = presence.join(address(), Selectors::topic("a"), grants());
    let ending = revoking.join().unwrap();
    // The shard refuses the stream, or is told to end it.
    assert!(stream.is_none() || ending == [address()], "nothing ends the stream");
    drop(stream);
    assert_eq!(listed(&presence), 0);
    assert!(presence.join(address(), Selectors::topic("a"), grants()).is_none());
    assert_eq!(listed(&presence), 0);
}

fn an_ending_stream_is_unlisted() {
    let presence = presence(false);
    let stream = presence.join(address(), Selectors::topic("a"), grants()).unwrap();
    let before = presence.version();
    let shard = thread::spawn(move || drop(stream));
    let ending = presence.revoke_token(token(), None).ending;
    assert!(ending.is_empty() || ending == [address()]);
    shard.join().unwrap();
    assert_eq!(listed(&presence), 0);
    assert_ne!(presence.version(), before);
}

fn a_beginning_is_announced_before_its_end() {
    let presence = presence(true);
    let shard = thread::spawn({
        let presence = Arc::clone(&presence);
        move || drop(presence.join(address(), Selectors::topic("a"), grants()))
    });
    let mut told = Vec::new();
    let mut take = || {
        let batch = presence.next_announcements(Dialects::Only(Dialect::Deployed));
        told.extend(batch.iter().map(|update| {
            let data = update.event().data();
            assert!(data.contains("\"active\":true") || data.contains("\"active\":false"));
            data.contains("\"active\":true")
        }));
    };
    take();
    shard.join().unwrap();
    take();
    assert_eq!(told, [true, false]);
    assert_eq!(presence.waiting_announcements(), 0);
}

fn a_subscriber_that_waits_gets_room() {
    let presence = presence(true);
    let stream = presence.join(address(), Selectors::topic("a"), grants()).unwrap();
    let publisher = thread::spawn({
        let presence = Arc::clone(&presence);
        move || presence.next_announcements(Dialects::Only(Dialect::Deployed)).len()
    });
    block_on(presence.room());
    drop(stream);
    let published = publisher.join().unwrap();
    assert_eq!(published + presence.waiting_announcements(), 2);
}
